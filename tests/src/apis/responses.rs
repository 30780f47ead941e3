//! OpenAI's responses as a strict client asks for them and reads them: every member that the SDKs' types hold to be
//! there, every item begun and ended, sequence numbers without a gap, and a last object that is the sum of all.

mod events;
mod question;

pub(super) use self::{events::stream, question::question};
use super::{Called, Finish, Said, Usage, input, words};
use crate::exact::Json;

/// What an answer has in every state of it.
const MEMBERS: [&str; 24] = [
    "id", "object", "created_at", "status", "background", "error", "incomplete_details", "instructions",
    "max_output_tokens", "model", "output", "parallel_tool_calls", "previous_response_id", "reasoning", "store",
    "temperature", "text", "tool_choice", "tools", "top_p", "truncation", "usage", "user", "metadata",
];

/// A plain answer, or the object in the last event of a stream.
pub(super) fn plain(json: &Json) -> Said {
    let status = head(json);
    let mut said = Said { model: words::text(json, "model").to_owned(), ..Said::default() };
    let mut ids = Vec::new();
    for item in words::list(json, "output") {
        ids.push(words::text(item, "id"));
        add(&mut said, item, status);
    }
    let count = ids.len();
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), count, "items share an id: {json}");
    let reason = json.get("incomplete_details").get("reason").as_text();
    said.finish = match (status, reason) {
        ("completed", None) if said.calls.is_empty() => Finish::Stop,
        ("completed", None) => Finish::Calls,
        ("incomplete", Some("max_output_tokens")) => Finish::Length,
        ("incomplete", Some("content_filter")) => Finish::Filter,
        other => panic!("{other:?} is no end: {json}"),
    };
    assert_eq!(*json.get("error"), Json::Null, "{json}");
    if status == "completed" {
        assert!(json.get("completed_at").as_int().is_some(), "completed, and no time: {json}");
    }
    said.usage = usage(json.get("usage"));
    said
}

/// Checks what every response object has; its status.
fn head(json: &Json) -> &str {
    words::has(json, &MEMBERS);
    assert_eq!(words::text(json, "object"), "response");
    assert!(words::text(json, "id").starts_with("resp_"), "{json}");
    assert!(words::int(json, "created_at") > 0);
    for (name, is) in [
        ("metadata", matches!(json.get("metadata"), Json::Object(_))),
        ("parallel_tool_calls", matches!(json.get("parallel_tool_calls"), Json::Bool(_))),
        ("text", matches!(json.get("text"), Json::Object(_))),
        ("reasoning", json.get("reasoning").has("effort")),
        ("tools", matches!(json.get("tools"), Json::List(_))),
        ("tool_choice", matches!(json.get("tool_choice"), Json::Text(_) | Json::Object(_))),
    ] {
        assert!(is, "{name} is not what the SDKs' types hold it to be: {json}");
    }
    words::text(json, "status")
}

/// Adds what an item says; the answer has this status.
fn add(said: &mut Said, item: &Json, status: &str) {
    let id = words::text(item, "id");
    let begins = |prefix: &str| assert!(id.starts_with(prefix), "{id} does not begin by {prefix}: {item}");
    let ended = |item: &Json| {
        let is = words::text(item, "status");
        let may = if status == "incomplete" { ["completed", "incomplete"] } else { ["completed"; 2] };
        assert!(may.contains(&is), "an item is {is} in an answer that is {status}: {item}");
    };
    match words::text(item, "type") {
        "reasoning" => {
            begins("rs_");
            let all = |name: &str, kind: &str| -> String {
                let parts = if item.has(name) { words::list(item, name) } else { &[] };
                parts.iter().for_each(|part| assert_eq!(words::text(part, "type"), kind));
                parts.iter().map(|part| words::text(part, "text")).collect()
            };
            let (summary, content) = (all("summary", "summary_text"), all("content", "reasoning_text"));
            assert!(item.has("summary"), "the SDKs' types hold a summary to be there: {item}");
            assert!(summary.is_empty() || summary == content, "the summary is what is told: {item}");
            said.reasoning += &content;
        }
        "message" => {
            begins("msg_");
            ended(item);
            assert_eq!(words::text(item, "role"), "assistant");
            for part in words::list(item, "content") {
                match words::text(part, "type") {
                    "output_text" => {
                        words::list(part, "annotations");
                        said.text += words::text(part, "text");
                    }
                    "refusal" => said.refusal += words::text(part, "refusal"),
                    other => panic!("a part is {other}: {item}"),
                }
            }
        }
        kind @ ("function_call" | "custom_tool_call") => {
            ended(item);
            let custom = kind == "custom_tool_call";
            begins(if custom { "ctc_" } else { "fc_" });
            said.calls.push(Called {
                id: Some(words::text(item, "call_id").to_owned()),
                name: words::text(item, "name").to_owned(),
                input: if custom {
                    Json::text(words::text(item, "input"))
                } else {
                    input(words::text(item, "arguments"))
                },
            });
        }
        other => panic!("an item is {other}: {item}"),
    }
}

fn usage(json: &Json) -> Option<Usage> {
    if *json == Json::Null {
        return None;
    }
    let (input, output) = (words::int(json, "input_tokens"), words::int(json, "output_tokens"));
    assert!(json.get("total_tokens").as_int().is_some(), "{json}");
    Some(Usage {
        input,
        output,
        cached: words::int(json.get("input_tokens_details"), "cached_tokens"),
        reasoning: words::int(json.get("output_tokens_details"), "reasoning_tokens"),
        estimated: *json.get("estimated") == Json::Bool(true),
    })
}

/// How an answer that chat shows so is shown here: calls are an end of their own.
pub(super) fn shown(said: &mut Said) {
    if said.finish == Finish::Calls && said.calls.is_empty() {
        said.finish = Finish::Stop;
    }
    if said.finish == Finish::Stop && !said.calls.is_empty() {
        said.finish = Finish::Calls;
    }
}
