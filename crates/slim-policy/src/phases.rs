//! What only the start needs, what serving needs, and what only the entrypoint needs before it has handed over to the
//! program that stays.

use crate::launch::before_last_exec;
use serde::{Deserialize, Serialize};
use slim_trace::{Phase, Trace};
use std::collections::BTreeSet;

/// Calls by when they were made; sorted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Phases {
    /// Made while the program started, and not after.
    pub only_startup: BTreeSet<String>,
    /// Made while it was exercised or stopped.
    pub serving: BTreeSet<String>,
    /// Made by entrypoint scripts and helpers before the last exec of the container's first process, and by nobody since.
    pub only_before_entrypoint: BTreeSet<String>,
}

/// Tells when calls were made.
#[must_use]
pub fn phases(trace: &Trace) -> Phases {
    let entrypoint = before_last_exec(trace);
    let mut phases = Phases::default();
    let (mut startup, mut before, mut since) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for record in &trace.system_calls {
        let calls = record.calls.iter().cloned();
        match record.phase {
            Phase::Runtime | Phase::RuntimeFiltered => continue,
            Phase::Startup => startup.extend(calls.clone()),
            Phase::Exercise | Phase::Shutdown => phases.serving.extend(calls.clone()),
        }
        if entrypoint.contains(&record.process) { before.extend(calls) } else { since.extend(calls) }
    }
    phases.only_startup = startup.difference(&phases.serving).cloned().collect();
    phases.only_before_entrypoint = before.difference(&since).cloned().collect();
    phases
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::Inputs;
    use crate::launch::after_entrypoint;
    use crate::mode::Mode;
    use crate::system_calls::decide;
    use slim_trace::{Abi, Process, ProcessId, SystemCalls, TracedPath};
    use std::collections::BTreeMap;

    fn trace() -> Trace {
        let mut trace = Trace::empty("sha256:0");
        let process = |executable: &str, parent: Option<u32>| Process {
            parent: parent.map(ProcessId),
            began: Phase::Startup,
            executable: Some(TracedPath::new(executable)),
            invoked_as: None,
            interpreter: None,
            shebang: Vec::new(),
            argv: Vec::new(),
        };
        trace.processes = vec![
            process("/bin/sh", None),
            // A fork begins as its parent.
            process("/bin/sh", Some(0)),
            process("/bin/chown", Some(1)),
            process("/usr/bin/server", Some(0)),
            process("/usr/bin/server", Some(3)),
        ];
        let calls = |process: u32, phase, calls: &[&str]| SystemCalls {
            process: ProcessId(process),
            phase,
            abi: Abi::X86_64,
            calls: calls.iter().map(|call| (*call).to_owned()).collect(),
            denied: BTreeMap::new(),
        };
        trace.system_calls = vec![
            calls(0, Phase::Startup, &["execve", "read", "vfork", "wait4"]),
            calls(2, Phase::Startup, &["fchownat", "read"]),
            calls(3, Phase::Startup, &["bind", "listen", "wait4"]),
            calls(3, Phase::Shutdown, &["kill"]),
            calls(4, Phase::Exercise, &["accept4", "read"]),
        ];
        trace
    }

    #[test]
    fn what_only_the_start_needed_is_told_apart() {
        let phases = phases(&trace());
        let names = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
        assert_eq!(names(&phases.serving), ["accept4", "kill", "read"]);
        assert_eq!(names(&phases.only_startup), ["bind", "execve", "fchownat", "listen", "vfork", "wait4"]);
        assert_eq!(names(&phases.only_before_entrypoint), ["execve", "fchownat", "vfork"]);
    }

    #[test]
    fn the_tighter_policy_lacks_what_only_helpers_and_the_runtime_needed() {
        let inputs = Inputs { mode: Mode::Strict, ..Inputs::new("app") };
        let policy = decide(&trace(), &inputs);
        let tighter = after_entrypoint(&trace(), &inputs, &policy);
        for call in ["fchownat", "vfork", "setgroups", "capset"] {
            assert!(policy.allows(call).is_some() && tighter.allows(call).is_none(), "{call}");
        }
        for call in ["execve", "listen", "wait4", "accept4", "exit_group", "rt_sigreturn"] {
            assert!(tighter.allows(call).is_some(), "{call}");
        }
    }

    #[test]
    fn a_program_that_starts_by_itself_loses_nothing_but_the_runtime() {
        let mut trace = trace();
        trace.processes.drain(..3);
        trace.processes[0].parent = None;
        trace.processes[1].parent = Some(ProcessId(0));
        trace.system_calls.drain(..2);
        trace.system_calls.iter_mut().for_each(|record| record.process.0 -= 3);
        assert!(phases(&trace).only_before_entrypoint.is_empty());
    }
}
