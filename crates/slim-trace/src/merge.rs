//! Two traces of one image as one: what either saw was seen.

use crate::trace::{FileAccess, Process, ProcessId, SystemCalls, Trace};
use std::collections::{BTreeMap, BTreeSet};

impl Trace {
    /// The union of two traces. Equal processes (same program, arguments and line of ancestors) become one, so that
    /// merging a trace with itself gives the same trace, and the order of merging does not matter.
    #[must_use]
    pub fn merge(&self, other: &Self) -> Self {
        let lines: BTreeSet<Vec<Process>> = [self, other].iter().flat_map(|trace| trace.lines()).collect();
        let numbers: BTreeMap<&[Process], ProcessId> =
            lines.iter().map(Vec::as_slice).zip((0..).map(ProcessId)).collect();
        let mut merged = Self { mounts: Vec::new(), ..Self::empty(&self.image) };
        merged.kernel = (&self.kernel).max(&other.kernel).clone();
        merged.architecture = (&self.architecture).max(&other.architecture).clone();
        merged.processes = lines
            .iter()
            .map(|line| {
                let process = line.last().expect("a line holds at least the process itself").clone();
                let parent = line.split_last().map(|(_, above)| above).filter(|above| !above.is_empty());
                Process { parent: parent.and_then(|above| numbers.get(above).copied()), ..process }
            })
            .collect();
        for trace in [self, other] {
            merged.take(trace, &|id| numbers[trace.line(id).as_slice()]);
        }
        merged.normalise();
        merged
    }

    /// Sorts every list and joins what speaks of the same thing. Processes keep their numbers.
    pub fn normalise(&mut self) {
        let mut files: BTreeMap<_, FileAccess> = BTreeMap::new();
        for file in std::mem::take(&mut self.files) {
            let joined = files.entry((file.path.clone(), file.process)).or_insert_with(|| FileAccess {
                access: BTreeSet::new(),
                phases: BTreeSet::new(),
                ..file.clone()
            });
            joined.access.extend(file.access);
            joined.phases.extend(file.phases);
        }
        self.files = files.into_values().collect();
        let mut calls: BTreeMap<_, SystemCalls> = BTreeMap::new();
        for set in std::mem::take(&mut self.system_calls) {
            let joined = calls.entry((set.process, set.phase, set.abi)).or_insert_with(|| SystemCalls {
                calls: BTreeSet::new(),
                denied: BTreeMap::new(),
                ..set.clone()
            });
            joined.calls.extend(set.calls);
            for (call, errors) in set.denied {
                joined.denied.entry(call).or_default().extend(errors);
            }
        }
        self.system_calls = calls.into_values().collect();
        sort(&mut self.mounts);
        sort(&mut self.sockets);
        sort(&mut self.listening);
        sort(&mut self.io_uring);
    }

    fn take(&mut self, trace: &Self, number: &dyn Fn(ProcessId) -> ProcessId) {
        self.mounts.extend(trace.mounts.iter().cloned());
        self.files.extend(
            trace.files.iter().cloned().map(|file| FileAccess { process: number(file.process), ..file }),
        );
        self.system_calls.extend(
            trace.system_calls.iter().cloned().map(|set| SystemCalls { process: number(set.process), ..set }),
        );
        for mut socket in trace.sockets.iter().cloned() {
            socket.process = number(socket.process);
            self.sockets.push(socket);
        }
        for mut listening in trace.listening.iter().cloned() {
            listening.process = number(listening.process);
            self.listening.push(listening);
        }
        for mut operation in trace.io_uring.iter().cloned() {
            operation.process = number(operation.process);
            self.io_uring.push(operation);
        }
    }

    /// Every process with all its ancestors in front of it, parents taken out: what tells one process from another
    /// whatever its number.
    fn lines(&self) -> impl Iterator<Item = Vec<Process>> {
        (0..self.processes.len()).map(|index| self.line(ProcessId(u32::try_from(index).unwrap_or(u32::MAX))))
    }

    fn line(&self, id: ProcessId) -> Vec<Process> {
        let mut line = Vec::new();
        let mut next = Some(id);
        // A parent that stands behind its child is no parent: a hostile file must not send us in circles.
        while let Some(process) = next.and_then(|id| self.process(id)) {
            let parent = process.parent.filter(|parent| Some(*parent) < next);
            line.push(Process { parent: None, ..process.clone() });
            next = parent;
        }
        line.reverse();
        line
    }
}

fn sort<T: Ord>(list: &mut Vec<T>) {
    list.sort();
    list.dedup();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TracedPath;
    use crate::trace::{Abi, Access, Phase};
    use proptest::prelude::*;

    fn process(parent: Option<u32>, name: u8) -> Process {
        Process {
            parent: parent.map(ProcessId),
            began: Phase::Startup,
            executable: Some(TracedPath::new([b'/', b'a' + name])),
            invoked_as: None,
            interpreter: None,
            shebang: Vec::new(),
            argv: Vec::new(),
        }
    }

    prop_compose! {
        fn traces()(
            names in proptest::collection::vec((0_u8..4, any::<u32>()), 1..6),
            files in proptest::collection::vec((0_u8..5, any::<u32>(), any::<bool>()), 0..8),
            calls in proptest::collection::vec((any::<u32>(), 0_u8..3, any::<bool>()), 0..8),
        ) -> Trace {
            let mut trace = Trace::empty("sha256:0");
            let count = u32::try_from(names.len()).unwrap();
            for (index, (name, parent)) in (0..).zip(names) {
                trace.processes.push(process((index > 0 && parent % 3 != 0).then(|| parent % index.max(1)), name));
            }
            for (name, process, missing) in files {
                trace.files.push(FileAccess {
                    path: TracedPath::new([b'/', b'f', b'0' + name]),
                    process: ProcessId(process % count),
                    access: [if missing { Access::Missing } else { Access::Open }].into(),
                    phases: [Phase::Startup].into(),
                });
            }
            for (process, name, denied) in calls {
                let name = format!("call{name}");
                trace.system_calls.push(SystemCalls {
                    process: ProcessId(process % count),
                    phase: Phase::Startup,
                    abi: Abi::X86_64,
                    calls: [name.clone()].into(),
                    denied: if denied { [(name, ["EPERM".to_owned()].into())].into() } else { BTreeMap::new() },
                });
            }
            trace
        }
    }

    proptest! {
        #[test]
        fn the_order_of_merging_does_not_matter(one in traces(), two in traces(), three in traces()) {
            prop_assert_eq!(one.merge(&two), two.merge(&one));
            prop_assert_eq!(one.merge(&two).merge(&three), one.merge(&two.merge(&three)));
        }

        #[test]
        fn merging_a_trace_with_itself_again_changes_nothing(one in traces()) {
            let once = one.merge(&one);
            prop_assert_eq!(once.merge(&one), once.clone());
            prop_assert_eq!(once.merge(&once), once);
        }

        #[test]
        fn nothing_seen_is_lost(one in traces(), two in traces()) {
            let merged = one.merge(&two);
            prop_assert!(Trace::from_json(&merged.to_json()).is_ok());
            for file in one.files.iter().chain(&two.files) {
                prop_assert!(merged.files.iter().any(|seen| seen.path == file.path && seen.access.is_superset(&file.access)));
            }
        }
    }
}
