//! What the programs of a trace did, call by call.

use slim_trace::{Abi, Phase, Trace, TracedPath};
use std::collections::{BTreeMap, BTreeSet};

/// Calls of all programs together.
#[derive(Default)]
pub(crate) struct Seen {
    /// Who made it, and in which phases.
    pub made: BTreeMap<String, BTreeMap<Option<TracedPath>, BTreeSet<Phase>>>,
    /// Who was refused, and with what.
    pub denied: BTreeMap<String, (BTreeSet<TracedPath>, BTreeSet<String>)>,
    pub runtime: BTreeSet<String>,
    pub abis: BTreeSet<Abi>,
}

impl Seen {
    pub fn of(trace: &Trace) -> Self {
        let mut seen = Self::default();
        for record in &trace.system_calls {
            match record.phase {
                Phase::Runtime => {}
                Phase::RuntimeFiltered => seen.runtime.extend(record.calls.iter().cloned()),
                Phase::Startup | Phase::Exercise | Phase::Shutdown => seen.add(trace, record),
            }
        }
        seen
    }

    fn add(&mut self, trace: &Trace, record: &slim_trace::SystemCalls) {
        let executable = trace.process(record.process).and_then(|process| process.executable.clone());
        if !record.calls.is_empty() || !record.denied.is_empty() {
            self.abis.insert(record.abi);
        }
        for call in &record.calls {
            let by = self.made.entry(call.clone()).or_default();
            by.entry(executable.clone()).or_default().insert(record.phase);
        }
        for (call, errors) in &record.denied {
            let (programs, seen) = self.denied.entry(call.clone()).or_default();
            programs.extend(executable.clone());
            seen.extend(errors.iter().cloned());
        }
    }

    pub fn only_ever_refused(&self, call: &str) -> bool {
        self.denied.contains_key(call) && !self.made.contains_key(call)
    }

    pub fn tried(&self, call: &str) -> bool {
        self.made.contains_key(call) || self.denied.contains_key(call)
    }
}
