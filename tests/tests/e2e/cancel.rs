//! C1: a client that hangs up stops the engine, in every window, within 100 ms.

use std::time::Duration;

use penstock_tests::{
    Engine, Mesh, Script, Step, Topology, both,
    bounded::until,
    client::{chat, streamed},
    engine::{Call, End},
};
use serde_json::json;

/// What the project promises.
const PROMISED: Duration = Duration::from_millis(100);
/// Best of this many: a busy machine may be late once, a stream that somebody detached is late every time.
const TRIES: usize = 5;

async fn stopped_after(call: &Call, left: std::time::Instant) -> Duration {
    assert_eq!(call.ended().await, End::ClientGone);
    call.gone_at().unwrap().saturating_duration_since(left)
}

/// Hangs up `TRIES` times in the window that `script` and `texts` make; `stream` or plain.
async fn best(topology: Topology, script: Script, stream: bool, texts: usize) {
    let engine = Engine::playing(script).await;
    let mesh = Mesh::over(topology, &engine, "").await;
    let mut best = Duration::MAX;
    for attempt in 0..TRIES {
        let body = if stream { streamed(chat("test-model")) } else { chat("test-model") };
        let pending = mesh.client().send(http::Method::POST, "/v1/chat/completions", body.to_string()).await;
        let call = engine.call(attempt).await;
        let left = if texts == 0 {
            pending.hang_up()
        } else {
            let mut events = pending.head().await;
            for _ in 0..texts {
                events.next_text().await;
            }
            events.hang_up()
        };
        best = best.min(stopped_after(&call, left).await);
    }
    assert!(best <= PROMISED, "the engine was stopped after {best:?} at best");
    // Nobody asked again on the client's behalf.
    assert_eq!(engine.calls().len(), TRIES);
}

both! {
    async fn a_stream_before_the_head_of_the_engine(topology: Topology) {
        best(topology, Script::default().after(Step::Stall), true, 0).await;
    }
}

both! {
    async fn a_stream_before_the_first_token(topology: Topology) {
        let role = Step::Delta(json!({"role": "assistant", "content": ""}));
        best(topology, Script::steps([role, Step::Stall]), true, 0).await;
    }
}

both! {
    async fn a_stream_after_the_first_token_while_the_engine_is_silent(topology: Topology) {
        best(topology, Script::broken(["a"], Step::Stall), true, 1).await;
    }
}

both! {
    async fn a_stream_after_the_first_token_while_the_engine_talks(topology: Topology) {
        let pace = [Step::Text("word ".into()), Step::Wait(Duration::from_millis(5))];
        let steps: Vec<Step> = pace.iter().cycle().take(4000).cloned().collect();
        best(topology, Script::steps(steps), true, 3).await;
    }
}

both! {
    async fn a_plain_answer(topology: Topology) {
        best(topology, Script::default().after(Step::Stall), false, 0).await;
    }
}

both! {
    /// C2: a client that does not read slows the engine down, instead of filling our memory.
    async fn a_client_that_does_not_read_holds_the_engine_back(topology: Topology) {
        let word = "x".repeat(16 << 10);
        let engine = Engine::playing(Script::texts(vec![word; 4000])).await;
        let mesh = Mesh::over(topology, &engine, "").await;
        let before = mesh.resident_bytes();
        let events = mesh.client().stream(&chat("test-model")).await;
        let call = engine.call(0).await;
        // It is held back when no chunk was written between two looks, long before all 64 MB.
        let mut last = usize::MAX;
        until("the engine to be held back", async || {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let now = call.chunks();
            (std::mem::replace(&mut last, now) == now).then_some(())
        }).await;
        assert!(call.chunks() < 3000, "{} chunks taken for nobody", call.chunks());
        let grown = mesh.resident_bytes().saturating_sub(before);
        assert!(grown < 32 << 20, "{grown} bytes kept for a client that does not read");
        events.hang_up();
        assert_eq!(call.ended().await, End::ClientGone);
    }
}
