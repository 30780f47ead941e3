//! The choice: which model is meant, which of its deployments are asked for a request, in which order, and why not
//! the others. Pure but for dice, the clock and what is seen of every deployment's load.

mod auto;
mod rank;
mod refusal;

use std::sync::Arc;

use penstock_proto::{Error, Reason, auth::v1::Principal, inference::v1::GenerateRequest, router::v1::Match};
use tokio::time::Instant;

use self::rank::Ranked;
use crate::{
    decision::{Candidate, Considered, Decision, Route, Steering, Vetoes},
    decisions::CONSIDERED_MAX,
    hash,
    load::Load,
    needs::Needs,
    principals::may_use,
    prompt,
    registry::{Deployment, Found, Model, Place, Registry},
};

/// Deployments beyond those that may be asked: some will say that they have no place, which costs nothing.
const SPARE: usize = 4;

/// What is asked, as far as the choice depends on it.
#[derive(Debug)]
pub(crate) struct Asked<'a> {
    /// The name that was asked for.
    pub(crate) name: &'a str,
    pub(crate) needs: Needs,
    /// Estimated.
    pub(crate) prompt_tokens: u64,
    /// What may be generated at most, or what is reserved for it.
    pub(crate) completion_tokens: u64,
    pub(crate) principal: &'a Principal,
    pub(crate) steering: &'a Steering,
    /// Only of a request for a text.
    pub(crate) request: Option<&'a GenerateRequest>,
    /// Its tokens are to be counted, and no more.
    pub(crate) counts: bool,
    /// Most deployments that will be asked.
    pub(crate) attempts: usize,
    /// It is a dry run: every deployment is to be shown, and nothing is taken.
    pub(crate) all: bool,
}

/// What is done about a request.
#[derive(Debug)]
pub(crate) struct Decided<'a> {
    pub(crate) model: &'a Model,
    pub(crate) route: Result<Route, Error>,
    /// Even where nobody can be asked: then it says why not.
    pub(crate) decision: Decision,
}

/// The model that is meant, whom to ask for it, and why.
///
/// # Errors
/// No model has that name, or the caller may not use it.
pub(crate) fn decide<'a>(registry: &'a Registry, asked: &Asked<'_>) -> Result<Decided<'a>, Error> {
    if let (Found::Auto(config), Some(request)) = (registry.find(asked.name), asked.request) {
        return auto::decide(registry, asked, config, request);
    }
    let (model, how) = authorised(registry, asked.principal, asked.name)?;
    let (route, mut decision) = weigh(registry, model, asked);
    decision.how = how;
    Ok(Decided { model, route, decision })
}

/// The model of that name, if the caller may use it, and how it was found.
pub(crate) fn authorised<'a>(
    registry: &'a Registry,
    principal: &Principal,
    asked: &str,
) -> Result<(&'a Model, Match), Error> {
    let unknown = |hint: &str| {
        Err(Error::new(Reason::ModelNotFound, format!("the model `{asked}` does not exist{hint}")))
    };
    match registry.find(asked) {
        Found::Model(model, how) if may_use(principal, asked, &model.name) => Ok((model, how)),
        Found::Model(..) => {
            let message = format!("the API key may not use the model `{asked}`");
            Err(Error::new(Reason::ModelNotAllowed, message))
        }
        // Only those are named that the caller may know of.
        Found::Ambiguous(models) => {
            let names = models.iter().map(|model| &*model.name);
            let names: Vec<_> = names.filter(|name| may_use(principal, name, name)).collect();
            match names[..] {
                [] => unknown(""),
                _ => unknown(&format!(": write upper and lower case as in `{}`", names.join("` or `"))),
            }
        }
        Found::Auto(_) | Found::Nothing => unknown(""),
    }
}

/// Whom to ask for `model`, in order, and why.
///
/// # Errors
/// There are deployments, and none of them can be asked.
#[cfg(test)]
pub(crate) fn choose(
    registry: &Registry,
    model: &Model,
    asked: &Asked<'_>,
) -> Result<(Route, Decision), Error> {
    let (route, decision) = weigh(registry, model, asked);
    Ok((route?, decision))
}

/// Whom to ask for `model`, in order, and why; with a decision even where nobody can be asked.
pub(crate) fn weigh(
    registry: &Registry,
    model: &Model,
    asked: &Asked<'_>,
) -> (Result<Route, Error>, Decision) {
    let mut dice = fastrand::Rng::new();
    Chooser::new(registry, asked, Instant::now(), || dice.f64()).choose(model)
}

/// One choice: what it depends on.
struct Chooser<'a, R> {
    registry: &'a Registry,
    asked: &'a Asked<'a>,
    /// Tokens that the prompt has at least.
    least_tokens: u64,
    /// The answer is to come as it is made.
    streamed: bool,
    now: Instant,
    /// Gives numbers from 0 to 1.
    random: R,
    /// The model that is asked for is yet to be ranked.
    is_own: bool,
    /// Whose turn it is in the model that is being ranked.
    turn: u64,
}

impl<'a, R: FnMut() -> f64> Chooser<'a, R> {
    fn new(registry: &'a Registry, asked: &'a Asked<'a>, now: Instant, random: R) -> Self {
        // What is too long is counted all the same: most often that is why.
        let least_tokens = asked.request.filter(|_| !asked.counts).map_or(0, prompt::least_tokens);
        let streamed = asked.request.is_some_and(|request| request.stream);
        Self { registry, asked, least_tokens, streamed, now, random, is_own: true, turn: 0 }
    }

    fn choose(mut self, model: &Model) -> (Result<Route, Error>, Decision) {
        let most = self.asked.attempts.saturating_add(SPARE);
        let own = self.rank(model, if self.asked.all { usize::MAX } else { most });
        let mut ranked = vec![own];
        // A prompt that is too long for all of its own goes where there is more room.
        let too_long = |own: &Ranked<'_>| {
            own.open.is_empty() && own.vetoed.iter().any(|(_, vetoes)| vetoes.has(Vetoes::CONTEXT))
        };
        if ranked.first().is_some_and(too_long) {
            ranked.extend(self.chain(&model.config.context_fallbacks, most));
        }
        for fallback in self.chain(&model.config.fallbacks, most) {
            // It may be among those with more room.
            if !ranked.iter().any(|known| std::ptr::eq(known.model, fallback.model)) {
                ranked.push(fallback);
            }
        }

        let candidates: Vec<_> = ranked.iter().flat_map(|ranked| ranked.candidates(most)).collect();
        let refusal = if candidates.is_empty() {
            let vetoed: Vec<_> = ranked.iter().flat_map(|ranked| &ranked.vetoed).copied().collect();
            self.refusal(&vetoed)
        } else {
            None
        };
        let decision = self.decision(model, &ranked, most);
        let route = match refusal {
            Some(error) => Err(error),
            None => Ok(Route {
                on_context: self.roomier(model, &candidates, most),
                on_filter: self.candidates_of(&model.config.filter_fallbacks, most),
                candidates,
                policy: Arc::clone(&model.config),
                tokens: self.asked.prompt_tokens.saturating_add(self.asked.completion_tokens),
            }),
        };
        (route, decision)
    }

    /// The deployments of the models of a chain that the caller may use (B7).
    fn chain<'m>(&mut self, names: &'m [String], most: usize) -> Vec<Ranked<'m>>
    where
        'a: 'm,
    {
        let (registry, principal) = (self.registry, self.asked.principal);
        let allowed = registry.chain(names).filter(|model| may_use(principal, &model.name, &model.name));
        allowed.map(|model| self.rank(model, most)).collect()
    }

    fn candidates_of(&mut self, names: &[String], most: usize) -> Vec<Candidate> {
        self.chain(names, most).iter().flat_map(|ranked| ranked.candidates(most)).collect()
    }

    /// Those to ask if the prompt is too long for the first candidate: the models that are configured for it, then
    /// candidates with a larger context, and fallbacks of which nobody knows how much they hold.
    fn roomier(&mut self, model: &Model, candidates: &[Candidate], most: usize) -> Vec<Candidate> {
        let context = |candidate: &Candidate| candidate.deployment.capabilities?.context_tokens;
        let asked = candidates.first().and_then(context);
        let mut roomier = self.candidates_of(&model.config.context_fallbacks, most);
        roomier.retain(|one| asked.is_none() || context(one).is_none() || context(one) > asked);
        let may_hold =
            |one: &&Candidate| context(one) > asked || (context(one).is_none() && one.model != model.name);
        for one in candidates.iter().filter(may_hold) {
            if !roomier.contains(one) {
                roomier.push(one.clone());
            }
        }
        roomier
    }

    /// What there is to say about the choice.
    fn decision(&mut self, model: &Model, ranked: &[Ranked<'_>], most: usize) -> Decision {
        let asked = self.asked;
        let shown = if asked.all { usize::MAX } else { CONSIDERED_MAX };
        let none = Vetoes::default();
        let chosen = ranked.iter().flat_map(|ranked| ranked.considered(0..most, none));
        let vetoed = ranked.iter().flat_map(Ranked::refused);
        let spare = ranked.iter().flat_map(|ranked| ranked.considered(most..usize::MAX, Vetoes::ATTEMPTS));
        let mut considered: Vec<_> = chosen.chain(vetoed).chain(spare).take(shown).collect();
        if asked.all {
            considered.extend(self.not_allowed(model));
        }
        Decision {
            asked: asked.name.to_owned(),
            model: Arc::clone(&model.name),
            how: Match::Name,
            classification: None,
            strategy: model.config.strategy,
            needs: asked.needs,
            considered,
            prompt_tokens: asked.prompt_tokens,
            completion_tokens: asked.completion_tokens,
            policy: Arc::clone(&model.config),
        }
    }

    /// The deployments of those fallbacks that the caller may not use.
    fn not_allowed(&self, model: &Model) -> Vec<Considered> {
        let fallbacks = self.registry.fallbacks(model);
        let foreign = fallbacks.filter(|model| !may_use(self.asked.principal, &model.name, &model.name));
        let places = foreign.flat_map(|model| model.places.iter().map(move |place| (model, place)));
        let considered = places.map(|(model, place)| Considered {
            candidate: Candidate {
                model: Arc::clone(&model.name),
                deployment: Arc::clone(&place.deployment),
            },
            score: None,
            vetoes: Vetoes::NOT_ALLOWED,
            weight: place.weight,
            priority: place.priority,
        });
        considered.collect()
    }

    /// Why a deployment cannot be asked for this.
    fn vetoes(&self, place: &Place) -> Vetoes {
        let deployment = &*place.deployment;
        let mut vetoes = Vetoes::default();
        let mut veto = |is_there: bool, veto: Vetoes| {
            if is_there {
                vetoes = vetoes.and(veto);
            }
        };
        let steering = self.asked.steering;
        let is_open = place.opens_at.is_some_and(|at| at > self.now);
        veto(is_open && !self.needs_no_engine(deployment), Vetoes::CIRCUIT_OPEN);
        veto(!place.lacks.both(self.asked.needs).is_empty(), Vetoes::LACKS);
        veto(self.least_tokens > place.context_tokens, Vetoes::CONTEXT);
        veto(steering.tags.iter().any(|tag| !deployment.tags.contains(tag)), Vetoes::TAG);
        if let Some(most) = steering.max_cost {
            // Who sets a ceiling relies on it: what nobody knows is not below it.
            veto(self.cost(deployment).is_none_or(|cost| cost > most), Vetoes::COST);
        }
        if let Some(most) = steering.max_latency {
            let seconds = self.first_token(&place.load) + place.load_seconds;
            veto(seconds > most.as_secs_f64(), Vetoes::LATENCY);
        }
        vetoes
    }

    /// Tokens are to be counted, which its adapter does for it.
    fn needs_no_engine(&self, deployment: &Deployment) -> bool {
        self.asked.counts && !deployment.counts_tokens
    }

    /// The key by which requests go to the same deployment. `None`: nothing is said that they could have in common.
    fn affinity(&self, model: &Model) -> Option<u64> {
        match &self.asked.steering.session {
            Some(session) => Some(hash::bytes(0, session.as_bytes())),
            None => {
                self.asked.request.map(|asked| prompt::beginning(asked, model.config.affinity.prefix_bytes))
            }
        }
    }
}

impl<R> Chooser<'_, R> {
    /// What the request is expected to cost there in US dollars. `None`: no price is known.
    fn cost(&self, deployment: &Deployment) -> Option<f64> {
        deployment.cost(self.asked.prompt_tokens, self.asked.completion_tokens)
    }

    /// Seconds to the first token, as far as they are known.
    fn first_token(&self, load: &Load) -> f64 {
        load.times(self.streamed).expected_at(self.now).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
