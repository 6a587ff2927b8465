//! Who owns a file: the packages of an image, as the records of their managers have them.
//!
//! One file a package manager. Each says by name alone which of the image's files are its records, all records are read
//! in one go, and then each claims what its packages own. Invariants: only what the image holds is claimed; a file has one
//! owner, and where several claim it the manager that stands first in [`Manager`] has it, then the package whose record
//! comes first; records that cannot be read are never passed over in silence ([`Packages::unread`]). Nothing here depends
//! on anything but the tree.

mod apk;
mod claims;
mod composer;
mod dpkg;
mod gem;
mod npm;
mod ownership;
mod pip;
mod rpm;

pub use ownership::Ownership;

use claims::Claims;
use serde::{Deserialize, Serialize};
use slim_image::{Entry, ImagePath, ImageTree, Kind, TreeError};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::Read;

/// Longer records are damaged, or not what their name says: dpkg's longest, of thousands of packages, has a tenth.
const RECORD_MAX: u64 = 64 << 20;

/// A program that installs packages and writes down which files they are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Manager {
    /// Debian, Ubuntu and what is made from them, distroless images too.
    Dpkg,
    /// Alpine, Wolfi.
    Apk,
    /// Red Hat, Fedora, SUSE, Amazon.
    Rpm,
    /// Python.
    Pip,
    /// Node.js; yarn and pnpm lay out the same folders.
    Npm,
    /// Ruby.
    Gem,
    /// PHP.
    Composer,
}

/// One installed package.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Package {
    pub manager: Manager,
    /// As its manager prints it: `libc6:amd64`, `@scope/name`.
    pub name: String,
    /// `None` where the record does not say.
    pub version: Option<String>,
    /// The file of the image from which all this is known.
    pub record: ImagePath,
}

/// Which of [`Packages::iter`]'s packages, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageId(usize);

/// A record that could not be read: its packages' files seem to be nobody's.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Unread {
    pub record: ImagePath,
    pub why: String,
}

/// The packages of an image, with what each owns.
#[derive(Debug, Default)]
pub struct Packages {
    packages: Vec<Package>,
    /// Everything owned, in path order; directories where they have one owner only.
    owned: Vec<(ImagePath, PackageId)>,
    /// By package: indices into `owned`.
    files: Vec<Vec<usize>>,
    configuration: BTreeSet<ImagePath>,
    unread: Vec<Unread>,
}

/// One package manager's records while they are read.
trait Register {
    /// Called for every regular file of the image, in path order: whether it is a record whose contents are needed.
    fn wants(&mut self, path: &ImagePath, entry: &Entry) -> bool;

    /// The contents of a wanted file.
    fn take(&mut self, path: &ImagePath, contents: Vec<u8>, unread: &mut Vec<Unread>);

    /// Claims what the packages own.
    ///
    /// # Errors
    /// When the image's files cannot be read.
    fn claim(self: Box<Self>, claims: &mut Claims<'_>) -> Result<(), TreeError>;
}

impl Packages {
    /// Reads the records of all managers.
    ///
    /// # Errors
    /// When the image's files cannot be read. A damaged record is no error, see [`Packages::unread`].
    pub fn read(tree: &dyn ImageTree) -> Result<Self, TreeError> {
        // In the order of `Manager`: the first claim stands.
        let mut registers: Vec<Box<dyn Register>> = vec![
            Box::new(dpkg::Dpkg::default()),
            Box::new(apk::Apk::default()),
            Box::new(rpm::Rpm::default()),
            Box::new(pip::Pip::default()),
            Box::new(npm::Npm::default()),
            Box::new(gem::Gem::default()),
            Box::new(composer::Composer::default()),
        ];
        let mut unread = Vec::new();
        let wanted = wanted(tree, &mut registers, &mut unread);
        let paths: Vec<ImagePath> = wanted.keys().cloned().collect();
        tree.read_each(&paths, &mut |path, contents| {
            let mut bytes = Vec::new();
            let failed = |source| TreeError::Read { path: path.clone(), source };
            contents.take(RECORD_MAX).read_to_end(&mut bytes).map_err(failed)?;
            if let Some(register) = wanted.get(path).and_then(|index| registers.get_mut(*index)) {
                register.take(path, bytes, &mut unread);
            }
            Ok(())
        })?;
        let mut claims = Claims::new(tree, unread);
        for register in registers {
            register.claim(&mut claims)?;
        }
        Ok(claims.finish())
    }

    /// The package that owns what lies at this path: a file, a link, or a directory that no other package has.
    #[must_use]
    pub fn owner(&self, path: &ImagePath) -> Option<&Package> {
        self.owner_id(path).map(|package| self.package(package))
    }

    /// The same, as an id.
    #[must_use]
    pub fn owner_id(&self, path: &ImagePath) -> Option<PackageId> {
        let index = self.owned.binary_search_by(|(owned, _)| owned.cmp(path)).ok()?;
        Some(self.owned[index].1)
    }

    /// A package by its id, which must be one of this value's.
    #[must_use]
    pub fn package(&self, package: PackageId) -> &Package {
        &self.packages[package.0]
    }

    /// All packages, by manager and then by record.
    pub fn iter(&self) -> impl Iterator<Item = (PackageId, &Package)> {
        self.packages.iter().enumerate().map(|(index, package)| (PackageId(index), package))
    }

    /// What a package owns in the image, in path order: files, links, and directories that no other package has.
    pub fn files(&self, package: PackageId) -> impl Iterator<Item = &ImagePath> {
        self.files[package.0].iter().map(|index| &self.owned[*index].0)
    }

    /// Whether the owner of this path expects that people change it (dpkg's conffiles; with apk, all of /etc).
    #[must_use]
    pub fn is_configuration(&self, path: &ImagePath) -> bool {
        self.configuration.contains(path)
    }

    /// Records that could not be read, in path order.
    #[must_use]
    pub fn unread(&self) -> &[Unread] {
        &self.unread
    }
}

/// The records to read, each with the index of its register.
fn wanted(
    tree: &dyn ImageTree,
    registers: &mut [Box<dyn Register>],
    unread: &mut Vec<Unread>,
) -> BTreeMap<ImagePath, usize> {
    let mut wanted = BTreeMap::new();
    for (path, entry) in tree.walk() {
        let Kind::File { size } = entry.kind else { continue };
        let Some(index) = registers.iter_mut().position(|register| register.wants(path, entry)) else {
            continue;
        };
        if size > RECORD_MAX {
            let why = format!("it is larger than any such record, {size} bytes");
            unread.push(Unread { record: path.clone(), why });
        } else {
            wanted.insert(path.clone(), index);
        }
    }
    wanted
}

impl fmt::Display for Manager {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Dpkg => "dpkg",
            Self::Apk => "apk",
            Self::Rpm => "rpm",
            Self::Pip => "pip",
            Self::Npm => "npm",
            Self::Gem => "gem",
            Self::Composer => "composer",
        })
    }
}

/// `dpkg libc6:amd64 2.36-9`.
impl fmt::Display for Package {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.manager, self.name)?;
        self.version.as_ref().map_or(Ok(()), |version| write!(formatter, " {version}"))
    }
}

/// Lines of a text without their ends, empty ones too.
fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line))
}

/// Bytes of a record as text that says all of them.
fn text(bytes: &[u8]) -> String {
    slim_image::path::escape(bytes.trim_ascii())
}

/// The same, `None` where there is none.
fn some_text(bytes: &[u8]) -> Option<String> {
    Some(text(bytes)).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
