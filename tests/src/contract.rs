//! OpenAI's JSON and the contract's messages, one made of the other: written a second time and apart from the
//! facade, so that a gRPC caller of the tests says what the contract means and not what the facade does.

use penstock_proto::inference::v1::{
    ChatInput, Choice, ContentPart, ContentParts, CustomCall, CustomTool, Delta, Extension, File,
    FunctionCall, FunctionTool, GenerateChunk, GenerateRequest, ImageUrl, InputAudio, Message, Metadata,
    MetadataPair, StopSequences, StreamOptions, TextList, Tool, ToolCall, Usage, generate_request::Input,
    message::Content, stop_sequences::Kind,
};

use crate::exact::Json;

/// The members of one object, taken out one by one; what is left are extensions.
struct Members(Json);

impl Members {
    fn of(json: &Json) -> Members {
        assert!(matches!(json, Json::Object(_)), "not an object: {json}");
        Members(json.clone())
    }

    fn text(&mut self, name: &str) -> Option<String> {
        match self.0.take(name) {
            Json::Null => None,
            json => Some(json.as_text().unwrap_or_else(|| panic!("{name} is no string: {json}")).to_owned()),
        }
    }

    fn number<T: std::str::FromStr>(&mut self, name: &str) -> Option<T> {
        match self.0.take(name) {
            Json::Null => None,
            Json::Number(text) => Some(text.parse().ok().unwrap_or_else(|| panic!("{name}: {text}"))),
            json => panic!("{name} is no number: {json}"),
        }
    }

    fn flag(&mut self, name: &str) -> Option<bool> {
        match self.0.take(name) {
            Json::Null => None,
            Json::Bool(flag) => Some(flag),
            json => panic!("{name} is no flag: {json}"),
        }
    }

    fn raw(&mut self, name: &str) -> Option<String> {
        match self.0.take(name) {
            Json::Null => None,
            json => Some(json.to_string()),
        }
    }

    fn one<T>(&mut self, name: &str, read: fn(&Json) -> T) -> Option<T> {
        match self.0.take(name) {
            Json::Null => None,
            json => Some(read(&json)),
        }
    }

    fn list<T>(&mut self, name: &str, read: fn(&Json) -> T) -> Vec<T> {
        self.0.take(name).items().iter().map(read).collect()
    }

    fn rest(mut self) -> Vec<Extension> {
        let rest = std::mem::take(self.0.members_mut()).into_iter();
        rest.map(|(name, json)| Extension { name, json: json.to_string() }).collect()
    }
}

/// A chat request as a gRPC caller would say it.
pub fn request(json: &Json) -> GenerateRequest {
    let mut m = Members::of(json);
    let messages = m.one("messages", |json| json.items().iter().map(message).collect());
    GenerateRequest {
        model: m.text("model").unwrap_or_default(),
        input: messages.map(|messages| Input::Chat(ChatInput { messages })),
        stream: m.flag("stream").unwrap_or_default(),
        stream_options: m.one("stream_options", |json| {
            let mut m = Members::of(json);
            StreamOptions { include_usage: m.flag("include_usage"), extensions: m.rest() }
        }),
        temperature: m.number("temperature"),
        top_p: m.number("top_p"),
        n: m.number("n"),
        max_tokens: m.number("max_tokens"),
        max_completion_tokens: m.number("max_completion_tokens"),
        stop: m.one("stop", |json| StopSequences {
            kind: Some(match json {
                Json::Text(text) => Kind::Text(text.clone()),
                list => Kind::List(texts(list)),
            }),
        }),
        presence_penalty: m.number("presence_penalty"),
        frequency_penalty: m.number("frequency_penalty"),
        seed: m.number("seed"),
        logprobs: m.flag("logprobs"),
        top_logprobs: m.number("top_logprobs"),
        logit_bias_json: m.raw("logit_bias"),
        user: m.text("user"),
        store: m.flag("store"),
        response: None,
        optional_extensions: vec![],
        metadata: m.one("metadata", |json| {
            let mut json = json.clone();
            let pairs = std::mem::take(json.members_mut()).into_iter();
            let pair =
                |(key, value): (String, Json)| MetadataPair { key, value: value.as_text().unwrap().into() };
            Metadata { pairs: pairs.map(pair).collect() }
        }),
        tools: m.list("tools", tool),
        tool_choice_json: m.raw("tool_choice"),
        parallel_tool_calls: m.flag("parallel_tool_calls"),
        response_format_json: m.raw("response_format"),
        reasoning_effort: m.text("reasoning_effort"),
        service_tier: m.text("service_tier"),
        verbosity: m.text("verbosity"),
        modalities: m.one("modalities", texts),
        audio_json: m.raw("audio"),
        prediction_json: m.raw("prediction"),
        web_search_options_json: m.raw("web_search_options"),
        prompt_cache_key: m.text("prompt_cache_key"),
        safety_identifier: m.text("safety_identifier"),
        functions_json: m.raw("functions"),
        function_call_json: m.raw("function_call"),
        extensions: m.rest(),
    }
}

fn texts(json: &Json) -> TextList {
    TextList { values: json.items().iter().map(|item| item.as_text().unwrap().to_owned()).collect() }
}

fn message(json: &Json) -> Message {
    let mut m = Members::of(json);
    Message {
        role: m.text("role").unwrap_or_default(),
        content: m.one("content", |json| match json {
            Json::Text(text) => Content::Text(text.clone()),
            list => Content::Parts(ContentParts { parts: list.items().iter().map(part).collect() }),
        }),
        name: m.text("name"),
        tool_calls: m.list("tool_calls", call),
        tool_call_id: m.text("tool_call_id"),
        refusal: m.text("refusal"),
        reasoning: m.text("reasoning_content"),
        function_call: m.one("function_call", function),
        extensions: m.rest(),
    }
}

fn part(json: &Json) -> ContentPart {
    let mut m = Members::of(json);
    ContentPart {
        r#type: m.text("type").unwrap_or_default(),
        text: m.text("text"),
        image_url: m.one("image_url", |json| {
            let mut m = Members::of(json);
            let url = m.text("url").unwrap_or_default();
            ImageUrl { url, detail: m.text("detail"), extensions: m.rest() }
        }),
        input_audio: m.one("input_audio", |json| {
            let mut m = Members::of(json);
            let (data, format) = (m.text("data").unwrap_or_default(), m.text("format").unwrap_or_default());
            InputAudio { data, format, extensions: m.rest() }
        }),
        file: m.one("file", |json| {
            let mut m = Members::of(json);
            let (file_data, file_id) = (m.text("file_data"), m.text("file_id"));
            File { file_data, file_id, filename: m.text("filename"), extensions: m.rest() }
        }),
        refusal: m.text("refusal"),
        extensions: m.rest(),
    }
}

fn tool(json: &Json) -> Tool {
    let mut m = Members::of(json);
    Tool {
        r#type: m.text("type").unwrap_or_default(),
        function: m.one("function", |json| {
            let mut m = Members::of(json);
            FunctionTool {
                name: m.text("name").unwrap_or_default(),
                description: m.text("description"),
                parameters_json: m.raw("parameters"),
                strict: m.flag("strict"),
                extensions: m.rest(),
            }
        }),
        custom: m.one("custom", |json| {
            let mut m = Members::of(json);
            let (name, description) = (m.text("name").unwrap_or_default(), m.text("description"));
            CustomTool { name, description, format_json: m.raw("format"), extensions: m.rest() }
        }),
        extensions: m.rest(),
    }
}

fn call(json: &Json) -> ToolCall {
    let mut m = Members::of(json);
    ToolCall {
        index: m.number("index"),
        id: m.text("id"),
        r#type: m.text("type"),
        function: m.one("function", function),
        custom: m.one("custom", |json| {
            let mut m = Members::of(json);
            CustomCall { name: m.text("name"), input: m.text("input"), extensions: m.rest() }
        }),
        extensions: m.rest(),
    }
}

fn function(json: &Json) -> FunctionCall {
    let mut m = Members::of(json);
    FunctionCall { name: m.text("name"), arguments: m.text("arguments"), extensions: m.rest() }
}

/// An object in the making.
#[derive(Default)]
struct Written(Vec<(String, Json)>);

impl Written {
    fn with(mut self, name: &str, value: Option<Json>) -> Written {
        self.0.extend(value.map(|value| (name.to_owned(), value)));
        self
    }

    fn text(self, name: &str, value: Option<&String>) -> Written {
        self.with(name, value.map(Json::text))
    }

    fn end(mut self, extensions: &[Extension]) -> Json {
        self.0.extend(extensions.iter().map(|one| (one.name.clone(), Json::parse(&one.json))));
        Json::Object(self.0)
    }
}

/// A chunk as OpenAI's JSON has it. `content` is what the choices' content is called: `delta` or `message`.
pub fn chunk(chunk: &GenerateChunk, content: &str) -> Json {
    let choices = chunk.choices.iter().map(|one| choice(one, content)).collect();
    Written::default()
        .text("id", Some(&chunk.id))
        .with("created", Some(Json::int(chunk.created)))
        .text("model", Some(&chunk.model))
        .with("choices", Some(Json::List(choices)))
        .with("usage", chunk.usage.as_ref().map(usage))
        .text("system_fingerprint", chunk.system_fingerprint.as_ref())
        .text("service_tier", chunk.service_tier.as_ref())
        .end(&chunk.extensions)
}

fn choice(choice: &Choice, content: &str) -> Json {
    Written::default()
        .with("index", Some(Json::int(choice.index)))
        .with(content, Some(delta(choice.delta.as_ref().unwrap_or(&Delta::default()))))
        .text("finish_reason", choice.finish_reason.as_ref())
        .with("logprobs", choice.logprobs_json.as_deref().map(Json::parse))
        .end(&choice.extensions)
}

fn delta(delta: &Delta) -> Json {
    let calls: Vec<_> = delta.tool_calls.iter().map(written_call).collect();
    Written::default()
        .text("role", delta.role.as_ref())
        .text("content", delta.content.as_ref())
        .text("refusal", delta.refusal.as_ref())
        .text("reasoning_content", delta.reasoning.as_ref())
        .with("tool_calls", Some(Json::List(calls)).filter(|calls| !calls.items().is_empty()))
        .with("function_call", delta.function_call.as_ref().map(written_function))
        .end(&delta.extensions)
}

fn written_call(call: &ToolCall) -> Json {
    let custom = |custom: &CustomCall| {
        let written = Written::default().text("name", custom.name.as_ref());
        written.text("input", custom.input.as_ref()).end(&custom.extensions)
    };
    Written::default()
        .with("index", call.index.map(Json::int))
        .text("id", call.id.as_ref())
        .text("type", call.r#type.as_ref())
        .with("function", call.function.as_ref().map(written_function))
        .with("custom", call.custom.as_ref().map(custom))
        .end(&call.extensions)
}

fn written_function(function: &FunctionCall) -> Json {
    let written = Written::default().text("name", function.name.as_ref());
    written.text("arguments", function.arguments.as_ref()).end(&function.extensions)
}

fn usage(usage: &Usage) -> Json {
    Written::default()
        .with("prompt_tokens", Some(Json::int(usage.prompt_tokens)))
        .with("completion_tokens", Some(Json::int(usage.completion_tokens)))
        .with("total_tokens", Some(Json::int(usage.total_tokens)))
        .with("estimated", usage.estimated.then_some(Json::Bool(true)))
        .end(&usage.extensions)
}
