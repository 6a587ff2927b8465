//! What /proc tells of a process whose call waits.
//!
//! A process is held by its folder in /proc, which answers for no other one that gets its number later.

use crate::root::{self, Found, Root};
use rustix::fs::{Mode, OFlags};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// Longest path, with its zero byte.
const PATH_BYTES: usize = 4096;
/// Read at once of a string: most paths are shorter.
const CHUNK_BYTES: usize = 256;
const PAGE_BYTES: u64 = 4096;
/// Links on the way, as many as the kernel follows.
const LINKS_MAX: usize = 40;

/// A process.
pub struct Task {
    folder: OwnedFd,
    memory: Option<File>,
    /// Its number in the innermost pid namespace.
    inner: u32,
    /// Its root may be another than the container's.
    pub moved_root: bool,
}

/// What `/proc/TID/status` says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    pub process: u32,
    pub parent: u32,
    /// The process's number in the innermost pid namespace.
    pub inner: u32,
}

/// Tells one program of a process from the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Program {
    /// Where stack, arguments and environment lie, which is a matter of chance.
    places: Vec<u64>,
    file: Option<Vec<u8>>,
}

impl Identity {
    /// Of a thread; `None` when it is gone.
    pub fn of(thread: u32) -> Option<Self> {
        Self::read(&fs::read_to_string(format!("/proc/{thread}/status")).ok()?)
    }

    fn read(status: &str) -> Option<Self> {
        let last = |name: &str| -> Option<u32> {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().last()?.parse().ok()
        };
        let (process, parent) = (last("Tgid:")?, last("PPid:")?);
        Some(Self { process, parent, inner: last("NStgid:").unwrap_or(process) })
    }
}

impl Task {
    /// `None` when the process is gone.
    pub fn open(identity: Identity) -> Option<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(format!("/proc/{}", identity.process), flags, Mode::empty()).ok()?;
        Some(Self { folder, memory: None, inner: identity.inner, moved_root: false })
    }

    fn file(&self, name: &str) -> io::Result<File> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        Ok(rustix::fs::openat(&self.folder, name, flags, Mode::empty())?.into())
    }

    fn text(&self, name: &str) -> io::Result<Vec<u8>> {
        let mut bytes = Vec::new();
        io::Read::read_to_end(&mut self.file(name)?, &mut bytes)?;
        Ok(bytes)
    }

    /// Whether the process is there.
    pub fn lives(&self) -> bool {
        self.file("stat").is_ok()
    }

    /// Bytes of its memory; fewer where it ends.
    fn read(&mut self, address: u64, bytes: usize) -> io::Result<Vec<u8>> {
        let mut buffer = vec![0; bytes];
        for again in [true, false] {
            if self.memory.is_none() {
                self.memory = Some(self.file("mem")?);
            }
            let Some(memory) = &self.memory else { break };
            match memory.read_at(&mut buffer, address) {
                // A memory that is gone with the program before gives nothing.
                Ok(0) if again => self.memory = None,
                Ok(read) => {
                    buffer.truncate(read);
                    return Ok(buffer);
                }
                Err(error) if !again => return Err(error),
                Err(_) => self.memory = None,
            }
        }
        Err(io::ErrorKind::UnexpectedEof.into())
    }

    /// So many bytes, or nothing.
    pub fn bytes<const COUNT: usize>(&mut self, address: u64) -> Option<[u8; COUNT]> {
        self.read(address, COUNT).ok()?.try_into().ok()
    }

    /// So many bytes at most.
    pub fn some_bytes(&mut self, address: u64, count: usize) -> Option<Vec<u8>> {
        self.read(address, count).ok()
    }

    /// A string without its zero byte; `None` where it cannot be read or is no path for its length.
    pub fn string(&mut self, address: u64) -> Option<Vec<u8>> {
        let mut string = Vec::new();
        while string.len() < PATH_BYTES {
            let from = address.checked_add(string.len() as u64)?;
            // Never beyond a page: the next one may not be there.
            let to_the_page = usize::try_from(PAGE_BYTES - from % PAGE_BYTES).ok()?;
            let chunk = self.read(from, to_the_page.min(CHUNK_BYTES)).ok()?;
            if let Some(end) = chunk.iter().position(|byte| *byte == 0) {
                string.extend(&chunk[..end]);
                return Some(string);
            }
            if chunk.is_empty() {
                return None;
            }
            string.extend(chunk);
        }
        None
    }

    /// What it runs.
    pub fn program(&self) -> Option<Program> {
        let stat = self.text("stat").ok()?;
        // The second field is the name in parentheses, which may hold anything.
        let behind = stat.iter().rposition(|byte| *byte == b')')?;
        let fields: Vec<u64> = String::from_utf8_lossy(&stat[behind + 1..])
            .split_whitespace()
            .skip(1)
            .map(|field| field.parse().unwrap_or(0))
            .collect();
        // Fields 26 to 28 and 45 to 51 of proc(5), of which these begin with the fourth.
        let places = (26..=28).chain(45..=51).filter_map(|field| fields.get(field - 4).copied()).collect();
        Some(Program { places, file: self.executable() })
    }

    /// The file that it runs, from the container's root.
    pub fn executable(&self) -> Option<Vec<u8>> {
        root::place(&self.below("exe"))
    }

    /// Its arguments, each with a zero byte behind it.
    pub fn arguments(&self) -> Option<Vec<u8>> {
        self.text("cmdline").ok()
    }

    /// Processes that it made and that live.
    pub fn children(&self) -> Vec<u32> {
        let threads = fs::read_dir(self.below("task")).into_iter().flatten().flatten();
        threads
            .filter_map(|thread| fs::read_to_string(thread.path().join("children")).ok())
            .flat_map(|text| text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect::<Vec<u32>>())
            .collect()
    }

    fn below(&self, name: &str) -> PathBuf {
        root::descriptor_path(&self.folder).join(name)
    }

    /// The root of a thread, seen from the container's; empty unless it was changed.
    pub fn root(&self, thread: u32) -> Vec<u8> {
        if !self.moved_root {
            return Vec::new();
        }
        root::place(&PathBuf::from(format!("/proc/{thread}/root")))
            .filter(|root| root != b"/")
            .unwrap_or_default()
    }

    /// Where a path leads for a thread that has this root. Links of /proc that mean the process itself are followed as the
    /// process would.
    ///
    /// # Errors
    /// The kernel's.
    pub fn find(
        &self,
        container: &Root,
        own_root: &[u8],
        thread: u32,
        path: &[u8],
        follow: bool,
    ) -> rustix::io::Result<Found> {
        let below_own = path.strip_prefix(own_root).filter(|_| !own_root.is_empty());
        let found = match below_own {
            Some(path) => {
                let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
                let root = rustix::fs::open(format!("/proc/{thread}/root"), flags, Mode::empty())?;
                return root::find(&root, if path.is_empty() { b"/" } else { path }, follow);
            }
            None => container.find(path, follow),
        };
        match found {
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::LOOP | rustix::io::Errno::XDEV) => {
                self.walk(container, path, follow).unwrap_or(found)
            }
            found => found,
        }
    }

    /// Looks again where links lead through `/proc/self`, which is somebody else for us. `None` where they do not.
    fn walk(&self, container: &Root, path: &[u8], follow: bool) -> Option<rustix::io::Result<Found>> {
        const OWN: [&[u8]; 2] = [b"/proc/self", b"/proc/thread-self"];
        let mut rest = path.to_vec();
        let mut through_own = false;
        for _ in 0..LINKS_MAX {
            for own in OWN {
                if rest.strip_prefix(own).is_some_and(|behind| matches!(behind.first(), None | Some(b'/'))) {
                    rest = [format!("/proc/{}", self.inner).as_bytes(), &rest[own.len()..]].concat();
                    through_own = true;
                }
            }
            match first_link(container, &rest, follow) {
                Some((link, target, behind)) => {
                    // What a descriptor stands for may have no path: a pipe, a socket.
                    if link.starts_with(b"/proc/") && !target.starts_with(b"/") {
                        let kind = rustix::fs::FileType::Unknown;
                        return Some(Ok(Found { kind, path: Vec::new() }));
                    }
                    let parent = link.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
                    let base = if target.starts_with(b"/") { &[][..] } else { &link[..=parent] };
                    rest = [base, &target, &behind].concat();
                }
                None => return through_own.then(|| container.find(&rest, follow)),
            }
        }
        Some(Err(rustix::io::Errno::LOOP))
    }
}

/// The first link on the way of a path, what it says, and what comes behind it.
fn first_link(container: &Root, path: &[u8], follow: bool) -> Option<(Vec<u8>, Vec<u8>, Vec<u8>)> {
    let mut at = 0;
    while at < path.len() {
        let start = at + path[at..].iter().take_while(|byte| **byte == b'/').count();
        let end = start + path[start..].iter().take_while(|byte| **byte != b'/').count();
        if end == start || (end == path.len() && !follow) {
            return None;
        }
        let link = &path[..end];
        let file = container.open(link, OFlags::PATH | OFlags::NOFOLLOW).ok()?;
        let kind = rustix::fs::FileType::from_raw_mode(rustix::fs::fstat(&file).ok()?.st_mode);
        if kind == rustix::fs::FileType::Symlink {
            let target = rustix::fs::readlinkat(&file, OsStr::from_bytes(b""), Vec::new()).ok()?;
            return Some((link.to_vec(), target.into_bytes(), path[end..].to_vec()));
        }
        at = end;
    }
    None
}

/// The directory that a thread's relative paths start from, or what a descriptor of it stands for.
pub fn base(thread: u32, descriptor: i32) -> Option<Vec<u8>> {
    let link = match descriptor {
        nix::libc::AT_FDCWD => format!("/proc/{thread}/cwd"),
        _ => format!("/proc/{thread}/fd/{descriptor}"),
    };
    root::place(&PathBuf::from(link))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_known_by_its_number_in_its_own_namespace() {
        let status = "Name:\tsh\nTgid:\t812\nPid:\t812\nPPid:\t800\nNStgid:\t812\t1\n";
        assert_eq!(Identity::read(status), Some(Identity { process: 812, parent: 800, inner: 1 }));
        assert_eq!(Identity::read("Name:\tsh\n"), None);
    }

    #[test]
    fn memory_is_read_as_far_as_it_goes() {
        let mut task = Task::open(Identity::of(std::process::id()).unwrap()).unwrap();
        let long = vec![b'x'; 1000];
        let text = std::ffi::CString::new(long.clone()).unwrap();
        assert_eq!(task.string(text.as_ptr() as u64), Some(long));
        assert_eq!(task.string(8), None, "nothing lies there");
        let number = 77_u32;
        assert_eq!(task.bytes::<4>((&raw const number) as u64), Some(77_u32.to_ne_bytes()));
        assert!(task.lives() && task.program() == task.program());
    }

    #[test]
    fn the_working_directory_is_where_relative_paths_start() {
        let here = std::env::current_dir().unwrap().into_os_string().into_encoded_bytes();
        assert_eq!(base(std::process::id(), nix::libc::AT_FDCWD), Some(here));
        let (reader, _writer) = std::io::pipe().unwrap();
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&reader);
        assert_eq!(base(std::process::id(), descriptor), None, "a pipe has no path");
    }
}
