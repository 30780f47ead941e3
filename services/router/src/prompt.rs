//! What a request says, as far as the choice depends on it: how much text there is, how it begins, and what the
//! user said last. Bounded: long texts are measured, and only looked into so far.

use penstock_proto::inference::v1::{
    ContentPart, GenerateRequest, Message, Prompt, generate_request::Input, message::Content, prompt::Kind,
};

use crate::hash;

/// Bytes of text that make a token at most, nearly always: English has 4 to 5, Chinese and German fewer. Refusing
/// what would have fitted is worse than asking an engine in vain.
const BYTES_PER_TOKEN_MAX: usize = 8;

/// The texts of a message.
pub(crate) fn texts_of(message: &Message) -> impl Iterator<Item = &str> {
    let (text, parts): (Option<&str>, &[ContentPart]) = match &message.content {
        Some(Content::Text(text)) => (Some(text), &[]),
        Some(Content::Parts(parts)) => (None, &parts.parts),
        None => (None, &[]),
    };
    text.into_iter().chain(parts.iter().filter_map(|part| part.text.as_deref()))
}

/// The messages of a conversation; none if it is not one.
pub(crate) fn messages(request: &GenerateRequest) -> &[Message] {
    match &request.input {
        Some(Input::Chat(chat)) => &chat.messages,
        Some(Input::Text(_)) | None => &[],
    }
}

fn prompt(request: &GenerateRequest) -> Option<&Kind> {
    match &request.input {
        Some(Input::Text(text)) => text.prompt.as_ref().and_then(|Prompt { kind }| kind.as_ref()),
        Some(Input::Chat(_)) | None => None,
    }
}

/// The text to continue; none if it is a conversation, or tokens.
pub(crate) fn to_continue(request: &GenerateRequest) -> Option<&str> {
    match prompt(request)? {
        Kind::Text(text) => Some(text),
        Kind::Texts(texts) => texts.values.first().map(String::as_str),
        Kind::Tokens(_) | Kind::TokenLists(_) => None,
    }
}

/// Bytes of the text that a conversation holds, without images and sound; of the longest of several prompts.
pub(crate) fn text_bytes(request: &GenerateRequest) -> usize {
    let said: usize = messages(request).iter().flat_map(texts_of).map(str::len).sum();
    let prompt = match prompt(request) {
        Some(Kind::Text(text)) => text.len(),
        Some(Kind::Texts(texts)) => texts.values.iter().map(String::len).max().unwrap_or_default(),
        Some(Kind::Tokens(_) | Kind::TokenLists(_)) | None => 0,
    };
    said + prompt
}

/// Tokens that the prompt has at least. What an answer may hold does not count: most engines just end it where the
/// context does, and those that refuse say so themselves.
pub(crate) fn least_tokens(request: &GenerateRequest) -> u64 {
    let counted = match prompt(request) {
        Some(Kind::Tokens(tokens)) => tokens.values.len(),
        Some(Kind::TokenLists(lists)) => {
            lists.values.iter().map(|list| list.values.len()).max().unwrap_or_default()
        }
        Some(Kind::Text(_) | Kind::Texts(_)) | None => 0,
    };
    let tools: usize = request.tools.iter().map(prost::Message::encoded_len).sum();
    let measured = (text_bytes(request) + tools) / BYTES_PER_TOKEN_MAX;
    (counted + measured) as u64
}

/// A hash of the first `most` bytes of what is said.
pub(crate) fn beginning(request: &GenerateRequest, most: usize) -> u64 {
    let mut left = most;
    let mut hash = 0;
    let mut take = |bytes: &[u8]| {
        let bytes = bytes.get(..left).unwrap_or(bytes);
        left -= bytes.len();
        hash = hash::bytes(hash, bytes);
        left > 0
    };
    let _ = match prompt(request) {
        Some(Kind::Text(text)) => take(text.as_bytes()),
        Some(Kind::Texts(texts)) => texts.values.iter().all(|text| take(text.as_bytes())),
        Some(Kind::Tokens(tokens)) => tokens.values.iter().all(|token| take(&token.to_le_bytes())),
        Some(Kind::TokenLists(lists)) => {
            lists.values.iter().flat_map(|list| &list.values).all(|token| take(&token.to_le_bytes()))
        }
        None => messages(request).iter().flat_map(texts_of).all(|text| take(text.as_bytes())),
    };
    hash
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::{ChatInput, ContentParts, TextInput, TextList, TokenList};

    use super::*;

    fn chat(contents: Vec<Content>) -> GenerateRequest {
        let message = |content| Message { content: Some(content), ..Message::default() };
        let messages = contents.into_iter().map(message).collect();
        GenerateRequest { input: Some(Input::Chat(ChatInput { messages })), ..GenerateRequest::default() }
    }

    fn text(kind: Kind) -> GenerateRequest {
        let input = TextInput { prompt: Some(Prompt { kind: Some(kind) }), ..TextInput::default() };
        GenerateRequest { input: Some(Input::Text(input)), ..GenerateRequest::default() }
    }

    #[test]
    fn only_text_is_measured_and_tokens_are_counted() {
        let part = |text: Option<&str>| ContentPart { text: text.map(Into::into), ..ContentPart::default() };
        let parts = vec![part(Some(&"x".repeat(400))), part(None)];
        let said = chat(vec![Content::Text("x".repeat(400)), Content::Parts(ContentParts { parts })]);
        assert_eq!((text_bytes(&said), least_tokens(&said)), (800, 100));
        let asked = GenerateRequest { max_tokens: Some(5), max_completion_tokens: Some(7), ..said };
        assert_eq!(least_tokens(&asked), 100);
        let counted = text(Kind::Tokens(TokenList { values: vec![1; 33] }));
        assert_eq!(least_tokens(&counted), 33);
        let several = text(Kind::Texts(TextList { values: vec!["x".repeat(80), "x".repeat(160)] }));
        assert_eq!(least_tokens(&several), 20, "each has a context of its own");
    }

    #[test]
    fn what_begins_alike_has_one_hash_and_the_rest_does_not_count() {
        let said = |texts: &[&str]| chat(texts.iter().map(|text| Content::Text((*text).into())).collect());
        let hash = |texts: &[&str]| beginning(&said(texts), 6);
        assert_eq!(hash(&["system", "one"]), hash(&["system", "two"]));
        assert_eq!(hash(&["sys", "temone"]), hash(&["sys", "temtwo"]));
        assert_ne!(hash(&["system"]), hash(&["System"]));
        assert_eq!(hash(&["systems"]), beginning(&text(Kind::Text("system".into())), 6));
    }
}
