//! The listing of an image: every path of its merged file system with its metadata, without contents.
//!
//! Invariant: the root is there, every other entry's parent is there and is a directory. A listing is written as
//! lines of JSON, a header with format and version first, so that a listing made once per image can be kept.

use crate::path::ImagePath;
use crate::tree::{Entry, Kind};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::ops::Bound;
use std::path::Path;

/// What the header of a listing file says it is.
const FORMAT: &str = "docker-slim-listing";
/// The one version that this program writes and reads.
const VERSION: u32 = 1;

/// A path and extended attributes as long as Linux allows fit; more comes from no file system.
const LINE_LIMIT: u64 = 4 << 20;

/// A whole image's entries by path. See the module's invariant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listing {
    entries: BTreeMap<ImagePath, Entry>,
}

/// Entries on their way to a [`Listing`]: put in, replaced and removed in any order.
#[derive(Clone, Debug, Default)]
pub struct ListingBuilder {
    entries: BTreeMap<ImagePath, Entry>,
}

/// Why a listing cannot be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum ListingError {
    #[error("make the image's listing: {path} lies in {parent}, which is not there")]
    NoParent { path: ImagePath, parent: ImagePath },
    #[error("make the image's listing: {path} lies in {parent}, which is no directory")]
    ParentNotADirectory { path: ImagePath, parent: ImagePath },
    #[error("make the image's listing: the root is no directory")]
    NoRoot,
    #[error("read the listing: it is no docker-slim listing")]
    NotAListing,
    #[error("read the listing: it has version {found}, this program reads version {VERSION}")]
    OtherVersion { found: u64 },
    #[error("read the listing: it should have {expected} entries but has {found}")]
    Incomplete { expected: u64, found: u64 },
    #[error("read the listing: line {line}: {reason}")]
    Line { line: u64, reason: String },
    #[error("read or write the listing: {0}")]
    Io(#[from] std::io::Error),
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Header {
    format: String,
    version: u64,
    entries: u64,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Line<P, E> {
    path: P,
    entry: E,
}

impl ListingBuilder {
    /// An empty builder.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Puts an entry in; what was under this path goes, what lies below it stays.
    pub fn insert(&mut self, path: ImagePath, entry: Entry) {
        self.entries.insert(path, entry);
    }

    /// The entry put in under this path.
    #[must_use]
    pub fn get(&self, path: &ImagePath) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// Takes an entry and everything below it away and returns their paths.
    pub fn remove_tree(&mut self, path: &ImagePath) -> Vec<ImagePath> {
        let mut removed = self.remove_below(path);
        if self.entries.remove(path).is_some() {
            removed.push(path.clone());
        }
        removed
    }

    /// Takes everything below a directory away, and returns the paths.
    pub fn remove_below(&mut self, path: &ImagePath) -> Vec<ImagePath> {
        let below: Vec<ImagePath> = below(&self.entries, path).map(|(path, _)| path.clone()).collect();
        for path in &below {
            self.entries.remove(path);
        }
        below
    }

    /// The listing.
    ///
    /// # Errors
    /// When the root or a parent is missing or is no directory.
    pub fn finish(self) -> Result<Listing, ListingError> {
        if !self.entries.get(&ImagePath::root()).is_some_and(Entry::is_directory) {
            return Err(ListingError::NoRoot);
        }
        for path in self.entries.keys() {
            let Some(parent) = path.parent() else { continue };
            match self.entries.get(&parent) {
                None => return Err(ListingError::NoParent { path: path.clone(), parent }),
                Some(entry) if !entry.is_directory() => {
                    return Err(ListingError::ParentNotADirectory { path: path.clone(), parent });
                }
                Some(_) => {}
            }
        }
        Ok(Listing { entries: self.entries })
    }
}

impl From<BTreeMap<ImagePath, Entry>> for ListingBuilder {
    fn from(entries: BTreeMap<ImagePath, Entry>) -> Self {
        Self { entries }
    }
}

impl Listing {
    /// The entries, to be changed and checked again.
    pub(crate) fn into_entries(self) -> BTreeMap<ImagePath, Entry> {
        self.entries
    }

    /// The entry at exactly this path.
    #[must_use]
    pub fn get(&self, path: &ImagePath) -> Option<&Entry> {
        self.entries.get(path)
    }

    /// The names in a directory, sorted; empty for anything that is no directory.
    #[must_use]
    pub fn read_dir(&self, path: &ImagePath) -> Vec<&[u8]> {
        children(&self.entries, path)
    }

    /// Every path with its entry, in path order: a directory before what it holds.
    pub fn iter(&self) -> impl Iterator<Item = (&ImagePath, &Entry)> {
        self.entries.iter()
    }

    /// How many entries there are, the root included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Never: the root is always there.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The bytes of all regular files; the names of one inode count once.
    #[must_use]
    pub fn size(&self) -> u64 {
        total_size(self.entries.values())
    }

    /// Writes the listing as lines of JSON.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn save(&self, mut output: impl Write) -> std::io::Result<()> {
        let header =
            Header { format: FORMAT.into(), version: u64::from(VERSION), entries: self.len() as u64 };
        write_line(&mut output, &header)?;
        for (path, entry) in self.iter() {
            write_line(&mut output, &Line { path, entry })?;
        }
        output.flush()
    }

    /// Reads a listing from the file at `path`.
    ///
    /// # Errors
    /// As [`Listing::read_from`], and when there is no such file.
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ListingError> {
        Self::read_from(BufReader::new(File::open(path)?))
    }

    /// Reads what [`Listing::save`] wrote.
    ///
    /// # Errors
    /// When it is no listing, has another version, is cut off, or breaks the listing's invariant.
    pub fn read_from(mut input: impl BufRead) -> Result<Self, ListingError> {
        let mut line = Vec::new();
        read_line(&mut input, &mut line, 1)?;
        let header: Header = serde_json::from_slice(&line).map_err(|_| ListingError::NotAListing)?;
        if header.format != FORMAT {
            return Err(ListingError::NotAListing);
        }
        if header.version != u64::from(VERSION) {
            return Err(ListingError::OtherVersion { found: header.version });
        }
        let mut builder = ListingBuilder::new();
        let mut found = 0;
        while read_line(&mut input, &mut line, found + 2)? {
            let Line { path, entry }: Line<ImagePath, Entry> = serde_json::from_slice(&line)
                .map_err(|error| ListingError::Line { line: found + 2, reason: error.to_string() })?;
            builder.insert(path, entry);
            found += 1;
            if found > header.entries {
                break;
            }
        }
        if found != header.entries || builder.entries.len() as u64 != found {
            return Err(ListingError::Incomplete { expected: header.entries, found });
        }
        builder.finish()
    }
}

/// Reads one line; false at the end of the input.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>, number: u64) -> Result<bool, ListingError> {
    line.clear();
    input.by_ref().take(LINE_LIMIT).read_until(b'\n', line)?;
    if line.last() == Some(&b'\n') || line.is_empty() {
        return Ok(!line.is_empty());
    }
    let reason = if (line.len() as u64) < LINE_LIMIT { "it is cut off" } else { "it is too long" };
    Err(ListingError::Line { line: number, reason: reason.to_owned() })
}

/// The bytes of all regular files among the entries; the names of one inode count once.
#[must_use]
pub fn total_size<'a>(entries: impl IntoIterator<Item = &'a Entry>) -> u64 {
    let mut seen = std::collections::BTreeSet::new();
    entries
        .into_iter()
        .filter(|entry| matches!(entry.kind, Kind::File { .. }))
        .filter(|entry| entry.hard_link_group.is_none_or(|group| seen.insert(group)))
        .map(Entry::size)
        .sum()
}

/// Numbers the groups in path order. A name whose other names are not in the image stands alone.
pub(crate) fn settle_groups(entries: &mut BTreeMap<ImagePath, Entry>) {
    let mut names: BTreeMap<u64, usize> = BTreeMap::new();
    for group in entries.values().filter_map(|entry| entry.hard_link_group) {
        *names.entry(group).or_default() += 1;
    }
    let mut numbers: BTreeMap<u64, u64> = BTreeMap::new();
    for entry in entries.values_mut() {
        let Some(group) = entry.hard_link_group else { continue };
        let next = numbers.len() as u64 + 1;
        entry.hard_link_group = (names[&group] > 1).then(|| *numbers.entry(group).or_insert(next));
    }
}

/// Whether an extended attribute says something of the image: a label is the machine's, `trusted.` and `user.overlay.` are
/// the overlay's.
pub(crate) fn is_of_the_image(xattr: &str) -> bool {
    xattr != "security.selinux" && !xattr.starts_with("trusted.") && !xattr.starts_with("user.overlay.")
}

fn write_line(output: &mut impl Write, value: &impl serde::Serialize) -> std::io::Result<()> {
    serde_json::to_writer(&mut *output, value)?;
    output.write_all(b"\n")
}

/// The prefix that everything below a directory has.
fn prefix_of(directory: &ImagePath) -> Vec<u8> {
    let mut prefix = directory.as_bytes().to_vec();
    if !directory.is_root() {
        prefix.push(b'/');
    }
    prefix
}

fn below<'a, V>(
    entries: &'a BTreeMap<ImagePath, V>,
    directory: &ImagePath,
) -> impl Iterator<Item = (&'a ImagePath, &'a V)> {
    let prefix = prefix_of(directory);
    let range = entries.range::<[u8], _>((Bound::Excluded(&prefix[..]), Bound::Unbounded));
    range.take_while(move |(path, _)| path.as_bytes().starts_with(&prefix))
}

/// The names in a directory, sorted. What lies deeper is jumped over: the cost goes by the directory's own names.
pub(crate) fn children<'a, V>(entries: &'a BTreeMap<ImagePath, V>, directory: &ImagePath) -> Vec<&'a [u8]> {
    let prefix = prefix_of(directory);
    let mut names = Vec::new();
    let mut range = entries.range::<[u8], _>((Bound::Excluded(&prefix[..]), Bound::Unbounded));
    while let Some((path, _)) = range.next() {
        let bytes: &'a [u8] = path.borrow();
        let Some(rest) = bytes.strip_prefix(&prefix[..]) else { break };
        let Some(slash) = rest.iter().position(|byte| *byte == b'/') else {
            names.push(rest);
            continue;
        };
        // Everything below this child sorts before the child's name with the byte that follows the slash.
        let mut next = bytes[..prefix.len() + slash].to_vec();
        next.push(b'/' + 1);
        range = entries.range::<[u8], _>((Bound::Included(&next[..]), Bound::Unbounded));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory::MemoryTree;
    use crate::tree::ImageTree;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn sample() -> Listing {
        MemoryTree::new()
            .file("/usr/bin/node", 0o755, "elf")
            .file("/usr/bin-extra/x", 0o644, "x")
            .symlink("/bin", "usr/bin")
            .xattr("/usr/bin/node", "security.capability", [1, 0, 255])
            .file(ImagePath::new(b"/usr/\xff\\"), 0o600, "odd")
            .listing()
    }

    fn written(listing: &Listing) -> Vec<u8> {
        let mut bytes = Vec::new();
        listing.save(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_listing_comes_back_from_its_file() {
        let listing = sample();
        assert_eq!(Listing::read_from(&written(&listing)[..]).unwrap(), listing);
    }

    #[test]
    fn another_version_is_named() {
        let text = String::from_utf8(written(&sample())).unwrap().replace("\"version\":1", "\"version\":7");
        let error = Listing::read_from(text.as_bytes()).unwrap_err();
        assert!(matches!(error, ListingError::OtherVersion { found: 7 }), "{error}");
    }

    #[test]
    fn a_listing_cut_off_at_a_line_is_refused() {
        let bytes = written(&sample());
        let end = bytes[..bytes.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap();
        let error = Listing::read_from(&bytes[..=end]).unwrap_err();
        assert!(matches!(error, ListingError::Incomplete { .. }), "{error}");
    }

    #[test]
    fn something_else_is_no_listing() {
        for text in ["", "{}\n", "hello\n", "{\"format\":\"x\",\"version\":1,\"entries\":0}\n"] {
            assert!(matches!(Listing::read_from(text.as_bytes()), Err(ListingError::NotAListing)), "{text}");
        }
    }

    #[test]
    fn a_path_without_its_parent_is_refused() {
        let mut builder = ListingBuilder::new();
        let tree = MemoryTree::new();
        builder.insert(ImagePath::root(), tree.entry(&ImagePath::root()).unwrap().clone());
        builder.insert("/a/b".into(), tree.entry(&ImagePath::root()).unwrap().clone());
        assert!(matches!(builder.finish(), Err(ListingError::NoParent { .. })));
    }

    #[test]
    fn names_of_one_inode_count_once() {
        let tree = MemoryTree::new().file("/a", 0o644, "12345").hard_link("/b", "/a").file("/c", 0o644, "1");
        assert_eq!(tree.listing().size(), 6);
    }

    #[test]
    fn removing_a_tree_leaves_its_neighbours() {
        let mut builder = ListingBuilder::new();
        for (path, entry) in sample().iter() {
            builder.insert(path.clone(), entry.clone());
        }
        builder.remove_tree(&"/usr/bin".into());
        let listing = builder.finish().unwrap();
        assert_eq!(listing.read_dir(&"/usr".into()), [&b"bin-extra"[..], b"\xff\\"]);
    }

    proptest! {
        #[test]
        fn a_directorys_names_are_those_whose_parent_it_is(
            paths in proptest::collection::vec("(/[-./0ab]{1,3}){1,4}", 0..30)
        ) {
            let mut tree = MemoryTree::new();
            for path in &paths {
                tree = tree.dir(path.as_str(), 0o755);
            }
            for (directory, _) in tree.walk() {
                let expected: BTreeSet<Vec<u8>> = tree
                    .walk()
                    .filter(|(path, _)| path.parent().as_ref() == Some(directory))
                    .map(|(path, _)| path.file_name().to_vec())
                    .collect();
                let found: Vec<Vec<u8>> = tree.read_dir(directory).iter().map(|name| name.to_vec()).collect();
                prop_assert_eq!(found, expected.into_iter().collect::<Vec<_>>());
            }
        }
    }
}
