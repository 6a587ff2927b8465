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
    fn a_machine_without_v1_controllers_is_unified() {
        assert_eq!(of_table("#subsys_name\thierarchy\nmemory\t0\t6\t1\n"), Hierarchy::Unified);
    }
}
