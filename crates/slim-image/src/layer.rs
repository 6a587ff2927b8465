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
use std::fmt;
use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use tempfile::{NamedTempFile, TempPath};

/// Bytes of contents on their way: the hash is the bound, not the system calls.
const BUFFER: usize = 256 << 10;

/// One path of the layer with the metadata that it shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LayerEntry {
    pub path: ImagePath,
    pub entry: Entry,
}

/// A layer whose bytes are known: in a temporary file, which goes when the value goes, or read from its tree anew each
/// time.
#[derive(Debug)]
pub struct Layer {
    source: LayerSource,
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

enum LayerSource {
    File { file: File, _path: TempPath },
    Tree { tree: Arc<dyn ImageTree + Send + Sync>, entries: Vec<LayerEntry> },
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
    Ok(Layer { source: LayerSource::File { file, _path: path }, diff_id, size, contents })
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
        output: Hashing::new(BufWriter::with_capacity(BUFFER, output)),
        buffer: vec![0; BUFFER],
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
    /// The layer that [`write_layer`] writes, without a file: the tree is read once for the digest, and again whenever the
    /// layer is asked for. For trees whose files lie on this machine that is quicker than to write them twice.
    ///
    /// # Errors
    /// Those of [`write_layer`], but for the disk's.
    pub fn of_tree(
        tree: Arc<dyn ImageTree + Send + Sync>,
        entries: Vec<LayerEntry>,
    ) -> Result<Self, LayerError> {
        let Written { diff_id, size, contents } = write_entries(tree.as_ref(), &entries, io::sink())?;
        Ok(Self { source: LayerSource::Tree { tree, entries }, diff_id, size, contents })
    }

    /// Writes the tar stream, [`Layer::size`] bytes. Several writers at once do not disturb one another.
    ///
    /// # Errors
    /// Those of the writer; a file that cannot be read, or has changed since the layer was made.
    pub fn copy_to(&self, mut output: &mut dyn Write) -> io::Result<()> {
        match &self.source {
            LayerSource::File { file, .. } => {
                let mut buffer = vec![0; BUFFER];
                let mut position = 0;
                while position < self.size {
                    let left = usize::try_from(self.size - position).unwrap_or(usize::MAX);
                    let most = left.min(buffer.len());
                    file.read_exact_at(&mut buffer[..most], position)?;
                    output.write_all(&buffer[..most])?;
                    position += most as u64;
                }
                Ok(())
            }
            LayerSource::Tree { tree, entries } => {
                let written = write_layer_to(tree.as_ref(), entries, &mut output).map_err(into_io)?;
                if written == (self.diff_id, self.size) {
                    return Ok(());
                }
                Err(io::Error::other("the image's files have changed since they were first read"))
            }
        }
    }
}

impl fmt::Debug for LayerSource {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::File { .. } => "File",
            Self::Tree { .. } => "Tree",
        })
    }
}

/// The writer's own error as it came, any other in words.
fn into_io(error: LayerError) -> io::Error {
    match error {
        LayerError::Write { source, .. } | LayerError::File(source) => source,
        error => io::Error::other(format!("failed to {error}")),
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
    buffer: Vec<u8>,
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
        let path = &planned.path;
        let failed = |source| LayerError::Write { path: path.clone(), source };
        let expected = planned.member.size;
        let differs = |found| LayerError::SizeDiffers { path: path.clone(), expected, found };
        let mut hashing = Hashing::new(io::sink());
        let mut found = 0;
        loop {
            let read = match contents.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(TreeError::Read { path: path.clone(), source }.into()),
            };
            found += read as u64;
            if found > expected {
                return Err(differs("more".to_owned()));
            }
            hashing.write_all(&self.buffer[..read]).map_err(failed)?;
            self.output.write_all(&self.buffer[..read]).map_err(failed)?;
        }
        if found < expected {
            return Err(differs(found.to_string()));
        }
        let (_, digest, _) = hashing.finish();
        self.contents.insert(path.clone(), digest);
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
