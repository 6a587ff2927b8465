//! What a trace says of capabilities: which calls succeeded that ask for one. Source: capabilities(7).

use crate::contract::Ground;
use crate::contract::places::changes;
use crate::inputs::Inputs;
use crate::paths::resolve;
use slim_image::ImagePath;
use slim_trace::{Access, Listening, Phase, Socket, Trace, Transport};
use std::collections::{BTreeMap, BTreeSet};

/// Why a capability is presumed to be needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// Whether it is needed beyond doubt, or on other engines than this one: it is not tried without.
    pub certain: bool,
    pub because: String,
}

/// Calls, and what the kernel asks of their caller unless it only touches what is its own.
const ASKING: [(&str, &str); 31] = [
    ("capset", "SETPCAP"),
    ("chmod", "FOWNER"),
    ("chown", "CHOWN"),
    ("chroot", "SYS_CHROOT"),
    ("fchmod", "FOWNER"),
    ("fchmodat", "FOWNER"),
    ("fchmodat2", "FOWNER"),
    ("fchown", "CHOWN"),
    ("fchownat", "CHOWN"),
    ("fsetxattr", "SETFCAP"),
    ("kill", "KILL"),
    ("lchown", "CHOWN"),
    ("lsetxattr", "SETFCAP"),
    ("mknod", "MKNOD"),
    ("mknodat", "MKNOD"),
    ("prctl", "SETPCAP"),
    ("rt_sigqueueinfo", "KILL"),
    ("rt_tgsigqueueinfo", "KILL"),
    ("setgid", "SETGID"),
    ("setgroups", "SETGID"),
    ("setregid", "SETGID"),
    ("setresgid", "SETGID"),
    ("setresuid", "SETUID"),
    ("setreuid", "SETUID"),
    ("setuid", "SETUID"),
    ("setxattr", "SETFCAP"),
    ("tgkill", "KILL"),
    ("tkill", "KILL"),
    ("utime", "FOWNER"),
    ("utimensat", "FOWNER"),
    ("utimes", "FOWNER"),
];
/// Of them, those that nearly every program makes of its own things: their success says nothing.
const OFTEN_FREE: [&str; 15] = [
    "capset",
    "chmod",
    "fchmod",
    "fchmodat",
    "fchmodat2",
    "fsetxattr",
    "lsetxattr",
    "prctl",
    "rt_sigqueueinfo",
    "rt_tgsigqueueinfo",
    "setxattr",
    "tgkill",
    "tkill",
    "utime",
    "utimes",
];
/// Ports below are privileged where the system does not say otherwise.
const BEFORE_PRIVILEGED: u16 = 1024;
/// socket(2)'s SOCK_RAW and AF_PACKET.
const SOCK_RAW: u16 = 3;
const AF_PACKET: u16 = 17;
const AF_NETLINK: u16 = 16;
/// netlink(7)'s NETLINK_AUDIT.
const NETLINK_AUDIT: u16 = 9;

/// The capabilities whose want may have had a call refused (EPERM): `setuid` asks for SETUID.
#[must_use]
pub fn capabilities_of_call(call: &str) -> BTreeSet<&'static str> {
    let mut found: BTreeSet<&str> =
        ASKING.iter().filter(|(name, _)| *name == call).map(|(_, capability)| *capability).collect();
    match call {
        // With a set-id bit, or of a file of a group that the caller is not in.
        "chmod" | "fchmod" | "fchmodat" | "fchmodat2" => drop(found.insert("FSETID")),
        // In a sticky directory.
        "unlink" | "unlinkat" | "rename" | "renameat" | "renameat2" | "rmdir" => drop(found.insert("FOWNER")),
        "socket" => found.extend(["AUDIT_WRITE", "NET_RAW"]),
        _ => {}
    }
    found
}

/// The capability that opening such a socket asks for.
pub(crate) fn asked_by_sockets(socket: &Socket) -> Option<&'static str> {
    match socket {
        Socket { refused: true, .. } => None,
        Socket { family: AF_NETLINK, protocol: NETLINK_AUDIT, .. } => Some("AUDIT_WRITE"),
        Socket { family: AF_NETLINK, .. } => None,
        Socket { family: AF_PACKET, .. } | Socket { socket_type: SOCK_RAW, .. } => Some("NET_RAW"),
        _ => None,
    }
}

/// The capability that such a port asks for.
pub(crate) fn asked_by_ports(listening: &Listening) -> Option<&'static str> {
    (1..BEFORE_PRIVILEGED).contains(&listening.port).then_some("NET_BIND_SERVICE")
}

/// What needs which capability. Nothing where the program never had any.
pub(super) fn evidence(trace: &Trace, inputs: &Inputs, ground: &Ground) -> BTreeMap<String, Evidence> {
    let mut found: BTreeMap<String, Evidence> = BTreeMap::new();
    let mut add = |capability: &str, certain: bool, because: String| {
        let evidence = found
            .entry(capability.to_owned())
            .or_insert_with(|| Evidence { certain, because: because.clone() });
        if certain && !evidence.certain {
            *evidence = Evidence { certain, because };
        }
    };
    for (program, capabilities) in &ground.file_capabilities {
        for capability in capabilities {
            add(capability, true, format!("{program}, which was run, has it as a file capability"));
        }
    }
    for port in low_ports(trace) {
        add(
            "NET_BIND_SERVICE",
            true,
            format!("it listens on port {port}, which not every engine lets anybody do"),
        );
    }
    if ground.starts_as_root || ground.raises_privileges {
        let calls = made(trace);
        let becomes_another = ground.acts_as_others
            || (["setuid", "setresuid", "setreuid"].iter().any(|call| calls.contains(call))
                && calls.contains("setgroups"));
        for (call, capability) in ASKING.into_iter().filter(|(call, _)| calls.contains(call)) {
            let is_of_another = matches!(capability, "SETUID" | "SETGID") && becomes_another;
            let says_something =
                !OFTEN_FREE.contains(&call) && (becomes_another || !matches!(call, "utimensat" | "kill"));
            if says_something {
                let because = format!("{call} was called and not refused");
                add(capability, is_of_another, because);
            }
        }
        for capability in trace.sockets.iter().filter_map(asked_by_sockets) {
            if capability == "NET_RAW" {
                add(capability, true, "a raw socket was opened".to_owned());
            } else {
                add(capability, false, "a socket to the audit system was opened".to_owned());
            }
        }
        if let Some(path) = closed_to_root(trace, inputs, ground) {
            add("DAC_OVERRIDE", false, format!("{path} was used, which its mode keeps for another user"));
        }
    }
    found.retain(|capability, _| inputs.capabilities.contains(capability));
    found
}

/// A path that was used and that root, without a privilege, may not use so by its mode or its directory's.
fn closed_to_root(trace: &Trace, inputs: &Inputs, ground: &Ground) -> Option<ImagePath> {
    const WRITE: u32 = 0o2;
    const SEARCH: u32 = 0o1;
    let lacks = |path: &ImagePath, wanted: u32| {
        ground.owners.get(path).is_some_and(|owner| {
            let class = match (owner.user, owner.group) {
                (0, _) => 6,
                (_, 0) => 3,
                _ => 0,
            };
            (owner.mode >> class) & wanted != wanted
        })
    };
    let used = trace.files.iter().filter(|file| !file.access.contains(&Access::Missing));
    used.filter_map(|file| Some((resolve(&file.path, &inputs.paths)?, changes(&file.access)))).find_map(
        |(path, is_changed)| {
            let directory = path.parent()?;
            let is_new = !ground.owners.contains_key(&path);
            let wanted = if is_changed && is_new { WRITE | SEARCH } else { SEARCH };
            let is_closed = lacks(&directory, wanted) || (is_changed && lacks(&path, WRITE));
            is_closed.then_some(path)
        },
    )
}

/// TCP and UDP ports that want a privilege. A port of loopback counts as well.
fn low_ports(trace: &Trace) -> BTreeSet<u16> {
    let is_low = |port: &u16| (1..BEFORE_PRIVILEGED).contains(port);
    let inet = |transport: Transport| matches!(transport, Transport::Tcp | Transport::Udp);
    trace
        .listening
        .iter()
        .filter(|listening| inet(listening.transport))
        .map(|listening| listening.port)
        .filter(is_low)
        .collect()
}

/// Calls of the program that were let through.
fn made(trace: &Trace) -> BTreeSet<&str> {
    trace
        .system_calls
        .iter()
        .filter(|record| !matches!(record.phase, Phase::Runtime | Phase::RuntimeFiltered))
        .flat_map(|record| record.calls.iter().map(String::as_str))
        .collect()
}
