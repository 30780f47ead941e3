//! Newline-delimited JSON: where the reads are cut does not matter, and no line is longer than the bound.
#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_inference_adapter::fuzzing::ndjson;

#[path = "../src/pieces.rs"]
mod pieces;

fuzz_target!(|input: &[u8]| {
    let (pieces, whole) = pieces::cut(input);
    assert_eq!(ndjson(&pieces, usize::MAX >> 1), ndjson(&[whole], usize::MAX >> 1));
    let bounded = ndjson(&pieces, 16).unwrap_or_default();
    assert!(bounded.iter().all(|line| line.len() <= 16));
});
