//! Who is let in, and that nothing is ever in progress for good.

use std::convert::Infallible;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use proptest::prelude::*;
use tokio::time::sleep;
use tonic::{Status, body::Body};
use tower::{ServiceExt as _, service_fn};

use super::{limit::FLOOR, *};
use crate::config::{Document, Environment};

fn door(requests_max: usize) -> (Door, Chassis) {
    let chassis = Chassis::default();
    let config = DoorConfig { requests_max, overload_delay: None };
    (Door::new("test", config, &chassis), chassis)
}

#[tokio::test]
async fn the_cheapest_to_refuse_are_refused_first() {
    let (door, chassis) = door(10);
    let enter = |class, times: usize| (0..times).map(|_| door.enter(class).unwrap()).collect::<Vec<_>>();
    let mut inside = enter(Class::Extra, 8);
    assert!(door.enter(Class::Extra).is_err());
    inside.extend(enter(Class::Batch, 1));
    assert!(door.enter(Class::Extra).is_err() && door.enter(Class::Batch).is_err());
    inside.extend(enter(Class::Answer, 1));
    let refused = door.enter(Class::Answer).unwrap_err();
    assert_eq!(refused.reason, Reason::Overloaded);
    let after = refused.retry_after.unwrap();
    assert!((RETRY_AFTER..=RETRY_AFTER + RETRY_JITTER).contains(&after), "{after:?}");
    let text = chassis.metrics.encode().unwrap();
    for line in [
        "penstock_door_limit{door=\"test\"} 10",
        "penstock_door_in_progress{door=\"test\"} 10",
        "penstock_shed_total{door=\"test\",class=\"extra\"} 2",
        "penstock_shed_total{door=\"test\",class=\"batch\"} 1",
        "penstock_shed_total{door=\"test\",class=\"answer\"} 1",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line}\n{text}");
    }
    drop(inside);
    assert!(chassis.metrics.encode().unwrap().contains("penstock_door_in_progress{door=\"test\"} 0"));
}

/// Where only one may be in progress, it may be of any class: nothing starves by rounding.
#[tokio::test]
async fn the_smallest_door_lets_every_class_in() {
    let (door, _chassis) = door(1);
    for class in Class::ALL {
        let pass = door.enter(class).unwrap();
        assert!(Class::ALL.iter().all(|other| door.enter(*other).is_err()));
        drop(pass);
    }
}

#[tokio::test]
async fn two_doors_of_a_process_share_measures_and_not_places() {
    let (first, chassis) = door(1);
    let second = Door::new("other", first.0.config, &chassis.beside("other"));
    let _inside = first.enter(Class::Answer).unwrap();
    let _beside = second.enter(Class::Answer).unwrap();
    let text = chassis.metrics.encode().unwrap();
    assert_eq!(text.matches("# TYPE penstock_door_limit gauge").count(), 1, "{text}");
    assert!(text.contains("penstock_door_in_progress{door=\"other\"} 1"), "{text}");
}

fn limit_of(door: &Door) -> usize {
    door.0.limit.load(Ordering::Relaxed)
}

/// The real sampler on a runtime whose only worker is kept busy.
#[tokio::test]
async fn a_busy_runtime_lets_fewer_in_and_an_idle_one_all_of_them_again() {
    let (chassis, max) = (Chassis::default(), FLOOR + 10);
    let config = DoorConfig { requests_max: max, overload_delay: Some(DELAY_MIN) };
    let door = Door::new("test", config, &chassis);
    let still = Door::new("still", DoorConfig { overload_delay: None, ..config }, &chassis);
    while limit_of(&door) > FLOOR {
        std::thread::sleep(2 * DELAY_MIN);
        tokio::task::yield_now().await;
    }
    assert_eq!(limit_of(&still), max, "one that is not to follow the delay does not");
    let inside: Vec<_> = (0..FLOOR).map(|_| door.enter(Class::Answer).unwrap()).collect();
    assert!(door.enter(Class::Answer).is_err());
    assert_eq!(inside.len(), FLOOR);
    while limit_of(&door) < max {
        sleep(DELAY_MIN).await;
    }
    let _one_more = door.enter(Class::Answer).unwrap();
}

#[tokio::test]
async fn a_call_is_in_progress_until_its_answer_is_dropped() {
    let (door, _chassis) = door(1);
    let answer = |_: Request<Body>| async {
        let body = Full::new(Bytes::from_static(b"an answer that is not read yet"));
        Ok::<_, Infallible>(Response::new(Body::new(body)))
    };
    let guarded = door.guard(service_fn(answer), |_| Class::Answer);
    let call = || guarded.clone().oneshot(Request::new(Body::empty()));
    let refusal = |response: &Response<Body>| {
        Status::from_header_map(response.headers()).map(|status| Error::from(&status).reason)
    };
    let first = call().await.unwrap();
    assert_eq!(refusal(&first), None);
    assert_eq!(refusal(&call().await.unwrap()), Some(Reason::Overloaded));
    drop(first);
    let waiting = door.guard(
        service_fn(|_: Request<Body>| std::future::pending::<Result<Response<Body>, Infallible>>()),
        |_| Class::Answer,
    );
    let mut waiting = Box::pin(waiting.oneshot(Request::new(Body::empty())));
    assert!(futures_util::poll!(&mut waiting).is_pending());
    assert_eq!(refusal(&call().await.unwrap()), Some(Reason::Overloaded));
    // A caller that leaves, or a handler that panics: the future is dropped.
    drop(waiting);
    assert_eq!(refusal(&call().await.unwrap()), None);
}

#[test]
fn settings_are_read_and_mistakes_named() {
    let read = |text: &str| {
        let mut document = Document::parse(Some(text), Environment::default()).unwrap();
        let config = DoorConfig::read(&mut document.section("facade"));
        (config, document.finish().err().map(|mistakes| mistakes.to_string()).unwrap_or_default())
    };
    assert_eq!(read(""), (DoorConfig::default(), String::new()));
    let (config, _) = read("[facade]\nrequests_max = 7\noverload_delay = '0s'");
    assert_eq!(config, DoorConfig { requests_max: 7, overload_delay: None });
    let (_, mistakes) = read("[facade]\nrequests_max = 0\noverload_delay = '1ms'");
    assert!(mistakes.contains("line 2: facade.requests_max"), "{mistakes}");
    assert!(mistakes.contains("line 3: facade.overload_delay"), "{mistakes}");
}

proptest! {
    /// However requests come and go, as many places are taken as there are passes, and never more than allowed.
    #[test]
    fn no_place_is_lost_or_given_twice(
        max in 1usize..20,
        steps in proptest::collection::vec((0usize..3, any::<prop::sample::Index>()), 0..200),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _entered = runtime.enter();
        let (door, _chassis) = door(max);
        let mut inside = Vec::new();
        for (step, which) in steps {
            match (Class::ALL.get(step), inside.is_empty()) {
                (Some(class), _) if which.index(2) == 0 => {
                    let room = class.share(max);
                    let let_in = door.enter(*class).ok();
                    prop_assert_eq!(let_in.is_some(), inside.len() < room);
                    inside.extend(let_in);
                }
                (_, false) => drop(inside.swap_remove(which.index(inside.len()))),
                _ => {}
            }
            prop_assert_eq!(door.0.in_progress.load(Ordering::Relaxed), inside.len());
            prop_assert!(inside.len() <= max);
        }
        drop(inside);
        prop_assert_eq!(door.0.in_progress.load(Ordering::Relaxed), 0);
    }
}
