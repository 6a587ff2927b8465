//! apk: one file has all packages, each a stanza of lines `P:name`, `V:version`, `F:folder`, `R:file in that folder`.
//!
//! See apk-package(5). What lies in /etc apk protects: changed files there stay as they are on an upgrade.

use super::claims::Claims;
use super::{Manager, Register, Unread, lines, some_text, text};
use slim_image::{Entry, ImagePath, TreeError};

const RECORDS: [&str; 2] = ["/lib/apk/db/installed", "/usr/lib/apk/db/installed"];

#[derive(Default)]
pub(super) struct Apk {
    records: Vec<(ImagePath, Vec<u8>)>,
}

impl Register for Apk {
    fn wants(&mut self, path: &ImagePath, _: &Entry) -> bool {
        RECORDS.iter().any(|record| record.as_bytes() == path.as_bytes())
    }

    fn take(&mut self, path: &ImagePath, contents: Vec<u8>, _: &mut Vec<Unread>) {
        self.records.push((path.clone(), contents));
    }

    fn claim(self: Box<Self>, claims: &mut Claims<'_>) -> Result<(), TreeError> {
        for (record, contents) in &self.records {
            let mut stanza: Vec<&[u8]> = Vec::new();
            for line in lines(contents).chain([&b""[..]]) {
                if line.is_empty() {
                    package(claims, record, &stanza);
                    stanza.clear();
                } else {
                    stanza.push(line);
                }
            }
        }
        Ok(())
    }
}

fn package(claims: &mut Claims<'_>, record: &ImagePath, stanza: &[&[u8]]) {
    let field = |name: &[u8]| stanza.iter().find_map(|line| line.strip_prefix(name));
    let Some(name) = field(b"P:") else { return };
    let package = claims.package(Manager::Apk, text(name), field(b"V:").and_then(some_text), record);
    let mut folder: &[u8] = b"";
    for line in stanza {
        if let Some(path) = line.strip_prefix(b"F:") {
            folder = path;
            claims.path(package, folder);
        } else if let Some(name) = line.strip_prefix(b"R:") {
            let path = [folder, b"/", name].concat();
            claims.path(package, &path);
            if folder == b"etc" || folder.starts_with(b"etc/") {
                claims.configuration(&path);
            }
        }
    }
}
