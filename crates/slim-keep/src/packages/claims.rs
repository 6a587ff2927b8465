//! Which package owns what, while the managers' records are gone through.
//!
//! Records name paths as their package was built: `/bin/ls`, where the image's `/bin` is a symlink to `/usr/bin`. A claim
//! is of what lies there in the image, found over symlinked directories; the last component is never followed.

use super::{Manager, Package, PackageId, Packages, Unread};
use crate::context::never_emitted;
use crate::walk::{End, walk};
use slim_image::{ImagePath, ImageTree, Kind};
use std::collections::{BTreeMap, BTreeSet};

/// What is claimed so far.
pub(super) struct Claims<'a> {
    pub tree: &'a dyn ImageTree,
    packages: Vec<Package>,
    files: BTreeMap<ImagePath, PackageId>,
    /// Directories, and symlinks that lead to one: many packages share them (`None`).
    directories: BTreeMap<ImagePath, Option<PackageId>>,
    /// Everything below one of these is its package's, unless it is claimed by name or a deeper folder is another's.
    folders: BTreeMap<ImagePath, PackageId>,
    configuration: BTreeSet<ImagePath>,
    unread: Vec<Unread>,
    /// Directories as records name them, and where they lie in the image.
    places: BTreeMap<Vec<u8>, Option<ImagePath>>,
}

impl<'a> Claims<'a> {
    pub(super) fn new(tree: &'a dyn ImageTree, unread: Vec<Unread>) -> Self {
        Self {
            tree,
            packages: Vec::new(),
            files: BTreeMap::new(),
            directories: BTreeMap::new(),
            folders: BTreeMap::new(),
            configuration: BTreeSet::new(),
            unread,
            places: BTreeMap::new(),
        }
    }

    /// A package, to claim for.
    pub(super) fn package(
        &mut self,
        manager: Manager,
        name: String,
        version: Option<String>,
        record: &ImagePath,
    ) -> PackageId {
        self.packages.push(Package { manager, name, version, record: record.clone() });
        PackageId(self.packages.len() - 1)
    }

    /// Claims what lies at the path that a record names: absolute, or taken from the root; it may hold `..`.
    pub(super) fn path(&mut self, package: PackageId, path: &[u8]) {
        let Some(place) = self.place(path) else { return };
        let Some(entry) = self.tree.entry(&place) else { return };
        let is_shared = match entry.kind {
            Kind::Directory => true,
            Kind::Symlink { .. } => self.leads_to_a_directory(&place),
            _ => false,
        };
        if is_shared {
            let owner = self.directories.entry(place).or_insert(Some(package));
            if *owner != Some(package) {
                *owner = None;
            }
        } else {
            self.files.entry(place).or_insert(package);
        }
    }

    /// Claims a folder with everything below.
    pub(super) fn folder(&mut self, package: PackageId, path: &[u8]) {
        let Some(place) = self.directory(path) else { return };
        if !place.is_root() {
            self.folders.entry(place).or_insert(package);
        }
    }

    /// Says that people are expected to change what lies at this path.
    pub(super) fn configuration(&mut self, path: &[u8]) {
        let place = self.place(path).filter(|place| self.tree.entry(place).is_some());
        self.configuration.extend(place);
    }

    /// Says that a record could not be read.
    pub(super) fn unread(&mut self, record: &ImagePath, why: impl Into<String>) {
        self.unread.push(Unread { record: record.clone(), why: why.into() });
    }

    /// Where a path lies, found over symlinked directories; the last component is not followed.
    fn place(&mut self, path: &[u8]) -> Option<ImagePath> {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let slash = path.iter().rposition(|byte| *byte == b'/');
        let (directory, name) = slash.map_or((&b""[..], path), |slash| (&path[..slash], &path[slash + 1..]));
        match name {
            b"" | b"." | b".." => self.directory(path),
            name => Some(self.directory(directory)?.join(name)),
        }
    }

    fn directory(&mut self, path: &[u8]) -> Option<ImagePath> {
        if let Some(place) = self.places.get(path) {
            return place.clone();
        }
        let place = match walk(self.tree, path, true, &never_emitted).end {
            End::Found(found) if self.tree.entry(&found).is_some_and(slim_image::Entry::is_directory) => {
                Some(found)
            }
            _ => None,
        };
        self.places.insert(path.to_vec(), place.clone());
        place
    }

    fn leads_to_a_directory(&self, path: &ImagePath) -> bool {
        let end = walk(self.tree, path.as_bytes(), true, &never_emitted).end;
        matches!(end, End::Found(found) if self.tree.entry(&found).is_some_and(slim_image::Entry::is_directory))
    }

    pub(super) fn finish(mut self) -> Packages {
        self.below_folders();
        self.compiled_python();
        let directories = self.directories.into_iter().filter_map(|(path, owner)| Some((path, owner?)));
        self.files.extend(directories);
        let owned: Vec<(ImagePath, PackageId)> = self.files.into_iter().collect();
        let mut files = vec![Vec::new(); self.packages.len()];
        for (index, (_, package)) in owned.iter().enumerate() {
            files[package.0].push(index);
        }
        self.unread.sort();
        self.unread.dedup();
        Packages {
            packages: self.packages,
            owned,
            files,
            configuration: self.configuration,
            unread: self.unread,
        }
    }

    /// Gives what lies below a claimed folder to the innermost one's package.
    fn below_folders(&mut self) {
        if self.folders.is_empty() {
            return;
        }
        let owner = |path: &ImagePath| {
            let within = std::iter::successors(Some(path.clone()), ImagePath::parent);
            within.into_iter().find_map(|folder| self.folders.get(&folder).copied())
        };
        for (path, entry) in self.tree.walk() {
            if self.files.contains_key(path) || self.directories.contains_key(path) {
                continue;
            }
            let Some(package) = owner(path) else { continue };
            if entry.is_directory() {
                self.directories.insert(path.clone(), Some(package));
            } else {
                self.files.insert(path.clone(), package);
            }
        }
    }

    /// Gives `__pycache__/x.cpython-311.pyc`, which is compiled when a package is installed or first used and stands in
    /// few records, to the owner of `x.py`.
    fn compiled_python(&mut self) {
        let mut compiled = Vec::new();
        for (path, _) in self.tree.walk() {
            if self.files.contains_key(path) {
                continue;
            }
            let source = crate::python::companions(path).map(|seed| ImagePath::new(seed.path));
            if let Some(package) = source.and_then(|source| self.files.get(&source)) {
                compiled.push((path.clone(), *package));
            }
        }
        self.files.extend(compiled);
    }
}
