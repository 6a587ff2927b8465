//! By which control group a container's tasks are told from all others.

use std::fs;

/// The hierarchy that is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// The v2 tree, where it is the only one.
    Unified,
    /// One v1 controller, by its number in the eBPF program: every runtime makes a group for each of these.
    Controller(u32),
}

/// v1 controllers by their number in the eBPF program, less one.
const CONTROLLERS: [&str; 6] = ["memory", "pids", "devices", "freezer", "cpu", "cpuset"];

/// The hierarchy of this machine.
pub fn hierarchy() -> Hierarchy {
    of_table(&fs::read_to_string("/proc/cgroups").unwrap_or_default())
}

fn of_table(table: &str) -> Hierarchy {
    let in_v1 = |controller: &str| {
        table.lines().any(|line| {
            let mut columns = line.split_whitespace();
            columns.next() == Some(controller) && columns.next().is_some_and(|hierarchy| hierarchy != "0")
        })
    };
    match CONTROLLERS.iter().position(|controller| in_v1(controller)) {
        Some(index) => Hierarchy::Controller(u32::try_from(index + 1).expect("there are six")),
        None => Hierarchy::Unified,
    }
}

/// The last path component of a container's control group, as the known engines name it; compared exactly.
pub fn names(container: &str) -> Vec<String> {
    [
        ("", ""),
        ("docker-", ".scope"),
        ("libpod-", ""),
        ("libpod-", ".scope"),
        ("cri-containerd-", ".scope"),
        ("crio-", ".scope"),
        // The embedded engine.
        ("docker-slim-", ""),
    ]
    .iter()
    .map(|(before, after)| format!("{before}{container}{after}"))
    .collect()
}

/// Whether a process of the container's is in a control group that is known by the container's id; `None` where there is no
/// such process. Without one, nothing of the container is seen.
#[must_use]
pub fn is_known_by_its_group(pid: u32, container: &str) -> Option<bool> {
    let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).ok()?;
    Some(is_named(&groups, container))
}

fn is_named(groups: &str, container: &str) -> bool {
    let names = names(container);
    groups.lines().flat_map(|line| line.split('/')).any(|part| names.iter().any(|name| name == part))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hybrid_machine_is_watched_by_a_v1_controller() {
        let table =
            "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t1\t1\t1\nmemory\t0\t6\t1\npids\t8\t1\t1\n";
        assert_eq!(of_table(table), Hierarchy::Controller(2));
    }

    #[test]
    fn a_container_is_known_by_whole_names_only() {
        let names = names("abc");
        assert!(names.contains(&"abc".to_owned()) && names.contains(&"docker-abc.scope".to_owned()));
        assert!(names.contains(&"docker-slim-abc".to_owned()));
        assert!(!names.iter().any(|name| name.contains("conmon")));
    }

    #[test]
    fn a_container_without_a_group_of_its_own_is_told_from_others() {
        let own = "4:memory:/libpod_parent/libpod-abc\n0::/\n";
        let below = "0::/user.slice/user-1.slice/libpod-abc.scope/container\n";
        let none = "4:memory:/session\n0::/user.slice/libpod-abcd.scope\n";
        assert_eq!([own, below, none].map(|groups| is_named(groups, "abc")), [true, true, false]);
        assert_eq!(is_known_by_its_group(std::process::id(), "abc"), Some(false));
        assert_eq!(is_known_by_its_group(u32::MAX, "abc"), None);
    }

    #[test]
    fn a_machine_without_v1_controllers_is_unified() {
        assert_eq!(of_table("#subsys_name\thierarchy\nmemory\t0\t6\t1\n"), Hierarchy::Unified);
    }
}
