//! Questions for the tokens of a prompt, as vLLM and llama.cpp want them. OpenAI counts at itself alone, by an API
//! that no other server of the dialect has.

use penstock_proto::inference::v1::{Extension, GenerateRequest, TextInput, prompt::Kind};
use serde::{Deserialize, de::IgnoredAny};

use super::request::{DENIED, Habits, REQUEST, is_prefilled, messages, tool};
use crate::{error::Error, json::write::Writer};

/// Members beyond the contract that change what the model reads.
const READ: [&str; 3] = ["chat_template_kwargs", "mm_processor_kwargs", "add_special_tokens"];
/// Those of them that say how the prompt ends.
const ENDS: [&str; 2] = ["add_generation_prompt", "continue_final_message"];

/// The body for a conversation: what is made into the prompt, and nothing else.
pub(in crate::engine) fn conversation(
    request: &GenerateRequest,
    model: &str,
    habits: Habits,
) -> Result<Vec<u8>, Error> {
    let ends = |extension: &Extension| ENDS.contains(&extension.name.as_str());
    let reads = |extension: &Extension| READ.contains(&extension.name.as_str()) || ends(extension);
    let read: Vec<_> = request.extensions.iter().filter(|extension| reads(extension)).cloned().collect();
    let says_itself = read.iter().any(ends);
    let mut writer = Writer::default();
    writer.object(|object| {
        object.member("model", model);
        messages(object, request, habits);
        if !request.tools.is_empty() {
            object.key("tools").array(&request.tools, tool);
        }
        if !says_itself {
            let is_prefilled = is_prefilled(request);
            object.member("add_generation_prompt", &!is_prefilled);
            object.member("continue_final_message", &is_prefilled);
        }
        object.extensions("", &read, REQUEST, DENIED);
    });
    writer.finish()
}

/// The text to continue, if that is all there is: several, or one with a gap, are not made into one prompt.
pub(in crate::engine) fn only_text(input: &TextInput) -> Option<&str> {
    match input.prompt.as_ref()?.kind.as_ref()? {
        Kind::Text(text) if input.suffix.is_none() => Some(text),
        _ => None,
    }
}

/// Reads a count: a number, or as many tokens as there are. No prompt is without any.
pub(in crate::engine) fn read(body: &[u8]) -> Option<i64> {
    #[derive(Deserialize)]
    struct Counted {
        count: Option<i64>,
        input_tokens: Option<i64>,
        tokens: Option<Vec<IgnoredAny>>,
    }
    let counted: Counted = serde_json::from_slice(body).ok()?;
    let tokens = || counted.tokens.and_then(|tokens| i64::try_from(tokens.len()).ok());
    counted.count.or(counted.input_tokens).or_else(tokens).filter(|count| *count > 0)
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::{
        ChatInput, FunctionTool, Message, Prompt, TextList, Tool, generate_request::Input, message::Content,
    };
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;
    use crate::engine::{Dialect, Target, llama_cpp::LlamaCpp, openai::OpenAi, vllm::Vllm};

    fn target() -> Target {
        Target::of("d".into(), "http://127.0.0.1:1".parse().unwrap(), "em".into())
    }

    fn text(role: &str, text: &str) -> Message {
        Message { role: role.into(), content: Some(Content::Text(text.into())), ..Message::default() }
    }

    fn chat(messages: Vec<Message>) -> GenerateRequest {
        GenerateRequest { input: Some(Input::Chat(ChatInput { messages })), ..GenerateRequest::default() }
    }

    fn prompt(kind: Kind, suffix: Option<&str>) -> GenerateRequest {
        let prompt = Some(Prompt { kind: Some(kind) });
        let text = TextInput { prompt, suffix: suffix.map(str::to_owned), ..TextInput::default() };
        GenerateRequest { input: Some(Input::Text(text)), ..GenerateRequest::default() }
    }

    fn asked<D: Dialect>(request: &GenerateRequest) -> Option<(&'static str, Value)> {
        let ask = D::count(request, &target()).unwrap()?;
        Some((ask.path, serde_json::from_slice(&ask.body).unwrap()))
    }

    #[test]
    fn conversations_are_asked_about_with_all_that_is_made_into_the_prompt() {
        let function = FunctionTool { name: "f".into(), ..FunctionTool::default() };
        let tool = Tool { r#type: "function".into(), function: Some(function), ..Tool::default() };
        let extension = |name: &str, json: &str| Extension { name: name.into(), json: json.into() };
        let request = GenerateRequest {
            tools: vec![tool],
            extensions: vec![
                extension("top_k", "1"),
                extension("chat_template_kwargs", r#"{"enable_thinking":false}"#),
            ],
            ..chat(vec![text("system", "be brief"), text("user", "hi")])
        };
        let messages = json!([{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]);
        let tools = json!([{"type": "function", "function": {"name": "f"}}]);
        let switches = json!({"enable_thinking": false});
        let by_vllm = json!({"model": "em", "messages": messages, "tools": tools,
            "add_generation_prompt": true, "continue_final_message": false, "chat_template_kwargs": switches});
        assert_eq!(asked::<Vllm>(&request), Some(("/../tokenize", by_vllm)));
        let by_llama = json!({"model": "em", "messages": messages, "tools": tools, "stream": false,
            "top_k": 1, "chat_template_kwargs": switches});
        assert_eq!(asked::<LlamaCpp>(&request), Some(("/chat/completions/input_tokens", by_llama)));
        assert_eq!(asked::<OpenAi>(&request), None, "only OpenAI itself would know");
    }

    #[test]
    fn the_end_of_the_prompt_is_that_of_the_request() {
        let ends = |request: &GenerateRequest| {
            let (_, body) = asked::<Vllm>(request).unwrap();
            (body["add_generation_prompt"].as_bool(), body["continue_final_message"].as_bool())
        };
        let prefilled = chat(vec![text("user", "hi"), text("assistant", "Hel")]);
        assert_eq!(ends(&prefilled), (Some(false), Some(true)));
        let own = Extension { name: "add_generation_prompt".into(), json: "true".into() };
        assert_eq!(ends(&GenerateRequest { extensions: vec![own], ..prefilled }), (Some(true), None));
    }

    #[test]
    fn one_text_is_one_prompt_and_anything_else_is_estimated() {
        let one = prompt(Kind::Text("hi".into()), None);
        assert_eq!(asked::<Vllm>(&one), Some(("/../tokenize", json!({"model": "em", "prompt": "hi"}))));
        assert_eq!(
            asked::<LlamaCpp>(&one),
            Some(("/../tokenize", json!({"content": "hi", "add_special": true})))
        );
        for other in [
            prompt(Kind::Texts(TextList { values: vec!["a".into(), "b".into()] }), None),
            prompt(Kind::Text("a".into()), Some("b")),
        ] {
            assert_eq!(asked::<LlamaCpp>(&other), None);
        }
        assert_eq!(asked::<Vllm>(&prompt(Kind::Texts(TextList::default()), None)), None);
    }

    /// C6: what makes no sense is no count.
    #[test]
    fn counts_are_numbers_above_nothing() {
        for (body, count) in [
            (r#"{"count":3,"max_model_len":9,"tokens":[1,2,3]}"#, Some(3)),
            (r#"{"object":"response.input_tokens","input_tokens":12}"#, Some(12)),
            (r#"{"tokens":[1,{"id":2,"piece":"a"}]}"#, Some(2)),
            (r#"{"tokens":[]}"#, None),
            (r#"{"count":0}"#, None),
            (r#"{"input_tokens":-4}"#, None),
            (r#"{"input_tokens":1.5}"#, None),
            (r#"{"input_tokens":"12"}"#, None),
            (r#"{"error":{"message":"x"}}"#, None),
            ("[]", None),
            ("<html>", None),
            ("", None),
        ] {
            assert_eq!(read(body.as_bytes()), count, "{body}");
        }
    }

    proptest! {
        #[test]
        fn whatever_comes_is_a_count_or_none(body in "[\\[\\]{}\":,a-z0-9. -]{0,60}") {
            prop_assert!(read(body.as_bytes()).is_none_or(|count| count > 0));
        }
    }
}
