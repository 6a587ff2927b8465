//! The system calls that Docker's default seccomp profile lets every container make: the bound of what relatives, the
//! broad mode and a repair may allow. Calls that it allows for some capability, architecture or kernel only are not among
//! them.

use crate::policy::Architecture;

/// Sorted. Source: moby's `profiles/seccomp/default.json`, the rules without `includes`; `personality`, `socket` and the
/// like with the conditions that [`crate::system_calls`] carries over. `clone` stands in the profile with a condition of
/// the same kind, ptrace and its two companions for every kernel since 4.8. Where versions of it differ the narrower
/// counts: io_uring was taken out in 2023.
const ALLOWED: &str = include_str!("engine_default.txt");

/// Those that 64-bit programs of x86-64 and arm64 have no number for. Source: the kernel's `syscall_64.tbl`.
const ONLY_32_BIT: &str = "_llseek _newselect chown32 clock_adjtime64 clock_getres_time64 clock_gettime64 \
    clock_nanosleep_time64 fadvise64_64 fchown32 fcntl64 fstat64 fstatat64 fstatfs64 ftruncate64 futex_time64 getegid32 \
    geteuid32 getgid32 getgroups32 getresgid32 getresuid32 getuid32 io_pgetevents_time64 ipc lchown32 lstat64 mmap2 \
    mq_timedreceive_time64 mq_timedsend_time64 ppoll_time64 pselect6_time64 recv recvmmsg_time64 rt_sigtimedwait_time64 \
    sched_rr_get_interval_time64 semtimedop_time64 send sendfile64 setfsgid32 setfsuid32 setgid32 setgroups32 setregid32 \
    setresgid32 setresuid32 setreuid32 setuid32 sigprocmask sigreturn socketcall stat64 statfs64 timer_gettime64 \
    timer_settime64 timerfd_gettime64 timerfd_settime64 truncate64 ugetrlimit utimensat_time64 waitpid";

/// Those that arm64 has no number for: older forms of others. Source: the kernel's `include/uapi/asm-generic/unistd.h`.
const NOT_ON_ARM64: &str = "access alarm arch_prctl chmod chown creat dup2 epoll_create epoll_ctl_old epoll_wait \
    epoll_wait_old eventfd fork futimesat get_thread_area getdents getpgrp inotify_init lchown link lstat mkdir mknod \
    modify_ldt open pause pipe poll readlink rename rmdir select set_thread_area signalfd stat symlink time unlink utime \
    utimes vfork";

/// Whether every container may make this call under the engine's own profile.
#[must_use]
pub fn allowed_by_default(system_call: &str) -> bool {
    ALLOWED.lines().any(|name| name == system_call)
}

/// Every call that it lets them make, of all binary interfaces.
pub(crate) fn default_calls() -> impl Iterator<Item = &'static str> {
    ALLOWED.lines()
}

/// How many calls the engine's own profile lets every container of this machine make.
#[must_use]
pub fn default_count(architecture: Architecture) -> usize {
    ALLOWED.lines().filter(|call| exists(call, architecture)).count()
}

/// Whether programs of this machine can make this one of the calls that are allowed by default.
pub(crate) fn exists(call: &str, architecture: Architecture) -> bool {
    let stands_in = |list: &str| list.split_whitespace().any(|name| name == call);
    match architecture {
        Architecture::Amd64 { sub_x86, .. } => sub_x86 || !stands_in(ONLY_32_BIT),
        Architecture::Arm64 => !stands_in(ONLY_32_BIT) && !stands_in(NOT_ON_ARM64),
    }
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
            "pidfd_getfd",
            "io_uring_setup",
        ] {
            assert!(!allowed_by_default(call), "{call}");
        }
        for call in ["openat", "chroot_is_none", "renameat2", "clone", "personality"] {
            assert_eq!(allowed_by_default(call), call != "chroot_is_none", "{call}");
        }
    }

    #[test]
    fn the_engines_own_file_names_the_same_calls() {
        let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../slim-engine/src/embedded/seccomp_default.json");
        let profile: serde_json::Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let mut names = std::collections::BTreeSet::new();
        for rule in profile["syscalls"].as_array().unwrap() {
            let is_for_all = rule["includes"]["caps"].is_null() && rule["includes"]["arches"].is_null();
            if rule["action"] == "SCMP_ACT_ALLOW" && is_for_all {
                names.extend(
                    rule["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()),
                );
            }
        }
        assert_eq!(names.into_iter().collect::<Vec<_>>(), ALLOWED.lines().collect::<Vec<_>>());
    }

    #[test]
    fn arm64_has_no_legacy_calls_and_64_bit_programs_no_others() {
        let amd64 = Architecture::Amd64 { sub_x86: false, sub_x32: false };
        assert!(
            !exists("fstat64", amd64) && exists("open", amd64) && exists("newfstatat", Architecture::Arm64)
        );
        assert!(exists("fstat64", Architecture::Amd64 { sub_x86: true, sub_x32: false }));
        assert!(!exists("open", Architecture::Arm64) && exists("openat", Architecture::Arm64));
        for call in [ONLY_32_BIT, NOT_ON_ARM64].iter().flat_map(|list| list.split_whitespace()) {
            assert!(allowed_by_default(call), "{call} is no call of the profile");
        }
        assert_eq!((default_count(amd64), default_count(Architecture::Arm64)), (301, 260));
    }
}
