//! Answers to the legacy completions: `text_completion` JSON, the same for the whole and for its pieces. Nobody
//! speaks, so there are no roles; what the contract calls content is the text.

use bytes::{BufMut as _, BytesMut};
use penstock_proto::inference::v1::{Choice, GenerateChunk};

use crate::{
    chat::chunk::{CHUNK, write_usage},
    json::write::{comma, extensions, key, nullable, optional, raw, value},
};

/// Writes the one chunk that holds the whole answer.
pub(crate) fn write(chunk: &GenerateChunk, out: &mut BytesMut) {
    out.put_u8(b'{');
    write_head(chunk, out);
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
    extensions(out, &chunk.extensions, &CHUNK);
    out.put_u8(b'}');
}

/// Writes the members that come before the choices.
pub(crate) fn write_head(chunk: &GenerateChunk, out: &mut BytesMut) {
    key(out, "\"id\":");
    value(out, &chunk.id);
    out.put_slice(b",\"object\":\"text_completion\",\"created\":");
    value(out, &chunk.created);
    out.put_slice(b",\"model\":");
    value(out, &chunk.model);
    optional(out, "\"service_tier\":", chunk.service_tier.as_deref());
    optional(out, "\"system_fingerprint\":", chunk.system_fingerprint.as_deref());
}

/// Writes a choice, or a piece of one.
pub(crate) fn write_choice(choice: &Choice, out: &mut BytesMut) {
    let text = choice.delta.as_ref().and_then(|delta| delta.content.as_deref());
    out.put_slice(b"{\"text\":");
    value(out, text.unwrap_or_default());
    out.put_slice(b",\"index\":");
    value(out, &choice.index);
    out.put_slice(b",\"logprobs\":");
    raw(out, choice.logprobs_json.as_deref().unwrap_or("null"));
    out.put_slice(b",\"finish_reason\":");
    nullable(out, choice.finish_reason.as_deref());
    extensions(out, &choice.extensions, &["text", "index", "logprobs", "finish_reason"]);
    out.put_u8(b'}');
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::{Delta, Extension, Usage};

    use super::*;
    use crate::{
        chat::chunk::{Completions, Shape},
        stream::Events as _,
    };

    fn chunk(text: &str, finish_reason: Option<&str>) -> GenerateChunk {
        let delta = Delta { content: Some(text.into()), ..Delta::default() };
        let choice = Choice {
            index: 1,
            delta: Some(delta),
            finish_reason: finish_reason.map(Into::into),
            logprobs_json: Some(r#"{"tokens":["a"]}"#.into()),
            extensions: vec![Extension { name: "stop_reason".into(), json: "7".into() }],
        };
        GenerateChunk {
            id: "cmpl-1".into(),
            created: 7,
            model: "m".into(),
            choices: vec![choice],
            ..GenerateChunk::default()
        }
    }

    fn usage() -> Usage {
        Usage { prompt_tokens: 1, completion_tokens: 2, total_tokens: 3, ..Usage::default() }
    }

    #[test]
    fn a_whole_answer_has_texts() {
        let mut out = BytesMut::new();
        write(&GenerateChunk { usage: Some(usage()), ..chunk("Hi \"é\"", Some("stop")) }, &mut out);
        assert_eq!(
            out,
            concat!(
                r#"{"id":"cmpl-1","object":"text_completion","created":7,"model":"m","choices":["#,
                r#"{"text":"Hi \"é\"","index":1,"logprobs":{"tokens":["a"]},"finish_reason":"stop","stop_reason":7}],"#,
                r#""usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#,
            )
        );
    }

    #[test]
    fn its_pieces_look_the_same_and_usage_comes_last() {
        let mut out = BytesMut::new();
        let mut events = Completions::new(Shape::Text, true);
        events.write(&chunk("a", None), &mut out);
        let last = GenerateChunk { choices: vec![], usage: Some(usage()), ..chunk("", None) };
        events.write(&last, &mut out);
        let head = r#"data: {"id":"cmpl-1","object":"text_completion","created":7,"model":"m","choices":["#;
        let expected = [
            head,
            r#"{"text":"a","index":1,"logprobs":{"tokens":["a"]},"finish_reason":null,"stop_reason":7}],"usage":null}"#,
            "\n\n",
            head,
            r#"],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}"#,
            "\n\n",
        ];
        assert_eq!(out, expected.concat());
        assert!(!events.end(&mut BytesMut::new()));
    }
}
