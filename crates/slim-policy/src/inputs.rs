//! What a policy is made from beside the trace: plain values, so that this crate knows neither engine nor keep rules.

use crate::mode::Mode;
use crate::possible::PossibleCalls;
use slim_image::ImagePath;
use std::collections::{BTreeMap, BTreeSet};

/// What Docker gives a container that asks for nothing else, without the `CAP_` prefix. Source: moby's
/// `oci/caps/defaults.go`.
pub const DEFAULT_CAPABILITIES: [&str; 14] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "NET_RAW",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

/// The facts of the run and of the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inputs {
    /// The slim image's repository, without registry and tag as far as the caller likes; names the AppArmor profile.
    pub name: String,
    /// Whether a kept ELF file is 32-bit x86: then the profile must hold for 32-bit calls, too.
    pub elf_32_bit: bool,
    /// Every path of the slim image.
    pub paths: BTreeMap<ImagePath, KeptKind>,
    /// The capabilities that the observed container had, without the `CAP_` prefix.
    pub capabilities: BTreeSet<String>,
    /// The capabilities that trying has shown to be needed, without the `CAP_` prefix, each with why; `None` where nobody
    /// has tried.
    pub needed_capabilities: Option<BTreeMap<String, String>>,
    /// Whether an exec may lead into another AppArmor profile: only where the program certainly runs without
    /// no-new-privileges, under which the kernel refuses such an exec.
    pub transitions: bool,
    /// The filter that the observed container ran under.
    pub engine_filter: EngineFilter,
    /// The user that the image or the caller names; `None` where nobody does.
    pub user: Option<String>,
    /// How much the seccomp profile allows.
    pub mode: Mode,
    /// Whether calls are restricted to the arguments that were seen, where those matter.
    pub filter_arguments: bool,
    /// What the kept programs can do; `None` where nobody looked.
    pub possible: Option<PossibleCalls>,
    /// Calls that verification found refused and that the program may make: each with the round of repair.
    pub repaired: BTreeMap<String, u32>,
}

/// What a path of the slim image is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeptKind {
    Directory,
    File {
        /// Whether it is an ELF file: those are mapped executable.
        elf: bool,
        /// Whether it is there to be run although no run of it was seen: an include, the health check.
        run: bool,
        /// Whether running it raises privileges: setuid, setgid or file capabilities.
        privileged: bool,
    },
    /// A symbolic link with its target as stored.
    Symlink {
        target: Vec<u8>,
    },
    /// A device, a fifo or a socket.
    Special,
}

/// The seccomp filter that the container was observed under.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineFilter {
    /// The engine's default profile. What it allows only with certain arguments was seen with those arguments only, so
    /// the conditions are carried over.
    Default,
    /// None, or one that the user gave: nothing is known of arguments.
    Other,
}

/// [`DEFAULT_CAPABILITIES`] as profiles and the kernel name them, with `CAP_`.
#[must_use]
pub fn default_capabilities() -> BTreeSet<String> {
    DEFAULT_CAPABILITIES.iter().map(|name| format!("CAP_{name}")).collect()
}

impl Inputs {
    /// Facts of an image called `name` without paths, run as Docker runs it when nothing is asked for.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            elf_32_bit: false,
            paths: BTreeMap::new(),
            capabilities: DEFAULT_CAPABILITIES.iter().map(ToString::to_string).collect(),
            needed_capabilities: None,
            transitions: false,
            engine_filter: EngineFilter::Default,
            user: None,
            mode: Mode::default(),
            filter_arguments: false,
            possible: None,
            repaired: BTreeMap::new(),
        }
    }
}
