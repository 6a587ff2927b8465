//! How two traces differ: what a person may tell apart, whichever process did it.

use crate::path::TracedPath;
use crate::trace::{Access, Phase, Trace, Transport};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// How what was seen once became what was seen another time.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TraceDifference {
    /// Executable files that were run.
    pub programs: Sides<TracedPath>,
    /// Paths touched in one of them only, with how.
    pub added: BTreeMap<TracedPath, BTreeSet<Access>>,
    pub removed: BTreeMap<TracedPath, BTreeSet<Access>>,
    /// Paths touched in both, in other ways.
    pub changed: BTreeMap<TracedPath, Sides<Access>>,
    /// Calls that the programs made and that were not always refused.
    pub system_calls: Sides<String>,
    /// Calls that were refused at least once.
    pub refused_calls: Sides<String>,
    /// `tcp/8000`.
    pub listening: Sides<String>,
}

/// What only one of two sets holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sides<T: Ord> {
    pub added: BTreeSet<T>,
    pub removed: BTreeSet<T>,
}

impl<T: Ord> Default for Sides<T> {
    fn default() -> Self {
        Self { added: BTreeSet::new(), removed: BTreeSet::new() }
    }
}

impl<T: Ord + Clone> Sides<T> {
    fn of(before: &BTreeSet<T>, after: &BTreeSet<T>) -> Self {
        let only = |one: &BTreeSet<T>, other: &BTreeSet<T>| one.difference(other).cloned().collect();
        Self { added: only(after, before), removed: only(before, after) }
    }

    /// Whether both hold the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty()
    }
}

impl Trace {
    /// How this one becomes `after`. The container runtime's own work is left out.
    #[must_use]
    pub fn difference(&self, after: &Self) -> TraceDifference {
        let (old, new) = (self.touched(), after.touched());
        let only = |one: &BTreeMap<TracedPath, BTreeSet<Access>>,
                    other: &BTreeMap<TracedPath, BTreeSet<Access>>| {
            let only = one.iter().filter(|(path, _)| !other.contains_key(*path));
            only.map(|(path, access)| (path.clone(), access.clone())).collect()
        };
        let changed = old.iter().filter_map(|(path, access)| {
            let sides = Sides::of(access, new.get(path)?);
            (!sides.is_empty()).then(|| (path.clone(), sides))
        });
        TraceDifference {
            programs: Sides::of(&self.programs(), &after.programs()),
            added: only(&new, &old),
            removed: only(&old, &new),
            changed: changed.collect(),
            system_calls: Sides::of(&self.calls(), &after.calls()),
            refused_calls: Sides::of(&self.refused_calls(), &after.refused_calls()),
            listening: Sides::of(&self.ports(), &after.ports()),
        }
    }

    /// Every path that the image's programs touched, with how, whichever process did.
    #[must_use]
    pub fn touched(&self) -> BTreeMap<TracedPath, BTreeSet<Access>> {
        let mut touched: BTreeMap<TracedPath, BTreeSet<Access>> = BTreeMap::new();
        for file in self.files.iter().filter(|file| file.phases.iter().any(|phase| phase.is_of_the_program()))
        {
            touched.entry(file.path.clone()).or_default().extend(&file.access);
        }
        touched
    }

    /// Executable files that were run.
    #[must_use]
    pub fn programs(&self) -> BTreeSet<TracedPath> {
        self.processes.iter().filter_map(|process| process.executable.clone()).collect()
    }

    /// System calls that the image's programs made and that were not always refused.
    #[must_use]
    pub fn calls(&self) -> BTreeSet<String> {
        let sets = self.system_calls.iter().filter(|set| set.phase.is_of_the_program());
        sets.flat_map(|set| set.calls.iter().cloned()).collect()
    }

    /// System calls of the image's programs that were refused at least once.
    #[must_use]
    pub fn refused_calls(&self) -> BTreeSet<String> {
        let sets = self.system_calls.iter().filter(|set| set.phase.is_of_the_program());
        sets.flat_map(|set| set.denied.keys().cloned()).collect()
    }

    /// What was listened on: `tcp/8000`.
    #[must_use]
    pub fn ports(&self) -> BTreeSet<String> {
        let port = |transport, port| match transport {
            Transport::Tcp => format!("tcp/{port}"),
            Transport::Udp => format!("udp/{port}"),
        };
        self.listening.iter().map(|listening| port(listening.transport, listening.port)).collect()
    }
}

impl Phase {
    /// Whether the image's own programs run, not the container runtime.
    #[must_use]
    pub fn is_of_the_program(self) -> bool {
        !matches!(self, Self::Runtime | Self::RuntimeFiltered)
    }
}

impl TraceDifference {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{Abi, FileAccess, Process, ProcessId, SystemCalls};

    fn trace(program: &str, files: &[(&str, Access)], calls: &[&str]) -> Trace {
        let mut trace = Trace::empty("sha256:0");
        trace.processes.push(Process {
            parent: None,
            began: Phase::Startup,
            executable: Some(TracedPath::new(program)),
            invoked_as: None,
            interpreter: None,
            shebang: Vec::new(),
            argv: Vec::new(),
        });
        for (path, access) in files {
            trace.files.push(FileAccess {
                path: TracedPath::new(*path),
                process: ProcessId(0),
                access: [*access].into(),
                phases: [Phase::Startup].into(),
            });
        }
        for phase in [Phase::Startup, Phase::Runtime] {
            trace.system_calls.push(SystemCalls {
                process: ProcessId(0),
                phase,
                abi: Abi::X86_64,
                calls: calls
                    .iter()
                    .map(
                        |call| {
                            if phase == Phase::Runtime { format!("runtime_{call}") } else { call.to_string() }
                        },
                    )
                    .collect(),
                denied: BTreeMap::new(),
            });
        }
        trace
    }

    #[test]
    fn what_only_one_saw_is_told_and_what_the_runtime_did_is_not() {
        let before = trace("/bin/a", &[("/x", Access::Open), ("/y", Access::Open)], &["read"]);
        let after = trace("/bin/b", &[("/x", Access::Stat), ("/z", Access::Missing)], &["read", "write"]);
        let difference = before.difference(&after);
        let path = |text: &str| TracedPath::new(text);
        assert_eq!(difference.added.keys().collect::<Vec<_>>(), [&path("/z")]);
        assert_eq!(difference.removed.keys().collect::<Vec<_>>(), [&path("/y")]);
        assert_eq!(difference.changed[&path("/x")].added, [Access::Stat].into());
        assert_eq!(difference.programs.removed, [path("/bin/a")].into());
        assert_eq!(difference.system_calls.added, ["write".to_owned()].into());
        assert!(before.difference(&before).is_empty());
    }
}
