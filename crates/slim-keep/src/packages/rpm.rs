//! rpm: a database of package headers. Its list of files is not read yet, which is said, never passed over.

use super::claims::Claims;
use super::{Register, Unread};
use slim_image::{Entry, ImagePath, TreeError};

const FOLDERS: [&str; 2] = ["/usr/lib/sysimage/rpm/", "/var/lib/rpm/"];
/// SQLite, ndb and Berkeley DB.
const NAMES: [&[u8]; 3] = [b"rpmdb.sqlite", b"Packages.db", b"Packages"];

#[derive(Default)]
pub(super) struct Rpm {
    databases: Vec<ImagePath>,
}

impl Register for Rpm {
    fn wants(&mut self, path: &ImagePath, _: &Entry) -> bool {
        let folder = FOLDERS.iter().find_map(|folder| path.as_bytes().strip_prefix(folder.as_bytes()));
        if folder.is_some_and(|name| NAMES.contains(&name)) {
            self.databases.push(path.clone());
        }
        false
    }

    fn take(&mut self, _: &ImagePath, _: Vec<u8>, _: &mut Vec<Unread>) {}

    fn claim(self: Box<Self>, claims: &mut Claims<'_>) -> Result<(), TreeError> {
        for database in &self.databases {
            claims.unread(database, "databases of rpm cannot be read yet");
        }
        Ok(())
    }
}
