//! A policy as the JSON that the Docker Engine and Podman take with `--security-opt seccomp=FILE`.
//!
//! What the engine's reader asks: `archMap` alone (with `architectures` beside it the file is refused), the default
//! errno left at EPERM (Docker 20.10 drops `defaultErrnoRet` without a word), `errnoRet` on rules. Names that the
//! host's libseccomp does not know are skipped by the runtime.

use crate::formats::rules::{Form, Rule};
use crate::profile::{Action, Argument, Operator};
use serde::Serialize;

/// What the engine takes where nothing is said.
const EPERM: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile<'a> {
    default_action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_errno_ret: Option<u32>,
    arch_map: Vec<ArchitectureRule<'a>>,
    syscalls: Vec<RuleJson<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ArchitectureRule<'a> {
    architecture: &'a str,
    sub_architectures: &'a [String],
}

/// A rule as Docker and OCI runtimes read it; these know no comments.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RuleJson<'a> {
    names: &'a [String],
    action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    errno_ret: Option<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    args: Vec<ArgumentJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    comment: Option<&'a str>,
}

/// One comparison as all formats but systemd's spell it.
#[derive(Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ArgumentJson {
    pub index: u32,
    pub value: u64,
    pub value_two: u64,
    pub op: &'static str,
}

impl From<&Argument> for ArgumentJson {
    fn from(&Argument { index, operator, value, second }: &Argument) -> Self {
        let op = match operator {
            Operator::NotEqual => "SCMP_CMP_NE",
            Operator::Less => "SCMP_CMP_LT",
            Operator::LessOrEqual => "SCMP_CMP_LE",
            Operator::Equal => "SCMP_CMP_EQ",
            Operator::GreaterOrEqual => "SCMP_CMP_GE",
            Operator::Greater => "SCMP_CMP_GT",
            Operator::MaskedEqual => "SCMP_CMP_MASKED_EQ",
        };
        Self { index, value, value_two: second, op }
    }
}

/// An action's name, and the errno that goes with it where it is not EPERM.
pub(crate) fn action(action: &Action) -> (&'static str, Option<u32>) {
    match action {
        Action::Allow => ("SCMP_ACT_ALLOW", None),
        Action::Log => ("SCMP_ACT_LOG", None),
        Action::Errno(number) => ("SCMP_ACT_ERRNO", Some(*number).filter(|number| *number != EPERM)),
        Action::Notify => ("SCMP_ACT_NOTIFY", None),
        Action::Trap => ("SCMP_ACT_TRAP", None),
        Action::KillThread => ("SCMP_ACT_KILL_THREAD", None),
        Action::KillProcess => ("SCMP_ACT_KILL_PROCESS", None),
    }
}

pub(crate) fn rule_json(rule: &Rule, with_comment: bool) -> RuleJson<'_> {
    let (action, errno_ret) = action(&rule.action);
    RuleJson {
        names: &rule.names,
        action,
        errno_ret,
        args: rule.arguments.iter().map(ArgumentJson::from).collect(),
        comment: rule.comment.as_deref().filter(|_| with_comment),
    }
}

/// The JSON, ending in a line feed.
pub(crate) fn json(form: &Form) -> Vec<u8> {
    let (default_action, default_errno_ret) = action(&form.default);
    let machine = form.architectures.split_first();
    let arch_map =
        machine.map(|(machine, more)| ArchitectureRule { architecture: machine, sub_architectures: more });
    let profile = Profile {
        default_action,
        default_errno_ret,
        arch_map: arch_map.into_iter().collect(),
        syscalls: form.rules.iter().map(|rule| rule_json(rule, true)).collect(),
    };
    let mut bytes = serde_json::to_vec_pretty(&profile).expect("a profile is numbers and text");
    bytes.push(b'\n');
    bytes
}
