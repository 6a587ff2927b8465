//! pip, and whatever else installs Python distributions: `<name>-<version>.dist-info/RECORD` lists a distribution's files
//! (PEP 376, PEP 627); older ones have `<name>-<version>-py3.x.egg-info/installed-files.txt`.
//!
//! A distribution without such a list was installed by another manager, whose files they are.

use super::claims::Claims;
use super::{Manager, Register, Unread, lines, some_text, text};
use slim_image::{Entry, ImagePath, TreeError};

#[derive(Default)]
pub(super) struct Pip {
    records: Vec<(ImagePath, Vec<u8>)>,
}

impl Register for Pip {
    fn wants(&mut self, path: &ImagePath, _: &Entry) -> bool {
        let ending: &[u8] = match path.file_name() {
            b"RECORD" => b".dist-info",
            b"installed-files.txt" => b".egg-info",
            _ => return false,
        };
        path.parent().is_some_and(|folder| folder.file_name().ends_with(ending))
    }

    fn take(&mut self, path: &ImagePath, contents: Vec<u8>, _: &mut Vec<Unread>) {
        self.records.push((path.clone(), contents));
    }

    fn claim(self: Box<Self>, claims: &mut Claims<'_>) -> Result<(), TreeError> {
        for (record, contents) in &self.records {
            let Some(folder) = record.parent() else { continue };
            let is_record = record.file_name() == b"RECORD";
            let (name, version) = name_and_version(folder.file_name());
            let package = claims.package(Manager::Pip, name, version, record);
            // The list's paths are relative to the folder that holds `.dist-info`, or to `.egg-info` itself.
            let base =
                if is_record { folder.parent().unwrap_or_else(ImagePath::root) } else { folder.clone() };
            for line in lines(contents).filter(|line| !line.is_empty()) {
                let path = if is_record { first_column(line) } else { line.to_vec() };
                if path.starts_with(b"/") {
                    claims.path(package, &path);
                } else {
                    claims.path(package, &[base.as_bytes(), b"/", &path].concat());
                }
            }
            claims.folder(package, folder.as_bytes());
        }
        Ok(())
    }
}

/// `flask-3.0.0.dist-info`, `Flask-3.0.0-py3.11.egg-info`, `flask.egg-info`.
fn name_and_version(folder: &[u8]) -> (String, Option<String>) {
    let stem = folder.strip_suffix(b".dist-info").or_else(|| folder.strip_suffix(b".egg-info"));
    let mut words = stem.unwrap_or(folder).split(|byte| *byte == b'-');
    (text(words.next().unwrap_or_default()), words.next().and_then(some_text))
}

/// The first column of a line of comma-separated values (RFC 4180): in quotes, with quotes doubled, where it holds a
/// comma.
fn first_column(line: &[u8]) -> Vec<u8> {
    let Some(quoted) = line.strip_prefix(b"\"") else {
        return line.split(|byte| *byte == b',').next().unwrap_or_default().to_vec();
    };
    let mut column = Vec::new();
    let mut bytes = quoted.iter().copied().peekable();
    while let Some(byte) = bytes.next() {
        if byte == b'"' && bytes.next_if_eq(&b'"').is_none() {
            break;
        }
        column.push(byte);
    }
    column
}
