//! Where a program writes, and what is to lie there when the root is read-only.

use crate::contract::{Ground, Owner};
use crate::inputs::{Inputs, KeptKind};
use crate::paths::resolve;
use serde::Serialize;
use slim_image::ImagePath;
use slim_trace::{Access, MountKind, Trace};
use std::collections::{BTreeMap, BTreeSet};

/// Directories whose contents nobody expects to find again: a tmpfs takes their place.
const TEMPORARY: [&str; 5] = ["/run", "/tmp", "/var/cache", "/var/lock", "/var/tmp"];
/// Where programs and their settings lie: what is written there is tried without first.
const OF_THE_SYSTEM: [&str; 9] =
    ["/bin", "/boot", "/etc", "/lib", "/lib32", "/lib64", "/sbin", "/usr", "/opt"];
/// The parts of a path that only hold what is made again at will: Python's byte code.
const MADE_AGAIN: [&[u8]; 1] = [b"__pycache__"];
/// Of directories that the image does not have.
const USUAL: Owner = Owner { user: 0, group: 0, mode: 0o1777 };

/// A file system in memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Tmpfs {
    /// As the directory that it lies over.
    #[serde(flatten)]
    pub owner: Owner,
    /// Whether what lies in it may be run.
    pub exec: bool,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Volume {
    /// Whether the image itself declares it (VOLUME): engines make one unasked.
    pub of_the_image: bool,
    /// Whether the image holds something there: an engine that does not fill new volumes must be given it.
    pub holds_files: bool,
    #[serde(flatten)]
    pub owner: Owner,
}

/// Everything that the program writes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    pub tmpfs: BTreeMap<ImagePath, Tmpfs>,
    pub volumes: BTreeMap<ImagePath, Volume>,
    /// Written by the observed program, and refused here.
    pub refused: BTreeSet<ImagePath>,
}

/// The places in the order in which they are tried.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    tmpfs: BTreeMap<ImagePath, Tmpfs>,
    volumes: BTreeMap<ImagePath, Volume>,
    /// Volumes in directories of the system, with what is written there.
    of_the_system: BTreeMap<ImagePath, Volume>,
    written_to_the_system: BTreeSet<ImagePath>,
    /// What no volume can take: `/new-file`.
    elsewhere: BTreeSet<ImagePath>,
}

/// How much of the root the program may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Root {
    /// Nothing but tmpfs and volumes outside of the system's directories.
    ReadOnly,
    /// The same with volumes in the system's directories.
    ReadOnlyWithMore,
    Writable,
}

impl Root {
    #[must_use]
    pub fn is_read_only(self) -> bool {
        self != Self::Writable
    }
}

impl Places {
    /// What lies where.
    #[must_use]
    pub fn under(&self, root: Root) -> Place {
        let image_volumes = || self.volumes.clone().into_iter().filter(|(_, volume)| volume.of_the_image);
        match root {
            Root::ReadOnly => Place {
                tmpfs: self.tmpfs.clone(),
                volumes: self.volumes.clone(),
                refused: self.elsewhere.union(&self.written_to_the_system).cloned().collect(),
            },
            Root::ReadOnlyWithMore => Place {
                tmpfs: self.tmpfs.clone(),
                volumes: self.volumes.clone().into_iter().chain(self.of_the_system.clone()).collect(),
                refused: self.elsewhere.clone(),
            },
            Root::Writable => Place { volumes: image_volumes().collect(), ..Place::default() },
        }
    }

    /// Whether volumes in directories of the system make a difference.
    #[must_use]
    pub fn has_more(&self) -> bool {
        !self.of_the_system.is_empty()
    }

    /// Whether a file system in memory is among them.
    #[must_use]
    pub fn has_tmpfs(&self) -> bool {
        !self.tmpfs.is_empty()
    }
}

/// Where a program writes.
pub(super) fn places(trace: &Trace, inputs: &Inputs, ground: &Ground) -> Places {
    let mut places = Places::default();
    let held = |directory: &ImagePath| {
        inputs.paths.keys().any(|kept| kept != directory && kept.is_within(directory))
    };
    let owner = |directory: &ImagePath| ground.owners.get(directory).copied().unwrap_or(USUAL);
    let volume = |directory: &ImagePath, of_the_image: bool| Volume {
        of_the_image,
        holds_files: held(directory),
        owner: owner(directory),
    };
    for path in &ground.volumes {
        places.volumes.insert(path.clone(), volume(path, true));
    }
    let run = run_from(trace, inputs);
    for path in written(trace, inputs) {
        if ground.volumes.iter().any(|volume| path.is_within(volume)) || is_made_again(&path) {
            continue;
        }
        if let Some(directory) = temporary(&path, inputs) {
            let exec = run.iter().any(|file| file.is_within(&directory));
            places.tmpfs.insert(directory.clone(), Tmpfs { owner: owner(&directory), exec });
            continue;
        }
        let directory = existing(&path, inputs);
        let is_top =
            directory.is_root() || OF_THE_SYSTEM.iter().any(|top| directory == ImagePath::from(*top));
        if is_top {
            places.elsewhere.insert(path);
        } else if OF_THE_SYSTEM.iter().any(|top| directory.is_within(&ImagePath::from(*top))) {
            places.of_the_system.insert(directory.clone(), volume(&directory, false));
            places.written_to_the_system.insert(path);
        } else {
            places.volumes.insert(directory.clone(), volume(&directory, false));
        }
    }
    without_nested(&mut places);
    places
}

/// A volume below another, or below a tmpfs, is none of its own, unless the image declares it.
fn without_nested(places: &mut Places) {
    let tops: Vec<ImagePath> = places.tmpfs.keys().chain(places.volumes.keys()).cloned().collect();
    let is_nested = |path: &ImagePath| tops.iter().any(|top| top != path && path.is_within(top));
    places.volumes.retain(|path, volume| volume.of_the_image || !is_nested(path));
    let tops: Vec<ImagePath> = places.of_the_system.keys().cloned().collect();
    let is_below = |path: &ImagePath| tops.iter().any(|top| top != path && path.is_within(top));
    places.of_the_system.retain(|path, _| !is_below(path));
}

fn is_made_again(path: &ImagePath) -> bool {
    path.as_bytes().split(|byte| *byte == b'/').any(|part| MADE_AGAIN.contains(&part))
}

/// What was run, wherever it lies.
fn run_from(trace: &Trace, inputs: &Inputs) -> BTreeSet<ImagePath> {
    let runs = trace.files.iter().filter(|file| file.access.contains(&Access::Execute));
    runs.filter_map(|file| resolve(&file.path, &inputs.paths)).collect()
}

const CHANGES: [Access; 8] = [
    Access::Write,
    Access::Append,
    Access::Create,
    Access::Bind,
    Access::ChangeAttributes,
    Access::RenameFrom,
    Access::RenameTo,
    Access::Remove,
];

/// Whether the access changes something.
pub(super) fn changes(access: &BTreeSet<Access>) -> bool {
    CHANGES.iter().any(|change| access.contains(change))
}

/// What was changed on the root file system: paths below other mounts and image volumes do not count.
fn written(trace: &Trace, inputs: &Inputs) -> BTreeSet<ImagePath> {
    let mounts: Vec<&ImagePath> =
        trace.mounts.iter().filter(|mount| mount.kind != MountKind::Root).map(|mount| &mount.path).collect();
    trace
        .files
        .iter()
        .filter(|file| changes(&file.access))
        .filter_map(|file| resolve(&file.path, &inputs.paths))
        .filter(|path| !mounts.iter().any(|mount| !mount.is_root() && path.is_within(mount)))
        .filter(|path| !["/proc", "/sys", "/dev"].iter().any(|top| path.is_within(&ImagePath::from(*top))))
        .collect()
}

/// The directory to lay a tmpfs over: the topmost one that is temporary and holds nothing in the image, since the tmpfs
/// would hide it (also a directory, whose owner the program may rely on).
fn temporary(path: &ImagePath, inputs: &Inputs) -> Option<ImagePath> {
    let top = TEMPORARY.iter().map(|name| ImagePath::from(*name)).find(|top| path.is_within(top))?;
    let candidates = path.ancestors().into_iter().chain([path.clone()]).filter(|directory| {
        let kept = inputs.paths.get(directory);
        directory.is_within(&top)
            && (kept == Some(&KeptKind::Directory) || (kept.is_none() && *directory == top))
    });
    let holds_nothing = |directory: &ImagePath| {
        !inputs.paths.keys().any(|kept| kept != directory && kept.is_within(directory))
    };
    candidates.into_iter().find(holds_nothing)
}

/// The deepest directory of the image that the path lies in, or that it is.
fn existing(path: &ImagePath, inputs: &Inputs) -> ImagePath {
    let mut candidates = path.ancestors();
    candidates.push(path.clone());
    candidates.sort_by_key(|candidate| candidate.as_bytes().len());
    candidates
        .into_iter()
        .rev()
        .find(|candidate| inputs.paths.get(candidate) == Some(&KeptKind::Directory))
        .unwrap_or_else(|| ImagePath::from("/"))
}
