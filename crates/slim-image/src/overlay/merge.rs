//! Layers put over one another, directory by directory.

use super::{OverlayError, below};
use crate::listing::is_of_the_image;
use crate::on_disk::{self, LinkGroups, Xattrs};
use crate::path::ImagePath;
use crate::tree::{Entry, Kind};
use rustix::fs::{AtFlags, FileType, OFlags};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What overlayfs writes its own attributes under: the second where it is mounted without privilege (`userxattr`).
const OF_OVERLAYFS: [&str; 2] = ["trusted.overlay.", "user.overlay."];
const OPAQUE: &str = "opaque";
/// What overlayfs notes for itself, and which says nothing of the tree.
const HARMLESS: [&str; 6] = ["impure", "nlink", "origin", "protattr", "upper", "uuid"];

/// The merged entries, and the layer that holds each.
type Merged = (BTreeMap<ImagePath, Entry>, BTreeMap<ImagePath, usize>);

pub(super) fn merge(roots: &[OwnedFd]) -> Result<Merged, OverlayError> {
    let mut merge = Merge {
        roots,
        entries: BTreeMap::new(),
        origins: BTreeMap::new(),
        groups: LinkGroups::default(),
        ahead: Vec::new(),
    };
    // The kernel merges the roots whatever they are marked with.
    let layers: Vec<usize> = (0..roots.len()).rev().collect();
    let root = ImagePath::root();
    for layer in &layers {
        merge.take(&root, *layer, &Opened::new(&roots[*layer]), b".")?;
    }
    merge.ahead.push((root, layers));
    while let Some((directory, layers)) = merge.ahead.pop() {
        merge.directory(&directory, &layers)?;
    }
    Ok((merge.entries, merge.origins))
}

struct Merge<'a> {
    roots: &'a [OwnedFd],
    entries: BTreeMap<ImagePath, Entry>,
    origins: BTreeMap<ImagePath, usize>,
    groups: LinkGroups,
    /// Directories to be read, each with the layers that make it up, the topmost first.
    ahead: Vec<(ImagePath, Vec<usize>)>,
}

impl Merge<'_> {
    fn directory(&mut self, directory: &ImagePath, layers: &[usize]) -> Result<(), OverlayError> {
        // Names that a layer above has closed: nothing below shows through.
        let mut closed: BTreeSet<Vec<u8>> = BTreeSet::new();
        let mut merged: BTreeMap<Vec<u8>, Vec<usize>> = BTreeMap::new();
        for (position, layer) in layers.iter().enumerate() {
            let is_last = position + 1 == layers.len();
            let fail = |source| OverlayError::Read { path: directory.clone(), layer: *layer, source };
            let descriptor = below(&self.roots[*layer], directory, OFlags::DIRECTORY).map_err(fail)?;
            let opened = Opened::new(&descriptor);
            for name in opened.names().map_err(fail)? {
                if closed.contains(&name) {
                    continue;
                }
                let path = directory.join(&name);
                let parts = merged.get_mut(&name);
                match self.take(&path, *layer, &opened, &name)? {
                    Taken::Directory { is_opaque } => {
                        if is_opaque && !is_last {
                            closed.insert(name.clone());
                        }
                        match parts {
                            Some(parts) => parts.push(*layer),
                            None => drop(merged.insert(name, vec![*layer])),
                        }
                    }
                    // What is no directory hides directories below it, and ends a merge of those above.
                    Taken::Other if is_last => {}
                    Taken::Other => drop(closed.insert(name)),
                }
            }
        }
        self.ahead.extend(merged.into_iter().map(|(name, layers)| (directory.join(name), layers)));
        Ok(())
    }

    /// Looks at one path of a layer, and takes it in unless a layer above holds it already.
    fn take(
        &mut self,
        path: &ImagePath,
        layer: usize,
        directory: &Opened<'_>,
        name: &[u8],
    ) -> Result<Taken, OverlayError> {
        let fail = |source| OverlayError::Read { path: path.clone(), layer, source };
        let name = OsStr::from_bytes(name);
        let stat = rustix::fs::statat(directory.descriptor, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(|error| fail(error.into()))?;
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let is_new = !self.entries.contains_key(path);
        if !is_directory && !is_new {
            return Ok(Taken::Other);
        }
        let host = directory.host.join(name);
        let wanted = |name: &str| own_name(name).is_some() || (is_new && is_of_the_image(name));
        let mut xattrs = on_disk::xattrs(&host, wanted).map_err(fail)?;
        let is_opaque = is_opaque(&mut xattrs).map_err(|attribute| OverlayError::Attribute {
            path: path.clone(),
            layer,
            attribute,
        })?;
        if is_new {
            let entry = on_disk::entry(&host, &stat, xattrs, &mut self.groups).map_err(fail)?;
            if entry.kind == (Kind::CharacterDevice { major: 0, minor: 0 }) {
                return Ok(Taken::Other);
            }
            self.entries.insert(path.clone(), entry);
            self.origins.insert(path.clone(), layer);
        }
        Ok(if is_directory { Taken::Directory { is_opaque } } else { Taken::Other })
    }
}

/// What a path of a layer is to the layers below.
enum Taken {
    Directory { is_opaque: bool },
    Other,
}

/// Takes overlayfs's own attributes away. Whether they say that the directory hides those below; the name of one that
/// is not understood.
fn is_opaque(xattrs: &mut Xattrs) -> Result<bool, String> {
    let mut is_opaque = false;
    for (name, value) in xattrs.extract_if(.., |name, _| own_name(name).is_some()) {
        match own_name(&name) {
            Some(OPAQUE) if value == b"y" => is_opaque = true,
            Some(own) if HARMLESS.contains(&own) => {}
            _ => return Err(name),
        }
    }
    Ok(is_opaque)
}

/// What is left of an attribute's name if it is one of overlayfs's own.
fn own_name(name: &str) -> Option<&str> {
    OF_OVERLAYFS.iter().find_map(|prefix| name.strip_prefix(prefix))
}

/// An open directory of a layer.
struct Opened<'a> {
    descriptor: &'a OwnedFd,
    /// The same as a path: what follows is looked up in just this directory, wherever it lies.
    host: PathBuf,
}

impl<'a> Opened<'a> {
    fn new(descriptor: &'a OwnedFd) -> Self {
        Self { descriptor, host: PathBuf::from(format!("/proc/self/fd/{}", descriptor.as_raw_fd())) }
    }

    fn names(&self) -> io::Result<Vec<Vec<u8>>> {
        let mut names = Vec::new();
        for entry in rustix::fs::Dir::read_from(self.descriptor)? {
            let name = entry?.file_name().to_bytes().to_vec();
            if name != b"." && name != b".." {
                names.push(name);
            }
        }
        Ok(names)
    }
}
