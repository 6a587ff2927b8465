//! The manifest of a jar: an archive in ZIP's format (PKWARE APPNOTE 6.3), of which one member is read.

use std::io::{self, Read, Seek, SeekFrom};

const MANIFEST: &[u8] = b"META-INF/MANIFEST.MF";
/// A manifest is larger only with the digests of a signed jar; what it says of the class path stands at its beginning.
const MANIFEST_MAX: u64 = 1 << 20;
/// The end record with the longest comment.
const END_MAX: u64 = 22 + 65_535;
/// The directory of a jar with a hundred thousand classes.
const DIRECTORY_MAX: u64 = 32 << 20;

/// The main attributes of a jar's manifest; empty where there is none or the file is no archive.
///
/// # Errors
/// When the file cannot be read.
pub(super) fn manifest(jar: &mut (impl Read + Seek), size: u64) -> io::Result<Vec<(String, String)>> {
    Ok(member(jar, size)?.map(|text| attributes(&text)).unwrap_or_default())
}

fn member(jar: &mut (impl Read + Seek), size: u64) -> io::Result<Option<Vec<u8>>> {
    let tail = part(jar, size.saturating_sub(END_MAX), END_MAX)?;
    let Some(end) = tail.windows(4).rposition(|window| window == b"PK\x05\x06") else { return Ok(None) };
    let (Some(length), Some(start)) = (number(&tail, end + 12, 4), number(&tail, end + 16, 4)) else {
        return Ok(None);
    };
    if length > DIRECTORY_MAX {
        return Ok(None);
    }
    let directory = part(jar, start, length)?;
    let mut at = 0;
    while directory.get(at..at + 4) == Some(b"PK\x01\x02") {
        let field = |offset, length| number(&directory, at + offset, length);
        let (Some(method), Some(packed), Some(name), Some(extra), Some(comment), Some(local)) =
            (field(10, 2), field(20, 4), field(28, 2), field(30, 2), field(32, 2), field(42, 4))
        else {
            return Ok(None);
        };
        let (Ok(name), Ok(rest)) = (usize::try_from(name), usize::try_from(extra + comment)) else {
            return Ok(None);
        };
        if directory.get(at + 46..at + 46 + name) == Some(MANIFEST) {
            return contents(jar, local, packed, method);
        }
        at += 46 + name + rest;
    }
    Ok(None)
}

fn contents(
    jar: &mut (impl Read + Seek),
    local: u64,
    packed: u64,
    method: u64,
) -> io::Result<Option<Vec<u8>>> {
    let header = part(jar, local, 30)?;
    let (Some(name), Some(extra)) = (number(&header, 26, 2), number(&header, 28, 2)) else { return Ok(None) };
    let bytes = part(jar, local + 30 + name + extra, packed.min(MANIFEST_MAX))?;
    match method {
        0 => Ok(Some(bytes)),
        8 => {
            let mut text = Vec::new();
            // One that is cut off gives what stands before.
            let _ = flate2::read::DeflateDecoder::new(&bytes[..]).take(MANIFEST_MAX).read_to_end(&mut text);
            Ok(Some(text))
        }
        _ => Ok(None),
    }
}

fn part(jar: &mut (impl Read + Seek), start: u64, length: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    jar.seek(SeekFrom::Start(start))?;
    Read::by_ref(jar).take(length).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at.checked_add(length)?)?;
    Some(bytes.iter().rev().fold(0, |number, byte| (number << 8) | u64::from(*byte)))
}

/// Names and values up to the first empty line; a line that begins with a space goes on with the one before.
fn attributes(text: &[u8]) -> Vec<(String, String)> {
    let mut attributes: Vec<(String, String)> = Vec::new();
    for line in text.split(|byte| *byte == b'\n') {
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned();
        if line.is_empty() {
            break;
        }
        if let Some(more) = line.strip_prefix(' ') {
            if let Some((_, value)) = attributes.last_mut() {
                value.push_str(more);
            }
        } else if let Some((name, value)) = line.split_once(':') {
            attributes.push((name.to_owned(), value.strip_prefix(' ').unwrap_or(value).to_owned()));
        }
    }
    attributes
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use proptest::prelude::*;
    use std::io::{Cursor, Write as _};

    /// An archive with one file before the manifest.
    pub(crate) fn jar(manifest: &str) -> Vec<u8> {
        let mut packed = DeflateEncoder::new(Vec::new(), Compression::default());
        packed.write_all(manifest.as_bytes()).unwrap();
        let packed = packed.finish().unwrap();
        let (mut bytes, mut directory) = (Vec::new(), Vec::new());
        for (name, contents, method) in [(&b"A.class"[..], b"x".to_vec(), 0_u8), (MANIFEST, packed, 8)] {
            let (at, length) = (bytes.len() as u32, contents.len() as u32);
            bytes.extend_from_slice(b"PK\x03\x04");
            bytes.extend_from_slice(&[0; 22]);
            bytes.extend_from_slice(&[name.len() as u8, 0, 0, 0]);
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(&contents);
            directory.extend_from_slice(b"PK\x01\x02\0\0\0\0\0\0");
            directory.extend_from_slice(&[method, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            directory.extend_from_slice(&length.to_le_bytes());
            directory.extend_from_slice(&[
                0,
                0,
                0,
                0,
                name.len() as u8,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
            ]);
            directory.extend_from_slice(&at.to_le_bytes());
            directory.extend_from_slice(name);
        }
        let start = bytes.len() as u32;
        bytes.extend_from_slice(&directory);
        bytes.extend_from_slice(b"PK\x05\x06\0\0\0\0\x02\0\x02\0");
        bytes.extend_from_slice(&(directory.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&start.to_le_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes
    }

    fn read(bytes: &[u8]) -> Vec<(String, String)> {
        manifest(&mut Cursor::new(bytes), bytes.len() as u64).unwrap()
    }

    #[test]
    fn long_values_go_over_lines() {
        let jar = jar("Manifest-Version: 1.0\r\nClass-Path: lib/a.jar li\r\n b/b.jar\r\n\r\nName: x\r\n");
        let class_path = ("Class-Path".to_owned(), "lib/a.jar lib/b.jar".to_owned());
        assert_eq!(read(&jar), [("Manifest-Version".to_owned(), "1.0".to_owned()), class_path]);
    }

    proptest! {
        #[test]
        fn no_change_of_an_archive_panics(at in 0_usize..300, byte in any::<u8>(), cut in 0_usize..300) {
            let mut bytes = jar("Class-Path: a.jar\n");
            let length = bytes.len();
            bytes[at % length] = byte;
            bytes.truncate(length - cut % length);
            read(&bytes);
        }
    }
}
