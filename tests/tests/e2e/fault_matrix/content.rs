//! What goes wrong after the first content: another engine goes on where this one broke off, and the caller sees one
//! answer; with nobody to go on, an error event and no `[DONE]` (C6, C7, C8, C9).

use std::time::Duration;

use penstock_tests::{ENGINE_CANARY, Script, Step};
use serde_json::{Value, json};

use super::fault::{BEGUN, Case, Fault, ON, Sees, WHOLE, begun, says, says_whole, whole};

/// Breaks after the first content of a stream; the plain answer is lost as a whole.
fn breaks(name: &'static str, ending: Step, code: &'static [&'static str], plain: Case) -> Fault {
    Fault::new(name, move |_, _| begun(ending.clone()), Case::broken(code)).plain(plain)
}

/// Breaks after the first content of a stream, and is well where nothing is streamed.
fn breaks_streams(name: &'static str, ending: Step, code: &'static [&'static str]) -> Fault {
    let plays = move |_, stream| if stream { begun(ending.clone()) } else { whole() };
    Fault::new(name, plays, Case::broken(code)).plain(Case::harmless())
}

/// The ways in which a stream breaks after its first content.
pub(super) fn faults() -> Vec<Fault> {
    let error =
        json!({"error": {"message": format!("{ENGINE_CANARY} out of memory"), "code": 500}}).to_string();
    let lost: &[&str] = &["engine_cut"];
    let bad: &[&str] = &["engine_bad_answer"];
    vec![
        cut(),
        breaks("reset after content", Step::Reset, lost, Case::lost(502, lost)),
        breaks_streams("no end at all", Step::Raw(Vec::new()), lost),
        breaks_streams("[DONE] in the middle", Step::Done, lost),
        breaks(
            "a chunk that is not JSON, and no end",
            Step::Event("{oops".into()),
            bad,
            Case::lost(502, bad),
        ),
        breaks(
            "a line of two megabytes after content",
            Step::Raw(vec![b'x'; 2 << 20]),
            bad,
            Case::lost(502, bad),
        ),
        breaks(
            "an error after content",
            Step::Event(error),
            &["engine_failed"],
            Case::lost(502, &["engine_failed"]).again(),
        ),
        stalls(),
    ]
}

/// Silent after the first content. It is never asked again itself.
fn stalls() -> Fault {
    let stall: &[&str] = &["engine_timeout"];
    let case = Case::broken(stall).alone(Sees::Broken(stall), 1..=1);
    let plays = |_, _| begun(Step::Stall);
    Fault::new("silence after content", plays, case).plain(Case::lost(504, stall))
}

/// What becomes of a broken stream hangs on more than how it broke.
pub(super) fn circumstances() -> Vec<Fault> {
    let cut: &[&str] = &["engine_cut"];
    let plain = || Case::lost(502, cut);
    vec![
        endless(),
        // What is said otherwise cannot be put behind what was said.
        Fault::new(
            "cut after content, another one says otherwise",
            |_, _| begun(Step::Cut),
            Case::broken(cut).away(Sees::Broken(cut), 1..=1, 1..=1),
        )
        .plain(plain().away(Sees::Whole("Ten nine eight.", "stop"), 1..=1, 1..=1))
        .other(|_, body| says("Ten nine eight.", body)),
        Fault::new(
            "cut after content, another one is lost too",
            |_, _| begun(Step::Cut),
            Case::broken(cut).away(Sees::Broken(&["engine_cut", "engine_failed"]), 1..=2, 1..=3),
        )
        .plain(plain().away(Sees::Refused(502, &["engine_cut", "engine_failed"]), 1..=1, 1..=3))
        .other(|_, _| Script::status(500)),
        // Each goes on a little: the second one breaks later, and nobody is left.
        Fault::new(
            "cut after content, another one is cut later",
            |_, _| begun(Step::Cut),
            Case::broken(cut).away(Sees::Broken(cut), 1..=2, 1..=2),
        )
        .plain(plain().away(Sees::Refused(502, cut), 1..=1, 1..=1))
        .other(|_, _| Script::broken(["One two three ", "four "], Step::Cut)),
    ]
}

/// Talks for ever: the caller's own deadline ends it, and nobody else is asked in the time that is left.
fn endless() -> Fault {
    let late = Sees::Broken(&["timeout", "engine_timeout"]);
    let pair = [Step::Text(ON.into()), Step::Wait(Duration::from_millis(20))];
    let plays = move |_, stream| match stream {
        true => {
            let steps: Vec<Step> = pair.iter().cycle().take(2000).cloned().collect();
            Script::steps(steps)
        }
        // Without an end, and larger than any answer may be.
        false => Script::raw(
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\n",
            vec![Step::Raw(vec![b' '; 64 << 10]); 32],
        ),
    };
    let plain = Case::lost(502, &["engine_bad_answer"]);
    Fault { deadline: Some("3s"), ..Fault::new("talks for ever", plays, Case::told(late)).plain(plain) }
}

/// Nobody else is asked after the first content where the model does not want it, or where the other one cannot.
pub(super) fn as_errors() -> Vec<Fault> {
    let as_error = |mut fault: Fault| {
        fault.stream.away.sees = fault.stream.alone.sees;
        fault.stream.away.well = 0..=0;
        fault
    };
    let only_continued = |fault| Fault {
        name: "cut after content, nobody can go on",
        model: "after_commit = \"continue\"\n",
        ..fault
    };
    let never =
        faults().into_iter().map(|fault| Fault { model: "after_commit = \"error\"\n", ..as_error(fault) });
    // What is held back was not passed on.
    let held = Fault {
        name: "cut after content that is held back",
        model: "after_commit = \"error\"\nhold_back = { chars = 100, time = \"5s\" }\n",
        ..cut()
    };
    never.chain([only_continued(as_error(cut())), held]).collect()
}

fn cut() -> Fault {
    breaks("cut after content", Step::Cut, &["engine_cut"], Case::lost(502, &["engine_cut"]))
}

/// Another one that can go on from what was said is asked to.
pub(super) fn continued() -> Vec<Fault> {
    // vLLM is known to be able to; of any other that speaks OpenAI's dialect the file says it.
    let can = "capabilities = { prefill = true }\n";
    let mut faults: Vec<_> =
        faults().into_iter().map(|fault| Fault { engine: "vllm", prefills: true, ..fault }).collect();
    let lost: &[&str] = &["engine_cut"];
    faults.push(Fault {
        name: "cut after content, the file says who can go on",
        well: can,
        prefills: true,
        ..cut()
    });
    // It can, and is not to.
    let model = "after_commit = \"replay\"\n";
    faults.push(Fault { name: "cut after content, to be said again", well: can, model, ..cut() });
    // It is known to be able to, and is not: then it says it all again.
    let refuses = |_: usize, body: &Value| match body["messages"].as_array().and_then(|all| all.last()) {
        Some(last) if last["role"] == "assistant" => Script::status(400),
        _ => says_whole(body),
    };
    let seamless = Sees::Whole(WHOLE, "stop");
    let case = Case::broken(lost).away(seamless, 1..=1, 2..=2);
    faults.push(Fault {
        well: can,
        prefills: true,
        ..Fault::new("cut after content, another one refuses to go on", |_, _| begun(Step::Cut), case)
            .plain(Case::lost(502, lost))
            .other(refuses)
    });
    // Text in mid-word, with white space that must not be lost or doubled.
    let words = ["One  two", " th"];
    faults.push(Fault {
        well: can,
        prefills: true,
        ..Fault::new(
            "cut in mid-word",
            move |_, _| Script::broken(words, Step::Cut),
            Case::broken(lost).away(Sees::Whole("One  two three.", "stop"), 1..=1, 1..=1),
        )
        .plain(Case::lost(502, lost).away(Sees::Whole("One  two three.", "stop"), 1..=1, 1..=1))
        .other(|_, body| says("One  two three.", body))
    });
    faults
}

/// Patience of the one deployment, where all others have much.
pub(super) fn by_their_own_patience() -> Vec<Fault> {
    let late: &[&str] = &["engine_timeout"];
    let broken = || Case::broken(late).alone(Sees::Broken(late), 1..=1);
    let lost = || Case::lost(504, late);
    // Talks on, and says nothing.
    let drones = |_, stream| match stream {
        true => {
            let nothing = [Step::Text(String::new()), Step::Wait(Duration::from_millis(20))];
            let begun = BEGUN.map(|text| Step::Text(text.into()));
            Script::steps([begun.to_vec(), vec![nothing; 2000].concat()].concat())
        }
        false => whole(),
    };
    vec![
        Fault {
            sick: "stall_timeout = \"300ms\"\nanswer_timeout = \"300ms\"\n",
            ..Fault::new("its own stall_timeout, answer_timeout", |_, _| begun(Step::Stall), broken())
                .plain(lost())
        },
        Fault {
            sick: "first_token_timeout = \"300ms\"\nanswer_timeout = \"300ms\"\n",
            ..Fault::new("its own first_token_timeout", |_, _| whole().after(Step::Stall), lost())
        },
        Fault {
            sick: "total_timeout = \"800ms\"\n",
            ..Fault::new("its own total_timeout", drones, broken()).plain(Case::harmless())
        },
    ]
}
