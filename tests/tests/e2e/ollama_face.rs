//! Ollama's own API before engines of every kind: lines and whole answers, tools over two turns, pictures, thinking,
//! vectors, models, and what goes wrong.

use http::Method;
use penstock_tests::{
    Answer, Engine, Mesh, PROMPT_CANARY, Script, Step, Topology, both, bounded::until, client::with,
    engine::End, mesh::model,
};
use serde_json::{Value, json};

/// A PNG, as far as its first bytes go.
const PNG: &str = "iVBORw0KGgoAAAAN";

/// `test-model` on `engine`, which is of this kind.
fn config(kind: &str, engine: &Engine, more: &str) -> String {
    let url = if kind == "ollama" { engine.url() } else { engine.v1() };
    let deployment = format!(
        "[[deployments]]\nid = \"main\"\nengine = \"{kind}\"\nendpoint = \"{url}\"\nmodel = \"engine-model\"\n{more}\n"
    );
    deployment + &model("test-model", &["main"], "after_commit = \"error\"")
}

fn ask() -> Value {
    json!({"model": "test-model", "messages": [{"role": "user", "content": format!("{PROMPT_CANARY} hello")}]})
}

fn prompt() -> Value {
    json!({"model": "test-model", "prompt": format!("{PROMPT_CANARY} hello")})
}

fn plain(body: Value) -> Value {
    with(body, json!({"stream": false}))
}

async fn post(mesh: &Mesh, path: &str, body: &Value) -> Answer {
    mesh.client().post(path, body.to_string()).await
}

/// The lines of a streamed answer.
fn lines(answer: &Answer) -> Vec<Value> {
    let text = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/x-ndjson")), "{text}");
    assert!(text.ends_with('\n') && !text.contains("\n\n"), "{text}");
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{e}: {line}"))).collect()
}

/// What the lines of a whole answer say at this pointer, and its last line.
fn joined(answer: &Answer, pointer: &str) -> (String, Value) {
    let lines = lines(answer);
    let (last, others) = lines.split_last().unwrap();
    assert!(others.iter().all(|line| line["done"] == false && line.get("error").is_none()), "{others:?}");
    assert_eq!(last["done"], true, "{last}");
    (lines.iter().filter_map(|line| line.pointer(pointer)?.as_str()).collect(), last.clone())
}

fn whole(answer: &Answer) -> Value {
    let json = answer.json();
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/json")), "{json}");
    json
}

/// The text of an error, which is in Ollama's shape.
fn error(answer: &Answer, status: u16) -> Value {
    let json = answer.json();
    assert_eq!((answer.status, answer.header("content-type")), (status, Some("application/json")), "{json}");
    assert!(json["error"].as_str().is_some_and(|text| !text.is_empty()), "{json}");
    json
}

both! {
    async fn answers_are_lines_or_one_object(topology: Topology) {
        for kind in ["openai", "ollama"] {
            let engine = Engine::start().await;
            let mesh = Mesh::start(topology, &config(kind, &engine, "")).await;
            for (path, body, pointer) in
                [("/api/chat", ask(), "/message/content"), ("/api/generate", prompt(), "/response")]
            {
                let (text, last) = joined(&post(&mesh, path, &body).await, pointer);
                let at_once = whole(&post(&mesh, path, &plain(body.clone())).await);
                assert_eq!((text.as_str(), at_once.pointer(pointer).unwrap()), ("Hello, world!", &json!("Hello, world!")));
                for end in [&last, &at_once] {
                    assert_eq!((&end["model"], &end["done_reason"]), (&json!("test-model"), &json!("stop")), "{end}");
                    assert_eq!((&end["prompt_eval_count"], &end["eval_count"]), (&json!(7), &json!(4)), "{end}");
                    for name in ["total_duration", "load_duration", "prompt_eval_duration", "eval_duration"] {
                        assert!(end[name].is_u64(), "{name}: {end}");
                    }
                    assert!(end["total_duration"].as_u64() > Some(0), "{end}");
                }
            }
            // Each was asked once, as a stream or not, as the caller wanted it.
            let streams: Vec<_> = engine.calls().iter().map(|call| call.json()["stream"].clone()).collect();
            assert_eq!(streams, [json!(true), json!(false), json!(true), json!(false)]);
        }
    }
}

both! {
    async fn a_tool_is_called_and_its_answer_told_without_ids(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::start(topology, &config("openai", &engine, "")).await;
        let call = |index: u32, id: Option<&str>, name: Option<&str>, arguments: &str| {
            let mut call = json!({"index": index, "function": {"arguments": arguments}});
            if let (Some(id), Some(name)) = (id, name) {
                call["id"] = json!(id);
                call["type"] = json!("function");
                call["function"]["name"] = json!(name);
            }
            Step::Delta(json!({"tool_calls": [call]}))
        };
        engine.next(Script::steps([
            call(0, Some("abc"), Some("add"), "{\"a\":"),
            call(1, Some("def"), Some("time"), "{}"),
            call(0, None, None, " 1}"),
            Step::Finish("tool_calls"), Step::Usage, Step::Done,
        ]));
        let tools = json!([{"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}]);
        let body = with(ask(), json!({"tools": tools}));
        let answer = post(&mesh, "/api/chat", &body).await;
        let lines = lines(&answer);
        let calls: Vec<_> = lines.iter().filter_map(|line| line["message"].get("tool_calls")).collect();
        assert_eq!(calls.len(), 1, "whole and once: {lines:?}");
        let functions: Vec<_> = calls[0].as_array().unwrap().iter().map(|call| &call["function"]).collect();
        assert_eq!((&functions[0]["name"], &functions[0]["arguments"]), (&json!("add"), &json!({"a": 1})));
        assert_eq!((&functions[1]["name"], &functions[1]["arguments"]), (&json!("time"), &json!({})));
        assert_eq!(engine.call(0).await.json()["tools"], tools);

        // As Ollama's own clients give it back: without ids.
        let mut messages = body["messages"].as_array().unwrap().clone();
        let called: Vec<_> = functions.iter().map(|one| json!({"function": {"name": one["name"], "arguments": one["arguments"]}})).collect();
        messages.push(json!({"role": "assistant", "content": "", "tool_calls": called}));
        messages.push(json!({"role": "tool", "tool_name": "time", "content": "noon"}));
        messages.push(json!({"role": "tool", "tool_name": "add", "content": "2"}));
        let second = plain(with(body, json!({"messages": messages})));
        assert_eq!(whole(&post(&mesh, "/api/chat", &second).await)["message"]["content"], "Hello, world!");
        let asked = engine.call(1).await.json()["messages"].clone();
        let ids: Vec<_> = asked[1]["tool_calls"].as_array().unwrap().iter().map(|call| call["id"].clone()).collect();
        assert_eq!(asked[1]["tool_calls"][0]["function"]["arguments"], r#"{"a":1}"#);
        assert_eq!((&asked[2]["tool_call_id"], &asked[3]["tool_call_id"]), (&ids[1], &ids[0]));
        assert!(ids[0].is_string() && ids[0] != ids[1], "{ids:?}");
    }
}

both! {
    /// C8: arguments that are no object are an error, never an empty object and never an answer that looks whole.
    async fn a_call_that_is_none_breaks_the_answer(topology: Topology) {
        let call = json!({"tool_calls": [{"index": 0, "id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"a\":"}}]});
        let engine = Engine::playing(Script::steps([Step::Delta(call), Step::Finish("tool_calls"), Step::Usage, Step::Done])).await;
        let mesh = Mesh::start(topology, &config("openai", &engine, "")).await;
        let said = lines(&post(&mesh, "/api/chat", &ask()).await);
        assert!(said.last().unwrap()["error"].is_string(), "{said:?}");
        assert!(said.iter().all(|line| line["done"] != true && line["message"].get("tool_calls").is_none()), "{said:?}");
        error(&post(&mesh, "/api/chat", &plain(ask())).await, 502);
    }
}

both! {
    async fn thoughts_pictures_and_formats_reach_an_engine_of_any_kind(topology: Topology) {
        let schema = json!({"type": "object", "properties": {"n": {"type": "integer"}}});
        let body = json!({"model": "test-model", "think": true, "format": schema,
            "messages": [{"role": "user", "content": "What is this?", "images": [PNG]}]});
        for kind in ["ollama", "vllm"] {
            let engine = Engine::start().await;
            let mesh = Mesh::start(topology, &config(kind, &engine, "")).await;
            let thought = if kind == "ollama" { json!({"thinking": "hm"}) } else { json!({"reasoning": "hm"}) };
            engine.always(Script::steps([Step::Delta(thought), Step::Text("{\"n\":1}".into()), Step::Finish("length"), Step::Usage, Step::Done]));
            let answer = post(&mesh, "/api/chat", &body).await;
            assert_eq!(joined(&answer, "/message/thinking").0, "hm");
            let (text, last) = joined(&answer, "/message/content");
            assert_eq!((text.as_str(), &last["done_reason"]), ("{\"n\":1}", &json!("length")));
            let asked = engine.call(0).await.json();
            if kind == "ollama" {
                assert_eq!((&asked["think"], &asked["format"]), (&json!(true), &schema));
                assert_eq!(asked["messages"][0]["images"], json!([PNG]));
            } else {
                assert_eq!(asked["reasoning_effort"], "medium");
                assert_eq!(asked["response_format"]["json_schema"]["schema"], schema);
                let url = format!("data:image/png;base64,{PNG}");
                assert_eq!(asked["messages"][0]["content"][0]["image_url"]["url"], url);
            }
            let json = plain(with(ask(), json!({"format": "json", "think": false})));
            assert_eq!(whole(&post(&mesh, "/api/chat", &json).await)["message"]["thinking"], "hm");
            let asked = engine.call(1).await.json();
            match kind {
                "ollama" => assert_eq!((&asked["format"], &asked["think"]), (&json!("json"), &json!(false))),
                _ => assert_eq!((&asked["response_format"], &asked["reasoning_effort"]), (&json!({"type": "json_object"}), &json!("none"))),
            }
        }
    }
}

both! {
    async fn options_reach_each_engine_under_its_own_names(topology: Topology) {
        let body = with(plain(ask()), json!({"keep_alive": "10m", "options": {
            "num_predict": 9, "temperature": 0.5, "seed": 3, "stop": ["x"], "top_k": 40, "repeat_penalty": 1.5,
            "num_ctx": 512, "num_thread": 2}}));
        for kind in ["ollama", "vllm", "llama-cpp", "openai"] {
            let engine = Engine::start().await;
            let mesh = Mesh::start(topology, &config(kind, &engine, "")).await;
            whole(&post(&mesh, "/api/chat", &body).await);
            let unbounded = with(plain(ask()), json!({"options": {"num_predict": -1}}));
            whole(&post(&mesh, "/api/chat", &unbounded).await);
            let (asked, second) = (engine.call(0).await.json(), engine.call(1).await.json());
            if kind == "ollama" {
                let options = &asked["options"];
                for (name, value) in body["options"].as_object().unwrap() {
                    assert_eq!(&options[name], value, "{name}");
                }
                assert_eq!(asked["keep_alive"], "10m");
                assert_eq!((asked.get("top_k"), second["options"].get("num_predict")), (None, None));
            } else {
                let penalty = if kind == "vllm" { "repetition_penalty" } else { "repeat_penalty" };
                let names = ["max_tokens", "temperature", "seed", "stop", "top_k", penalty];
                let expected = [json!(9), json!(0.5), json!(3), json!(["x"]), json!(40), json!(1.5)];
                for (name, value) in names.into_iter().zip(expected) {
                    assert_eq!(asked[name], value, "{kind} {name}");
                }
                for name in ["options", "keep_alive", "num_ctx", "num_thread"] {
                    assert_eq!(asked.get(name), None, "{kind} {name}");
                }
                assert_eq!(second.get("max_tokens"), None);
            }
        }
    }
}

both! {
    async fn a_raw_prompt_is_continued_and_not_answered(topology: Topology) {
        let raw = with(plain(prompt()), json!({"raw": true}));
        for (kind, path, bound) in [("ollama", "/api/generate", "/options/num_predict"), ("openai", "/v1/completions", "/max_tokens")] {
            let engine = Engine::start().await;
            let mesh = Mesh::start(topology, &config(kind, &engine, "")).await;
            assert_eq!(whole(&post(&mesh, "/api/generate", &raw).await)["response"], "Hello, world!");
            let bounded = with(prompt(), json!({"raw": true, "options": {"num_predict": 5}}));
            assert_eq!(joined(&post(&mesh, "/api/generate", &bounded).await, "/response").0, "Hello, world!");
            let calls = engine.calls();
            assert!(calls.iter().all(|call| call.path == path && call.json().get("messages").is_none()));
            let bounds: Vec<_> = calls.iter().map(|call| call.json().pointer(bound).cloned()).collect();
            let none = (kind == "ollama").then(|| json!(-1));
            assert_eq!(bounds, [none, Some(json!(5))], "{kind}");
        }
    }
}

both! {
    async fn vectors_in_both_ways(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::start(topology, &config("ollama", &engine, "")).await;
        let body = json!({"model": "test-model", "input": ["a", "bcd"], "dimensions": 2, "truncate": true,
            "options": {"num_thread": 2}, "keep_alive": -1});
        let answer = whole(&post(&mesh, "/api/embed", &body).await);
        assert_eq!((&answer["model"], &answer["embeddings"]), (&json!("test-model"), &json!([[1.0, 1.0], [3.0, 1.0]])));
        assert!(answer["total_duration"].is_u64() && answer["prompt_eval_count"].as_u64() > Some(0), "{answer}");
        let asked = engine.call(0).await.json();
        assert_eq!((&asked["truncate"], &asked["keep_alive"], &asked["dimensions"]), (&json!(true), &json!(-1), &json!(2)));
        assert_eq!(asked["options"]["num_thread"], 2);
        let one = whole(&post(&mesh, "/api/embeddings", &json!({"model": "test-model", "prompt": "abcde"})).await);
        assert_eq!(one, json!({"embedding": [5.0, 1.0, 2.0]}));
        let wrong = error(&post(&mesh, "/api/embeddings", &json!({"model": "test-model"})).await, 400);
        assert_eq!(wrong["errors"][0]["field"], "prompt");
        assert_eq!(engine.calls().len(), 2);
    }
}

both! {
    async fn models_are_listed_shown_and_seen_in_memory(topology: Topology) {
        let engine = Engine::start().await;
        engine.serve_page("/api/ps", 200, json!({"models": [{"name": "engine-model"}]}));
        let cold = Engine::start().await;
        let configured = config("ollama", &engine, "context_tokens = 4096")
            + &config("ollama", &cold, "").replace("\"main\"", "\"cold\"").replace("\"test-model\"", "\"cold-model\"");
        let mesh = Mesh::start(topology, &configured).await;
        let running = until("the model to be seen in memory", async || {
            let running = mesh.client().get("/api/ps").await.json()["models"].clone();
            (running.as_array().is_some_and(|models| !models.is_empty())).then_some(running)
        }).await;
        let names: Vec<_> = running.as_array().unwrap().iter().map(|model| &model["name"]).collect();
        assert_eq!(names, ["test-model"], "the other one is not in memory");
        assert_eq!(running[0]["context_length"], 4096);

        let tags = whole(&mesh.client().get("/api/tags").await);
        let names: Vec<_> = tags["models"].as_array().unwrap().iter().map(|model| &model["model"]).collect();
        assert_eq!(names, ["cold-model", "test-model"]);
        assert_eq!(tags["models"][1]["digest"].as_str().map(str::len), Some(64));

        for body in [json!({"model": "test-model"}), json!({"name": "test-model", "verbose": true})] {
            let shown = whole(&post(&mesh, "/api/show", &body).await);
            assert_eq!(shown["model_info"]["penstock.context_length"], 4096);
            let words = shown["capabilities"].as_array().unwrap();
            for word in ["completion", "tools", "vision", "thinking", "embedding"] {
                assert!(words.contains(&json!(word)), "{word}: {words:?}");
            }
        }
        let missing = error(&post(&mesh, "/api/show", &json!({"model": "nobody"})).await, 404);
        assert!(missing["error"].as_str().unwrap().contains("nobody"), "{missing}");
        assert_eq!(whole(&mesh.anonymous().get("/api/version").await)["version"].as_str().map(|text| text.split('.').count()), Some(3));
        assert!(engine.calls().is_empty() && cold.calls().is_empty(), "none of this asks for an answer");
    }
}

both! {
    async fn what_is_wrong_is_told_in_its_shape_and_its_names(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::start(topology, &config("ollama", &engine, "")).await;
        for (path, body, status, field) in [
            ("/api/chat", with(ask(), json!({"model": "nobody"})), 404, None),
            ("/api/chat", with(ask(), json!({"messages": []})), 400, Some("messages")),
            ("/api/chat", with(ask(), json!({"options": {"temperature": 3}})), 400, Some("options.temperature")),
            ("/api/chat", with(ask(), json!({"options": {"num_ctx": -1}})), 400, Some("options.num_ctx")),
            ("/api/chat", with(ask(), json!({"tools": 7})), 400, Some("tools")),
            ("/api/generate", with(prompt(), json!({"prompt": ""})), 400, Some("prompt")),
            ("/api/generate", with(prompt(), json!({"template": "x"})), 400, Some("template")),
            ("/api/generate", with(prompt(), json!({"context": [1]})), 400, Some("context")),
        ] {
            let answer = error(&post(&mesh, path, &body).await, status);
            assert_eq!(answer["errors"][0]["field"].as_str(), field, "{answer}");
        }
        error(&mesh.client().post("/api/chat", "{").await, 400);
        error(&mesh.anonymous().post("/api/chat", ask().to_string()).await, 401);
        error(&mesh.client().get("/api/chat").await, 405);
        assert!(engine.calls().is_empty());
    }
}

both! {
    /// C8: the line of an error is the last one, and nothing says that it is done.
    async fn an_answer_that_breaks_ends_with_an_error(topology: Topology) {
        let engine = Engine::playing(Script::broken(["a", "b"], Step::Cut)).await;
        let mesh = Mesh::start(topology, &config("ollama", &engine, "")).await;
        for (path, body) in [("/api/chat", ask()), ("/api/generate", prompt())] {
            let said = lines(&post(&mesh, path, &body).await);
            let (last, others) = said.split_last().unwrap();
            assert!(last["error"].is_string() && last.get("done").is_none(), "{last}");
            assert!(!others.is_empty() && others.iter().all(|line| line["done"] == false), "{others:?}");
            error(&post(&mesh, path, &plain(body)).await, 502);
        }
        engine.always(Script::status(500));
        error(&post(&mesh, "/api/chat", &ask()).await, 502);
    }
}

both! {
    /// C1.
    async fn a_client_that_leaves_stops_the_engine(topology: Topology) {
        let engine = Engine::playing(Script::broken(["a"], Step::Stall)).await;
        let mesh = Mesh::start(topology, &config("ollama", &engine, "")).await;
        for (at, (path, body)) in
            [("/api/chat", ask()), ("/api/generate", prompt()), ("/api/chat", plain(ask()))].into_iter().enumerate()
        {
            let pending = mesh.client().send(Method::POST, path, body.to_string()).await;
            let call = engine.call(at).await;
            pending.hang_up();
            assert_eq!(call.ended().await, End::ClientGone, "{path}");
        }
        assert_eq!(engine.calls().len(), 3, "nobody asked again");
    }
}

both! {
    /// A14: what would change an engine does not exist, and reaches none.
    async fn an_engine_cannot_be_changed(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::start(topology, &config("ollama", &engine, "")).await;
        for path in ["/api/pull", "/api/create", "/api/delete", "/api/push", "/api/copy", "/api/blobs/sha256:0"] {
            for method in [Method::POST, Method::DELETE, Method::GET] {
                let answer = mesh.client().request(method, path, r#"{"model":"engine-model"}"#).await;
                assert!(error(&answer, 404)["error"].as_str().unwrap().contains("engine itself"), "{path}");
            }
        }
        let reached = engine.free_calls().into_iter().map(|call| call.path).collect::<Vec<_>>();
        assert!(reached.iter().all(|path| ["/api/version", "/api/tags", "/api/ps", "/api/show"].contains(&path.as_str())), "{reached:?}");
    }
}
