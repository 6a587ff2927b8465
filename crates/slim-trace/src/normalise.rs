//! One form for equal observations: what was seen at the same time by chance, in chance order, is put in order.

use crate::arguments::{ArgumentValues, CallArguments};
use crate::trace::{FileAccess, Process, ProcessId, SystemCalls, Trace};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// Processes by parent and content, each with a number; a parent's is below its children's.
type Known = BTreeMap<(Option<u32>, Process), u32>;

impl Trace {
    /// Sorts every list and joins what speaks of the same thing. Processes that are alike (same program, arguments,
    /// phase and line of ancestors) become one, and get the numbers of their order.
    pub fn normalise(&mut self) {
        let mut forest = Forest::default();
        let numbers = forest.plant(&self.processes);
        let (processes, order) = forest.order();
        self.processes = processes;
        self.renumber(&|id| {
            numbers.get(id.0 as usize).and_then(|number| order.get(*number as usize)).copied()
        });
        self.join();
    }

    /// Gives every process named in the lists another number; entries of processes without one are dropped.
    fn renumber(&mut self, number: &dyn Fn(ProcessId) -> Option<ProcessId>) {
        fn each<T>(
            list: &mut Vec<T>,
            field: fn(&mut T) -> &mut ProcessId,
            number: &dyn Fn(ProcessId) -> Option<ProcessId>,
        ) {
            list.retain_mut(|item| {
                let id = field(item);
                number(*id).map(|new| *id = new).is_some()
            });
        }
        each(&mut self.files, |file| &mut file.process, number);
        each(&mut self.system_calls, |calls| &mut calls.process, number);
        each(&mut self.arguments, |arguments| &mut arguments.process, number);
        each(&mut self.sockets, |socket| &mut socket.process, number);
        each(&mut self.listening, |listening| &mut listening.process, number);
        each(&mut self.io_uring, |operation| &mut operation.process, number);
    }

    fn join(&mut self) {
        let mut files: BTreeMap<_, (BTreeSet<_>, BTreeSet<_>)> = BTreeMap::new();
        for file in self.files.drain(..) {
            let (access, phases) = files.entry((file.path, file.process)).or_default();
            access.extend(file.access);
            phases.extend(file.phases);
        }
        self.files = files
            .into_iter()
            .map(|((path, process), (access, phases))| FileAccess { path, process, access, phases })
            .collect();
        let mut sets: BTreeMap<_, (BTreeSet<_>, BTreeMap<_, BTreeSet<_>>)> = BTreeMap::new();
        for set in self.system_calls.drain(..) {
            let (calls, denied) = sets.entry((set.process, set.phase, set.abi)).or_default();
            calls.extend(set.calls);
            for (call, errors) in set.denied {
                denied.entry(call).or_default().extend(errors);
            }
        }
        self.system_calls = sets
            .into_iter()
            .map(|((process, phase, abi), (calls, denied))| SystemCalls {
                process,
                phase,
                abi,
                calls,
                denied,
            })
            .collect();
        let mut arguments: BTreeMap<_, ArgumentValues> = BTreeMap::new();
        for seen in self.arguments.drain(..) {
            match arguments.entry((seen.process, seen.phase, seen.call)) {
                Entry::Vacant(entry) => {
                    entry.insert(seen.values);
                }
                Entry::Occupied(mut entry) => entry.get_mut().join(seen.values),
            }
        }
        self.arguments = arguments
            .into_iter()
            .map(|((process, phase, call), values)| CallArguments { process, phase, call, values })
            .collect();
        sort(&mut self.mounts);
        sort(&mut self.sockets);
        sort(&mut self.listening);
        sort(&mut self.io_uring);
    }
}

/// Processes as trees of parents and children, where equal ones are one.
#[derive(Default)]
pub(crate) struct Forest {
    known: Known,
}

impl Forest {
    /// Takes the processes of a trace in; the numbers that they have here, in their order.
    pub(crate) fn plant(&mut self, processes: &[Process]) -> Vec<u32> {
        let mut numbers: Vec<u32> = Vec::with_capacity(processes.len());
        for process in processes {
            // A parent that does not stand before its child is no parent: a hostile file must not send us in circles.
            let parent = process.parent.and_then(|parent| numbers.get(parent.0 as usize)).copied();
            let next = u32::try_from(self.known.len()).expect("a trace has fewer processes than that");
            let number =
                *self.known.entry((parent, Process { parent: None, ..process.clone() })).or_insert(next);
            numbers.push(number);
        }
        numbers
    }

    /// All processes in an order that depends on nothing but what they are: each parent, then its children, by content.
    /// With the final number for each number that [`Forest::plant`] gave.
    pub(crate) fn order(self) -> (Vec<Process>, Vec<ProcessId>) {
        let mut children: BTreeMap<Option<u32>, Vec<(Process, u32)>> = BTreeMap::new();
        for ((parent, process), number) in self.known {
            children.entry(parent).or_default().push((process, number));
        }
        let mut processes = Vec::new();
        let mut order: BTreeMap<u32, ProcessId> = BTreeMap::new();
        // What was put in last is looked at first: each list goes in from its end.
        let mut waiting: Vec<(Option<ProcessId>, Process, u32)> = Vec::new();
        let mut open = |waiting: &mut Vec<_>, of: Option<u32>, parent: Option<ProcessId>| {
            let below = children.remove(&of).unwrap_or_default();
            waiting.extend(below.into_iter().rev().map(|(process, number)| (parent, process, number)));
        };
        open(&mut waiting, None, None);
        while let Some((parent, process, number)) = waiting.pop() {
            let id =
                ProcessId(u32::try_from(processes.len()).expect("a trace has fewer processes than that"));
            processes.push(Process { parent, ..process });
            order.insert(number, id);
            open(&mut waiting, Some(number), Some(id));
        }
        (processes, order.into_values().collect())
    }
}

fn sort<T: Ord>(list: &mut Vec<T>) {
    list.sort();
    list.dedup();
}
