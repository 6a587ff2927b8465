//! A policy, or a profile of anybody, as rules: calls with the same reason and condition together, each rule with its
//! comment. All formats are written from these.

use crate::formats::comment::{allow_comment, refuse_comment};
use crate::policy::{Allowed, Architecture, ArgumentRule, Condition, Errno, Policy, Refused};
use crate::profile::{Action, Argument, Operator, SeccompProfile};
use std::collections::{BTreeMap, BTreeSet};

/// The numbers are the same on every architecture that we know.
const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// None of the flags of clone(2) that make namespaces: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
pub(crate) const NO_NEW_NAMESPACES: Argument =
    Argument { index: 0, operator: Operator::MaskedEqual, value: 0x7E02_0000, second: 0 };

/// personality(2): PER_LINUX and PER_LINUX32, each also with UNAME26, and the query.
pub(crate) const USUAL_PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Any family but AF_VSOCK.
pub(crate) const NO_VIRTUAL_MACHINE_SOCKETS: Argument =
    Argument { index: 0, operator: Operator::NotEqual, value: 40, second: 0 };

/// What every form is written from.
pub(crate) struct Form {
    /// `SCMP_ARCH_…`, the machine's own first.
    pub architectures: Vec<String>,
    /// What a call without a rule ends in.
    pub default: Action,
    pub rules: Vec<Rule>,
}

/// Calls with one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Sorted; never empty.
    pub names: Vec<String>,
    pub action: Action,
    /// All must hold; empty: with any arguments.
    pub arguments: Vec<Argument>,
    pub comment: Option<String>,
}

impl From<&Policy> for Form {
    /// What is allowed, then what is answered with ENOSYS. All else is refused with EPERM.
    fn from(policy: &Policy) -> Self {
        let mut rules = allow_rules(&policy.allowed);
        rules.extend(refuse_rules(&policy.refused));
        Self { architectures: architectures(policy.architecture), default: Action::Errno(EPERM), rules }
    }
}

impl From<&SeccompProfile> for Form {
    /// One rule for all calls with the same action, comparisons and comment.
    fn from(profile: &SeccompProfile) -> Self {
        type Key<'a> = (&'a Action, &'a Option<String>, &'a BTreeSet<Argument>);
        let mut groups: BTreeMap<Key<'_>, Vec<String>> = BTreeMap::new();
        for (call, rules) in &profile.calls {
            for rule in rules {
                let key = (&rule.action, &rule.comment, &rule.arguments);
                groups.entry(key).or_default().push(call.clone());
            }
        }
        let rule = |((action, comment, arguments), names): (Key<'_>, Vec<String>)| Rule {
            names,
            action: action.clone(),
            arguments: arguments.iter().copied().collect(),
            comment: comment.clone(),
        };
        Self {
            architectures: profile.architectures.clone(),
            default: profile.default.clone(),
            rules: groups.into_iter().map(rule).collect(),
        }
    }
}

/// The machine, and the other binary interfaces that programs of it use.
fn architectures(architecture: Architecture) -> Vec<String> {
    let names = match architecture {
        Architecture::Amd64 { sub_x86, sub_x32 } => {
            let x86 = sub_x86.then_some("SCMP_ARCH_X86");
            let x32 = sub_x32.then_some("SCMP_ARCH_X32");
            std::iter::once("SCMP_ARCH_X86_64").chain(x86).chain(x32).collect()
        }
        Architecture::Arm64 => vec!["SCMP_ARCH_AARCH64"],
    };
    names.into_iter().map(str::to_owned).collect()
}

/// One rule for all calls with the same reasons; a condition of several values takes one rule a value.
fn allow_rules(allowed: &[Allowed]) -> Vec<Rule> {
    let mut groups: BTreeMap<(String, Option<&Condition>), Vec<String>> = BTreeMap::new();
    for call in allowed {
        let key = (allow_comment(&call.because), call.condition.as_ref());
        groups.entry(key).or_default().push(call.system_call.clone());
    }
    let mut rules = Vec::new();
    for ((comment, condition), names) in groups {
        let comment =
            condition.map_or(comment.clone(), |condition| format!("{comment}; {}", text(condition)));
        for arguments in comparisons(condition) {
            rules.push(Rule {
                names: names.clone(),
                action: Action::Allow,
                arguments,
                comment: Some(comment.clone()),
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
    let rule = |(comment, names)| Rule {
        names,
        action: Action::Errno(ENOSYS),
        arguments: Vec::new(),
        comment: Some(comment),
    };
    groups.into_iter().map(rule).collect()
}

/// The comparisons under which a call is allowed: one rule each.
fn comparisons(condition: Option<&Condition>) -> Vec<Vec<Argument>> {
    match condition {
        None => vec![Vec::new()],
        Some(Condition::NoNewNamespaces) => vec![vec![NO_NEW_NAMESPACES]],
        Some(Condition::UsualPersonalities) => {
            USUAL_PERSONALITIES.iter().map(|value| vec![equal(*value)]).collect()
        }
        Some(Condition::NoVirtualMachineSockets) => vec![vec![NO_VIRTUAL_MACHINE_SOCKETS]],
        Some(Condition::Seen { rules }) => {
            let masked = |rule: &ArgumentRule| Argument {
                index: rule.index.into(),
                operator: Operator::MaskedEqual,
                value: rule.mask,
                second: rule.value,
            };
            rules.iter().map(|rule| rule.iter().map(masked).collect()).collect()
        }
    }
}

const fn equal(value: u64) -> Argument {
    Argument { index: 0, operator: Operator::Equal, value, second: 0 }
}

fn text(condition: &Condition) -> &'static str {
    match condition {
        Condition::NoNewNamespaces => "without making namespaces",
        Condition::UsualPersonalities => "usual values only",
        Condition::NoVirtualMachineSockets => "not AF_VSOCK",
        Condition::Seen { .. } => "only with arguments that were seen",
    }
}
