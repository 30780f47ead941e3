//! vLLM: OpenAI's dialect, its own habits, its tokenizer, and what it would ignore or must not be told.

use std::borrow::Cow;

use penstock_proto::inference::v1::{EmbedRequest, EmbedResponse, GenerateRequest, generate_request::Input};
use serde_json::json;

use super::{
    Ask, Dialect, Learnt, Target,
    lacks::{Lack, refuse},
    openai::{
        OpenAi, count, list,
        request::{Habits, encode},
    },
};
use crate::error::{Error, Fault};

/// vLLM.
#[derive(Debug)]
pub(crate) struct Vllm;

/// Since 0.11 reasoning is `reasoning` in both directions. It has no accounts.
const HABITS: Habits = Habits {
    reasoning: "reasoning",
    developer: true,
    hints: false,
    choice_objects: true,
    told_to_continue: true,
};
/// What it would leave out without a word.
const LACKS: &[Lack] =
    &[Lack::AudioAnswers, Lack::Prediction, Lack::WebSearch, Lack::Functions, Lack::CustomTools];

/// What llama.cpp and Ollama call it, and what it does.
const REPETITION_PENALTY: (&str, &str) = ("repeat_penalty", "repetition_penalty");

/// The request, with what it knows under another name under that one.
fn in_its_words(request: &GenerateRequest) -> Cow<'_, GenerateRequest> {
    let (theirs, its) = REPETITION_PENALTY;
    if !request.extensions.iter().any(|extension| extension.name == theirs) {
        return Cow::Borrowed(request);
    }
    let mut request = request.clone();
    for extension in request.extensions.iter_mut().filter(|extension| extension.name == theirs) {
        its.clone_into(&mut extension.name);
    }
    Cow::Owned(request)
}

impl Dialect for Vllm {
    type Frames = <OpenAi as Dialect>::Frames;
    type Reader = <OpenAi as Dialect>::Reader;
    const ROOT: &'static str = OpenAi::ROOT;
    const MODELS: &'static str = OpenAi::MODELS;
    const CHECK: &'static str = "/../health";
    const STREAM_TYPE: &'static str = OpenAi::STREAM_TYPE;
    /// Other callers' requests, their order and their memory; templates and tensors of a caller's own, which
    /// have crashed it (CVE-2025-61620, CVE-2025-62164).
    const DENIED: &'static [&'static str] =
        &["kv_transfer_params", "request_id", "priority", "prompt_embeds", "chat_template"];
    const COUNTS: bool = true;

    fn generate(request: &GenerateRequest, target: &Target) -> Result<Ask, Error> {
        refuse(request, LACKS)?;
        let request = &*in_its_words(request);
        match &request.input {
            Some(Input::Text(text)) if text.suffix.is_some() => {
                Err(Error::Unsupported(vec![penstock_proto::Violation::new(
                    "suffix",
                    "this engine fills no gaps: leave it out",
                )]))
            }
            Some(Input::Text(_)) => OpenAi::generate(request, target),
            _ => Ok(Ask { path: "/chat/completions", body: encode(request, &target.model, HABITS)? }),
        }
    }

    fn embed(request: &EmbedRequest, target: &Target) -> Result<Ask, Error> {
        OpenAi::embed(request, target)
    }

    fn embedded(body: &[u8], request: &EmbedRequest) -> Result<EmbedResponse, Fault> {
        OpenAi::embedded(body, request)
    }

    fn count(request: &GenerateRequest, target: &Target) -> Result<Option<Ask>, Error> {
        refuse(request, LACKS)?;
        let body = match &request.input {
            Some(Input::Text(text)) => {
                let Some(text) = count::only_text(text) else { return Ok(None) };
                json!({"model": target.model, "prompt": text}).to_string().into_bytes()
            }
            _ => count::conversation(request, &target.model, HABITS)?,
        };
        Ok(Some(Ask { path: "/../tokenize", body }))
    }

    fn counted(body: &[u8]) -> Option<i64> {
        count::read(body)
    }

    fn models(body: &[u8]) -> Option<Vec<String>> {
        list::names(body)
    }

    fn listed(body: &[u8], target: &Target) -> Learnt {
        list::learnt(body, &target.model)
    }
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::{ChatInput, Extension, Message, Prompt, TextInput, prompt::Kind};
    use serde_json::{Value, json};

    use super::*;

    fn body(input: Input, extensions: &[(&str, &str)]) -> Result<Value, Error> {
        let extension =
            |(name, json): &(&str, &str)| Extension { name: (*name).into(), json: (*json).into() };
        let request = GenerateRequest {
            input: Some(input),
            extensions: extensions.iter().map(extension).collect(),
            ..GenerateRequest::default()
        };
        let target = Target::of("d".into(), "http://127.0.0.1:1".parse().unwrap(), "m".into());
        Ok(serde_json::from_slice(&Vllm::generate(&request, &target)?.body).unwrap())
    }

    #[test]
    fn a_penalty_of_repetition_has_its_own_name_here() {
        let message = Message { role: "user".into(), ..Message::default() };
        let chat = || Input::Chat(ChatInput { messages: vec![message.clone()] });
        let text = || {
            let prompt = Some(Prompt { kind: Some(Kind::Text("x".into())) });
            Input::Text(TextInput { prompt, ..TextInput::default() })
        };
        for input in [chat(), text()] {
            let body = body(input, &[("top_k", "40"), ("repeat_penalty", "1.10")]).unwrap();
            assert_eq!((&body["repetition_penalty"], &body["top_k"]), (&json!(1.1), &json!(40)));
            assert_eq!(body.get("repeat_penalty"), None);
        }
        let twice = body(chat(), &[("repetition_penalty", "1"), ("repeat_penalty", "2")]);
        assert!(matches!(twice, Err(Error::Request(found)) if found[0].field == "repetition_penalty"));
    }
}
