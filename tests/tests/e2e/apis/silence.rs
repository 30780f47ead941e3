//! An engine that says nothing for long: the connection is kept open in the words of each API, which say nothing, and
//! what comes of it is told in the stream, for the head is gone (C10).

use http::Method;
use penstock_tests::{Engine, Mesh, Script, Step, Topology, apis::Outcome, both};
use serde_json::json;

use super::{APIS, hello};

const SOON: &str =
    "[facade]\nkeep_alive_delay = \"50ms\"\nkeep_alive_period = \"50ms\"\n[router]\nretries = 0\n";

both! {
    async fn a_silent_stream_is_kept_open_and_ends_as_it_ends(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, SOON).await;
        let role = || Step::Delta(json!({"role": "assistant", "content": ""}));
        let pause = Script::steps([
            role(), Step::Text("Hello, ".into()), Step::Gate, Step::Text("world!".into()), Step::Finish("stop"),
            Step::Usage, Step::Done,
        ]);
        for (script, beginning, whole) in [
            (Script::default().after(Step::Gate), "", true),
            (pause, "Hello, ", true),
            (Script::status(500).after(Step::Gate), "", false),
            (Script::steps([role(), Step::Gate, Step::Cut]), "", false),
        ] {
            for api in APIS {
                engine.always(script.clone());
                let question = hello(api, true).to_string();
                let mut events = mesh.client().send(Method::POST, api.path(), question).await.head().await;
                assert_eq!(events.status, 200, "{api:?}: the head went out");
                if !beginning.is_empty() {
                    events.until(beginning).await;
                }
                // More than one, so that one that says something would be seen to.
                events.grows_by(3).await;
                engine.open(1);
                let (status, headers) = (events.status, events.headers.clone());
                let (body, ended) = events.bytes().await;
                assert!(ended, "{api:?}: the body has no end");
                let outcome = api.read(status, &headers, std::str::from_utf8(&body).unwrap());
                match outcome {
                    Outcome::Whole(said) if whole => assert_eq!(said.text, "Hello, world!", "{api:?}"),
                    Outcome::Broken(said, _) if !whole => assert_eq!(said.text, "", "{api:?}"),
                    other => panic!("{api:?}: {other}"),
                }
            }
        }
    }
}
