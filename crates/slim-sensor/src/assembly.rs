//! Makes the Trace of what was gathered.

use crate::gathering::{Gathered, phase_of};
use crate::mounts;
use crate::preflight;
use crate::program::{ArguedKey, CALLS_MAX, CallSets, CallsKey};
use crate::table;
use slim_trace::{
    Abi, ArgumentValues, CallArguments, FileAccess, IoUringOperation, Listening, Mount, Process, ProcessId,
    Socket, SystemCalls, Trace, TracedPath, argued,
};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// The number of io_uring among the ABIs of the eBPF program.
const IO_URING: u16 = 3;

/// The Trace of all that was seen.
pub fn trace(mut gathered: Gathered, image: String, mounts: Vec<Mount>) -> Trace {
    let named: BTreeSet<u32> = gathered.calls.keys().map(|key| key.process).collect();
    let named =
        named.into_iter().chain(gathered.files.keys().map(|(_, process)| *process).collect::<Vec<_>>());
    for id in named.chain(gathered.sockets.iter().map(|socket| socket.0).collect::<Vec<_>>()) {
        gathered.process(id);
    }
    for id in gathered.arguments.iter().flatten().map(|key| key.process).collect::<Vec<_>>() {
        gathered.process(id);
    }
    for id in gathered.listening.iter().map(|listening| listening.process.0).collect::<Vec<_>>() {
        gathered.process(id);
    }
    let numbers: HashMap<u32, ProcessId> =
        gathered.processes.keys().zip(0..).map(|(id, number)| (*id, ProcessId(number))).collect();
    let number = |id: u32| numbers[&id];
    let steps = gathered.take_steps();
    let mut trace = Trace::empty(image);
    trace.kernel = preflight::release();
    trace.architecture = "amd64".to_owned();
    trace.processes = processes(&gathered, &number);
    trace.files = gathered
        .files
        .into_iter()
        .filter(|((path, _), _)| mounts::counts(path, &mounts))
        .map(|((path, process), (access, phases))| FileAccess {
            path: TracedPath::new(path),
            process: number(process),
            access,
            phases,
        })
        .collect();
    for (key, sets) in &gathered.calls {
        if key.abi == IO_URING {
            trace.io_uring.extend(operations(number(key.process), sets));
        } else {
            trace.system_calls.push(system_calls(number(key.process), *key, sets));
        }
    }
    match &gathered.arguments {
        Some(keys) => trace.arguments = keys.iter().map(|key| arguments(&number, key)).collect(),
        None => trace.arguments = unknown_arguments(&trace.system_calls),
    }
    trace.sockets = gathered
        .sockets
        .iter()
        .map(|&(process, family, socket_type, protocol, refused)| Socket {
            process: number(process),
            family,
            socket_type,
            protocol,
            refused,
        })
        .collect();
    trace.listening = gathered
        .listening
        .into_iter()
        .map(|listening| Listening { process: number(listening.process.0), ..listening })
        .collect();
    trace.steps = steps;
    trace.steps.files.retain(|path, _| mounts::counts(path.as_bytes(), &mounts));
    trace.mounts = mounts;
    trace.normalise();
    trace
}

/// All processes, in the order of their numbers. The runtime's own are nobody's parents: what they exec came from
/// outside.
fn processes(gathered: &Gathered, number: &dyn Fn(u32) -> ProcessId) -> Vec<Process> {
    let is_program =
        |id: &&u32| gathered.processes.get(id).is_some_and(|process| process.executable.is_some());
    gathered
        .processes
        .iter()
        .map(|(id, process)| Process {
            parent: gathered.parents.get(id).filter(is_program).map(|parent| number(*parent)),
            ..process.clone()
        })
        .collect()
}

fn system_calls(process: ProcessId, key: CallsKey, sets: &CallSets) -> SystemCalls {
    let abi = match key.abi {
        1 => Abi::X86,
        2 => Abi::X32,
        _ => Abi::X86_64,
    };
    let mut calls = BTreeSet::new();
    let mut denied: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for number in 0..CALLS_MAX {
        let [called, passed, refused, missing] =
            [&sets.called, &sets.passed, &sets.refused, &sets.missing].map(|set| CallSets::has(set, number));
        // A call that did not return (exit, or the exec of another program) was let through.
        if passed || (called && !refused && !missing) {
            calls.insert(table::name_of(abi, number));
        }
        for (errs, error) in [(refused, "EPERM"), (missing, "ENOSYS")] {
            if errs {
                denied.entry(table::name_of(abi, number)).or_default().insert(error.to_owned());
            }
        }
    }
    SystemCalls { process, phase: phase_of(key.phase), abi, calls, denied }
}

/// One call's values.
fn arguments(number: &dyn Fn(u32) -> ProcessId, key: &ArguedKey) -> CallArguments {
    let call = table::name_of(Abi::X86_64, u32::from(key.number));
    let values = key.values.iter().take(argued(&call).len()).copied().collect();
    let phase = phase_of(key.phase);
    let values = ArgumentValues::Only(BTreeSet::from([values]));
    CallArguments { process: number(key.process), phase, call, values }
}

fn unknown_arguments(records: &[SystemCalls]) -> Vec<CallArguments> {
    let of = |record: &SystemCalls| {
        let (process, phase) = (record.process, record.phase);
        let calls = record.calls.iter().filter(|call| !argued(call).is_empty()).cloned().collect::<Vec<_>>();
        calls.into_iter().map(move |call| CallArguments { process, phase, call, values: ArgumentValues::Any })
    };
    records.iter().flat_map(of).collect()
}

fn operations(process: ProcessId, sets: &CallSets) -> impl Iterator<Item = IoUringOperation> {
    (0..=u8::MAX)
        .filter(|opcode| CallSets::has(&sets.called, u32::from(*opcode)))
        .map(move |opcode| IoUringOperation { process, opcode })
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_trace::Phase;

    fn sets(called: &[u32], passed: &[u32], refused: &[u32]) -> CallSets {
        let words = |numbers: &[u32]| {
            let mut words = [0; _];
            numbers.iter().for_each(|number| words[*number as usize / 64] |= 1 << (number % 64));
            words
        };
        CallSets {
            called: words(called),
            passed: words(passed),
            refused: words(refused),
            ..CallSets::default()
        }
    }

    #[test]
    fn calls_that_were_only_refused_are_not_among_the_calls() {
        const OPEN: u32 = 2;
        const MOUNT: u32 = 165;
        const EXIT: u32 = 60;
        const UNNAMED: u32 = 501;
        let key = CallsKey { process: 0, phase: 2, abi: 0 };
        let sets = sets(&[OPEN, MOUNT, EXIT, UNNAMED], &[OPEN, UNNAMED], &[OPEN, MOUNT]);
        let calls = system_calls(ProcessId(0), key, &sets);
        assert_eq!(calls.calls, ["#501", "exit", "open"].map(str::to_owned).into());
        assert_eq!(calls.denied.keys().collect::<Vec<_>>(), ["mount", "open"]);
        assert_eq!(calls.phase, Phase::Startup);
    }

    #[test]
    fn arguments_are_told_by_name_and_joined_and_unknown_where_there_was_no_room() {
        const SOCKET: u16 = 41;
        let key = CallsKey { process: 4, phase: 2, abi: 0 };
        let mut gathered = Gathered::new();
        gathered.add_calls(key, &sets(&[41, 0], &[41, 0], &[]));
        let argued = |values| ArguedKey { process: 4, phase: 2, number: SOCKET, values };
        gathered.arguments = Some(vec![argued([2, 1]), argued([1, 1])]);
        let seen = trace(gathered, "sha256:0".to_owned(), Vec::new());
        let [one] = &seen.arguments[..] else { panic!("{:?}", seen.arguments) };
        assert_eq!((one.call.as_str(), one.phase), ("socket", Phase::Startup));
        assert_eq!(one.values, ArgumentValues::Only([vec![1, 1], vec![2, 1]].into()));
        let mut gathered = Gathered::new();
        gathered.add_calls(key, &sets(&[41, 0], &[41, 0], &[]));
        gathered.arguments = None;
        let seen = trace(gathered, "sha256:0".to_owned(), Vec::new());
        assert_eq!(seen.arguments.len(), 1);
        assert_eq!(seen.arguments[0].values, ArgumentValues::Any);
    }

    #[test]
    fn io_uring_operations_are_no_system_calls() {
        let mut gathered = Gathered::new();
        gathered.add_calls(CallsKey { process: 4, phase: 2, abi: IO_URING }, &sets(&[18], &[], &[]));
        let trace = trace(gathered, "sha256:0".to_owned(), Vec::new());
        assert!(trace.system_calls.is_empty());
        assert_eq!(trace.io_uring, [IoUringOperation { process: ProcessId(0), opcode: 18 }]);
    }
}
