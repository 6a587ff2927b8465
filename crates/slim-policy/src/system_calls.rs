//! Which system calls the slim image may make, each with the reason.
//!
//! Invariants: a call is either allowed or refused, never both; one that only ever failed is never allowed on the
//! program's account; mount, pivot_root, umount2 and setns are never allowed on the runtime's account.

use crate::fallback::{FALLBACKS, SAME_PURPOSE};
use crate::inputs::{EngineFilter, Inputs};
use crate::related::related;
use crate::runtime::{NEVER, runtime_sets};
use serde::Serialize;
use slim_trace::{Abi, Phase, Trace, TracedPath};
use std::collections::{BTreeMap, BTreeSet};

/// What the program cannot do without although no trace shows it: the kernel's own returns from signals and sleeps, the
/// end of a process, and the calls that the vDSO makes when its clock source cannot be read in user space.
const ALWAYS: [&str; 8] = [
    "clock_gettime",
    "exit",
    "exit_group",
    "getcpu",
    "gettimeofday",
    "restart_syscall",
    "rt_sigreturn",
    "time",
];

/// The same for 32-bit programs.
const ALWAYS_32_BIT: [&str; 2] = ["clock_gettime64", "sigreturn"];

/// AF_VSOCK of socket(2).
const FAMILY_VSOCK: u16 = 40;

/// What is allowed and what is refused with another errno than the profile's default (EPERM).
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Policy {
    pub architecture: Architecture,
    /// Sorted by name; no name twice.
    pub allowed: Vec<Allowed>,
    /// Sorted by name; no name twice, and none that is allowed.
    pub refused: Vec<Refused>,
    /// Calls that were made but have no name (`#N`), which no profile can express.
    pub inexpressible: BTreeSet<String>,
}

/// The machine that the profile is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// `sub_x86`: 32-bit calls are made; `sub_x32`: x32 calls are. Without them such a call kills the program.
    Amd64 { sub_x86: bool, sub_x32: bool },
    /// arm64; the observer tells no 32-bit calls apart there yet.
    Arm64,
}

/// A call that may be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Allowed {
    pub system_call: String,
    /// Never empty.
    pub because: BTreeSet<Because>,
    /// `None`: with any arguments.
    pub condition: Option<Condition>,
}

/// Why a call may be made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Because {
    /// This program of the image made it; `None` where the observer could not tell which one.
    Program { executable: Option<TracedPath>, phases: BTreeSet<Phase> },
    /// A libc falls back to it where the other call, which the program made, is not there.
    Fallback { of: String },
    /// It goes with calls that the program made: a route, an error or a libc that this run did not show may need it.
    Related { purpose: &'static str },
    /// The container runtime was seen to make it under its own filter, and no known set has it.
    RuntimeSeen,
    /// A runtime is known to make it under its own filter.
    RuntimeSet { runtime: String, version: String },
    /// The kernel or the vDSO makes it on any program's behalf.
    Always,
    /// The slim program was refused it during verification; the engine's own profile allowed it to the fat one.
    Repaired { round: u32 },
    /// `docker-slim launch` makes it before it becomes the program.
    Launcher,
}

/// What the engine's default filter asks of a call's arguments. Seen under that filter, nothing else was seen. Source:
/// moby's `profiles/seccomp/default_linux.go`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// clone without any of the flags that make namespaces.
    NoNewNamespaces,
    /// personality as PER_LINUX or PER_LINUX32, each also with UNAME26, and as a query.
    UsualPersonalities,
    /// socket of any family but AF_VSOCK, which reaches beyond the container.
    NoVirtualMachineSockets,
}

/// A call that is refused and of which there is something to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refused {
    pub system_call: String,
    pub errno: Errno,
    pub because: RefusedBecause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Errno {
    Eperm,
    Enosys,
}

/// Why a call is refused with this errno.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusedBecause {
    /// These programs made it and were refused each time, with this errno.
    OnlyEverRefused { programs: BTreeSet<TracedPath> },
    /// It was not needed; callers that see ENOSYS make these calls instead, or do without.
    HasFallback { instead: Vec<String> },
}

/// What the programs of a trace did, call by call.
#[derive(Default)]
struct Seen {
    /// Who made it, and in which phases.
    made: BTreeMap<String, BTreeMap<Option<TracedPath>, BTreeSet<Phase>>>,
    /// Who was refused, and with what.
    denied: BTreeMap<String, (BTreeSet<TracedPath>, BTreeSet<String>)>,
    runtime: BTreeSet<String>,
    abis: BTreeSet<Abi>,
}

impl Seen {
    fn of(trace: &Trace) -> Self {
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

    fn only_ever_refused(&self, call: &str) -> bool {
        self.denied.contains_key(call) && !self.made.contains_key(call)
    }

    fn tried(&self, call: &str) -> bool {
        self.made.contains_key(call) || self.denied.contains_key(call)
    }
}

/// Decides which system calls the slim image may make.
#[must_use]
pub fn decide(trace: &Trace, inputs: &Inputs) -> Policy {
    let seen = Seen::of(trace);
    let architecture = architecture(trace, inputs, &seen);
    let mut reasons = reasons(&seen, architecture);
    if inputs.beyond_the_observed {
        for (call, purpose) in related(|call| seen.made.contains_key(call)) {
            if !seen.only_ever_refused(call) {
                reasons.entry(call.to_owned()).or_default().insert(Because::Related { purpose });
            }
        }
    }
    for (call, round) in &inputs.repaired {
        reasons.entry(call.clone()).or_default().insert(Because::Repaired { round: *round });
    }
    let inexpressible: BTreeSet<String> =
        reasons.keys().filter(|call| call.starts_with('#')).cloned().collect();
    reasons.retain(|call, _| !call.starts_with('#'));
    let refused = refused(&seen, &reasons, architecture);
    let allowed = reasons
        .into_iter()
        .map(|(system_call, because)| {
            let condition = condition(&system_call, &because, trace, inputs);
            Allowed { system_call, because, condition }
        })
        .collect();
    Policy { architecture, allowed, refused, inexpressible }
}

fn architecture(trace: &Trace, inputs: &Inputs, seen: &Seen) -> Architecture {
    if trace.architecture == "arm64" {
        return Architecture::Arm64;
    }
    Architecture::Amd64 {
        sub_x86: inputs.elf_32_bit || seen.abis.contains(&Abi::X86),
        sub_x32: seen.abis.contains(&Abi::X32),
    }
}

/// Every call to allow, with why.
fn reasons(seen: &Seen, architecture: Architecture) -> BTreeMap<String, BTreeSet<Because>> {
    let mut reasons: BTreeMap<String, BTreeSet<Because>> = BTreeMap::new();
    let mut add = |call: &str, because: Because| {
        reasons.entry(call.to_owned()).or_default().insert(because);
    };
    for (call, programs) in &seen.made {
        for (executable, phases) in programs {
            add(call, Because::Program { executable: executable.clone(), phases: phases.clone() });
        }
    }
    let table = FALLBACKS.iter().filter_map(|row| Some((row.call, *row.instead.first()?)));
    for (call, instead) in table.chain(SAME_PURPOSE.iter().copied()) {
        if seen.tried(call) && !seen.only_ever_refused(instead) {
            add(instead, Because::Fallback { of: call.to_owned() });
        }
    }
    // Which calls a runtime was seen to make changes from run to run (signals, memory): what a set has says it all.
    let in_a_set: BTreeSet<&str> = runtime_sets().iter().flat_map(|set| set.calls()).collect();
    let is_new = |call: &&String| !NEVER.contains(&call.as_str()) && !in_a_set.contains(call.as_str());
    for call in seen.runtime.iter().filter(is_new) {
        add(call, Because::RuntimeSeen);
    }
    for set in runtime_sets() {
        for call in set.calls().filter(|call| !NEVER.contains(call)) {
            let (runtime, version) = (set.runtime.clone(), set.runtime_version.clone());
            add(call, Because::RuntimeSet { runtime, version });
        }
    }
    let sub_x86 = matches!(architecture, Architecture::Amd64 { sub_x86: true, .. });
    for call in ALWAYS.iter().chain(ALWAYS_32_BIT.iter().filter(|_| sub_x86)) {
        add(call, Because::Always);
    }
    reasons
}

/// What the engine's default filter asked of the arguments, where the call was seen under that filter or is allowed on
/// the runtime's account alone.
fn condition(call: &str, because: &BTreeSet<Because>, trace: &Trace, inputs: &Inputs) -> Option<Condition> {
    let by_program = because.iter().any(|because| matches!(because, Because::Program { .. }));
    if by_program && inputs.engine_filter == EngineFilter::Other {
        return None;
    }
    match call {
        "clone" if !inputs.capabilities.contains("SYS_ADMIN") => Some(Condition::NoNewNamespaces),
        "personality" => Some(Condition::UsualPersonalities),
        "socket" if !trace.sockets.iter().any(|socket| socket.family == FAMILY_VSOCK && !socket.refused) => {
            Some(Condition::NoVirtualMachineSockets)
        }
        _ => None,
    }
}

fn refused(
    seen: &Seen,
    allowed: &BTreeMap<String, BTreeSet<Because>>,
    architecture: Architecture,
) -> Vec<Refused> {
    let sub_x86 = matches!(architecture, Architecture::Amd64 { sub_x86: true, .. });
    let mut refused: BTreeMap<String, Refused> = BTreeMap::new();
    for row in FALLBACKS.iter().filter(|row| sub_x86 || !row.only_32_bit) {
        let because =
            RefusedBecause::HasFallback { instead: row.instead.iter().map(ToString::to_string).collect() };
        let system_call = row.call.to_owned();
        refused.insert(system_call.clone(), Refused { system_call, errno: Errno::Enosys, because });
    }
    for (call, (programs, errors)) in &seen.denied {
        if call.starts_with('#') {
            continue;
        }
        // Seen with both, it is the filter's ENOSYS that callers act on.
        let errno = if errors.contains("ENOSYS") { Errno::Enosys } else { Errno::Eperm };
        let because = RefusedBecause::OnlyEverRefused { programs: programs.clone() };
        refused.insert(call.clone(), Refused { system_call: call.clone(), errno, because });
    }
    refused.retain(|call, _| !allowed.contains_key(call));
    refused.into_values().collect()
}
