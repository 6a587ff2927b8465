//! What a kept file is, by its first bytes. Each file is looked at once.

use crate::contents::Blocks;
use crate::context::Context;
use crate::elf::{Headers, headers};
use crate::note::Note;
use slim_image::{Entry, ImagePath, Kind, TreeError};
use std::collections::BTreeMap;
use std::rc::Rc;

/// The smallest ELF header.
const ELF_MIN: u64 = 52;
/// Bytes of a `#!` line that Linux reads (BINPRM_BUF_SIZE).
const SCRIPT_LINE_MAX: usize = 256;
/// Endings of files that are neither programs nor libraries unless their mode says so: it saves reading most of them.
const DATA_ENDINGS: [&str; 56] = [
    "c",
    "cfg",
    "cjs",
    "conf",
    "crt",
    "css",
    "csv",
    "cts",
    "db",
    "ejs",
    "erb",
    "gem",
    "gif",
    "gz",
    "h",
    "htm",
    "html",
    "ico",
    "ini",
    "jpeg",
    "jpg",
    "js",
    "json",
    "jsx",
    "lock",
    "map",
    "md",
    "mjs",
    "mo",
    "pem",
    "php",
    "pl",
    "pm",
    "png",
    "po",
    "properties",
    "pth",
    "pub",
    "py",
    "pyc",
    "pyi",
    "rb",
    "rst",
    "scss",
    "sql",
    "svg",
    "tcl",
    "toml",
    "ts",
    "tsx",
    "ttf",
    "txt",
    "woff2",
    "xml",
    "yaml",
    "yml",
];

/// What a file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum File {
    Elf(Rc<Headers>),
    /// Its first line, without `#!`.
    Script(Rc<[u8]>),
    Other,
}

/// The files looked at so far.
#[derive(Debug, Default)]
pub(crate) struct Files {
    known: BTreeMap<ImagePath, File>,
    pub notes: Vec<Note>,
}

impl Files {
    /// What the file at a path is.
    ///
    /// # Errors
    /// When the source cannot be read. A file that only claims to be ELF is a note.
    pub(crate) fn inspect(&mut self, context: &Context<'_>, path: &ImagePath) -> Result<File, TreeError> {
        if let Some(file) = self.known.get(path) {
            return Ok(file.clone());
        }
        let file = match context.entry(path) {
            Some(entry) if may_run(path, entry) => self.read(context, path, entry)?,
            _ => File::Other,
        };
        self.known.insert(path.clone(), file.clone());
        Ok(file)
    }

    fn read(&mut self, context: &Context<'_>, path: &ImagePath, entry: &Entry) -> Result<File, TreeError> {
        let failed = |source| TreeError::Read { path: path.clone(), source };
        let mut blocks = Blocks::new(context.tree.open(path)?, entry.size());
        let head = blocks.head(SCRIPT_LINE_MAX).map_err(failed)?;
        if let Some(rest) = head.strip_prefix(b"#!") {
            let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
            return Ok(File::Script(line.into()));
        }
        if !head.starts_with(headers::MAGIC) {
            return Ok(File::Other);
        }
        let read = headers::read(&mut blocks);
        if let Some(source) = blocks.failure.take() {
            return Err(failed(source));
        }
        Ok(match read {
            Ok(Some(headers)) => File::Elf(Rc::new(headers)),
            Ok(None) => File::Other,
            Err(malformed) => {
                self.notes.push(Note::ElfUnreadable { path: path.clone(), why: malformed.0.to_owned() });
                File::Other
            }
        })
    }
}

fn may_run(path: &ImagePath, entry: &Entry) -> bool {
    let Kind::File { size } = entry.kind else { return false };
    if entry.mode & 0o111 != 0 {
        return size > 2;
    }
    let name = path.file_name();
    let ending = name.iter().rposition(|byte| *byte == b'.').map_or(&[][..], |dot| &name[dot + 1..]);
    size >= ELF_MIN && DATA_ENDINGS.binary_search_by(|known| known.as_bytes().cmp(ending)).is_err()
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_image::{Config, MemoryTree};

    #[test]
    fn the_endings_are_sorted_for_the_search() {
        assert!(DATA_ENDINGS.is_sorted());
    }

    #[test]
    fn a_file_that_only_begins_as_elf_is_a_note() {
        let tree =
            MemoryTree::new().file("/broken", 0o755, [b"\x7fELF\x02\x01".as_slice(), &[0; 60]].concat());
        let mut files = Files::default();
        let context = Context::new(&tree, &Config::default());
        assert_eq!(files.inspect(&context, &"/broken".into()).unwrap(), File::Other);
        assert!(matches!(&files.notes[..], [Note::ElfUnreadable { .. }]));
    }

    #[test]
    fn a_script_gives_its_first_line() {
        let tree =
            MemoryTree::new().file("/s", 0o755, "#! /bin/sh -e\nexit\n").file("/t.py", 0o644, [b'#'; 80]);
        let context = Context::new(&tree, &Config::default());
        let mut files = Files::default();
        assert_eq!(
            files.inspect(&context, &"/s".into()).unwrap(),
            File::Script(b" /bin/sh -e".as_slice().into())
        );
        assert_eq!(files.inspect(&context, &"/t.py".into()).unwrap(), File::Other);
    }
}
