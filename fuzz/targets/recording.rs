//! Recordings of exercises, and descriptions of programming interfaces that a server hands out.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slim_probe::{ApiSpec, Recording};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(recording) = Recording::from_json(bytes) {
        let again = Recording::from_json(&recording.to_json()).expect("what was written can be read");
        assert_eq!(again.to_json(), recording.to_json());
    }
    if let Ok(spec) = ApiSpec::fetched("/openapi.json") {
        drop(spec.commands(bytes));
    }
});
