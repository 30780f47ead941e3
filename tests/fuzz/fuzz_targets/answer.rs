//! An engine's frame, read and written for a client: an event is one line of JSON, whatever the engine said.
#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_facade::fuzzing::{write_answer, write_response};
use penstock_inference_adapter::fuzzing::read_frames;
use serde_json::value::RawValue;

fuzz_target!(|frame: &[u8]| {
    let chunks: Vec<_> = read_frames(frame).into_iter().collect();
    let response = write_response(&chunks);
    for event in String::from_utf8(response.to_vec()).expect("events are UTF-8").split_terminator("\n\n") {
        let (name, data) = event.split_once("\ndata: ").expect("an event has a name and data");
        assert!(name.starts_with("event: ") && !data.contains(['\n', '\r']), "an event of several lines");
        assert!(serde_json::from_str::<&RawValue>(data).is_ok(), "an event that is not JSON");
    }
    for chunk in chunks {
        let (event, answer) = write_answer(&chunk);
        let event = event.strip_prefix(b"data: ").and_then(|event| event.strip_suffix(b"\n\n"));
        let event = event.expect("an event begins and ends as events do");
        assert!(!event.contains(&b'\n') && !event.contains(&b'\r'), "an event of several lines");
        assert!(serde_json::from_slice::<&RawValue>(event).is_ok(), "an event that is not JSON");
        assert!(serde_json::from_slice::<&RawValue>(&answer).is_ok(), "an answer that is not JSON");
    }
});
