//! Listing the root file system that the collector runs in, as the image has it: without what the engine puts there
//! (see [`crate::in_container`]).

use super::RemoteError;
use crate::in_container::{OF_THE_ENGINE, engine_directory, is_kernel, settle_times, touched};
use crate::listing::{Listing, ListingBuilder, is_of_the_image, settle_groups};
use crate::on_disk::{self, LinkGroups};
use crate::path::ImagePath;
use crate::tree::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

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
        let touched = touched(&hidden, &mounts);
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
    let mut walk = Walk { surroundings, entries: BTreeMap::new(), groups: LinkGroups::default() };
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
    ListingBuilder::from(entries).finish().map_err(|error| RemoteError {
        action: "list".to_owned(),
        path: None,
        errno: None,
        message: error.to_string(),
    })
}

struct Walk<'a> {
    surroundings: &'a Surroundings,
    entries: BTreeMap<ImagePath, Entry>,
    groups: LinkGroups,
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
        let entry = if is_kernel(&path) && self.surroundings.foreign.contains(&path) {
            // The image's own directory is not seen below the mount.
            engine_directory()
        } else {
            let path = &path;
            let fail = |action| move |error: io::Error| failed(action, Some(path), &error);
            let stat = rustix::fs::lstat(&host).map_err(|error| fail("stat")(error.into()))?;
            let xattrs = on_disk::xattrs(&host, is_of_the_image).map_err(fail("read the attributes of"))?;
            on_disk::entry(&host, &stat, xattrs, &mut self.groups).map_err(fail("read the link"))?
        };
        let is_directory = entry.is_directory();
        self.entries.insert(path, entry);
        Ok(is_directory)
    }
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
