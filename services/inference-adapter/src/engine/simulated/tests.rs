//! Tests of the simulated engine, on a clock of their own.

use penstock_proto::inference::v1::{
    ChatInput, FunctionTool, GenerateChunk, Message, Prompt, StopSequences, TextInput, TextList, Tool,
    generate_request::Input, message::Content, stop_sequences,
};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn request(stream: bool) -> GenerateRequest {
    let message = Message {
        role: "user".into(),
        content: Some(Content::Text("ping pong".into())),
        ..Message::default()
    };
    GenerateRequest {
        model: "m".into(),
        input: Some(Input::Chat(ChatInput { messages: vec![message] })),
        stream,
        ..GenerateRequest::default()
    }
}

fn engine(settings: Settings) -> Simulated {
    let limits = Limits {
        connect_timeout: SECOND,
        first_token_timeout: 20 * SECOND,
        embedding_batch_max: 256,
        stall_timeout: 30 * SECOND,
        answer_timeout: 40 * SECOND,
        total_timeout: 50 * SECOND,
        frame_max_bytes: 1,
        answer_max_bytes: 1,
    };
    Simulated::new(settings, "d".into(), limits, || 5)
}

fn paced() -> Settings {
    Settings { delay: SECOND / 10, tokens_per_second: 10.0, ..Settings::default() }
}

/// All chunks of an answer, and why it broke.
async fn ask(engine: &Simulated, request: GenerateRequest) -> (Vec<GenerateChunk>, Option<Reason>) {
    let context = CallContext::background(60 * SECOND);
    let mut stream = match engine.generate(&request, &context).await {
        Ok(stream) => stream,
        Err(error) => return (Vec::new(), Some(error.reason())),
    };
    let mut chunks = Vec::new();
    while let Some(message) = stream.next().await {
        match message {
            Ok(message) => chunks.extend(message.chunks),
            Err(error) => return (chunks, Some(error.reason())),
        }
    }
    (chunks, None)
}

async fn answer(request: GenerateRequest) -> Vec<GenerateChunk> {
    let (chunks, broke) = ask(&engine(paced()), request).await;
    assert_eq!(broke, None);
    chunks
}

fn texts(chunks: &[GenerateChunk], index: i64) -> String {
    let choices = chunks.iter().flat_map(|chunk| &chunk.choices).filter(|choice| choice.index == index);
    choices.filter_map(|choice| choice.delta.as_ref()?.content.as_deref()).collect()
}

fn ends(chunks: &[GenerateChunk]) -> Vec<&str> {
    chunks.iter().flat_map(|c| &c.choices).filter_map(|c| c.finish_reason.as_deref()).collect()
}

#[tokio::test(start_paused = true)]
async fn it_says_what_it_is_and_says_the_same_streamed_and_plain() {
    let began = Instant::now();
    let (streamed, plain) = (answer(request(true)).await, answer(request(false)).await);
    assert_eq!(texts(&plain, 0), format!("{WHAT_IT_IS} You said: ping pong"));
    assert_eq!(texts(&streamed, 0), texts(&plain, 0));
    assert_eq!(plain.len(), 1);
    assert!(
        streamed
            .iter()
            .chain(&plain)
            .all(|chunk| chunk.system_fingerprint.as_deref() == Some("penstock-simulated"))
    );
    let usage = plain[0].usage.as_ref().unwrap();
    // Its words are its tokens: nothing is estimated.
    assert_eq!((usage.prompt_tokens, usage.completion_tokens, usage.estimated), (2, 13, false));
    assert_eq!(streamed.last().unwrap().usage.as_ref(), Some(usage));
    assert!(began.elapsed() >= Duration::from_millis(2400), "paced");
}

#[tokio::test(start_paused = true)]
async fn it_keeps_to_limits_stops_and_choices() {
    let short = answer(GenerateRequest { max_tokens: Some(2), n: Some(2), ..request(true) }).await;
    assert_eq!((texts(&short, 0).as_str(), texts(&short, 1).as_str()), ("This is ", "This is "));
    assert_eq!(ends(&short), ["length", "length"]);
    let stop = Some(StopSequences { kind: Some(stop_sequences::Kind::Text(" engine".into())) });
    let cut = answer(GenerateRequest { stop, ..request(false) }).await;
    assert_eq!(texts(&cut, 0), "This is Penstock's simulated");
    let nothing = answer(GenerateRequest { max_tokens: Some(0), ..request(true) }).await;
    assert_eq!((texts(&nothing, 0).as_str(), ends(&nothing)), ("", vec!["length"]));
}

#[tokio::test(start_paused = true)]
async fn its_length_is_what_it_is_told() {
    for (from, to) in [(3, 3), (40, 40), (10, 90)] {
        let engine = engine(Settings { length: Some((from, to)), ..paced() });
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..20 {
            let (chunks, _) = ask(&engine, request(true)).await;
            let words = texts(&chunks, 0).split_whitespace().count() as u64;
            assert!((from..=to).contains(&words), "{words}");
            assert_eq!(chunks.last().unwrap().usage.as_ref().unwrap().completion_tokens as u64, words);
            seen.insert(words);
        }
        assert_eq!(seen.len() == 1, from == to, "{seen:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_goes_wrong_follows_from_the_seed() {
    let outcomes = async |seed| {
        let rates = Rates { error: 0.25, cut: 0.25, stall: 0.25 };
        let engine = engine(Settings { rates, seed, ..paced() });
        let mut outcomes = Vec::new();
        for at in 0..40 {
            let (chunks, broke) = ask(&engine, request(at % 2 == 0)).await;
            outcomes.push((texts(&chunks, 0), broke));
        }
        outcomes
    };
    let first = outcomes(1).await;
    assert_eq!(first, outcomes(1).await);
    assert_ne!(first, outcomes(2).await);
    for reason in [None, Some(Reason::EngineFailed), Some(Reason::EngineCut), Some(Reason::EngineTimeout)] {
        assert!(first.iter().any(|(_, broke)| *broke == reason), "{reason:?}");
    }
    let whole = format!("{WHAT_IT_IS} You said: ping pong");
    for (text, broke) in &first {
        assert_eq!(broke.is_none(), *text == whole, "what is broken is not whole: {text}");
        assert!(whole.starts_with(text.as_str()));
    }
}

#[tokio::test(start_paused = true)]
async fn silence_lasts_until_it_is_noticed_as_with_other_engines() {
    let engine = engine(Settings { rates: Rates { stall: 1.0, ..Rates::default() }, ..paced() });
    let began = Instant::now();
    assert_eq!(ask(&engine, request(false)).await.1, Some(Reason::EngineTimeout));
    assert!(began.elapsed() >= 40 * SECOND);
    for _ in 0..10 {
        let began = Instant::now();
        let (chunks, broke) = ask(&engine, request(true)).await;
        assert_eq!(broke, Some(Reason::EngineTimeout));
        let patience = if chunks.is_empty() { 20 } else { 30 };
        assert!(began.elapsed() >= patience * SECOND && began.elapsed() < (patience + 2) * SECOND);
    }
}

fn tool(name: &str, parameters: Value) -> Tool {
    let function = FunctionTool {
        name: name.into(),
        parameters_json: Some(parameters.to_string()),
        ..FunctionTool::default()
    };
    Tool { r#type: "function".into(), function: Some(function), ..Tool::default() }
}

#[tokio::test(start_paused = true)]
async fn a_tool_that_must_be_called_is_called_with_what_its_schema_allows() {
    let tools = || {
        let parameters = json!({"type": "object", "required": ["city", "days"], "properties": {
            "city": {"type": "string"}, "days": {"type": "integer", "minimum": 2}}});
        vec![tool("first", json!({})), tool("weather", parameters)]
    };
    let named = r#"{"type":"function","function":{"name":"weather"}}"#;
    for stream in [true, false] {
        let asked =
            GenerateRequest { tools: tools(), tool_choice_json: Some(named.into()), ..request(stream) };
        let chunks = answer(asked).await;
        let calls =
            chunks.iter().flat_map(|c| &c.choices).flat_map(|c| &c.delta.as_ref().unwrap().tool_calls);
        let calls: Vec<_> = calls.map(|call| call.function.clone().unwrap()).collect();
        assert_eq!(calls[0].name.as_deref(), Some("weather"));
        let arguments: String = calls.iter().filter_map(|call| call.arguments.as_deref()).collect();
        let arguments: Value = serde_json::from_str(&arguments).unwrap();
        assert_eq!(arguments, json!({"city": "simulated", "days": 2}));
        assert_eq!(ends(&chunks), ["tool_calls"]);
    }
    let required =
        GenerateRequest { tools: tools(), tool_choice_json: Some(r#""required""#.into()), ..request(false) };
    let call = answer(required).await[0].choices[0].delta.clone().unwrap().tool_calls[0].clone();
    assert_eq!(call.function.unwrap().name.as_deref(), Some("first"));
    assert!(call.id.is_some());
    let free = answer(GenerateRequest { tools: tools(), ..request(false) }).await;
    assert!(texts(&free, 0).starts_with(WHAT_IT_IS), "who may call a tool need not");
}

#[tokio::test(start_paused = true)]
async fn an_answer_in_json_is_json() {
    let format =
        |json: Value| GenerateRequest { response_format_json: Some(json.to_string()), ..request(true) };
    let object = texts(&answer(format(json!({"type": "json_object"}))).await, 0);
    assert_eq!(serde_json::from_str::<Value>(&object).unwrap(), json!({"simulated": WHAT_IT_IS}));
    let schema = json!({"type": "object", "required": ["ok"], "properties": {"ok": {"type": "boolean"}}});
    let schema = json!({"type": "json_schema", "json_schema": {"name": "n", "schema": schema}});
    assert_eq!(texts(&answer(format(schema)).await, 0), r#"{"ok":false}"#);
}

fn prompt(texts: &[&str]) -> Option<Prompt> {
    let values = texts.iter().map(ToString::to_string).collect();
    Some(Prompt { kind: Some(Kind::Texts(TextList { values })) })
}

#[tokio::test(start_paused = true)]
async fn texts_are_continued_each() {
    for stream in [true, false] {
        let text = TextInput { prompt: prompt(&["a", "b c"]), echo: Some(true), ..TextInput::default() };
        let asked = GenerateRequest { input: Some(Input::Text(text)), n: Some(2), ..request(stream) };
        let chunks = answer(asked).await;
        for (index, told) in [(0, "a"), (1, "a"), (2, "b c"), (3, "b c")] {
            assert_eq!(texts(&chunks, index), format!("{told}{WHAT_IT_IS} You said: {told}"));
        }
        assert_eq!(ends(&chunks).len(), 4);
        assert!(chunks.iter().flat_map(|c| &c.choices).all(|c| c.delta.as_ref().unwrap().role.is_none()));
        assert_eq!(chunks.last().unwrap().usage.as_ref().unwrap().prompt_tokens, 3);
    }
    let text = TextInput { prompt: prompt(&["a"]), logprobs: Some(1), ..TextInput::default() };
    let asked = GenerateRequest { input: Some(Input::Text(text)), ..request(false) };
    assert_eq!(ask(&engine(paced()), asked).await.1, Some(Reason::Unsupported), "it makes none up");
}

#[tokio::test(start_paused = true)]
async fn vectors_follow_from_the_text_and_have_length_one() {
    let engine = engine(Settings { dimensions: 8, ..Settings::default() });
    let ask = async |texts: &[&str], dimensions| {
        let request = EmbedRequest { input: prompt(texts), dimensions, ..EmbedRequest::default() };
        engine.embed(&request, &CallContext::background(SECOND)).await
    };
    let both = ask(&["one", "other text"], None).await.unwrap();
    let other = ask(&["other text"], None).await.unwrap();
    assert_eq!(both.embeddings[1], other.embeddings[0]);
    assert_ne!(both.embeddings[0], both.embeddings[1]);
    assert_eq!((both.embeddings[0].values.len(), both.usage.unwrap().prompt_tokens), (8, 3));
    let norm: f32 = both.embeddings[0].values.iter().map(|value| value * value).sum();
    assert!((norm - 1.0).abs() < 1e-5, "{norm}");
    assert_eq!(ask(&["one"], Some(3)).await.unwrap().embeddings[0].values.len(), 3);
    assert_eq!(ask(&["one"], Some(1_000_000)).await.unwrap_err().reason(), Reason::Unsupported);
}
