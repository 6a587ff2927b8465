//! The search for the tightest terms under which the program does what it did.
//!
//! It is a plain state machine: [`Search::to_try`] says what to try, the caller starts a container and says with
//! [`Search::learn`] what came of it. So it is tested without an engine. Invariants: terms that did not hold are never the
//! outcome; the number of starts has an end; where nothing holds the outcome is what the observed container had.

use crate::contract::evidence::capabilities_of_call;
use crate::contract::places::Root;
use crate::contract::presumed::Presumed;
use std::collections::BTreeSet;
use std::fmt;

/// Containers are started at most so often to find terms.
const MOST_STARTS: usize = 12;
/// Capabilities that no call names: a look-up or a signal succeeds with them.
const HIDDEN: [&str; 5] = ["DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "CHOWN"];

/// What a container gets besides its seccomp profile.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Names without `CAP_`; all others are dropped.
    pub capabilities: BTreeSet<String>,
    pub no_new_privileges: bool,
    pub root: Root,
    /// Whether what lies in a tmpfs may be run.
    pub exec_tmpfs: bool,
    /// Whether processes and memory are limited.
    pub ceilings: bool,
}

impl Terms {
    /// What the observed container had.
    #[must_use]
    pub fn loosest(presumed: &Presumed) -> Self {
        Self {
            capabilities: presumed.observed.clone(),
            no_new_privileges: false,
            root: Root::Writable,
            exec_tmpfs: false,
            ceilings: false,
        }
    }
}

/// `capabilities CHOWN SETUID, no new privileges, read-only root, ceilings`.
impl fmt::Display for Terms {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.capabilities.is_empty() {
            formatter.write_str("no capabilities")?;
        } else {
            formatter.write_str("capabilities")?;
            self.capabilities.iter().try_for_each(|name| write!(formatter, " {name}"))?;
        }
        if self.no_new_privileges {
            formatter.write_str(", no new privileges")?;
        }
        formatter.write_str(match self.root {
            Root::ReadOnly => ", read-only root",
            Root::ReadOnlyWithMore => ", read-only root with volumes in the system's directories",
            Root::Writable => ", writable root",
        })?;
        if self.exec_tmpfs {
            formatter.write_str(", programs in tmpfs")?;
        }
        formatter.write_str(if self.ceilings { ", ceilings" } else { ", no ceilings" })
    }
}

/// What points at the term that was too tight.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Signs {
    /// Calls that were refused with EPERM and had not been.
    pub refused: BTreeSet<String>,
    /// The program's log says "Permission denied" or "Operation not permitted" where it did not.
    pub says_not_permitted: bool,
    /// It says "Read-only file system".
    pub says_read_only: bool,
    /// The kernel ended it for want of memory, or it says that it cannot start threads or get memory.
    pub was_out_of_room: bool,
}

/// What came of a try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the program did what it did, was refused nothing new and complained of nothing new.
    pub held: bool,
    pub signs: Signs,
}

/// One try with what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub terms: Terms,
    pub held: bool,
}

/// One way of loosening terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rung {
    HiddenCapabilities,
    ExecTmpfs,
    MoreVolumes,
    Ceilings,
    AllCapabilities,
    WritableRoot,
    NewPrivileges,
}

/// From the one that is most often to blame to the one that costs most.
const LADDER: [Rung; 7] = [
    Rung::HiddenCapabilities,
    Rung::MoreVolumes,
    Rung::ExecTmpfs,
    Rung::Ceilings,
    Rung::AllCapabilities,
    Rung::WritableRoot,
    Rung::NewPrivileges,
];

/// The search.
pub struct Search<'a> {
    presumed: &'a Presumed,
    tried: Vec<Step>,
    /// The tightest terms that held.
    held: Option<Terms>,
    ahead: Option<Terms>,
    /// Rungs climbed without a sign, the last one last.
    blind: Vec<Rung>,
    /// Terms before the first blind rung.
    before: Option<Terms>,
    /// Capabilities that are to stay.
    settled: BTreeSet<String>,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Loosen,
    /// Only the last of the blind rungs is to stay.
    Retract,
    Tighten(Part),
    Done,
}

/// Which of the capabilities that may not be needed are in a try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    Nothing,
    FirstHalf,
    SecondHalf,
}

impl<'a> Search<'a> {
    /// A search from the terms that the trace speaks for.
    #[must_use]
    pub fn new(presumed: &'a Presumed) -> Self {
        Self {
            presumed,
            tried: Vec::new(),
            held: None,
            ahead: Some(presumed.terms()),
            blind: Vec::new(),
            before: None,
            settled: presumed.certain(),
            stage: Stage::Loosen,
        }
    }

    /// What to try next; `None` when the search is over.
    #[must_use]
    pub fn to_try(&self) -> Option<&Terms> {
        self.ahead.as_ref()
    }

    /// Takes in what came of the try.
    pub fn learn(&mut self, outcome: &Outcome) {
        let Some(terms) = self.ahead.take() else { return };
        self.tried.push(Step { terms: terms.clone(), held: outcome.held });
        if self.tried.len() >= MOST_STARTS {
            if outcome.held {
                self.held = Some(terms);
            }
            self.stage = Stage::Done;
            return;
        }
        self.ahead = match (self.stage, outcome.held) {
            (Stage::Loosen | Stage::Retract, true) => {
                self.held = Some(terms.clone());
                self.retracted().or_else(|| self.tightened(&terms))
            }
            (Stage::Loosen, false) => self.loosened(&terms, &outcome.signs),
            (Stage::Retract, false) => {
                let held = self.held.clone();
                held.and_then(|held| self.tightened(&held))
            }
            (Stage::Tighten(part), true) => {
                self.held = Some(terms);
                // Fewer than those of a half were not enough.
                if part == Part::Nothing { None } else { self.with(Part::FirstHalf) }
            }
            (Stage::Tighten(part), false) => self.put_back(part, &outcome.signs),
            (Stage::Done, _) => None,
        };
        // What was tried says the same once more.
        self.ahead = self.ahead.take().filter(|ahead| !self.was_tried(ahead));
        if self.ahead.is_none() {
            self.stage = Stage::Done;
        }
    }

    /// The outcome, the tries that led to it, and whether it was seen to hold (else it is what the observed container
    /// had).
    #[must_use]
    pub fn finish(self) -> (Terms, Vec<Step>) {
        (self.held.unwrap_or_else(|| Terms::loosest(self.presumed)), self.tried)
    }

    /// Terms that leave out what failed: by the signs, else by the ladder.
    fn loosened(&mut self, terms: &Terms, signs: &Signs) -> Option<Terms> {
        if let Some(next) = self.by_signs(terms, signs) {
            return Some(next);
        }
        let next = LADDER.into_iter().find_map(|rung| self.climbed(terms, rung).map(|next| (rung, next)));
        let (rung, next) = next?;
        if self.before.is_none() {
            self.before = Some(terms.clone());
        }
        self.blind.push(rung);
        (next != Terms::loosest(self.presumed)).then_some(next)
    }

    fn by_signs(&mut self, terms: &Terms, signs: &Signs) -> Option<Terms> {
        let asked: BTreeSet<String> = signs
            .refused
            .iter()
            .flat_map(|call| capabilities_of_call(call))
            .map(str::to_owned)
            .filter(|name| self.may_have(name) && !terms.capabilities.contains(name))
            .collect();
        if !asked.is_empty() {
            self.settled.extend(asked.clone());
            let capabilities = terms.capabilities.union(&asked).cloned().collect();
            return Some(Terms { capabilities, ..terms.clone() });
        }
        let rungs: &[Rung] = match signs {
            Signs { was_out_of_room: true, .. } => &[Rung::Ceilings],
            Signs { says_read_only: true, .. } => &[Rung::MoreVolumes, Rung::WritableRoot],
            Signs { says_not_permitted: true, .. } => &[Rung::HiddenCapabilities],
            _ => &[],
        };
        rungs.iter().find_map(|rung| self.climbed(terms, *rung))
    }

    /// Terms with a rung climbed; `None` where that changes nothing.
    fn climbed(&self, terms: &Terms, rung: Rung) -> Option<Terms> {
        let presumed = self.presumed;
        let with = |names: BTreeSet<String>| {
            let names = names.into_iter().filter(|name| presumed.uses_privileges && self.may_have(name));
            Terms { capabilities: terms.capabilities.iter().cloned().chain(names).collect(), ..terms.clone() }
        };
        let next = match rung {
            Rung::HiddenCapabilities => with(HIDDEN.iter().map(|name| (*name).to_owned()).collect()),
            Rung::AllCapabilities => with(Terms::loosest(presumed).capabilities),
            Rung::ExecTmpfs => Terms {
                exec_tmpfs: terms.exec_tmpfs || (presumed.places.has_tmpfs() && terms.root.is_read_only()),
                ..terms.clone()
            },
            Rung::MoreVolumes if presumed.places.has_more() => {
                Terms { root: terms.root.max(Root::ReadOnlyWithMore), ..terms.clone() }
            }
            Rung::MoreVolumes => terms.clone(),
            Rung::Ceilings => Terms { ceilings: false, ..terms.clone() },
            Rung::WritableRoot => Terms { root: Root::Writable, exec_tmpfs: false, ..terms.clone() },
            Rung::NewPrivileges => Terms { no_new_privileges: false, ..terms.clone() },
        };
        (next != *terms).then_some(next)
    }

    fn may_have(&self, name: &str) -> bool {
        self.presumed.observed.contains(name)
    }

    /// The terms before the ladder with its last rung alone, where others were climbed in vain before it.
    fn retracted(&mut self) -> Option<Terms> {
        let (before, last) = (self.before.take()?, self.blind.pop()?);
        let were_others = !std::mem::take(&mut self.blind).is_empty();
        let next = self.climbed(&before, last)?;
        self.stage = Stage::Retract;
        (were_others).then_some(next)
    }

    /// Terms without the capabilities that may not be needed.
    fn tightened(&mut self, held: &Terms) -> Option<Terms> {
        let next = self.with(Part::Nothing)?;
        if next == *held {
            None
        } else if self.was_tried(&next) {
            // It is where the search began.
            self.with(Part::FirstHalf)
        } else {
            Some(next)
        }
    }

    fn was_tried(&self, terms: &Terms) -> bool {
        self.tried.iter().any(|step| step.terms == *terms)
    }

    /// After a try with fewer capabilities that did not hold: those that the signs point at, else another part of them.
    fn put_back(&mut self, part: Part, signs: &Signs) -> Option<Terms> {
        let unsettled = self.unsettled();
        let asked = signs.refused.iter().flat_map(|call| capabilities_of_call(call));
        let asked: BTreeSet<String> =
            asked.map(str::to_owned).filter(|name| unsettled.contains(name)).collect();
        if !asked.is_empty() {
            self.settled.extend(asked);
            return self.with(Part::Nothing).filter(|next| self.held.as_ref() != Some(next));
        }
        match part {
            Part::Nothing => self.with(Part::FirstHalf),
            Part::FirstHalf => self.with(Part::SecondHalf),
            // Some of both halves are needed.
            Part::SecondHalf => None,
        }
    }

    /// Capabilities of the terms that held which may not be needed.
    fn unsettled(&self) -> Vec<String> {
        let held = self.held.iter().flat_map(|held| &held.capabilities);
        held.filter(|name| !self.settled.contains(*name)).cloned().collect()
    }

    /// The terms that held with a part of those capabilities; `None` where that is all of them or cannot be divided.
    fn with(&mut self, part: Part) -> Option<Terms> {
        self.stage = Stage::Tighten(part);
        let held = self.held.clone()?;
        let unsettled = self.unsettled();
        let (first, second) = unsettled.split_at(unsettled.len() / 2);
        let kept = match part {
            Part::Nothing => &[][..],
            _ if first.is_empty() => return None,
            Part::FirstHalf => first,
            Part::SecondHalf => second,
        };
        let capabilities =
            held.capabilities.iter().filter(|name| !unsettled.contains(*name) || kept.contains(*name));
        Some(Terms { capabilities: capabilities.cloned().collect(), ..held })
    }
}

#[cfg(test)]
#[path = "search_tests.rs"]
mod tests;
