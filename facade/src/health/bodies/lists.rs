//! The lists among the bodies: endpoints as LiteLLM has them, models, services, changes.

use penstock_proto::status::v1::{Change, Component, Kind, State};
use serde::Serialize;

use super::{
    super::view::{View, deployment_name, find, kind, kind_of, model_name},
    At, Measured, health, none, word,
};

/// The deployments of a model, and those of them that are in the report.
fn deployments<'a>(
    view: &View<'a>,
    model: &'a Component,
) -> impl Iterator<Item = (&'a str, Option<&'a Component>)> {
    let report = view.report;
    let names = model.stands_on.iter().filter(|name| kind(name, Kind::Unspecified) == Kind::Deployment);
    names.map(|name| (name.as_str(), find(report, name)))
}

/// A model on a deployment, as LiteLLM has it.
#[derive(Serialize)]
pub(in super::super) struct Endpoint<'a> {
    #[serde(skip_serializing_if = "none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "none")]
    model_id: Option<&'a str>,
    state: &'static str,
    #[serde(skip_serializing_if = "none")]
    latency_ms: Option<f64>,
    #[serde(skip_serializing_if = "none")]
    last_check: Option<At>,
    #[serde(skip_serializing_if = "none")]
    error: Option<&'a str>,
}

impl<'a> Endpoint<'a> {
    fn new(
        view: &View<'a>,
        model: &'a Component,
        deployment: Option<(&'a str, Option<&'a Component>)>,
    ) -> Self {
        let id = deployment.map(|(name, _)| deployment_name(name));
        // A model without any deployment is asked in vain, too.
        let component = deployment.map_or(Some(model), |(_, component)| component);
        let state = component.map_or(State::Unspecified, Component::state);
        let seen = view.sees_models();
        let Measured { latency_ms, last_check } =
            component.map(|component| Measured::of(view, component)).unwrap_or_default();
        Self {
            model: seen.then(|| model_name(&model.name)),
            model_id: id.filter(|_| seen),
            state: word(state),
            latency_ms,
            last_check,
            error: component.and_then(|component| view.detail(component)).filter(|_| seen),
        }
    }

    fn is_healthy(&self) -> bool {
        self.state == word(State::Up) || self.state == word(State::Degraded)
    }
}

/// All of them, the healthy ones apart.
#[derive(Serialize)]
pub(in super::super) struct Endpoints<'a> {
    healthy_endpoints: Vec<Endpoint<'a>>,
    unhealthy_endpoints: Vec<Endpoint<'a>>,
    healthy_count: usize,
    unhealthy_count: usize,
}

impl<'a> Endpoints<'a> {
    /// Those of one model or one deployment, if they are named.
    pub(in super::super) fn new(view: &View<'a>, model: Option<&str>, id: Option<&str>) -> Self {
        let models = view.models().filter(|one| model.is_none_or(|wanted| model_name(&one.name) == wanted));
        let all = models.flat_map(|model| {
            let mut all: Vec<_> =
                deployments(view, model).map(|one| Endpoint::new(view, model, Some(one))).collect();
            if all.is_empty() {
                all.push(Endpoint::new(view, model, None));
            }
            all
        });
        let all = all.filter(|endpoint| id.is_none() || endpoint.model_id == id);
        let (healthy, unhealthy): (Vec<_>, Vec<_>) = all.partition(Endpoint::is_healthy);
        Self {
            healthy_count: healthy.len(),
            unhealthy_count: unhealthy.len(),
            healthy_endpoints: healthy,
            unhealthy_endpoints: unhealthy,
        }
    }

    pub(in super::super) fn is_empty(&self) -> bool {
        self.healthy_count + self.unhealthy_count == 0
    }
}

#[derive(Serialize)]
struct Deployment<'a> {
    id: &'a str,
    status: &'static str,
    #[serde(flatten)]
    measured: Measured,
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct Model<'a> {
    #[serde(skip_serializing_if = "none")]
    name: Option<&'a str>,
    status: &'static str,
    #[serde(flatten)]
    measured: Measured,
    error: Option<&'a str>,
    deployments: Vec<Deployment<'a>>,
    fallbacks: Vec<&'a str>,
}

impl<'a> Model<'a> {
    fn new(view: &View<'a>, model: &'a Component) -> Self {
        let seen = view.sees_models();
        let deployments = deployments(view, model).filter(|_| seen).map(|(name, component)| Deployment {
            id: deployment_name(name),
            status: word(component.map_or(State::Unspecified, Component::state)),
            measured: component.map(|component| Measured::of(view, component)).unwrap_or_default(),
            error: component.and_then(|component| view.detail(component)),
        });
        let others = model.stands_on.iter().filter(|name| kind(name, Kind::Unspecified) == Kind::Model);
        let seen_others = others.filter_map(|name| find(view.report, name)).filter(|one| view.shows(one));
        Self {
            name: seen.then(|| model_name(&model.name)),
            status: word(model.state()),
            measured: Measured::of(view, model),
            error: view.detail(model),
            deployments: deployments.collect(),
            fallbacks: seen_others.map(|one| model_name(&one.name)).collect(),
        }
    }
}

#[derive(Default, Serialize)]
struct Counts {
    up: usize,
    degraded: usize,
    down: usize,
    unknown: usize,
}

/// `/health/models`.
#[derive(Serialize)]
pub(in super::super) struct ModelList<'a> {
    status: &'static str,
    models: Vec<Model<'a>>,
    counts: Counts,
}

impl<'a> ModelList<'a> {
    /// All models, or the one that is named. The state is that of all in the list: one that is lost is no loss of
    /// the others.
    pub(in super::super) fn new(view: &View<'a>, name: Option<&str>) -> Self {
        let models = view.models().filter(|one| name.is_none_or(|wanted| model_name(&one.name) == wanted));
        let (mut list, mut counts) = (Vec::new(), Counts::default());
        for model in models {
            *match model.state() {
                State::Up => &mut counts.up,
                State::Degraded => &mut counts.degraded,
                State::Down => &mut counts.down,
                State::Unspecified => &mut counts.unknown,
            } += 1;
            list.push(Model::new(view, model));
        }
        let state = match counts {
            Counts { up, .. } if up == list.len() && up > 0 => State::Up,
            Counts { up, degraded, .. } if up + degraded > 0 => State::Degraded,
            Counts { down, .. } if down > 0 => State::Down,
            _ => State::Unspecified,
        };
        Self { status: word(state), models: list, counts }
    }

    pub(in super::super) fn is_empty(&self) -> bool {
        self.models.is_empty()
    }
}

#[derive(Serialize)]
struct Service<'a> {
    name: &'a str,
    kind: &'static str,
    status: &'static str,
    required: bool,
    #[serde(flatten)]
    measured: Measured,
    error: Option<&'a str>,
}

/// `/health/services`.
#[derive(Serialize)]
pub(in super::super) struct Services<'a> {
    services: Vec<Service<'a>>,
}

impl<'a> Services<'a> {
    pub(in super::super) fn new(view: &View<'a>) -> Self {
        let services = services(view).map(|component| Service {
            name: &component.name,
            kind: kind_word(kind_of(component)),
            status: word(component.state()),
            required: component.required,
            measured: Measured::of(view, component),
            error: view.detail(component),
        });
        Self { services: services.collect() }
    }
}

/// What the process stands on: services and stores.
fn services<'a>(view: &View<'a>) -> impl Iterator<Item = &'a Component> {
    view.components().filter(|one| matches!(kind_of(one), Kind::Service | Kind::Store))
}

/// What a component is, in lists.
fn kind_word(kind: Kind) -> &'static str {
    match kind {
        Kind::Unspecified => "process",
        Kind::Part => "part",
        Kind::Store => "store",
        Kind::Service => "service",
        Kind::Deployment => "deployment",
        Kind::Model => "model",
    }
}

/// `/health/services?service=`, in LiteLLM's words.
#[derive(Serialize)]
pub(in super::super) struct OneService<'a> {
    service: &'a str,
    status: &'static str,
    message: &'a str,
    state: &'static str,
    #[serde(flatten)]
    measured: Measured,
}

impl<'a> OneService<'a> {
    /// The service of that name; else the names that there are.
    pub(in super::super) fn new(view: &View<'a>, name: &str) -> Result<Self, Vec<&'a str>> {
        let Some(component) = services(view).find(|component| component.name == name) else {
            return Err(services(view).map(|component| component.name.as_str()).collect());
        };
        let state = component.state();
        let usual = match state {
            State::Up => "works",
            State::Degraded => "works with a loss",
            State::Down => "does not work",
            State::Unspecified => "is not known",
        };
        Ok(Self {
            service: &component.name,
            status: health(state),
            message: view.detail(component).unwrap_or(usual),
            state: word(state),
            measured: Measured::of(view, component),
        })
    }
}

#[derive(Serialize)]
struct Changed<'a> {
    at: Option<At>,
    name: &'a str,
    kind: &'static str,
    from: &'static str,
    to: &'static str,
    detail: Option<&'a str>,
}

/// `/health/history`.
#[derive(Serialize)]
pub(in super::super) struct Changes<'a> {
    changes: Vec<Changed<'a>>,
    total_records: usize,
    limit: usize,
    offset: usize,
}

impl<'a> Changes<'a> {
    /// A page of what is given, which is the newest first.
    pub(in super::super) fn new(changes: &'a [Change], limit: usize, offset: usize) -> Self {
        let page = changes.iter().skip(offset).take(limit).map(|change| Changed {
            at: change.at.map(At),
            name: &change.name,
            kind: kind_word(kind(&change.name, change.kind())),
            from: word(change.from()),
            to: word(change.to()),
            detail: Some(change.detail.as_str()).filter(|detail| !detail.is_empty()),
        });
        Self { changes: page.collect(), total_records: changes.len(), limit, offset }
    }
}
