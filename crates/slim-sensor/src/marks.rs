//! fanotify on the container's file systems: every file that is really opened, whatever way the kernel was asked.

use crate::error::SensorError;
use nix::sys::fanotify::{EventFFlags, Fanotify, InitFlags, MarkFlags, MaskFlags};
use rustix::fs::{Mode, OFlags, ResolveFlags};
use slim_image::ImagePath;
use slim_trace::{Mount, MountKind};
use std::ffi::OsStr;
use std::fs;
use std::io::{self, Read};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

/// One opened file.
pub struct Opened {
    pub tgid: u32,
    /// From the container's root.
    pub path: Vec<u8>,
    pub executed: bool,
    event: nix::sys::fanotify::FanotifyEvent,
}

/// The marks of one container, and its root folder, held open so that it can be read as long as we want.
pub struct Marks {
    fanotify: Fanotify,
    root: OwnedFd,
    pub mounts: Vec<Mount>,
}

impl Marks {
    /// Marks the root file system of a stopped process, and the image's volumes in it.
    ///
    /// # Errors
    /// When the process is gone or the kernel refuses a mark.
    pub fn of_process(pid: i32, image_volumes: &[ImagePath]) -> Result<Self, SensorError> {
        let root_path = PathBuf::from(format!("/proc/{pid}/root/"));
        let identity = |path: &PathBuf| fs::metadata(path).map(|data| (data.dev(), data.ino()));
        let theirs =
            identity(&root_path).map_err(SensorError::call(format!("look at the root of process {pid}")))?;
        let ours = identity(&PathBuf::from("/")).map_err(SensorError::call("look at the root folder"))?;
        if theirs == ours {
            let same = io::Error::other("it is our own root, which must not be marked");
            return Err(SensorError::call(format!("mark the root of process {pid}"))(same));
        }
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = rustix::fs::open(&root_path, flags, Mode::empty())
            .map_err(|error| SensorError::call(format!("open the root of process {pid}"))(error.into()))?;
        let table = fs::read_to_string(format!("/proc/{pid}/mountinfo"))
            .map_err(SensorError::call(format!("read the mounts of process {pid}")))?;
        let mounts = mounts(&table, image_volumes);
        let fanotify = Fanotify::init(
            InitFlags::FAN_CLASS_NOTIF
                | InitFlags::FAN_CLOEXEC
                | InitFlags::FAN_NONBLOCK
                | InitFlags::FAN_UNLIMITED_QUEUE
                | InitFlags::FAN_UNLIMITED_MARKS,
            EventFFlags::O_RDONLY | EventFFlags::O_CLOEXEC | EventFFlags::O_LARGEFILE,
        )
        .map_err(|error| SensorError::call("start fanotify")(error.into()))?;
        let marks = Self { fanotify, root, mounts };
        marks.mark(pid)?;
        Ok(marks)
    }

    fn mark(&self, pid: i32) -> Result<(), SensorError> {
        for mount in self.mounts.iter().filter(|mount| mount.kind != MountKind::Other) {
            // Only an overlay's super block belongs to this container alone.
            let scope = if mount.kind == MountKind::Root && mount.file_system == "overlay" {
                MarkFlags::FAN_MARK_FILESYSTEM
            } else {
                MarkFlags::FAN_MARK_MOUNT
            };
            let mut path = format!("/proc/{pid}/root").into_bytes();
            path.extend(mount.path.as_bytes());
            self.fanotify
                .mark(
                    MarkFlags::FAN_MARK_ADD | scope,
                    MaskFlags::FAN_OPEN | MaskFlags::FAN_OPEN_EXEC | MaskFlags::FAN_ONDIR,
                    self.root.as_fd(),
                    Some(OsStr::from_bytes(&path)),
                )
                .map_err(|error| {
                    SensorError::call(format!("mark {} of the container", mount.path))(error.into())
                })?;
        }
        Ok(())
    }

    /// The descriptor that is readable when files were opened.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.fanotify.as_fd()
    }

    /// Reads what is waiting. The second value counts queue overflows.
    pub fn read(&self) -> (Vec<Opened>, u64) {
        let mut opened = Vec::new();
        let mut overflows = 0;
        while let Ok(events) = self.fanotify.read_events() {
            for event in events {
                if event.mask().contains(MaskFlags::FAN_Q_OVERFLOW) {
                    overflows += 1;
                    continue;
                }
                let Some(fd) = event.fd() else { continue };
                let Ok(link) = fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd())) else { continue };
                opened.push(Opened {
                    tgid: event.pid().unsigned_abs(),
                    path: link.into_os_string().into_vec(),
                    executed: event.mask().contains(MaskFlags::FAN_OPEN_EXEC),
                    event,
                });
            }
        }
        (opened, overflows)
    }

    /// Opens of the same kind of this file are no news any more.
    pub fn ignore(&self, opened: &Opened) {
        let Some(fd) = opened.event.fd() else { return };
        let seen = opened.event.mask() & (MaskFlags::FAN_OPEN | MaskFlags::FAN_OPEN_EXEC);
        let path = format!("/proc/self/fd/{}", fd.as_raw_fd());
        let flags = MarkFlags::FAN_MARK_ADD
            | MarkFlags::FAN_MARK_IGNORED_MASK
            | MarkFlags::FAN_MARK_IGNORED_SURV_MODIFY;
        // Without it there are more events, nothing else.
        if let Err(error) = self.fanotify.mark(flags, seen, self.root.as_fd(), Some(path.as_str())) {
            tracing::debug!(%error, "a file that was seen could not be ignored");
        }
    }

    /// The first bytes of a file in the container.
    pub fn head(&self, path: &[u8], bytes: usize) -> io::Result<Vec<u8>> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = rustix::fs::openat2(&self.root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT)?;
        let mut head = Vec::new();
        fs::File::from(file).take(bytes as u64).read_to_end(&mut head)?;
        Ok(head)
    }
}

/// The mounts of a container, sorted by path. An anonymous volume where the image has a VOLUME holds the image's own
/// content; engines give such volumes names of 64 hexadecimal digits.
fn mounts(table: &str, image_volumes: &[ImagePath]) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = table
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let mut columns = before.split(' ').skip(3);
            let (source, target) = (columns.next()?, columns.next()?);
            let path = ImagePath::new(unescape(target));
            let anonymous = source
                .split('/')
                .any(|part| part.len() == 64 && part.bytes().all(|byte| byte.is_ascii_hexdigit()));
            let kind = match () {
                () if path.is_root() => MountKind::Root,
                () if anonymous && image_volumes.contains(&path) => MountKind::ImageVolume,
                () => MountKind::Other,
            };
            Some(Mount { path, kind, file_system: after.split(' ').next()?.to_owned() })
        })
        .collect();
    mounts.sort();
    mounts.dedup();
    mounts
}

/// mountinfo writes space, tab, newline and backslash in octal.
fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, behind)) = rest.split_first() {
        let octal =
            behind.get(..3).filter(|_| *first == b'\\').and_then(|digits| std::str::from_utf8(digits).ok());
        match octal.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &rest[4..];
            }
            None => {
                bytes.push(*first);
                rest = behind;
            }
        }
    }
    bytes
}
