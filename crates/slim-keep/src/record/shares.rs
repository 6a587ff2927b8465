//! Why the bytes of the slim image are there, in figures.

use super::RemovedFile;
use crate::keep_set::{KeepSet, Kept};
use crate::reason::Reason;
use serde::{Deserialize, Serialize};
use slim_image::{ImagePath, Kind};
use std::collections::BTreeSet;

/// So many of the biggest files that nothing touched are named.
const NAMED: usize = 5;

/// Bytes of regular files by why they are kept, each file once, under its first reason of these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shares {
    /// The program touched it while it was watched.
    pub seen: u64,
    /// It must follow from that: libraries, interpreters, what the configuration names, flags.
    pub needed: u64,
    /// A kept file can reach it.
    pub reachable: u64,
    /// What the fat image has more.
    pub removed: u64,
    /// The biggest kept files that were never touched, the biggest first.
    pub untouched: Vec<(ImagePath, u64)>,
}

impl Shares {
    /// The figures of a keep-set and what is not in it.
    #[must_use]
    pub fn of(set: &KeepSet, removed: &RemovedFile) -> Self {
        let mut shares = Self {
            removed: removed.entries.values().map(super::RemovedPath::bytes).sum(),
            ..Self::default()
        };
        let is_seen = |kept: &Kept| kept.because.iter().any(|reason| matches!(reason, Reason::Traced { .. }));
        let files = || set.entries.iter().filter(|(_, kept)| matches!(kept.entry.kind, Kind::File { .. }));
        // A file counts as seen when one of its names was.
        let seen_groups: BTreeSet<u64> = files()
            .filter(|(_, kept)| is_seen(kept))
            .filter_map(|(_, kept)| kept.entry.hard_link_group)
            .collect();
        let mut groups = BTreeSet::new();
        for (path, kept) in files() {
            let group = kept.entry.hard_link_group;
            if group.is_some_and(|group| !groups.insert(group)) {
                continue;
            }
            let bytes = kept.entry.size();
            if is_seen(kept) || group.is_some_and(|group| seen_groups.contains(&group)) {
                shares.seen += bytes;
                continue;
            }
            let only_reachable = kept.because.iter().all(|reason| matches!(reason, Reason::Reachable { .. }));
            *if only_reachable { &mut shares.reachable } else { &mut shares.needed } += bytes;
            shares.untouched.push((path.clone(), bytes));
        }
        shares.untouched.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        shares.untouched.truncate(NAMED);
        shares
    }
}
