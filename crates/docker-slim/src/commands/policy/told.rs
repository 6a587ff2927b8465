//! Policies for a person.

use super::Found;
use crate::commands::output::counted;
use slim_policy::{Allowance, Counts, Missing, PolicyFile, ProfileDifference, SeccompProfile, dangerous};
use std::collections::{BTreeMap, BTreeSet};

/// What is to be told of a policy.
pub struct Shown<'a> {
    pub found: &'a Found,
    /// With the figures of its image, where they are told.
    pub decided: Option<&'a PolicyFile>,
    pub profile: &'a SeccompProfile,
    pub entrypoint: Option<&'a SeccompProfile>,
    /// The calls of the tighter policy instead of the container's.
    pub after_entrypoint: bool,
}

impl Shown<'_> {
    /// What is there, the figures, and every call with its reason.
    pub fn told(&self) -> String {
        let Self { found, decided, profile, entrypoint, after_entrypoint } = *self;
        let mut lines = vec![found.told.clone()];
        for file in &found.files {
            let size = counted(file.bytes.len(), "byte");
            lines.push(format!("  {:<20}{}, {size}", file.kind.word(), file.name));
        }
        lines.extend(decided.into_iter().flat_map(figures));
        match entrypoint {
            Some(entrypoint) if after_entrypoint => lines.extend(calls("after the entrypoint", entrypoint)),
            _ => lines.extend(calls("seccomp", profile)),
        }
        if let Some(entrypoint) = entrypoint {
            let gone: Vec<&str> =
                profile.allowed().filter(|call| entrypoint.allows(call) == Allowance::Never).collect();
            lines.push(format!(
                "after the entrypoint: {} allowed; taken away: {}",
                counted(entrypoint.allowed().count(), "system call"),
                gone.join(" ")
            ));
        }
        if let Some(decided) = decided {
            let policy = if after_entrypoint { &decided.after_entrypoint } else { &decided.policy };
            lines.extend(dangerous(policy).into_iter().map(|call| {
                let state = if call.allowed { "ALLOWED" } else { "blocked" };
                format!("{state} {}: {}", call.system_call, call.why)
            }));
        }
        lines.join("\n")
    }
}

/// Of which image, how much each mode allows, and when calls were made.
fn figures(file: &PolicyFile) -> [String; 3] {
    let Counts { observed, strict, balanced, broad, engine_default } = file.counts;
    [
        format!("{} ({}): {}", file.name, file.image, file.policy.mode),
        format!(
            "observed {observed}, strict {strict}, balanced {balanced}, broad {broad}; Docker's default {engine_default}"
        ),
        format!(
            "{} only to start, {} to serve, {} only before the entrypoint's last exec",
            file.phases.only_startup.len(),
            file.phases.serving.len(),
            file.phases.only_before_entrypoint.len()
        ),
    ]
}

fn calls(name: &str, profile: &SeccompProfile) -> Vec<String> {
    let mut lines = vec![format!(
        "{name}: {} allowed on {}; all others: {}",
        counted(profile.allowed().count(), "system call"),
        profile.architectures.join(", "),
        profile.default
    )];
    for call in profile.allowed() {
        let with = match profile.allows(call) {
            Allowance::Always => String::new(),
            other => format!(" ({other})"),
        };
        lines.push(format!("  {call}{with}  {}", profile.comments(call).join("; ")).trim_end().to_owned());
    }
    let mut refused: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for call in profile.calls.keys().filter(|call| profile.allows(call) == Allowance::Never) {
        refused.entry(profile.refusal(call).to_string()).or_default().push(call);
    }
    lines.extend(refused.into_iter().map(|(action, calls)| format!("  {action}: {}", calls.join(" "))));
    lines
}

/// Lines with a sign before each, and the totals.
pub fn difference(difference: &ProfileDifference, top: usize) -> String {
    let mut lines = Vec::new();
    let most = if top == 0 { usize::MAX } else { top };
    for (sign, calls) in [("+", &difference.added), ("-", &difference.removed)] {
        for (call, (allowance, why)) in calls.iter().take(most) {
            let with = if *allowance == Allowance::Always { String::new() } else { format!(" {allowance}") };
            lines.push(format!("{sign} {call}{with}  {}", why.join("; ")));
        }
        if calls.len() > most {
            lines.push(format!("{sign} … and {} more", calls.len() - most));
        }
    }
    for (call, (before, after)) in &difference.changed {
        lines.push(format!("~ {call}  {before} → {after}"));
    }
    for (call, (before, after)) in &difference.refused_otherwise {
        lines.push(format!("~ {call}  refused: {before} → {after}"));
    }
    for (sign, names) in [("+", &difference.architectures_added), ("-", &difference.architectures_removed)] {
        lines.extend(names.iter().map(|name| format!("{sign} {name}  programs of that binary interface")));
    }
    if let Some((before, after)) = &difference.default {
        lines.push(format!("~ all other calls: {before} → {after}"));
    }
    lines.push(format!(
        "{} added, {} removed, {} with other arguments",
        counted(difference.added.len(), "system call"),
        difference.removed.len(),
        difference.changed.len()
    ));
    lines.join("\n")
}

/// What a profile does not allow.
pub fn missing(policy: &str, need: &str, missing: &[Missing], architectures: &BTreeSet<String>) -> String {
    if missing.is_empty() && architectures.is_empty() {
        return format!("{policy} allows what {need} needs");
    }
    let mut lines: Vec<String> = architectures
        .iter()
        .map(|name| format!("{name}  programs of that binary interface are killed"))
        .collect();
    for lack in missing {
        let with = match &lack.allowed {
            Allowance::Never => String::new(),
            other => format!(" (allowed only {other})"),
        };
        lines.push(format!("{}{with}  {}", lack.call, lack.needed.join("; ")));
    }
    let lacks = [
        (!missing.is_empty()).then(|| counted(missing.len(), "system call")),
        (!architectures.is_empty()).then(|| counted(architectures.len(), "binary interface")),
    ];
    let lacks: Vec<String> = lacks.into_iter().flatten().collect();
    lines.push(format!("{policy} does not allow {} that {need} needs", lacks.join(" and ")));
    lines.join("\n")
}
