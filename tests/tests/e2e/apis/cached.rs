//! The cache of whole answers is one for all APIs: what was asked by one of them is known to the others.

use penstock_proto::auth::v1::CreateRequest;
use penstock_tests::{
    Client, Engine, Mesh, Service, Topology, apis::Api, both, bounded::until, exact::Json, grpc::create_key,
};
use serde_json::json;

use super::asking;

const ON: &str = "[router]\ncache_mode = \"deterministic\"\n";

/// APIs that have words for the same question to the last member: in Anthropic's it has a bound, and Ollama calls one
/// what chat called it of old.
const GROUPS: [(&str, &[Api]); 2] = [
    ("max_completion_tokens", &[Api::Chat, Api::Responses, Api::Messages]),
    ("max_tokens", &[Api::Chat, Api::Ollama]),
];

fn deterministic(api: Api, number: usize, bound: &str, stream: bool) -> Json {
    let messages = json!([{"role": "user", "content": format!("question {number}")}]);
    asking(api, "test-model", json!({"temperature": 0, bound: 64, "messages": messages}), stream)
}

/// Waits until the answer is in the cache, without asking an engine.
async fn stored(client: &Client, question: &Json) {
    let only = client.clone().with_header("cache-control", "only-if-cached");
    until("the answer to be in the cache", async || {
        (Api::Chat.ask(&only, question).await.status == 200).then_some(())
    })
    .await;
}

both! {
    async fn what_chat_asked_is_known_to_the_others_and_the_other_way_round(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, ON).await;
        let client = mesh.client();
        let firsts = GROUPS.iter().flat_map(|(bound, apis)| apis.iter().map(move |first| (bound, apis, first)));
        for (number, (bound, apis, first)) in firsts.enumerate() {
            // Whichever of them asks first, plainly or as a stream.
            let miss = first.ask(&client, &deterministic(*first, number, bound, number % 2 == 1)).await;
            assert_eq!((miss.said().text.as_str(), miss.header("x-penstock-cache")), ("Hello, world!", Some("miss")));
            let plain = deterministic(Api::Chat, number, bound, false);
            stored(&client, &plain).await;
            let by_chat = Api::Chat.ask(&client, &plain).await;
            assert_eq!(by_chat.said().usage.unwrap().input, 7);
            for api in *apis {
                for stream in [false, true] {
                    let hit = api.ask(&client, &deterministic(*api, number, bound, stream)).await;
                    let what = format!("{first:?}, then {api:?}, stream {stream}");
                    assert_eq!(hit.header("x-penstock-cache"), Some("hit"), "{what}");
                    assert!(hit.header("age").is_some(), "{what}");
                    assert_eq!(*hit.said(), api.shows(by_chat.said()), "{what}");
                }
            }
            assert_eq!(engine.calls().len(), number + 1, "asked first by {first:?}");
        }
    }
}

both! {
    async fn callers_may_say_otherwise(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, ON).await;
        let (no_store, no_cache) = (
            mesh.client().with_header("cache-control", "no-store"),
            mesh.client().with_header("cache-control", "no-cache"),
        );
        for (bound, apis) in GROUPS {
            for (number, api) in apis.iter().enumerate() {
                let question = deterministic(*api, number, bound, false);
                let calls = engine.calls().len();
                api.ask(&no_store, &question).await.said();
                // Nothing was kept: it is asked again.
                let again = api.ask(&mesh.client(), &question).await;
                assert_eq!(again.header("x-penstock-cache"), Some("miss"), "{api:?}");
                stored(&mesh.client(), &deterministic(Api::Chat, number, bound, false)).await;
                api.ask(&no_cache, &question).await.said();
                assert_eq!(engine.calls().len(), calls + 3, "{api:?}");
            }
        }
    }
}

both! {
    /// B10.
    async fn another_tenant_never_gets_it(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, ON).await;
        for (bound, _) in GROUPS {
            Api::Chat.ask(&mesh.client(), &deterministic(Api::Chat, 0, bound, false)).await.said();
            stored(&mesh.client(), &deterministic(Api::Chat, 0, bound, false)).await;
        }
        let request = CreateRequest { name: "b".into(), tenant: Some("other".into()), ..CreateRequest::default() };
        let made = create_key(mesh.address(Service::Auth), mesh.key(), request).await;
        mesh.keep_secret(&made.secret);
        let other = mesh.anonymous().with_key(&made.secret);
        let only = other.clone().with_header("cache-control", "only-if-cached");
        for (bound, apis) in GROUPS {
            let chat = Api::Chat.ask(&only, &deterministic(Api::Chat, 0, bound, false)).await;
            for api in apis {
                let refused = api.ask(&only, &deterministic(*api, 0, bound, false)).await;
                assert_eq!(refused.refused().status, 504, "{api:?}");
                api.agrees(&chat.outcome, &refused.outcome);
            }
        }
        assert_eq!(engine.calls().len(), 2);
    }
}
