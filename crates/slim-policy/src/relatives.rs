//! Calls that go with those that were seen: a program that makes one makes the other on the next route, after an error,
//! when it is stopped, or with another libc or kernel.
//!
//! Invariants: nothing is allowed here that Docker's default profile does not allow every container, nothing that was
//! only ever refused, nothing dangerous ([`crate::dangerous`]); at most [`MOST_RELATIVES`] calls, each with its reason.
//! The list is in the order of what a program is most likely to need: where there are too many, its end is left out.

use crate::dangerous::is_dangerous;
use crate::engine_default::{allowed_by_default, exists};
use crate::policy::{Architecture, Because};
use crate::possible::PossibleCalls;
use std::collections::{BTreeMap, BTreeSet};

/// How many calls the balanced mode adds at most to those of the strict one.
pub const MOST_RELATIVES: usize = 40;

/// How many calls the balanced mode allows in all, as far as [`LEAST_RELATIVES`] lets it: a program that showed much
/// needs little to be presumed.
const ENOUGH: usize = 110;

/// How many relatives there is always room for.
const LEAST_RELATIVES: usize = 24;

/// How many relatives there is room for beside so many calls of the strict mode.
pub(crate) fn room(strict: usize) -> usize {
    ENOUGH.saturating_sub(strict).clamp(LEAST_RELATIVES, MOST_RELATIVES)
}

/// How many of them come from functions' other paths at most; the association list knows better what is needed.
const MOST_TOGETHER: usize = 12;

/// What is presumed of a program that was seen to make some call.
struct Association {
    /// One of these was seen; empty: every program.
    when: &'static [&'static str],
    /// These may come, too; the likeliest first.
    then: &'static [&'static str],
    /// Fits after "presumed: ".
    reason: &'static str,
}

const fn association(
    when: &'static [&'static str],
    then: &'static [&'static str],
    reason: &'static str,
) -> Association {
    Association { when, then, reason }
}

/// Names of other binary interfaces stand beside the usual ones; what the machine has not is left out.
const ASSOCIATIONS: &[Association] = &[
    association(
        &[],
        &["rt_sigaction", "rt_sigprocmask", "getpid", "gettid", "tgkill", "kill"],
        "it ends by a signal, or by abort() after an error",
    ),
    association(
        &["listen", "accept", "accept4"],
        &[
            "accept4",
            "recvfrom",
            "sendto",
            "writev",
            "shutdown",
            "setsockopt",
            "getsockopt",
            "getpeername",
            "getsockname",
        ],
        "it serves connections: a request of another kind, or one that breaks off",
    ),
    association(
        &["epoll_create", "epoll_create1", "epoll_ctl"],
        &["epoll_ctl", "epoll_wait", "epoll_pwait", "_newselect"],
        "it waits for events, by whichever call its libc takes",
    ),
    association(
        &["clone", "clone3", "fork", "vfork"],
        &["clone", "wait4", "futex", "set_robust_list", "rseq"],
        "it makes threads or processes, and waits for them to end",
    ),
    association(
        &["openat", "open", "openat2"],
        &[
            "openat",
            "open",
            "read",
            "lseek",
            "close",
            "fstat",
            "newfstatat",
            "fcntl",
            "getdents64",
            "access",
            "readlink",
            "pread64",
            "fstat64",
            "fcntl64",
            "_llseek",
        ],
        "it reads files: one more, or one that is read in another way",
    ),
    association(
        &["read", "write", "mmap"],
        &["write", "writev", "munmap", "mprotect", "brk", "mmap2"],
        "buffers grow, and messages about errors are written",
    ),
    association(
        &["socket", "connect"],
        &[
            "connect",
            "getsockopt",
            "sendto",
            "recvfrom",
            "recvmsg",
            "sendmsg",
            "sendmmsg",
            "poll",
            "bind",
            "socketcall",
        ],
        "it speaks with others: names are looked up, connections are made",
    ),
    association(
        &["nanosleep", "clock_nanosleep", "poll", "ppoll", "select", "pselect6", "epoll_wait", "epoll_pwait"],
        &["clock_nanosleep", "nanosleep", "poll", "select", "pselect6"],
        "it waits: one libc sleeps by one call, another by the other",
    ),
    association(
        &["stat", "lstat", "newfstatat", "statx", "access", "faccessat2", "faccessat", "stat64"],
        &["newfstatat", "lstat", "stat", "access", "faccessat2", "statx", "readlink", "stat64", "lstat64"],
        "it asks about files, by whichever call its libc takes",
    ),
    association(
        &[
            "unlink",
            "unlinkat",
            "rename",
            "renameat",
            "renameat2",
            "mkdir",
            "mkdirat",
            "rmdir",
            "ftruncate",
            "fsync",
            "fdatasync",
            "chmod",
            "fchmod",
            "link",
            "linkat",
            "symlink",
            "symlinkat",
            "pwrite64",
        ],
        &[
            "unlink",
            "pwrite64",
            "rename",
            "mkdir",
            "ftruncate",
            "fsync",
            "fdatasync",
            "fchmod",
            "rmdir",
            "chmod",
        ],
        "it makes files: others are made, put in place and removed",
    ),
    association(
        &["unlinkat", "renameat", "renameat2", "mkdirat"],
        &["unlinkat", "renameat", "renameat2", "mkdirat"],
        "it makes files by directory: others are made, put in place and removed",
    ),
    association(&["flock", "fcntl"], &["flock", "fcntl"], "it locks files"),
    association(
        &["execve"],
        &["pipe2", "dup2", "vfork", "exit", "getppid", "wait4", "close_range", "dup3"],
        "it runs other programs on a route that was not seen",
    ),
    association(
        &["sendfile", "splice", "copy_file_range", "sendfile64"],
        &["sendfile", "read", "write", "splice", "copy_file_range"],
        "it copies in the kernel, or by itself where the kernel refuses",
    ),
    association(
        &["timer_create", "timer_settime"],
        &["timer_settime", "timer_delete"],
        "timers are set anew and taken away when it ends",
    ),
    association(&["timerfd_create"], &["timerfd_settime"], "timers are set anew when it ends"),
    association(
        &["setitimer", "alarm"],
        &["setitimer", "alarm", "getitimer"],
        "timers are set anew and taken away when it ends",
    ),
    association(
        &["setuid", "setgid", "setgroups", "setresuid", "setresgid", "setreuid", "setregid"],
        &[
            "getuid",
            "geteuid",
            "getgid",
            "getegid",
            "getgroups",
            "setuid",
            "setgid",
            "setgroups",
            "setresuid",
            "setresgid",
        ],
        "it becomes another user, and looks whether it has",
    ),
    association(
        &["waitid", "wait4"],
        &["wait4", "waitid"],
        "it waits for its processes, by whichever call its libc takes",
    ),
    association(
        &["chown", "fchown", "lchown", "fchownat"],
        &["chown", "fchown", "lchown", "fchownat"],
        "it gives files away",
    ),
    association(
        &[
            "getxattr",
            "lgetxattr",
            "fgetxattr",
            "listxattr",
            "llistxattr",
            "flistxattr",
            "setxattr",
            "fsetxattr",
        ],
        &["getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr"],
        "it asks for attributes of files",
    ),
    association(
        &["inotify_init", "inotify_init1"],
        &["inotify_add_watch", "inotify_rm_watch"],
        "it watches files",
    ),
    association(&["signalfd", "signalfd4"], &["signalfd4", "rt_sigtimedwait"], "it reads signals"),
    association(
        &["shmget", "shmat"],
        &["shmat", "shmdt", "shmctl", "shmget"],
        "it shares memory, and lets go of it when it ends",
    ),
    association(
        &["semget", "semop"],
        &["semop", "semtimedop", "semctl", "semget"],
        "it uses semaphores, and removes them when it ends",
    ),
    association(
        &["io_setup"],
        &["io_submit", "io_getevents", "io_destroy", "io_cancel"],
        "it reads and writes without waiting",
    ),
    association(&["pidfd_open"], &["pidfd_send_signal", "waitid"], "it holds its processes by descriptor"),
    association(
        &[],
        &[
            "getrandom",
            "getuid",
            "geteuid",
            "getgid",
            "getegid",
            "prlimit64",
            "uname",
            "sysinfo",
            "getcwd",
            "getrusage",
            "sigaltstack",
            "restart_syscall",
            "membarrier",
        ],
        "libc and language runtimes ask for it at times: randomness, who and where it is, limits",
    ),
    association(
        &["mmap", "openat", "open"],
        &["unlink", "rename", "mkdir", "ftruncate", "fsync", "fdatasync", "pwrite64"],
        "a route that was not seen writes a file",
    ),
    association(
        &["mmap", "openat", "open"],
        &["vfork", "dup2", "close_range", "getgroups"],
        "a route that was not seen runs another program",
    ),
    association(
        &["mmap", "openat", "open"],
        &["statx", "faccessat2", "eventfd2", "pipe2", "fadvise64", "fallocate"],
        "a route that was not seen asks by a newer call",
    ),
    association(
        &["unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "chmod", "fchmod"],
        &["utimensat", "unlinkat", "renameat", "renameat2", "mkdirat", "link", "symlink"],
        "it makes files: on other ways, with dates and further names",
    ),
    association(
        &["mmap", "openat", "open"],
        &[
            "madvise",
            "mremap",
            "sched_yield",
            "sched_getaffinity",
            "statfs",
            "ppoll",
            "readlinkat",
            "faccessat",
        ],
        "its refusal mostly goes unnoticed: another call is made instead, or nobody looks",
    ),
];

/// What relatives are looked for among.
pub(crate) struct Ground<'a> {
    /// What the program was seen to make.
    pub made: &'a BTreeSet<&'a str>,
    /// What was tried and only ever refused.
    pub refused: &'a BTreeSet<&'a str>,
    /// What is allowed without relatives.
    pub allowed: &'a BTreeSet<&'a str>,
    pub possible: Option<&'a PossibleCalls>,
    pub architecture: Architecture,
}

impl Ground<'_> {
    fn may(&self, call: &str) -> bool {
        !self.allowed.contains(call)
            && !self.refused.contains(call)
            && allowed_by_default(call)
            && !is_dangerous(call)
            && exists(call, self.architecture)
    }

    /// What the kept programs can do comes first; what they cannot does not come at all where all that they can do is
    /// known.
    fn rank(&self, call: &str) -> Option<u8> {
        match self.possible {
            None => Some(0),
            Some(possible) if possible.has(call) => Some(0),
            Some(possible) if possible.is_complete => None,
            Some(_) => Some(1),
        }
    }
}

/// At most `most` relatives, each with the reason; `first`: what comes before the list, in order.
pub(crate) fn relatives(
    ground: &Ground<'_>,
    first: impl Iterator<Item = (String, Because)>,
    most: usize,
) -> BTreeMap<String, Because> {
    let mut chosen: BTreeMap<String, Because> = BTreeMap::new();
    for (call, because) in first {
        if chosen.len() < most && ground.may(&call) {
            chosen.entry(call).or_insert(because);
        }
    }
    let mut listed: Vec<(u8, &str, Because)> = Vec::new();
    for association in ASSOCIATIONS {
        let seen = association.when.iter().find(|call| ground.made.contains(*call));
        if seen.is_none() && !association.when.is_empty() {
            continue;
        }
        for call in association.then.iter().filter(|call| ground.may(call)) {
            if let Some(rank) = ground.rank(call) {
                let of = seen.map(|call| (*call).to_owned());
                let because = Because::Relative { of, reason: association.reason.to_owned() };
                listed.push((rank, call, because));
            }
        }
    }
    // Stable: within a rank the list's own order stays.
    listed.sort_by_key(|(rank, ..)| *rank);
    let together = together(ground);
    let likely = listed.iter().filter(|(rank, ..)| *rank == 0).cloned();
    let unlikely = listed.iter().filter(|(rank, ..)| *rank > 0).cloned();
    let in_order = likely
        .map(|(_, call, because)| (call.to_owned(), because))
        .chain(together)
        .chain(unlikely.map(|(_, call, because)| (call.to_owned(), because)));
    for (call, because) in in_order {
        if chosen.len() >= most {
            break;
        }
        chosen.entry(call).or_insert(because);
    }
    chosen
}

/// Calls that stand in the same functions as those that were made; those beside most of them first.
fn together(ground: &Ground<'_>) -> Vec<(String, Because)> {
    let Some(possible) = ground.possible else { return Vec::new() };
    let mut beside: BTreeMap<&str, (usize, Because)> = BTreeMap::new();
    for (made, others) in possible.together.iter().filter(|(made, _)| ground.made.contains(made.as_str())) {
        for (call, function) in others.iter().filter(|(call, _)| ground.may(call)) {
            let because = || Because::Together { with: made.clone(), function: function.clone() };
            beside.entry(call).or_insert_with(|| (0, because())).0 += 1;
        }
    }
    let mut ordered: Vec<(usize, &str, Because)> =
        beside.into_iter().map(|(call, (count, because))| (count, call, because)).collect();
    ordered.sort_by(|one, other| other.0.cmp(&one.0).then(one.1.cmp(other.1)));
    ordered.into_iter().take(MOST_TOGETHER).map(|(_, call, because)| (call.to_owned(), because)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(made: &[&'static str], possible: Option<&PossibleCalls>) -> BTreeMap<String, Because> {
        let made: BTreeSet<&str> = made.iter().copied().collect();
        let (refused, allowed) = (BTreeSet::new(), made.clone());
        let architecture = Architecture::Amd64 { sub_x86: false, sub_x32: false };
        let ground = Ground { made: &made, refused: &refused, allowed: &allowed, possible, architecture };
        relatives(&ground, std::iter::empty(), MOST_RELATIVES)
    }

    #[test]
    fn a_server_that_nobody_asked_may_answer() {
        let server = of(&["openat", "listen", "epoll_create1", "socket"], None);
        for call in ["accept4", "recvfrom", "sendto", "writev", "epoll_wait", "epoll_pwait", "shutdown"] {
            assert!(server.contains_key(call), "{call}");
        }
        assert!(!of(&["openat"], None).contains_key("accept4"), "sockets are for programs that use some");
    }

    #[test]
    fn never_more_than_the_bound_and_never_what_is_dangerous() {
        let everything: Vec<&str> =
            ASSOCIATIONS.iter().flat_map(|association| association.when).copied().collect();
        let mut possible = PossibleCalls::default();
        for (call, _) in crate::dangerous::DANGEROUS {
            possible.calls.insert(call.to_owned(), "app → main".to_owned());
            let others = possible.together.entry("openat".to_owned()).or_default();
            others.insert(call.to_owned(), "main".to_owned());
        }
        for possible in [None, Some(&possible)] {
            let all = of(&everything, possible);
            assert!(all.len() <= MOST_RELATIVES);
            assert!(all.keys().all(|call| !is_dangerous(call) && allowed_by_default(call)));
        }
    }

    #[test]
    fn what_the_programs_cannot_do_gives_way_and_is_left_out_where_all_is_known() {
        let mut possible = PossibleCalls::default();
        possible.calls.insert("readlink".to_owned(), "app → main → readlink".to_owned());
        assert!(of(&["openat"], Some(&possible)).contains_key("lseek"), "its numbers are not all known");
        possible.is_complete = true;
        assert_eq!(of(&["openat"], Some(&possible)).into_keys().collect::<Vec<_>>(), ["readlink"]);
    }

    #[test]
    fn other_paths_of_the_same_function_come_with_its_name() {
        let mut possible = PossibleCalls { is_complete: true, ..PossibleCalls::default() };
        possible.together.insert("openat".into(), [("flistxattr".into(), "app:clean_up".into())].into());
        let because = Because::Together { with: "openat".into(), function: "app:clean_up".into() };
        assert_eq!(of(&["openat"], Some(&possible))["flistxattr"], because);
        assert!(!of(&["read"], Some(&possible)).contains_key("flistxattr"));
    }
}
