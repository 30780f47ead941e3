//! Engines that fail once, or every other time: nobody sees it, even where there is nobody else to go to (D1, D3,
//! D4).

use std::time::Duration;

use penstock_tests::{Script, Step};
use serde_json::json;

use super::fault::{Case, Fault, Sees, WHOLE, begun, says_whole};

const SEEN: Sees = Sees::Whole(WHOLE, "stop");

/// Fails the first call, and answers the second.
fn once(name: &'static str, fails: fn() -> Script) -> Fault {
    let case = Case::harmless().away(SEEN, 1..=1, 1..=1).alone(SEEN, 2..=2);
    let plays = move |number, _| if number == 0 { fails() } else { says_whole(&json!({})) };
    Fault::new(name, plays, case)
}

pub(super) fn faults() -> Vec<Fault> {
    // A connection that is gone may be a stale one: the same engine is asked at once, whoever else is there.
    let mut reset = once("reset once", || Script::default().after(Step::Reset));
    (reset.stream.away.sick, reset.stream.away.well) = (1..=2, 0..=1);
    reset.plain = reset.stream.clone();
    let flapping = |number, _| if number % 2 == 0 { Script::status(500) } else { says_whole(&json!({})) };
    let flaps = Case::harmless().away(SEEN, 1..=4, 0..=2).alone(SEEN, 4..=4);
    vec![
        once("500 once", || Script::status(500)),
        once("503 once", || Script::status(503)),
        Fault {
            pause: Duration::from_secs(1),
            ..once("429 once, Retry-After: 1", || Script::status_with(429, &[("retry-after", "1")], "{}"))
        },
        reset,
        // The one that broke says it again, and goes on; a plain answer that is cut is lost.
        once("cut after content, once", || begun(Step::Cut)).plain(Case::lost(502, &["engine_cut"])),
        Fault { requests: 2, ..Fault::new("flapping", flapping, flaps) },
    ]
}
