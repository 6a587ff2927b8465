//! A policy as the JSON that the Docker Engine and Podman take with `--security-opt seccomp=FILE`.
//!
//! What the engine's reader asks: `archMap` alone (with `architectures` beside it the file is refused), the default
//! errno left at EPERM (Docker 20.10 drops `defaultErrnoRet` without a word), `errnoRet` on rules. Names that the
//! host's libseccomp does not know are skipped by the runtime.

use crate::formats::rules::{Comparison, How, Outcome, Rule, rules};
use crate::policy::{Architecture, Policy};
use serde::Serialize;

/// The number behind ENOSYS, the same on every architecture that we know.
pub(crate) const ENOSYS: u32 = 38;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: &'static str,
    arch_map: Vec<ArchitectureRule>,
    syscalls: Vec<RuleJson>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArchitectureRule {
    architecture: &'static str,
    sub_architectures: Vec<&'static str>,
}

/// A rule as Docker and OCI runtimes read it; these know no comments.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RuleJson {
    names: Vec<String>,
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<ArgumentJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<String>,
}

/// One comparison as all formats but systemd's spell it.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ArgumentJson {
    pub index: u8,
    pub value: u64,
    pub value_two: u64,
    pub op: &'static str,
}

impl From<Comparison> for ArgumentJson {
    fn from(Comparison { index, how }: Comparison) -> Self {
        let (value, value_two, op) = match how {
            How::Equal(value) => (value, 0, "SCMP_CMP_EQ"),
            How::NotEqual(value) => (value, 0, "SCMP_CMP_NE"),
            How::Masked { mask, value } => (mask, value, "SCMP_CMP_MASKED_EQ"),
        };
        Self { index, value, value_two, op }
    }
}

/// A rule's action, and the errno that goes with it.
pub(crate) fn action(outcome: Outcome) -> (&'static str, Option<u32>) {
    match outcome {
        Outcome::Allow => ("SCMP_ACT_ALLOW", None),
        Outcome::NoSuchCall => ("SCMP_ACT_ERRNO", Some(ENOSYS)),
    }
}

pub(crate) fn rule_json(rule: Rule, with_comment: bool) -> RuleJson {
    let (action, errno_ret) = action(rule.outcome);
    RuleJson {
        names: rule.names,
        action,
        errno_ret,
        args: rule.comparisons.into_iter().map(ArgumentJson::from).collect(),
        comment: with_comment.then_some(rule.comment),
    }
}

/// The machine, and the other binary interfaces that programs of it use.
pub(crate) fn architectures(architecture: Architecture) -> (&'static str, Vec<&'static str>) {
    match architecture {
        Architecture::Amd64 { sub_x86, sub_x32 } => {
            let x86 = sub_x86.then_some("SCMP_ARCH_X86");
            let x32 = sub_x32.then_some("SCMP_ARCH_X32");
            ("SCMP_ARCH_X86_64", x86.into_iter().chain(x32).collect())
        }
        Architecture::Arm64 => ("SCMP_ARCH_AARCH64", Vec::new()),
    }
}

impl Policy {
    /// The profile as JSON, ending in a line feed. The same policy gives the same bytes.
    #[must_use]
    pub fn seccomp_json(&self) -> Vec<u8> {
        let (architecture, sub_architectures) = architectures(self.architecture);
        let profile = Profile {
            default_action: "SCMP_ACT_ERRNO",
            arch_map: vec![ArchitectureRule { architecture, sub_architectures }],
            syscalls: rules(self).into_iter().map(|rule| rule_json(rule, true)).collect(),
        };
        let mut bytes = serde_json::to_vec_pretty(&profile).expect("a profile is numbers and text");
        bytes.push(b'\n');
        bytes
    }
}
