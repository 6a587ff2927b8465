//! Writing tar streams.

use super::{BLOCK, Member, MemberKind, XATTR};
use std::io::{self, Write};

/// Largest number in the eight-byte fields: seven octal digits.
const SHORT: u64 = 0o777_7777;
/// Largest number in the twelve-byte fields: eleven octal digits.
const LONG: u64 = 0o777_7777_7777;

/// Writes the header of a member, its extension records before it. Contents and padding are the caller's.
///
/// # Errors
/// Those of the writer, and when the member cannot be expressed.
pub(crate) fn write_header(output: &mut dyn Write, member: &Member) -> io::Result<()> {
    let records = records(member)?;
    if !records.is_empty() {
        let mut header = Header::new(b"PaxHeaders/extension", b'x', 0o644);
        header.octal(124..136, records.len() as u64);
        output.write_all(&header.sealed())?;
        output.write_all(&records)?;
        pad(output, records.len() as u64)?;
    }
    let typeflag = match member.kind {
        MemberKind::File => b'0',
        MemberKind::HardLink => b'1',
        MemberKind::Symlink => b'2',
        MemberKind::CharacterDevice => b'3',
        MemberKind::BlockDevice => b'4',
        MemberKind::Directory => b'5',
        MemberKind::Fifo => b'6',
    };
    let mut header = Header::new(&plain(&member.name), typeflag, member.mode);
    header.octal(108..116, fitting(u64::from(member.uid), SHORT));
    header.octal(116..124, fitting(u64::from(member.gid), SHORT));
    header.octal(124..136, fitting(member.size, LONG));
    header.octal(136..148, fitting(u64::try_from(member.mtime).unwrap_or(0), LONG));
    header.bytes(157, &plain(&member.link));
    header.octal(329..337, u64::from(member.major));
    header.octal(337..345, u64::from(member.minor));
    output.write_all(&header.sealed())
}

/// Writes the zeros that follow `size` bytes of contents up to the next block.
///
/// # Errors
/// Those of the writer.
pub(crate) fn pad(output: &mut dyn Write, size: u64) -> io::Result<()> {
    let over = (size % BLOCK as u64) as usize;
    if over == 0 { Ok(()) } else { output.write_all(&[0; BLOCK][over..]) }
}

/// Writes the two empty blocks that end a stream.
///
/// # Errors
/// Those of the writer.
pub(crate) fn finish(output: &mut dyn Write) -> io::Result<()> {
    output.write_all(&[0; 2 * BLOCK])
}

/// A number that the header's field cannot hold stands in a record; the field is 0 then, as Go's writer has it.
fn fitting(number: u64, largest: u64) -> u64 {
    if number > largest { 0 } else { number }
}

fn records(member: &Member) -> io::Result<Vec<u8>> {
    let mut records = Vec::new();
    for (key, bytes) in [(&b"path"[..], &member.name), (b"linkpath", &member.link)] {
        if bytes.contains(&0) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "a name holds a zero byte"));
        }
        if bytes.len() > 100 || !bytes.is_ascii() {
            if std::str::from_utf8(bytes).is_err() {
                // Says to strict readers that the name is bytes; Go's reader takes bytes anyway.
                record(&mut records, b"hdrcharset", b"BINARY");
            }
            record(&mut records, key, bytes);
        }
    }
    for (key, number) in [(&b"uid"[..], member.uid), (b"gid", member.gid)] {
        if u64::from(number) > SHORT {
            record(&mut records, key, number.to_string().as_bytes());
        }
    }
    if member.size > LONG {
        record(&mut records, b"size", member.size.to_string().as_bytes());
    }
    if u64::try_from(member.mtime).map_or(true, |mtime| mtime > LONG) {
        record(&mut records, b"mtime", member.mtime.to_string().as_bytes());
    }
    if u64::from(member.major.max(member.minor)) > SHORT {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "the device number does not fit a tar header",
        ));
    }
    for (name, value) in &member.xattrs {
        if name.is_empty() || name.contains(['=', '\0']) {
            let message = format!("the extended attribute {name:?} cannot be named in a tar header");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        record(&mut records, &[XATTR, name.as_bytes()].concat(), value);
    }
    Ok(records)
}

/// `LENGTH key=value\n`, the length counting itself.
fn record(records: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut length = rest + 1;
    while length.to_string().len() + rest != length {
        length = length.to_string().len() + rest;
    }
    records.extend_from_slice(length.to_string().as_bytes());
    records.push(b' ');
    records.extend_from_slice(key);
    records.push(b'=');
    records.extend_from_slice(value);
    records.push(b'\n');
}

/// What the header's own field shows of a name; the whole name is in a record where they differ.
fn plain(name: &[u8]) -> Vec<u8> {
    name.iter().take(100).map(|byte| if byte.is_ascii() { *byte } else { b'_' }).collect()
}

struct Header([u8; BLOCK]);

impl Header {
    fn new(name: &[u8], typeflag: u8, mode: u32) -> Self {
        let mut header = Self([0; BLOCK]);
        header.bytes(0, name);
        header.octal(100..108, u64::from(mode & 0o7777));
        header.octal(108..116, 0);
        header.octal(116..124, 0);
        header.octal(124..136, 0);
        header.octal(136..148, 0);
        header.0[156] = typeflag;
        header.bytes(257, b"ustar\x0000");
        header.octal(329..337, 0);
        header.octal(337..345, 0);
        header
    }

    fn bytes(&mut self, at: usize, bytes: &[u8]) {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn octal(&mut self, field: std::ops::Range<usize>, number: u64) {
        let digits = field.len() - 1;
        self.bytes(field.start, format!("{number:0digits$o}").as_bytes());
    }

    fn sealed(mut self) -> [u8; BLOCK] {
        self.bytes(148, b"        ");
        let sum: u32 = self.0.iter().map(|byte| u32::from(*byte)).sum();
        self.bytes(148, format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}
