//! What is refused for who asks, or for what is asked: credentials, routes, methods, models, headers, and time.

use penstock_proto::auth::v1::CreateRequest;
use penstock_tests::{
    Engine, Mesh, Script, Service, Step, Topology, both,
    client::{chat, streamed},
    grpc::create_key,
    mesh::{model, one_model},
};
use serde_json::Value;

const CHAT: &str = "/v1/chat/completions";

/// The body without what differs from request to request.
fn anonymous(mut problem: Value) -> Value {
    problem["request_id"] = Value::Null;
    problem
}

both! {
    /// B1, B2: one answer for every cause.
    async fn no_key_or_a_wrong_one_is_401(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let body = chat("test-model").to_string();
        let missing = mesh.anonymous().post(CHAT, body.clone()).await;
        let expected = anonymous(missing.problem(401, "invalid_api_key"));
        assert!(missing.header("www-authenticate").is_some_and(|value| value.starts_with("Bearer")));
        let long = format!("Bearer {}", "x".repeat(3000));
        let credentials = [
            "Bearer", "Bearer ", "Bearer wrong", "Basic dXNlcjpwYXNz", "Bearer ' OR 1=1 --", "Bearer *", &long,
            "Bearer sk-penstock-aaaaaaaaaaaa-bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb",
            "canary admin key of the tests 27d0", "Bearer canary admin key of the tests 27d",
        ];
        for credential in credentials {
            let answer = mesh.anonymous().with_header("authorization", credential).post(CHAT, body.clone()).await;
            assert_eq!(anonymous(answer.problem(401, "invalid_api_key")), expected, "{credential}");
        }
        // Keys in a URL end in logs: never taken.
        let query = format!("{CHAT}?api_key=canary%20admin%20key%20of%20the%20tests%2027d0");
        mesh.anonymous().post(&query, body.clone()).await.problem(401, "invalid_api_key");
        // The scheme's case does not matter (RFC 9110).
        let lower = mesh.anonymous().with_header("authorization", &format!("bearer {}", mesh.key()));
        assert_eq!(lower.post(CHAT, body).await.status, 200);
        assert_eq!(engine.calls().len(), 1);
    }
}

both! {
    /// A13.
    async fn two_credentials_are_refused(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let body = chat("test-model").to_string();
        let request = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\nauthorization: Bearer other\r\n\
             content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
            body.len(), key = mesh.key(),
        );
        let answer = mesh.anonymous().raw(request.as_bytes(), |_| false).await;
        assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
        assert_eq!(engine.calls().len(), 0);
    }
}

both! {
    /// A12.
    async fn unknown_models_are_404(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for name in ["nobody", "../x", "test-model ", "tеst-model", "main", "engine-model"] {
            let problem = mesh.client().chat(&chat(name)).await.problem(404, "model_not_found");
            assert_eq!(problem["error"]["type"], "invalid_request_error");
            // Streams have the same body: the head has not been sent yet.
            mesh.client().chat(&streamed(chat(name))).await.problem(404, "model_not_found");
        }
        mesh.client().chat(&chat("x\r\ny")).await.problem(422, "invalid_value");
        mesh.client().chat(&chat(&"x".repeat(1 << 16))).await.problem(422, "invalid_value");
        assert_eq!(engine.calls().len(), 0);
    }
}

both! {
    /// B7: neither an alias nor a fallback widens what a key may use.
    async fn models_that_the_key_may_not_use_are_403(topology: Topology) {
        let engine = Engine::start().await;
        let more = model("secret-model", &["main"], "aliases = [\"cheap-alias\"]");
        let mut mesh = Mesh::start(topology, &[one_model(&engine), more].concat()).await;
        let request = CreateRequest {
            name: "narrow".into(), allowed_models: vec!["test-*".into()], ..CreateRequest::default()
        };
        let key = create_key(mesh.address(Service::Auth), mesh.key(), request).await;
        mesh.keep_secret(&key.secret);
        let client = mesh.anonymous().with_key(&key.secret);
        assert_eq!(client.chat(&chat("test-model")).await.text(), "Hello, world!");
        for name in ["secret-model", "cheap-alias"] {
            let problem = client.chat(&chat(name)).await.problem(403, "model_not_allowed");
            assert_eq!(problem["error"]["type"], "permission_error");
        }
        assert_eq!(engine.calls().len(), 1);
    }
}

both! {
    /// A17: only listed routes exist; nothing of the engine's own API shines through.
    async fn unknown_routes_are_404_and_wrong_methods_405(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        for path in ["/nope", "/v1", "/v1/chat", "/apis", "/slots", "/v1/../api/push",
            "/v1/chat/completions/", "//v1/models", "/v1/%2e%2e/metrics", "/metrics"] {
            let problem = mesh.client().get(path).await.problem(404, "unknown_url");
            assert_eq!(problem["instance"].as_str().map(|s| s.starts_with('/')), Some(true));
        }
        let wrong = mesh.client().request(http::Method::DELETE, CHAT, "").await;
        wrong.problem(405, "method_not_allowed");
        assert!(wrong.header("allow").unwrap().contains("POST"), "{wrong:?}");
        let wrong = mesh.client().request(http::Method::DELETE, "/v1/models", "").await;
        wrong.problem(405, "method_not_allowed");
        assert!(wrong.header("allow").unwrap().contains("GET"), "{wrong:?}");
        assert_eq!(engine.calls().len(), 0);
    }
}

both! {
    async fn request_ids_are_taken_if_sane(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let sane = mesh.client().with_header("x-request-id", "my-id_1.2").chat(&chat("test-model")).await;
        assert_eq!(sane.header("x-request-id"), Some("my-id_1.2"));
        let error = mesh.anonymous().with_header("x-request-id", "my-id_3").chat(&chat("test-model")).await;
        assert_eq!(error.problem(401, "invalid_api_key")["request_id"], "my-id_3");
        for insane in ["has blanks", "x".repeat(200).as_str(), "semi;colon"] {
            let answer = mesh.client().with_header("x-request-id", insane).chat(&chat("test-model")).await;
            let made = answer.header("x-request-id").unwrap();
            assert!(made != insane && !made.is_empty(), "{made}");
        }
        let (one, two) = (mesh.client().get("/nope").await, mesh.client().get("/nope").await);
        assert_ne!(one.header("x-request-id"), two.header("x-request-id"));
    }
}

both! {
    /// The caller's time is bounded by the caller, on every hop: the engine is let go as well.
    async fn what_takes_longer_than_the_caller_has_is_504(topology: Topology) {
        let engine = Engine::playing(Script::default().after(Step::Stall)).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let hurried = mesh.client().with_header("x-request-timeout", "300ms");
        hurried.chat(&chat("test-model")).await.problem(504, "timeout");
        hurried.chat(&streamed(chat("test-model"))).await.problem(504, "timeout");
        for call in engine.calls() {
            call.ended().await;
        }
        // In the midst of a stream the head is gone: an event says it, and no [DONE].
        engine.always(Script::broken(["a"], Step::Stall));
        let mut events = hurried.stream(&chat("test-model")).await;
        assert_eq!(events.next_text().await, "a");
        let rest = events.rest().await;
        assert!(rest.last().is_some_and(|event| event.contains("\"error\"") && event.contains("timeout")), "{rest:?}");
        let insane = mesh.client().with_header("x-request-timeout", "soon");
        insane.chat(&chat("test-model")).await.problem(400, "bad_request");
    }
}
