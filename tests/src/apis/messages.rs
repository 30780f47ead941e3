//! Anthropic's messages as a strict client asks for them and reads them: blocks one after the other, each begun and
//! stopped, and the reason of the end before the last event.

mod question;

pub use self::question::MAX_TOKENS;
pub(super) use self::question::question;
use super::{Called, Finish, Outcome, Said, Trouble, Usage, fields, words};
use crate::exact::Json;

/// A plain answer, or what the events of a stream add up to.
pub(super) fn plain(json: &Json) -> Said {
    head(json);
    let mut said = blocks(json);
    let reason = words::text(json, "stop_reason");
    words::has(json, &["stop_sequence"]);
    assert_eq!(json.get("stop_sequence").as_text().is_some(), reason == "stop_sequence", "{json}");
    said.finish = match reason {
        "end_turn" | "stop_sequence" => Finish::Stop,
        "max_tokens" => Finish::Length,
        "tool_use" => Finish::Calls,
        "refusal" => Finish::Filter,
        other => panic!("stopped by {other}: {json}"),
    };
    assert!(said.finish != Finish::Calls || !said.calls.is_empty(), "tool_use without any: {json}");
    said.usage = Some(usage(json.get("usage")));
    said
}

fn head(json: &Json) {
    assert_eq!(words::text(json, "type"), "message", "{json}");
    assert_eq!(words::text(json, "role"), "assistant");
    assert!(words::text(json, "id").starts_with("msg_"), "{json}");
}

fn blocks(json: &Json) -> Said {
    let mut said = Said { model: words::text(json, "model").to_owned(), ..Said::default() };
    for block in words::list(json, "content") {
        match words::text(block, "type") {
            "text" => said.text += words::text(block, "text"),
            "thinking" => {
                words::text(block, "signature");
                said.reasoning += words::text(block, "thinking");
            }
            "tool_use" => {
                let input = block.get("input").clone();
                assert!(matches!(input, Json::Object(_)), "input is an object: {block}");
                let id = Some(words::text(block, "id").to_owned());
                said.calls.push(Called { id, name: words::text(block, "name").to_owned(), input });
            }
            other => panic!("a block is {other}: {json}"),
        }
    }
    said
}

fn usage(json: &Json) -> Usage {
    let cached = json.get("cache_read_input_tokens").as_int().unwrap_or_default();
    let written = json.get("cache_creation_input_tokens").as_int().unwrap_or_default();
    Usage {
        input: words::int(json, "input_tokens") + cached + written,
        output: words::int(json, "output_tokens"),
        cached,
        reasoning: 0,
        estimated: *json.get("estimated") == Json::Bool(true),
    }
}

/// An error, whole or in an event.
pub(super) fn trouble(json: &Json) -> Trouble {
    assert_eq!(words::text(json, "type"), "error", "{json}");
    let error = json.get("error");
    Trouble {
        status: 200,
        code: None,
        kind: Some(words::text(error, "type").to_owned()),
        message: words::text(error, "message").to_owned(),
        fields: fields(json),
    }
}

/// The type of an error with this status, as Anthropic's documentation has it.
pub(super) fn kind(status: u16) -> &'static str {
    match status {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        413 => "request_too_large",
        429 => "rate_limit_error",
        503 | 529 => "overloaded_error",
        504 => "timeout_error",
        400..=499 => "invalid_request_error",
        _ => "api_error",
    }
}

/// The message as its events have made it so far.
struct Snapshot {
    json: Json,
    content: Vec<Json>,
    /// What the open block says: a list of deltas' texts.
    open: Option<Block>,
    delta: bool,
    stopped: bool,
}

struct Block {
    kind: String,
    text: String,
    signature: Option<String>,
}

/// A stream.
pub(super) fn stream(body: &str) -> Outcome {
    let events = words::named_events(body);
    let mut events = events.iter();
    let (name, first) = events.next().expect("an event");
    assert_eq!(name, "message_start", "what fails before is an error with a status: {body:.1000}");
    let mut snapshot = Snapshot::start(first.get("message"));
    let mut broken = None;
    for (name, data) in events {
        assert!(broken.is_none(), "{name} after the error: {body:.2000}");
        assert!(!snapshot.stopped, "{name} after the stop: {body:.2000}");
        match name.as_str() {
            "ping" => {}
            "error" => broken = Some(trouble(data)),
            _ => snapshot.take(name, data),
        }
    }
    snapshot.json.set("content", Json::List(snapshot.content.clone()));
    if let Some(trouble) = broken {
        let mut said = blocks(&snapshot.json);
        said.calls.clear();
        if let Some(open) = &snapshot.open {
            match open.kind.as_str() {
                "text" => said.text += &open.text,
                "thinking" => said.reasoning += &open.text,
                _ => {}
            }
        }
        return Outcome::Broken(said, trouble);
    }
    assert!(snapshot.stopped, "neither whole nor an error: {body:.2000}");
    Outcome::Whole(plain(&snapshot.json))
}

impl Snapshot {
    fn start(message: &Json) -> Snapshot {
        head(message);
        assert!(words::list(message, "content").is_empty(), "{message}");
        for open in ["stop_reason", "stop_sequence"] {
            assert!(message.has(open) && *message.get(open) == Json::Null, "{message}");
        }
        for count in ["input_tokens", "output_tokens"] {
            words::int(message.get("usage"), count);
        }
        Snapshot { json: message.clone(), content: Vec::new(), open: None, delta: false, stopped: false }
    }

    fn take(&mut self, name: &str, data: &Json) {
        if name.starts_with("content_block") {
            let at = usize::try_from(words::int(data, "index")).unwrap();
            assert_eq!(at, self.content.len() - usize::from(self.open.is_some() && name != "content_block_start"));
            assert!(!self.delta, "{name} after the reason of the end: {data}");
        }
        match name {
            "content_block_start" => self.begin(data.get("content_block")),
            "content_block_delta" => self.add(data.get("delta")),
            "content_block_stop" => self.end(),
            "message_delta" => {
                assert!(self.open.is_none(), "a block is still open: {data}");
                assert!(!self.delta, "two reasons of the end: {data}");
                self.delta = true;
                for name in ["stop_reason", "stop_sequence"] {
                    assert!(data.get("delta").has(name), "{data}");
                    self.json.set(name, data.get("delta").get(name).clone());
                }
                let mut usage = self.json.take("usage");
                words::int(data.get("usage"), "output_tokens");
                for count in data.get("usage").names() {
                    usage.set(count, data.get("usage").get(count).clone());
                }
                self.json.set("usage", usage);
            }
            "message_stop" => {
                assert!(self.delta, "an end without a reason");
                self.stopped = true;
            }
            other => panic!("nobody knows the event {other}"),
        }
    }

    fn begin(&mut self, block: &Json) {
        assert!(self.open.is_none(), "two blocks at once: {block}");
        let kind = words::text(block, "type").to_owned();
        match kind.as_str() {
            "text" => assert_eq!(words::text(block, "text"), ""),
            "thinking" => {
                assert_eq!(words::text(block, "thinking"), "");
                words::text(block, "signature");
            }
            "tool_use" => assert_eq!(*block.get("input"), Json::parse("{}")),
            other => panic!("a block is {other}"),
        }
        self.content.push(block.clone());
        self.open = Some(Block { kind, text: String::new(), signature: None });
    }

    fn add(&mut self, delta: &Json) {
        let open = self.open.as_mut().unwrap_or_else(|| panic!("no block is open: {delta}"));
        match (open.kind.as_str(), words::text(delta, "type")) {
            ("text", "text_delta") => open.text += words::text(delta, "text"),
            ("thinking", "thinking_delta") => open.text += words::text(delta, "thinking"),
            ("thinking", "signature_delta") => {
                open.signature.get_or_insert_default().push_str(words::text(delta, "signature"));
            }
            ("tool_use", "input_json_delta") => open.text += words::text(delta, "partial_json"),
            other => panic!("{other:?} do not belong together: {delta}"),
        }
    }

    fn end(&mut self) {
        let open = self.open.take().expect("a block is open");
        let block = self.content.last_mut().expect("an open block is there");
        match open.kind.as_str() {
            "text" => block.set("text", Json::text(open.text)),
            "thinking" => {
                block.set("thinking", Json::text(open.text));
                if let Some(signature) = open.signature {
                    block.set("signature", Json::text(signature));
                }
            }
            // SDKs take no text for no arguments.
            _ if open.text.is_empty() => {}
            _ => block.set("input", Json::parse(&open.text)),
        }
    }
}

/// How an answer that chat shows so is shown here: a refusal is a text and a reason of the end, and nobody tells how
/// many tokens reasoning took.
pub(super) fn shown(said: &mut Said) {
    if !said.refusal.is_empty() {
        said.text += &std::mem::take(&mut said.refusal);
        said.finish = Finish::Filter;
    }
    if said.finish == Finish::Stop && !said.calls.is_empty() {
        said.finish = Finish::Calls;
    }
    if let Some(usage) = &mut said.usage {
        usage.reasoning = 0;
    }
}
