//! What this machine's kernel says about runs and their processes. The only file of this crate that reads /proc.

use crate::run::Run;
use std::{fs, io};

/// Describes this process as the owner of a run.
///
/// # Errors
/// /proc is not there or not readable.
pub fn this_run(id: impl Into<String>) -> io::Result<Run> {
    let pid = std::process::id();
    Ok(Run {
        id: id.into(),
        boot_id: boot_id()?,
        pid_namespace: pid_namespace()?,
        pid,
        start_time: start_time(pid)
            .ok_or_else(|| io::Error::other(format!("no start time of process {pid}")))?,
    })
}

/// This boot's random id.
fn boot_id() -> io::Result<String> {
    Ok(fs::read_to_string("/proc/sys/kernel/random/boot_id")?.trim().to_owned())
}

/// Number of the name space in which our process numbers have their meaning.
fn pid_namespace() -> io::Result<u64> {
    let link = fs::read_link("/proc/self/ns/pid")?;
    let text = link.to_string_lossy();
    let number = text.trim_start_matches("pid:[").trim_end_matches(']');
    number.parse().map_err(|_| io::Error::other(format!("no pid name space in {text:?}")))
}

/// When a process started, in clock ticks since boot. `None`: there is no such process, or it has ended and waits for
/// its parent only.
#[must_use]
pub fn start_time(pid: u32) -> Option<u64> {
    parse_start_time(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// Field 22 of proc(5)'s stat; the name in parentheses (field 2) may hold anything, parentheses included.
fn parse_start_time(stat: &str) -> Option<u64> {
    let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_whitespace();
    match fields.next()? {
        "Z" | "X" | "x" => None,
        _ => fields.nth(18)?.parse().ok(),
    }
}

/// Kernel release and host name, to tell whether an engine runs on this machine.
pub(crate) fn kernel_and_name() -> Option<(String, String)> {
    let read = |name: &str| fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok();
    Some((read("osrelease")?.trim().to_owned(), read("hostname")?.trim().to_owned()))
}

/// Whether the kernel shows us attributes named `trusted.…`, by which overlayfs marks directories: it does where we have
/// CAP_SYS_ADMIN in the first user namespace (xattr(7)), and leaves them out without a word elsewhere.
pub(crate) fn sees_trusted_attributes() -> bool {
    let is_first = fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| maps_everybody(&map));
    is_first && fs::read_to_string("/proc/self/status").is_ok_and(|status| is_administrator(&status))
}

/// Whether we are root, be it of a user namespace.
#[must_use]
pub fn acts_as_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Whether we are root of the first user namespace. Whoever is not has few users' ids, or one, and no way to make devices.
#[must_use]
pub fn is_real_root() -> bool {
    rustix::process::geteuid().is_root()
        && fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| maps_everybody(&map))
}

/// user_namespaces(7): only the first user namespace maps all users to themselves. (The last number is reserved.)
fn maps_everybody(map: &str) -> bool {
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}

/// CAP_SYS_ADMIN is number 21 of capabilities(7).
fn is_administrator(status: &str) -> bool {
    const SYS_ADMIN: u64 = 1 << 21;
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    effective.and_then(|set| u64::from_str_radix(set.trim(), 16).ok()).is_some_and(|set| set & SYS_ADMIN != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_full_of_parentheses_does_not_shift_the_fields() {
        let rest = (4..=21).map(|field| field.to_string()).collect::<Vec<_>>().join(" ");
        assert_eq!(parse_start_time(&format!("1 (a) b (c) S {rest} 4711 23")), Some(4711));
        assert_eq!(parse_start_time(&format!("1 (a) Z {rest} 4711 23")), None);
        assert_eq!(parse_start_time("garbage"), None);
    }

    #[test]
    fn only_an_administrator_of_the_first_user_namespace_sees_trusted_attributes() {
        assert!(maps_everybody("         0          0 4294967295\n"));
        assert!(!maps_everybody("0 100000 65536\n") && !maps_everybody("0 0 4294967295\n9 9 9\n"));
        assert!(is_administrator("Name:\tx\nCapEff:\t000001ffffffffff\n"));
        assert!(!is_administrator("CapPrm:\t000001ffffffffff\nCapEff:\t00000000a80425fb\n"));
        assert!(!is_administrator("CapEff:\tx\n"));
    }

    #[test]
    fn this_process_lives_and_has_a_start_time() {
        let run = this_run("x").unwrap();
        assert_eq!(start_time(run.pid), Some(run.start_time));
        assert!(run.boot_id.len() > 30, "{}", run.boot_id);
    }

    #[test]
    fn a_process_that_ended_has_none() {
        let mut child = std::process::Command::new("/bin/true").spawn().unwrap();
        let pid = child.id();
        std::thread::sleep(std::time::Duration::from_millis(200));
        assert_eq!(start_time(pid), None, "a zombie is dead");
        child.wait().unwrap();
        assert_eq!(start_time(pid), None);
    }
}
