//! The reloader with a configuration that a test sees through.

use std::{
    fs,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use penstock_proto::status::v1::State;
use tokio::sync::Notify;

use super::*;

/// Takes any text but `wrong`, and notes it; not before it was told of so many troubles elsewhere.
#[derive(Clone, Default)]
struct Noted {
    texts: Arc<Mutex<Vec<Option<String>>>>,
    hold: Option<Arc<Notify>>,
    troubles: Arc<AtomicUsize>,
}

impl Configuration for Noted {
    async fn take(&mut self, text: Option<String>) -> Outcome {
        if let Some(hold) = &self.hold {
            hold.notified().await;
        }
        if text.as_deref() == Some("wrong") {
            return Err(Mistakes::one("it is wrong"));
        }
        let one_less = |left: usize| left.checked_sub(1);
        if self.troubles.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_less).is_ok() {
            return Err(Mistakes::one("the adapter's copy is wrong"));
        }
        let changed = self.texts.lock().unwrap().last() != Some(&text);
        self.texts.lock().unwrap().push(text);
        Ok(Reloaded { changed, needs_restart: Vec::new() })
    }
}

fn health(chassis: &Chassis) -> (State, String) {
    let report = chassis.health.report();
    let component = report.components.iter().find(|one| one.name == "configuration").unwrap();
    (component.state(), component.detail.clone())
}

/// H2: what is wrong changes nothing and is seen until it is mended.
#[tokio::test]
async fn a_wrong_file_is_refused_and_a_good_one_heals() {
    let path = std::env::temp_dir().join(format!("penstock-reload-{}", std::process::id()));
    fs::write(&path, "first").unwrap();
    let (chassis, noted) = (Chassis::default(), Noted::default());
    let file = Some((path.clone(), "first".to_owned()));
    let reloader = Reloader::start("configuration", file, noted.clone(), &chassis).unwrap();
    assert_eq!(health(&chassis).0, State::Up);
    fs::write(&path, "wrong").unwrap();
    assert_eq!(reloader.reload().await, Err(Mistakes::one("it is wrong")));
    let (state, detail) = health(&chassis);
    assert_eq!(state, State::Degraded);
    assert!(detail.starts_with("the file has 1 mistake; the configuration of 2"), "{detail}");
    fs::remove_file(&path).unwrap();
    let mistakes = reloader.reload().await.unwrap_err().to_string();
    assert!(mistakes.contains("cannot read the file"), "{mistakes}");
    assert_eq!(*noted.texts.lock().unwrap(), Vec::<Option<String>>::new());

    fs::write(&path, "good").unwrap();
    assert!(reloader.reload().await.unwrap().changed);
    assert!(!reloader.reload().await.unwrap().changed);
    assert_eq!(health(&chassis), (State::Up, String::new()));
    fs::remove_file(&path).unwrap();
    let text = chassis.metrics.encode().unwrap();
    for (outcome, count) in [("applied", 1), ("unchanged", 1), ("refused", 2)] {
        let line = format!("penstock_config_reloads_total{{outcome=\"{outcome}\"}} {count}");
        assert!(text.contains(&line), "{text}");
    }
}

#[tokio::test]
async fn all_who_ask_during_a_reading_share_the_next() {
    let hold = Arc::new(Notify::new());
    let noted = Noted { hold: Some(Arc::clone(&hold)), ..Noted::default() };
    let chassis = Chassis::default();
    let reloader = Reloader::start("configuration", None, noted.clone(), &chassis).unwrap();
    let ended = Arc::new(AtomicUsize::new(0));
    let ask = || {
        let (reloader, ended) = (reloader.clone(), Arc::clone(&ended));
        chassis.tasks.spawn("asks", async move {
            reloader.reload().await.unwrap();
            ended.fetch_add(1, Ordering::Relaxed);
        });
    };
    let settle = async || {
        for _ in 0..100 {
            tokio::task::yield_now().await;
        }
    };
    ask();
    settle().await;
    (0..5).for_each(|_| ask());
    settle().await;
    hold.notify_one();
    settle().await;
    assert_eq!(ended.load(Ordering::Relaxed), 1, "what began before they asked is not their answer");
    hold.notify_one();
    settle().await;
    assert_eq!(ended.load(Ordering::Relaxed), 6);
    assert_eq!(noted.texts.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn a_part_is_in_force_when_its_service_says_so() {
    let (mut source, mut live) = live(1);
    assert_eq!(source.put(1).await, Ok(false));
    let service = async {
        live.next().await.refuse(Mistakes::one("cannot"));
        let update = live.next().await;
        assert_eq!(update.next, 2);
    };
    let puts = async {
        assert_eq!(source.put(2).await, Err(Mistakes::one("cannot")));
        assert_eq!(source.put(2).await, Ok(true), "what was refused is not in force");
        assert_eq!(source.put(2).await, Ok(false));
    };
    tokio::join!(service, puts);
    drop(live);
    assert_eq!(source.put(3).await, Ok(true), "nobody uses it any more");
}

#[tokio::test]
async fn without_anything_to_read_nothing_changes() {
    assert_eq!(Reloader::default().reload().await, Ok(Reloaded::default()));
}

/// H2: of two copies of the file the wrong one may be the last to be mended: nobody asks for the other one again.
#[tokio::test(start_paused = true)]
async fn what_was_refused_for_a_trouble_elsewhere_heals_by_itself() {
    let path = std::env::temp_dir().join(format!("penstock-reload-elsewhere-{}", std::process::id()));
    fs::write(&path, "first").unwrap();
    let (chassis, noted) = (Chassis::default(), Noted::default());
    noted.troubles.store(2, Ordering::Relaxed);
    let file = Some((path.clone(), "first".to_owned()));
    let _reloader = Reloader::start("configuration", file, noted.clone(), &chassis).unwrap();
    fs::write(&path, "good").unwrap();
    let wait = async |seconds| tokio::time::sleep(Duration::from_secs(seconds)).await;
    wait(5).await;
    assert_eq!(health(&chassis).0, State::Degraded);
    wait(20).await;
    assert_eq!(noted.troubles.load(Ordering::Relaxed), 1, "not again and again");
    wait(60).await;
    assert_eq!(health(&chassis), (State::Up, String::new()));
    wait(60).await;
    fs::remove_file(&path).unwrap();
    assert_eq!(
        *noted.texts.lock().unwrap(),
        [Some("good".to_owned())],
        "once it is in force it is not read again"
    );
    let text = chassis.metrics.encode().unwrap();
    assert!(text.contains("penstock_config_reloads_total{outcome=\"refused\"} 2"), "{text}");
}
