//! `removed.json`: what the fat image has and the slim image has not. One line a path, since there are many.

use super::{ImageNames, Owner, Owners, RecordError, read};
use crate::keep_set::KeepSet;
use serde::{Deserialize, Serialize};
use slim_image::path::escape;
use slim_image::{ImagePath, ImageTree, Kind};
use std::collections::BTreeMap;
use std::fmt;

/// The version of `removed.json` that this code writes and reads.
pub const REMOVED_VERSION: u32 = 1;
/// What the file is called among the artifacts.
pub const REMOVED_FILE: &str = "removed.json";

/// `removed.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemovedFile {
    pub version: u32,
    /// The fat image.
    pub image: ImageNames,
    pub entries: BTreeMap<ImagePath, RemovedPath>,
}

/// One path that was not kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct RemovedPath {
    /// With the size of a regular file.
    pub kind: Kind,
    #[serde(flatten)]
    pub owner: Owner,
    /// Another name of the same file: one that is kept, or else the first of those that are not. The bytes count there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub same_file_as: Option<ImagePath>,
}

impl RemovedPath {
    /// Bytes that the slim image has less.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        match self.kind {
            Kind::File { size } if self.same_file_as.is_none() => size,
            _ => 0,
        }
    }
}

/// By what removed paths are put together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    Package,
    Layer,
    /// The topmost directory that is removed with all below it; for what was taken out of a kept directory, that one.
    Directory,
    /// The ending of the file's name.
    Extension,
}

/// Removed paths that have something in common.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Group {
    pub name: String,
    pub entries: usize,
    pub bytes: u64,
}

impl RemovedFile {
    /// What of `tree`, the fat image, is not in the keep-set.
    #[must_use]
    pub fn new(image: ImageNames, set: &KeepSet, tree: &dyn ImageTree, owners: &dyn Owners) -> Self {
        let mut names: BTreeMap<u64, &ImagePath> = BTreeMap::new();
        for (path, kept) in &set.entries {
            if let Some(group) = kept.entry.hard_link_group {
                names.entry(group).or_insert(path);
            }
        }
        let mut entries = BTreeMap::new();
        for (path, entry) in tree.walk().filter(|(path, _)| !set.contains(path)) {
            let first = entry.hard_link_group.map(|group| *names.entry(group).or_insert(path));
            let removed = RemovedPath {
                kind: entry.kind.clone(),
                owner: Owner::of(path, tree, owners),
                same_file_as: first.filter(|first| *first != path).cloned(),
            };
            entries.insert(path.clone(), removed);
        }
        Self { version: REMOVED_VERSION, image, entries }
    }

    /// The file's bytes: JSON with one line a path.
    ///
    /// # Panics
    /// Never: all keys are strings.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json =
            format!("{{\"version\":{},\"image\":{},\"entries\":{{", self.version, line(&self.image));
        for (number, (path, removed)) in self.entries.iter().enumerate() {
            json.push_str(if number == 0 { "\n" } else { ",\n" });
            json.push_str(&format!("{}:{}", line(path), line(removed)));
        }
        json.push_str("\n}}\n");
        json.into_bytes()
    }

    /// Reads what [`RemovedFile::to_json`] wrote.
    ///
    /// # Errors
    /// When the file has another version or is no such file.
    pub fn from_json(json: &[u8]) -> Result<Self, RecordError> {
        read(json, REMOVED_FILE, REMOVED_VERSION)
    }

    /// The removed paths put together, the most bytes first.
    #[must_use]
    pub fn groups(&self, by: By) -> Vec<Group> {
        let mut groups: BTreeMap<String, (usize, u64)> = BTreeMap::new();
        for (path, removed) in &self.entries {
            let (entries, bytes) = groups.entry(self.group_of(path, removed, by)).or_default();
            *entries += 1;
            *bytes += removed.bytes();
        }
        let groups = groups.into_iter().map(|(name, (entries, bytes))| Group { name, entries, bytes });
        let mut groups: Vec<Group> = groups.collect();
        groups.sort_by(|one, other| {
            (other.bytes, other.entries, &one.name).cmp(&(one.bytes, one.entries, &other.name))
        });
        groups
    }

    /// How many paths below a directory are removed, and their bytes.
    #[must_use]
    pub fn below(&self, directory: &ImagePath) -> (usize, u64) {
        let below = self.entries.iter().filter(|(path, _)| *path != directory && path.is_within(directory));
        below.fold((0, 0), |(entries, bytes), (_, removed)| (entries + 1, bytes + removed.bytes()))
    }

    fn group_of(&self, path: &ImagePath, removed: &RemovedPath, by: By) -> String {
        match by {
            By::Package => removed.owner.package.clone().unwrap_or_else(|| "(no package)".to_owned()),
            By::Layer => removed
                .owner
                .layer
                .map_or_else(|| "(layer not known)".to_owned(), |layer| format!("layer {layer}")),
            By::Directory => {
                let topmost = path.ancestors().into_iter().find(|above| self.entries.contains_key(above));
                let directory = match topmost {
                    Some(topmost) => topmost,
                    None if removed.kind == Kind::Directory => path.clone(),
                    None => path.parent().unwrap_or_else(ImagePath::root),
                };
                directory.to_string()
            }
            By::Extension => match removed.kind {
                Kind::File { .. } => extension(path.file_name()),
                Kind::Directory => "(directories)".to_owned(),
                Kind::Symlink { .. } => "(symlinks)".to_owned(),
                _ => "(special files)".to_owned(),
            },
        }
    }
}

/// `.py`; of a library with its version behind, `.so`.
fn extension(name: &[u8]) -> String {
    /// What is longer is a part of the name.
    const LONGEST: usize = 12;
    if name.windows(4).any(|part| part == b".so.") {
        return ".so".to_owned();
    }
    match name.iter().rposition(|byte| *byte == b'.') {
        Some(dot) if dot > 0 && (2..=LONGEST).contains(&(name.len() - dot)) => escape(&name[dot..]),
        _ => "(no extension)".to_owned(),
    }
}

impl fmt::Display for By {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Package => "package",
            Self::Layer => "layer",
            Self::Directory => "directory",
            Self::Extension => "extension",
        })
    }
}

/// A value as one line of JSON.
fn line(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("all keys are strings")
}
