//! Rules of capabilities, and who of several profiles' programs they are for.

use super::scope::Scope;
use crate::contract::{asked_by_ports, asked_by_sockets, capabilities_of_call};
use crate::inputs::KeptKind;
use crate::paths::resolve;
use slim_trace::{Phase, ProcessId, Trace};
use std::collections::BTreeSet;

/// The rules, each with its reason in a comment where there is one.
pub(crate) fn rules(scope: &Scope<'_>) -> BTreeSet<String> {
    match &scope.inputs.needed_capabilities {
        Some(needed) => {
            let is_ours = Ours::of(scope);
            needed
                .iter()
                .filter(|(name, _)| is_ours.has(name))
                .filter_map(|(name, why)| rule(name, why))
                .collect()
        }
        None => scope.inputs.capabilities.iter().filter_map(|name| rule(name, "")).collect(),
    }
}

/// Which capabilities one profile's programs may be the ones to need.
struct Ours {
    ours: BTreeSet<&'static str>,
    everybodys: BTreeSet<&'static str>,
    any: bool,
}

impl Ours {
    fn of(scope: &Scope<'_>) -> Self {
        let all = (0..).zip(&scope.trace.processes).map(|(id, _)| ProcessId(id)).collect();
        let raises =
            |path| matches!(scope.inputs.paths.get(&path), Some(KeptKind::File { privileged: true, .. }));
        // Set-id programs get all that the container has, and say of none of it that they use it.
        let any = scope.processes().any(|process| {
            let path = process.executable.as_ref().and_then(|path| resolve(path, &scope.inputs.paths));
            path.is_some_and(raises)
        });
        Self { ours: asked_for(scope.trace, &scope.own), everybodys: asked_for(scope.trace, &all), any }
    }

    /// What no call speaks for (`DAC_OVERRIDE`) may be anybody's.
    fn has(&self, name: &str) -> bool {
        self.any || self.ours.contains(name) || !self.everybodys.contains(name)
    }
}

/// The capabilities that some call of these processes may have asked for.
pub(crate) fn asked_for(trace: &Trace, processes: &BTreeSet<ProcessId>) -> BTreeSet<&'static str> {
    let mut asked = BTreeSet::new();
    for record in trace.system_calls.iter().filter(|record| processes.contains(&record.process)) {
        if !matches!(record.phase, Phase::Runtime | Phase::RuntimeFiltered) {
            // Of a socket its kind says more.
            let calls = record.calls.iter().filter(|call| call.as_str() != "socket");
            asked.extend(calls.flat_map(|call| capabilities_of_call(call)));
        }
    }
    let is_theirs = |process| processes.contains(&process);
    asked.extend(trace.sockets.iter().filter(|it| is_theirs(it.process)).filter_map(asked_by_sockets));
    asked.extend(trace.listening.iter().filter(|it| is_theirs(it.process)).filter_map(asked_by_ports));
    asked
}

/// The rule of a capability, with why in a comment; nothing for what is none.
fn rule(name: &str, why: &str) -> Option<String> {
    let name = name.trim_start_matches("CAP_").to_ascii_lowercase();
    if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') {
        return None;
    }
    let rule = if name == "all" { "capability,".to_owned() } else { format!("capability {name},") };
    // Reasons may name files, and names may hold anything: a comment ends with its line.
    let why: String = why.chars().map(|letter| if letter.is_control() { '?' } else { letter }).collect();
    Some(if why.is_empty() { rule } else { format!("{rule} # {why}") })
}
