//! Restrictions of arguments: which values a call may be made with, where that matters and all of them were seen.
//!
//! Only calls that the program itself was seen to make are restricted: of those that are presumed no values are known.
//! clone3 and openat2 never are, since their arguments lie in memory, which seccomp cannot read.

use crate::policy::{ArgumentRule, Because, Condition};
use slim_trace::{ArgumentValues, Phase, Trace, argued};
use std::collections::{BTreeMap, BTreeSet};

/// What runtimes and libc make these calls with besides, whatever the program does. Sources: runc's and crun's traces;
/// runc's `libcontainer/system/linux.go` and `capability.go`; glibc's `nptl`.
const OF_RUNTIMES: [(&str, &[u64]); 6] = [
    // PR_SET_PDEATHSIG, PR_SET_DUMPABLE, GET and SET_KEEPCAPS, PR_SET_NAME, CAPBSET_READ and DROP,
    // SET_NO_NEW_PRIVS, PR_CAP_AMBIENT.
    ("prctl", &[1, 4, 7, 8, 15, 23, 24, 38, 47]),
    // F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC.
    ("fcntl", &[0, 1, 2, 3, 4, 1030]),
    ("mmap", &[0]),
    ("mprotect", &[0]),
    // TCGETS, TIOCSPGRP, TIOCGWINSZ: an init before the program, and isatty().
    ("ioctl", &[0x5401, 0x5410, 0x5413]),
    ("clone", &[0]),
];

/// The values of a call that were seen in a trace; `None` where they are not all known.
pub(crate) fn restriction(call: &str, because: &BTreeSet<Because>, trace: &Trace) -> Option<Condition> {
    let arguments = argued(call);
    let is_seen = |because: &Because| {
        matches!(
            because,
            Because::Program { .. } | Because::RuntimeSet { .. } | Because::RuntimeSeen | Because::Always
        )
    };
    let by_program = because.iter().any(|because| matches!(because, Because::Program { .. }));
    if arguments.is_empty() || !by_program || !because.iter().all(is_seen) {
        return None;
    }
    let mut values = seen(call, trace)?;
    let of_runtimes =
        OF_RUNTIMES.iter().find(|(name, _)| *name == call).map_or(&[][..], |(_, values)| values);
    values.extend(of_runtimes.iter().map(|value| vec![*value]));
    let rules = values.into_iter().map(|values| {
        values
            .into_iter()
            .zip(arguments)
            .map(|(value, argument)| ArgumentRule { index: argument.index, mask: argument.mask, value })
            .collect()
    });
    Some(Condition::Seen { rules: rules.collect() })
}

/// Lets a call be made with more values of its one told argument, where it is restricted.
pub(crate) fn admit(condition: &mut Option<Condition>, call: &str, values: &[u64]) {
    if let (Some(Condition::Seen { rules }), [argument]) = (condition, argued(call)) {
        rules.extend(
            values.iter().map(|value| {
                vec![ArgumentRule { index: argument.index, mask: argument.mask, value: *value }]
            }),
        );
    }
}

/// Every record of the call must have its values: a process or a phase without any knows nothing.
fn seen(call: &str, trace: &Trace) -> Option<BTreeSet<Vec<u64>>> {
    let known: BTreeMap<_, _> = trace
        .arguments
        .iter()
        .filter(|arguments| arguments.call == call)
        .map(|arguments| ((arguments.process, arguments.phase), &arguments.values))
        .collect();
    let mut all = BTreeSet::new();
    for record in trace.system_calls.iter().filter(|record| record.calls.contains(call)) {
        if record.phase == Phase::Runtime {
            continue;
        }
        match known.get(&(record.process, record.phase)) {
            Some(ArgumentValues::Only(values)) => all.extend(values.iter().cloned()),
            _ => return None,
        }
    }
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_trace::{Abi, CallArguments, ProcessId, SystemCalls};

    fn trace(values: Option<ArgumentValues>) -> Trace {
        let mut trace = Trace::empty("sha256:0");
        trace.system_calls.push(SystemCalls {
            process: ProcessId(0),
            phase: Phase::Startup,
            abi: Abi::X86_64,
            calls: ["socket".to_owned()].into(),
            denied: BTreeMap::new(),
        });
        trace.arguments.extend(values.map(|values| CallArguments {
            process: ProcessId(0),
            phase: Phase::Startup,
            call: "socket".to_owned(),
            values,
        }));
        trace
    }

    fn of(trace: &Trace, because: Because) -> Option<Condition> {
        restriction("socket", &[because].into(), trace)
    }

    fn program() -> Because {
        Because::Program { executable: None, phases: [Phase::Startup].into() }
    }

    #[test]
    fn what_was_seen_is_allowed_and_nothing_else() {
        let seen = ArgumentValues::Only([vec![1, 1], vec![2, 1]].into());
        let Some(Condition::Seen { rules }) = of(&trace(Some(seen)), program()) else { panic!() };
        let rule = |family, kind| {
            vec![
                ArgumentRule { index: 0, mask: 0xffff_ffff, value: family },
                ArgumentRule { index: 1, mask: 0xf, value: kind },
            ]
        };
        assert_eq!(rules, [rule(1, 1), rule(2, 1)].into());
    }

    #[test]
    fn what_is_not_known_or_only_presumed_is_not_restricted() {
        assert_eq!(of(&trace(None), program()), None);
        assert_eq!(of(&trace(Some(ArgumentValues::Any)), program()), None);
        let seen = ArgumentValues::Only([vec![1, 1]].into());
        assert_eq!(of(&trace(Some(seen)), Because::Repaired { round: 1 }), None);
        assert_eq!(restriction("clone3", &[program()].into(), &trace(None)), None);
    }
}
