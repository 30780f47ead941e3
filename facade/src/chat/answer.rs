//! An answer that is not streamed, as `chat.completion` JSON, in one pass into a buffer.

use bytes::{BufMut as _, BytesMut};
use penstock_proto::inference::v1::{Choice, Delta, GenerateChunk, ToolCall};

use super::chunk::{
    CALL, CHUNK, MESSAGE, write_custom, write_end_of_choice, write_function, write_head, write_usage,
};
use crate::json::write::{comma, extensions, key, nullable, optional, value};

/// Writes the one chunk that holds the whole answer.
pub(crate) fn write(chunk: &GenerateChunk, out: &mut BytesMut) {
    out.put_u8(b'{');
    write_members(chunk, &[], out);
    out.put_u8(b'}');
}

/// Writes the members of a whole answer. `beside`: what is written beside them, so that an engine's own members
/// of these names do not come twice.
pub(super) fn write_members(chunk: &GenerateChunk, beside: &[&str], out: &mut BytesMut) {
    write_head(chunk, "\"chat.completion\"", out);
    key(out, "\"choices\":[");
    for choice in &chunk.choices {
        comma(out);
        write_choice(choice, out);
    }
    out.put_slice(b"],\"usage\":");
    match &chunk.usage {
        Some(usage) => write_usage(usage, out),
        None => out.put_slice(b"null"),
    }
    let others = chunk.extensions.iter().filter(|other| !beside.contains(&other.name.as_str()));
    extensions(out, others, &CHUNK);
}

/// Whether the chunk is a whole answer: it has choices, and each is finished.
pub(crate) fn is_whole(chunk: &GenerateChunk) -> bool {
    !chunk.choices.is_empty() && chunk.choices.iter().all(|choice| choice.finish_reason.is_some())
}

fn write_choice(choice: &Choice, out: &mut BytesMut) {
    out.put_slice(b"{\"index\":");
    value(out, &choice.index);
    out.put_slice(b",\"message\":");
    match &choice.delta {
        Some(message) => write_message(message, out),
        None => write_message(&Delta::default(), out),
    }
    write_end_of_choice(choice, "message", out);
}

fn write_message(message: &Delta, out: &mut BytesMut) {
    out.put_slice(b"{\"role\":");
    value(out, message.role.as_deref().unwrap_or("assistant"));
    // Always there, as OpenAI has them: clients read them without asking.
    out.put_slice(b",\"content\":");
    nullable(out, message.content.as_deref());
    out.put_slice(b",\"refusal\":");
    nullable(out, message.refusal.as_deref());
    optional(out, "\"reasoning_content\":", message.reasoning.as_deref());
    if !message.tool_calls.is_empty() {
        key(out, "\"tool_calls\":[");
        for call in &message.tool_calls {
            comma(out);
            write_call(call, out);
        }
        out.put_u8(b']');
    }
    if let Some(call) = &message.function_call {
        key(out, "\"function_call\":");
        write_function(call, Some(call.arguments.as_deref().unwrap_or_default()), out);
    }
    extensions(out, &message.extensions, &MESSAGE);
    out.put_u8(b'}');
}

/// Writes a whole call: no index, which only fragments have.
pub(super) fn write_call(call: &ToolCall, out: &mut BytesMut) {
    out.put_u8(b'{');
    optional(out, "\"id\":", call.id.as_deref());
    let kind = call.r#type.as_deref().or(call.function.is_some().then_some("function"));
    optional(out, "\"type\":", kind);
    if let Some(function) = &call.function {
        key(out, "\"function\":");
        write_function(function, Some(function.arguments.as_deref().unwrap_or_default()), out);
    }
    if let Some(custom) = &call.custom {
        key(out, "\"custom\":");
        write_custom(custom, Some(custom.input.as_deref().unwrap_or_default()), out);
    }
    extensions(out, &call.extensions, &CALL);
    out.put_u8(b'}');
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::{Extension, FunctionCall, Usage};

    use super::*;

    fn written(chunk: &GenerateChunk) -> String {
        let mut out = BytesMut::new();
        write(chunk, &mut out);
        String::from_utf8(out.to_vec()).unwrap()
    }

    fn answer(delta: Delta) -> GenerateChunk {
        GenerateChunk {
            id: "chatcmpl-1".into(),
            created: 7,
            model: "m".into(),
            choices: vec![Choice {
                index: 0,
                delta: Some(delta),
                finish_reason: Some("stop".into()),
                ..Choice::default()
            }],
            ..GenerateChunk::default()
        }
    }

    #[test]
    fn a_plain_answer_has_every_member_that_openai_has() {
        let chunk = GenerateChunk {
            usage: Some(Usage {
                prompt_tokens: 1,
                completion_tokens: 2,
                total_tokens: 3,
                extensions: vec![Extension {
                    name: "prompt_tokens_details".into(),
                    json: "{\"cached_tokens\": 0}".into(),
                }],
                ..Usage::default()
            }),
            ..answer(Delta { content: Some("Hi \"é\"\n".into()), ..Delta::default() })
        };
        assert_eq!(
            written(&chunk),
            r#"{"id":"chatcmpl-1","object":"chat.completion","created":7,"model":"m","system_fingerprint":null,"#
                .to_owned()
                + r#""choices":[{"index":0,"message":{"role":"assistant","content":"Hi \"é\"\n","refusal":null},"#
                + r#""logprobs":null,"finish_reason":"stop"}],"#
                + r#""usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3,"prompt_tokens_details":{"cached_tokens": 0}}}"#
        );
    }

    #[test]
    fn calls_have_no_index_and_always_arguments() {
        let call = ToolCall {
            index: Some(0),
            id: Some("c1".into()),
            function: Some(FunctionCall { name: Some("f".into()), ..FunctionCall::default() }),
            ..ToolCall::default()
        };
        let json = written(&answer(Delta { tool_calls: vec![call], ..Delta::default() }));
        assert!(json.contains(
            r#""content":null,"refusal":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"f","arguments":""}}]"#
        ), "{json}");
    }

    #[test]
    fn extensions_come_back_on_their_level_and_never_twice() {
        let extension = |name: &str, json: &str| Extension { name: name.into(), json: json.into() };
        let mut chunk = answer(Delta {
            reasoning: Some("hm".into()),
            extensions: vec![extension("annotations", "[]"), extension("role", "\"x\"")],
            ..Delta::default()
        });
        chunk.extensions = vec![extension("object", "\"other\""), extension("prompt_logprobs", "null")];
        chunk.choices[0].extensions = vec![extension("stop_reason", "null")];
        chunk.choices[0].logprobs_json = Some("{\"content\":[]}".into());
        let json = written(&chunk);
        assert!(json.contains(r#""refusal":null,"reasoning_content":"hm","annotations":[]},"logprobs":{"content":[]},"finish_reason":"stop","stop_reason":null}]"#), "{json}");
        assert!(json.ends_with(r#""usage":null,"prompt_logprobs":null}"#), "{json}");
        assert!(serde_json::from_str::<serde_json::Value>(&json).is_ok(), "{json}");
    }

    #[test]
    fn an_answer_without_an_end_is_not_whole() {
        let mut chunk = answer(Delta::default());
        assert!(is_whole(&chunk));
        chunk.choices[0].finish_reason = None;
        assert!(!is_whole(&chunk));
        assert!(!is_whole(&GenerateChunk::default()));
    }
}
