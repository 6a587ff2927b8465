//! fanotify on the container's file systems: every file that is really opened, whatever way the kernel was asked.

use crate::error::SensorError;
use crate::root::{Root, descriptor_path};
use nix::errno::Errno;
use nix::sys::fanotify::{EventFFlags, Fanotify, FanotifyEvent, InitFlags, MarkFlags, MaskFlags};
use rustix::fs::{AtFlags, OFlags, StatxFlags};
use slim_image::ImagePath;
use slim_trace::{Mount, MountKind};
use std::cell::Cell;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStringExt;

/// One opened file. Holds a descriptor of it.
pub struct Opened {
    pub tgid: u32,
    /// From the container's root.
    pub path: Vec<u8>,
    pub executed: bool,
    event: FanotifyEvent,
}

/// What one reading of the queue gave.
#[derive(Default)]
pub struct Batch {
    pub opened: Vec<Opened>,
    /// Events that are gone.
    pub lost: u64,
    /// Whether there may be more.
    pub more: bool,
}

/// The marks of one container.
pub struct Marks {
    fanotify: Fanotify,
    pub root: Root,
    /// Image volumes by the kernel's number of their mount: when the container has ended, their files have lost the
    /// path in front of them.
    volumes: Vec<(u64, ImagePath)>,
    /// Whether the kernel knows marks that do not keep an inode in memory (since 5.19).
    evictable: Cell<bool>,
}

impl Marks {
    /// Marks the root file system of a stopped process, and the image's volumes in it.
    ///
    /// # Errors
    /// When the process is gone, its root is our own, or the kernel refuses a mark.
    pub fn of_process(pid: i32, image_volumes: &[ImagePath]) -> Result<Self, SensorError> {
        let root = Root::of_process(pid, image_volumes)?;
        let fanotify = Fanotify::init(
            InitFlags::FAN_CLASS_NOTIF
                | InitFlags::FAN_CLOEXEC
                | InitFlags::FAN_NONBLOCK
                | InitFlags::FAN_UNLIMITED_QUEUE
                | InitFlags::FAN_UNLIMITED_MARKS,
            // The kernel opens the file for us: a pipe must not keep it waiting for its other end.
            EventFFlags::O_RDONLY
                | EventFFlags::O_CLOEXEC
                | EventFFlags::O_LARGEFILE
                | EventFFlags::O_NONBLOCK,
        )
        .map_err(|error| SensorError::call("start fanotify")(error.into()))?;
        let mut marks = Self { fanotify, root, volumes: Vec::new(), evictable: Cell::new(true) };
        for mount in marks.root.mounts.clone() {
            if mount.kind != MountKind::Other {
                marks.mark(&mount)?;
            }
        }
        Ok(marks)
    }

    fn mark(&mut self, mount: &Mount) -> Result<(), SensorError> {
        let failed =
            |error: io::Error| SensorError::call(format!("mark {} of the container", mount.path))(error);
        let target = self.root.open(mount.path.as_bytes(), OFlags::PATH).map_err(failed)?;
        // Only such a super block belongs to this container alone.
        let is_own =
            mount.kind == MountKind::Root && matches!(&*mount.file_system, "overlay" | "fuse.fuse-overlayfs");
        let scope = if is_own { MarkFlags::FAN_MARK_FILESYSTEM } else { MarkFlags::FAN_MARK_MOUNT };
        self.fanotify
            .mark(
                MarkFlags::FAN_MARK_ADD | scope,
                MaskFlags::FAN_OPEN | MaskFlags::FAN_OPEN_EXEC | MaskFlags::FAN_ONDIR,
                &target,
                Some(descriptor_path(&target).as_path()),
            )
            .map_err(|error| failed(error.into()))?;
        if mount.kind == MountKind::ImageVolume {
            self.volumes.push((mount_number(target.as_fd()).map_err(failed)?, mount.path.clone()));
        }
        Ok(())
    }

    /// The descriptor that is readable when files were opened.
    pub fn descriptor(&self) -> BorrowedFd<'_> {
        self.fanotify.as_fd()
    }

    /// Reads what is waiting, but no more than a process may have open files.
    pub fn read(&self) -> Batch {
        let mut batch = Batch::default();
        let events = match self.fanotify.read_events() {
            Ok(events) => events,
            Err(Errno::EAGAIN | Errno::EINTR) => return batch,
            Err(error) => {
                // A file that cannot be opened a second time: its event is gone, those behind it are not.
                tracing::debug!(%error, "an opened file could not be told");
                return Batch {
                    lost: u64::from(!matches!(error, Errno::ENXIO | Errno::ENODEV)),
                    more: true,
                    ..batch
                };
            }
        };
        batch.more = !events.is_empty();
        for event in events {
            if event.mask().contains(MaskFlags::FAN_Q_OVERFLOW) {
                batch.lost += 1;
            } else if let Some(path) = event.fd().and_then(|fd| self.path_of(fd)) {
                batch.opened.push(Opened {
                    tgid: event.pid().unsigned_abs(),
                    path,
                    executed: event.mask().contains(MaskFlags::FAN_OPEN_EXEC),
                    event,
                });
            } else {
                batch.lost += 1;
            }
        }
        batch
    }

    /// The path of an open file, from the container's root.
    fn path_of(&self, file: BorrowedFd<'_>) -> Option<Vec<u8>> {
        const DELETED: &[u8] = b" (deleted)";
        let mut path = fs::read_link(descriptor_path(&file)).ok()?.into_os_string().into_vec();
        if path.ends_with(DELETED) && rustix::fs::fstat(file).is_ok_and(|data| data.st_nlink == 0) {
            path.truncate(path.len() - DELETED.len());
        }
        if let Some(volume) = self.volume_of(file)
            && !ImagePath::new(&path).is_within(volume)
        {
            path = [volume.as_bytes(), &path].concat();
        }
        (path.first() == Some(&b'/')).then_some(path)
    }

    fn volume_of(&self, file: BorrowedFd<'_>) -> Option<&ImagePath> {
        if self.volumes.is_empty() {
            return None;
        }
        let number = mount_number(file).ok()?;
        self.volumes.iter().find(|(volume, _)| *volume == number).map(|(_, path)| path)
    }

    /// Opens of the same kind of this file are no news any more. (Only of the same kind: an exec after an open is.)
    pub fn ignore(&self, opened: &Opened) {
        let Some(file) = opened.event.fd() else { return };
        let seen = opened.event.mask() & (MaskFlags::FAN_OPEN | MaskFlags::FAN_OPEN_EXEC);
        let path = descriptor_path(&file);
        let flags = MarkFlags::FAN_MARK_ADD
            | MarkFlags::FAN_MARK_IGNORED_MASK
            | MarkFlags::FAN_MARK_IGNORED_SURV_MODIFY;
        let mark = |flags| self.fanotify.mark(flags, seen, file, Some(path.as_path()));
        if self.evictable.get() {
            match mark(flags | MarkFlags::FAN_MARK_EVICTABLE) {
                Err(Errno::EINVAL) => self.evictable.set(false),
                _ => return,
            }
        }
        // Without the mark there are more events, nothing else.
        if let Err(error) = mark(flags) {
            tracing::debug!(%error, "a file that was seen could not be ignored");
        }
    }
}

/// The kernel's number of the mount that a file was opened through (since 5.8).
fn mount_number(file: BorrowedFd<'_>) -> io::Result<u64> {
    Ok(rustix::fs::statx(file, "", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?.stx_mnt_id)
}
