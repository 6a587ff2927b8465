//! A policy about system calls: values from which profile and report are both made.

use crate::mode::Mode;
use serde::{Deserialize, Serialize};
use slim_trace::{Phase, TracedPath};
use std::collections::BTreeSet;

/// What is allowed and what is refused with another errno than the profile's default (EPERM).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    pub mode: Mode,
    pub architecture: Architecture,
    /// Sorted by name; no name twice.
    pub allowed: Vec<Allowed>,
    /// Sorted by name; no name twice, and none that is allowed.
    pub refused: Vec<Refused>,
    /// Calls that were made but have no name (`#N`), which no profile can express.
    pub inexpressible: BTreeSet<String>,
}

/// The machine that the profile is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Architecture {
    /// `sub_x86`: 32-bit calls are made; `sub_x32`: x32 calls are. Without them such a call kills the program.
    Amd64 { sub_x86: bool, sub_x32: bool },
    /// arm64; the observer tells no 32-bit calls apart there yet.
    Arm64,
}

impl Policy {
    /// Why a call is allowed; `None` where it is not.
    #[must_use]
    pub fn allows(&self, system_call: &str) -> Option<&Allowed> {
        self.allowed.iter().find(|allowed| allowed.system_call == system_call)
    }

    /// The names of all that is allowed.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.allowed.iter().map(|allowed| allowed.system_call.as_str())
    }
}

/// A call that may be made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    pub system_call: String,
    /// Never empty.
    pub because: BTreeSet<Because>,
    /// `None`: with any arguments.
    pub condition: Option<Condition>,
}

impl Allowed {
    /// Why, in words: the comment of its rule.
    #[must_use]
    pub fn reason(&self) -> String {
        crate::formats::allow_comment(&self.because)
    }
}

/// Why a call may be made.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Because {
    /// This program of the image made it; `None` where the observer could not tell which one.
    Program { executable: Option<TracedPath>, phases: BTreeSet<Phase> },
    /// A libc falls back to it where the other call, which the program made, is not there.
    Fallback { of: String },
    /// It goes with `of`, which the program made, or with any program where that is `None`.
    Relative { of: Option<String>, reason: String },
    /// It stands in the same function as `with`, which the program made: an error path, a clean-up, a shutdown.
    Together { with: String, function: String },
    /// The kept programs' machine code can make it; not seen.
    Possible { way: String },
    /// What the kept programs can do is not known; Docker allows it to every container.
    EngineDefault,
    /// The container runtime was seen to make it under its own filter, and no known set has it.
    RuntimeSeen,
    /// A runtime is known to make it under its own filter.
    RuntimeSet { runtime: String, version: String },
    /// The kernel or the vDSO makes it on any program's behalf.
    Always,
    /// The slim program was refused it during verification; the engine's own profile allowed it to the fat one.
    Repaired { round: u32 },
    /// `docker-slim launch` makes it before it becomes the program.
    Launcher,
}

/// What the engine's default filter asks of a call's arguments. Seen under that filter, nothing else was seen. Source:
/// moby's `profiles/seccomp/default_linux.go`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Condition {
    /// clone without any of the flags that make namespaces.
    NoNewNamespaces,
    /// personality as PER_LINUX or PER_LINUX32, each also with UNAME26, and as a query.
    UsualPersonalities,
    /// socket of any family but AF_VSOCK, which reaches beyond the container.
    NoVirtualMachineSockets,
    /// One of these holds: the values that were seen (`--seccomp-args`). Of a rule all arguments must match.
    Seen { rules: BTreeSet<Vec<ArgumentRule>> },
}

/// One argument's value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ArgumentRule {
    /// From 0.
    pub index: u8,
    /// The bits that are compared.
    pub mask: u64,
    pub value: u64,
}

/// A call that is refused and of which there is something to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub system_call: String,
    pub errno: Errno,
    pub because: RefusedBecause,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Errno {
    Eperm,
    Enosys,
}

/// Why a call is refused with this errno.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RefusedBecause {
    /// These programs made it and were refused each time, with this errno.
    OnlyEverRefused { programs: BTreeSet<TracedPath> },
    /// It was not needed; callers that see ENOSYS make these calls instead, or do without.
    HasFallback { instead: Vec<String> },
}
