//! What a call that waits names, and what will come of it.
//!
//! A call is seen before it is made, so its outcome is foretold: by the profile's refusal, else by looking where its path
//! leads now. Not foretold are permissions, and refusals of the kernel's own.

use super::task::{self, Task};
use crate::event::{FLAG_BELOW, FLAG_MADE};
use crate::gathering::full_path;
use crate::root::{Found, Root};
use crate::table::{ACCESS, Call, Kind, PathArgument};
use nix::libc;
use rustix::fs::FileType;
use rustix::io::Errno;
use slim_trace::{Abi, Access};

const AT_SYMLINK_NOFOLLOW: u64 = 0x100;
const AT_SYMLINK_FOLLOW: u64 = 0x400;
const AT_EMPTY_PATH: u64 = 0x1000;
const IN_DONT_FOLLOW: u64 = 0x0200_0000;
const UMOUNT_NOFOLLOW: u64 = 8;
const RESOLVE_IN_ROOT: u64 = 0x10;
const MS_BIND: u64 = 1 << 12;
const MS_MOVE: u64 = 1 << 13;
const MS_PROPAGATION: u64 = 0xf << 17;
const LOCK_EX: u64 = 2;
/// F_SETLK, F_SETLKW, F_SETLK64, F_SETLKW64, F_OFD_SETLK, F_OFD_SETLKW of fcntl(2).
const LOCKING: [u64; 6] = [6, 7, 13, 14, 37, 38];
/// `struct flock` begins with the kind of the lock.
const F_WRLCK: u16 = 1;
/// Messages of one sendmmsg(2) that are looked at.
const MESSAGES_MAX: u64 = 4;

/// A path that a call named, as the eBPF program would tell it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// A number of [`ACCESS`].
    pub access: u16,
    pub base: Vec<u8>,
    pub path: Vec<u8>,
    /// 0, or the error below it.
    pub result: i32,
    pub flags: u64,
    /// The file that will be opened, without links.
    pub opened: Option<Vec<u8>>,
}

/// A call that waits, and whose.
pub struct Look<'a> {
    pub task: &'a mut Task,
    pub container: &'a Root,
    pub thread: u32,
    pub abi: Abi,
    pub name: &'static str,
    pub arguments: [u64; 6],
    /// The profile's error.
    pub refused: Option<i32>,
}

/// What is done at a path's end.
#[derive(Clone, Copy)]
enum Intent {
    /// It must be there.
    Find {
        follow: bool,
    },
    Directory,
    Link,
    Open {
        flags: i32,
    },
    /// It must not be there, but its folder must.
    Make,
    /// Its folder must be there.
    Replace,
}

impl Look<'_> {
    /// The paths that it names.
    pub fn paths(&mut self, call: &Call) -> Vec<Named> {
        if self.refused.is_some_and(has_no_outcome) {
            return Vec::new();
        }
        let arguments = self.arguments;
        let at = |index: i8| {
            usize::try_from(index).ok().and_then(|index| arguments.get(index)).copied().unwrap_or(0)
        };
        match call.kind {
            Kind::Open => self.open(call, at(call.flags) & 0xffff_ffff, false),
            Kind::Creat => self.open(call, (libc::O_CREAT | libc::O_WRONLY | libc::O_TRUNC) as u64, false),
            Kind::OpenHow => {
                let Some(how) = self.task.bytes::<24>(at(call.flags)) else { return Vec::new() };
                let word =
                    |from: usize| u64::from_ne_bytes(how[from..from + 8].try_into().expect("eight bytes"));
                self.open(call, word(0), word(16) & RESOLVE_IN_ROOT != 0)
            }
            Kind::Connect => self.address(at(call.first.path), at(call.flags), Access::Connect),
            Kind::Bind => self.address(at(1), at(2), Access::Bind),
            Kind::SendMessage => self.messages(at(1), 1),
            Kind::SendMessages => self.messages(at(1), at(2).clamp(1, MESSAGES_MAX)),
            Kind::Mount if at(3) & MS_PROPAGATION != 0 => Vec::new(),
            Kind::Mount => {
                let source = (at(3) & (MS_BIND | MS_MOVE) != 0).then_some(call.second);
                source.into_iter().chain([call.first]).filter_map(|what| self.argument(what)).collect()
            }
            Kind::Plain | Kind::Move => {
                [call.first, call.second].into_iter().filter_map(|what| self.argument(what)).collect()
            }
            Kind::Flock => self.lock(call, at(call.flags) & LOCK_EX != 0).into_iter().collect(),
            Kind::Fcntl if LOCKING.contains(&(at(1) & 0xffff_ffff)) => {
                let kind = self.task.bytes::<2>(at(call.flags)).map(u16::from_ne_bytes);
                self.lock(call, kind == Some(F_WRLCK)).into_iter().collect()
            }
            Kind::Fcntl | Kind::Socket | Kind::Listen | Kind::Prctl | Kind::Seccomp | Kind::Argued => {
                Vec::new()
            }
        }
    }

    /// A file that is locked, if it can be at once.
    fn lock(&mut self, call: &Call, exclusive: bool) -> Option<Named> {
        let access = if exclusive { call.second.access } else { call.first.access };
        self.argument(PathArgument { access, ..call.first })
    }

    fn argument(&mut self, what: PathArgument) -> Option<Named> {
        let access = ACCESS.get(usize::from(what.access)).copied().unwrap_or(Access::Stat);
        let intent = match access {
            Access::Create | Access::LinkTo => Intent::Make,
            Access::RenameTo => Intent::Replace,
            Access::ChangeDirectory => Intent::Directory,
            Access::ReadLink => Intent::Link,
            Access::RenameFrom | Access::Remove => Intent::Find { follow: false },
            _ => Intent::Find { follow: self.follows() },
        };
        self.path(what, intent, 0, false)
    }

    fn open(&mut self, call: &Call, flags: u64, below: bool) -> Vec<Named> {
        let intent = Intent::Open { flags: (flags & 0xffff_ffff) as u32 as i32 };
        self.path(call.first, intent, flags, below).into_iter().collect()
    }

    /// The flags among the arguments of calls that start from a descriptor.
    fn at_flags(&self) -> u64 {
        let index = match self.name {
            "statx" | "open_tree" | "open_tree_attr" | "getxattrat" | "listxattrat" | "setxattrat"
            | "removexattrat" | "mount_setattr" => 2,
            "newfstatat" | "fstatat64" | "faccessat2" | "fchmodat2" | "utimensat" | "utimensat_time64" => 3,
            "fchownat" | "linkat" | "name_to_handle_at" | "file_getattr" | "file_setattr" | "execveat" => 4,
            _ => return 0,
        };
        self.arguments[index]
    }

    fn follows(&self) -> bool {
        match self.name {
            "lstat" | "lstat64" | "oldlstat" | "lgetxattr" | "llistxattr" | "lsetxattr" | "lremovexattr"
            | "lchown" | "lchown32" | "link" => false,
            "linkat" | "name_to_handle_at" => self.at_flags() & AT_SYMLINK_FOLLOW != 0,
            "inotify_add_watch" => self.arguments[2] & IN_DONT_FOLLOW == 0,
            "umount2" => self.arguments[1] & UMOUNT_NOFOLLOW == 0,
            _ => self.at_flags() & AT_SYMLINK_NOFOLLOW == 0,
        }
    }

    /// A path in one or two arguments.
    fn path(&mut self, what: PathArgument, intent: Intent, flags: u64, below: bool) -> Option<Named> {
        let argument = |index: i8| usize::try_from(index).ok().map(|index| self.arguments[index]);
        let (pointer, descriptor) = (argument(what.path), argument(what.directory));
        let start = descriptor.map_or(libc::AT_FDCWD, |number| (number & 0xffff_ffff) as u32 as i32);
        let path = match pointer {
            Some(0) | None if descriptor.is_some() => Vec::new(),
            Some(0) | None => return None,
            Some(pointer) => self.task.string(pointer)?,
        };
        let no_path = pointer.is_none_or(|pointer| pointer == 0);
        if path.is_empty() && !no_path && self.at_flags() & AT_EMPTY_PATH == 0 && self.name != "readlinkat" {
            return None;
        }
        self.named(what.access, start, path, intent, flags, below)
    }

    fn named(
        &mut self,
        access: u16,
        start: i32,
        path: Vec<u8>,
        intent: Intent,
        flags: u64,
        below: bool,
    ) -> Option<Named> {
        let own_root = self.task.root(self.thread);
        let base = if path.first() == Some(&b'/') && !below {
            own_root.clone()
        } else {
            task::base(self.thread, start)?
        };
        let below_flag = if below { FLAG_BELOW } else { 0 };
        let mut named =
            Named { access, base, path, result: 0, flags: flags & 0xffff_ffff | below_flag, opened: None };
        if let Some(error) = self.refused {
            named.result = -error;
            return Some(named);
        }
        if named.path.is_empty() {
            // The descriptor's own file is there.
            return Some(named);
        }
        let full = full_path(&named.base, &named.path, below);
        match self.outcome(&own_root, &full, intent) {
            Ok((opened, made)) => {
                named.opened = opened;
                named.flags |= if made { FLAG_MADE } else { 0 };
            }
            Err(error) if has_no_outcome(error.raw_os_error()) => return None,
            Err(error) => named.result = -error.raw_os_error(),
        }
        Some(named)
    }

    fn find(&self, own_root: &[u8], path: &[u8], follow: bool) -> Result<Found, Errno> {
        self.task.find(self.container, own_root, self.thread, path, follow)
    }

    /// The file that is opened, if one is, and whether it is made.
    fn outcome(
        &self,
        own_root: &[u8],
        path: &[u8],
        intent: Intent,
    ) -> Result<(Option<Vec<u8>>, bool), Errno> {
        let found = |follow| self.find(own_root, path, follow);
        match intent {
            Intent::Find { follow } => found(follow).map(drop)?,
            Intent::Directory if found(true)?.kind != FileType::Directory => return Err(Errno::NOTDIR),
            Intent::Link if !matches!(found(false)?.kind, FileType::Symlink | FileType::Unknown) => {
                return Err(Errno::INVAL);
            }
            Intent::Directory | Intent::Link => {}
            Intent::Make => match found(false) {
                Ok(_) => return Err(Errno::EXIST),
                Err(Errno::NOENT) => drop(self.folder(own_root, path)?),
                Err(error) => return Err(error),
            },
            Intent::Replace => drop(self.folder(own_root, path)?),
            Intent::Open { flags } => return self.opening(own_root, path, flags),
        }
        Ok((None, false))
    }

    fn opening(&self, own_root: &[u8], path: &[u8], flags: i32) -> Result<(Option<Vec<u8>>, bool), Errno> {
        let has = |flag: i32| flags & flag == flag;
        let (makes, alone) = (has(libc::O_CREAT), has(libc::O_CREAT | libc::O_EXCL));
        let follow = !has(libc::O_NOFOLLOW) && !alone;
        let found = match self.find(own_root, path, follow) {
            Ok(_) if alone => return Err(Errno::EXIST),
            Ok(found) => found,
            Err(Errno::NOENT) if makes => {
                let folder = self.folder(own_root, path)?;
                let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
                return Ok((Some(full_path(&folder.path, name, true)), true));
            }
            Err(error) => return Err(error),
        };
        let writes = flags & (libc::O_ACCMODE | libc::O_TRUNC) != 0 || makes;
        let is_path = has(libc::O_PATH);
        match found.kind {
            FileType::Symlink if !is_path => Err(Errno::LOOP),
            FileType::Directory if writes && !is_path && !has(libc::O_TMPFILE) => Err(Errno::ISDIR),
            FileType::Directory => {
                Ok((Some(found.path).filter(|_| !is_path && !has(libc::O_TMPFILE)), false))
            }
            _ if has(libc::O_DIRECTORY) => Err(Errno::NOTDIR),
            FileType::Unknown => Ok((None, false)),
            _ => Ok((Some(found.path).filter(|_| !is_path), false)),
        }
    }

    /// The folder that a path's last name lies in.
    fn folder(&self, own_root: &[u8], path: &[u8]) -> Result<Found, Errno> {
        let end = path.iter().rposition(|byte| *byte != b'/').map_or(0, |at| at + 1);
        let slash = path[..end].iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let folder = self.find(own_root, &path[..=slash], true)?;
        if folder.kind == FileType::Directory { Ok(folder) } else { Err(Errno::NOTDIR) }
    }

    /// The path of a socket address.
    fn address(&mut self, pointer: u64, length: u64, access: Access) -> Vec<Named> {
        let length = usize::try_from(length & 0xffff_ffff).unwrap_or(usize::MAX).min(110);
        let bytes = if pointer == 0 || length < 3 { None } else { self.task.some_bytes(pointer, length) };
        let Some(path) = bytes.as_deref().and_then(path_of_address) else { return Vec::new() };
        let number = ACCESS.iter().position(|one| *one == access).and_then(|at| u16::try_from(at).ok());
        let intent = if access == Access::Bind { Intent::Make } else { Intent::Find { follow: true } };
        let named = self.named(number.unwrap_or_default(), libc::AT_FDCWD, path, intent, 0, false);
        named.into_iter().collect()
    }

    /// Where messages go: `msghdr` begins with pointer and length of the address.
    fn messages(&mut self, pointer: u64, count: u64) -> Vec<Named> {
        let mut named = Vec::new();
        for index in 0..count {
            let (address, length) = if self.abi == Abi::X86 {
                let Some(head) = self.task.bytes::<8>(pointer + index * 32) else { break };
                let word =
                    |from: usize| u32::from_ne_bytes(head[from..from + 4].try_into().expect("four bytes"));
                (u64::from(word(0)), u64::from(word(4)))
            } else {
                let Some(head) = self.task.bytes::<16>(pointer + index * 64) else { break };
                let word =
                    |from: usize| u64::from_ne_bytes(head[from..from + 8].try_into().expect("eight bytes"));
                (word(0), word(8))
            };
            named.extend(self.address(address, length, Access::Connect));
        }
        named
    }
}

/// The path in a `sockaddr_un`; an abstract one has none.
fn path_of_address(bytes: &[u8]) -> Option<Vec<u8>> {
    let (family, path) = bytes.split_first_chunk::<2>()?;
    if i32::from(u16::from_ne_bytes(*family)) != libc::AF_UNIX {
        return None;
    }
    let path = path.split(|byte| *byte == 0).next()?;
    (!path.is_empty()).then(|| path.to_vec())
}

/// Calls whose path the kernel does not look at. The error is a positive number.
fn has_no_outcome(error: i32) -> bool {
    matches!(error, libc::EFAULT | libc::EBADF | libc::ENAMETOOLONG | libc::ENOSYS | libc::EINTR)
}

/// socketcall(2) is the door to the socket calls of the 32-bit ABI: which one, and its arguments, which lie in memory.
pub fn through_socketcall(task: &mut Task, arguments: [u64; 6]) -> Option<(u32, [u64; 6])> {
    let number = match arguments[0] {
        1 => 359,
        2 => 361,
        3 => 362,
        4 => 363,
        8 => 360,
        11 => 369,
        16 => 370,
        20 => 345,
        _ => return None,
    };
    // The shorter calls may have nothing readable behind their arguments.
    let words = task.some_bytes(arguments[1], 24)?;
    let mut inner = [0; 6];
    for (inner, word) in inner.iter_mut().zip(words.as_chunks::<4>().0) {
        *inner = u64::from(u32::from_ne_bytes(*word));
    }
    Some((number, inner))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_path_in_the_file_system_is_an_address_with_a_path() {
        let of = |family: i32, path: &[u8]| {
            path_of_address(&[&u16::try_from(family).unwrap().to_ne_bytes()[..], path].concat())
        };
        assert_eq!(of(libc::AF_UNIX, b"/run/x.sock\0garbage"), Some(b"/run/x.sock".to_vec()));
        assert_eq!(of(libc::AF_UNIX, b"/run/x"), Some(b"/run/x".to_vec()));
        assert_eq!(of(libc::AF_UNIX, b"\0abstract"), None);
        assert_eq!(of(libc::AF_INET, b"/run/x"), None);
        assert_eq!(path_of_address(b"\x01"), None);
    }
}
