//! Server-sent events: where the reads are cut does not matter, and no event is longer than the bound.
#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_inference_adapter::fuzzing::sse;

#[path = "../src/pieces.rs"]
mod pieces;

fuzz_target!(|input: &[u8]| {
    let (pieces, whole) = pieces::cut(input);
    assert_eq!(sse(&pieces, usize::MAX >> 1), sse(&[whole], usize::MAX >> 1));
    let bounded = sse(&pieces, 16).unwrap_or_default();
    assert!(bounded.iter().all(|event| event.len() <= 16));
});
