//! System calls that a program was refused and the observed one was not: which program, which call, with which
//! arguments, as far as a trace holds them.

use slim_policy::capabilities_of_call;
use slim_trace::{Phase, Process, ProcessId, Socket, Trace};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A call that was refused.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Refusal {
    /// The executable, or what it was invoked as where that is not known.
    pub program: String,
    pub system_call: String,
    /// `EPERM`, `ENOSYS`.
    pub errors: BTreeSet<String>,
    /// Of `socket`: `family 17, type 3, protocol 0`. Of other calls a trace holds none.
    pub arguments: BTreeSet<String>,
}

/// `/usr/sbin/nginx: chown (EPERM)`.
impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.program, self.system_call)?;
        let list = |items: &BTreeSet<String>| items.iter().cloned().collect::<Vec<_>>().join("; ");
        if !self.arguments.is_empty() {
            write!(formatter, " [{}]", list(&self.arguments))?;
        }
        write!(formatter, " ({})", list(&self.errors))
    }
}

impl Refusal {
    /// Whether the want of a capability may be the reason.
    #[must_use]
    pub fn may_be_for_a_capability(&self) -> bool {
        self.errors.contains("EPERM") && !capabilities_of_call(&self.system_call).is_empty()
    }
}

/// Every call that a program of `run` was refused, and no program of `usual` was with the same error.
#[must_use]
pub fn refusals(usual: &Trace, run: &Trace) -> BTreeSet<Refusal> {
    let mut known: BTreeSet<(&str, &str)> = BTreeSet::new();
    for (_, call, error) in denied(usual) {
        known.insert((call, error));
    }
    let mut found: BTreeMap<(String, &str), Refusal> = BTreeMap::new();
    for (process, call, error) in denied(run).filter(|(_, call, error)| !known.contains(&(*call, *error))) {
        let program = run.process(process).map_or_else(|| "?".to_owned(), name_of);
        let refusal = found.entry((program.clone(), call)).or_insert_with(|| Refusal {
            program,
            system_call: call.to_owned(),
            errors: BTreeSet::new(),
            arguments: arguments(run, process, call),
        });
        refusal.errors.insert(error.to_owned());
        refusal.arguments.extend(arguments(run, process, call));
    }
    found.into_values().collect()
}

fn denied(trace: &Trace) -> impl Iterator<Item = (ProcessId, &str, &str)> {
    let of_the_program =
        |record: &&slim_trace::SystemCalls| !matches!(record.phase, Phase::Runtime | Phase::RuntimeFiltered);
    trace.system_calls.iter().filter(of_the_program).flat_map(|record| {
        record.denied.iter().flat_map(move |(call, errors)| {
            errors.iter().map(move |error| (record.process, call.as_str(), error.as_str()))
        })
    })
}

fn name_of(process: &Process) -> String {
    let path = process.executable.as_ref().or(process.invoked_as.as_ref());
    path.map_or_else(|| "?".to_owned(), ToString::to_string)
}

fn arguments(trace: &Trace, process: ProcessId, call: &str) -> BTreeSet<String> {
    let told = |socket: &Socket| {
        format!("family {}, type {}, protocol {}", socket.family, socket.socket_type, socket.protocol)
    };
    let refused = trace.sockets.iter().filter(|socket| socket.process == process && socket.refused);
    if call == "socket" { refused.map(told).collect() } else { BTreeSet::new() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_trace::{Abi, SystemCalls, TracedPath};

    fn trace(denied: &[(&str, &str)]) -> Trace {
        let mut trace = Trace::empty("sha256:0");
        trace.processes.push(Process {
            parent: None,
            began: Phase::Startup,
            executable: Some(TracedPath::new("/usr/sbin/server")),
            invoked_as: None,
            interpreter: None,
            shebang: Vec::new(),
            argv: Vec::new(),
        });
        trace.system_calls.push(SystemCalls {
            process: ProcessId(0),
            phase: Phase::Exercise,
            abi: Abi::X86_64,
            calls: BTreeSet::new(),
            denied: denied
                .iter()
                .map(|(call, error)| ((*call).to_owned(), [(*error).to_owned()].into()))
                .collect(),
        });
        trace
    }

    #[test]
    fn a_new_refusal_names_program_call_and_arguments() {
        let mut run = trace(&[("socket", "EPERM"), ("chroot", "EPERM"), ("statx", "ENOSYS")]);
        run.sockets.push(Socket {
            process: ProcessId(0),
            family: 17,
            socket_type: 3,
            protocol: 768,
            refused: true,
        });
        let found = refusals(&trace(&[("chroot", "EPERM"), ("statx", "EPERM")]), &run);
        let told: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            [
                "/usr/sbin/server: socket [family 17, type 3, protocol 768] (EPERM)",
                "/usr/sbin/server: statx (ENOSYS)",
            ]
        );
        let may: Vec<bool> = found.iter().map(Refusal::may_be_for_a_capability).collect();
        assert_eq!(may, [true, false]);
    }
}
