//! Answers with status 200 that are not what they should be: not an answer at all, or one that is not quite right
//! and is put right (C5, C6, C9, D4, D9, D10).

use penstock_tests::{ENGINE_CANARY, Script, Step};
use serde_json::json;

use super::{
    bomb::bomb,
    fault::{BEGUN, Case, Fault, Sees, WHOLE, role, whole},
};

const EVENTS: &[(&str, &str)] = &[("content-type", "text/event-stream")];
const TEXT: &[(&str, &str)] = &[("content-type", "text/plain")];

pub(super) fn faults() -> Vec<Fault> {
    let bad = || Case::lost(502, &["engine_bad_answer"]);
    let bomb = bomb();
    let mut faults = vec![
        Fault::new("HTML with status 200", |_, _| Script::html(), bad()),
        Fault::new("wrong content type", |_, _| Script::status_with(200, TEXT, "data: hello\n\n"), bad()),
        Fault::new("not JSON", |_, stream| body(stream, "nonsense"), bad()),
        Fault::new("truncated JSON", |_, stream| body(stream, "{\"choices\":[{\"index\":0,\"del"), bad()),
        Fault::new("JSON of another shape", |_, stream| body(stream, "{\"choices\":7}"), bad()),
        Fault::new("no choices at all", |_, _| Script::status_with(200, &[], "{}"), bad()),
        Fault::new("gzip bomb", move |_, _| Script::raw(bomb.clone(), []), bad()),
        Fault::new("line of two megabytes", |_, stream| body(stream, &"x".repeat(2 << 20)), bad()),
        Fault::new(
            "an error with status 200",
            |_, _| Script::status_with(200, &[], &error()),
            Case::lost(502, &["engine_failed"]).again(),
        ),
        Fault::new(
            "an error before the first content",
            |_, stream| {
                if stream { Script::steps([role(), Step::Event(error())]) } else { body(stream, &error()) }
            },
            Case::lost(502, &["engine_failed"]).again(),
        ),
        Fault::new(
            "an empty stream",
            |_, stream| if stream { Script::steps([]) } else { Script::status_with(200, &[], "") },
            Case::lost(502, &["engine_cut", "engine_bad_answer"]),
        ),
    ];
    faults.extend(not_quite_right());
    faults
}

/// What comes of these is the whole answer, and nobody else is asked.
fn not_quite_right() -> Vec<Fault> {
    let finish = || Step::Finish("stop");
    let filtered = Sees::Whole("One two three ", "content_filter");
    let steps =
        |name, steps: Vec<Step>| Fault::new(name, move |_, _| Script::steps(steps.clone()), Case::harmless());
    let said = || Step::Text(WHOLE.into());
    vec![
        steps("no [DONE]", vec![role(), said(), finish()]),
        steps("no usage", vec![role(), said(), finish(), Step::Done]),
        steps("no role", vec![said(), finish(), Step::Usage, Step::Done]),
        steps(
            "everything twice but the text",
            vec![
                role(),
                role(),
                said(),
                finish(),
                finish(),
                Step::Usage,
                Step::Usage,
                Step::Done,
                Step::Done,
            ],
        ),
        Fault::new(
            "more after [DONE]",
            |_, stream| match stream {
                true => {
                    let all = [whole().steps, whole().steps].concat();
                    Script::steps(all)
                }
                false => whole(),
            },
            Case::harmless(),
        ),
        Fault::new(
            "a line of a log among the chunks",
            |_, stream| match stream {
                true => Script::steps([
                    role(),
                    said_of("{oops"),
                    Step::Text(WHOLE.into()),
                    Step::Finish("stop"),
                    Step::Done,
                ]),
                false => whole(),
            },
            Case::harmless(),
        ),
        Fault::new(
            "filter ends it",
            |_, _| {
                let [a, b] = BEGUN.map(|text| Step::Text(text.into()));
                Script::steps([role(), a, b, Step::Finish("content_filter"), Step::Done])
            },
            Case::told(filtered),
        ),
    ]
}

fn said_of(text: &str) -> Step {
    Step::Event(format!("{text} {ENGINE_CANARY}"))
}

/// `body` as a plain answer, or as the one event of a stream.
fn body(stream: bool, body: &str) -> Script {
    match stream {
        true => Script::status_with(200, EVENTS, &format!("data: {body}\n\ndata: [DONE]\n\n")),
        false => Script::status_with(200, &[], body),
    }
}

fn error() -> String {
    json!({"error": {"message": format!("{ENGINE_CANARY} out of memory"), "type": "server_error", "code": 500}})
        .to_string()
}
