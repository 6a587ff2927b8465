//! Which system calls take paths, and where. Data for the eBPF program; numbers are looked up by name for each ABI.

use slim_trace::{ARGUED, Abi, Access, Argument};
use std::str::FromStr;
use syscalls::{x86, x86_64};

/// `struct path_argument` of the eBPF program. Arguments count from 0, -1 is none.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathArgument {
    pub path: i8,
    pub directory: i8,
    pub access: u16,
}

/// `struct call` of the eBPF program.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    pub first: PathArgument,
    pub second: PathArgument,
    pub flags: i8,
    pub kind: Kind,
    /// `enum argued`: which arguments are told as values.
    pub argued: u16,
}

/// `enum call_kind` of the eBPF program.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Plain = 1,
    Open,
    OpenHow,
    Creat,
    Connect,
    Bind,
    SendMessage,
    SendMessages,
    Socket,
    Listen,
    Prctl,
    Seccomp,
    Mount,
    Move,
    /// Nothing but its arguments is looked at.
    Argued,
    /// flock(2): argument `flags` says how.
    Flock,
    /// fcntl(2), which locks with some of its requests.
    Fcntl,
}

// SAFETY: plain integers without padding; the discriminants of `Kind` are only ever written, never read back.
unsafe impl aya::Pod for Call {}

/// The numbers under which kinds of access travel in events.
pub const ACCESS: [Access; 20] = [
    Access::Open,
    Access::Execute,
    Access::Stat,
    Access::ReadLink,
    Access::ChangeDirectory,
    Access::List,
    Access::Connect,
    Access::Bind,
    Access::Write,
    Access::Create,
    Access::ChangeAttributes,
    Access::RenameFrom,
    Access::RenameTo,
    Access::Remove,
    Access::Mount,
    Access::Missing,
    Access::Lock,
    Access::LockExclusive,
    Access::LinkFrom,
    Access::LinkTo,
];

fn number(access: Access) -> u16 {
    let at = ACCESS.iter().position(|other| *other == access).expect("every kind of access has a number");
    u16::try_from(at).expect("there are few kinds of access")
}

const fn none() -> PathArgument {
    PathArgument { path: -1, directory: -1, access: 0 }
}

fn argument(path: i8, directory: i8, access: Access) -> PathArgument {
    PathArgument { path, directory, access: number(access) }
}

fn call(kind: Kind, first: PathArgument, second: PathArgument, flags: i8) -> Call {
    Call { first, second, flags, kind, argued: 0 }
}

/// A path in argument `path`, relative to the working directory.
fn plain(path: i8, access: Access) -> Call {
    call(Kind::Plain, argument(path, -1, access), none(), -1)
}

/// A path in argument `path`, relative to the descriptor in `directory`.
fn at(directory: i8, path: i8, access: Access) -> Call {
    call(Kind::Plain, argument(path, directory, access), none(), -1)
}

/// No path but the file that a descriptor stands for.
fn descriptor(directory: i8, access: Access) -> Call {
    at(directory, -1, access)
}

fn two(first: (i8, i8, Access), second: (i8, i8, Access)) -> Call {
    call(Kind::Plain, argument(first.1, first.0, first.2), argument(second.1, second.0, second.2), -1)
}

/// Every call that is looked at, by name. Names of all ABIs together; one that an ABI does not have is no matter.
#[must_use]
pub fn calls() -> Vec<(&'static str, Call)> {
    let mut rows = with_paths();
    for (name, arguments) in ARGUED {
        if !rows.iter().any(|(row, _)| *row == name) {
            rows.push((name, call(Kind::Argued, none(), none(), -1)));
        }
        for (_, call) in rows.iter_mut().filter(|(row, _)| *row == name) {
            call.argued = argued_number(arguments);
        }
    }
    rows
}

/// The number in `enum argued` of the arguments that are told.
fn argued_number(arguments: &[Argument]) -> u16 {
    let shape: Vec<(u8, u64)> = arguments.iter().map(|argument| (argument.index, argument.mask)).collect();
    match shape[..] {
        [(0, 0xffff_ffff)] => 1,
        [(1, 0xffff_ffff)] => 2,
        [(1, 0xffff_ffff), (2, 0xffff_ffff)] => 3,
        [(0, 0xffff_ffff), (1, 0xf)] => 4,
        [(0, 0x7E02_0000)] => 5,
        [(2, 4)] => 6,
        _ => 0,
    }
}

/// Every call that takes paths, sockets or filters.
fn with_paths() -> Vec<(&'static str, Call)> {
    use Access as A;
    let mut rows = Vec::new();
    let mut each = |names: &'static str, call: Call| rows.extend(names.split(' ').map(|name| (name, call)));
    each("open", call(Kind::Open, argument(0, -1, A::Open), none(), 1));
    each("openat", call(Kind::Open, argument(1, 0, A::Open), none(), 2));
    each("openat2", call(Kind::OpenHow, argument(1, 0, A::Open), none(), 2));
    each("creat", call(Kind::Creat, argument(0, -1, A::Open), none(), -1));
    each("open_tree open_tree_attr", at(0, 1, A::Open));
    each("uselib", plain(0, A::Open));
    each("name_to_handle_at", at(0, 1, A::Stat));
    each("stat lstat stat64 lstat64 oldstat oldlstat access statfs statfs64", plain(0, A::Stat));
    each("newfstatat fstatat64 statx faccessat faccessat2 file_getattr", at(0, 1, A::Stat));
    each("getxattr lgetxattr listxattr llistxattr", plain(0, A::Stat));
    each("getxattrat listxattrat", at(0, 1, A::Stat));
    each("inotify_add_watch", plain(1, A::Stat));
    each("fanotify_mark", at(3, 4, A::Stat));
    each("readlink", plain(0, A::ReadLink));
    each("readlinkat", at(0, 1, A::ReadLink));
    each("chdir chroot", call(Kind::Move, argument(0, -1, A::ChangeDirectory), none(), -1));
    each("fchdir", descriptor(0, A::ChangeDirectory));
    each("getdents getdents64 readdir", descriptor(0, A::List));
    each("truncate truncate64", plain(0, A::Write));
    each("ftruncate ftruncate64", descriptor(0, A::Write));
    each("acct swapon swapoff", plain(0, A::Write));
    each("mkdir mknod", plain(0, A::Create));
    each("mkdirat mknodat", at(0, 1, A::Create));
    each("symlink", plain(1, A::Create));
    each("symlinkat", at(1, 2, A::Create));
    each("link", two((-1, 0, A::LinkFrom), (-1, 1, A::LinkTo)));
    each("linkat", two((0, 1, A::LinkFrom), (2, 3, A::LinkTo)));
    // What the second says is told where nobody else may lock it.
    each("flock", call(Kind::Flock, argument(-1, 0, A::Lock), argument(-1, -1, A::LockExclusive), 1));
    each("fcntl fcntl64", call(Kind::Fcntl, argument(-1, 0, A::Lock), argument(-1, -1, A::LockExclusive), 2));
    each("rename", two((-1, 0, A::RenameFrom), (-1, 1, A::RenameTo)));
    each("renameat renameat2", two((0, 1, A::RenameFrom), (2, 3, A::RenameTo)));
    each("unlink rmdir", plain(0, A::Remove));
    each("unlinkat", at(0, 1, A::Remove));
    each("chmod chown lchown chown32 lchown32 utime utimes", plain(0, A::ChangeAttributes));
    each(
        "fchmodat fchmodat2 fchownat futimesat utimensat utimensat_time64 file_setattr",
        at(0, 1, A::ChangeAttributes),
    );
    each("fchmod fchown fchown32 fsetxattr fremovexattr", descriptor(0, A::ChangeAttributes));
    each("setxattr lsetxattr removexattr lremovexattr", plain(0, A::ChangeAttributes));
    each("setxattrat removexattrat", at(0, 1, A::ChangeAttributes));
    each("mount", call(Kind::Mount, argument(1, -1, A::Mount), argument(0, -1, A::Mount), 3));
    each("umount umount2", plain(0, A::Mount));
    each("move_mount", two((0, 1, A::Mount), (2, 3, A::Mount)));
    each("mount_setattr fspick", at(0, 1, A::Mount));
    each("pivot_root", call(Kind::Move, argument(0, -1, A::Mount), argument(1, -1, A::Mount), -1));
    each("quotactl", plain(1, A::Stat));
    // Only failures end here: a successful exec is an event of its own.
    each("execve", plain(0, A::Execute));
    each("execveat", at(0, 1, A::Execute));
    each("connect", call(Kind::Connect, argument(1, -1, A::Connect), none(), 2));
    each("sendto", call(Kind::Connect, argument(4, -1, A::Connect), none(), 5));
    each("sendmsg", call(Kind::SendMessage, argument(1, -1, A::Connect), none(), -1));
    each("sendmmsg", call(Kind::SendMessages, argument(1, -1, A::Connect), none(), -1));
    each("bind", call(Kind::Bind, argument(1, -1, A::Bind), none(), 2));
    each("listen", call(Kind::Listen, none(), none(), -1));
    each("socket socketpair", call(Kind::Socket, none(), none(), -1));
    each("prctl", call(Kind::Prctl, none(), none(), -1));
    each("seccomp", call(Kind::Seccomp, none(), none(), -1));
    rows
}

/// Calls that have a number of their own in the x32 ABI, from `X32_FIRST` on: `syscall_64.tbl` of the kernel.
const X32: [&str; 36] = [
    "rt_sigaction",
    "rt_sigreturn",
    "ioctl",
    "readv",
    "writev",
    "recvfrom",
    "sendmsg",
    "recvmsg",
    "execve",
    "ptrace",
    "rt_sigpending",
    "rt_sigtimedwait",
    "rt_sigqueueinfo",
    "sigaltstack",
    "timer_create",
    "mq_notify",
    "kexec_load",
    "waitid",
    "set_robust_list",
    "get_robust_list",
    "vmsplice",
    "move_pages",
    "preadv",
    "pwritev",
    "rt_tgsigqueueinfo",
    "recvmmsg",
    "sendmmsg",
    "process_vm_readv",
    "process_vm_writev",
    "setsockopt",
    "getsockopt",
    "io_setup",
    "io_submit",
    "execveat",
    "preadv2",
    "pwritev2",
];
const X32_FIRST: u32 = 512;

/// The number of a call; `None` where the ABI has no such call.
#[must_use]
pub fn number_of(abi: Abi, name: &str) -> Option<u32> {
    match abi {
        Abi::X86 => x86::Sysno::from_str(name).ok().map(|number| number as u32),
        Abi::X86_64 => x86_64::Sysno::from_str(name).ok().map(|number| number as u32),
        Abi::X32 => X32.iter().position(|own| *own == name).map_or_else(
            || number_of(Abi::X86_64, name),
            |index| u32::try_from(index).ok().map(|index| X32_FIRST + index),
        ),
    }
}

/// The name of a call, `#N` where it has none that we know.
#[must_use]
pub fn name_of(abi: Abi, number: u32) -> String {
    let name = match abi {
        Abi::X86 => x86::Sysno::new(number as usize).map(|call| call.name()),
        Abi::X32 if number >= X32_FIRST => X32.get((number - X32_FIRST) as usize).copied(),
        Abi::X86_64 | Abi::X32 => x86_64::Sysno::new(number as usize).map(|call| call.name()),
    };
    name.map_or_else(|| format!("#{number}"), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_a_call_of_some_abi() {
        for (name, _) in calls() {
            assert!(number_of(Abi::X86, name).or(number_of(Abi::X86_64, name)).is_some(), "{name}");
        }
    }

    #[test]
    fn every_call_whose_arguments_matter_is_told_with_them() {
        for (name, _) in ARGUED {
            let rows: Vec<Call> =
                calls().into_iter().filter(|(row, _)| *row == name).map(|(_, call)| call).collect();
            assert!(rows.len() == 1 && rows[0].argued != 0, "{name}: {rows:?}");
        }
        assert!(calls().iter().all(|(name, call)| (call.argued == 0) == slim_trace::argued(name).is_empty()));
    }

    #[test]
    fn a_call_has_its_own_number_in_each_abi() {
        assert_eq!(number_of(Abi::X86_64, "open"), Some(2));
        assert_eq!(number_of(Abi::X86, "open"), Some(5));
        assert_eq!(number_of(Abi::X86_64, "stat64"), None);
        assert_eq!(name_of(Abi::X86, 5), "open");
        assert_eq!(name_of(Abi::X86_64, 499), "#499");
        assert_eq!(number_of(Abi::X32, "execve"), Some(520));
        assert_eq!(number_of(Abi::X32, "open"), Some(2));
        assert_eq!(name_of(Abi::X32, 547), "pwritev2");
    }
}
