//! What ends an answer from our side is told in the words of each API: deadlines, bodies that are too large, and
//! processes that go.

use http::Method;
use penstock_tests::{
    Engine, Mesh, Script, Service, Step, Topology,
    apis::{Api, Outcome},
    both,
    engine::End,
};
use serde_json::json;

use super::{APIS, ask, asking, hello};

both! {
    /// The caller's time is bounded by the caller: before the first token by a status, after it in the stream.
    async fn what_takes_longer_than_the_caller_has_is_told(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let hurried = mesh.client().with_header("x-request-timeout", "300ms");
        for (script, stream) in [
            (Script::default().after(Step::Stall), false),
            (Script::default().after(Step::Stall), true),
            (Script::broken(["some text"], Step::Stall), true),
        ] {
            engine.always(script.clone());
            let chat = ask(Api::Chat, &hurried, stream).await.outcome;
            for api in APIS {
                let got = ask(api, &hurried, stream).await;
                api.agrees(&chat, &got.outcome);
                match &got.outcome {
                    Outcome::Broken(said, _) => assert_eq!(said.text, "some text", "{api:?}"),
                    other => assert_eq!(got.status, 504, "{api:?}: {other}"),
                }
            }
        }
        for call in engine.calls() {
            call.ended().await;
        }
    }
}

both! {
    async fn bodies_that_are_too_large_are_refused(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "[facade]\nbody_max_bytes = \"64 KiB\"\n").await;
        let large = json!({"messages": [{"role": "user", "content": "x".repeat(65 << 10)}]});
        let chat = Api::Chat.ask(&mesh.client(), &asking(Api::Chat, "test-model", large.clone(), false)).await;
        assert_eq!(chat.status, 413);
        for api in APIS {
            let got = api.ask(&mesh.client(), &asking(api, "test-model", large.clone(), true)).await;
            api.agrees(&chat.outcome, &got.outcome);
        }
        assert_eq!(engine.calls().len(), 0);
    }
}

both! {
    /// I1: what has begun is ended at the drain limit, and says so; what is short is finished.
    async fn a_process_that_goes_finishes_what_it_can_and_says_what_it_cannot(topology: Topology) {
        let engine = Engine::playing(Script::broken(["some text"], Step::Stall)).await;
        let mut mesh = Mesh::over(topology, &engine, "[shutdown]\ndrain_limit = \"1s\"\n").await;
        let mut running = Vec::new();
        for api in APIS {
            let question = hello(api, true).to_string();
            let mut events = mesh.client().send(Method::POST, api.path(), question).await.head().await;
            events.until("some text").await;
            running.push((api, events));
        }
        let mut short = Script::texts(["a", "b"]);
        short.steps.insert(2, Step::Gate);
        engine.always(short);
        for api in APIS {
            let question = hello(api, true).to_string();
            let mut events = mesh.client().send(Method::POST, api.path(), question).await.head().await;
            events.until("\"a\"").await;
            running.push((api, events));
        }
        mesh.process(Service::Router).terminate();
        engine.open(APIS.len());
        for (at, (api, events)) in running.into_iter().enumerate() {
            let (status, headers) = (events.status, events.headers.clone());
            let (body, ended) = events.bytes().await;
            assert!(ended, "{api:?}: the body has no end");
            let outcome = api.read(status, &headers, std::str::from_utf8(&body).unwrap());
            match outcome {
                Outcome::Broken(said, _) if at < APIS.len() => assert_eq!(said.text, "some text"),
                Outcome::Whole(said) if at >= APIS.len() => assert_eq!(said.text, "ab"),
                other => panic!("{api:?}: {other}"),
            }
        }
        assert!(mesh.process(Service::Router).exit().await.success());
        for (at, call) in engine.calls().iter().enumerate() {
            let end = if at < APIS.len() { End::ClientGone } else { End::Played };
            assert_eq!(call.ended().await, end);
        }
        assert_eq!(engine.calls().len(), 2 * APIS.len(), "what has begun is not asked again");
    }
}
