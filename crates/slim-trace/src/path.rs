//! Paths as a program named them.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use slim_image::path::{escape, unescape};
use std::fmt;

/// An absolute path as a program named it, joined to its base directory but not resolved: it may hold `.`, `..` and
/// symlinks, since `a/..` is not `.` where `a` is a symlink. Written as escaped text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TracedPath(Vec<u8>);

impl TracedPath {
    /// Takes an absolute path as it is.
    #[must_use]
    pub fn new(absolute: impl Into<Vec<u8>>) -> Self {
        let bytes = absolute.into();
        debug_assert!(bytes.first() == Some(&b'/'), "a traced path is absolute");
        Self(bytes)
    }

    /// `path` as seen from the directory `base`: `path` itself where it is absolute, `base` where it is empty.
    #[must_use]
    pub fn join(base: &[u8], path: &[u8]) -> Self {
        if path.first() == Some(&b'/') {
            return Self(path.to_vec());
        }
        let mut bytes = base.to_vec();
        if !path.is_empty() {
            if bytes.last() != Some(&b'/') {
                bytes.push(b'/');
            }
            bytes.extend_from_slice(path);
        }
        Self::new(bytes)
    }

    /// The bytes, with the leading slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for TracedPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for TracedPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&escape(&self.0))
    }
}

impl Serialize for TracedPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&escape(&self.0))
    }
}

impl<'de> Deserialize<'de> for TracedPath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes =
            unescape(&text).ok_or_else(|| de::Error::custom(format!("bad escape in path {text:?}")))?;
        if bytes.first() != Some(&b'/') {
            return Err(de::Error::custom(format!("path {text:?} is not absolute")));
        }
        Ok(Self(bytes))
    }
}
