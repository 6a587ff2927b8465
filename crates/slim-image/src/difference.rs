//! How two trees differ.
//!
//! Invariant: what is compared is what a program can tell, but for times: an image that is built anew has new ones
//! everywhere.

use crate::digest::Digest;
use crate::hashing::digest_of;
use crate::listing::total_size;
use crate::path::ImagePath;
use crate::tree::{Entry, ImageTree, Kind, TreeError};
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};

/// What differs between two entries of one path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Aspect {
    /// A file became a directory, a symlink …
    Kind,
    /// A regular file's bytes.
    Contents,
    /// Where a symlink leads.
    Target,
    /// Major or minor number.
    Device,
    Mode,
    /// User or group.
    Owner,
    /// Extended attributes, file capabilities among them.
    Attributes,
}

/// One path that both trees have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Changed {
    pub aspects: BTreeSet<Aspect>,
    pub before: Entry,
    pub after: Entry,
}

/// How a tree became another one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TreeDifference {
    pub added: BTreeMap<ImagePath, Entry>,
    pub removed: BTreeMap<ImagePath, Entry>,
    pub changed: BTreeMap<ImagePath, Changed>,
    /// Bytes of all regular files of each tree, each file once.
    pub bytes_before: u64,
    pub bytes_after: u64,
}

/// Trees that were compared by what is known without reading files.
#[derive(Clone, Debug)]
pub struct Compared {
    difference: TreeDifference,
    /// Regular files of the same size in both.
    same_size: BTreeMap<ImagePath, (Entry, Entry)>,
}

/// Compares two trees, and the contents of files of the same size.
///
/// # Errors
/// When a file cannot be read.
pub fn compare(before: &dyn ImageTree, after: &dyn ImageTree) -> Result<TreeDifference, TreeError> {
    let compared = Compared::of(before.walk(), after.walk());
    let paths: Vec<ImagePath> = compared.same_size.keys().cloned().collect();
    let (before, after) = (digests(before, &paths)?, digests(after, &paths)?);
    Ok(compared.with_contents(|path| before.get(path) == after.get(path)))
}

fn digests(tree: &dyn ImageTree, paths: &[ImagePath]) -> Result<BTreeMap<ImagePath, Digest>, TreeError> {
    let mut digests = BTreeMap::new();
    tree.read_each(paths, &mut |path, contents| {
        let failed = |source| TreeError::Read { path: path.clone(), source };
        let (digest, _) = digest_of(contents).map_err(failed)?;
        digests.insert(path.clone(), digest);
        Ok(())
    })?;
    Ok(digests)
}

impl Compared {
    /// Compares everything but the contents of files that have the same size.
    #[must_use]
    pub fn of<'a>(
        before: impl IntoIterator<Item = (&'a ImagePath, &'a Entry)>,
        after: impl IntoIterator<Item = (&'a ImagePath, &'a Entry)>,
    ) -> Self {
        let mut gone: BTreeMap<&ImagePath, &Entry> = before.into_iter().collect();
        let mut difference =
            TreeDifference { bytes_before: total_size(gone.values().copied()), ..Default::default() };
        let mut same_size = BTreeMap::new();
        let after: BTreeMap<&ImagePath, &Entry> = after.into_iter().collect();
        difference.bytes_after = total_size(after.values().copied());
        for (path, entry) in after {
            let Some(old) = gone.remove(path) else {
                difference.added.insert(path.clone(), entry.clone());
                continue;
            };
            let aspects = aspects(old, entry);
            if matches!((&old.kind, &entry.kind), (Kind::File { size }, Kind::File { size: other }) if size == other)
            {
                same_size.insert(path.clone(), (old.clone(), entry.clone()));
            }
            if !aspects.is_empty() {
                difference
                    .changed
                    .insert(path.clone(), Changed { aspects, before: old.clone(), after: entry.clone() });
            }
        }
        difference.removed = gone.into_iter().map(|(path, entry)| (path.clone(), entry.clone())).collect();
        Self { difference, same_size }
    }

    /// The difference, where `is_same` tells of a file whether both have the same contents.
    #[must_use]
    pub fn with_contents(self, is_same: impl Fn(&ImagePath) -> bool) -> TreeDifference {
        let mut difference = self.difference;
        for (path, (before, after)) in self.same_size {
            if !is_same(&path) {
                let changed = Changed { aspects: BTreeSet::new(), before, after };
                difference.changed.entry(path).or_insert(changed).aspects.insert(Aspect::Contents);
            }
        }
        difference
    }
}

impl TreeDifference {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }
}

fn aspects(before: &Entry, after: &Entry) -> BTreeSet<Aspect> {
    let mut aspects = BTreeSet::new();
    let of_kind = match (&before.kind, &after.kind) {
        (one, other) if one == other => None,
        (Kind::File { .. }, Kind::File { .. }) => Some(Aspect::Contents),
        (Kind::Symlink { .. }, Kind::Symlink { .. }) => Some(Aspect::Target),
        (Kind::CharacterDevice { .. }, Kind::CharacterDevice { .. })
        | (Kind::BlockDevice { .. }, Kind::BlockDevice { .. }) => Some(Aspect::Device),
        _ => Some(Aspect::Kind),
    };
    aspects.extend(of_kind);
    if before.mode != after.mode {
        aspects.insert(Aspect::Mode);
    }
    if (before.uid, before.gid) != (after.uid, after.gid) {
        aspects.insert(Aspect::Owner);
    }
    if before.xattrs != after.xattrs {
        aspects.insert(Aspect::Attributes);
    }
    aspects
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryTree;

    fn tree() -> MemoryTree {
        MemoryTree::new()
            .file("/a", 0o644, "one")
            .symlink("/l", "a")
            .dir("/d", 0o755)
            .file("/d/gone", 0o644, "12")
    }

    #[test]
    fn a_tree_is_like_itself_whatever_its_times() {
        assert!(compare(&tree(), &tree().mtime("/a", 77)).unwrap().is_empty());
    }

    #[test]
    fn every_aspect_of_a_change_is_named() {
        let after = MemoryTree::new()
            .file("/a", 0o4755, "two")
            .owner("/a", 7, 0)
            .xattr("/a", "security.capability", [1])
            .symlink("/l", "b")
            .file("/d", 0o755, "no directory")
            .file("/new", 0o644, "123");
        let difference = compare(&tree(), &after).unwrap();
        let aspects = |path: &str| {
            difference.changed[&ImagePath::from(path)].aspects.iter().copied().collect::<Vec<_>>()
        };
        assert_eq!(aspects("/a"), [Aspect::Contents, Aspect::Mode, Aspect::Owner, Aspect::Attributes]);
        assert_eq!(aspects("/l"), [Aspect::Target]);
        assert_eq!(aspects("/d"), [Aspect::Kind]);
        assert_eq!(difference.added.keys().collect::<Vec<_>>(), [&ImagePath::from("/new")]);
        assert_eq!(difference.removed.keys().collect::<Vec<_>>(), [&ImagePath::from("/d/gone")]);
        assert_eq!((difference.bytes_before, difference.bytes_after), (5, 18));
    }

    #[test]
    fn files_of_the_same_size_are_read() {
        let after = tree().file("/a", 0o644, "two");
        let difference = compare(&tree(), &after).unwrap();
        assert_eq!(difference.changed[&ImagePath::from("/a")].aspects, [Aspect::Contents].into());
        assert_eq!(difference.changed.len(), 1);
    }
}
