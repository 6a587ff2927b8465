//! What a trace lets presume of the contract, before anything is tried.

use crate::contract::evidence::{self, Evidence};
use crate::contract::places::{self, Places, Root};
use crate::contract::search::Terms;
use crate::inputs::{Inputs, KeptKind};
use crate::paths::resolve;
use serde::{Serialize, Serializer};
use slim_image::ImagePath;
use slim_trace::{Trace, Transport};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// Linux's default `net.ipv4.ip_local_port_range`: ports that the kernel picks are nobody's to publish.
const PICKED_BY_THE_KERNEL: std::ops::RangeInclusive<u16> = 32768..=60999;

/// What is known of the image and of the observed run beside [`Inputs`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ground {
    /// Owners and modes of the image's paths.
    pub owners: BTreeMap<ImagePath, Owner>,
    /// Where the image, or the caller, has a volume.
    pub volumes: BTreeSet<ImagePath>,
    /// Whether the container's first process is root.
    pub starts_as_root: bool,
    /// Whether a process that lives on acts as another user than the first one.
    pub acts_as_others: bool,
    /// Whether a program was run that raises privileges: setuid, setgid or file capabilities.
    pub raises_privileges: bool,
    /// The file capabilities of programs that were run, without `CAP_`.
    pub file_capabilities: BTreeMap<ImagePath, BTreeSet<String>>,
    /// The image's exposed ports, `8000/tcp`.
    pub exposed: BTreeSet<String>,
}

/// Whose a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Owner {
    pub user: u32,
    pub group: u32,
    /// Permission bits, set-id and sticky bits among them; written in octal.
    #[serde(serialize_with = "octal")]
    pub mode: u32,
}

fn octal<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{mode:04o}"))
}

/// A port to be reached from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Published {
    pub port: u16,
    pub transport: Transport,
}

/// `8000/tcp`.
impl fmt::Display for Published {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let transport = match self.transport {
            Transport::Tcp => "tcp",
            Transport::Udp => "udp",
        };
        write!(formatter, "{}/{transport}", self.port)
    }
}

impl Serialize for Published {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// What is presumed, and what the tries choose from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Presumed {
    pub user: Option<String>,
    /// What the observed container had.
    pub observed: BTreeSet<String>,
    /// Capabilities that the program is presumed to need.
    pub evidence: BTreeMap<String, Evidence>,
    /// Whether the program could use capabilities at all.
    pub uses_privileges: bool,
    /// Programs that were run and raise privileges.
    pub privileged_programs: BTreeSet<ImagePath>,
    pub places: Places,
    pub ports: BTreeSet<Published>,
}

/// Presumes from what was seen.
#[must_use]
pub fn presume(trace: &Trace, inputs: &Inputs, ground: &Ground) -> Presumed {
    let privileged_programs = privileged_programs(trace, inputs);
    let ground = Ground {
        raises_privileges: !privileged_programs.is_empty() || ground.raises_privileges,
        ..ground.clone()
    };
    let run_capabilities =
        ground.file_capabilities.iter().filter(|(path, _)| privileged_programs.contains(*path));
    let file_capabilities = run_capabilities.map(|(path, names)| (path.clone(), names.clone())).collect();
    let ground = Ground { file_capabilities, ..ground };
    Presumed {
        user: inputs.user.clone(),
        observed: inputs.capabilities.clone(),
        evidence: evidence::evidence(trace, inputs, &ground),
        uses_privileges: ground.starts_as_root || ground.raises_privileges,
        privileged_programs,
        places: places::places(trace, inputs, &ground),
        ports: ports(trace, &ground),
    }
}

impl Presumed {
    /// The terms that the trace speaks for.
    #[must_use]
    pub fn terms(&self) -> Terms {
        Terms {
            capabilities: self.evidence.keys().cloned().collect(),
            no_new_privileges: self.privileged_programs.is_empty(),
            root: Root::ReadOnly,
            exec_tmpfs: false,
            ceilings: true,
        }
    }

    /// Capabilities without which the program is not tried.
    #[must_use]
    pub fn certain(&self) -> BTreeSet<String> {
        self.evidence.iter().filter(|(_, evidence)| evidence.certain).map(|(name, _)| name.clone()).collect()
    }

    /// Why a capability is in a contract.
    #[must_use]
    pub fn why(&self, capability: &str) -> String {
        self.evidence.get(capability).map_or_else(
            || "without it the program did something else, or was refused a call".to_owned(),
            |evidence| evidence.because.clone(),
        )
    }
}

/// What was run and raises privileges.
fn privileged_programs(trace: &Trace, inputs: &Inputs) -> BTreeSet<ImagePath> {
    trace
        .processes
        .iter()
        .filter_map(|process| resolve(process.executable.as_ref()?, &inputs.paths))
        .filter(|path| matches!(inputs.paths.get(path), Some(KeptKind::File { privileged: true, .. })))
        .collect()
}

/// What listens where others can reach it: not on loopback alone, nor on a port of the kernel's choice.
fn ports(trace: &Trace, ground: &Ground) -> BTreeSet<Published> {
    let listening = trace.listening.iter().filter(|listening| !listening.address.is_loopback());
    listening
        .map(|listening| Published { port: listening.port, transport: listening.transport })
        .filter(|port| {
            !PICKED_BY_THE_KERNEL.contains(&port.port) || ground.exposed.contains(&port.to_string())
        })
        .collect()
}

#[cfg(test)]
#[path = "presumed_tests.rs"]
mod tests;
