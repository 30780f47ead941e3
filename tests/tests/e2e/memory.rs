//! Memory: it does not grow with the length of a stream, nor of an answer that is not kept.

use penstock_tests::{Engine, Mesh, Script, Step, Topology, both, client::chat};
use serde_json::json;

/// Far below what the chunks would take if they were kept (60 000 of 1 KiB), far above an allocator's slack.
const SLACK_BYTES: u64 = 16 << 20;

both! {
    async fn does_not_grow_with_the_length_of_a_stream(topology: Topology) {
        let text = "x".repeat(1 << 10);
        let long = Script::texts(vec![text.clone(); 60_000]);
        let engine = Engine::playing(Script::texts(vec![text; 1_000])).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let read = async || {
            let mut events = mesh.client().stream(&chat("test-model")).await;
            let mut count = 0;
            while let Some(event) = events.next().await {
                count += usize::from(event.contains("xxx"));
            }
            count
        };
        assert_eq!(read().await, 1_000);
        let before = mesh.resident_bytes();
        engine.always(long);
        assert_eq!(read().await, 60_000);
        let grown = mesh.resident_bytes().saturating_sub(before);
        assert!(grown < SLACK_BYTES, "{grown} bytes more after a stream of 60 MB");
    }
}

both! {
    /// G8: what was refused, failed or left leaves nothing behind.
    async fn does_not_grow_with_the_number_of_requests(topology: Topology) {
        let engine = Engine::start().await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let round = async || {
            for n in 0..300 {
                mesh.client().chat(&chat("test-model")).await.text();
                mesh.anonymous().with_key(&format!("stranger {n}")).chat(&chat("test-model")).await;
                mesh.client().chat(&json!({"model": format!("nobody-{n}"), "messages": []})).await;
                engine.next(Script::broken(["a"], Step::Stall));
                let mut events = mesh.client().stream(&chat("test-model")).await;
                events.next_text().await;
                events.hang_up();
            }
        };
        round().await;
        let before = mesh.resident_bytes();
        round().await;
        let grown = mesh.resident_bytes().saturating_sub(before);
        assert!(grown < SLACK_BYTES, "{grown} bytes more after 1200 requests");
    }
}
