//! Why a call is allowed or refused, in words: the comments of rules.

use crate::policy::{Because, RefusedBecause};
use slim_trace::{Phase, TracedPath};
use std::collections::{BTreeMap, BTreeSet};

/// How many programs a comment names before it only counts.
const PROGRAMS_NAMED: usize = 6;

/// Why a call may be made.
pub(crate) fn allow_comment(because: &BTreeSet<Because>) -> String {
    let mut programs: BTreeSet<&TracedPath> = BTreeSet::new();
    let mut when: BTreeSet<Phase> = BTreeSet::new();
    let mut unknown = false;
    let mut fallbacks = Vec::new();
    let mut runtimes: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    let mut runtime_seen = false;
    let mut always = false;
    let mut presumed = Vec::new();
    let mut repaired = None;
    let mut launcher = false;
    for reason in because {
        match reason {
            Because::Program { executable: Some(executable), phases } => {
                programs.insert(executable);
                when.extend(phases);
            }
            Because::Program { executable: None, phases } => {
                unknown = true;
                when.extend(phases);
            }
            Because::Fallback { of } => fallbacks.push(of.as_str()),
            Because::RuntimeSeen => runtime_seen = true,
            Because::RuntimeSet { runtime, version } => runtimes.entry(runtime).or_default().push(version),
            Because::Always => always = true,
            Because::Relative { of: Some(of), reason } => presumed.push(format!("{reason} (as {of} shows)")),
            Because::Relative { of: None, reason } => presumed.push((*reason).to_owned()),
            Because::Together { with, function } => {
                presumed.push(format!("{function} makes it beside {with}, on a path not seen"));
            }
            Because::Possible { way } => presumed.push(format!("the kept programs can make it: {way}")),
            Because::EngineDefault => presumed.push("the engine allows it to every container".to_owned()),
            Because::Repaired { round } => repaired = Some(round),
            Because::Launcher => launcher = true,
        }
    }
    let mut parts = Vec::new();
    if !programs.is_empty() {
        parts.push(format!("made by {}{}", list_programs(&programs), during(&when)));
    }
    if unknown {
        parts.push(format!("made by a program that could not be told{}", during(&when)));
    }
    if !fallbacks.is_empty() {
        parts.push(format!("stands in for {}", fallbacks.join(", ")));
    }
    if runtime_seen || !runtimes.is_empty() {
        let seen = runtime_seen.then(|| "the runtime as seen here".to_owned());
        let named =
            seen.into_iter().chain(runtimes.into_iter().map(|(name, versions)| in_versions(name, versions)));
        parts.push(format!("needed to start: {}", named.collect::<Vec<_>>().join(", ")));
    }
    if !presumed.is_empty() {
        parts.push(format!("presumed: {}", presumed.join(", ")));
    }
    if let Some(round) = repaired {
        parts.push(format!("repaired in round {round}"));
    }
    if launcher {
        parts.push("made by docker-slim launch".to_owned());
    }
    if always {
        parts.push("needed by every program: its exec, kernel and vDSO".to_owned());
    }
    parts.join("; ")
}

/// `runc 1.1.5/1.1.15/1.3.6`, by number.
fn in_versions(runtime: &str, mut versions: Vec<&str>) -> String {
    let numbers =
        |version: &str| version.split('.').map(|part| part.parse().unwrap_or(0)).collect::<Vec<u32>>();
    versions.sort_by_key(|version| numbers(version));
    format!("{runtime} {}", versions.join("/"))
}

/// ` (startup, exercise)`.
fn during(phases: &BTreeSet<Phase>) -> String {
    let names: Vec<&str> = phases
        .iter()
        .map(|phase| match phase {
            Phase::Runtime | Phase::RuntimeFiltered => "runtime",
            Phase::Startup => "startup",
            Phase::Exercise => "exercise",
            Phase::Shutdown => "shutdown",
        })
        .collect();
    if names.is_empty() { String::new() } else { format!(" ({})", names.join(", ")) }
}

/// Why a call is refused with an errno of its own.
pub(crate) fn refuse_comment(because: &RefusedBecause) -> String {
    match because {
        RefusedBecause::OnlyEverRefused { programs } if programs.is_empty() => {
            "refused each time during observation".to_owned()
        }
        RefusedBecause::OnlyEverRefused { programs } => {
            let programs: BTreeSet<&TracedPath> = programs.iter().collect();
            format!("tried by {}, refused each time", list_programs(&programs))
        }
        RefusedBecause::HasFallback { instead } if instead.is_empty() => {
            "not needed; callers do without when the kernel does not know it".to_owned()
        }
        RefusedBecause::HasFallback { instead } => {
            format!("not needed; callers fall back to {}", instead.join(", "))
        }
    }
}

/// The first few programs, and how many more.
fn list_programs(programs: &BTreeSet<&TracedPath>) -> String {
    let named: Vec<String> = programs.iter().take(PROGRAMS_NAMED).map(ToString::to_string).collect();
    match programs.len().saturating_sub(PROGRAMS_NAMED) {
        0 => named.join(", "),
        more => format!("{} and {more} more", named.join(", ")),
    }
}
