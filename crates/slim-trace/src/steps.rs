//! How much was not seen: what each step of the exercise opened, and what that says of a longer one.
//!
//! Invariant: of each file only the first few steps are kept, which is enough for everything asked here, and which two
//! records can be put together by.

use crate::path::TracedPath;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};

/// The program's start, before anything drives it.
pub const STARTUP_STEP: u32 = 0;
/// More steps than are ever counted: such a record was not made by watching.
const STEPS_MAX: u32 = u16::MAX as u32;
/// A file in more steps is a common one: how common does not matter.
const MOST_STEPS: usize = 3;

/// Which files were opened or run in which steps.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Steps {
    /// Steps after the start: requests and commands.
    pub count: u32,
    /// The first three steps of each file.
    pub files: BTreeMap<TracedPath, BTreeSet<u32>>,
}

/// What the steps say of what was not seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unseen {
    /// Requests and commands.
    pub steps: u32,
    /// Files known after the start, and after each step.
    pub curve: Vec<usize>,
    /// Files that a step opened and the start had not.
    pub of_the_exercise: usize,
    /// Of them, those opened in one step only, and in two.
    pub in_one_step: usize,
    pub in_two_steps: usize,
    /// About so many more files would turn up in a longer exercise of this kind.
    pub more: u64,
}

impl Steps {
    /// Notes that a file was opened or run in a step.
    pub fn note(&mut self, path: TracedPath, step: u32) {
        let steps = self.files.entry(path).or_default();
        steps.insert(step);
        shorten(steps);
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0 && self.files.is_empty()
    }

    /// Puts another record in: the steps with one number count as one step, so that the order does not matter and the
    /// same record twice is the same record.
    pub(crate) fn join(&mut self, other: &Self) {
        self.count = self.count.max(other.count);
        for (path, steps) in &other.files {
            let known = self.files.entry(path.clone()).or_default();
            known.extend(steps);
            shorten(known);
        }
    }

    /// Chao's estimate of unseen species, where a species is a file and a sample is a step: the more files only one step
    /// opened, the more there are that none did (A. Chao, Scandinavian Journal of Statistics 11, 1984; the bias-corrected
    /// form). What the start opened does not count: it is opened each time. `None` with fewer than two steps.
    #[must_use]
    pub fn unseen(&self) -> Option<Unseen> {
        if !(2..=STEPS_MAX).contains(&self.count) {
            return None;
        }
        let of_the_exercise = || self.files.values().filter(|steps| !steps.contains(&STARTUP_STEP));
        let in_steps = |count: usize| of_the_exercise().filter(|steps| steps.len() == count).count();
        let (once, twice) = (in_steps(1), in_steps(2));
        let (one, two) = (once as u64, twice as u64);
        Some(Unseen {
            steps: self.count,
            curve: self.curve(),
            of_the_exercise: of_the_exercise().count(),
            in_one_step: once,
            in_two_steps: twice,
            more: (one * one.saturating_sub(1)).div_ceil(2 * (two + 1)),
        })
    }

    fn curve(&self) -> Vec<usize> {
        let mut firsts: BTreeMap<u32, usize> = BTreeMap::new();
        for first in self.files.values().filter_map(BTreeSet::first) {
            *firsts.entry(*first).or_default() += 1;
        }
        let mut known = 0;
        (STARTUP_STEP..=self.count)
            .map(|step| {
                known += firsts.get(&step).copied().unwrap_or_default();
                known
            })
            .collect()
    }
}

fn shorten(steps: &mut BTreeSet<u32>) {
    while steps.len() > MOST_STEPS {
        steps.pop_last();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn steps(count: u32, files: &[(&str, &[u32])]) -> Steps {
        let mut steps = Steps { count, ..Steps::default() };
        for (path, numbers) in files {
            numbers.iter().for_each(|number| steps.note(TracedPath::new(*path), *number));
        }
        steps
    }

    #[test]
    fn files_that_one_step_opened_tell_of_others() {
        let known = steps(
            4,
            &[
                ("/start", &[0, 1]),
                ("/a", &[1]),
                ("/b", &[2]),
                ("/c", &[4]),
                ("/twice", &[1, 3]),
                ("/often", &[1, 2, 3, 4]),
            ],
        );
        let unseen = known.unseen().unwrap();
        assert_eq!(unseen.curve, [1, 4, 5, 5, 6]);
        assert_eq!((unseen.of_the_exercise, unseen.in_one_step, unseen.in_two_steps), (5, 3, 1));
        assert_eq!(unseen.more, 2, "3 * 2 / (2 * 2), rounded up");
    }

    #[test]
    fn nothing_is_told_of_one_step_and_nothing_more_where_all_comes_again() {
        assert_eq!(steps(1, &[("/a", &[1])]).unseen(), None);
        assert_eq!(steps(2, &[("/a", &[1, 2])]).unseen().unwrap().more, 0);
        assert_eq!(steps(2, &[]).unseen().unwrap().more, 0);
    }

    proptest! {
        #[test]
        fn the_order_of_joining_does_not_matter(
            notes in proptest::collection::vec((0_usize..3, 0_u8..4, 0_u32..9), 0..40)
        ) {
            let mut parts = [Steps::default(), Steps::default(), Steps::default()];
            for (part, name, step) in notes {
                parts[part].note(TracedPath::new([b'/', b'a' + name]), step);
                parts[part].count = parts[part].count.max(step);
            }
            let joined = |order: [usize; 3]| {
                let mut all = Steps::default();
                order.iter().for_each(|part| all.join(&parts[*part]));
                all
            };
            prop_assert_eq!(joined([0, 1, 2]), joined([2, 0, 1]));
            let mut twice = parts[0].clone();
            twice.join(&parts[0]);
            prop_assert_eq!(&twice, &parts[0]);
        }
    }
}
