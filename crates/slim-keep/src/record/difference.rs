//! How two keep files differ.

use super::{KeepFile, KeptPath};
use crate::reason::Reason;
use serde::Serialize;
use slim_image::ImagePath;
use slim_image::difference::{Compared, TreeDifference};
use std::collections::BTreeMap;

/// How the kept paths of one build became those of another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct KeepDifference {
    #[serde(flatten)]
    pub tree: TreeDifference,
    /// Paths that both keep, for other reasons.
    pub reasons: BTreeMap<ImagePath, OtherReasons>,
}

/// Reasons of one path that only one build has.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct OtherReasons {
    pub added: Vec<Reason>,
    pub removed: Vec<Reason>,
}

impl KeepFile {
    /// How this one becomes `after`. Files of the same size whose contents are not known of both count as the same.
    #[must_use]
    pub fn difference(&self, after: &Self) -> KeepDifference {
        let digest = |file: &Self, path: &ImagePath| file.entries.get(path).and_then(|kept| kept.digest);
        let is_same = |path: &ImagePath| match (digest(self, path), digest(after, path)) {
            (Some(one), Some(other)) => one == other,
            _ => true,
        };
        let tree = Compared::of(entries(self), entries(after)).with_contents(is_same);
        let both =
            self.entries.iter().filter_map(|(path, kept)| Some((path, kept, after.entries.get(path)?)));
        let reasons =
            both.filter(|(_, before, after)| before.because != after.because).map(|(path, before, after)| {
                let only = |one: &KeptPath, other: &KeptPath| {
                    one.because.difference(&other.because).cloned().collect()
                };
                (path.clone(), OtherReasons { added: only(after, before), removed: only(before, after) })
            });
        KeepDifference { tree, reasons: reasons.collect() }
    }
}

impl KeepDifference {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tree.is_empty() && self.reasons.is_empty()
    }
}

fn entries(file: &KeepFile) -> impl Iterator<Item = (&ImagePath, &slim_image::Entry)> {
    file.entries.iter().map(|(path, kept)| (path, &kept.entry))
}
