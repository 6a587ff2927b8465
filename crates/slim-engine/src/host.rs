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
