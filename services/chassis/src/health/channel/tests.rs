//! A service that answers, errs, hangs or talks nonsense, as its caller's health sees it. The clock is paused.

use penstock_proto::status::v1::{
    Component, GetResponse, ListChangesRequest, ListChangesResponse, WatchRequest, WatchResponse,
    status_server::{Status as StatusService, StatusServer},
};
use tokio_stream::Pending;
use tonic::{Request, Response, Status, service::Routes};

use super::*;
use crate::Chassis;

const GRACE: Duration = Duration::from_secs(60);

#[derive(Clone)]
enum Mode {
    Answers(Report),
    Errs,
    Hangs,
}

#[derive(Clone)]
struct Fake(Arc<Mutex<Mode>>);

#[tonic::async_trait]
impl StatusService for Fake {
    type WatchStream = Pending<Result<WatchResponse, Status>>;

    async fn get(&self, _: Request<GetRequest>) -> Result<Response<GetResponse>, Status> {
        let mode = self.0.lock().unwrap().clone();
        match mode {
            Mode::Answers(report) => Ok(Response::new(GetResponse { report: Some(report) })),
            Mode::Errs => Err(Status::unavailable("canary of the other side")),
            Mode::Hangs => std::future::pending().await,
        }
    }

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not asked here"))
    }

    async fn list_changes(
        &self,
        _: Request<ListChangesRequest>,
    ) -> Result<Response<ListChangesResponse>, Status> {
        Err(Status::unimplemented("not asked here"))
    }
}

struct Watched {
    chassis: Chassis,
    mode: Arc<Mutex<Mode>>,
}

impl Watched {
    fn start(grace: Duration) -> Self {
        let (chassis, mode) = (Chassis::default(), Arc::new(Mutex::new(Mode::Answers(report(State::Up)))));
        chassis.health.started();
        let routes = Routes::new(StatusServer::new(Fake(Arc::clone(&mode))));
        let channel = Channel::local(routes, &chassis);
        chassis.health.watch_channel("auth", true, grace, &channel, &chassis.tasks);
        Self { chassis, mode }
    }

    fn now(&self, mode: Mode) {
        *self.mode.lock().unwrap() = mode;
    }

    fn component(&self, name: &str) -> Component {
        let report = self.chassis.health.report();
        report.components.iter().find(|component| component.name == name).cloned().unwrap_or_default()
    }

    async fn until(&self, name: &str, wanted: State) -> Component {
        while self.component(name).state() != wanted {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.component(name)
    }
}

fn part(name: &str, state: State) -> Component {
    Component { name: name.into(), state: state.into(), ..Component::default() }
}

fn report(state: State) -> Report {
    Report { state: state.into(), components: vec![part("auth/store", state)], ..Report::default() }
}

#[tokio::test(start_paused = true)]
async fn a_service_that_vanishes_is_in_grace_first_and_its_parts_become_unknown() {
    let watched = Watched::start(GRACE);
    watched.until("auth", State::Up).await;
    let store = watched.component("auth/store");
    assert_eq!((store.state(), store.part_of.as_str()), (State::Up, "auth"));
    let began = Instant::now();
    watched.now(Mode::Errs);
    let auth = watched.until("auth", State::Degraded).await;
    assert!(auth.detail.contains("cannot be asked") && !auth.detail.contains("canary"), "{auth:?}");
    let store = watched.component("auth/store");
    assert_eq!((store.state(), store.since), (State::Unspecified, None), "{store:?}");
    assert_eq!(watched.chassis.health.report().state(), State::Degraded);
    watched.until("auth", State::Down).await;
    assert!(began.elapsed() >= GRACE - CheckConfig::inside().interval, "{:?}", began.elapsed());
    assert_eq!(watched.chassis.health.report().state(), State::Down);
    watched.now(Mode::Answers(report(State::Up)));
    watched.until("auth", State::Up).await;
    assert_eq!(watched.component("auth/store").state(), State::Up);
}

#[tokio::test(start_paused = true)]
async fn one_lost_answer_makes_nothing_unknown() {
    let watched = Watched::start(Duration::ZERO);
    watched.until("auth", State::Up).await;
    let mut changes = watched.chassis.health.changes();
    changes.mark_unchanged();
    for _ in 0..5 {
        watched.now(Mode::Errs);
        let asked = watched.component("auth").checked_at;
        while watched.component("auth").checked_at == asked {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        watched.now(Mode::Answers(report(State::Up)));
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    assert!(!changes.has_changed().unwrap(), "{:?}", changes.borrow());
}

#[tokio::test(start_paused = true)]
async fn a_service_that_hangs_is_down_by_the_time_of_the_check() {
    let watched = Watched::start(Duration::ZERO);
    watched.until("auth", State::Up).await;
    watched.now(Mode::Hangs);
    let auth = watched.until("auth", State::Down).await;
    assert!(auth.detail.contains("cannot be asked") || auth.detail.contains("no answer"), "{auth:?}");
    watched.now(Mode::Answers(report(State::Up)));
    watched.until("auth", State::Up).await;
}

#[tokio::test(start_paused = true)]
async fn nonsense_is_contained() {
    let watched = Watched::start(Duration::ZERO);
    watched.until("auth", State::Up).await;
    let mut nonsense = Report { state: 99, readiness: -1, ..Report::default() };
    nonsense.components = (0..100_000).map(|_| Component { kind: 77, ..part("", State::Down) }).collect();
    nonsense.components.push(Component { state: -7, ..part(&"n".repeat(1 << 20), State::Up) });
    watched.now(Mode::Answers(nonsense));
    let auth = watched.until("auth", State::Down).await;
    assert!(auth.detail.len() < 200, "{}", auth.detail.len());
    assert!(watched.chassis.health.report().components.len() < 20_000);
    watched.now(Mode::Answers(report(State::Up)));
    watched.until("auth", State::Up).await;
    assert_eq!(watched.chassis.health.report().components.len(), 2);
}

#[test]
fn what_ails_is_named_and_bounded() {
    let mut ill =
        Report { components: vec![part("b", State::Down), part("a", State::Up)], ..Report::default() };
    assert_eq!(what_ails(&ill), "not well: b");
    ill.components = (0..1000).map(|n| part(&format!("deployment/{n}"), State::Down)).collect();
    assert!(what_ails(&ill).ends_with("deployment/4 and 995 more"), "{}", what_ails(&ill));
    assert_eq!(what_ails(&Report { starting: true, ..Report::default() }), "starting");
    assert_eq!(what_ails(&Report { draining: true, ..ill }), "shutting down");
}
