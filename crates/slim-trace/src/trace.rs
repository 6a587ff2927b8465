//! The values a Trace holds.
//!
//! Invariant: every list is sorted by its own `Ord` and free of duplicates ([`Trace::normalise`] makes it so), so that
//! equal observations are equal bytes.

use crate::arguments::CallArguments;
use crate::path::TracedPath;
use crate::steps::Steps;
use serde::{Deserialize, Serialize};
use slim_image::ImagePath;
use std::collections::{BTreeMap, BTreeSet};

/// The version of the trace file that this code writes. It reads version 1 as well, which knew nothing of arguments, and
/// version 2, which knew nothing of locks, of the ends of links, and of files that are only appended to.
pub const VERSION: u32 = 3;

/// What was seen of one container, or of several merged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trace {
    pub version: u32,
    /// The image's id, `sha256:…`: its config's digest; its manifest's or index's where the engine keeps images in containerd.
    pub image: String,
    /// Digests of the image's unpacked layers, the base first: the same in every engine. Empty where nobody noted them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub layers: Vec<String>,
    /// Kernel release of the machine that watched, as `uname -r`.
    pub kernel: String,
    /// Machine architecture in OCI terms: `amd64`, `arm64`.
    pub architecture: String,
    /// What lay over the image's file system. Paths under a mount of another kind than an image volume do not count.
    pub mounts: Vec<Mount>,
    /// Every process that the container ran; a process that called exec is a new one. `ProcessId(n)` is the n-th.
    pub processes: Vec<Process>,
    pub files: Vec<FileAccess>,
    pub system_calls: Vec<SystemCalls>,
    /// With which arguments, where they matter.
    #[serde(default)]
    pub arguments: Vec<CallArguments>,
    pub sockets: Vec<Socket>,
    pub listening: Vec<Listening>,
    pub io_uring: Vec<IoUringOperation>,
    /// Which files each step of the exercise opened.
    #[serde(default, skip_serializing_if = "Steps::is_empty")]
    pub steps: Steps,
}

/// A mount inside the container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Mount {
    pub path: ImagePath,
    pub kind: MountKind,
    /// File-system type, as in mountinfo.
    pub file_system: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MountKind {
    /// The container's root file system.
    Root,
    /// The anonymous volume of an image VOLUME: its content came from the image.
    ImageVolume,
    /// Whatever the engine or the user put there: /proc, /etc/hosts, binds, named volumes, secrets.
    Other,
}

/// Index into [`Trace::processes`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessId(pub u32);

/// One program run by one process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Process {
    /// Who forked or exec'ed it; `None` for the container's first and for those that came from outside (docker exec).
    pub parent: Option<ProcessId>,
    /// The phase in which it began. Runtime: a process of the container runtime, before its exec into the image.
    pub began: Phase,
    /// The executable file, resolved; `None` for processes of the container runtime.
    pub executable: Option<TracedPath>,
    /// What was handed to exec, where it is another path than `executable`: a symlink or a script.
    pub invoked_as: Option<TracedPath>,
    /// The ELF interpreter (PT_INTERP) of `executable`.
    pub interpreter: Option<TracedPath>,
    /// Interpreters named by `#!` lines, outermost first, where `invoked_as` is a script.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub shebang: Vec<TracedPath>,
    /// Arguments, escaped text; at most the first 4096 bytes.
    pub argv: Vec<String>,
}

/// One path touched by one process.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FileAccess {
    pub path: TracedPath,
    pub process: ProcessId,
    pub access: BTreeSet<Access>,
    pub phases: BTreeSet<Phase>,
}

/// How a path was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Access {
    /// Opened, contents or directory (also O_PATH).
    Open,
    /// Run by exec, or loaded as interpreter.
    Execute,
    /// Attributes or existence asked for: stat, access, statfs, getxattr, inotify_add_watch …
    Stat,
    /// Its target was read.
    ReadLink,
    /// Made current or root directory: chdir, fchdir, chroot.
    ChangeDirectory,
    /// Its entries were listed: getdents.
    List,
    /// A Unix socket that was connected or sent to.
    Connect,
    /// A Unix socket that was made here by bind.
    Bind,
    /// Opened for writing, or truncated.
    Write,
    /// Opened for writing at its end alone: O_APPEND without O_TRUNC. Told instead of `Write`.
    Append,
    /// Made: O_CREAT that made it, mkdir, mknod, symlink, link's new name.
    Create,
    /// Mode, owner, times or xattrs were changed.
    ChangeAttributes,
    /// The old name of a rename.
    RenameFrom,
    /// The new name of a rename.
    RenameTo,
    /// Unlinked or rmdir'ed.
    Remove,
    /// A mount call named it.
    Mount,
    /// Locked, so that others may lock it in the same way: flock(2), or fcntl(2) for a part of it.
    Lock,
    /// The same, so that nobody else may.
    LockExclusive,
    /// The old name of a hard link.
    LinkFrom,
    /// The new name of a hard link.
    LinkTo,
    /// The look-up failed with ENOENT or ENOTDIR (the directories and links on the way may still matter).
    Missing,
}

/// Part of the run. Per task for Runtime, the observation's own clock for the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// The container runtime's own work, before it execs the image's program.
    Runtime,
    /// The same, after the runtime successfully installed the seccomp filter: what a profile must allow for it.
    RuntimeFiltered,
    Startup,
    Exercise,
    Shutdown,
}

/// The binary interface that a system-call number belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Abi {
    #[serde(rename = "x86_64")]
    X86_64,
    /// 32-bit calls on x86-64.
    #[serde(rename = "x86")]
    X86,
    #[serde(rename = "x32")]
    X32,
}

/// The system calls of one process in one phase, by name (`#N` where the number has no name).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SystemCalls {
    pub process: ProcessId,
    pub phase: Phase,
    pub abi: Abi,
    /// Calls that were made and not always refused.
    pub calls: BTreeSet<String>,
    /// Calls that returned EPERM or ENOSYS at least once, with those errors (`EPERM`, `ENOSYS`). One that stands here
    /// and not in `calls` was never let through.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub denied: BTreeMap<String, BTreeSet<String>>,
}

/// A kind of socket that was opened: numbers as in socket(2).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Socket {
    pub process: ProcessId,
    pub family: u16,
    /// Without SOCK_NONBLOCK and SOCK_CLOEXEC.
    pub socket_type: u16,
    pub protocol: u16,
    /// Whether socket(2) refused it.
    pub refused: bool,
}

/// A port that was listened on (TCP) or bound (UDP).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Listening {
    pub process: ProcessId,
    pub transport: Transport,
    pub address: std::net::IpAddr,
    pub port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Transport {
    Tcp,
    Udp,
}

/// An operation that went through io_uring instead of a system call.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct IoUringOperation {
    pub process: ProcessId,
    /// IORING_OP_* number.
    pub opcode: u8,
}

impl Trace {
    /// Whether it is of an image, by its id, or by its layers where another engine has another id for the same image.
    #[must_use]
    pub fn is_of(&self, id: &str, layers: &[String]) -> bool {
        self.image == id || (!layers.is_empty() && self.layers == layers)
    }

    /// A trace that saw nothing.
    #[must_use]
    pub fn empty(image: impl Into<String>) -> Self {
        Self {
            version: VERSION,
            image: image.into(),
            layers: Vec::new(),
            kernel: String::new(),
            architecture: String::new(),
            mounts: Vec::new(),
            processes: Vec::new(),
            files: Vec::new(),
            system_calls: Vec::new(),
            arguments: Vec::new(),
            sockets: Vec::new(),
            listening: Vec::new(),
            io_uring: Vec::new(),
            steps: Steps::default(),
        }
    }

    /// The process with this id.
    #[must_use]
    pub fn process(&self, id: ProcessId) -> Option<&Process> {
        self.processes.get(id.0 as usize)
    }
}
