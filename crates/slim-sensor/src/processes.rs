//! A container's processes, as /proc shows them from outside: a container is processes of this machine's kernel.
//!
//! None of this needs a capability.

use serde::{Deserialize, Serialize};
use slim_trace::Transport;
use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Tables of the kernel, and the state in which a socket there listens or is bound (`include/net/tcp_states.h`).
const TABLES: [(&str, Transport, &str); 4] = [
    ("tcp", Transport::Tcp, "0A"),
    ("tcp6", Transport::Tcp, "0A"),
    ("udp", Transport::Udp, "07"),
    ("udp6", Transport::Udp, "07"),
];
/// The kernel's unit of processor time in /proc (USER_HZ), fixed in its interface to user space.
const TICK: Duration = Duration::from_millis(10);
/// Of the time looked at, a program may use one part in so many and still be quiet: timers, garbage collection.
const QUIET_PART: u32 = 20;

/// Whom a process acts as, and what it may: credentials(7), numbers as this machine's kernel has them.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Credentials {
    /// The effective user id.
    pub user: u32,
    /// The effective group id.
    pub group: u32,
    /// Supplementary group ids.
    pub groups: BTreeSet<u32>,
    /// The effective capability set, a bit each.
    pub capabilities: u64,
}

impl Credentials {
    /// From proc(5)'s `status`; `None` for one without these fields.
    fn from_status(status: &str) -> Option<Self> {
        let field = |name: &str| {
            status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':')).map(str::trim)
        };
        // Real, effective, saved and file system id.
        let effective = |name: &str| field(name)?.split_ascii_whitespace().nth(1)?.parse().ok();
        Some(Self {
            user: effective("Uid")?,
            group: effective("Gid")?,
            groups: field("Groups")?.split_ascii_whitespace().filter_map(|id| id.parse().ok()).collect(),
            capabilities: u64::from_str_radix(field("CapEff")?, 16).ok()?,
        })
    }
}

/// `user 0, group 0, groups 4 5, capabilities 0xa80425fb`; without what is empty.
impl fmt::Display for Credentials {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "user {}, group {}", self.user, self.group)?;
        if !self.groups.is_empty() {
            formatter.write_str(", groups")?;
            self.groups.iter().try_for_each(|group| write!(formatter, " {group}"))?;
        }
        match self.capabilities {
            0 => Ok(()),
            capabilities => write!(formatter, ", capabilities {capabilities:#x}"),
        }
    }
}

/// A process and whom it acts as.
pub type Acting = BTreeSet<(String, Credentials)>;

/// Whom a process and those below it act as, at this moment. A process that has ended has no say.
#[must_use]
pub fn acting(pid: i32) -> Acting {
    let mut found = BTreeSet::new();
    for folder in below(pid) {
        let read = |name: &str| fs::read_to_string(folder.join(name)).ok();
        if let (Some(stat), Some(status)) = (read("stat"), read("status"))
            && !has_ended(&stat)
            && let Some(credentials) = Credentials::from_status(&status)
        {
            found.insert((folder.display().to_string(), credentials));
        }
    }
    found
}

/// Whether a process runs. One that has ended may still be there for a while, without memory, files and namespaces.
#[must_use]
pub fn is_alive(pid: i32) -> bool {
    fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat"))
        .is_ok_and(|stat| !has_ended(&stat))
}

/// State Z or X: the third field of proc(5)'s `stat`.
fn has_ended(stat: &str) -> bool {
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with(['Z', 'X', 'x']))
}

/// Processor time of a process, its children and those of them that have ended.
#[must_use]
pub fn processor_time(pid: i32) -> Duration {
    let ticks = below(pid)
        .iter()
        .filter_map(|folder| ticks_of(&fs::read_to_string(folder.join("stat")).ok()?))
        .fold(0_u64, u64::saturating_add);
    TICK.saturating_mul(u32::try_from(ticks).unwrap_or(u32::MAX))
}

/// Whether a program that has used so much processor time in this span is at work.
#[must_use]
pub fn is_at_work(used: Duration, span: Duration) -> bool {
    used > (span / QUIET_PART).max(TICK)
}

/// Ports that something is bound to in the network of a process; none where it is gone.
#[must_use]
pub fn open_ports(pid: i32) -> BTreeSet<(Transport, u16)> {
    let folder = Path::new("/proc").join(pid.to_string()).join("net");
    let mut ports = BTreeSet::new();
    for (table, transport, state) in TABLES {
        let text = fs::read_to_string(folder.join(table)).unwrap_or_default();
        ports.extend(text.lines().skip(1).filter_map(|line| Some((transport, port_of(line, state)?))));
    }
    ports
}

/// `  0: 0100007F:1F90 00000000:0000 0A …`: the local address, the other one, the state.
fn port_of(line: &str, wanted: &str) -> Option<u16> {
    let mut columns = line.split_ascii_whitespace();
    let (local, state) = (columns.nth(1)?, columns.nth(1)?);
    let (_, port) = local.split_once(':').filter(|_| state == wanted)?;
    u16::from_str_radix(port, 16).ok()
}

/// The folders in /proc of a process and of all below it. (Where it is a container's first process: orphans of its
/// children too, which it adopts.)
fn below(pid: i32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut ahead = vec![pid.to_string()];
    while let Some(pid) = ahead.pop() {
        let folder = Path::new("/proc").join(&pid);
        for thread in fs::read_dir(folder.join("task")).into_iter().flatten().flatten() {
            let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
            ahead.extend(children.split_ascii_whitespace().map(str::to_owned));
        }
        found.push(folder);
    }
    found
}

/// utime, stime, cutime and cstime: fields 14 to 17 of proc(5)'s `stat`. The name before them may hold anything, `)` too.
fn ticks_of(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    rest.split_ascii_whitespace().skip(11).take(4).map(|field| field.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_process_may_look_like_fields() {
        let stat = "7 (a) b) 1 2) S 1 7 7 0 -1 4194560 100 0 0 0 11 12 13 14 20 0 1 0 100 0 0";
        assert_eq!(ticks_of(stat), Some(50));
        assert_eq!(ticks_of("7 (a"), None);
    }

    #[test]
    fn this_process_is_alive_and_has_used_time() {
        let own = i32::try_from(std::process::id()).unwrap();
        assert!(is_alive(own) && !is_alive(i32::MAX));
        let mut sum = 0_u64;
        while processor_time(own).is_zero() {
            sum = std::hint::black_box(sum.wrapping_add(1));
        }
    }

    #[test]
    fn a_process_that_has_ended_and_waits_for_its_parent_is_not_alive() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        while is_alive(pid) {
            std::thread::yield_now();
        }
        assert!(Path::new("/proc").join(pid.to_string()).exists(), "nobody has waited for it yet");
        child.wait().unwrap();
        assert!(!is_alive(pid));
    }

    #[test]
    fn credentials_are_the_effective_ones() {
        let status =
            "Name:\tx\nUid:\t0\t33\t0\t33\nGid:\t0\t34\t0\t34\nGroups:\t4 33 \nCapEff:\t00000000000004c0\n";
        let credentials = Credentials::from_status(status).unwrap();
        assert_eq!(credentials.to_string(), "user 33, group 34, groups 4 33, capabilities 0x4c0");
        assert_eq!(Credentials::from_status("Name:\tkthread\n"), None);
    }

    #[test]
    fn ports_are_open_while_something_is_bound_to_them() {
        let own = i32::try_from(std::process::id()).unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let bound = [
            (Transport::Tcp, tcp.local_addr().unwrap().port()),
            (Transport::Udp, udp.local_addr().unwrap().port()),
        ];
        assert!(open_ports(own).is_superset(&bound.into()));
        assert!(open_ports(0).is_empty());
    }

    #[test]
    fn a_child_acts_as_its_parent() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let of = |pid: u32| acting(i32::try_from(pid).unwrap());
        let (own, of_child) = (of(std::process::id()), of(child.id()));
        child.kill().unwrap();
        child.wait().unwrap();
        let (_, credentials) = of_child.first().unwrap();
        assert!(own.contains(&(format!("/proc/{}", child.id()), credentials.clone())), "{own:?}");
        assert!(of(child.id()).is_empty());
    }
}
