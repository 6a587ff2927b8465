//! System calls that libc and language runtimes try first and do without when the kernel does not know them.
//!
//! Those that the program did not need are answered with ENOSYS, as a kernel that lacks them does. The default, EPERM,
//! makes callers give up instead of falling back: glibc's `pthread_create` fails when clone3 says EPERM. That holds where
//! the calls that are made instead are refused as well: it is those that a repair finds then, clone and not clone3, whose
//! flags no filter can read.

/// One call with what its callers do on ENOSYS.
pub(crate) struct Fallback {
    pub call: &'static str,
    /// The calls that are made instead; empty where callers do without.
    pub instead: &'static [&'static str],
    /// Whether the call exists for 32-bit programs only.
    pub only_32_bit: bool,
}

const fn row(call: &'static str, instead: &'static [&'static str]) -> Fallback {
    Fallback { call, instead, only_32_bit: false }
}

const fn row_32(call: &'static str, instead: &'static [&'static str]) -> Fallback {
    Fallback { call, instead, only_32_bit: true }
}

/// Sorted by call. Sources: glibc's `sysdeps/unix/sysv/linux`, musl's `src`, libuv's `src/unix/linux.c`, Go's
/// `internal/syscall/unix` and `internal/poll`, CPython's `Modules/posixmodule.c`.
pub(crate) const FALLBACKS: &[Fallback] = &[
    row("cachestat", &[]),
    row_32("clock_getres_time64", &["clock_getres"]),
    row_32("clock_gettime64", &["clock_gettime"]),
    row_32("clock_nanosleep_time64", &["clock_nanosleep", "nanosleep"]),
    row("clone3", &["clone"]),
    row("close_range", &["close"]),
    row("copy_file_range", &["read", "write", "sendfile"]),
    row("epoll_pwait2", &["epoll_pwait", "epoll_wait"]),
    row("faccessat2", &["faccessat"]),
    row("fchmodat2", &["fchmodat", "fchmod", "chmod"]),
    row("fspick", &[]),
    row_32("futex_time64", &["futex"]),
    row("futex_waitv", &["futex"]),
    row("getrandom", &["openat", "open", "read"]),
    row("io_uring_setup", &[]),
    row("landlock_create_ruleset", &[]),
    row("map_shadow_stack", &[]),
    row("membarrier", &[]),
    row("memfd_secret", &[]),
    row("mlock2", &["mlock"]),
    row("mount_setattr", &[]),
    row("mseal", &[]),
    row("openat2", &["openat"]),
    row("pidfd_getfd", &[]),
    row("pidfd_open", &[]),
    row("pidfd_send_signal", &["kill"]),
    row_32("ppoll_time64", &["ppoll"]),
    row("preadv2", &["preadv", "pread64"]),
    row("process_madvise", &[]),
    row("process_mrelease", &[]),
    row_32("pselect6_time64", &["pselect6"]),
    row("pwritev2", &["pwritev", "pwrite64"]),
    row_32("recvmmsg_time64", &["recvmmsg"]),
    row("renameat2", &["renameat", "rename"]),
    row("rseq", &[]),
    row_32("rt_sigtimedwait_time64", &["rt_sigtimedwait"]),
    row_32("semtimedop_time64", &["semtimedop"]),
    row("statx", &["newfstatat", "fstat", "stat", "lstat"]),
    row_32("timer_gettime64", &["timer_gettime"]),
    row_32("timer_settime64", &["timer_settime"]),
    row_32("timerfd_gettime64", &["timerfd_gettime"]),
    row_32("timerfd_settime64", &["timerfd_settime"]),
    row_32("utimensat_time64", &["utimensat"]),
];

/// Calls that one libc makes where another makes the second: a profile made on one machine must hold when the engine or
/// the kernel of the next one answers ENOSYS to the first.
pub(crate) const SAME_PURPOSE: &[(&str, &str)] = &[("fork", "clone"), ("vfork", "clone")];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_names_no_call_twice() {
        assert!(FALLBACKS.windows(2).all(|pair| pair[0].call < pair[1].call));
    }
}
