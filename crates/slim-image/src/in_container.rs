//! What a container of an image shows otherwise than the image has it, whoever reads it.
//!
//! Engines put files into a container's root: some as bind mounts (`/etc/hosts`), some on the same overlay as the
//! image's own (`/.dockerenv`, and on Docker the mount points of the former), which no device number tells apart;
//! these are known by name. Directories that the engine touches to do so have the time of the container's creation;
//! they get the latest time of what they hold instead, so that an image always lists the same.

use crate::path::ImagePath;
use crate::tree::{Entry, Kind};
use std::collections::{BTreeMap, BTreeSet};

/// What engines put on the root file system itself or mount over it.
pub(crate) const OF_THE_ENGINE: [&str; 6] =
    ["/.dockerenv", "/run/.containerenv", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab"];
/// Mounts that every container has; the image's directory below is shown empty.
pub(crate) const KERNEL: [&str; 3] = ["/dev", "/proc", "/sys"];

/// Whether a path is one of [`KERNEL`].
pub(crate) fn is_kernel(path: &ImagePath) -> bool {
    KERNEL.iter().any(|known| path.as_bytes() == known.as_bytes())
}

/// A directory that the engine makes where the image has none, or that hides the image's own.
pub(crate) fn engine_directory() -> Entry {
    Entry {
        kind: Kind::Directory,
        mode: 0o755,
        uid: 0,
        gid: 0,
        mtime: 0,
        xattrs: BTreeMap::new(),
        hard_link_group: None,
    }
}

/// Directories whose time is the engine's doing: those that hold what is `hidden` or a mount, and the mount points.
pub(crate) fn touched(hidden: &BTreeSet<ImagePath>, mounts: &BTreeSet<ImagePath>) -> BTreeSet<ImagePath> {
    let mut touched: BTreeSet<ImagePath> = KERNEL.map(ImagePath::from).into();
    touched.extend(hidden.iter().chain(mounts).filter_map(ImagePath::parent));
    touched.extend(mounts.iter().cloned());
    touched
}

/// Gives each touched directory the latest time of what it holds, from the deepest up.
pub(crate) fn settle_times(entries: &mut BTreeMap<ImagePath, Entry>, touched: &BTreeSet<ImagePath>) {
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
