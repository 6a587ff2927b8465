//! What the targets share. A target fails by a panic, by taking too long or too much memory (libFuzzer's own limits), or
//! by an assertion on what must hold whatever the bytes are.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// Most that is read of anything that comes out.
pub const READ_LIMIT: u64 = 4 << 20;

/// Sets the checksums of a tar's headers, so that mutations of other fields are read at all.
pub fn with_checksums(bytes: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 512;
    let mut tar = bytes.to_vec();
    let mut at = 0;
    while at + BLOCK <= tar.len() {
        let header = &mut tar[at..at + BLOCK];
        if header.iter().all(|byte| *byte == 0) {
            at += BLOCK;
            continue;
        }
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        let digits: String =
            header[124..136].iter().map(|byte| char::from(*byte)).filter(|digit| ('0'..='7').contains(digit)).collect();
        let size = usize::from_str_radix(&digits, 8).unwrap_or(0);
        at = at.saturating_add(BLOCK).saturating_add(size.div_ceil(BLOCK).saturating_mul(BLOCK));
    }
    tar
}

/// Splits the input at every `\n--\n`.
pub fn parts(bytes: &[u8]) -> Vec<&[u8]> {
    const SEPARATOR: &[u8] = b"\n--\n";
    let mut parts = Vec::new();
    let mut rest = bytes;
    while let Some(at) = rest.windows(SEPARATOR.len()).position(|window| window == SEPARATOR) {
        parts.push(&rest[..at]);
        rest = &rest[at + SEPARATOR.len()..];
    }
    parts.push(rest);
    parts
}

/// Reads what there is, up to the limit, and forgets it.
pub fn drain(input: impl Read) {
    drop(std::io::copy(&mut input.take(READ_LIMIT), &mut std::io::sink()));
}

/// A folder to write into, with neighbours that must stay as they are.
pub struct Jail {
    folder: TempDir,
}

impl Jail {
    #[allow(clippy::new_without_default, reason = "makes folders")]
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let this = Self { folder };
        fs::create_dir(this.inside()).expect("a new folder");
        fs::create_dir(this.outside()).expect("a new folder");
        fs::write(this.outside().join("file"), "untouched").expect("a new file");
        this
    }

    /// Where the code under test writes.
    pub fn inside(&self) -> PathBuf {
        self.folder.path().join("inside")
    }

    fn outside(&self) -> PathBuf {
        self.folder.path().join("outside")
    }

    /// For what is unpacked on the way.
    pub fn scratch(&self) -> &Path {
        self.folder.path()
    }

    /// Fails unless nothing was written beside the folder.
    pub fn check(&self) {
        use std::os::unix::fs::MetadataExt;
        let names = |folder: &Path| {
            let mut names: Vec<_> =
                fs::read_dir(folder).expect("still there").flatten().map(|entry| entry.file_name()).collect();
            names.sort();
            names
        };
        assert_eq!(names(self.folder.path()), ["inside", "outside"], "something was written beside the folder");
        assert_eq!(names(&self.outside()), ["file"], "something was written into the neighbour");
        let file = self.outside().join("file");
        assert_eq!(fs::read(&file).expect("still there"), b"untouched");
        let meta = fs::symlink_metadata(&file).expect("still there");
        assert_eq!((meta.nlink(), meta.is_file()), (1, true), "the neighbour's file has another name");
    }
}
