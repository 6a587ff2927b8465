//! rpm: a database of package headers, in one of three formats. SQLite, which rpm uses since 4.16 (Fedora 33, RHEL 9), is
//! read; that of the others (ndb of SUSE, Berkeley DB of RHEL 8 and Amazon Linux 2) is not, which is said.
//!
//! The headers' format is that of the Linux Standard Base, "Package File Format"; the tags are in rpm's `rpmtag.h`.

mod header;
mod sqlite;

use super::claims::Claims;
use super::{Manager, Register, Unread, text};
use header::Header;
use slim_image::{Entry, ImagePath, TreeError};

const FOLDERS: [&str; 2] = ["/usr/lib/sysimage/rpm/", "/var/lib/rpm/"];
const SQLITE: &[u8] = b"rpmdb.sqlite";
/// What SQLite has not put into the database yet. A database that was closed has an empty one or none.
const SQLITE_LOG: &[u8] = b"rpmdb.sqlite-wal";
/// Databases in formats that are not read.
const OTHERS: [&[u8]; 2] = [b"Packages", b"Packages.db"];
/// The table of headers.
const TABLE: &[u8] = b"Packages";

#[derive(Default)]
pub(super) struct Rpm {
    /// Headers by database.
    headers: Vec<(ImagePath, Vec<Header>)>,
    unread: Vec<Unread>,
}

impl Register for Rpm {
    fn wants(&mut self, path: &ImagePath, entry: &Entry) -> bool {
        let name = FOLDERS.iter().find_map(|folder| path.as_bytes().strip_prefix(folder.as_bytes()));
        let Some(name) = name else { return false };
        let mut unread = |why: &str| self.unread.push(Unread { record: path.clone(), why: why.to_owned() });
        if OTHERS.contains(&name) {
            unread("this format of rpm's database is not read");
        } else if name == SQLITE_LOG && entry.size() > 0 {
            unread("it holds changes to rpm's database that are not read");
        }
        name == SQLITE
    }

    fn take(&mut self, path: &ImagePath, contents: Vec<u8>, unread: &mut Vec<Unread>) {
        let mut headers = Vec::new();
        let mut damaged = None;
        match sqlite::blobs(&contents, TABLE) {
            Err(why) => damaged = Some(why.to_owned()),
            Ok(blobs) => {
                for blob in blobs {
                    match Header::read(&blob) {
                        Some(header) => headers.push(header),
                        None => damaged = Some("it holds a package header that cannot be read".to_owned()),
                    }
                }
            }
        }
        unread.extend(damaged.map(|why| Unread { record: path.clone(), why }));
        self.headers.push((path.clone(), headers));
    }

    fn claim(self: Box<Self>, claims: &mut Claims<'_>) -> Result<(), TreeError> {
        for (record, headers) in &self.headers {
            for header in headers {
                let version = Some(text(&header.version)).filter(|version| !version.is_empty());
                let package = claims.package(Manager::Rpm, text(&header.name), version, record);
                for file in &header.files {
                    claims.path(package, &file.path);
                    if file.is_configuration {
                        claims.configuration(&file.path);
                    }
                }
            }
        }
        for Unread { record, why } in self.unread {
            claims.unread(&record, why);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
