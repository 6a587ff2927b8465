//! The seam between where an image's files lie and what is decided about them.
//!
//! An [`ImageTree`] shows an image's merged file system as it was built, never as a container left it. The listing is
//! in memory (a 1 GB image has some 50,000 entries); contents are read when asked for.

use crate::path::ImagePath;
use std::collections::BTreeMap;
use std::io::{Read, Seek};

/// One file, directory or link of an image.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Entry {
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: `st_mode & 0o7777`.
    pub mode: u32,
    /// Owner as the image stores it. May be larger than 2^21.
    pub uid: u32,
    pub gid: u32,
    /// Seconds since the epoch; may be negative.
    pub mtime: i64,
    /// Extended attributes by name, `security.capability` among them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub xattrs: BTreeMap<String, Vec<u8>>,
    /// Entries with the same number are names of one inode. `None`: one name only (or not known).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hard_link_group: Option<u64>,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Directory,
    /// A regular file with its size in bytes.
    File {
        size: u64,
    },
    /// A symbolic link with its target as stored: relative or absolute, bytes.
    Symlink {
        #[serde(with = "crate::tree::escaped")]
        target: Vec<u8>,
    },
    CharacterDevice {
        major: u32,
        minor: u32,
    },
    BlockDevice {
        major: u32,
        minor: u32,
    },
    Fifo,
    Socket,
}

impl Entry {
    /// Whether this is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// The size in bytes of a regular file; 0 of anything else.
    #[must_use]
    pub fn size(&self) -> u64 {
        if let Kind::File { size } = self.kind { size } else { 0 }
    }
}

/// What can be read at any position: ELF headers are small parts of large files.
pub trait Contents: Read + Seek {}
impl<T: Read + Seek> Contents for T {}

/// An image's file system. Lookups never follow symlinks: `/bin/sh` is `None` where `/bin` is a symlink. Walking with
/// links followed is `slim_keep`'s business, which must record every link on the way.
pub trait ImageTree: Sync {
    /// The entry at exactly this path.
    fn entry(&self, path: &ImagePath) -> Option<&Entry>;

    /// The names in a directory, sorted; empty for anything that is no directory.
    fn read_dir(&self, path: &ImagePath) -> Vec<&[u8]>;

    /// Every path of the image with its entry, in path order (the root included).
    fn walk(&self) -> Box<dyn Iterator<Item = (&ImagePath, &Entry)> + '_>;

    /// The contents of a regular file.
    ///
    /// # Errors
    /// When the path is no regular file of the image or its source cannot be read.
    fn open(&self, path: &ImagePath) -> Result<Box<dyn Contents + '_>, TreeError>;

    /// Reads many files one after the other, in the order given: what is cheap for a source over a pipe.
    ///
    /// # Errors
    /// As [`ImageTree::open`], and whatever `each` returns.
    fn read_each(
        &self,
        paths: &[ImagePath],
        each: &mut dyn FnMut(&ImagePath, &mut dyn Read) -> Result<(), TreeError>,
    ) -> Result<(), TreeError> {
        for path in paths {
            each(path, &mut self.open(path)?)?;
        }
        Ok(())
    }

    /// Which layer holds the entry, counted from the base (0); `None` where the source cannot tell.
    fn layer_of(&self, _path: &ImagePath) -> Option<usize> {
        None
    }
}

/// Why an image's file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    #[error("find {0} in the image")]
    NotFound(ImagePath),
    #[error("read {0}: it is no regular file")]
    NotAFile(ImagePath),
    #[error("read {path}: {source}")]
    Read { path: ImagePath, source: std::io::Error },
    #[error("read the image's files: {0}")]
    Source(String),
}

/// Serde for byte strings as escaped text, see [`crate::path::escape`].
pub mod escaped {
    use serde::{Deserialize, Deserializer, Serializer, de};

    /// Writes bytes as escaped text.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&crate::path::escape(bytes))
    }

    /// Reads escaped text.
    ///
    /// # Errors
    /// When the text has a bad escape.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        crate::path::unescape(&text).ok_or_else(|| de::Error::custom(format!("bad escape in {text:?}")))
    }
}
