//! Traces made by hand.

use slim_trace::{Abi, Phase, Process, ProcessId, SystemCalls, TracedPath};
use std::collections::{BTreeMap, BTreeSet};

pub fn names(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(ToString::to_string).collect()
}

pub fn process(executable: Option<&str>, began: Phase) -> Process {
    Process {
        parent: None,
        began,
        executable: executable.map(TracedPath::new),
        invoked_as: None,
        interpreter: None,
        shebang: Vec::new(),
        argv: Vec::new(),
    }
}

pub fn calls(process: u32, phase: Phase, made: &[&str], denied: &[(&str, &str)]) -> SystemCalls {
    let denied: BTreeMap<_, _> =
        denied.iter().map(|(call, error)| ((*call).to_owned(), names(&[error]))).collect();
    SystemCalls { process: ProcessId(process), phase, abi: Abi::X86_64, calls: names(made), denied }
}
