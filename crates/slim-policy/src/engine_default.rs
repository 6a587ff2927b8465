//! The system calls that Docker's default seccomp profile lets every container make: the bound of what a repair may
//! allow. Calls that it allows for some capability, architecture or kernel only are not among them.

/// Sorted. Source: moby's `profiles/seccomp/default.json`, the rules without `includes`; `personality`, `socket` and the
/// like with the conditions that [`crate::system_calls`] carries over. `clone` stands in the profile with a condition of
/// the same kind, ptrace and its two companions for every kernel since 4.8.
const ALLOWED: &str = include_str!("engine_default.txt");

/// Whether every container may make this call under the engine's own profile.
#[must_use]
pub fn allowed_by_default(system_call: &str) -> bool {
    ALLOWED.lines().any(|name| name == system_call)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_sorted_and_each_stands_once() {
        let names: Vec<&str> = ALLOWED.lines().collect();
        assert!(names.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(names.len() > 300);
    }

    #[test]
    fn what_reaches_beyond_a_container_is_not_among_them() {
        for call in [
            "mount",
            "bpf",
            "setns",
            "unshare",
            "reboot",
            "init_module",
            "keyctl",
            "clone3",
            "open_by_handle_at",
        ] {
            assert!(!allowed_by_default(call), "{call}");
        }
        for call in ["openat", "chroot_is_none", "renameat2", "clone", "personality"] {
            assert_eq!(allowed_by_default(call), call != "chroot_is_none", "{call}");
        }
    }
}
