//! Reading tar streams as any tool writes them: ustar, pax, and GNU's long names and large numbers.

use super::{BLOCK, Member, MemberKind, XATTR};
use std::collections::BTreeMap;
use std::io::{self, Read};

/// More extension records before one member than any file system lets a file have; what claims more is refused before it is
/// read.
const EXTENSION_LIMIT: u64 = 4 << 20;
/// XATTR_NAME_MAX and XATTR_SIZE_MAX of limits.h.
const XATTR_NAME_LIMIT: usize = 255;
const XATTR_SIZE_LIMIT: usize = 64 << 10;

/// Why a tar stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TapeError {
    #[error("the header at byte {at} has a wrong checksum")]
    Checksum { at: u64 },
    #[error("the header at byte {at} has no valid {field}")]
    Field { at: u64, field: &'static str },
    #[error("the extension at byte {at} is {size} bytes long")]
    ExtensionTooLong { at: u64, size: u64 },
    #[error("the extension before byte {at} is malformed")]
    Extension { at: u64 },
    #[error("the member at byte {at} is of type {typeflag:#04x}, which is not read")]
    Type { at: u64, typeflag: u8 },
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Goes through a tar stream member by member.
pub(crate) struct Scanner<R> {
    input: R,
    position: u64,
    /// Bytes of the current member's contents not read yet, and of the padding behind them.
    remaining: u64,
    padding: u64,
}

/// What the headers before a member say about it.
#[derive(Default)]
struct Extensions {
    records: BTreeMap<Vec<u8>, Vec<u8>>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    /// Bytes of all of them.
    size: u64,
}

impl<R: Read> Scanner<R> {
    pub(crate) fn new(input: R) -> Self {
        Self { input, position: 0, remaining: 0, padding: 0 }
    }

    /// The next member; `None` at the end. What was not read of the last one's contents is passed over.
    pub(crate) fn next(&mut self) -> Result<Option<Member>, TapeError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip()?;
            let at = self.position;
            let Some(block) = self.block()? else { return Ok(None) };
            if block.iter().all(|byte| *byte == 0) {
                return Ok(None);
            }
            check(&block, at)?;
            match block[156] {
                b'x' => {
                    let bytes = self.extension(&block, at, &mut extensions.size)?;
                    parse_records(&bytes, &mut extensions.records)
                        .ok_or(TapeError::Extension { at: self.position })?;
                }
                b'g' => drop(self.extension(&block, at, &mut extensions.size)?),
                b'L' => {
                    let bytes = self.extension(&block, at, &mut extensions.size)?;
                    extensions.long_name = Some(until_zero(&bytes).to_vec());
                }
                b'K' => {
                    let bytes = self.extension(&block, at, &mut extensions.size)?;
                    extensions.long_link = Some(until_zero(&bytes).to_vec());
                }
                _ => return self.member(&block, at, extensions).map(Some),
            }
        }
    }

    /// The contents of the member that [`Scanner::next`] gave.
    pub(crate) fn contents(&mut self) -> impl Read + '_ {
        MemberContents { scanner: self }
    }

    /// Where in the stream the current member's contents lie, in bytes.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// What is read from: behind the end of the stream once [`Scanner::next`] gave `None`.
    pub(crate) fn into_inner(self) -> R {
        self.input
    }

    fn member(&mut self, block: &[u8; BLOCK], at: u64, extensions: Extensions) -> Result<Member, TapeError> {
        let mut member = from_header(block, at)?;
        member.size = number(block, 124..136, at, "size")?;
        if let Some(name) = extensions.long_name {
            member.name = name;
        }
        if let Some(link) = extensions.long_link {
            member.link = link;
        }
        apply(&mut member, extensions.records).ok_or(TapeError::Extension { at })?;
        if member.kind != MemberKind::File {
            member.size = 0;
        }
        // Version 7 writers mark a directory by nothing but its name.
        if member.kind == MemberKind::File && member.name.last() == Some(&b'/') {
            member.kind = MemberKind::Directory;
        }
        self.expect(member.size);
        Ok(member)
    }

    fn expect(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.wrapping_neg() % BLOCK as u64;
    }

    /// Reads an extension; `before` counts the bytes of all that belong to one member.
    fn extension(&mut self, block: &[u8; BLOCK], at: u64, before: &mut u64) -> Result<Vec<u8>, TapeError> {
        let size = number(block, 124..136, at, "size")?;
        // An empty one takes room, too.
        *before = before.saturating_add(size).saturating_add(BLOCK as u64);
        if *before > EXTENSION_LIMIT {
            return Err(TapeError::ExtensionTooLong { at, size });
        }
        self.expect(size);
        let mut bytes = Vec::new();
        self.contents().read_to_end(&mut bytes)?;
        Ok(bytes)
    }

    fn skip(&mut self) -> Result<(), TapeError> {
        io::copy(&mut self.contents(), &mut io::sink())?;
        let skipped = io::copy(&mut (&mut self.input).take(self.padding), &mut io::sink())?;
        self.position += skipped;
        // A stream may end without the last padding; then there is no next block either.
        self.padding = 0;
        Ok(())
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TapeError> {
        let mut block = [0; BLOCK];
        let mut filled = 0;
        while filled < BLOCK {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(None),
                Ok(0) => return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.position += BLOCK as u64;
        Ok(Some(block))
    }
}

struct MemberContents<'a, R> {
    scanner: &'a mut Scanner<R>,
}

impl<R: Read> Read for MemberContents<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.scanner.remaining).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            return Ok(0);
        }
        let read = self.scanner.input.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.scanner.remaining -= read as u64;
        self.scanner.position += read as u64;
        Ok(read)
    }
}

fn check(block: &[u8; BLOCK], at: u64) -> Result<(), TapeError> {
    let stated = number(block, 148..156, at, "checksum")?;
    let sum: u64 =
        (0..BLOCK).map(|index| if (148..156).contains(&index) { 32 } else { u64::from(block[index]) }).sum();
    if sum == stated { Ok(()) } else { Err(TapeError::Checksum { at }) }
}

fn from_header(block: &[u8; BLOCK], at: u64) -> Result<Member, TapeError> {
    let kind = match block[156] {
        b'0' | 0 | b'7' => MemberKind::File,
        b'1' => MemberKind::HardLink,
        b'2' => MemberKind::Symlink,
        b'3' => MemberKind::CharacterDevice,
        b'4' => MemberKind::BlockDevice,
        b'5' => MemberKind::Directory,
        b'6' => MemberKind::Fifo,
        typeflag => return Err(TapeError::Type { at, typeflag }),
    };
    let small = |field, name| number(block, field, at, name);
    let short = |value: u64, field| u32::try_from(value).map_err(|_| TapeError::Field { at, field });
    let mut member = Member::new(until_zero(&block[..100]), kind, (small(100..108, "mode")? & 0o7777) as u32);
    let is_posix = &block[257..263] == b"ustar\0";
    if is_posix && block[345] != 0 {
        member.name = [until_zero(&block[345..500]), b"/", &member.name].concat();
    }
    member.uid = short(small(108..116, "owner")?, "owner")?;
    member.gid = short(small(116..124, "group")?, "group")?;
    member.mtime = signed(&block[136..148]).ok_or(TapeError::Field { at, field: "time" })?;
    if matches!(kind, MemberKind::HardLink | MemberKind::Symlink) {
        member.link = until_zero(&block[157..257]).to_vec();
    }
    if matches!(kind, MemberKind::CharacterDevice | MemberKind::BlockDevice) {
        member.major = short(small(329..337, "device")?, "device")?;
        member.minor = short(small(337..345, "device")?, "device")?;
    }
    Ok(member)
}

fn apply(member: &mut Member, records: BTreeMap<Vec<u8>, Vec<u8>>) -> Option<()> {
    for (key, value) in records {
        // An empty value takes the record away: what the header says holds.
        if value.is_empty() && !key.starts_with(XATTR) {
            continue;
        }
        if key.starts_with(b"GNU.sparse.") {
            return None;
        }
        match &key[..] {
            // No name on a disk holds one.
            b"path" | b"linkpath" if value.contains(&0) => return None,
            b"path" => member.name = value,
            b"linkpath" => member.link = value,
            b"uid" => member.uid = decimal(&value)?,
            b"gid" => member.gid = decimal(&value)?,
            b"size" => member.size = decimal(&value)?,
            b"mtime" => member.mtime = seconds(&value)?,
            _ => {
                if let Some(name) = key.strip_prefix(XATTR) {
                    let is_name = (1..=XATTR_NAME_LIMIT).contains(&name.len()) && !name.contains(&0);
                    if !is_name || value.len() > XATTR_SIZE_LIMIT {
                        return None;
                    }
                    member.xattrs.insert(String::from_utf8(name.to_vec()).ok()?, value);
                }
            }
        }
    }
    Some(())
}

fn parse_records(mut bytes: &[u8], records: &mut BTreeMap<Vec<u8>, Vec<u8>>) -> Option<()> {
    while !bytes.is_empty() {
        let space = bytes.iter().take(20).position(|byte| *byte == b' ')?;
        let length: usize = decimal(&bytes[..space])?;
        let record = bytes.get(space + 1..length)?.strip_suffix(b"\n")?;
        let equals = record.iter().position(|byte| *byte == b'=')?;
        records.insert(record[..equals].to_vec(), record[equals + 1..].to_vec());
        bytes = &bytes[length..];
    }
    Some(())
}

fn decimal<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Whole seconds of `-1.5`, rounded down.
fn seconds(bytes: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(bytes).ok()?;
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let whole_seconds: i64 = whole.parse().ok()?;
    let below = whole.starts_with('-') && fraction.bytes().any(|digit| digit != b'0');
    whole_seconds.checked_sub(i64::from(below))
}

fn until_zero(bytes: &[u8]) -> &[u8] {
    bytes.split(|byte| *byte == 0).next().unwrap_or_default()
}

fn number(
    block: &[u8; BLOCK],
    field: std::ops::Range<usize>,
    at: u64,
    name: &'static str,
) -> Result<u64, TapeError> {
    signed(&block[field])
        .and_then(|value| u64::try_from(value).ok())
        .ok_or(TapeError::Field { at, field: name })
}

/// Octal digits, or GNU's two's complement when the first bit is set.
fn signed(field: &[u8]) -> Option<i64> {
    if field[0] & 0x80 != 0 {
        let mut value = if field[0] & 0x40 != 0 { -1_i128 } else { 0 };
        for (index, byte) in field.iter().enumerate() {
            let byte = if index == 0 { byte & 0x7f | (field[0] & 0x40) << 1 } else { *byte };
            value = value << 8 | i128::from(byte);
        }
        return i64::try_from(value).ok();
    }
    let text = std::str::from_utf8(until_zero(field)).ok()?.trim_matches(' ');
    if text.is_empty() { Some(0) } else { i64::from_str_radix(text, 8).ok() }
}
