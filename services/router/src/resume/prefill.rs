//! The request that has another engine go on from what was said, and whether there can be one.

use penstock_proto::inference::v1::{GenerateRequest, Message, generate_request::Input, message::Content};

use crate::said::Said;

/// Members beyond the contract that bind an answer to a form, or say themselves how it is to go on.
const BINDING: &[&str] = &[
    "format",
    "grammar",
    "json_schema",
    "structured_outputs",
    "guided_json",
    "guided_regex",
    "guided_choice",
    "guided_grammar",
    "regex",
    "ebnf",
    "echo",
    "add_generation_prompt",
    "continue_final_message",
];

/// Whether an engine that knows no more than the text so far says just what would have come: it is one plain text.
pub(super) fn can_be_continued(request: &GenerateRequest, said: &Said) -> bool {
    let Some(Input::Chat(chat)) = &request.input else { return false };
    request.n.is_none_or(|n| n == 1)
        && request.logprobs != Some(true)
        && request.response_format_json.is_none()
        && request.audio_json.is_none()
        && !request.extensions.iter().any(|extension| BINDING.contains(&extension.name.as_str()))
        && chat.messages.last().is_some_and(|last| last.role != "assistant")
        && said.plain().is_some_and(|(text, _)| !text.trim().is_empty())
}

/// So few bytes may well come twice in a row by themselves, as "A" does in "AAPL".
const REPEATED_MIN_BYTES: usize = 6;

/// Whether nobody could tell if such an engine repeats `said` or goes on with the same once more.
pub(super) fn is_ambiguous(said: &Said, engine: &str) -> bool {
    let (repeats, _) = habits(engine);
    repeats && said.plain().is_some_and(|(text, _)| text.trim_end().len() < REPEATED_MIN_BYTES)
}

/// Whether an engine may repeat a prefill before it goes on, and whether it must not end with white space. Who is
/// behind an engine that is not named here may be llama.cpp, some versions of which repeat it.
pub(super) fn habits(engine: &str) -> (bool, bool) {
    match engine {
        "vllm" | "ollama" | "simulated" => (false, false),
        "anthropic" => (false, true),
        // Whoever is behind it.
        "penstock" => (true, true),
        _ => (true, false),
    }
}

/// `request` as one to go on after `text`, which took so many tokens together with `reasoning`.
pub(super) fn request(
    request: &GenerateRequest,
    text: &str,
    reasoning: Option<&str>,
    tokens: i64,
) -> GenerateRequest {
    let mut request = request.clone();
    if let Some(Input::Chat(chat)) = &mut request.input {
        chat.messages.push(Message {
            role: "assistant".to_owned(),
            content: Some(Content::Text(text.to_owned())),
            reasoning: reasoning.map(str::to_owned),
            ..Message::default()
        });
    }
    for most in [&mut request.max_tokens, &mut request.max_completion_tokens].into_iter().flatten() {
        *most = most.saturating_sub(tokens).max(1);
    }
    request
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::{
        ChatInput, Choice, Delta, Extension, GenerateChunk, TextInput, ToolCall,
    };

    use super::*;

    fn asked() -> GenerateRequest {
        let message = Message { role: "user".into(), ..Message::default() };
        let input = Some(Input::Chat(ChatInput { messages: vec![message] }));
        GenerateRequest { input, ..GenerateRequest::default() }
    }

    fn heard(deltas: &[Delta]) -> Said {
        let mut said = Said::default();
        for delta in deltas {
            let choice = Choice { delta: Some(delta.clone()), ..Choice::default() };
            said.hear(&mut GenerateChunk { choices: vec![choice], ..GenerateChunk::default() });
        }
        said
    }

    fn text(text: &str) -> Delta {
        Delta { content: Some(text.into()), ..Delta::default() }
    }

    fn thought() -> Delta {
        Delta { reasoning: Some("hm".into()), ..Delta::default() }
    }

    #[test]
    fn only_one_plain_text_is_continued() {
        assert!(can_be_continued(&asked(), &heard(&[text("Hel"), text("lo")])));
        assert!(can_be_continued(&asked(), &heard(&[thought(), text("Hello")])));
        let call = ToolCall { index: Some(0), id: Some("c".into()), ..ToolCall::default() };
        let call = Delta { tool_calls: vec![call], ..Delta::default() };
        let refusal = Delta { refusal: Some("no".into()), ..Delta::default() };
        let odd = Extension { name: "odd".into(), json: "1".into() };
        let odd = Delta { extensions: vec![odd], ..text("x") };
        for said in
            [vec![], vec![text(" \n")], vec![thought()], vec![text("x"), call], vec![refusal], vec![odd]]
        {
            assert!(!can_be_continued(&asked(), &heard(&said)), "{said:?}");
        }
        let said = heard(&[text("Hello")]);
        let own = Message { role: "assistant".into(), ..Message::default() };
        let extension = |name: &str| vec![Extension { name: name.into(), json: "1".into() }];
        for request in [
            GenerateRequest { n: Some(2), ..asked() },
            GenerateRequest { logprobs: Some(true), ..asked() },
            GenerateRequest { response_format_json: Some("{}".into()), ..asked() },
            GenerateRequest { extensions: extension("guided_json"), ..asked() },
            GenerateRequest { input: Some(Input::Chat(ChatInput { messages: vec![own] })), ..asked() },
            GenerateRequest { input: Some(Input::Text(TextInput::default())), ..asked() },
        ] {
            assert!(!can_be_continued(&request, &said), "{request:?}");
        }
        assert!(can_be_continued(&GenerateRequest { extensions: extension("top_k"), ..asked() }, &said));
    }

    #[test]
    fn a_short_text_is_no_proof_of_a_repetition() {
        for (said, engine, is_so) in [
            ("A", "llama-cpp", true),
            ("Hello ", "llama-cpp", true),
            ("Hello,", "llama-cpp", false),
            ("A", "penstock", true),
            ("A", "vllm", false),
        ] {
            assert_eq!(is_ambiguous(&heard(&[text(said)]), engine), is_so, "{said} {engine}");
        }
    }

    #[test]
    fn a_bound_is_what_is_left_of_it() {
        for (most, left) in [(None, None), (Some(10), Some(7)), (Some(3), Some(1)), (Some(1), Some(1))] {
            let bounded = GenerateRequest { max_tokens: most, max_completion_tokens: most, ..asked() };
            let sent = request(&bounded, "Hello, wor", Some("hm"), 3);
            assert_eq!((sent.max_tokens, sent.max_completion_tokens), (left, left));
            let Some(Input::Chat(chat)) = sent.input else { panic!("not a chat") };
            let last = chat.messages.last().unwrap();
            assert_eq!((last.role.as_str(), last.reasoning.as_deref()), ("assistant", Some("hm")));
            assert_eq!(last.content, Some(Content::Text("Hello, wor".into())));
        }
    }
}
