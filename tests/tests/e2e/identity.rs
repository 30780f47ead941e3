//! JSON, contract, JSON is the identity: what a client says reaches the engine, and what the engine says reaches
//! the client, to the letter where nobody types it. Cases are random, from a seed that a failure names;
//! `PENSTOCK_SEED=<number>` tries another one.

mod generate;

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use penstock_tests::{Engine, Mesh, Script, Step, Topology, exact::Json, golden};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestCaseError, TestCaseResult, TestRng, TestRunner},
};
use tokio::runtime::Handle;

/// Requests and answers that each property is tried with.
const CASES: u32 = 300;

/// Tries `property` with values of `strategy`; a failure is made as small as it gets.
fn hold<S: Strategy>(strategy: S, property: impl AsyncFn(S::Value) -> TestCaseResult) {
    let seed: u64 =
        std::env::var("PENSTOCK_SEED").map_or(0, |seed| seed.parse().expect("PENSTOCK_SEED is a number"));
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let config =
        Config { cases: CASES, failure_persistence: None, max_shrink_iters: 2000, ..Config::default() };
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let outcome = tokio::task::block_in_place(|| {
        runner.run(&strategy, |value| Handle::current().block_on(property(value)))
    });
    if let Err(error) = outcome {
        panic!("with PENSTOCK_SEED={seed}: {error}");
    }
}

fn same(expected: &Json, found: &Json) -> TestCaseResult {
    let message = || format!("expected\n{expected}\nfound\n{found}");
    if expected.says_the_same(found) { Ok(()) } else { Err(TestCaseError::fail(message())) }
}

/// What the engine is to see of `request`, as README's "What is changed on the way" has it.
fn as_asked(request: &Json) -> Json {
    let mut asked = request.clone();
    asked.set("model", Json::text("engine-model"));
    let stream = *request.get("stream") == Json::Bool(true);
    asked.set("stream", Json::Bool(stream));
    if stream {
        let mut options = match asked.take("stream_options") {
            Json::Null => Json::Object(Vec::new()),
            options => options,
        };
        options.set("include_usage", Json::Bool(true));
        asked.set("stream_options", options);
    }
    asked.take("store");
    asked.take("metadata");
    asked
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_client_says_reaches_the_engine() {
    let engine = Engine::start().await;
    let mesh = Mesh::over(Topology::Standalone, &engine, "[router]\ncache_mode = \"off\"\n").await;
    hold(generate::request(), async |request| {
        let so_far = engine.calls().len();
        let answer = mesh.client().post("/v1/chat/completions", request.to_string()).await;
        let text = String::from_utf8_lossy(&answer.body);
        prop_assert_eq!(answer.status, 200, "{}\n{}", request, text);
        let calls = engine.calls();
        prop_assert_eq!(calls.len(), so_far + 1);
        same(&as_asked(&request), &Json::parse(std::str::from_utf8(&calls[so_far].body).unwrap()))
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_an_engine_says_reaches_the_client() {
    let engine = Engine::start().await;
    let mesh = Mesh::over(Topology::Standalone, &engine, "[router]\ncache_mode = \"off\"\n").await;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let chat = |stream: bool| {
        let mut body = r#"{"model":"test-model","messages":[{"role":"user","content":"hi"}]"#.to_owned();
        if stream {
            body += r#","stream":true,"stream_options":{"include_usage":true}"#;
        }
        body + "}"
    };
    let headed = |chunk: &Json, object: &str, model: &str| {
        let mut chunk = chunk.clone();
        for (name, value) in [("id", "chatcmpl-x"), ("object", object), ("model", model)] {
            chunk.set(name, Json::text(value));
        }
        chunk.set("created", Json::Number(now.to_string()));
        chunk
    };
    hold(generate::answer(), async |answer| {
        let said: Vec<_> =
            answer.iter().map(|one| headed(one, "chat.completion.chunk", "engine-model")).collect();
        let events = said.iter().map(|one| Step::Event(one.to_string())).chain([Step::Done]);
        engine.always(Script::steps(events.collect::<Vec<_>>()));
        let heard = mesh.client().post("/v1/chat/completions", chat(true)).await;
        let heard = std::str::from_utf8(&heard.body).unwrap();
        let mut expected = Vec::new();
        let mut found = Vec::new();
        for (event, one) in heard.split_terminator("\n\n").zip(&answer) {
            prop_assert!(event.starts_with("data: {"), "{}", heard);
            found.push(Json::parse(&event["data: ".len()..]));
            expected.push(headed(one, "chat.completion.chunk", "test-model"));
        }
        prop_assert_eq!(found.len(), answer.len(), "{}", heard);
        for (expected, found) in expected.iter().zip(&found) {
            same(expected, found)?;
        }
        prop_assert!(heard.ends_with("\n\ndata: [DONE]\n\n"), "{}", heard);

        let plain = golden::sum(&said);
        engine.always(Script::steps([Step::Event(plain.to_string())]));
        let heard = mesh.client().post("/v1/chat/completions", chat(false)).await;
        let mut context = String::new();
        write!(context, "{plain}").unwrap();
        prop_assert_eq!(heard.status, 200, "{}", context);
        let heard = Json::parse(std::str::from_utf8(&heard.body).unwrap());
        same(&headed(&plain, "chat.completion", "test-model"), &heard)
    });
}
