//! Chat completions as a strict client reads them.

use super::{Called, Finish, Outcome, Said, Trouble, Usage, fields, input, words};
use crate::{exact::Json, golden};

/// A plain answer.
pub(super) fn plain(json: &Json) -> Said {
    assert_eq!(words::text(json, "object"), "chat.completion", "{json}");
    words::has(json, &["id", "created", "model"]);
    let [choice] = words::list(json, "choices") else { panic!("not one choice: {json}") };
    assert_eq!(words::int(choice, "index"), 0);
    let message = choice.get("message");
    let said = |name: &str| message.get(name).as_text().unwrap_or_default().to_owned();
    Said {
        model: words::text(json, "model").to_owned(),
        text: said("content"),
        refusal: said("refusal"),
        reasoning: said("reasoning_content"),
        calls: message.get("tool_calls").items().iter().map(called).collect(),
        finish: match words::text(choice, "finish_reason") {
            "stop" => Finish::Stop,
            "length" => Finish::Length,
            "tool_calls" => Finish::Calls,
            "content_filter" => Finish::Filter,
            other => panic!("ended by {other}: {json}"),
        },
        usage: usage(json.get("usage")),
    }
}

fn called(call: &Json) -> Called {
    let id = Some(words::text(call, "id").to_owned());
    if words::text(call, "type") == "custom" {
        let custom = call.get("custom");
        let text = Json::text(words::text(custom, "input"));
        return Called { id, name: words::text(custom, "name").to_owned(), input: text };
    }
    let function = call.get("function");
    let arguments = words::text(function, "arguments");
    Called { id, name: words::text(function, "name").to_owned(), input: input(arguments) }
}

fn usage(json: &Json) -> Option<Usage> {
    if *json == Json::Null {
        return None;
    }
    let detail = |of: &str, name: &str| json.get(of).get(name).as_int().unwrap_or_default();
    Some(Usage {
        input: words::int(json, "prompt_tokens"),
        output: words::int(json, "completion_tokens"),
        cached: detail("prompt_tokens_details", "cached_tokens"),
        reasoning: detail("completion_tokens_details", "reasoning_tokens"),
        estimated: *json.get("estimated") == Json::Bool(true),
    })
}

/// An error, whole or in an event: the object is OpenAI's.
pub(super) fn trouble(json: &Json) -> Trouble {
    let error = json.get("error");
    words::has(error, &["message", "type", "param", "code"]);
    Trouble {
        status: 200,
        code: error.get("code").as_text().map(str::to_owned),
        kind: Some(words::text(error, "type").to_owned()),
        message: words::text(error, "message").to_owned(),
        fields: fields(json),
    }
}

/// A stream.
pub(super) fn stream(body: &str) -> Outcome {
    let mut events = words::events(body);
    let done = events.pop_if(|last| *last == "data: [DONE]").is_some();
    let (mut chunks, mut broken, mut finished) = (Vec::<Json>::new(), None, false);
    for event in events {
        let data = event.strip_prefix("data: ").unwrap_or_else(|| panic!("not an event: {event:?}"));
        let chunk = Json::parse(data);
        assert!(broken.is_none(), "something follows the error: {body:.1000}");
        if chunk.has("error") {
            broken = Some(trouble(&chunk));
            continue;
        }
        assert_eq!(words::text(&chunk, "object"), "chat.completion.chunk");
        if let Some(first) = chunks.first() {
            assert_eq!(chunk.get("id"), first.get("id"), "two answers in one");
        }
        for choice in words::list(&chunk, "choices") {
            words::has(choice, &["index", "delta", "finish_reason"]);
            let delta = choice.get("delta");
            let says = ["content", "refusal", "reasoning_content"]
                .iter()
                .any(|name| delta.get(name).as_text().is_some_and(|text| !text.is_empty()));
            assert!(!finished || !says && !delta.has("tool_calls"), "content after the end: {body:.1000}");
            finished |= *choice.get("finish_reason") != Json::Null;
        }
        chunks.push(chunk);
    }
    match broken {
        Some(trouble) => {
            assert!(!done, "an error and [DONE]: {body:.1000}");
            Outcome::Broken(begun(&chunks), trouble)
        }
        None => {
            assert!(done && finished, "neither whole nor an error: {body:.1000}");
            let mut sum = golden::sum(&chunks);
            sum.set("object", Json::text("chat.completion"));
            Outcome::Whole(plain(&sum))
        }
    }
}

/// What was heard before it broke; calls may be cut, and are left out.
fn begun(chunks: &[Json]) -> Said {
    let sum = golden::sum(chunks);
    let message = sum.get("choices").items().first().map_or(Json::Null, |one| one.get("message").clone());
    let said = |name: &str| message.get(name).as_text().unwrap_or_default().to_owned();
    Said {
        model: sum.get("model").as_text().unwrap_or_default().to_owned(),
        text: said("content"),
        refusal: said("refusal"),
        reasoning: said("reasoning_content"),
        ..Said::default()
    }
}
