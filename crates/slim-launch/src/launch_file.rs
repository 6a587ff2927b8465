//! The policy file as a value, and its bytes.

use crate::format::{self, right};
use std::collections::BTreeMap;

/// One instruction of a filter (`struct sock_filter`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    pub code: u16,
    pub if_true: u8,
    pub if_false: u8,
    pub operand: u32,
}

/// The kind of machine that a filter is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    Amd64,
    Arm64,
}

/// What the launcher is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchFile {
    pub machine: Machine,
    /// Absolute path of the program to run when the launcher stands in its place; `None`: whoever calls it names one.
    pub program: Option<Vec<u8>>,
    /// Whether the launcher sets no-new-privileges. Where it does not, somebody else must have, or it needs
    /// CAP_SYS_ADMIN.
    pub set_no_new_privileges: bool,
    /// Empty: no filter.
    pub filter: Vec<Instruction>,
    pub file_rules: Option<FileRules>,
}

/// What may be done with which paths; what no rule grants is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileRules {
    /// The rights that are ruled on ([`right`]); all others stay as they are.
    pub handled: u64,
    /// By absolute path. A rule for a directory holds for all below it.
    pub rules: BTreeMap<Vec<u8>, u64>,
    /// Whether the program is not to run where the kernel has no Landlock.
    pub required: bool,
}

/// Why a policy cannot be written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LaunchFileError {
    #[error("write the path {0:?} to a launch policy: it is not absolute, too long, or holds a zero byte")]
    Path(String),
    #[error("write a filter of {0} instructions to a launch policy: the kernel takes {limit} at most", limit = format::FILTER_LIMIT)]
    Filter(usize),
    #[error("write a launch policy of {0} bytes: launchers read {limit} at most", limit = format::SIZE_LIMIT)]
    Size(usize),
}

impl Machine {
    /// The one that this program runs on.
    #[must_use]
    pub const fn host() -> Self {
        if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::Amd64 }
    }

    /// AUDIT_ARCH_… of the kernel.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Amd64 => format::X86_64,
            Self::Arm64 => format::AARCH64,
        }
    }
}

impl LaunchFile {
    /// A policy that changes nothing.
    #[must_use]
    pub const fn new(machine: Machine) -> Self {
        Self { machine, program: None, set_no_new_privileges: false, filter: Vec::new(), file_rules: None }
    }

    /// The file's bytes. Equal policies give equal bytes.
    ///
    /// # Errors
    /// What the launcher would not read.
    pub fn to_bytes(&self) -> Result<Vec<u8>, LaunchFileError> {
        if self.filter.len() > format::FILTER_LIMIT {
            return Err(LaunchFileError::Filter(self.filter.len()));
        }
        let program = self.program.as_deref().map(terminated).transpose()?.unwrap_or_default();
        let (handled, rules) = match &self.file_rules {
            Some(rules) => (rules.handled & right::ALL, Some(&rules.rules)),
            None => (0, None),
        };
        let mut body = Vec::new();
        for instruction in &self.filter {
            body.extend(instruction.code.to_le_bytes());
            body.extend([instruction.if_true, instruction.if_false]);
            body.extend(instruction.operand.to_le_bytes());
        }
        body.extend(&program);
        for (path, rights) in rules.into_iter().flatten() {
            let path = terminated(path)?;
            body.extend((rights & handled).to_le_bytes());
            body.extend(u16::try_from(path.len()).expect("paths are short").to_le_bytes());
            body.extend(path);
        }
        let size = format::HEADER + body.len();
        if size > format::SIZE_LIMIT {
            return Err(LaunchFileError::Size(size));
        }
        let count = rules.map_or(0, BTreeMap::len);
        let mut after_checksum = Vec::with_capacity(size);
        for number in [self.machine.number(), self.flags(), small(program.len())] {
            after_checksum.extend(number.to_le_bytes());
        }
        after_checksum.extend(small(self.filter.len()).to_le_bytes());
        after_checksum.extend(small(count).to_le_bytes());
        after_checksum.extend(handled.to_le_bytes());
        after_checksum.extend(body);
        let mut bytes = format::MAGIC.to_vec();
        for number in [format::VERSION, small(size), format::checksum(&after_checksum)] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend(after_checksum);
        Ok(bytes)
    }

    /// Reads a policy of any machine.
    ///
    /// # Errors
    /// Why the bytes are none.
    pub fn read(bytes: &[u8]) -> Result<Self, format::FormatError> {
        let machines = [Machine::Amd64, Machine::Arm64];
        let machine = machines.into_iter().find(|machine| {
            format::Policy::read(bytes, machine.number()) != Err(format::FormatError::OtherMachine)
        });
        let machine = machine.ok_or(format::FormatError::OtherMachine)?;
        let policy = format::Policy::read(bytes, machine.number())?;
        let path = |path: &[u8]| path.strip_suffix(b"\0").unwrap_or(path).to_vec();
        let rules = policy.rules().map(|rule| (path(rule.path), rule.rights)).collect();
        Ok(Self {
            machine,
            program: Some(path(policy.program)).filter(|program| !program.is_empty()),
            set_no_new_privileges: policy.sets_no_new_privileges(),
            filter: policy.filter.chunks_exact(format::INSTRUCTION).map(instruction).collect(),
            file_rules: policy.has_file_rules().then_some(FileRules {
                handled: policy.handled,
                rules,
                required: policy.requires_file_rules(),
            }),
        })
    }

    fn flags(&self) -> u32 {
        let mut flags = 0;
        if self.set_no_new_privileges {
            flags |= format::SET_NO_NEW_PRIVILEGES;
        }
        if let Some(rules) = &self.file_rules {
            flags |= format::HAS_FILE_RULES;
            if rules.required {
                flags |= format::FILE_RULES_REQUIRED;
            }
        }
        flags
    }
}

fn instruction(bytes: &[u8]) -> Instruction {
    Instruction {
        code: u16::from_le_bytes([bytes[0], bytes[1]]),
        if_true: bytes[2],
        if_false: bytes[3],
        operand: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    }
}

fn terminated(path: &[u8]) -> Result<Vec<u8>, LaunchFileError> {
    let usable = path.first() == Some(&b'/') && path.len() < format::PATH_LIMIT && !path.contains(&0);
    match usable {
        true => Ok([path, b"\0"].concat()),
        false => Err(LaunchFileError::Path(String::from_utf8_lossy(path).into_owned())),
    }
}

/// Everything that is counted has been found to be within the limits.
fn small(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failure is a panic")]
mod tests {
    use super::*;
    use crate::format::FormatError;
    use proptest::prelude::*;

    fn sample() -> LaunchFile {
        LaunchFile {
            program: Some(b"/usr/bin/.app.slim".to_vec()),
            set_no_new_privileges: true,
            filter: vec![Instruction { code: 6, if_true: 1, if_false: 2, operand: 0x7fff_0000 }; 3],
            file_rules: Some(FileRules {
                handled: right::ALL,
                rules: [(b"/etc".to_vec(), right::READ_FILE), (b"/tmp".to_vec(), right::ALL)].into(),
                required: true,
            }),
            ..LaunchFile::new(Machine::Amd64)
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        for machine in [Machine::Amd64, Machine::Arm64] {
            let policies = [
                LaunchFile::new(machine),
                LaunchFile { machine, ..sample() },
                LaunchFile { machine, file_rules: None, program: None, ..sample() },
            ];
            for policy in policies {
                assert_eq!(LaunchFile::read(&policy.to_bytes().unwrap()).unwrap(), policy);
            }
        }
    }

    #[test]
    fn every_changed_byte_is_found() {
        let bytes = sample().to_bytes().unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 0x10;
            assert!(format::Policy::read(&changed, format::X86_64).is_err(), "byte {at}");
            assert!(format::Policy::read(&bytes[..at], format::X86_64).is_err(), "cut at {at}");
        }
        assert_eq!(format::Policy::read(&bytes, format::AARCH64), Err(FormatError::OtherMachine));
        assert_eq!(format::Policy::read(b"#!/bin/sh\n", format::X86_64), Err(FormatError::NoPolicy));
    }

    #[test]
    fn another_version_is_told_as_such() {
        let mut bytes = sample().to_bytes().unwrap();
        bytes[8] = 9;
        assert_eq!(LaunchFile::read(&bytes), Err(FormatError::OtherVersion(9)));
    }

    #[test]
    fn what_the_launcher_would_not_read_is_not_written() {
        for path in ["usr/bin/app", "", "/a\0b"] {
            let policy = LaunchFile { program: Some(path.into()), ..sample() };
            assert!(matches!(policy.to_bytes(), Err(LaunchFileError::Path(_))), "{path:?}");
        }
        let instruction = sample().filter[0];
        let policy = LaunchFile { filter: vec![instruction; 4097], ..sample() };
        assert_eq!(policy.to_bytes(), Err(LaunchFileError::Filter(4097)));
    }

    proptest! {
        #[test]
        fn strange_bytes_with_a_right_checksum_are_read_without_a_panic(
            mut bytes in proptest::collection::vec(any::<u8>(), 48..400),
            small_counts in any::<bool>(),
        ) {
            bytes[..8].copy_from_slice(&format::MAGIC);
            bytes[8..12].copy_from_slice(&format::VERSION.to_le_bytes());
            let length = u32::try_from(bytes.len()).unwrap();
            bytes[12..16].copy_from_slice(&length.to_le_bytes());
            bytes[20..24].copy_from_slice(&format::X86_64.to_le_bytes());
            if small_counts {
                for at in (24..40).step_by(4) {
                    bytes[at] &= 7;
                    bytes[at + 1..at + 4].fill(0);
                }
                bytes[40..48].fill(0xff);
                bytes[42..48].fill(0);
            }
            let sum = format::checksum(&bytes[20..]);
            bytes[16..20].copy_from_slice(&sum.to_le_bytes());
            if let Ok(policy) = format::Policy::read(&bytes, format::X86_64) {
                prop_assert!(policy.rules().all(|rule| rule.path.ends_with(b"\0")));
            }
        }
    }
}
