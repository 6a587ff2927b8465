//! Seccomp profiles that a user hands to the embedded engine.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slim_engine::embedded::check_seccomp;

fuzz_target!(|text: &str| {
    drop(check_seccomp(text, &["NET_RAW".to_owned()]));
});
