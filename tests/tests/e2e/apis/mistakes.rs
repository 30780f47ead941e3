//! What is wrong with a request is told in the words of its API, all of it at once, and reaches no engine.

use penstock_tests::{Engine, Mesh, Topology, apis::Api, both};
use serde_json::{Value, json};

use super::{APIS, hello};

both! {
    /// By each API the same: what cannot be read at all.
    async fn what_is_no_request_is_refused(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for body in ["", "{", "{\"model\":", "[]", "7", "{\"model\":\"a\",\"model\":\"b\"}", "{} {}", "{\"a\":\"\u{1}\"}"] {
            let chat = Api::Chat.ask_raw(&mesh.client(), body).await;
            for api in APIS {
                let got = api.ask_raw(&mesh.client(), body).await;
                let (own, by_chat) = (got.refused(), chat.refused());
                assert_eq!(own.status, api.status(by_chat.status), "{api:?} {body:?}: {own:?}, {by_chat:?}");
                assert_eq!(own.code, by_chat.code.clone().filter(|_| api != Api::Messages), "{api:?} {body:?}");
            }
        }
        for api in APIS {
            let answer = mesh.client().request(http::Method::DELETE, api.path(), "").await;
            assert_eq!(answer.status, 405, "{api:?}");
            api.read(answer.status, &answer.headers, std::str::from_utf8(&answer.body).unwrap());
        }
        assert_eq!(engine.calls().len(), 0);
    }
}

/// Many mistakes in one request, and the fields that are to be named.
fn many(api: Api) -> (Value, Vec<&'static str>) {
    match api {
        Api::Chat => (
            json!({"model": "test-model", "messages": [{"role": "robot", "content": "x"}, {"role": "user", "content": 7}],
                "temperature": 3, "max_completion_tokens": "x", "top_p": 7, "stream": "yes",
                "response_format": {"type": "json_schema", "json_schema": {"name": "a b"}}, "tools": [{"type": "function", "function": {}}]}),
            vec!["max_completion_tokens", "messages[0].role", "messages[1].content", "response_format.json_schema.name", "stream",
                "temperature", "tools[0].function.name", "top_p"],
        ),
        Api::Responses => (
            json!({"model": "test-model", "input": [{"role": "robot", "content": "x"}, {"role": "user", "content": 7}],
                "temperature": 3, "max_output_tokens": "x", "top_p": 7, "stream": "yes",
                "text": {"format": {"type": "json_schema", "name": "a b"}}, "tools": [{"type": "function"}, {"type": "web_search"}]}),
            vec!["input[0].role", "input[1].content", "max_output_tokens", "stream", "temperature", "text.format.name",
                "tools[0].name", "tools[1].type", "top_p"],
        ),
        Api::Messages => (
            json!({"model": "test-model", "max_tokens": "x",
                "messages": [{"role": "robot", "content": "x"}, {"role": "user", "content": 7},
                    {"role": "user", "content": [{"type": "poem"}]}],
                "temperature": 3, "top_p": 7, "stream": "yes", "stop_sequences": "x",
                "tools": [{"input_schema": {}}, {"type": "web_search_20250305", "name": "web_search"}]}),
            vec!["max_tokens", "messages[0].role", "messages[1].content", "messages[2].content[0].type",
                "stop_sequences", "stream", "temperature", "tools[0].name", "tools[1].type", "top_p"],
        ),
        Api::Ollama => (
            json!({"model": "test-model",
                "messages": [{"role": "robot", "content": "x"}, {"role": "user", "content": 7},
                    {"role": "user", "content": "x", "images": ["?"]}],
                "options": {"temperature": 3, "num_predict": "x", "top_p": 7}, "stream": "yes", "format": 7,
                "think": "loudly", "tools": [{"type": "function", "function": {}}]}),
            vec!["format", "messages[0].role", "messages[1].content", "messages[2].images[0]", "options.num_predict",
                "options.temperature", "options.top_p", "stream", "think", "tools[0].function.name"],
        ),
    }
}

both! {
    async fn everything_that_is_wrong_is_told_at_once(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let mut wrong = Vec::new();
        for api in APIS {
            let (body, expected) = many(api);
            let got = api.ask_raw(&mesh.client(), &body.to_string()).await;
            let trouble = got.refused();
            assert_eq!(trouble.status, api.status(422), "{api:?}: {trouble:?}");
            let mut fields: Vec<_> = trouble.fields.iter().map(|(field, _)| field.as_str()).collect();
            fields.sort_unstable();
            if fields != expected {
                wrong.push(format!("{api:?}\n{fields:?}\n{expected:?}\n{:?}", trouble.fields));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(engine.calls().len(), 0);
    }
}

/// Single requests that cannot be answered as they are meant, and the field that is to be named.
fn unsayable() -> Vec<(Api, Value, &'static str)> {
    let responses = |more: Value| (Api::Responses, more);
    let messages = |more: Value| (Api::Messages, more);
    let ollama = |more: Value| (Api::Ollama, more);
    let rows = [
        (responses(json!({"conversation": "conv_1"})), "conversation"),
        (responses(json!({"prompt": {"id": "pmpt_1"}})), "prompt"),
        (responses(json!({"truncation": "auto"})), "truncation"),
        (responses(json!({"input": [{"type": "web_search_call", "id": "ws_1", "status": "completed"}]})), "input[0].type"),
        (responses(json!({"input": null})), "input"),
        (messages(json!({"max_tokens": null})), "max_tokens"),
        (messages(json!({"mcp_servers": [{"type": "url", "url": "https://example.com", "name": "x"}]})), "mcp_servers"),
        (messages(json!({"container": "c_1"})), "container"),
        (messages(json!({"thinking": {"type": "enabled", "budget_tokens": 5}})), "thinking.budget_tokens"),
        (ollama(json!({"messages": []})), "messages"),
        (ollama(json!({"options": {"temperature": 2.5}})), "options.temperature"),
        (ollama(json!({"format": "xml"})), "format"),
    ];
    rows.into_iter().map(|((api, body), field)| (api, body, field)).collect()
}

both! {
    async fn what_cannot_be_meant_here_is_refused_by_its_name(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let mut wrong = Vec::new();
        for (api, members, field) in unsayable() {
            let mut body: Value = serde_json::from_str(&hello(api, false).to_string()).unwrap();
            body.as_object_mut().unwrap().extend(members.as_object().unwrap().clone());
            let got = api.ask_raw(&mesh.client(), &body.to_string()).await;
            if (400..500).contains(&got.status) {
                let trouble = got.refused();
                let fields: Vec<_> = trouble.fields.iter().map(|(field, _)| field.as_str()).collect();
                if fields != [field] {
                    wrong.push(format!("{api:?} {members}: {trouble:?}"));
                }
            } else {
                wrong.push(format!("{api:?} {members}: {}", got.outcome));
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert_eq!(engine.calls().len(), 0);
    }
}
