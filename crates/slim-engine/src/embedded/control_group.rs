//! The control groups of containers: `/docker-slim-<id>` in every hierarchy, where the sensor finds a container by the
//! last part of the path. There is no folder above them that could stay behind.

use super::record::RecordedLimits;
use crate::host;
use rustix::fs::Access;
use std::collections::BTreeSet;
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

/// Whether no hierarchy of v1 keeps devices from being used. (Named ones without any controller, as `name=systemd`, may be
/// there beside v2.)
pub(super) fn is_unified() -> bool {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    !mounts.lines().any(controls_devices)
}

/// Whether this is the mount of the hierarchy of v1 with the controller of devices. (Without a mount there are no groups of it.)
fn controls_devices(line: &str) -> bool {
    let is_v1 = kind_of(line).is_some_and(|(kind, _)| kind == "cgroup");
    let options = line.split_once(" - ").and_then(|(_, right)| right.split(' ').nth(2)).unwrap_or_default();
    is_v1 && options.split(',').any(|option| option == "devices")
}

/// The group's folders that exist: one a hierarchy.
pub(super) fn folders(id: &str) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let roots = mounts.lines().filter_map(kind_of).map(|(_, root)| root);
    let own = if host::is_real_root() { None } else { handed_on() };
    // What is mounted over itself has two lines.
    let roots: BTreeSet<PathBuf> = roots.chain(own).collect();
    roots.into_iter().map(|root| root.join(name_of(id))).filter(|folder| folder.is_dir()).collect()
}

/// Where v2 is alone and we are not root: the folder of the topmost group around us in which we may make groups and to which
/// we may move processes; the one that we are in where there is none. As systemd hands on `user@1000.service`: processes
/// are in groups below it, so that it can give controllers to more of them.
pub(super) fn handed_on() -> Option<PathBuf> {
    let own = fs::read_to_string("/proc/self/cgroup").ok()?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    is_unified().then_some(())?;
    topmost(Path::new("/sys/fs/cgroup"), own, |group| {
        writable(group) && writable(&group.join("cgroup.procs"))
    })
}

/// The controllers of these limits that a container of ours cannot have where v2 is alone and we are not root: the group was
/// not handed these, or holds processes itself, so that it can hand none on (cgroups(7), "no internal processes").
pub(super) fn missing_controllers(limits: RecordedLimits) -> Vec<&'static str> {
    handed_on().map(|group| missing_in(&group, limits)).unwrap_or_default()
}

fn missing_in(group: &Path, limits: RecordedLimits) -> Vec<&'static str> {
    let text = |file: &str| fs::read_to_string(group.join(file)).unwrap_or_default();
    let of_ours = writable(&group.join("cgroup.subtree_control"));
    let file = if text("cgroup.procs").is_empty() { "cgroup.controllers" } else { "cgroup.subtree_control" };
    let given = if of_ours { text(file) } else { String::new() };
    [
        ("memory", limits.memory.is_some()),
        ("cpu", limits.nano_cpus.is_some()),
        ("pids", limits.pids.is_some()),
    ]
    .into_iter()
    .filter(|(name, wanted)| *wanted && !given.split_whitespace().any(|controller| controller == *name))
    .map(|(name, _)| name)
    .collect()
}

fn writable(path: &Path) -> bool {
    rustix::fs::access(path, Access::WRITE_OK).is_ok()
}

/// The highest of the folders from `own`, below `root`, upward without a gap that may be used; else that of `own` itself.
/// Nothing where it is not there, as behind a mount of ours.
fn topmost(root: &Path, own: &str, usable: impl Fn(&Path) -> bool) -> Option<PathBuf> {
    let group = root.join(own);
    let above = group.ancestors().take_while(|group| group.starts_with(root));
    let highest = above.take_while(|group| usable(group)).last().unwrap_or(&group);
    highest.is_dir().then(|| highest.to_owned())
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
    fn only_a_hierarchy_with_the_controller_keeps_devices_from_being_used() {
        let devices = "34 25 0:29 / /sys/fs/cgroup/devices rw,nosuid shared:9 - cgroup cgroup rw,devices";
        let together = "35 25 0:30 / /sys/fs/cgroup/all rw - cgroup none rw,cpu,devices,freezer";
        assert!(controls_devices(devices) && controls_devices(together));
        for other in [
            "36 25 0:31 / /sys/fs/cgroup/systemd rw,nosuid shared:9 - cgroup cgroup rw,xattr,name=systemd",
            "37 25 0:32 / /sys/fs/cgroup/named rw - cgroup cgroup rw,name=devices",
            "38 25 0:33 / /sys/fs/cgroup/memory rw,devices - cgroup cgroup rw,memory",
            "39 25 0:34 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,devices",
        ] {
            assert!(!controls_devices(other), "{other}");
        }
    }

    #[test]
    fn the_topmost_group_that_is_ours_without_a_gap_is_handed_on() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        fs::create_dir_all(root.join("slice/user/app/shell")).unwrap();
        let of = |usable: &[&str]| {
            let usable: Vec<PathBuf> = usable.iter().map(|group| root.join(group)).collect();
            topmost(root, "slice/user/app/shell", |group| usable.iter().any(|known| known == group))
        };
        let shell = "slice/user/app/shell";
        assert_eq!(of(&[shell, "slice/user/app", "slice/user"]), Some(root.join("slice/user")));
        assert_eq!(of(&[shell, "slice/user"]), Some(root.join(shell)), "what lies between may not be passed");
        assert_eq!(of(&[]), Some(root.join(shell)));
        assert_eq!(topmost(root, "elsewhere", |_| false), None);
    }

    #[test]
    fn a_group_with_processes_hands_on_only_what_it_did_before() {
        let group = tempfile::tempdir().unwrap();
        let write = |file: &str, text: &str| fs::write(group.path().join(file), text).unwrap();
        let limits = RecordedLimits { memory: Some(1), nano_cpus: Some(1), pids: None };
        assert_eq!(missing_in(group.path(), limits), ["memory", "cpu"], "no file is there");
        write("cgroup.controllers", "memory pids\n");
        write("cgroup.subtree_control", "");
        write("cgroup.procs", "");
        assert_eq!(missing_in(group.path(), limits), ["cpu"]);
        write("cgroup.procs", "1\n");
        assert_eq!(missing_in(group.path(), limits), ["memory", "cpu"]);
        assert!(missing_in(group.path(), RecordedLimits::default()).is_empty());
    }

    #[test]
    fn a_group_that_is_not_there_needs_no_removal() {
        remove("surely-no-such-container").unwrap();
        assert!(join("surely-no-such-container").is_err());
    }
}
