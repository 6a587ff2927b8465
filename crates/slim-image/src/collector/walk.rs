//! Listing the root file system that the collector runs in, as the image has it: without what the engine puts there.
//!
//! Engines put files into a container's root: some as bind mounts (`/etc/hosts`), some on the same overlay as the
//! image's own (`/.dockerenv`, and on Docker the mount points of the former), which no device number tells apart;
//! these are known by name. Directories that the engine touches to do so have the time of the container's creation;
//! they get the latest time of what they hold instead, so that an image always lists the same.

use super::RemoteError;
use crate::listing::{Listing, ListingBuilder, is_of_the_image, settle_groups};
use crate::path::ImagePath;
use crate::tree::{Entry, Kind};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What engines put on the root file system itself or mount over it.
const OF_THE_ENGINE: [&str; 6] =
    ["/.dockerenv", "/run/.containerenv", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab"];
/// Mounts that every container has; the image's directory below is shown empty.
const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];
/// Tries at reading a list of attributes that grows meanwhile.
const XATTR_TRIES: usize = 4;

/// Where things lie that are not the image's.
#[derive(Debug)]
pub(super) struct Surroundings {
    root: PathBuf,
    hidden: BTreeSet<ImagePath>,
    /// Mount points that are not shown, nor what lies below them.
    foreign: BTreeSet<ImagePath>,
    /// Directories whose time is the engine's doing.
    touched: BTreeSet<ImagePath>,
}

impl Surroundings {
    /// Looks at the mounts below `root`. `binary` is never shown; `volumes` are the image's own.
    pub(super) fn new(
        root: &Path,
        binary: Option<&Path>,
        volumes: &[ImagePath],
    ) -> Result<Self, RemoteError> {
        let table =
            fs::read("/proc/self/mountinfo").map_err(|error| failed("read the mount table", None, &error))?;
        let root = fs::canonicalize(root).map_err(|error| failed("find the root", None, &error))?;
        let mounts: BTreeSet<ImagePath> = mount_points(&table)
            .filter_map(|point| inside(&root, Path::new(OsStr::from_bytes(&point))))
            .filter(|point| !point.is_root())
            .collect();
        let volumes: BTreeSet<ImagePath> = volumes.iter().map(|volume| resolved(&root, volume)).collect();
        let mut hidden: BTreeSet<ImagePath> = OF_THE_ENGINE.map(ImagePath::from).into();
        hidden.extend(binary.and_then(|binary| inside(&root, binary)));
        let mut touched: BTreeSet<ImagePath> = KERNEL.map(ImagePath::from).into();
        touched.extend(hidden.iter().chain(&mounts).filter_map(ImagePath::parent));
        touched.extend(mounts.iter().cloned());
        let foreign = mounts.difference(&volumes).cloned().collect();
        Ok(Self { root, hidden, foreign, touched })
    }

    /// Where a path of the image lies on this machine.
    fn host_path(&self, path: &ImagePath) -> PathBuf {
        host_path(&self.root, path)
    }

    fn is_shown(&self, path: &ImagePath) -> bool {
        !self.hidden.contains(path) && (!self.foreign.contains(path) || is_kernel(path))
    }
}

/// Lists the image.
pub(super) fn list(surroundings: &Surroundings) -> Result<Listing, RemoteError> {
    let mut walk = Walk { surroundings, entries: BTreeMap::new(), inodes: BTreeMap::new() };
    let mut directories = vec![ImagePath::root()];
    walk.entry(ImagePath::root())?;
    while let Some(directory) = directories.pop() {
        for name in walk.names(&directory)? {
            let path = directory.join(&name);
            if surroundings.is_shown(&path) && walk.entry(path.clone())? && !is_kernel(&path) {
                directories.push(path);
            }
        }
    }
    let mut entries = walk.entries;
    settle_times(&mut entries, &surroundings.touched);
    settle_groups(&mut entries);
    let mut builder = ListingBuilder::new();
    for (path, entry) in entries {
        builder.insert(path, entry);
    }
    builder.finish().map_err(|error| RemoteError {
        action: "list".to_owned(),
        path: None,
        errno: None,
        message: error.to_string(),
    })
}

struct Walk<'a> {
    surroundings: &'a Surroundings,
    entries: BTreeMap<ImagePath, Entry>,
    /// Numbers of the inodes with several names.
    inodes: BTreeMap<(u64, u64), u64>,
}

impl Walk<'_> {
    fn names(&self, directory: &ImagePath) -> Result<Vec<Vec<u8>>, RemoteError> {
        let fail = |error: io::Error| failed("list", Some(directory), &error);
        fs::read_dir(self.surroundings.host_path(directory))
            .map_err(fail)?
            .map(|entry| Ok(entry.map_err(fail)?.file_name().into_vec()))
            .collect()
    }

    /// Takes one path in; whether it is a directory.
    fn entry(&mut self, path: ImagePath) -> Result<bool, RemoteError> {
        let host = self.surroundings.host_path(&path);
        let metadata = fs::symlink_metadata(&host).map_err(|error| failed("stat", Some(&path), &error))?;
        let entry = if is_kernel(&path) && self.surroundings.foreign.contains(&path) {
            // The image's own directory is not seen below the mount.
            Entry {
                kind: Kind::Directory,
                mode: 0o755,
                uid: 0,
                gid: 0,
                mtime: 0,
                xattrs: BTreeMap::new(),
                hard_link_group: None,
            }
        } else {
            Entry {
                kind: kind(&path, &host, &metadata)?,
                mode: metadata.mode() & 0o7777,
                uid: metadata.uid(),
                gid: metadata.gid(),
                mtime: metadata.mtime(),
                xattrs: xattrs(&path, &host)?,
                hard_link_group: self.group(&metadata),
            }
        };
        let is_directory = entry.is_directory();
        self.entries.insert(path, entry);
        Ok(is_directory)
    }

    fn group(&mut self, metadata: &Metadata) -> Option<u64> {
        (metadata.is_file() && metadata.nlink() > 1).then(|| {
            let next = self.inodes.len() as u64;
            *self.inodes.entry((metadata.dev(), metadata.ino())).or_insert(next)
        })
    }
}

fn kind(path: &ImagePath, host: &Path, metadata: &Metadata) -> Result<Kind, RemoteError> {
    let file_type = metadata.file_type();
    let (major, minor) = (rustix::fs::major(metadata.rdev()), rustix::fs::minor(metadata.rdev()));
    Ok(if file_type.is_dir() {
        Kind::Directory
    } else if file_type.is_file() {
        Kind::File { size: metadata.size() }
    } else if file_type.is_symlink() {
        let target = fs::read_link(host).map_err(|error| failed("read the link", Some(path), &error))?;
        Kind::Symlink { target: target.into_os_string().into_vec() }
    } else if file_type.is_char_device() {
        Kind::CharacterDevice { major, minor }
    } else if file_type.is_block_device() {
        Kind::BlockDevice { major, minor }
    } else if file_type.is_fifo() {
        Kind::Fifo
    } else {
        Kind::Socket
    })
}

fn xattrs(path: &ImagePath, host: &Path) -> Result<BTreeMap<String, Vec<u8>>, RemoteError> {
    let fail = |error: rustix::io::Errno| failed("read the attributes of", Some(path), &error.into());
    let list =
        match growing(|| rustix::fs::llistxattr_query(host), |buffer| rustix::fs::llistxattr(host, buffer)) {
            Ok(list) => list,
            Err(rustix::io::Errno::NOTSUP | rustix::io::Errno::PERM) => return Ok(BTreeMap::new()),
            Err(error) => return Err(fail(error)),
        };
    let mut attributes = BTreeMap::new();
    for name in list.split(|byte| *byte == 0) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if name.is_empty() || !is_of_the_image(name) {
            continue;
        }
        let query = || rustix::fs::lgetxattr_query(host, name);
        match growing(query, |buffer| rustix::fs::lgetxattr(host, name, buffer)) {
            Ok(value) => drop(attributes.insert(name.to_owned(), value)),
            Err(rustix::io::Errno::NODATA | rustix::io::Errno::NOTSUP) => {}
            Err(error) => return Err(fail(error)),
        }
    }
    Ok(attributes)
}

/// Reads what is of unknown length: asks for the length, then for the bytes, again if it grew in between.
fn growing(
    query: impl Fn() -> rustix::io::Result<usize>,
    read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut last = rustix::io::Errno::RANGE;
    for _ in 0..XATTR_TRIES {
        let mut bytes = vec![0; query()?];
        match read(&mut bytes) {
            Ok(length) => {
                bytes.truncate(length);
                return Ok(bytes);
            }
            Err(rustix::io::Errno::RANGE) => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Gives each touched directory the latest time of what it holds, from the deepest up.
fn settle_times(entries: &mut BTreeMap<ImagePath, Entry>, touched: &BTreeSet<ImagePath>) {
    // A path sorts before what lies below it, so that backwards the inner directories come first.
    for directory in touched.iter().rev() {
        if !entries.get(directory).is_some_and(Entry::is_directory) {
            continue;
        }
        let latest = crate::listing::children(entries, directory)
            .iter()
            .filter_map(|name| entries.get(&directory.join(name)))
            .map(|entry| entry.mtime)
            .max();
        if let Some(entry) = entries.get_mut(directory) {
            entry.mtime = latest.unwrap_or(0);
        }
    }
}

fn is_kernel(path: &ImagePath) -> bool {
    KERNEL.iter().any(|known| path.as_bytes() == known.as_bytes())
}

/// Where a path of the image lies on this machine.
pub(super) fn host_path(root: &Path, path: &ImagePath) -> PathBuf {
    root.join(OsStr::from_bytes(&path.as_bytes()[1..]))
}

/// A path of this machine as a path of the image; `None` where it lies elsewhere.
fn inside(root: &Path, path: &Path) -> Option<ImagePath> {
    path.strip_prefix(root).ok().map(|rest| ImagePath::new(rest.as_os_str().as_bytes()))
}

/// Where a volume is mounted: engines follow symlinks in its path.
fn resolved(root: &Path, volume: &ImagePath) -> ImagePath {
    fs::canonicalize(host_path(root, volume))
        .ok()
        .and_then(|real| inside(root, &real))
        .unwrap_or_else(|| volume.clone())
}

/// The mount points of a mountinfo table, proc(5): the fifth field, space and the like as `\040`.
fn mount_points(table: &[u8]) -> impl Iterator<Item = Vec<u8>> + '_ {
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        .map(unescape_octal)
}

fn unescape_octal(field: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((first, after)) = rest.split_first() {
        let code = (*first == b'\\').then(|| after.get(..3)).flatten();
        let byte = code
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 8).ok());
        bytes.push(byte.unwrap_or(*first));
        rest = if byte.is_some() { &after[3..] } else { after };
    }
    bytes
}

/// An error of the kernel as what the other side is told.
pub(super) fn failed(action: &str, path: Option<&ImagePath>, error: &io::Error) -> RemoteError {
    RemoteError {
        action: action.to_owned(),
        path: path.cloned(),
        errno: error.raw_os_error(),
        message: error.to_string(),
    }
}
