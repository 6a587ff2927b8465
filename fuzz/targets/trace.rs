//! Traces, and the profiles that are made of them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slim_policy::{Contract, Ground, Inputs, apparmor, decide, presume};
use slim_trace::{Summary, Trace};

fuzz_target!(|bytes: &[u8]| {
    let Ok(mut trace) = Trace::from_json(bytes) else { return };
    trace.normalise();
    let again = Trace::from_json(&trace.to_json()).expect("what was written can be read");
    assert_eq!(again.to_json(), trace.to_json());
    drop((Summary::of(&trace), trace.difference(&again), trace.check_mergeable(&again)));
    let merged = trace.merge(&again);
    let inputs = Inputs::new("image");
    for trace in [&trace, &merged] {
        let presumed = presume(trace, &inputs, &Ground::default());
        drop((apparmor(trace, &inputs), Contract::of(&presumed, &presumed.terms(), None, 0)));
        let json = decide(trace, &inputs).seccomp_json();
        serde_json::from_slice::<serde_json::Value>(&json).expect("a profile is JSON");
    }
});
