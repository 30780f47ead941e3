//! The cache of whole answers is one for all APIs: what was asked by one of them is known to the others.

use penstock_proto::auth::v1::CreateRequest;
use penstock_tests::{
    Client, Engine, Mesh, Service, Topology, apis::Api, both, bounded::until, exact::Json, grpc::create_key,
};
use serde_json::json;

use super::{APIS, asking};

const ON: &str = "[router]\ncache_mode = \"deterministic\"\n";

/// One that every API has words for to the last member: Anthropic's has a bound in every request.
fn deterministic(api: Api, seconds: u64, stream: bool) -> Json {
    let messages = json!([{"role": "user", "content": format!("wait {seconds} s")}]);
    let members = json!({"temperature": 0, "max_completion_tokens": 64, "messages": messages});
    asking(api, "test-model", members, stream)
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
        for (number, first) in APIS.into_iter().enumerate() {
            let number = u64::try_from(number).unwrap();
            let calls = engine.calls().len();
            // Whichever of them asks first, plainly or as a stream.
            let miss = first.ask(&client, &deterministic(first, number, number % 2 == 1)).await;
            assert_eq!((miss.said().text.as_str(), miss.header("x-penstock-cache")), ("Hello, world!", Some("miss")));
            stored(&client, &deterministic(Api::Chat, number, false)).await;
            let plain = deterministic(Api::Chat, number, false);
            let by_chat = Api::Chat.ask(&client, &plain).await;
            assert_eq!(by_chat.said().usage.unwrap().input, 7);
            for api in APIS {
                for stream in [false, true] {
                    let hit = api.ask(&client, &deterministic(api, number, stream)).await;
                    let what = format!("{first:?}, then {api:?}, stream {stream}");
                    assert_eq!(hit.header("x-penstock-cache"), Some("hit"), "{what}");
                    assert!(hit.header("age").is_some(), "{what}");
                    assert_eq!(*hit.said(), api.shows(by_chat.said()), "{what}");
                }
            }
            assert_eq!(engine.calls().len(), calls + 1, "asked first by {first:?}");
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
        for (number, api) in APIS.into_iter().enumerate() {
            let question = deterministic(api, 10 + u64::try_from(number).unwrap(), false);
            let calls = engine.calls().len();
            api.ask(&no_store, &question).await.said();
            // Nothing was kept: it is asked again.
            let again = api.ask(&mesh.client(), &question).await;
            assert_eq!(again.header("x-penstock-cache"), Some("miss"), "{api:?}");
            stored(&mesh.client(), &deterministic(Api::Chat, 10 + u64::try_from(number).unwrap(), false)).await;
            api.ask(&no_cache, &question).await.said();
            assert_eq!(engine.calls().len(), calls + 3, "{api:?}");
        }
    }
}

both! {
    /// B10.
    async fn another_tenant_never_gets_it(topology: Topology) {
        let engine = Engine::start().await;
        let mut mesh = Mesh::over(topology, &engine, ON).await;
        Api::Chat.ask(&mesh.client(), &deterministic(Api::Chat, 20, false)).await.said();
        stored(&mesh.client(), &deterministic(Api::Chat, 20, false)).await;
        let request = CreateRequest { name: "b".into(), tenant: Some("other".into()), ..CreateRequest::default() };
        let made = create_key(mesh.address(Service::Auth), mesh.key(), request).await;
        mesh.keep_secret(&made.secret);
        let other = mesh.anonymous().with_key(&made.secret);
        let only = other.clone().with_header("cache-control", "only-if-cached");
        let chat = Api::Chat.ask(&only, &deterministic(Api::Chat, 20, false)).await;
        for api in APIS {
            let refused = api.ask(&only, &deterministic(api, 20, false)).await;
            assert_eq!(refused.refused().status, 504, "{api:?}");
            api.agrees(&chat.outcome, &refused.outcome);
        }
        assert_eq!(engine.calls().len(), 1);
    }
}
