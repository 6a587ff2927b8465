//! Owners that a layer's directory cannot show: whoever unpacks without privilege may give files to few users, or none.
//!
//! They stand in a file beside the directory, [`FILE`]: a line of JSON for each path.

use crate::path::ImagePath;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io;

/// The file's name.
pub const FILE: &str = "owners.jsonl";

/// User and group by path.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Owners(BTreeMap<ImagePath, (u32, u32)>);

#[derive(Serialize, Deserialize)]
struct Line {
    path: ImagePath,
    uid: u32,
    gid: u32,
}

impl Owners {
    /// Notes an owner.
    pub fn note(&mut self, path: ImagePath, uid: u32, gid: u32) {
        self.0.insert(path, (uid, gid));
    }

    /// A path is taken away, with all below it.
    pub fn forget(&mut self, path: &ImagePath) {
        self.0.retain(|noted, _| !noted.is_within(path));
    }

    /// Whose a path is, where its directory does not show it.
    #[must_use]
    pub fn of(&self, path: &ImagePath) -> Option<(u32, u32)> {
        self.0.get(path).copied()
    }

    /// Whether nothing was noted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The file's contents.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (path, (uid, gid)) in &self.0 {
            let line = Line { path: path.clone(), uid: *uid, gid: *gid };
            // Numbers and a path, which is written as text: this is always JSON.
            bytes.extend(serde_json::to_vec(&line).unwrap_or_default());
            bytes.push(b'\n');
        }
        bytes
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When a line is none.
    pub fn read(bytes: &[u8]) -> io::Result<Self> {
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let entry = |line| serde_json::from_slice::<Line>(line).map(|line| (line.path, (line.uid, line.gid)));
        Ok(Self(lines.map(entry).collect::<Result<_, _>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let mut owners = Owners::default();
        owners.note(ImagePath::new(b"/var/odd\xff\nname"), 33, 0);
        owners.note(ImagePath::new("/etc/x"), 0, 65534);
        owners.note(ImagePath::new("/gone"), 1, 1);
        owners.forget(&ImagePath::new("/gone"));
        let again = Owners::read(&owners.write()).unwrap();
        assert_eq!(again, owners);
        assert_eq!(again.of(&ImagePath::new("/etc/x")), Some((0, 65534)));
        assert!(Owners::read(b"nonsense\n").is_err());
    }
}
