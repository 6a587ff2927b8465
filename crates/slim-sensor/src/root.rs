//! A container's root folder, held open so that it can be read as long as we want, and what lies where in it.

use crate::error::SensorError;
use crate::mounts;
use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use slim_image::ImagePath;
use slim_trace::Mount;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The root of one container.
pub struct Root {
    descriptor: OwnedFd,
    pub mounts: Vec<Mount>,
}

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    pub kind: FileType,
    /// From the container's root, without links.
    pub path: Vec<u8>,
}

impl Root {
    /// The root of a process, which must not be our own.
    ///
    /// # Errors
    /// When the process is gone, or its root is ours.
    pub fn of_process(pid: i32, image_volumes: &[ImagePath]) -> Result<Self, SensorError> {
        let descriptor = root_of(pid)?;
        let table = fs::read_to_string(format!("/proc/{pid}/mountinfo"))
            .map_err(SensorError::call(format!("read the mounts of process {pid}")))?;
        Ok(Self { descriptor, mounts: mounts::parse(&table, image_volumes) })
    }

    /// Opens a file of the container for reading; links lead nowhere outside of it.
    pub fn file(&self, path: &[u8]) -> io::Result<File> {
        Ok(self.open(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?.into())
    }

    /// Opens a path; links lead nowhere outside of the container.
    pub fn open(&self, path: &[u8], flags: OFlags) -> io::Result<OwnedFd> {
        Ok(open_below(&self.descriptor, path, flags)?)
    }

    /// Where a path leads, the last link followed or not.
    ///
    /// # Errors
    /// The kernel's.
    pub fn find(&self, path: &[u8], follow: bool) -> rustix::io::Result<Found> {
        find(&self.descriptor, path, follow)
    }
}

/// Where a path leads that starts from this folder, which absolute links and `..` do not leave.
///
/// # Errors
/// The kernel's.
pub fn find(root: &impl AsFd, path: &[u8], follow: bool) -> rustix::io::Result<Found> {
    let flags = if follow { OFlags::PATH } else { OFlags::PATH | OFlags::NOFOLLOW };
    let file = open_below(root, path, flags)?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    let path = rustix::fs::readlink(descriptor_path(&file), Vec::new())?;
    Ok(Found { kind, path: path.into_bytes() })
}

fn open_below(root: &impl AsFd, path: &[u8], flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    rustix::fs::openat2(root, OsStr::from_bytes(path), flags, Mode::empty(), ResolveFlags::IN_ROOT)
}

/// Opens the root folder of a process, which must not be our own.
fn root_of(pid: i32) -> Result<OwnedFd, SensorError> {
    let path = PathBuf::from(format!("/proc/{pid}/root/"));
    let identity = |path: &Path| fs::metadata(path).map(|data| (data.dev(), data.ino()));
    let theirs = identity(&path).map_err(SensorError::call(format!("look at the root of process {pid}")))?;
    let ours = identity(Path::new("/")).map_err(SensorError::call("look at the root folder"))?;
    if theirs == ours {
        let same = io::Error::other("it is our own root, which must not be marked");
        return Err(SensorError::call(format!("mark the root of process {pid}"))(same));
    }
    rustix::fs::open(&path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|error| SensorError::call(format!("open the root of process {pid}"))(error.into()))
}

pub fn descriptor_path(file: &impl AsFd) -> PathBuf {
    format!("/proc/self/fd/{}", file.as_fd().as_raw_fd()).into()
}

/// The path behind a link of /proc, and whether it can be one of the container: `None` for what lies in no file system
/// that has paths (pipes, sockets, memory).
pub fn place(link: &Path) -> Option<Vec<u8>> {
    const DELETED: &[u8] = b" (deleted)";
    let mut path = fs::read_link(link).ok()?.into_os_string().into_vec();
    if path.ends_with(DELETED) && fs::metadata(link).is_ok_and(|data| data.nlink() == 0) {
        path.truncate(path.len() - DELETED.len());
        if path.starts_with(b"/memfd:") {
            return None;
        }
    }
    (path.first() == Some(&b'/')).then_some(path)
}
