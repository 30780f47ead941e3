//! Every fault of an engine, by stream and not, with another deployment to go to and without: the caller gets the
//! whole answer or a clear error within a bounded time, never a cut answer that looks whole, and no engine is
//! hammered. The rows stand in `fault_matrix/`; `cargo nextest run --no-capture` shows what came of them (C5 to C9,
//! D1 to D5, D8 to D10, D12).

mod bodies;
mod bomb;
mod connections;
mod content;
mod fault;
mod recoveries;
mod stage;
mod statuses;

use penstock_tests::{Topology, both};

use self::{
    fault::Fault,
    stage::{IMPATIENT, PATIENT, Setting, play},
};

fn all() -> Vec<Fault> {
    let parts = [
        statuses::faults(),
        connections::faults(),
        bodies::faults(),
        content::faults(),
        content::circumstances(),
    ];
    parts.into_iter().flatten().collect()
}

both! {
    async fn with_somewhere_to_go(topology: Topology) {
        let all = all().into_iter().chain(recoveries::faults()).collect();
        play(topology, Setting::Away, IMPATIENT, all).await;
    }
}

both! {
    async fn with_nowhere_to_go(topology: Topology) {
        play(topology, Setting::Alone, IMPATIENT, all()).await;
    }
}

both! {
    async fn where_it_does_not_last(topology: Topology) {
        play(topology, Setting::Alone, IMPATIENT, recoveries::faults()).await;
    }
}

both! {
    async fn with_one_that_can_go_on(topology: Topology) {
        play(topology, Setting::Away, IMPATIENT, content::continued()).await;
    }
}

both! {
    async fn where_a_broken_stream_is_to_be_an_error(topology: Topology) {
        play(topology, Setting::Away, IMPATIENT, content::as_errors()).await;
    }
}

both! {
    async fn with_patience_of_their_own(topology: Topology) {
        play(topology, Setting::Away, PATIENT, content::by_their_own_patience()).await;
        play(topology, Setting::Alone, PATIENT, content::by_their_own_patience()).await;
    }
}
