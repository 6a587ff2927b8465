//! An image tree held in memory: for tests, and for small trees made by hand.

use crate::listing::{Listing, ListingBuilder, children};
use crate::path::ImagePath;
use crate::tree::{Contents, Entry, ImageTree, Kind, TreeError};
use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

/// A tree made step by step; directories above an entry are made with mode 0755 where they are missing. Owner 0:0,
/// modification time 0 unless set.
///
/// ```
/// use slim_image::{ImageTree, MemoryTree};
/// let tree = MemoryTree::new().file("/usr/bin/tool", 0o755, "bytes").symlink("/bin", "usr/bin");
/// assert_eq!(tree.read_dir(&"/".into()), [b"bin", b"usr"]);
/// ```
#[derive(Clone, Debug)]
pub struct MemoryTree {
    entries: BTreeMap<ImagePath, Entry>,
    contents: BTreeMap<ImagePath, Arc<[u8]>>,
    layers: BTreeMap<ImagePath, usize>,
    groups: u64,
}

impl Default for MemoryTree {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryTree {
    /// A tree with an empty root (0755).
    #[must_use]
    pub fn new() -> Self {
        let root = plain(Kind::Directory, 0o755);
        Self {
            entries: BTreeMap::from([(ImagePath::root(), root)]),
            contents: BTreeMap::new(),
            layers: BTreeMap::new(),
            groups: 0,
        }
    }

    /// A directory; one that is there gets the mode.
    #[must_use]
    pub fn dir(mut self, path: impl Into<ImagePath>, mode: u32) -> Self {
        let path = path.into();
        match self.entries.get_mut(&path) {
            Some(entry) if entry.is_directory() => entry.mode = mode,
            _ => self.insert(path, plain(Kind::Directory, mode)),
        }
        self
    }

    /// A regular file with these bytes.
    #[must_use]
    pub fn file(mut self, path: impl Into<ImagePath>, mode: u32, bytes: impl AsRef<[u8]>) -> Self {
        let path = path.into();
        let bytes: Arc<[u8]> = bytes.as_ref().into();
        self.insert(path.clone(), plain(Kind::File { size: bytes.len() as u64 }, mode));
        self.contents.insert(path, bytes);
        self
    }

    /// A symbolic link (0777) with this target as it stands.
    #[must_use]
    pub fn symlink(mut self, path: impl Into<ImagePath>, target: impl AsRef<[u8]>) -> Self {
        self.insert(path.into(), plain(Kind::Symlink { target: target.as_ref().to_vec() }, 0o777));
        self
    }

    /// Anything without contents: a device, fifo or socket.
    #[must_use]
    pub fn special(mut self, path: impl Into<ImagePath>, mode: u32, kind: Kind) -> Self {
        self.insert(path.into(), plain(kind, mode));
        self
    }

    /// A second name of the file at `existing`, with everything that it has.
    ///
    /// # Panics
    /// When `existing` is no regular file of the tree.
    #[must_use]
    pub fn hard_link(mut self, path: impl Into<ImagePath>, existing: impl Into<ImagePath>) -> Self {
        let (path, existing) = (path.into(), existing.into());
        let bytes = self.contents.get(&existing).expect("a hard link's first name is a file").clone();
        let groups = &mut self.groups;
        let first = self.entries.get_mut(&existing).expect("a file with contents has an entry");
        first.hard_link_group.get_or_insert_with(|| {
            *groups += 1;
            *groups
        });
        let entry = first.clone();
        self.insert(path.clone(), entry);
        self.contents.insert(path, bytes);
        self
    }

    /// Says that everything that is here so far lies in the first layer.
    #[must_use]
    pub fn of_one_layer(mut self) -> Self {
        self.layers.extend(self.entries.keys().map(|path| (path.clone(), 0)));
        self
    }

    /// Sets the owner of an entry (of all its names).
    ///
    /// # Panics
    /// When there is no such entry; so do the other setters.
    #[must_use]
    pub fn owner(self, path: impl Into<ImagePath>, uid: u32, gid: u32) -> Self {
        self.change(path, |entry| (entry.uid, entry.gid) = (uid, gid))
    }

    /// Sets the mode bits of an entry.
    #[must_use]
    pub fn mode(self, path: impl Into<ImagePath>, mode: u32) -> Self {
        self.change(path, |entry| entry.mode = mode)
    }

    /// Sets the modification time of an entry, in seconds since the epoch.
    #[must_use]
    pub fn mtime(self, path: impl Into<ImagePath>, mtime: i64) -> Self {
        self.change(path, |entry| entry.mtime = mtime)
    }

    /// Gives an entry an extended attribute.
    #[must_use]
    pub fn xattr(self, path: impl Into<ImagePath>, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.change(path, |entry| {
            entry.xattrs.insert(name.to_owned(), value.as_ref().to_vec());
        })
    }

    /// Says which layer holds an entry.
    #[must_use]
    pub fn layer(mut self, path: impl Into<ImagePath>, layer: usize) -> Self {
        self.layers.insert(path.into(), layer);
        self
    }

    /// The tree's listing.
    ///
    /// # Panics
    /// Never: every way in makes the parents.
    #[must_use]
    pub fn listing(&self) -> Listing {
        let mut builder = ListingBuilder::new();
        for (path, entry) in &self.entries {
            builder.insert(path.clone(), entry.clone());
        }
        builder.finish().expect("parents are made with their children")
    }

    fn change(mut self, path: impl Into<ImagePath>, change: impl Fn(&mut Entry)) -> Self {
        let path = path.into();
        let entry = self.entries.get_mut(&path).unwrap_or_else(|| panic!("{path} is not in the tree"));
        change(entry);
        if let Some(group) = entry.hard_link_group {
            self.entries.values_mut().filter(|entry| entry.hard_link_group == Some(group)).for_each(change);
        }
        self
    }

    fn insert(&mut self, path: ImagePath, entry: Entry) {
        for parent in path.ancestors() {
            let above = self.entries.entry(parent).or_insert_with(|| plain(Kind::Directory, 0o755));
            assert!(above.is_directory(), "{path} lies in something that is no directory");
        }
        self.contents.remove(&path);
        self.entries.insert(path, entry);
    }
}

fn plain(kind: Kind, mode: u32) -> Entry {
    Entry { kind, mode, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new(), hard_link_group: None }
}

impl ImageTree for MemoryTree {
    fn entry(&self, path: &ImagePath) -> Option<&Entry> {
        self.entries.get(path)
    }

    fn read_dir(&self, path: &ImagePath) -> Vec<&[u8]> {
        children(&self.entries, path)
    }

    fn walk(&self) -> Box<dyn Iterator<Item = (&ImagePath, &Entry)> + '_> {
        Box::new(self.entries.iter())
    }

    fn open(&self, path: &ImagePath) -> Result<Box<dyn Contents + '_>, TreeError> {
        match self.contents.get(path) {
            Some(bytes) => Ok(Box::new(Cursor::new(&bytes[..]))),
            None if self.entries.contains_key(path) => Err(TreeError::NotAFile(path.clone())),
            None => Err(TreeError::NotFound(path.clone())),
        }
    }

    fn layer_of(&self, path: &ImagePath) -> Option<usize> {
        self.layers.get(path).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn parents_appear_with_their_children() {
        let tree = MemoryTree::new().file("/a/b/c", 0o600, "x");
        let paths: Vec<String> = tree.walk().map(|(path, _)| path.to_string()).collect();
        assert_eq!(paths, ["/", "/a", "/a/b", "/a/b/c"]);
    }

    #[test]
    fn all_names_of_an_inode_change_together() {
        let tree = MemoryTree::new()
            .file("/a", 0o644, "x")
            .hard_link("/b", "/a")
            .owner("/b", 7, 8)
            .mode("/a", 0o4755);
        assert_eq!(tree.entry(&"/a".into()), tree.entry(&"/b".into()));
        assert_eq!(tree.entry(&"/a".into()).map(|entry| (entry.uid, entry.mode)), Some((7, 0o4755)));
    }

    #[test]
    fn what_is_no_file_does_not_open() {
        let tree = MemoryTree::new().file("/a", 0o644, "x").symlink("/l", "a");
        let mut text = String::new();
        tree.open(&"/a".into()).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");
        assert!(matches!(tree.open(&"/l".into()), Err(TreeError::NotAFile(_))));
        assert!(matches!(tree.open(&"/none".into()), Err(TreeError::NotFound(_))));
    }
}
