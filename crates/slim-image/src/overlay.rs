//! An image as Docker's overlay2 driver leaves it on this machine: one directory a layer, in overlayfs's own format.
//!
//! The layers are put over one another as the kernel does it (Documentation/filesystems/overlayfs.rst): a character
//! device 0/0 hides what lies below its name, a directory with `trusted.overlay.opaque` hides what lies below it, other
//! directories of one name are merged and the topmost one's metadata counts. Attributes of overlayfs that would send
//! the reader elsewhere (`redirect`, `metacopy` …), which engines do not leave in an image, are refused by name.
//!
//! Invariant: nothing outside of the layers is ever read. What the image's maker put there, links above all, is looked
//! up below a layer's directory and never followed.

mod in_container;
mod merge;

use crate::in_container::engine_directory;
use crate::listing::{Listing, ListingBuilder, ListingError, settle_groups};
use crate::owners::{self, Owners};
use crate::path::ImagePath;
use crate::tree::{Contents, Entry, ImageTree, Kind, TreeError};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// An image's files in the directories of its layers.
#[derive(Debug)]
pub struct OverlayTree {
    listing: Listing,
    /// The layer that holds each entry. What only a container shows is held by none.
    origins: BTreeMap<ImagePath, usize>,
    /// The layers' directories, the base first.
    roots: Vec<OwnedFd>,
    /// Of each layer, the owners that its directory cannot show.
    owners: Vec<Owners>,
}

/// Why layers cannot be read as an image.
#[derive(Debug, thiserror::Error)]
pub enum OverlayError {
    #[error("open the layer {}: {source}", .directory.display())]
    Layer { directory: PathBuf, source: io::Error },
    #[error("read {path} of layer {layer}: {source}")]
    Read { path: ImagePath, layer: usize, source: io::Error },
    #[error("read {path} of layer {layer}: its attribute {attribute} is not understood")]
    Attribute { path: ImagePath, layer: usize, attribute: String },
    #[error(transparent)]
    Listing(#[from] ListingError),
}

impl OverlayTree {
    /// Puts layers over one another, `directories` with the base first. Whoever has not CAP_SYS_ADMIN in the first user
    /// namespace is shown no `trusted.` attribute by the kernel, and so takes opaque directories for plain ones.
    ///
    /// # Errors
    /// When a layer cannot be read, or is in a format that engines do not leave.
    pub fn open(directories: &[PathBuf]) -> Result<Self, OverlayError> {
        let roots: Vec<OwnedFd> = directories.iter().map(|path| root(path)).collect::<Result<_, _>>()?;
        let owners: Vec<Owners> = directories.iter().map(|path| owners(path)).collect::<Result<_, _>>()?;
        let (mut entries, origins) = merge::merge(&roots)?;
        set_owners(&mut entries, &origins, &owners);
        settle_groups(&mut entries);
        Ok(Self { listing: ListingBuilder::from(entries).finish()?, origins, roots, owners })
    }

    /// The same image as its containers show it, which is how a collector lists it: without the files that engines put
    /// over the image's own, and with the directories that they make. `volumes` are the image's.
    ///
    /// # Errors
    /// When what is left is no file system.
    pub fn seen_in_container(self, volumes: &[ImagePath]) -> Result<Self, OverlayError> {
        let Self { listing, mut origins, roots, owners } = self;
        let mut entries = listing.into_entries();
        in_container::show(&mut entries, volumes);
        origins.retain(|path, _| entries.contains_key(path));
        Ok(Self { listing: ListingBuilder::from(entries).finish()?, origins, roots, owners })
    }

    /// Each layer by itself, the base first: what it holds, without what it hides. Their roots are engines' doing, with the
    /// time of the pull, and shown as an engine makes one.
    ///
    /// # Errors
    /// When a layer cannot be read.
    pub fn layers(&self) -> Result<Vec<Self>, OverlayError> {
        let alone = |(layer, root): (usize, &OwnedFd)| {
            let lost = |source| OverlayError::Read { path: ImagePath::root(), layer, source };
            let roots = vec![root.try_clone().map_err(lost)?];
            let owners = vec![self.owners[layer].clone()];
            let (mut entries, origins) = merge::merge(&roots)?;
            set_owners(&mut entries, &origins, &owners);
            entries.insert(ImagePath::root(), engine_directory());
            settle_groups(&mut entries);
            Ok(Self { listing: ListingBuilder::from(entries).finish()?, origins, roots, owners })
        };
        self.roots.iter().enumerate().map(alone).collect()
    }

    /// The image's listing.
    #[must_use]
    pub fn listing(&self) -> &Listing {
        &self.listing
    }
}

impl ImageTree for OverlayTree {
    fn entry(&self, path: &ImagePath) -> Option<&Entry> {
        self.listing.get(path)
    }

    fn read_dir(&self, path: &ImagePath) -> Vec<&[u8]> {
        self.listing.read_dir(path)
    }

    fn walk(&self) -> Box<dyn Iterator<Item = (&ImagePath, &Entry)> + '_> {
        Box::new(self.listing.iter())
    }

    fn open(&self, path: &ImagePath) -> Result<Box<dyn Contents + '_>, TreeError> {
        let entry = self.listing.get(path).ok_or_else(|| TreeError::NotFound(path.clone()))?;
        let Kind::File { size } = entry.kind else { return Err(TreeError::NotAFile(path.clone())) };
        let layer = *self.origins.get(path).ok_or_else(|| TreeError::NotFound(path.clone()))?;
        let failed = |source| TreeError::Read { path: path.clone(), source };
        // A fifo must not block, a terminal not become ours.
        let file =
            File::from(below(&self.roots[layer], path, OFlags::NONBLOCK | OFlags::NOCTTY).map_err(failed)?);
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() || metadata.len() != size {
            return Err(failed(io::Error::other("it is another file than was listed")));
        }
        Ok(Box::new(file))
    }

    fn layer_of(&self, path: &ImagePath) -> Option<usize> {
        self.origins.get(path).copied()
    }
}

fn root(directory: &Path) -> Result<OwnedFd, OverlayError> {
    rustix::fs::open(directory, OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| OverlayError::Layer { directory: directory.to_owned(), source: error.into() })
}

/// What stands beside a layer's directory of the owners that it cannot show; nothing where nothing does.
fn owners(directory: &Path) -> Result<Owners, OverlayError> {
    let lost = |source| OverlayError::Layer { directory: directory.to_owned(), source };
    let file = directory.parent().unwrap_or(directory).join(owners::FILE);
    match std::fs::read(file) {
        Ok(bytes) => Owners::read(&bytes).map_err(lost),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Owners::default()),
        Err(error) => Err(lost(error)),
    }
}

fn set_owners(
    entries: &mut BTreeMap<ImagePath, Entry>,
    origins: &BTreeMap<ImagePath, usize>,
    owners: &[Owners],
) {
    for (path, layer) in origins {
        if let (Some(entry), Some((uid, gid))) = (entries.get_mut(path), owners[*layer].of(path)) {
            (entry.uid, entry.gid) = (uid, gid);
        }
    }
}

/// Opens a path of a layer for reading; no link is followed, neither on the way nor at its end.
fn below(root: &OwnedFd, path: &ImagePath, flags: OFlags) -> io::Result<OwnedFd> {
    let relative = if path.is_root() { &b"."[..] } else { &path.as_bytes()[1..] };
    rustix::fs::openat2(
        root,
        OsStr::from_bytes(relative),
        flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
        ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS,
    )
    .map_err(io::Error::from)
}
