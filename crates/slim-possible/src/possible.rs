//! The answer: which calls can be made, each with the way there, and what could not be found out.

use crate::machine::Machine;
use serde::{Deserialize, Serialize};
use slim_image::ImagePath;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Version of the serialised form.
pub const FORMAT_VERSION: u32 = 1;

/// Which system calls a set of ELF files can make.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Possible {
    pub format_version: u32,
    /// `None` where no file could be read.
    pub machine: Option<Machine>,
    /// By name, no name twice.
    pub calls: Vec<Call>,
    /// In the order given.
    pub programs: Vec<Program>,
    /// What each file's own instructions do, of those that a program reaches; by path.
    pub files: Vec<FileCalls>,
    /// What one function does beside a call, itself or through a function of a library that makes one: call → other call →
    /// the function.
    #[serde(default)]
    pub together: BTreeMap<String, BTreeMap<String, String>>,
    /// Files of which nothing is known.
    pub unread: Vec<Unread>,
}

/// A system call that can be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Call {
    /// Its name, or `#N` where no name is known for the number.
    pub system_call: String,
    /// Never empty.
    pub because: BTreeSet<Because>,
}

/// Why a call can be made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Because {
    /// Code that a program reaches makes it.
    Code {
        program: ImagePath,
        /// From the program to the function that gives the number; shortened to where the way leaves a file.
        chain: Vec<Frame>,
    },
    /// The vDSO makes it where it cannot answer by itself.
    Vdso,
}

/// A function on the way.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Frame {
    pub file: ImagePath,
    /// Its symbol, or its address in hexadecimal.
    pub function: String,
}

/// What one program can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    pub path: ImagePath,
    pub calls: BTreeSet<String>,
    /// Whether `calls` is all that the program can do: every number is known, every file was read, every import found.
    /// Otherwise the caller must allow for more.
    pub is_complete: bool,
    /// System calls in reach whose number is not known; by file and address.
    pub unknown: BTreeSet<UnknownCall>,
    /// Symbols in reach that no file defines, each with the file that imports it.
    pub missing: BTreeSet<Frame>,
}

/// A system call whose number is not known.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct UnknownCall {
    pub file: ImagePath,
    /// Of the instruction, as in the file.
    pub address: u64,
    pub function: String,
}

/// What the instructions of one file do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileCalls {
    pub path: ImagePath,
    /// Calls by name, each with the function of this file that makes it or gives its number.
    pub calls: BTreeMap<String, String>,
    pub unknown: BTreeSet<UnknownCall>,
}

/// A file whose code could not be read.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Unread {
    pub file: ImagePath,
    pub why: String,
}

impl Possible {
    /// Whether nothing else can be done: see [`Program::is_complete`].
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.unread.is_empty() && self.programs.iter().all(|program| program.is_complete)
    }

    /// Why a call can be made; `None` where it cannot.
    #[must_use]
    pub fn call(&self, system_call: &str) -> Option<&Call> {
        let index = self.calls.binary_search_by(|call| call.system_call.as_str().cmp(system_call)).ok()?;
        self.calls.get(index)
    }
}

pub(crate) fn base_name(path: &ImagePath) -> String {
    String::from_utf8_lossy(path.file_name()).into_owned()
}

impl fmt::Display for Because {
    /// `nginx → ngx_epoll_init → libc.so.6:epoll_create`.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Vdso => formatter.write_str("the vDSO"),
            Self::Code { program, chain } => {
                formatter.write_str(&base_name(program))?;
                for frame in chain {
                    if &frame.file == program {
                        write!(formatter, " → {}", frame.function)?;
                    } else {
                        write!(formatter, " → {}:{}", base_name(&frame.file), frame.function)?;
                    }
                }
                Ok(())
            }
        }
    }
}
