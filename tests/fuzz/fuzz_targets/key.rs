//! The key parser: an id is part of the key that it was read from.
#![no_main]

use libfuzzer_sys::fuzz_target;
use penstock_auth::fuzzing::public_id;

fuzz_target!(|credential: &str| {
    if let Some(id) = public_id(credential) {
        assert!(credential.starts_with(&format!("sk-penstock-{id}-")));
    }
});
