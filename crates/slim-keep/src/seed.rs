//! What rules hand to the closure: a path, how much of it, and why.

use crate::reason::Reason;

/// A path that shall be kept with everything it needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seed {
    /// Absolute, not resolved: it may hold `.`, `..` and symlinks.
    pub path: Vec<u8>,
    pub reason: Reason,
    pub extent: Extent,
    /// Whether a process of the watched container named the path: what lay under a mount then does not count.
    pub observed: bool,
    /// Whether it will be run: a script then needs its interpreter.
    pub run: bool,
}

/// How much of a path is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// The symlinks and directories that lead there, not the object.
    Way,
    /// As `Object`, but a last symlink is the object.
    Link,
    /// The way and the object: a file with its contents, a directory without.
    Object,
    /// The object, and everything below it where it is a directory.
    Tree,
}

impl Seed {
    /// The object at a path of the pristine image.
    #[must_use]
    pub fn object(path: impl AsRef<[u8]>, reason: Reason) -> Self {
        Self { path: path.as_ref().to_vec(), reason, extent: Extent::Object, observed: false, run: false }
    }

    /// A program that will be run.
    #[must_use]
    pub fn program(path: impl AsRef<[u8]>, reason: Reason) -> Self {
        Self { run: true, ..Self::object(path, reason) }
    }

    /// The object and everything below it.
    #[must_use]
    pub fn tree(path: impl AsRef<[u8]>, reason: Reason) -> Self {
        Self { extent: Extent::Tree, ..Self::object(path, reason) }
    }
}
