//! What Ollama's API says about how a server keeps house: how long a model stays, how its memory is laid out. No other
//! engine knows these words, nothing that it answers depends on them, and some refuse what they do not know.

use std::borrow::Cow;

use penstock_proto::inference::v1::Extension;
use serde_json::value::RawValue;

use super::ollama::options::{SAMPLING, members};

/// Options that stand in requests to other engines under names of their own: in Ollama's they change the answer.
const COUNTERPARTS: [&str; 6] =
    ["temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty"];

/// The members of a request for an answer without those. What has another shape than Ollama's is another's word, and
/// options that shape the answer are not left out in silence.
pub(super) fn without_housekeeping(extensions: &[Extension]) -> Cow<'_, [Extension]> {
    without(extensions, |Extension { name, json }| match name.as_str() {
        "options" => members(json).is_some_and(|members| !members.iter().any(shapes_the_answer)),
        "keep_alive" => true,
        "truncate" | "shift" => matches!(json.as_str(), "true" | "false"),
        _ => false,
    })
}

/// Likewise of a request for vectors: there, other engines have a `truncate` of their own.
pub(super) fn of_vectors(extensions: &[Extension]) -> Cow<'_, [Extension]> {
    without(extensions, |Extension { name, json }| match name.as_str() {
        "options" => json.starts_with('{'),
        "keep_alive" => true,
        _ => false,
    })
}

fn shapes_the_answer((name, json): &(String, &RawValue)) -> bool {
    let name = name.as_str();
    let is_bound = name == "num_predict" && !matches!(json.get(), "-1" | "-2");
    is_bound || COUNTERPARTS.contains(&name) || SAMPLING.contains(&name)
}

fn without(extensions: &[Extension], is_left_out: impl Fn(&Extension) -> bool) -> Cow<'_, [Extension]> {
    if !extensions.iter().any(&is_left_out) {
        return Cow::Borrowed(extensions);
    }
    Cow::Owned(extensions.iter().filter(|extension| !is_left_out(extension)).cloned().collect())
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::{
        ChatInput, GenerateRequest, Message, generate_request::Input, message::Content,
    };
    use serde_json::Value;

    use super::*;
    use crate::engine::{
        Dialect, Target, anthropic::Anthropic, llama_cpp::LlamaCpp, ollama::Ollama, openai::OpenAi,
        vllm::Vllm,
    };

    const GIVEN: [(&str, &str); 5] = [
        ("options", r#"{"num_thread":4}"#),
        ("keep_alive", "-1"),
        ("truncate", "false"),
        ("shift", "true"),
        ("top_k", "40"),
    ];

    fn body<D: Dialect>() -> Value {
        let content = Some(Content::Text("x".into()));
        let message = Message { role: "user".into(), content, ..Message::default() };
        let extension = |(name, json): (&str, &str)| Extension { name: name.into(), json: json.into() };
        let request = GenerateRequest {
            input: Some(Input::Chat(ChatInput { messages: vec![message] })),
            extensions: GIVEN.map(extension).into(),
            ..GenerateRequest::default()
        };
        let target = Target::of("d".into(), "http://127.0.0.1:1".parse().unwrap(), "m".into());
        serde_json::from_slice(&D::generate(&request, &target).unwrap().body).unwrap()
    }

    #[test]
    fn an_ollama_gets_it_and_nobody_else_does() {
        for body in [body::<OpenAi>(), body::<Vllm>(), body::<LlamaCpp>(), body::<Anthropic>()] {
            for (name, _) in &GIVEN[..4] {
                assert_eq!(body.get(name), None, "{body}");
            }
            assert_eq!(body["top_k"], 40, "{body}");
        }
        let body = body::<Ollama>();
        assert_eq!((&body["options"]["num_thread"], &body["options"]["top_k"]), (&4.into(), &40.into()));
        assert_eq!((&body["keep_alive"], &body["shift"]), (&(-1).into(), &true.into()));
        assert_eq!(body.get("top_k"), None);
    }

    #[test]
    fn only_what_keeps_house_is_left_out() {
        let given: Vec<_> = [
            ("options", r#"{"num_ctx":512,"num_predict":-1}"#),
            ("options", r#"{"num_ctx":512,"seed":7}"#),
            ("options", r#"{"num_predict":7}"#),
            ("options", "[1]"),
            ("keep_alive", "\"5m\""),
            ("truncate", "true"),
            ("truncate", "\"END\""),
            ("shift", "false"),
            ("top_k", "40"),
        ]
        .map(|(name, json)| Extension { name: name.into(), json: json.into() })
        .into();
        let left = |extensions: Cow<'_, [Extension]>| -> Vec<String> {
            extensions.iter().map(|one| format!("{}={}", one.name, one.json)).collect()
        };
        let answers = left(without_housekeeping(&given));
        let shaping = [r#"options={"num_ctx":512,"seed":7}"#, r#"options={"num_predict":7}"#];
        assert_eq!(answers[..2], shaping);
        assert_eq!(answers[2..], ["options=[1]", "truncate=\"END\"", "top_k=40"]);
        let vectors = left(of_vectors(&given));
        assert_eq!(vectors, ["options=[1]", "truncate=true", "truncate=\"END\"", "shift=false", "top_k=40"]);
        assert!(matches!(without_housekeeping(&given[8..]), Cow::Borrowed(_)));
    }
}
