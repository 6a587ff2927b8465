//! What `launch` reads: a filter, file rules and the program that they are for, in one file.
//!
//! This file is compiled twice: into the library, and into the launcher itself, which has neither `std` nor a heap. So it
//! uses `core` only and borrows all it gives. Invariant: whatever bytes come, reading them ends in a policy whose parts
//! lie within them or in an error; there is no panic and no partly read policy.
//!
//! All numbers are little-endian. `docs/policy.md` has the layout for people.

use core::fmt;

/// What every file begins with.
pub const MAGIC: [u8; 8] = *b"slim-lp\0";
/// The version that is written and read.
pub const VERSION: u32 = 1;
/// Bytes before the filter.
pub const HEADER: usize = 48;
/// Where the checksum stands; it covers all that follows it.
pub const CHECKSUM: usize = 16;
/// The largest file that is read.
pub const SIZE_LIMIT: usize = 1 << 20;
/// BPF_MAXINSNS of the kernel: the longest filter.
pub const FILTER_LIMIT: usize = 4096;
/// Bytes of one instruction (`struct sock_filter`).
pub const INSTRUCTION: usize = 8;
/// Names under which the launcher is no program's stand-in.
pub const OWN_NAMES: [&[u8]; 2] = [b"launch", b"docker-slim-launch"];
/// PATH_MAX of the kernel, the zero byte included.
pub const PATH_LIMIT: usize = 4096;

/// AUDIT_ARCH_X86_64 and AUDIT_ARCH_AARCH64 of the kernel: which machine a filter is for.
pub const X86_64: u32 = 0xC000_003E;
pub const AARCH64: u32 = 0xC000_00B7;

/// Set no-new-privileges before the filter is installed.
pub const SET_NO_NEW_PRIVILEGES: u32 = 1;
/// There are file rules, perhaps none of them granting anything.
pub const HAS_FILE_RULES: u32 = 1 << 1;
/// A kernel without Landlock is an error.
pub const FILE_RULES_REQUIRED: u32 = 1 << 2;
const KNOWN_FLAGS: u32 = SET_NO_NEW_PRIVILEGES | HAS_FILE_RULES | FILE_RULES_REQUIRED;

/// Landlock's rights over files (`LANDLOCK_ACCESS_FS_*`), with the first version of its interface that has them.
pub mod right {
    pub const EXECUTE: u64 = 1;
    pub const WRITE_FILE: u64 = 1 << 1;
    pub const READ_FILE: u64 = 1 << 2;
    pub const READ_DIRECTORY: u64 = 1 << 3;
    pub const REMOVE_DIRECTORY: u64 = 1 << 4;
    pub const REMOVE_FILE: u64 = 1 << 5;
    pub const MAKE_CHARACTER_DEVICE: u64 = 1 << 6;
    pub const MAKE_DIRECTORY: u64 = 1 << 7;
    pub const MAKE_FILE: u64 = 1 << 8;
    pub const MAKE_SOCKET: u64 = 1 << 9;
    pub const MAKE_FIFO: u64 = 1 << 10;
    pub const MAKE_BLOCK_DEVICE: u64 = 1 << 11;
    pub const MAKE_LINK: u64 = 1 << 12;
    /// Version 2. Version 1 refuses every rename and link from one directory to another.
    pub const REFER: u64 = 1 << 13;
    /// Version 3.
    pub const TRUNCATE: u64 = 1 << 14;
    /// Version 5.
    pub const DEVICE_CONTROL: u64 = 1 << 15;

    /// All that are known here.
    pub const ALL: u64 = (1 << 16) - 1;
    /// Those that a rule for something other than a directory may grant.
    pub const OF_FILES: u64 = EXECUTE | WRITE_FILE | READ_FILE | TRUNCATE | DEVICE_CONTROL;

    /// The rights that a version of Landlock knows.
    #[must_use]
    pub const fn known_to(version: u32) -> u64 {
        match version {
            0 => 0,
            1 => REFER - 1,
            2 => TRUNCATE - 1,
            3 | 4 => DEVICE_CONTROL - 1,
            _ => ALL,
        }
    }
}

/// A policy within the bytes of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy<'a> {
    flags: u32,
    /// The program to run, ending in a zero byte; empty where the caller names it.
    pub program: &'a [u8],
    /// Instructions of 8 bytes each; empty: no filter.
    pub filter: &'a [u8],
    /// Rights that are taken away but where a rule grants them.
    pub handled: u64,
    rules: &'a [u8],
    count: usize,
}

/// One file rule: rights over a file, or over a directory with all below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule<'a> {
    pub rights: u64,
    /// Absolute, ending in a zero byte.
    pub path: &'a [u8],
}

/// Why bytes are no policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatError {
    NoPolicy,
    OtherVersion(u32),
    /// Cut short, or changed after it was written.
    Damaged,
    OtherMachine,
    /// It says something that this reader does not know.
    Unknown,
}

impl fmt::Display for FormatError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.text())
    }
}

impl FormatError {
    /// What is wrong, as a fragment.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::NoPolicy => "it is no policy of docker-slim launch",
            Self::OtherVersion(_) => "it is of a version that this launcher does not read",
            Self::Damaged => "it is damaged: its length or its checksum is wrong",
            Self::OtherMachine => "it was made for another kind of machine",
            Self::Unknown => "it holds something that this launcher does not know",
        }
    }
}

impl<'a> Policy<'a> {
    /// Reads a policy for a machine (AUDIT_ARCH_…); all of it is checked.
    ///
    /// # Errors
    /// Why the bytes are none.
    pub fn read(bytes: &'a [u8], machine: u32) -> Result<Self, FormatError> {
        if bytes.get(..MAGIC.len()) != Some(&MAGIC[..]) {
            return Err(FormatError::NoPolicy);
        }
        let number = |at: usize| number_at(bytes, at).ok_or(FormatError::Damaged);
        let version = number(8)?;
        if version != VERSION {
            return Err(FormatError::OtherVersion(version));
        }
        let is_whole = number(12)? as usize == bytes.len()
            && bytes.get(CHECKSUM + 4..).map(checksum) == Some(number(CHECKSUM)?);
        if !is_whole {
            return Err(FormatError::Damaged);
        }
        if number(20)? != machine {
            return Err(FormatError::OtherMachine);
        }
        let (flags, path, instructions) = (number(24)?, number(28)? as usize, number(32)? as usize);
        let count = number(36)? as usize;
        let handled = u64::from(number(40)?) | u64::from(number(44)?) << 32;
        if flags & !KNOWN_FLAGS != 0 || handled & !right::ALL != 0 || instructions > FILTER_LIMIT {
            return Err(FormatError::Unknown);
        }
        let body = bytes.get(HEADER..).ok_or(FormatError::Damaged)?;
        let (filter, body) = cut(body, instructions * INSTRUCTION)?;
        let (program, rules) = cut(body, path)?;
        if !program.is_empty() && !is_path(program) {
            return Err(FormatError::Damaged);
        }
        let policy = Self { flags, program, filter, handled, rules, count };
        let mut left = rules;
        for _ in 0..count {
            let (rule, rest) = rule(left).ok_or(FormatError::Damaged)?;
            if rule.rights & !handled != 0 {
                return Err(FormatError::Unknown);
            }
            left = rest;
        }
        if left.is_empty() { Ok(policy) } else { Err(FormatError::Damaged) }
    }

    /// Whether no-new-privileges is to be set.
    #[must_use]
    pub const fn sets_no_new_privileges(&self) -> bool {
        self.flags & SET_NO_NEW_PRIVILEGES != 0
    }

    /// Whether there are file rules.
    #[must_use]
    pub const fn has_file_rules(&self) -> bool {
        self.flags & HAS_FILE_RULES != 0
    }

    /// Whether a kernel that cannot keep them is an error.
    #[must_use]
    pub const fn requires_file_rules(&self) -> bool {
        self.flags & FILE_RULES_REQUIRED != 0
    }

    /// The file rules.
    #[must_use]
    pub const fn rules(&self) -> Rules<'a> {
        Rules { left: self.rules, count: self.count }
    }
}

/// The rules of a policy, in their order.
#[derive(Clone, Debug)]
pub struct Rules<'a> {
    left: &'a [u8],
    count: usize,
}

impl<'a> Iterator for Rules<'a> {
    type Item = Rule<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        let (rule, rest) = rule(self.left)?;
        self.left = rest;
        Some(rule)
    }
}

/// A rule: rights (8 bytes), length of the path (2 bytes), the path with its zero byte.
fn rule(bytes: &[u8]) -> Option<(Rule<'_>, &[u8])> {
    let rights = u64::from(number_at(bytes, 0)?) | u64::from(number_at(bytes, 4)?) << 32;
    let length = usize::from(u16::from_le_bytes([*bytes.get(8)?, *bytes.get(9)?]));
    let path = bytes.get(10..10 + length)?;
    is_path(path).then_some((Rule { rights, path }, bytes.get(10 + length..)?))
}

/// Absolute, with one zero byte and that at the end.
fn is_path(bytes: &[u8]) -> bool {
    bytes.len() <= PATH_LIMIT
        && bytes.first() == Some(&b'/')
        && bytes.iter().position(|byte| *byte == 0) == bytes.len().checked_sub(1)
}

fn cut(bytes: &[u8], at: usize) -> Result<(&[u8], &[u8]), FormatError> {
    match (bytes.get(..at), bytes.get(at..)) {
        (Some(before), Some(after)) => Ok((before, after)),
        _ => Err(FormatError::Damaged),
    }
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    let end = at.checked_add(4)?;
    let four: [u8; 4] = bytes.get(at..end)?.try_into().ok()?;
    Some(u32::from_le_bytes(four))
}

/// CRC-32 as in gzip. It finds accidents, not attackers: who can write the file can write the program beside it.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u32 {
    let mut sum = u32::MAX;
    for byte in bytes {
        sum ^= u32::from(*byte);
        for _ in 0..8 {
            sum = (sum >> 1) ^ (0xEDB8_8320 & (sum & 1).wrapping_neg());
        }
    }
    !sum
}
