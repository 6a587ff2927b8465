//! What a build leaves to be asked later: `keep.json`, every kept path with the reasons, and `removed.json`, every path
//! that was not kept, with its owner. `docs/keep-schema.md` describes both.
//!
//! Invariant: together they hold every path of the fat image, each once; equal decisions are equal bytes.

mod difference;
mod explain;
mod owner;
mod removed;
mod shares;

pub use difference::{KeepDifference, OtherReasons};
pub use explain::{Answer, Explained, Recorded, Step};
pub use owner::{Owner, Owners};
pub use removed::{By, Group, REMOVED_FILE, REMOVED_VERSION, RemovedFile, RemovedPath};
pub use shares::Shares;

use crate::keep_set::KeepSet;
use crate::note::Note;
use crate::reason::Reason;
use crate::settings::Level;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use slim_image::{Digest, Entry, ImagePath, ImageTree};
use std::collections::{BTreeMap, BTreeSet};

/// The version of `keep.json` that this code writes and reads.
pub const VERSION: u32 = 2;
/// What the file is called among the artifacts.
pub const KEEP_FILE: &str = "keep.json";

/// Why a file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error("read {file}: it has version {found}, this program reads version {readable}")]
    OtherVersion { file: &'static str, found: u64, readable: u32 },
    #[error("read {file}: {source}")]
    Malformed { file: &'static str, source: serde_json::Error },
}

/// An image, and what it was called.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageNames {
    pub id: Digest,
    pub names: Vec<String>,
}

/// `keep.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct KeepFile {
    pub version: u32,
    /// The fat image.
    pub image: ImageNames,
    /// `None` where no image was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub slim: Option<ImageNames>,
    pub level: Level,
    /// What `--exclude-pattern` took away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub exclude_patterns: Vec<String>,
    /// The file beside this one with what was not kept.
    pub removed: String,
    pub notes: Vec<Note>,
    pub entries: BTreeMap<ImagePath, KeptPath>,
}

/// The beginning of a `keep.json`: of which build it is.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct KeepHead {
    pub image: ImageNames,
    #[serde(default)]
    pub slim: Option<ImageNames>,
}

/// One kept path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeptPath {
    /// As the slim image has it.
    #[serde(flatten)]
    pub entry: Entry,
    /// Of a regular file's contents; `None` where no image was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<Digest>,
    #[serde(flatten)]
    pub owner: Owner,
    pub because: BTreeSet<Reason>,
}

/// What a `keep.json` says besides the keep-set.
#[derive(Clone, Debug)]
pub struct Made<'a> {
    pub image: ImageNames,
    pub slim: Option<ImageNames>,
    pub level: Level,
    pub exclude_patterns: &'a [String],
    /// Of the contents of the files in the slim image's layer.
    pub digests: Option<&'a BTreeMap<ImagePath, Digest>>,
}

impl Made<'_> {
    /// No slim image, and nothing asked for.
    #[must_use]
    pub fn of(image: ImageNames) -> Self {
        Self { image, slim: None, level: Level::default(), exclude_patterns: &[], digests: None }
    }
}

impl KeepFile {
    /// What is written of a keep-set. `tree`: the fat image.
    #[must_use]
    pub fn new(set: &KeepSet, made: &Made<'_>, tree: &dyn ImageTree, owners: &dyn Owners) -> Self {
        let entries = set.entries.iter().map(|(path, kept)| {
            let kept = KeptPath {
                entry: kept.entry.clone(),
                digest: made.digests.and_then(|digests| digests.get(path)).copied(),
                owner: Owner::of(path, tree, owners),
                because: kept.because.clone(),
            };
            (path.clone(), kept)
        });
        Self {
            version: VERSION,
            image: made.image.clone(),
            slim: made.slim.clone(),
            level: made.level,
            exclude_patterns: made.exclude_patterns.to_vec(),
            removed: REMOVED_FILE.to_owned(),
            notes: set.notes.clone(),
            entries: entries.collect(),
        }
    }

    /// The file's bytes, ending with a line feed.
    ///
    /// # Panics
    /// Never: all keys are strings.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut json = serde_json::to_vec_pretty(self).expect("a keep-set's keys are strings");
        json.push(b'\n');
        json
    }

    /// Reads what [`KeepFile::to_json`] wrote.
    ///
    /// # Errors
    /// When the file has another version or is no such file.
    pub fn from_json(json: &[u8]) -> Result<Self, RecordError> {
        read(json, KEEP_FILE, VERSION)
    }
}

impl KeepHead {
    /// Reads the beginning of a `keep.json`.
    ///
    /// # Errors
    /// When the file has another version or is no such file.
    pub fn from_json(json: &[u8]) -> Result<Self, RecordError> {
        read(json, KEEP_FILE, VERSION)
    }
}

fn read<T: DeserializeOwned>(json: &[u8], file: &'static str, readable: u32) -> Result<T, RecordError> {
    #[derive(Deserialize)]
    struct Versioned {
        version: u64,
    }
    let malformed = |source| RecordError::Malformed { file, source };
    let Versioned { version: found } = serde_json::from_slice(json).map_err(malformed)?;
    if found != u64::from(readable) {
        return Err(RecordError::OtherVersion { file, found, readable });
    }
    serde_json::from_slice(json).map_err(malformed)
}

#[cfg(test)]
mod tests;
