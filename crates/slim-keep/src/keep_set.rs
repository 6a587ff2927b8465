//! The keep-set: the paths of the slim image, each with its metadata and the reasons that it is there.
//!
//! Invariant: every kept path's parent is kept and is a directory; every path has at least one reason. It is written
//! as a part of [`crate::KeepFile`].

use crate::note::Note;
use crate::reason::Reason;
use serde::{Deserialize, Serialize};
use slim_image::{Entry, ImagePath, Kind};
use std::collections::{BTreeMap, BTreeSet};

/// What goes into the slim image, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeepSet {
    pub entries: BTreeMap<ImagePath, Kept>,
    /// Sorted, each once.
    pub notes: Vec<Note>,
}

/// One kept path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// As the fat image has it.
    #[serde(flatten)]
    pub entry: Entry,
    /// Every kind of reason that applies; of one kind only a few.
    pub because: BTreeSet<Reason>,
}

/// How much a keep-set holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figures {
    /// Regular files (every name of one), devices and fifos.
    pub files: usize,
    pub directories: usize,
    /// Symlinks.
    pub links: usize,
    /// Bytes of regular files, each inode once.
    pub bytes: u64,
    /// Paths by kind of reason; one path may have several.
    pub reasons: BTreeMap<String, usize>,
}

impl KeepSet {
    /// Whether this path is kept.
    #[must_use]
    pub fn contains(&self, path: &ImagePath) -> bool {
        self.entries.contains_key(path)
    }

    /// How much the set holds.
    #[must_use]
    pub fn figures(&self) -> Figures {
        let mut figures = Figures::default();
        let mut inodes = BTreeSet::new();
        for kept in self.entries.values() {
            match kept.entry.kind {
                Kind::Directory => figures.directories += 1,
                Kind::Symlink { .. } => figures.links += 1,
                _ => {
                    figures.files += 1;
                    if kept.entry.hard_link_group.is_none_or(|group| inodes.insert(group)) {
                        figures.bytes += kept.entry.size();
                    }
                }
            }
            let kinds: BTreeSet<&str> = kept.because.iter().map(Reason::kind).collect();
            for kind in kinds {
                *figures.reasons.entry(kind.to_owned()).or_default() += 1;
            }
        }
        figures
    }
}

/// Adds a reason; of one kind only the first few in their own order stay, so that the outcome does not depend on the
/// order in which reasons come.
pub(crate) fn add_reason(because: &mut BTreeSet<Reason>, reason: Reason) {
    let (kind, most) = (reason.kind(), reason.most_of_kind());
    because.insert(reason);
    let Some(most) = most else { return };
    let mut of_kind = because.iter().filter(|reason| reason.kind() == kind);
    if of_kind.clone().count() > most {
        let last = of_kind.next_back().cloned();
        last.map(|last| because.remove(&last));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_image::{ImageTree, MemoryTree};

    fn set() -> KeepSet {
        let tree = MemoryTree::new()
            .file("/a\u{e9}", 0o4755, "1234")
            .hard_link("/b", "/a\u{e9}")
            .xattr("/b", "security.capability", [1, 2, 255])
            .symlink("/l", [b'x', 0xff]);
        let entries = tree
            .walk()
            .map(|(path, entry)| {
                (
                    path.clone(),
                    Kept { entry: entry.clone(), because: BTreeSet::from([Reason::WorkingDirectory]) },
                )
            })
            .collect();
        let notes = vec![Note::LibraryMissing { by: "/b".into(), soname: "libx.so".to_owned() }];
        KeepSet { entries, notes }
    }

    #[test]
    fn the_bytes_of_one_inode_count_once() {
        let figures = set().figures();
        assert_eq!((figures.files, figures.directories, figures.links, figures.bytes), (2, 1, 1, 4));
        assert_eq!(figures.reasons["working-directory"], 4);
    }

    #[test]
    fn many_reasons_of_one_kind_are_few_whatever_their_order() {
        let reasons = || (0..50).map(|number| Reason::Shebang { of: ImagePath::new(format!("/{number}")) });
        let (mut forward, mut backward) = (BTreeSet::new(), BTreeSet::new());
        reasons().for_each(|reason| add_reason(&mut forward, reason));
        let mut reversed: Vec<Reason> = reasons().collect();
        reversed.reverse();
        reversed.into_iter().for_each(|reason| add_reason(&mut backward, reason));
        add_reason(&mut forward, Reason::EmptyDirectory);
        add_reason(&mut backward, Reason::EmptyDirectory);
        assert_eq!(forward, backward);
        assert_eq!(forward.len(), 5);
    }

    #[test]
    fn of_a_library_all_users_are_known() {
        let mut because = BTreeSet::new();
        for number in 0..50 {
            let by = ImagePath::new(format!("/usr/bin/{number}"));
            add_reason(&mut because, Reason::NeededLibrary { by, soname: "libc.so.6".to_owned() });
            add_reason(
                &mut because,
                Reason::ElfInterpreter { of: ImagePath::new(format!("/usr/bin/{number}")) },
            );
        }
        assert_eq!(because.len(), 100, "what a program can do is found by what it loads");
    }
}
