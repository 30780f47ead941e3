//! The readers of requests: what they take is JSON, and engines are asked in JSON on one line of their own.
#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_facade::fuzzing::{read_request, read_response_request};
use penstock_inference_adapter::fuzzing::write_requests;
use serde_json::value::RawValue;

fuzz_target!(|body: &[u8]| {
    for read in [read_request, read_response_request] {
        let Some(request) = read(body) else { continue };
        assert!(serde_json::from_slice::<&RawValue>(body).is_ok(), "what is not JSON was taken");
        let _ = penstock_proto::validate::generate_request(&request);
        for asked in write_requests(&request) {
            assert!(serde_json::from_slice::<&RawValue>(&asked).is_ok(), "an engine is asked in what is not JSON");
        }
    }
});
