//! A policy as rules: calls with the same reason and condition together, each rule with its comment. All formats are
//! written from these.

use crate::formats::comment::{allow_comment, refuse_comment};
use crate::policy::{Allowed, Condition, Errno, Policy, Refused};
use std::collections::BTreeMap;

/// The flags of clone(2) that make namespaces: CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
const NAMESPACE_FLAGS: u64 = 0x7E02_0000;

/// personality(2): PER_LINUX and PER_LINUX32, each also with UNAME26, and the query.
const PERSONALITIES: [u64; 5] = [0x0, 0x8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// AF_VSOCK.
const FAMILY_VSOCK: u64 = 40;

/// Calls with one outcome.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// Sorted; never empty.
    pub names: Vec<String>,
    pub outcome: Outcome,
    /// All must hold; empty: with any arguments.
    pub comparisons: Vec<Comparison>,
    pub comment: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Allow,
    /// As if the kernel did not know the call.
    NoSuchCall,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Comparison {
    pub index: u8,
    pub how: How,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    Equal(u64),
    NotEqual(u64),
    /// The bits of the mask have this value.
    Masked {
        mask: u64,
        value: u64,
    },
}

/// The rules of a policy: what is allowed, then what is answered with ENOSYS. All else is refused with EPERM.
pub(crate) fn rules(policy: &Policy) -> Vec<Rule> {
    let mut rules = allow_rules(&policy.allowed);
    rules.extend(refuse_rules(&policy.refused));
    rules
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
        for comparisons in comparisons(condition) {
            rules.push(Rule {
                names: names.clone(),
                outcome: Outcome::Allow,
                comparisons,
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
    let rule =
        |(comment, names)| Rule { names, outcome: Outcome::NoSuchCall, comparisons: Vec::new(), comment };
    groups.into_iter().map(rule).collect()
}

/// The comparisons under which a call is allowed: one rule each.
fn comparisons(condition: Option<&Condition>) -> Vec<Vec<Comparison>> {
    let only = |how| vec![Comparison { index: 0, how }];
    match condition {
        None => vec![Vec::new()],
        Some(Condition::NoNewNamespaces) => vec![only(How::Masked { mask: NAMESPACE_FLAGS, value: 0 })],
        Some(Condition::UsualPersonalities) => {
            PERSONALITIES.iter().map(|value| only(How::Equal(*value))).collect()
        }
        Some(Condition::NoVirtualMachineSockets) => vec![only(How::NotEqual(FAMILY_VSOCK))],
        Some(Condition::Seen { rules }) => {
            let one = |rule: &Vec<crate::policy::ArgumentRule>| {
                let masked = |rule: &crate::policy::ArgumentRule| Comparison {
                    index: rule.index,
                    how: How::Masked { mask: rule.mask, value: rule.value },
                };
                rule.iter().map(masked).collect()
            };
            rules.iter().map(one).collect()
        }
    }
}

fn text(condition: &Condition) -> &'static str {
    match condition {
        Condition::NoNewNamespaces => "without making namespaces",
        Condition::UsualPersonalities => "usual values only",
        Condition::NoVirtualMachineSockets => "not AF_VSOCK",
        Condition::Seen { .. } => "only with arguments that were seen",
    }
}
