//! The same question by the other APIs: the engine is asked the same, and the answer says the same, as far as each
//! API has words for it. What one has none for stands in the transcript.

use penstock_tests::{
    Engine, Mesh,
    apis::{Api, Got, MAX_TOKENS, Outcome},
    exact::Json,
    golden::{self, Case},
};

/// Under which name the bound of an answer reaches the engine.
fn bound(api: Api) -> &'static str {
    if api == Api::Ollama { "max_tokens" } else { "max_completion_tokens" }
}

/// What an engine was asked by chat, as it must be asked by an API. All that is otherwise stands here.
fn as_asked_by(api: Api, by_chat: &Json) -> Json {
    let mut asked = by_chat.clone();
    for name in ["max_tokens", "max_completion_tokens"] {
        if asked.has(name) {
            let value = asked.take(name);
            asked.set(bound(api), value);
        }
    }
    if api == Api::Messages && !asked.has(bound(api)) {
        asked.set(bound(api), Json::int(MAX_TOKENS));
    }
    let named = match api {
        Api::Messages => r#"{"name":"answer","strict":true}"#,
        Api::Ollama => r#"{"name":"format"}"#,
        Api::Chat | Api::Responses => "",
    };
    let schema = asked.get("response_format").get("json_schema").get("schema").clone();
    if schema != Json::Null && !named.is_empty() {
        // These know a schema alone.
        let mut json_schema = Json::parse(named);
        json_schema.set("schema", schema);
        let mut format = asked.take("response_format");
        format.set("json_schema", json_schema);
        asked.set("response_format", format);
    }
    if let Json::List(messages) = &mut asked.take("messages") {
        for message in messages.iter_mut().filter(|message| message.get("role").as_text() == Some("tool")) {
            if let [one] = message.get("content").items() {
                // What a tool gave is one text.
                let text = one.get("text").clone();
                message.set("content", text);
            }
        }
        asked.set("messages", Json::List(std::mem::take(messages)));
    }
    asked
}

/// With the members of what is put together anew in one order.
fn in_order(asked: &Json) -> Json {
    let mut asked = asked.clone();
    let mut format = asked.take("response_format");
    let mut schema = format.get("json_schema").clone();
    for json in [&mut schema, &mut format] {
        if let Json::Object(members) = json {
            members.sort_by(|(one, _), (other, _)| one.cmp(other));
        }
    }
    if schema != Json::Null {
        format.set("json_schema", schema);
    }
    asked.set("response_format", format);
    asked
}

/// Asks a case by each API, plainly and as a stream; what came of it.
pub(super) async fn play(case: &Case, mesh: &Mesh, engine: &Engine) -> String {
    let mut transcript = String::new();
    if case.name.starts_with("invalid") {
        // Mistakes are made in the words of each API.
        return transcript;
    }
    for api in Api::OTHERS {
        for stream in [false, true] {
            let question = match api.question(&case.request, stream) {
                Ok(question) => question,
                Err(what) if stream => {
                    transcript += &format!("== By {api:?}: it has no words for {what}\n");
                    continue;
                }
                Err(_) => continue,
            };
            engine.always(case.script(stream));
            let so_far = engine.calls().len();
            let chat = Api::Chat.question(&case.request, stream).unwrap();
            let chat = Api::Chat.ask(&mesh.client(), &chat).await;
            let by_chat = engine.calls().len();
            let got = api.ask(&mesh.client(), &question).await;
            let calls = engine.calls();
            let bodies = |calls: &[penstock_tests::engine::Call]| -> Vec<Json> {
                calls.iter().map(|call| Json::parse(std::str::from_utf8(&call.body).unwrap())).collect()
            };
            let (one, other) = (bodies(&calls[so_far..by_chat]), bodies(&calls[by_chat..]));
            let what = format!("{}, {api:?}, stream {stream}", case.name);
            assert_eq!(one.len(), other.len(), "{what}: as many calls");
            for (by_chat, by_api) in one.iter().zip(&other) {
                let expected = as_asked_by(api, by_chat);
                assert!(
                    in_order(&expected).says_the_same(&in_order(by_api)),
                    "{what}: the engine is asked otherwise\nby chat {by_chat}\nexpected {expected}\nby it   {by_api}"
                );
            }
            compare(&what, api, &chat, &got);
            transcript += &format!("== By {api:?}, {}: {}\n", if stream { "a stream" } else { "plain" }, got.status);
            transcript += &lines(&got.body);
        }
    }
    transcript
}

fn compare(what: &str, api: Api, chat: &Got, got: &Got) {
    match (&chat.outcome, &got.outcome) {
        (Outcome::Whole(by_chat), Outcome::Whole(said)) => {
            assert_eq!(said.clone().settled(), api.shows(by_chat).settled(), "{what}: {:.2000}", got.body);
        }
        (by_chat, own) => {
            if let (Outcome::Broken(begun, _), Outcome::Broken(said, _)) = (by_chat, own) {
                let shown = api.shows(begun);
                assert_eq!((&said.text, &said.reasoning), (&shown.text, &shown.reasoning), "{what}");
            }
            api.agrees(by_chat, own);
        }
    }
}

/// A body, a line for each event, without what differs from run to run.
fn lines(body: &str) -> String {
    let data = body.lines().filter(|line| !line.is_empty() && !line.starts_with("event: "));
    let line = |line: &str| match line.strip_prefix("data: ").unwrap_or(line) {
        comment if comment.starts_with(':') => String::new(),
        json => format!("{}\n", golden::settled(&Json::parse(json))),
    };
    data.map(line).collect()
}
