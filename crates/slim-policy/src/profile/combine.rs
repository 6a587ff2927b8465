//! Two profiles: what both need together, what both allow, how they differ, and what one lacks for the other.

use super::{Action, Allowance, Argument, Rule, SeccompProfile};
use serde::Serialize;
use slim_trace::{Abi, Phase, Trace};
use std::collections::{BTreeMap, BTreeSet};

const EPERM: u32 = 1;
const ENOSYS: u32 = 38;

/// How a second profile differs from a first one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ProfileDifference {
    /// Allowed by the second only, each with the arguments and the reasons.
    pub added: BTreeMap<String, (Allowance, Vec<String>)>,
    /// Allowed by the first only.
    pub removed: BTreeMap<String, (Allowance, Vec<String>)>,
    /// Allowed by both with different arguments: first, second.
    pub changed: BTreeMap<String, (Allowance, Allowance)>,
    /// Refused by both in another way: first, second.
    pub refused_otherwise: BTreeMap<String, (Action, Action)>,
    /// What all other calls end in, where that differs: first, second.
    pub default: Option<(Action, Action)>,
    /// Binary interfaces (`SCMP_ARCH_X86`) that only the second has rules for. Programs of all others are killed.
    pub architectures_added: BTreeSet<String>,
    /// Those that only the first has rules for.
    pub architectures_removed: BTreeSet<String>,
}

impl ProfileDifference {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// A call that is needed and that a profile does not allow, or not with all arguments.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Missing {
    pub call: String,
    /// [`Allowance::Never`], or with which arguments it is allowed.
    pub allowed: Allowance,
    /// Who needs it, or why it is allowed where it is.
    pub needed: Vec<String>,
}

/// A binary interface by its name in profiles; `None` for the machine's own, which every profile has.
fn interface(abi: Abi) -> Option<&'static str> {
    match abi {
        Abi::X86_64 => None,
        Abi::X86 => Some("SCMP_ARCH_X86"),
        Abi::X32 => Some("SCMP_ARCH_X32"),
    }
}

/// What is allowed by one of them: for recordings, each of which has seen a part of what a program does.
#[must_use]
pub fn union(first: &SeccompProfile, second: &SeccompProfile) -> SeccompProfile {
    combined(first, second, Both { allowance: wider, keeps_architecture: |one, other| one || other })
}

/// What is allowed by both: for ceilings, each of which must hold. Where both compare the same argument of a call in
/// different ways, a profile cannot say both at once, and the call is refused with those arguments.
#[must_use]
pub fn intersection(first: &SeccompProfile, second: &SeccompProfile) -> SeccompProfile {
    combined(first, second, Both { allowance: narrower, keeps_architecture: |one, other| one && other })
}

struct Both {
    allowance: fn(&Allowance, &Allowance) -> Allowance,
    keeps_architecture: fn(bool, bool) -> bool,
}

fn combined(first: &SeccompProfile, second: &SeccompProfile, both: Both) -> SeccompProfile {
    let architectures = first.architectures.iter().chain(&second.architectures);
    let is_kept = |name: &&String| {
        (both.keeps_architecture)(first.architectures.contains(name), second.architectures.contains(name))
    };
    let mut kept = Vec::new();
    for name in architectures.filter(is_kept) {
        if !kept.contains(name) {
            kept.push(name.clone());
        }
    }
    let default = refusal(&first.default, &second.default);
    let mut calls = BTreeMap::new();
    for call in first.calls.keys().chain(second.calls.keys()) {
        let allowance = (both.allowance)(&first.allows(call), &second.allows(call));
        let refusal = refusal(first.refusal(call), second.refusal(call));
        let comments = [first.comments(call), second.comments(call)].concat();
        let comments: BTreeSet<&str> = comments.into_iter().collect();
        let comment =
            Some(comments.into_iter().collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty());
        let rules = rules(&allowance, &refusal, &default, comment);
        if !rules.is_empty() {
            calls.insert(call.clone(), rules);
        }
    }
    SeccompProfile { architectures: kept, default, calls }
}

/// ENOSYS has callers go another way, EPERM has them give up: where one of two says the former, it is said.
fn refusal(first: &Action, second: &Action) -> Action {
    let actions = [first, second];
    let refusing = || actions.into_iter().filter(|action| !action.lets_pass());
    let enosys = refusing().find(|action| **action == Action::Errno(ENOSYS));
    enosys.or_else(|| refusing().next()).map_or(Action::Errno(EPERM), Clone::clone)
}

fn rules(allowance: &Allowance, refusal: &Action, default: &Action, comment: Option<String>) -> Vec<Rule> {
    let rule =
        |action: Action, arguments: BTreeSet<Argument>| Rule { action, arguments, comment: comment.clone() };
    let refused = (refusal != default).then(|| rule(refusal.clone(), BTreeSet::new()));
    match allowance {
        Allowance::Never => refused.into_iter().collect(),
        Allowance::Always => vec![rule(Action::Allow, BTreeSet::new())],
        Allowance::When(sets) => sets.iter().map(|set| rule(Action::Allow, set.clone())).collect(),
    }
}

fn wider(first: &Allowance, second: &Allowance) -> Allowance {
    use Allowance::{Always, Never, When};
    match (first, second) {
        (Always, _) | (_, Always) => Always,
        (Never, other) | (other, Never) => other.clone(),
        (When(first), When(second)) => When(first | second),
    }
}

fn narrower(first: &Allowance, second: &Allowance) -> Allowance {
    use Allowance::{Always, Never, When};
    match (first, second) {
        (Never, _) | (_, Never) => Never,
        (Always, other) | (other, Always) => other.clone(),
        (When(first), When(second)) => {
            let pairs = first.iter().flat_map(|one| second.iter().map(move |other| (one, other)));
            let sets: BTreeSet<_> = pairs.filter_map(|(one, other)| together(one, other)).collect();
            if sets.is_empty() { Never } else { When(sets) }
        }
    }
}

/// Both sets of comparisons at once, where a profile can say so: one comparison an argument.
fn together(one: &BTreeSet<Argument>, other: &BTreeSet<Argument>) -> Option<BTreeSet<Argument>> {
    let all = one | other;
    let indices: BTreeSet<u32> = all.iter().map(|argument| argument.index).collect();
    (indices.len() == all.len()).then_some(all)
}

impl SeccompProfile {
    /// How another profile differs from this one.
    #[must_use]
    pub fn difference(&self, other: &Self) -> ProfileDifference {
        let mut difference = ProfileDifference {
            default: (self.default != other.default).then(|| (self.default.clone(), other.default.clone())),
            architectures_added: other.architectures_beyond(self),
            architectures_removed: self.architectures_beyond(other),
            ..ProfileDifference::default()
        };
        let owned = |profile: &Self, call: &str| -> Vec<String> {
            profile.comments(call).into_iter().map(str::to_owned).collect()
        };
        let calls: BTreeSet<&String> = self.calls.keys().chain(other.calls.keys()).collect();
        for call in calls {
            match (self.allows(call), other.allows(call)) {
                (Allowance::Never, Allowance::Never) => {
                    let (before, after) = (self.refusal(call), other.refusal(call));
                    if before != after {
                        difference.refused_otherwise.insert(call.clone(), (before.clone(), after.clone()));
                    }
                }
                (Allowance::Never, after) => {
                    difference.added.insert(call.clone(), (after, owned(other, call)));
                }
                (before, Allowance::Never) => {
                    difference.removed.insert(call.clone(), (before, owned(self, call)));
                }
                (before, after) if before != after => {
                    difference.changed.insert(call.clone(), (before, after));
                }
                _ => {}
            }
        }
        difference
    }

    fn architectures_beyond(&self, other: &Self) -> BTreeSet<String> {
        self.architectures.iter().filter(|name| !other.architectures.contains(name)).cloned().collect()
    }

    /// What another profile allows and this one does not: calls. Binary interfaces: [`Self::lacks_architectures`].
    #[must_use]
    pub fn lacks_of_profile(&self, needed: &Self) -> Vec<Missing> {
        let lacks = |call: &str| {
            let (allowed, wanted) = (self.allows(call), needed.allows(call));
            let suffices = allowed == Allowance::Always || wider(&allowed, &wanted) == allowed;
            let reasons = needed.comments(call).into_iter().map(str::to_owned).collect();
            (!suffices).then(|| Missing { call: call.to_owned(), allowed, needed: reasons })
        };
        needed.allowed().filter_map(lacks).collect()
    }

    /// What the programs of a trace did, or their runtime under its own filter, and this profile does not allow. A call
    /// that is allowed with some arguments only counts as allowed, but for socket, whose families a trace knows.
    #[must_use]
    pub fn lacks_of_trace(&self, trace: &Trace) -> Vec<Missing> {
        let mut needed: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
        for record in trace.system_calls.iter().filter(|record| record.phase != Phase::Runtime) {
            let executable = trace.process(record.process).and_then(|process| process.executable.as_ref());
            let who = executable.map_or_else(|| "the container runtime".to_owned(), ToString::to_string);
            for call in record.calls.iter().filter(|call| !call.starts_with('#')) {
                needed.entry(call).or_default().insert(who.clone());
            }
        }
        let families: BTreeSet<u64> = trace
            .sockets
            .iter()
            .filter(|socket| !socket.refused)
            .map(|socket| socket.family.into())
            .collect();
        let lacks = |(call, who): (&str, BTreeSet<String>)| {
            let allowed = self.allows(call);
            let suffices = match (&allowed, call) {
                (Allowance::Never, _) => false,
                (_, "socket") => families.iter().all(|family| self.allows_first("socket", *family)),
                _ => true,
            };
            (!suffices).then(|| Missing { call: call.to_owned(), allowed, needed: who.into_iter().collect() })
        };
        needed.into_iter().filter_map(lacks).collect()
    }

    /// Binary interfaces (`SCMP_ARCH_X86`) that another profile has rules for and this one kills.
    #[must_use]
    pub fn lacks_architectures(&self, needed: &Self) -> BTreeSet<String> {
        needed.architectures_beyond(self)
    }

    /// Binary interfaces that the programs of a trace made calls by and that this profile kills.
    #[must_use]
    pub fn lacks_architectures_of_trace(&self, trace: &Trace) -> BTreeSet<String> {
        let used = trace.system_calls.iter().filter(|record| record.phase != Phase::Runtime);
        let names: BTreeSet<&str> = used.filter_map(|record| interface(record.abi)).collect();
        let lacks = |name: &&str| !self.architectures.iter().any(|has| has == name);
        names.into_iter().filter(lacks).map(str::to_owned).collect()
    }

    /// Whether a call may be made with this first argument, whatever the others are.
    fn allows_first(&self, call: &str, value: u64) -> bool {
        let fits = |set: &BTreeSet<Argument>| {
            set.iter().filter(|argument| argument.index == 0).all(|argument| argument.holds(value))
        };
        match self.allows(call) {
            Allowance::Never => false,
            Allowance::Always => true,
            Allowance::When(sets) => sets.iter().any(fits),
        }
    }
}

impl Argument {
    fn holds(&self, value: u64) -> bool {
        use super::Operator as O;
        match self.operator {
            O::NotEqual => value != self.value,
            O::Less => value < self.value,
            O::LessOrEqual => value <= self.value,
            O::Equal => value == self.value,
            O::GreaterOrEqual => value >= self.value,
            O::Greater => value > self.value,
            O::MaskedEqual => value & self.value == self.second,
        }
    }
}
