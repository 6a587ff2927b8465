//! The content layer: kept entries of a tree as one tar stream.
//!
//! The bytes depend on the entries and the files' contents and on nothing else: entries are sorted, times are the
//! entries' own, names of users and groups are not written. The layer is not compressed, so that its digest does not
//! depend on a compressor's version either.

use crate::digest::Digest;
use crate::hashing::Hashing;
use crate::path::ImagePath;
use crate::tape::{self, Member, MemberKind};
use crate::tree::{Entry, ImageTree, Kind, TreeError};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use tempfile::{NamedTempFile, TempPath};

/// One path of the layer with the metadata that it shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerEntry {
    pub path: ImagePath,
    pub entry: Entry,
}

/// A written layer in a temporary file, which goes when the value goes.
#[derive(Debug)]
pub struct Layer {
    file: File,
    _path: TempPath,
    /// Digest of the tar stream, which is not compressed: also the digest of the blob.
    pub diff_id: Digest,
    /// Bytes of the tar stream.
    pub size: u64,
    /// Digest of each regular file's contents, under every name of it.
    pub contents: BTreeMap<ImagePath, Digest>,
}

/// What came of writing a layer.
struct Written {
    diff_id: Digest,
    size: u64,
    contents: BTreeMap<ImagePath, Digest>,
}

/// Why a layer cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    #[error("write the layer: {0} follows a path that sorts behind it")]
    NotSorted(ImagePath),
    #[error("write the layer: the directory that holds {0} is not in it")]
    NoParent(ImagePath),
    #[error("write the layer: {path} should have {expected} bytes but has {found}")]
    SizeDiffers { path: ImagePath, expected: u64, found: String },
    #[error("write the layer: the contents of {0} did not come in order")]
    Order(ImagePath),
    #[error("write {path} to the layer: {source}")]
    Write { path: ImagePath, source: io::Error },
    #[error("write the layer: {0}")]
    File(io::Error),
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// Writes `entries` with their contents from `tree` to `file`.
///
/// Entries are sorted by path, each with its directory before it. Sockets are left out. Of several names of one inode
/// the first becomes the file and the others become links to it, as far as their metadata is the same.
///
/// # Errors
/// When entries are out of order, a file cannot be read or has another size than its entry says, or the disk is full.
pub fn write_layer(
    tree: &dyn ImageTree,
    entries: &[LayerEntry],
    file: NamedTempFile,
) -> Result<Layer, LayerError> {
    let (file, path) = file.into_parts();
    let Written { diff_id, size, contents } = write_entries(tree, entries, &file)?;
    Ok(Layer { file, _path: path, diff_id, size, contents })
}

/// As [`write_layer`], to any writer; gives the digest and the bytes written.
///
/// # Errors
/// Those of [`write_layer`].
pub fn write_layer_to(
    tree: &dyn ImageTree,
    entries: &[LayerEntry],
    output: impl Write,
) -> Result<(Digest, u64), LayerError> {
    write_entries(tree, entries, output).map(|written| (written.diff_id, written.size))
}

fn write_entries(
    tree: &dyn ImageTree,
    entries: &[LayerEntry],
    output: impl Write,
) -> Result<Written, LayerError> {
    check_order(entries)?;
    let members = plan(entries);
    let files: Vec<ImagePath> =
        members.iter().filter(|planned| planned.has_contents).map(|planned| planned.path.clone()).collect();
    let mut writer = LayerWriter {
        members: members.into_iter(),
        output: Hashing::new(BufWriter::with_capacity(256 << 10, output)),
        contents: BTreeMap::new(),
        failure: None,
    };
    let read = tree.read_each(&files, &mut |path, contents| {
        writer.file(path, contents).map_err(|error| {
            let text = error.to_string();
            writer.failure = Some(error);
            TreeError::Source(text)
        })
    });
    if let Some(failure) = writer.failure.take() {
        return Err(failure);
    }
    read?;
    writer.rest()?;
    tape::finish(&mut writer.output).map_err(LayerError::File)?;
    writer.output.flush().map_err(LayerError::File)?;
    let LayerWriter { output, contents, .. } = writer;
    let (_, diff_id, size) = output.finish();
    Ok(Written { diff_id, size, contents })
}

impl Layer {
    /// The tar stream from its beginning. Several readers at once do not disturb one another.
    #[must_use]
    pub fn reader(&self) -> LayerReader<'_> {
        LayerReader { file: &self.file, position: 0, size: self.size }
    }
}

/// Reads a layer's tar stream.
#[derive(Debug)]
pub struct LayerReader<'a> {
    file: &'a File,
    position: u64,
    size: u64,
}

impl Read for LayerReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.size - self.position).unwrap_or(usize::MAX);
        let most = left.min(buffer.len());
        let read = self.file.read_at(&mut buffer[..most], self.position)?;
        self.position += read as u64;
        Ok(read)
    }
}

/// A member of the layer to be written, in order.
struct Planned {
    path: ImagePath,
    member: Member,
    has_contents: bool,
    /// The name under which the same file stands already.
    link_to: Option<ImagePath>,
}

struct LayerWriter<W: Write> {
    members: std::vec::IntoIter<Planned>,
    output: Hashing<BufWriter<W>>,
    /// Digests of what was written so far.
    contents: BTreeMap<ImagePath, Digest>,
    failure: Option<LayerError>,
}

impl<W: Write> LayerWriter<W> {
    /// Writes everything up to and including this file.
    fn file(&mut self, path: &ImagePath, contents: &mut dyn Read) -> Result<(), LayerError> {
        loop {
            let planned = self.members.next().ok_or_else(|| LayerError::Order(path.clone()))?;
            self.header(&planned)?;
            if planned.has_contents {
                if planned.path != *path {
                    return Err(LayerError::Order(path.clone()));
                }
                return self.file_contents(&planned, contents);
            }
        }
    }

    /// Writes what lies behind the last file.
    fn rest(&mut self) -> Result<(), LayerError> {
        while let Some(planned) = self.members.next() {
            if planned.has_contents {
                return Err(LayerError::Order(planned.path));
            }
            self.header(&planned)?;
        }
        Ok(())
    }

    fn header(&mut self, planned: &Planned) -> Result<(), LayerError> {
        if let Some(digest) = planned.link_to.as_ref().and_then(|first| self.contents.get(first)).copied() {
            self.contents.insert(planned.path.clone(), digest);
        }
        tape::write_header(&mut self.output, &planned.member)
            .map_err(|source| LayerError::Write { path: planned.path.clone(), source })
    }

    fn file_contents(&mut self, planned: &Planned, contents: &mut dyn Read) -> Result<(), LayerError> {
        let failed = |source| LayerError::Write { path: planned.path.clone(), source };
        let expected = planned.member.size;
        let mut hashing = Hashing::new((&mut *contents).take(expected));
        let found = io::copy(&mut hashing, &mut self.output).map_err(failed)?;
        let (_, digest, _) = hashing.finish();
        self.contents.insert(planned.path.clone(), digest);
        let differs = |found| LayerError::SizeDiffers { path: planned.path.clone(), expected, found };
        if found < expected {
            return Err(differs(found.to_string()));
        }
        let mut one = [0];
        loop {
            match contents.read(&mut one) {
                Ok(0) => break,
                Ok(_) => return Err(differs("more".to_owned())),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed(error)),
            }
        }
        tape::pad(&mut self.output, expected).map_err(failed)
    }
}

fn check_order(entries: &[LayerEntry]) -> Result<(), LayerError> {
    let mut directories = BTreeSet::from([ImagePath::root()]);
    let mut last: Option<&ImagePath> = None;
    for LayerEntry { path, entry } in entries {
        if last.is_some_and(|last| last >= path) {
            return Err(LayerError::NotSorted(path.clone()));
        }
        if path.parent().is_some_and(|parent| !directories.contains(&parent)) {
            return Err(LayerError::NoParent(path.clone()));
        }
        if entry.is_directory() {
            directories.insert(path.clone());
        }
        last = Some(path);
    }
    Ok(())
}

fn plan(entries: &[LayerEntry]) -> Vec<Planned> {
    // Flags may give the names of one inode different owners or modes; then they are different files.
    let mut first_names: BTreeMap<u64, Vec<&LayerEntry>> = BTreeMap::new();
    let mut planned = Vec::with_capacity(entries.len());
    for kept in entries {
        let Some(mut member) = member(kept) else { continue };
        let mut has_contents = member.kind == MemberKind::File;
        let mut link_to = None;
        if let (Kind::File { .. }, Some(group)) = (&kept.entry.kind, kept.entry.hard_link_group) {
            let names = first_names.entry(group).or_default();
            if let Some(first) = names.iter().find(|first| first.entry == kept.entry) {
                member.kind = MemberKind::HardLink;
                member.link = name_of(&first.path, false);
                member.size = 0;
                // A link is the inode that it names, extended attributes included.
                member.xattrs.clear();
                has_contents = false;
                link_to = Some(first.path.clone());
            } else {
                names.push(kept);
            }
        }
        planned.push(Planned { path: kept.path.clone(), member, has_contents, link_to });
    }
    planned
}

fn member(kept: &LayerEntry) -> Option<Member> {
    let entry = &kept.entry;
    let kind = match entry.kind {
        Kind::Directory => MemberKind::Directory,
        Kind::File { .. } => MemberKind::File,
        Kind::Symlink { .. } => MemberKind::Symlink,
        Kind::CharacterDevice { .. } => MemberKind::CharacterDevice,
        Kind::BlockDevice { .. } => MemberKind::BlockDevice,
        Kind::Fifo => MemberKind::Fifo,
        // A socket is made by the program that listens on it; tar has no word for it.
        Kind::Socket => return None,
    };
    let mut member = Member::new(name_of(&kept.path, entry.is_directory()), kind, entry.mode);
    (member.uid, member.gid, member.mtime) = (entry.uid, entry.gid, entry.mtime);
    member.size = entry.size();
    member.xattrs.clone_from(&entry.xattrs);
    match &entry.kind {
        Kind::Symlink { target } => member.link.clone_from(target),
        Kind::CharacterDevice { major, minor } | Kind::BlockDevice { major, minor } => {
            (member.major, member.minor) = (*major, *minor);
        }
        _ => {}
    }
    Some(member)
}

/// The relative name that layers have, with a slash behind directories; `./` for the root.
fn name_of(path: &ImagePath, is_directory: bool) -> Vec<u8> {
    if path.is_root() {
        return b"./".to_vec();
    }
    let mut name = path.as_bytes()[1..].to_vec();
    if is_directory {
        name.push(b'/');
    }
    name
}
