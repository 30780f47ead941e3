//! The cache of whole answers: who may have one, as what, and what is never kept.

use penstock_proto::auth::v1::CreateRequest;
use penstock_tests::{
    Client, Engine, Mesh, Script, Service, Step, Topology, both,
    bounded::until,
    client::{chat, with},
    grpc::create_key,
};
use serde_json::{Value, json};

const ON: &str = "[router]\ncache_mode = \"deterministic\"\n";

fn deterministic() -> Value {
    with(chat("test-model"), json!({"temperature": 0}))
}

/// Waits until the answer to `body` is stored, without asking an engine.
async fn stored(client: &Client, body: &Value) -> penstock_tests::Answer {
    let only = client.clone().with_header("cache-control", "only-if-cached");
    until("the answer to be in the cache", async || {
        let answer = only.chat(body).await;
        if answer.status != 200 {
            answer.problem(504, "not_cached");
            return None;
        }
        Some(answer)
    })
    .await
}

both! {
    async fn the_same_request_asks_the_engine_once(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, ON).await;
        let client = mesh.client();
        let first = client.chat(&deterministic()).await;
        assert_eq!((first.text().as_str(), first.header("x-penstock-cache")), ("Hello, world!", Some("miss")));
        stored(&client, &deterministic()).await;
        // Order of members and blanks do not change what is asked.
        let body = format!(
            "{{ \"temperature\":0.0, \"messages\":{},\n \"model\":\"test-model\"}}", deterministic()["messages"],
        );
        let hit = client.post("/v1/chat/completions", body).await;
        assert_eq!((hit.text().as_str(), hit.header("x-penstock-cache")), ("Hello, world!", Some("hit")));
        assert!(hit.header("age").unwrap().parse::<u64>().is_ok());
        assert_eq!(hit.json()["usage"], first.json()["usage"]);
        assert_eq!(engine.calls().len(), 1);
    }
}

both! {
    /// C11: what was kept plain replays as a stream, and the other way round.
    async fn a_hit_comes_in_the_shape_that_was_asked_for(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, ON).await;
        let client = mesh.client();
        let usage = json!({"stream_options": {"include_usage": true}});
        client.chat(&deterministic()).await.text();
        stored(&client, &deterministic()).await;
        let events = client.stream(&with(deterministic(), usage)).await;
        assert_eq!(events.headers["x-penstock-cache"], "hit");
        let mut events = events.rest().await;
        assert_eq!(events.pop().as_deref(), Some("[DONE]"));
        let events: Vec<Value> = events.iter().map(|event| serde_json::from_str(event).unwrap()).collect();
        let text: String =
            events.iter().filter_map(|event| event["choices"][0]["delta"]["content"].as_str()).collect();
        assert_eq!(text, "Hello, world!");
        assert_eq!(events[0]["object"], "chat.completion.chunk");
        assert_eq!(events.last().unwrap()["usage"]["total_tokens"], 11);
        assert_eq!(engine.calls().len(), 1);

        let other = with(deterministic(), json!({"seed": 1}));
        client.stream(&other).await.rest().await;
        let plain = stored(&client, &other).await;
        assert_eq!(plain.text(), "Hello, world!");
        assert_eq!((&plain.json()["object"], &plain.json()["usage"]["total_tokens"]), (&json!("chat.completion"), &json!(11)));
        assert_eq!(engine.calls().len(), 2);
    }
}

both! {
    /// B10.
    async fn another_tenant_never_gets_it(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, ON).await;
        mesh.client().chat(&deterministic()).await.text();
        stored(&mesh.client(), &deterministic()).await;
        let request = CreateRequest { name: "b".into(), tenant: Some("other".into()), ..CreateRequest::default() };
        let made = create_key(mesh.address(Service::Auth), mesh.key(), request).await;
        mesh.keep_secret(&made.secret);
        let other = mesh.anonymous().with_key(&made.secret);
        let only = other.clone().with_header("cache-control", "only-if-cached");
        only.chat(&deterministic()).await.problem(504, "not_cached");
        assert_eq!(other.chat(&deterministic()).await.header("x-penstock-cache"), Some("miss"));
        assert_eq!(engine.calls().len(), 2);
    }
}

both! {
    async fn what_changes_the_answer_is_another_request(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, ON).await;
        let client = mesh.client();
        client.chat(&deterministic()).await.text();
        stored(&client, &deterministic()).await;
        let others = [
            json!({"max_tokens": 5}), json!({"seed": 1}), json!({"stop": "x"}), json!({"top_k": 3}),
            json!({"messages": [{"role": "user", "content": "else"}]}),
            json!({"tools": [{"type": "function", "function": {"name": "f"}}]}),
        ];
        for (n, other) in others.into_iter().enumerate() {
            let answer = client.chat(&with(deterministic(), other.clone())).await;
            assert_eq!(answer.header("x-penstock-cache"), Some("miss"), "{other}");
            assert_eq!(engine.calls().len(), n + 2);
        }
        // Not deterministic: neither looked up nor kept.
        for body in [chat("test-model"), with(chat("test-model"), json!({"temperature": 1}))] {
            assert_eq!(client.chat(&body).await.header("x-penstock-cache"), Some("bypass"));
        }
    }
}

both! {
    /// C11: what was not whole is never kept.
    async fn a_cut_answer_is_never_kept(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, ON).await;
        let client = mesh.client();
        engine.next(Script::broken(["Hello"], Step::Cut));
        let events = client.stream(&deterministic()).await.rest().await;
        assert!(events.last().unwrap().contains("engine_cut"), "{events:?}");
        // A client that left half-way made no whole answer either.
        engine.next(Script::broken(["Hello"], Step::Stall));
        let mut events = client.stream(&deterministic()).await;
        events.next_text().await;
        events.hang_up();
        engine.call(1).await.ended().await;
        let answer = client.chat(&deterministic()).await;
        assert_eq!((answer.text().as_str(), answer.header("x-penstock-cache")), ("Hello, world!", Some("miss")));
        assert_eq!(engine.calls().len(), 3);
    }
}

both! {
    async fn callers_may_say_otherwise(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, ON).await;
        let no_store = mesh.client().with_header("cache-control", "no-store");
        no_store.chat(&deterministic()).await.text();
        assert_eq!(mesh.client().chat(&deterministic()).await.header("x-penstock-cache"), Some("miss"));
        stored(&mesh.client(), &deterministic()).await;
        let no_cache = mesh.client().with_header("cache-control", "no-cache");
        no_cache.chat(&deterministic()).await.text();
        assert_eq!(engine.calls().len(), 3);
    }
}

both! {
    async fn switched_off_it_keeps_nothing(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "[router]\ncache_mode = \"off\"\n").await;
        for calls in 1..=3 {
            mesh.client().chat(&deterministic()).await.text();
            assert_eq!(engine.calls().len(), calls);
        }
    }
}
