//! What becomes of the connection before the first content: refused, reset, cut, silent, slow, or not HTTP (D1, D9,
//! C7).

use std::time::Duration;

use penstock_tests::{Script, Step, engine::Head};

use super::fault::{Case, Fault, Sees, WHOLE, event, role, whole};

/// The head of a stream, without its body.
const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
/// The head of a plain answer that is longer than what follows.
const PLAIN: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 500\r\n\r\n";
/// A short patience with the first token, for those that never have one.
const IMPATIENT: &str = "first_token_timeout = \"500ms\"\n";

fn head(stream: bool, then: impl Into<Vec<Step>>) -> Script {
    Script::raw(if stream { STREAM } else { PLAIN }, then)
}

pub(super) fn faults() -> Vec<Fault> {
    let reset = || Case::lost(502, &["engine_reset"]).at_once();
    let cut = || Case::lost(502, &["engine_cut"]);
    let silent = || Case::lost(504, &["engine_timeout"]);
    let noise: Vec<u8> = (0..4096_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    vec![
        refused(),
        Fault::new("closed before the head", |_, _| Script::default().with_head(Head::Close), reset()),
        Fault::new("reset before the head", |_, _| Script::default().after(Step::Reset), reset()),
        Fault::new("reset after the head", |_, stream| head(stream, [Step::Reset]), cut()),
        Fault::new("cut after the head", |_, stream| head(stream, [Step::Cut]), cut()),
        Fault::new("cut after the role", |_, _| Script::steps([role(), Step::Cut]), cut()),
        Fault {
            sick: IMPATIENT,
            ..Fault::new("silence", |_, _| Script::default().after(Step::Stall), silent())
        },
        Fault {
            sick: IMPATIENT,
            ..Fault::new("silence after the head", |_, stream| head(stream, [Step::Stall]), silent())
        },
        Fault { sick: IMPATIENT, ..Fault::new("pings for ever", |_, stream| pings(stream), silent()) },
        Fault::new(
            "slow first token",
            |_, _| whole().after(Step::Wait(Duration::from_millis(700))),
            Case::harmless(),
        ),
        Fault::new("byte by byte", |_, stream| trickle(stream), Case::harmless()),
        Fault::new(
            "not HTTP",
            move |_, _| Script::raw(noise.clone(), []),
            Case::lost(502, &["engine_reset", "engine_bad_answer"]).at_once(),
        ),
        Fault::new(
            "a head of a megabyte",
            |_, _| Script::raw(format!("HTTP/1.1 200 OK\r\nx-long: {}\r\n\r\n", "x".repeat(1 << 20)), []),
            Case::lost(502, &["engine_reset", "engine_bad_answer"]).at_once(),
        ),
        Fault::new(
            "Content-Length too short",
            |_, stream| with_length(stream, |whole| whole * 2 / 3),
            Case::broken(&["engine_cut"]),
        )
        .plain(Case::lost(502, &["engine_bad_answer", "engine_cut"])),
        // All is said before what was promised is missed.
        Fault::new(
            "Content-Length too long",
            |_, stream| with_length(stream, |whole| whole * 2),
            Case::harmless(),
        )
        .plain(cut()),
    ]
}

fn refused() -> Fault {
    let gone = Sees::Refused(503, &["engine_unreachable", "circuit_open"]);
    let case = Case::lost(503, &[]).away(Sees::Whole(WHOLE, "stop"), 0..=0, 1..=1).alone(gone, 0..=0);
    Fault { plays: None, ..Fault::new("refused port", |_, _| whole(), case) }
}

/// Comments, or the white space that JSON may begin with, and never a word.
fn pings(stream: bool) -> Script {
    let ping = if stream { "7\r\n: ping\n\r\n" } else { " " };
    let pause = Step::Wait(Duration::from_millis(20));
    head(stream, vec![[pause, Step::Raw(ping.into())]; 400].concat())
}

/// A whole answer, byte by byte, with pauses.
fn trickle(stream: bool) -> Script {
    let bytes = if stream { stream_body() } else { plain_body() };
    let steps = bytes.into_bytes().into_iter().enumerate().flat_map(|(at, byte)| {
        let pause = (at % 16 == 0).then_some(Step::Wait(Duration::from_millis(1)));
        pause.into_iter().chain([Step::Raw(vec![byte])])
    });
    let kind = if stream { "text/event-stream" } else { "application/json" };
    // Without a length the end of the connection is the end of the answer.
    Script::raw(format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\n\r\n"), steps.collect::<Vec<_>>())
}

/// A whole answer that says another length.
fn with_length(stream: bool, length: fn(usize) -> usize) -> Script {
    let (kind, body) = match stream {
        true => ("text/event-stream", stream_body()),
        false => ("application/json", plain_body()),
    };
    let length = length(body.len());
    Script::raw(
        format!("HTTP/1.1 200 OK\r\ncontent-type: {kind}\r\ncontent-length: {length}\r\n\r\n{body}"),
        [],
    )
}

fn stream_body() -> String {
    let end = event("").replace("\"finish_reason\":null", "\"finish_reason\":\"stop\"");
    [event("One two "), event("three "), event("four five."), end, "data: [DONE]\n\n".into()].concat()
}

fn plain_body() -> String {
    let message = serde_json::json!({"role": "assistant", "content": WHOLE});
    serde_json::json!({"id": "c", "object": "chat.completion", "created": 1, "model": "engine-model",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 5, "total_tokens": 6}})
    .to_string()
}
