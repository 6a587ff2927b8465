//! The control groups of containers: `/docker-slim-<id>` in every hierarchy, where the sensor finds a container by the
//! last part of the path. There is no folder above them that could stay behind.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

/// The group's name.
fn name_of(id: &str) -> String {
    format!("docker-slim-{id}")
}

/// The path below the hierarchies' roots, as the runtime's specification takes it.
pub(super) fn path_of(id: &str) -> String {
    format!("/{}", name_of(id))
}

/// Whether v2 is the only hierarchy with controllers.
pub(super) fn is_unified() -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    !mounts.lines().any(|line| kind_of(line).is_some_and(|(kind, _)| kind == "cgroup"))
}

/// The group's folders that exist: one a hierarchy.
pub(super) fn folders(id: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let roots = mounts.lines().filter_map(kind_of).map(|(_, root)| root);
    roots.map(|root| root.join(name_of(id))).filter(|folder| folder.is_dir()).collect()
}

/// `… / /sys/fs/cgroup/memory rw,… - cgroup cgroup rw,memory`: the kind and where it is mounted.
fn kind_of(line: &str) -> Option<(&str, PathBuf)> {
    let (left, right) = line.split_once(" - ")?;
    let kind = right.split(' ').next().filter(|kind| matches!(*kind, "cgroup" | "cgroup2"))?;
    Some((kind, PathBuf::from(left.split(' ').nth(4)?)))
}

/// Puts this process into the container's groups.
pub(super) fn join(id: &str) -> io::Result<()> {
    let folders = folders(id);
    if folders.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, "the container has no control group"));
    }
    let this = std::process::id().to_string();
    folders.iter().try_for_each(|folder| fs::write(folder.join("cgroup.procs"), &this))
}

/// Freezes the container's processes, or lets them go on.
pub(super) fn freeze(id: &str, frozen: bool) -> io::Result<()> {
    for folder in folders(id) {
        for (file, on, off) in [("freezer.state", "FROZEN", "THAWED"), ("cgroup.freeze", "1", "0")] {
            if folder.join(file).exists() {
                fs::write(folder.join(file), if frozen { on } else { off })?;
                return if frozen { until_frozen(&folder) } else { Ok(()) };
            }
        }
    }
    Err(io::Error::new(io::ErrorKind::Unsupported, "no hierarchy of control groups can freeze"))
}

/// The kernel stops one process after another; until the last one has, some still run.
fn until_frozen(folder: &Path) -> io::Result<()> {
    const LOOK: Duration = Duration::from_millis(5);
    const MOST_LOOKS: usize = 1000;
    for _ in 0..MOST_LOOKS {
        let text = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
        if text("freezer.state").starts_with("FROZEN") || text("cgroup.events").contains("frozen 1") {
            return Ok(());
        }
        thread::sleep(LOOK);
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, "its processes do not stop"))
}

/// Whether they are frozen.
pub(super) fn is_frozen(id: &str) -> bool {
    folders(id).iter().any(|folder| {
        let text = |file: &str| fs::read_to_string(folder.join(file)).unwrap_or_default();
        text("freezer.state").starts_with("FR") || text("cgroup.freeze").starts_with('1')
    })
}

/// Whether the kernel killed one of them since its memory was at an end.
pub(super) fn was_out_of_memory(id: &str) -> bool {
    folders(id).iter().any(|folder| {
        ["memory.oom_control", "memory.events"].iter().any(|file| {
            let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
            text.lines().filter_map(|line| line.strip_prefix("oom_kill ")).any(|count| count.trim() != "0")
        })
    })
}

/// Kills what is left in the groups and takes them away. Groups that are gone are no error.
pub(super) fn remove(id: &str) -> io::Result<()> {
    const LOOK: Duration = Duration::from_millis(10);
    const MOST_LOOKS: usize = 500;
    for look in 0..MOST_LOOKS {
        let folders = folders(id);
        if folders.is_empty() {
            return Ok(());
        }
        if look == 0 && is_frozen(id) {
            freeze(id, false)?;
        }
        for folder in &folders {
            if let Err(error) = remove_tree(folder) {
                tracing::trace!(folder = %folder.display(), %error, "not removed yet");
            }
        }
        if look > 0 {
            thread::sleep(LOOK);
        }
    }
    match folders(id).first() {
        None => Ok(()),
        Some(folder) => Err(io::Error::other(format!("{} cannot be removed", folder.display()))),
    }
}

/// Groups that the container made of its own go first: one with children cannot be removed.
fn remove_tree(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    kill_all(folder);
    fs::remove_dir(folder)
}

fn kill_all(folder: &Path) {
    // Since 5.14, v2 kills all at once, those that are being forked as well.
    let _ = fs::OpenOptions::new()
        .write(true)
        .open(folder.join("cgroup.kill"))
        .and_then(|mut file| file.write_all(b"1"));
    let processes = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    for pid in processes.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 0) {
        // One that has just ended is no trouble.
        let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_told_from_other_mounts() {
        let v1 = "33 25 0:28 / /sys/fs/cgroup/memory rw,nosuid shared:9 - cgroup cgroup rw,memory";
        assert_eq!(kind_of(v1), Some(("cgroup", PathBuf::from("/sys/fs/cgroup/memory"))));
        assert_eq!(kind_of("25 1 0:5 / /proc rw - proc proc rw"), None);
        assert_eq!(kind_of("nonsense"), None);
    }

    #[test]
    fn a_group_that_is_not_there_needs_no_removal() {
        remove("surely-no-such-container").unwrap();
        assert!(join("surely-no-such-container").is_err());
    }
}
