//! What only the start needs and what serving needs; and the tighter policy that can be put in place once the entrypoint
//! has handed over to the program that stays.

use crate::policy::{Because, Policy};
use serde::{Deserialize, Serialize};
use slim_trace::{Phase, ProcessId, Trace};
use std::collections::{BTreeMap, BTreeSet};

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
    let after = staying(trace);
    let mut phases = Phases::default();
    let (mut startup, mut before, mut since) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    for record in &trace.system_calls {
        let calls = record.calls.iter().cloned();
        match record.phase {
            Phase::Runtime | Phase::RuntimeFiltered => continue,
            Phase::Startup => startup.extend(calls.clone()),
            Phase::Exercise | Phase::Shutdown => phases.serving.extend(calls.clone()),
        }
        if after.contains(&record.process) { since.extend(calls) } else { before.extend(calls) }
    }
    phases.only_startup = startup.difference(&phases.serving).cloned().collect();
    phases.only_before_entrypoint = before.difference(&since).cloned().collect();
    phases
}

/// The policy without what only entrypoint scripts and helpers needed before the final exec. What the container runtime
/// needs goes as well: it is done by then. The exec itself stays, since it is made under the tighter filter.
#[must_use]
pub fn after_entrypoint(policy: &Policy, trace: &Trace) -> Policy {
    let gone = phases(trace).only_before_entrypoint;
    let mut tighter = policy.clone();
    tighter.allowed.retain(|allowed| {
        allowed.system_call == "execve"
            || !(gone.contains(&allowed.system_call) || allowed.because.iter().all(is_of_runtime))
    });
    tighter
}

fn is_of_runtime(because: &Because) -> bool {
    matches!(because, Because::RuntimeSet { .. } | Because::RuntimeSeen)
}

/// The program that stays, and what it runs or what comes from outside later: the last in the line of execs that begins
/// with the container's first program.
///
/// A process that called exec is a new one whose parent is the old one, as one that was forked is; a fork begins with
/// its parent's program and arguments, an exec with its own. The program that stays is the deepest first descendant
/// that made calls after the start, or the first program where nobody can be told.
fn staying(trace: &Trace) -> BTreeSet<ProcessId> {
    let ids = || (0..).map(ProcessId).zip(&trace.processes);
    let first = ids().find(|(_, process)| process.executable.is_some() && process.parent.is_none());
    let Some((first, _)) = first else { return ids().map(|(id, _)| id).collect() };
    let mut children: BTreeMap<ProcessId, Vec<ProcessId>> = BTreeMap::new();
    for (id, process) in ids() {
        children.entry(process.parent.unwrap_or(ProcessId(u32::MAX))).or_default().push(id);
    }
    let works = |id: ProcessId| {
        let is_after = |phase| matches!(phase, Phase::Exercise | Phase::Shutdown);
        trace.system_calls.iter().any(|record| record.process == id && is_after(record.phase))
    };
    // Down from the first program while it did nothing any more itself and one program came after it.
    let mut stays = first;
    while !works(stays)
        && let Some(next) = children.get(&stays).and_then(|next| {
            next.iter().copied().find(|child| below(*child, &children).into_iter().any(works))
        })
    {
        stays = next;
    }
    let mut all = below(stays, &children);
    // From outside: `docker exec`, health checks. They are run under the container's filter.
    for (id, process) in ids() {
        if process.parent.is_none() && process.executable.is_some() && id != first {
            all.extend(below(id, &children));
        }
    }
    all
}

/// A process with all that it ran.
fn below(id: ProcessId, children: &BTreeMap<ProcessId, Vec<ProcessId>>) -> BTreeSet<ProcessId> {
    let mut all = BTreeSet::new();
    let mut open = vec![id];
    while let Some(id) = open.pop() {
        if all.insert(id) {
            open.extend(children.get(&id).into_iter().flatten());
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::Inputs;
    use crate::mode::Mode;
    use crate::system_calls::decide;
    use slim_trace::{Abi, Process, SystemCalls, TracedPath};

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
            process("/bin/chown", Some(0)),
            process("/usr/bin/server", Some(0)),
            process("/usr/bin/server", Some(2)),
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
            calls(1, Phase::Startup, &["fchownat", "read"]),
            calls(2, Phase::Startup, &["bind", "listen", "wait4"]),
            calls(2, Phase::Shutdown, &["kill"]),
            calls(3, Phase::Exercise, &["accept4", "read"]),
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
        let tighter = after_entrypoint(&policy, &trace());
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
        trace.processes.drain(..2);
        trace.processes[0].parent = None;
        trace.processes[1].parent = Some(ProcessId(0));
        trace.system_calls.drain(..2);
        trace.system_calls.iter_mut().for_each(|record| record.process.0 -= 2);
        assert!(phases(&trace).only_before_entrypoint.is_empty());
    }
}
