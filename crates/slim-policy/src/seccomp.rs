//! A policy as the JSON that the Docker Engine takes with `--security-opt seccomp=FILE`.
//!
//! What the engine's reader asks: `archMap` alone (with `architectures` beside it the file is refused), the default
//! errno left at EPERM (Docker 20.10 drops `defaultErrnoRet` without a word), `errnoRet` on rules. Names that the
//! host's libseccomp does not know are skipped by the runtime.

use crate::system_calls::{
    Allowed, Architecture, Because, Condition, Errno, Policy, Refused, RefusedBecause,
};
use serde::Serialize;
use slim_trace::TracedPath;
use std::collections::{BTreeMap, BTreeSet};

/// The number behind ENOSYS, the same on every architecture that we know.
const ENOSYS: u32 = 38;

/// The flags of clone(2) that make namespaces: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const NAMESPACE_FLAGS: u64 = 0x7E02_0000;

/// personality(2): PER_LINUX and PER_LINUX32, each also with UNAME26, and the query.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// AF_VSOCK.
const FAMILY_VSOCK: u64 = 40;

/// How many programs a comment names before it only counts.
const PROGRAMS_NAMED: usize = 6;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: &'static str,
    arch_map: Vec<ArchitectureRule>,
    syscalls: Vec<Rule>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArchitectureRule {
    architecture: &'static str,
    sub_architectures: Vec<&'static str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    names: Vec<String>,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<Argument>,
    comment: String,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: u32,
    value: u64,
    value_two: u64,
    op: &'static str,
}

impl Policy {
    /// The profile as JSON, ending in a line feed. The same policy gives the same bytes.
    #[must_use]
    pub fn seccomp_json(&self) -> Vec<u8> {
        let mut syscalls = allow_rules(&self.allowed);
        syscalls.extend(refuse_rules(&self.refused));
        let profile = Profile {
            default_action: "SCMP_ACT_ERRNO",
            arch_map: vec![architecture_rule(self.architecture)],
            syscalls,
        };
        let mut bytes = serde_json::to_vec_pretty(&profile).expect("a profile is numbers and text");
        bytes.push(b'\n');
        bytes
    }
}

fn architecture_rule(architecture: Architecture) -> ArchitectureRule {
    match architecture {
        Architecture::Amd64 { sub_x86, sub_x32 } => {
            let x86 = sub_x86.then_some("SCMP_ARCH_X86");
            let x32 = sub_x32.then_some("SCMP_ARCH_X32");
            ArchitectureRule {
                architecture: "SCMP_ARCH_X86_64",
                sub_architectures: x86.into_iter().chain(x32).collect(),
            }
        }
        Architecture::Arm64 => {
            ArchitectureRule { architecture: "SCMP_ARCH_AARCH64", sub_architectures: Vec::new() }
        }
    }
}

/// One rule for all calls with the same reasons; a condition of several values takes one rule a value.
fn allow_rules(allowed: &[Allowed]) -> Vec<Rule> {
    let mut groups: BTreeMap<(String, Option<Condition>), Vec<String>> = BTreeMap::new();
    for call in allowed {
        let key = (allow_comment(&call.because), call.condition);
        groups.entry(key).or_default().push(call.system_call.clone());
    }
    let mut rules = Vec::new();
    for ((comment, condition), names) in groups {
        let comment =
            condition.map_or(comment.clone(), |condition| format!("{comment}; {}", text(condition)));
        for args in arguments(condition) {
            rules.push(Rule {
                names: names.clone(),
                action: "SCMP_ACT_ALLOW",
                errno_ret: None,
                args,
                comment: comment.clone(),
            });
        }
    }
    rules
}

fn refuse_rules(refused: &[Refused]) -> Vec<Rule> {
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for call in refused.iter().filter(|call| call.errno == Errno::Enosys) {
        groups.entry(refuse_comment(&call.because)).or_default().push(call.system_call.clone());
    }
    groups
        .into_iter()
        .map(|(comment, names)| Rule {
            names,
            action: "SCMP_ACT_ERRNO",
            errno_ret: Some(ENOSYS),
            args: Vec::new(),
            comment,
        })
        .collect()
}

/// The argument lists under which a call is allowed: one rule each.
fn arguments(condition: Option<Condition>) -> Vec<Vec<Argument>> {
    let only = |value, value_two, op| vec![Argument { index: 0, value, value_two, op }];
    match condition {
        None => vec![Vec::new()],
        Some(Condition::NoNewNamespaces) => vec![only(NAMESPACE_FLAGS, 0, "SCMP_CMP_MASKED_EQ")],
        Some(Condition::UsualPersonalities) => {
            PERSONALITIES.iter().map(|value| only(*value, 0, "SCMP_CMP_EQ")).collect()
        }
        Some(Condition::NoVirtualMachineSockets) => vec![only(FAMILY_VSOCK, 0, "SCMP_CMP_NE")],
    }
}

fn text(condition: Condition) -> &'static str {
    match condition {
        Condition::NoNewNamespaces => "without making namespaces",
        Condition::UsualPersonalities => "usual values only",
        Condition::NoVirtualMachineSockets => "not AF_VSOCK",
    }
}

fn allow_comment(because: &BTreeSet<Because>) -> String {
    let mut programs: BTreeSet<&TracedPath> = BTreeSet::new();
    let mut unknown = false;
    let mut fallbacks = Vec::new();
    let mut runtimes = Vec::new();
    let mut always = false;
    let mut purposes = Vec::new();
    let mut repaired = None;
    let mut launcher = false;
    for reason in because {
        match reason {
            Because::Program { executable: Some(executable), .. } => {
                programs.insert(executable);
            }
            Because::Program { executable: None, .. } => unknown = true,
            Because::Fallback { of } => fallbacks.push(of.as_str()),
            Because::RuntimeSeen => runtimes.push("the runtime as seen here".to_owned()),
            Because::RuntimeSet { runtime, version } => runtimes.push(format!("{runtime} {version}")),
            Because::Always => always = true,
            Because::Related { purpose } => purposes.push(*purpose),
            Because::Repaired { round } => repaired = Some(round),
            Because::Launcher => launcher = true,
        }
    }
    let mut parts = Vec::new();
    if !programs.is_empty() {
        parts.push(format!("made by {}", list_programs(&programs)));
    }
    if unknown {
        parts.push("made by a program that could not be told".to_owned());
    }
    if !fallbacks.is_empty() {
        parts.push(format!("stands in for {}", fallbacks.join(", ")));
    }
    if !runtimes.is_empty() {
        parts.push(format!("needed to start: {}", runtimes.join(", ")));
    }
    // Beside a better reason it says nothing.
    if parts.is_empty() && !always && !purposes.is_empty() {
        parts.push(format!("goes with what was seen: one of those for {}", purposes.join(", ")));
    }
    if let Some(round) = repaired {
        parts.push(format!("repaired in round {round}"));
    }
    if launcher {
        parts.push("made by docker-slim launch".to_owned());
    }
    if always {
        parts.push("needed by every program: kernel and vDSO".to_owned());
    }
    parts.join("; ")
}

fn refuse_comment(because: &RefusedBecause) -> String {
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
