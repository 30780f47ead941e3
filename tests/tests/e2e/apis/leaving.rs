//! C1: a caller that leaves stops the engine, by every API, before the first token and after it, streamed or not.

use http::Method;
use penstock_tests::{Engine, Mesh, Script, Step, Topology, both, engine::End};
use serde_json::json;

use super::{APIS, hello};

both! {
    async fn the_engine_is_let_go(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let role = Step::Delta(json!({"role": "assistant", "content": ""}));
        let windows = [
            (Script::default().after(Step::Stall), false, false),
            (Script::default().after(Step::Stall), true, false),
            (Script::steps([role, Step::Stall]), true, false),
            (Script::broken(["some text"], Step::Stall), true, true),
        ];
        let mut left = 0;
        for api in APIS {
            for (script, stream, after_the_first) in windows.clone() {
                engine.always(script);
                let question = hello(api, stream).to_string();
                let pending = mesh.client().send(Method::POST, api.path(), question).await;
                let call = engine.call(left).await;
                if after_the_first {
                    let mut events = pending.head().await;
                    events.until("some text").await;
                    events.hang_up();
                } else {
                    pending.hang_up();
                }
                assert_eq!(call.ended().await, End::ClientGone, "{api:?}");
                left += 1;
                assert_eq!(engine.calls().len(), left, "{api:?}: nobody asks again for who has left");
            }
        }
    }
}
