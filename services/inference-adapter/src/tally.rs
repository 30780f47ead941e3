//! Keeps what is needed to count an answer's tokens, in case that the engine does not: the request, which is at
//! hand anyway, and the texts of the answer. Counting itself is in `tokens`.

use penstock_proto::inference::v1::{
    ContentPart, Delta, GenerateChunk, GenerateRequest, Message, ToolCall, Usage, generate_request::Input,
    message::Content,
};

use tokio::task::spawn_blocking;

use crate::tokens::{self, Counter};

/// Bytes of a choice that are kept; what is longer is taken to go on like its beginning.
const KEPT_MAX_BYTES: usize = 128 << 10;
/// Tokens that mark a message, and that begin an answer, as OpenAI's own counts have them.
const TOKENS_PER_MESSAGE: usize = 3;
/// Tokens of an image, which nobody can know here: OpenAI's for one of low detail.
const TOKENS_PER_IMAGE: usize = 85;

/// A request and what was answered so far.
#[derive(Debug)]
pub(crate) struct Tally {
    request: GenerateRequest,
    choices: Vec<Said>,
}

/// What a choice said.
#[derive(Debug, Default)]
struct Said {
    text: String,
    bytes: usize,
}

impl Tally {
    /// Of a request that was put to an engine: what is large and no text is let go.
    pub(crate) fn new(mut request: GenerateRequest) -> Self {
        if let Some(Input::Chat(chat)) = &mut request.input {
            for message in &mut chat.messages {
                if let Some(Content::Parts(parts)) = &mut message.content {
                    parts.parts.iter_mut().for_each(strip);
                }
            }
        }
        Self { request, choices: Vec::new() }
    }

    /// Takes note of a piece of the answer.
    pub(crate) fn hear(&mut self, chunk: &GenerateChunk) {
        for choice in &chunk.choices {
            // `Answer` lets only sane ones pass.
            let index = usize::try_from(choice.index).unwrap_or(0);
            if self.choices.len() <= index {
                self.choices.resize_with(index + 1, Said::default);
            }
            if let (Some(said), Some(delta)) = (self.choices.get_mut(index), &choice.delta) {
                texts_of(delta, &mut |text| said.hear(text));
            }
        }
    }

    /// Whether usage lacks a number that it must have: no prompt and no text is without tokens (D10).
    pub(crate) fn is_missing_in(&self, usage: &Usage) -> bool {
        usage.prompt_tokens <= 0 || (usage.completion_tokens <= 0 && self.answer_bytes() > 0)
    }

    /// Bytes that are to be counted.
    pub(crate) fn bytes(&self) -> usize {
        let mut bytes = 0;
        prompt_texts(&self.request, &mut |text| bytes += text.len());
        if let Some(Input::Text(text)) = &self.request.input {
            bytes += text.prompt.as_ref().map_or(0, tokens::prompt_bytes);
        }
        bytes + self.answer_bytes()
    }

    fn answer_bytes(&self) -> usize {
        self.choices.iter().map(|said| said.bytes).sum()
    }

    /// Puts in what is missing, from `counted` or, if there was no counting, from the size.
    pub(crate) fn complete(usage: &mut Usage, (prompt_tokens, completion_tokens): (i64, i64)) {
        if usage.prompt_tokens <= 0 {
            usage.prompt_tokens = prompt_tokens;
        }
        if usage.completion_tokens <= 0 {
            usage.completion_tokens = completion_tokens;
        }
        usage.total_tokens = usage.prompt_tokens.saturating_add(usage.completion_tokens);
        usage.estimated = true;
    }

    /// Tokens of the prompt and of the answer. Takes its time.
    pub(crate) fn count(&self) -> (i64, i64) {
        (self.prompt_tokens(), self.choices.iter().map(Said::tokens).fold(0, i64::saturating_add))
    }

    /// Tokens of the prompt, counted where that holds nobody up.
    pub(crate) async fn prompt(self) -> i64 {
        if tokens::may_count_here(self.bytes()) {
            return self.prompt_tokens();
        }
        let (guess, _) = self.guess();
        spawn_blocking(move || self.prompt_tokens()).await.unwrap_or(guess)
    }

    /// The same by size alone.
    pub(crate) fn guess(&self) -> (i64, i64) {
        let answer = self.answer_bytes();
        (tokens::of_bytes(self.bytes() - answer), tokens::of_bytes(answer))
    }

    fn prompt_tokens(&self) -> i64 {
        let mut counter = Counter::default();
        prompt_texts(&self.request, &mut |text| counter.text(text));
        match &self.request.input {
            Some(Input::Chat(chat)) => {
                counter.tokens((chat.messages.len() + 1) * TOKENS_PER_MESSAGE);
                let parts = chat.messages.iter().filter_map(|message| match &message.content {
                    Some(Content::Parts(parts)) => Some(&parts.parts),
                    _ => None,
                });
                let images = parts.flatten().filter(|part| part.r#type == "image_url").count();
                counter.tokens(images * TOKENS_PER_IMAGE);
            }
            Some(Input::Text(text)) => {
                if let Some(prompt) = &text.prompt {
                    tokens::count_prompt(prompt, &mut counter);
                }
            }
            None => {}
        }
        counter.sum()
    }
}

impl Said {
    fn hear(&mut self, text: &str) {
        self.bytes += text.len();
        if self.text.len() < KEPT_MAX_BYTES {
            self.text.push_str(text);
        }
    }

    fn tokens(&self) -> i64 {
        let mut counter = Counter::default();
        counter.text(&self.text);
        let all = i128::from(counter.sum()) * self.bytes as i128 / self.text.len().max(1) as i128;
        i64::try_from(all).unwrap_or(i64::MAX)
    }
}

fn strip(part: &mut ContentPart) {
    part.image_url = None;
    part.input_audio = None;
    part.file = None;
    part.extensions = Vec::new();
}

/// Every text that a delta says.
fn texts_of(delta: &Delta, on_text: &mut impl FnMut(&str)) {
    [&delta.content, &delta.reasoning, &delta.refusal].into_iter().flatten().for_each(|text| on_text(text));
    calls(&delta.tool_calls, on_text);
    if let Some(call) = &delta.function_call {
        [&call.name, &call.arguments].into_iter().flatten().for_each(|text| on_text(text));
    }
}

fn calls(calls: &[ToolCall], on_text: &mut impl FnMut(&str)) {
    for call in calls {
        if let Some(function) = &call.function {
            [&function.name, &function.arguments].into_iter().flatten().for_each(|text| on_text(text));
        }
        if let Some(custom) = &call.custom {
            [&custom.name, &custom.input].into_iter().flatten().for_each(|text| on_text(text));
        }
    }
}

/// Every text of a request that a model reads, but for texts to continue.
fn prompt_texts(request: &GenerateRequest, on_text: &mut impl FnMut(&str)) {
    if let Some(Input::Chat(chat)) = &request.input {
        chat.messages.iter().for_each(|message| message_texts(message, on_text));
    }
    for function in request.tools.iter().filter_map(|tool| tool.function.as_ref()) {
        on_text(&function.name);
        [&function.description, &function.parameters_json]
            .into_iter()
            .flatten()
            .for_each(|text| on_text(text));
    }
    for custom in request.tools.iter().filter_map(|tool| tool.custom.as_ref()) {
        on_text(&custom.name);
        [&custom.description, &custom.format_json].into_iter().flatten().for_each(|text| on_text(text));
    }
    request.functions_json.iter().for_each(|text| on_text(text));
}

fn message_texts(message: &Message, on_text: &mut impl FnMut(&str)) {
    on_text(&message.role);
    message.name.iter().chain(&message.reasoning).chain(&message.refusal).for_each(|text| on_text(text));
    match &message.content {
        Some(Content::Text(text)) => on_text(text),
        Some(Content::Parts(parts)) => {
            parts.parts.iter().filter_map(|part| part.text.as_ref()).for_each(|text| on_text(text));
        }
        None => {}
    }
    calls(&message.tool_calls, on_text);
}

#[cfg(test)]
mod tests {
    use penstock_proto::inference::v1::{
        ChatInput, Choice, ContentParts, FunctionCall, FunctionTool, ImageUrl, Prompt, TextInput, TextList,
        Tool, prompt::Kind,
    };

    use super::*;

    fn chunk(index: i64, delta: Delta) -> GenerateChunk {
        let choice = Choice { index, delta: Some(delta), ..Choice::default() };
        GenerateChunk { choices: vec![choice], ..GenerateChunk::default() }
    }

    fn text(text: &str) -> Delta {
        Delta { content: Some(text.into()), ..Delta::default() }
    }

    fn user(content: Content) -> Message {
        Message { role: "user".into(), content: Some(content), ..Message::default() }
    }

    fn chat(messages: Vec<Message>) -> GenerateRequest {
        GenerateRequest { input: Some(Input::Chat(ChatInput { messages })), ..GenerateRequest::default() }
    }

    #[test]
    fn the_prompt_is_counted_as_openai_counts_it() {
        let hello = || user(Content::Text("Hello, world!".into()));
        assert_eq!(Tally::new(chat(vec![hello()])).count(), (3 + 1 + 4 + 3, 0));
        let tool = FunctionTool {
            name: "add".into(),
            parameters_json: Some(r#"{"type":"object"}"#.into()),
            ..FunctionTool::default()
        };
        let tool = Tool { r#type: "function".into(), function: Some(tool), ..Tool::default() };
        let with_tool = Tally::new(GenerateRequest { tools: vec![tool], ..chat(vec![hello()]) }).count();
        assert!(with_tool.0 > 11 + 4, "{with_tool:?}");
        let prompt = Prompt { kind: Some(Kind::Texts(TextList { values: vec!["Hello, world!".into(); 2] })) };
        let text = TextInput { prompt: Some(prompt), ..TextInput::default() };
        let text = GenerateRequest { input: Some(Input::Text(text)), ..GenerateRequest::default() };
        assert_eq!(Tally::new(text).count().0, 8);
    }

    #[tokio::test]
    async fn a_prompt_alone_is_counted_the_same_however_long_it_is() {
        for words in [3, 30_000] {
            let request = chat(vec![user(Content::Text("word ".repeat(words)))]);
            let (counted, said) = Tally::new(request.clone()).count();
            assert_eq!((Tally::new(request).prompt().await, said), (counted, 0));
            assert!(counted > words as i64, "{counted}");
        }
    }

    #[test]
    fn every_choice_and_all_that_it_says_counts() {
        let mut tally = Tally::new(GenerateRequest::default());
        for piece in ["Hel", "lo, ", "wor", "ld!"] {
            tally.hear(&chunk(0, text(piece)));
            tally.hear(&chunk(1, Delta { reasoning: Some(piece.into()), ..Delta::default() }));
        }
        assert_eq!(tally.count().1, 8, "as if each had come in one piece");
        let function = FunctionCall { arguments: Some("{}".into()), ..FunctionCall::default() };
        let call = ToolCall { function: Some(function), ..ToolCall::default() };
        tally.hear(&chunk(0, Delta { tool_calls: vec![call], ..Delta::default() }));
        assert!(tally.count().1 > 8);
    }

    #[test]
    fn images_are_let_go_at_once_and_counted_each() {
        let image = ContentPart {
            r#type: "image_url".into(),
            image_url: Some(ImageUrl { url: "data:".repeat(1000), ..ImageUrl::default() }),
            ..ContentPart::default()
        };
        let tally = Tally::new(chat(vec![user(Content::Parts(ContentParts { parts: vec![image] }))]));
        assert!(tally.bytes() < 10);
        assert_eq!(tally.count().0, 3 + 1 + 85 + 3);
    }

    #[test]
    fn d10_only_what_is_missing_is_put_in() {
        let mut tally = Tally::new(GenerateRequest::default());
        let given = Usage { prompt_tokens: 5, completion_tokens: 7, total_tokens: 12, ..Usage::default() };
        assert!(!tally.is_missing_in(&given));
        let half = Usage { prompt_tokens: 0, ..given.clone() };
        assert!(tally.is_missing_in(&half));
        let mut whole = half;
        Tally::complete(&mut whole, (3, 9));
        assert_eq!((whole.prompt_tokens, whole.completion_tokens, whole.total_tokens), (3, 7, 10));
        assert!(whole.estimated);
        let silent = Usage { completion_tokens: 0, ..given };
        assert!(!tally.is_missing_in(&silent), "it said nothing");
        tally.hear(&chunk(0, text("a")));
        assert!(tally.is_missing_in(&silent));
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut tally = Tally::new(GenerateRequest::default());
        for _ in 0..100 {
            tally.hear(&chunk(0, text(&"word ".repeat(1000))));
        }
        assert!(tally.choices[0].text.len() < KEPT_MAX_BYTES + 5000);
        let tokens = tally.count().1;
        assert!((95_000..=105_000).contains(&tokens), "{tokens}");
    }

    /// G10: by this size it is decided whether they are counted on a thread that serves streams.
    #[test]
    fn texts_to_continue_are_part_of_what_is_to_be_counted() {
        let values = vec!["x".repeat(40_000); 2];
        let prompt = Some(Prompt { kind: Some(Kind::Texts(TextList { values })) });
        let text = TextInput { prompt, ..TextInput::default() };
        let tally = Tally::new(GenerateRequest { input: Some(Input::Text(text)), ..Default::default() });
        assert_eq!((tally.bytes(), tally.guess()), (80_000, (20_000, 0)));
    }
}
