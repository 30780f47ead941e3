//! Requests that are wrong in themselves: not JSON, too large, too deep, wrong types and ranges. None of them
//! reaches an engine (A1 to A6).

use penstock_tests::{Answer, Engine, Mesh, PROMPT_CANARY, Topology, both, client::chat};
use serde_json::{Value, json};

const CHAT: &str = "/v1/chat/completions";

/// Whether `body` names `field` where clients look for it.
fn names(body: &Value, field: &str) -> bool {
    let listed = body["errors"].as_array().unwrap().iter().any(|violation| {
        violation["field"] == json!(field) && violation["message"].as_str().is_some_and(|m| !m.is_empty())
    });
    listed && body["error"]["param"] == json!(field)
}

both! {
    /// A1.
    async fn what_is_not_json_is_400(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let bodies: [&[u8]; 8] = [
            b"", b"hello", b"{", b"{\"model\": \"test-model\", \"messages\": [", b"{\"model\": nan}",
            b"{\"model\": \"\xff\xfe\"}", b"\xef\xbb\xbf{}", b"{} trailing",
        ];
        for body in bodies {
            let answer = mesh.client().with_header("content-type", "application/json").post(CHAT, body.to_vec()).await;
            let problem = answer.problem(400, "invalid_json");
            assert_eq!(problem["error"]["type"], "invalid_request_error");
        }
        let plain = mesh.client().with_header("content-type", "text/plain");
        plain.post(CHAT, chat("test-model").to_string()).await.problem(415, "unsupported_media_type");
        let zipped = mesh.client().with_header("content-encoding", "gzip");
        zipped.post(CHAT, vec![0x1f, 0x8b, 8, 0]).await.problem(415, "unsupported_media_type");
        assert_eq!(engine.calls().len(), 0);
    }
}

both! {
    /// A2: refused without overflowing a stack, wherever the depth is.
    async fn nesting_beyond_reason_is_refused(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let bodies = [
            deep.clone(),
            format!(r#"{{"model":"test-model","messages":{deep}}}"#),
            format!(r#"{{"model":"test-model","messages":[{{"role":"user","content":"x"}}],"tools":[{{"type":"function","function":{{"name":"f","parameters":{deep}}}}}]}}"#),
            format!(r#"{{"model":"test-model","messages":[{{"role":"user","content":"x"}}],"unknown":{deep}}}"#),
        ];
        for body in bodies {
            mesh.client().post(CHAT, body).await.problem(400, "invalid_json");
        }
        assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
        assert_eq!(engine.calls().len(), 1);
    }
}

both! {
    /// A3.
    async fn too_large_bodies_are_413_as_soon_as_that_is_known(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "[facade]\nbody_max_bytes = \"64 KiB\"\n").await;
        let mut large = chat("test-model");
        large["messages"][0]["content"] = json!("x".repeat(64 << 10));
        mesh.client().chat(&large).await.problem(413, "request_too_large");
        let mut fits = chat("test-model");
        fits["messages"][0]["content"] = json!("x".repeat(60 << 10));
        assert_eq!(mesh.client().chat(&fits).await.status, 200);

        // No Content-Length, and no end: the answer must not wait for one.
        let head = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             transfer-encoding: chunked\r\n\r\n", mesh.key(),
        );
        let chunk = format!("10000\r\n{}\r\n", "x".repeat(1 << 16));
        let endless = [head.as_bytes(), chunk.repeat(3).as_bytes()].concat();
        let answer = mesh.anonymous().raw(&endless, |answer| answer.windows(3).any(|w| w == b"413")).await;
        let answer = String::from_utf8_lossy(&answer);
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        // A promised length over the limit is refused before the body is read.
        let promised = format!(
            "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             content-length: 99999999\r\n\r\n", mesh.key(),
        );
        let answer = mesh.anonymous().raw(promised.as_bytes(), |answer| answer.windows(3).any(|w| w == b"413")).await;
        assert!(answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
        assert_eq!(engine.calls().len(), 1);
    }
}

/// A request whose text makes it `size` bytes long.
fn of_size(size: usize) -> Vec<u8> {
    let mut body = chat("test-model");
    body["messages"][0]["content"] = json!("");
    let rest = size - body.to_string().len();
    body["messages"][0]["content"] = json!("x".repeat(rest));
    body.to_string().into_bytes()
}

both! {
    /// A3: the default of 32 MiB is a promise on every hop, not only at the door.
    async fn a_body_of_the_default_limit_is_taken_and_one_byte_more_is_413(topology: Topology) {
        const LIMIT: usize = 32 << 20;
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let answer = mesh.client().post(CHAT, of_size(LIMIT)).await;
        assert_eq!(answer.text(), "Hello, world!");
        let sent = engine.call(0).await.json();
        let arrived = sent["messages"][0]["content"].as_str().unwrap().len();
        assert!(LIMIT - arrived < 200, "{arrived}");

        let head = |length: &str| format!(
            "POST {CHAT} HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-type: application/json\r\n\
             {length}\r\n\r\n", mesh.key(),
        ).into_bytes();
        // As it is announced; and, without announcement, as it comes. Nothing is sent behind the byte that is
        // too much: what nobody reads could take the answer with it.
        let announced = head(&format!("content-length: {}", LIMIT + 1));
        let chunk = format!("{:x}\r\n", LIMIT + 1).into_bytes();
        let came = [head("transfer-encoding: chunked"), chunk, of_size(LIMIT + 1)].concat();
        for request in [announced, came] {
            let answer = mesh.anonymous().raw(&request, |answer| answer.windows(3).any(|w| w == b"413")).await;
            assert!(answer.starts_with(b"HTTP/1.1 413"), "{}", String::from_utf8_lossy(&answer));
        }
        assert_eq!(engine.calls().len(), 1);
    }
}

both! {
    /// A4: time that grows with the square of a body's members would be minutes here, or a third of one at best.
    async fn very_many_members_are_answered_within_seconds(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let unknown: String = (0..50_000).map(|n| format!(r#""unknown_{n}":{n},"#)).collect();
        let bodies = [
            format!(r#"{{{unknown}"model":"test-model","messages":[{{"role":"user","content":"x"}}]}}"#),
            format!(r#"{{"model":"test-model","messages":[{{{unknown}"role":"user","content":"x"}}]}}"#),
        ];
        // The deadline is the caller's: what is slower is a 504, wherever it is slow.
        let hurried = mesh.client().with_header("x-request-timeout", "10s");
        for body in bodies {
            let answer = hurried.post(CHAT, body).await;
            assert!([200, 400, 413, 422].contains(&answer.status), "{answer:?}");
        }
        assert_eq!(mesh.client().chat(&chat("test-model")).await.status, 200);
    }
}

both! {
    /// A5, A6.
    async fn wrong_types_and_ranges_are_422_and_name_the_field(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let messages = format!(r#""messages":[{{"role":"user","content":"{PROMPT_CANARY}"}}]"#);
        let member = |text: &str| format!(r#"{{"model":"test-model",{messages},{text}}}"#);
        let message = |text: &str| format!(r#"{{"model":"test-model","messages":[{text}]}}"#);
        let cases = [
            (format!(r#"{{{messages}}}"#), "model"),
            (format!(r#"{{"model":1,{messages}}}"#), "model"),
            (r#"{"model":"test-model"}"#.to_owned(), "messages"),
            (r#"{"model":"test-model","messages":"hi"}"#.to_owned(), "messages"),
            (message(""), "messages"),
            (message(r#"{"role":"user","content":7}"#), "messages[0].content"),
            (message(r#"{"role":"robot","content":"x"}"#), "messages[0].role"),
            (message(r#"{"role":"user"}"#), "messages[0].content"),
            (message(r#"{"role":"tool","content":"x"}"#), "messages[0].tool_call_id"),
            (message(r#"{"role":"user","content":[{"type":"text"}]}"#), "messages[0].content[0].text"),
            (member(r#""temperature":"hot""#), "temperature"),
            (member(r#""temperature":2.5"#), "temperature"),
            (member(r#""temperature":1e400"#), "temperature"),
            (member(r#""top_p":-0.1"#), "top_p"),
            (member(r#""n":1.5"#), "n"),
            (member(r#""n":0"#), "n"),
            (member(r#""n":1000000000"#), "n"),
            (member(r#""max_tokens":9223372036854775808"#), "max_tokens"),
            (member(r#""max_tokens":-1"#), "max_tokens"),
            (member(r#""seed":1e400"#), "seed"),
            (member(r#""stop":["a","b","c","d","e"]"#), "stop"),
            (member(r#""stream":"yes""#), "stream"),
            (member(r#""stream_options":{"include_usage":true}"#), "stream_options"),
            (member(r#""top_logprobs":5"#), "top_logprobs"),
            (member(r#""tools":{}"#), "tools"),
            (member(r#""tools":[{"type":"function"}]"#), "tools[0].function.name"),
        ];
        for (body, field) in cases {
            let answer: Answer = mesh.client().post(CHAT, body.clone()).await;
            let problem = answer.problem(422, "invalid_value");
            assert!(names(&problem, field), "{body}\nmust name {field}: {problem}");
        }
        assert_eq!(engine.calls().len(), 0);
    }
}

both! {
    /// A5: one parse, one value; what two readers could read in two ways is refused.
    async fn members_given_twice_are_refused(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let messages = r#""messages":[{"role":"user","content":"x"}]"#;
        for body in [
            format!(r#"{{"model":"test-model","model":"other",{messages}}}"#),
            format!(r#"{{"model":"test-model","\u006dodel":"other",{messages}}}"#),
            format!(r#"{{"model":"test-model",{messages},"top_k":1,"top_k":2}}"#),
        ] {
            mesh.client().post(CHAT, body).await.problem(422, "invalid_value");
        }
        assert_eq!(engine.calls().len(), 0);
    }
}

both! {
    /// Every mistake at once: nobody wants to find them one by one.
    async fn all_violations_are_named(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let body = json!({"model": "test-model", "messages": [], "temperature": 9, "n": 0});
        let problem = mesh.client().chat(&body).await.problem(422, "invalid_value");
        let fields: Vec<_> = problem["errors"].as_array().unwrap().iter().map(|v| v["field"].as_str().unwrap()).collect();
        assert_eq!(fields, ["messages", "temperature", "n"]);
    }
}

both! {
    /// A9: valid text arrives as it was sent, whatever it is.
    async fn odd_text_reaches_the_engine_unchanged(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let odd = "\u{0}\u{7f}\u{feff}\u{1F469}\u{200D}\u{1F680} \"\\/\r\n\t </script> \u{2029}";
        let mut body = chat("test-model");
        body["messages"][0]["content"] = json!(odd);
        assert_eq!(mesh.client().chat(&body).await.status, 200);
        assert_eq!(engine.call(0).await.json()["messages"][0]["content"], json!(odd));
    }
}
