//! Whether a prompt fits. Ollama cuts what does not, without a word (D12, conformance 11). Certain are, before:
//! a prompt of more words than the context has tokens, as no tokenizer makes one token of two words; and after: a
//! prompt that filled the whole context, as one that Ollama cut to fit does, and one that leaves no room for an
//! answer. Not certain, and not used: a count below our own, since what was cached may not be counted again.

use penstock_proto::inference::v1::{
    GenerateRequest, Message, Prompt, generate_request::Input, message::Content, prompt::Kind,
};

/// Whether the prompt has surely more tokens than that.
pub(super) fn is_surely_over(request: &GenerateRequest, context_tokens: u64) -> bool {
    let most = usize::try_from(context_tokens).unwrap_or(usize::MAX);
    let mut texts = Vec::new();
    match &request.input {
        Some(Input::Chat(chat)) => chat.messages.iter().for_each(|message| collect(message, &mut texts)),
        Some(Input::Text(text)) => {
            match text.prompt.as_ref().and_then(|prompt: &Prompt| prompt.kind.as_ref()) {
                Some(Kind::Text(text)) => texts.push(text.as_str()),
                Some(Kind::Texts(list)) => texts.extend(list.values.iter().map(String::as_str)),
                Some(Kind::Tokens(_) | Kind::TokenLists(_)) | None => {}
            }
        }
        None => {}
    }
    // A word and the blank after it take two bytes: most prompts need no counting.
    let bytes: usize = texts.iter().map(|text| text.len()).sum();
    bytes / 2 > most && texts.iter().flat_map(|text| text.split_ascii_whitespace()).nth(most).is_some()
}

fn collect<'a>(message: &'a Message, texts: &mut Vec<&'a str>) {
    match &message.content {
        Some(Content::Text(text)) => texts.push(text),
        Some(Content::Parts(parts)) => {
            texts.extend(parts.parts.iter().filter_map(|part| part.text.as_deref()))
        }
        None => {}
    }
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::ChatInput;

    use super::*;

    fn chat(texts: &[String]) -> GenerateRequest {
        let message =
            |text: &String| Message { content: Some(Content::Text(text.clone())), ..Message::default() };
        let messages = texts.iter().map(message).collect();
        GenerateRequest { input: Some(Input::Chat(ChatInput { messages })), ..GenerateRequest::default() }
    }

    #[test]
    fn d12_only_what_is_certain_is_refused() {
        assert!(is_surely_over(&chat(&["a ".repeat(60), "b\n".repeat(41)]), 100));
        assert!(!is_surely_over(&chat(&["a ".repeat(60), "b\n".repeat(40)]), 100));
        assert!(!is_surely_over(&chat(&[" ".repeat(100_000)]), 100), "blanks may be one token");
        assert!(!is_surely_over(&chat(&["x".repeat(100_000)]), 100), "one word may be, too");
        assert!(!is_surely_over(&GenerateRequest::default(), 0));
    }
}
