//! An engine's frame, read and written for a client: an event is one line of JSON, whatever the engine said.
#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_facade::fuzzing::write_answer;
use penstock_inference_adapter::fuzzing::read_frames;
use serde_json::value::RawValue;

fuzz_target!(|frame: &[u8]| {
    for chunk in read_frames(frame) {
        let (event, answer) = write_answer(&chunk);
        let event = event.strip_prefix(b"data: ").and_then(|event| event.strip_suffix(b"\n\n"));
        let event = event.expect("an event begins and ends as events do");
        assert!(!event.contains(&b'\n') && !event.contains(&b'\r'), "an event of several lines");
        assert!(serde_json::from_slice::<&RawValue>(event).is_ok(), "an event that is not JSON");
        assert!(serde_json::from_slice::<&RawValue>(&answer).is_ok(), "an answer that is not JSON");
    }
});
