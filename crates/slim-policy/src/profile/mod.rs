//! A seccomp profile as a value, whoever wrote it: read from the JSON of Docker's engine or of the OCI runtime
//! specification, compared, combined, compiled; `formats` writes it again.
//!
//! Invariant: what is not understood is an error, never left out: a rule that is overlooked would make a profile look
//! stricter, or wider, than it is. And what has no rule is refused: profiles that allow what they do not name are not read.

mod combine;
mod compile;
mod read;

pub use combine::{Missing, ProfileDifference, intersection, union};
pub use compile::CompileError;
pub use read::ProfileError;

use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What may be called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SeccompProfile {
    /// `SCMP_ARCH_…`, the machine's own first.
    pub architectures: Vec<String>,
    /// What a call without a rule that fits ends in; never that it is made.
    pub default: Action,
    /// The rules of each call; no two are alike but for their comments.
    pub calls: BTreeMap<String, Vec<Rule>>,
}

/// What happens to a call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    Allow,
    /// Allowed, and noted in the audit log.
    Log,
    /// Fails with this number.
    Errno(u32),
    /// Asks the process that holds the other end of the filter.
    Notify,
    Trap,
    KillThread,
    KillProcess,
}

/// What happens to a call whose arguments fit all comparisons.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Rule {
    pub action: Action,
    /// Empty: with any arguments.
    pub arguments: BTreeSet<Argument>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
}

/// A comparison of one argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Argument {
    /// From 0 to 5.
    pub index: u32,
    pub operator: Operator,
    /// What is compared with; for [`Operator::MaskedEqual`] the mask.
    pub value: u64,
    /// For [`Operator::MaskedEqual`] what is compared with, else 0.
    pub second: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operator {
    NotEqual,
    Less,
    LessOrEqual,
    Equal,
    GreaterOrEqual,
    Greater,
    MaskedEqual,
}

impl SeccompProfile {
    /// The calls that may be made, with any arguments or with some.
    pub fn allowed(&self) -> impl Iterator<Item = &str> {
        self.calls.keys().map(String::as_str).filter(|call| self.allows(call) != Allowance::Never)
    }

    /// With which arguments a call may be made.
    #[must_use]
    pub fn allows(&self, call: &str) -> Allowance {
        let rules = self.calls.get(call).map_or(&[][..], Vec::as_slice);
        // A rule without comparisons stands for all others of its call, as libseccomp has it; one that says what holds anyway
        // is none.
        if let Some(rule) = rules.iter().find(|rule| rule.arguments.is_empty() && rule.action != self.default)
        {
            return if rule.action.lets_pass() { Allowance::Always } else { Allowance::Never };
        }
        let passing = rules.iter().filter(|rule| rule.action.lets_pass());
        let sets: BTreeSet<_> = passing.map(|rule| rule.arguments.clone()).collect();
        if sets.is_empty() { Allowance::Never } else { Allowance::When(sets) }
    }

    /// What a call that may not be made with any arguments ends in.
    #[must_use]
    pub fn refusal(&self, call: &str) -> &Action {
        let rules = self.calls.get(call).map_or(&[][..], Vec::as_slice);
        let refusing = rules.iter().find(|rule| !rule.action.lets_pass() && rule.arguments.is_empty());
        refusing.map_or(&self.default, |rule| &rule.action)
    }

    /// Why a call is allowed, as the profile itself says it; each reason once.
    #[must_use]
    pub fn comments(&self, call: &str) -> Vec<&str> {
        let rules = self.calls.get(call).map_or(&[][..], Vec::as_slice);
        let comments: BTreeSet<&str> = rules.iter().filter_map(|rule| rule.comment.as_deref()).collect();
        comments.into_iter().collect()
    }
}

/// With which arguments a call may be made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Allowance {
    Never,
    /// With arguments that fit all comparisons of one of these sets.
    When(BTreeSet<BTreeSet<Argument>>),
    Always,
}

impl Action {
    /// Whether the call is made.
    #[must_use]
    pub const fn lets_pass(&self) -> bool {
        matches!(self, Self::Allow | Self::Log)
    }
}

impl fmt::Display for Action {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Allow => formatter.write_str("allowed"),
            Self::Log => formatter.write_str("allowed and logged"),
            Self::Errno(1) => formatter.write_str("EPERM"),
            Self::Errno(38) => formatter.write_str("ENOSYS"),
            Self::Errno(number) => write!(formatter, "errno {number}"),
            Self::Notify => formatter.write_str("asked for"),
            Self::Trap => formatter.write_str("SIGSYS"),
            Self::KillThread => formatter.write_str("kills the thread"),
            Self::KillProcess => formatter.write_str("kills the process"),
        }
    }
}

impl fmt::Display for Argument {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { index, value, second, .. } = self;
        let sign = match self.operator {
            Operator::MaskedEqual => {
                return write!(formatter, "argument {index} & {value:#x} == {second:#x}");
            }
            Operator::NotEqual => "!=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Equal => "==",
            Operator::GreaterOrEqual => ">=",
            Operator::Greater => ">",
        };
        write!(formatter, "argument {index} {sign} {value:#x}")
    }
}

impl fmt::Display for Allowance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |sets: &BTreeSet<BTreeSet<Argument>>| {
            let set = |set: &BTreeSet<Argument>| {
                set.iter().map(ToString::to_string).collect::<Vec<_>>().join(" and ")
            };
            sets.iter().map(set).collect::<Vec<_>>().join(", or ")
        };
        match self {
            Self::Never => formatter.write_str("never"),
            Self::Always => formatter.write_str("with any arguments"),
            Self::When(sets) => write!(formatter, "where {}", told(sets)),
        }
    }
}
