//! llama.cpp's llama-server, and llama-cpp-python's server, which speaks nearly the same: OpenAI's dialect,
//! their own habits, and what they would ignore or must not be told.

use penstock_proto::inference::v1::{
    Capabilities, EmbedRequest, EmbedResponse, GenerateRequest, generate_request::Input,
};
use serde_json::{Value, json};

use super::{
    Ask, Detail, Dialect, Learnt, Target,
    lacks::{Lack, refuse},
    openai::{
        OpenAi, count, list,
        request::{Habits, encode},
    },
};
use crate::error::{Error, Fault};

/// llama.cpp.
#[derive(Debug)]
pub(crate) struct LlamaCpp;

/// llama-cpp-python fails on the role `developer`; llama-server takes a `tool_choice` that is no word for `auto`.
const HABITS: Habits = Habits {
    reasoning: "reasoning_content",
    developer: false,
    hints: false,
    choice_objects: false,
    told_to_continue: false,
};
/// What it would leave out without a word.
const LACKS: &[Lack] = &[
    Lack::AudioAnswers,
    Lack::Prediction,
    Lack::WebSearch,
    Lack::Functions,
    Lack::CustomTools,
    Lack::Verbosity,
];

impl Dialect for LlamaCpp {
    type Frames = <OpenAi as Dialect>::Frames;
    type Reader = <OpenAi as Dialect>::Reader;
    const ROOT: &'static str = OpenAi::ROOT;
    const MODELS: &'static str = OpenAi::MODELS;
    const CHECK: &'static str = "/../health";
    const STREAM_TYPE: &'static str = OpenAi::STREAM_TYPE;
    /// Memory (CVE-2026-21869) and other callers' slots; other names of `n` and of the bound of an answer, which
    /// the gateway caps.
    const DENIED: &'static [&'static str] =
        &["n_discard", "id_slot", "slot_id", "n_cmpl", "n_predict", "chat_template"];
    const COUNTS: bool = true;

    fn generate(request: &GenerateRequest, target: &Target) -> Result<Ask, Error> {
        refuse(request, LACKS)?;
        // Old servers give one choice whatever is asked; a newer one is declared.
        if target.declared.multiple_choices != Some(true) {
            refuse(request, &[Lack::Choices])?;
        }
        match &request.input {
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

    /// Conversations by their own path, which takes what an answer is asked for with; older servers and
    /// llama-cpp-python do not have it.
    fn count(request: &GenerateRequest, target: &Target) -> Result<Option<Ask>, Error> {
        refuse(request, LACKS)?;
        let ask = match &request.input {
            Some(Input::Text(text)) => {
                let Some(text) = count::only_text(text) else { return Ok(None) };
                // As it begins every prompt.
                let body = json!({"content": text, "add_special": true}).to_string().into_bytes();
                Ask { path: "/../tokenize", body }
            }
            _ => {
                Ask { path: "/chat/completions/input_tokens", body: encode(request, &target.model, HABITS)? }
            }
        };
        Ok(Some(ask))
    }

    fn counted(body: &[u8]) -> Option<i64> {
        count::read(body)
    }

    fn models(body: &[u8]) -> Option<Vec<String>> {
        list::names(body)
    }

    /// With one model it answers for that one whatever the name; with several (router mode) it looks.
    fn lacks(body: &[u8], model: &str) -> bool {
        list::names(body).is_some_and(|names| names.len() > 1 && !names.iter().any(|name| name == model))
    }

    fn listed(body: &[u8], target: &Target) -> Learnt {
        list::learnt(body, &target.model)
    }

    fn detail(_: &Target) -> Option<Detail> {
        Some(Detail { path: "/../props".into(), body: None })
    }

    fn detailed(body: &[u8]) -> Learnt {
        let Ok(props) = serde_json::from_slice::<Value>(body) else { return Learnt::default() };
        let settings = props.get("default_generation_settings");
        let tokens = settings.and_then(|settings| settings.get("n_ctx")).or_else(|| props.get("n_ctx"));
        let takes = |kind: &str| props.pointer(&format!("/modalities/{kind}")).and_then(Value::as_bool);
        let capabilities = Capabilities {
            context_tokens: tokens.and_then(Value::as_i64).filter(|tokens| *tokens > 0),
            vision: takes("vision"),
            audio: takes("audio"),
            ..Capabilities::default()
        };
        Learnt { capabilities, ..Learnt::default() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn props_tell_the_context_of_a_slot_and_the_modalities() {
        let said = LlamaCpp::detailed(
            br#"{"total_slots":1,"default_generation_settings":{"n_ctx":4096},"modalities":{"vision":true,"audio":false}}"#,
        )
        .capabilities;
        assert_eq!((said.context_tokens, said.vision, said.audio), (Some(4096), Some(true), Some(false)));
        for odd in ["", "[]", r#"{"default_generation_settings":{"n_ctx":0},"modalities":{"vision":"yes"}}"#]
        {
            assert_eq!(LlamaCpp::detailed(odd.as_bytes()), Learnt::default(), "{odd}");
        }
    }

    #[test]
    fn d8_one_model_answers_to_any_name_several_do_not() {
        assert!(!LlamaCpp::lacks(br#"{"data":[{"id":"/models/a.gguf"}]}"#, "a"));
        let several = br#"{"data":[{"id":"a"},{"id":"b"}]}"#;
        assert!(!LlamaCpp::lacks(several, "b") && LlamaCpp::lacks(several, "c"));
    }
}
