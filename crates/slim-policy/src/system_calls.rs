//! Which system calls the slim image may make, each with the reason.
//!
//! Invariants: a call is either allowed or refused, never both; one that only ever failed is never allowed on the
//! program's account; mount, pivot_root, umount2 and setns are never allowed on the runtime's account. Strict allows
//! exactly what was observed, what runtimes need and what every program needs; each mode allows what the one before does.

use crate::arguments::restriction;
use crate::dangerous::is_dangerous;
use crate::engine_default::{allowed_by_default, default_calls, exists};
use crate::fallback::{FALLBACKS, SAME_PURPOSE};
use crate::inputs::{EngineFilter, Inputs};
use crate::mode::Mode;
use crate::policy::{Allowed, Architecture, Because, Condition, Errno, Policy, Refused, RefusedBecause};
use crate::relatives::{Ground, relatives, room};
use crate::runtime::{NEVER, init_calls, is_known_of_a_runtime, runtime_calls};
use crate::seen::Seen;
use slim_trace::{Abi, Trace};
use std::collections::{BTreeMap, BTreeSet};

/// What no program can do without although its trace need not show it: the exec that makes a process the program, whatever
/// the runtime; the kernel's own returns from signals and sleeps; the end of a process; and the calls that the vDSO makes
/// when its clock source cannot be read in user space.
pub(crate) const ALWAYS: [&str; 9] = [
    "clock_gettime",
    "execve",
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

/// What every program is allowed, on any machine.
#[must_use]
pub fn always_needed() -> &'static [&'static str] {
    &ALWAYS
}

/// AF_VSOCK of socket(2).
const FAMILY_VSOCK: u16 = 40;

/// Every call to allow, with why.
type Reasons = BTreeMap<String, BTreeSet<Because>>;

/// Decides which system calls the slim image may make.
#[must_use]
pub fn decide(trace: &Trace, inputs: &Inputs) -> Policy {
    let seen = Seen::of(trace);
    let architecture = architecture(trace, inputs, &seen);
    let mut reasons = needed(&seen, architecture, inputs);
    if inputs.mode >= Mode::Balanced {
        add_relatives(&mut reasons, &seen, architecture, inputs);
    }
    if inputs.mode == Mode::Broad {
        add_possible(&mut reasons, &seen, architecture, inputs);
    }
    let inexpressible: BTreeSet<String> =
        reasons.keys().filter(|call| call.starts_with('#')).cloned().collect();
    reasons.retain(|call, _| !call.starts_with('#'));
    let refused = refused(&seen, &reasons, architecture);
    // A restriction holds for all binary interfaces, and values were seen of the 64-bit one alone.
    let has_one_interface = !matches!(
        architecture,
        Architecture::Amd64 { sub_x86: true, .. } | Architecture::Amd64 { sub_x32: true, .. }
    );
    let allowed = reasons
        .into_iter()
        .map(|(system_call, because)| {
            let restricted = (inputs.filter_arguments && has_one_interface)
                .then(|| restriction(&system_call, &because, trace))
                .flatten();
            let condition = restricted.or_else(|| condition(&system_call, &because, trace, inputs));
            Allowed { system_call, because, condition }
        })
        .collect();
    Policy { mode: inputs.mode, architecture, allowed, refused, inexpressible }
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

/// What was observed, what runtimes need, what every program needs, and what a repair found: no mode goes below.
fn needed(seen: &Seen, architecture: Architecture, inputs: &Inputs) -> Reasons {
    let mut reasons = Reasons::new();
    let mut add = |call: &str, because: Because| {
        reasons.entry(call.to_owned()).or_default().insert(because);
    };
    for (call, programs) in &seen.made {
        for (executable, phases) in programs {
            add(call, Because::Program { executable: executable.clone(), phases: phases.clone() });
        }
    }
    // Which calls a runtime was seen to make changes from run to run (signals, memory): what a set has says it all.
    let is_new = |call: &&String| !NEVER.contains(&call.as_str()) && !is_known_of_a_runtime(call);
    for call in seen.runtime.iter().filter(is_new) {
        add(call, Because::RuntimeSeen);
    }
    for (call, sets) in runtime_calls() {
        for (runtime, version) in sets {
            add(call, Because::RuntimeSet { runtime: runtime.clone(), version: version.clone() });
        }
    }
    let sub_x86 = matches!(architecture, Architecture::Amd64 { sub_x86: true, .. });
    for call in ALWAYS.iter().chain(ALWAYS_32_BIT.iter().filter(|_| sub_x86)) {
        add(call, Because::Always);
    }
    for (call, round) in &inputs.repaired {
        add(call, Because::Repaired { round: *round });
    }
    reasons
}

/// What libc falls back to and what an init in front calls, then the other relatives, as many as there is room for.
fn add_relatives(reasons: &mut Reasons, seen: &Seen, architecture: Architecture, inputs: &Inputs) {
    let made: BTreeSet<&str> = seen.made.keys().map(String::as_str).collect();
    let refused: BTreeSet<&str> =
        seen.denied.keys().map(String::as_str).filter(|call| seen.only_ever_refused(call)).collect();
    let allowed: BTreeSet<&str> = reasons.keys().map(String::as_str).collect();
    let possible = inputs.possible.as_ref();
    let ground = Ground { made: &made, refused: &refused, allowed: &allowed, possible, architecture };
    let table = FALLBACKS.iter().filter_map(|row| Some((row.call, *row.instead.first()?)));
    let fallbacks = table
        .chain(SAME_PURPOSE.iter().copied())
        .filter(|(call, _)| seen.tried(call))
        .map(|(call, instead)| (instead.to_owned(), Because::Fallback { of: call.to_owned() }));
    let init = init_calls().map(|(call, set)| {
        let (runtime, version) = (set.runtime.clone(), set.runtime_version.clone());
        (call.to_owned(), Because::RuntimeSet { runtime, version })
    });
    for (call, because) in relatives(&ground, fallbacks.chain(init), room(allowed.len())) {
        reasons.entry(call).or_default().insert(because);
    }
}

/// All that the kept programs can do, bounded by what Docker allows every container; where that is not known, the bound, but
/// for what is feared: that needs a reason of the program's own.
fn add_possible(reasons: &mut Reasons, seen: &Seen, architecture: Architecture, inputs: &Inputs) {
    let may =
        |call: &str| allowed_by_default(call) && exists(call, architecture) && !seen.only_ever_refused(call);
    let Some(possible) = &inputs.possible else {
        for call in default_calls()
            .filter(|call| may(call) && !is_dangerous(call) && !reasons.contains_key(*call))
            .collect::<Vec<_>>()
        {
            reasons.entry(call.to_owned()).or_default().insert(Because::EngineDefault);
        }
        return;
    };
    for (call, way) in possible.calls.iter().filter(|(call, _)| may(call)) {
        if !reasons.contains_key(call) {
            reasons.entry(call.clone()).or_default().insert(Because::Possible { way: way.clone() });
        }
    }
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
