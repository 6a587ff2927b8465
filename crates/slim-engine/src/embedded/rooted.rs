//! Files below a container's root, whatever links its image holds: every look-up ends inside of the root, as in a chroot.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags};
use rustix::io::Errno;
use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// A folder that stands for `/`.
pub(super) struct Root(OwnedFd);

impl Root {
    pub(super) fn open(directory: &Path) -> io::Result<Self> {
        Ok(Self(rustix::fs::open(
            directory,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?))
    }

    /// Opens a path as a process would that has this root.
    pub(super) fn at(&self, path: &str, flags: OFlags) -> io::Result<OwnedFd> {
        let relative = path.trim_start_matches('/');
        let relative = if relative.is_empty() { "." } else { relative };
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(rustix::fs::openat2(&self.0, relative, flags | OFlags::CLOEXEC, Mode::empty(), resolve)?)
    }

    /// A plain file's contents; nothing where there is no such file.
    pub(super) fn read(&self, path: &str, most: u64) -> io::Result<Option<Vec<u8>>> {
        use io::Read;
        let file = match self.at(path, OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY) {
            Ok(file) => File::from(file),
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        if !file.metadata()?.is_file() {
            return Ok(None);
        }
        let mut bytes = Vec::new();
        file.take(most).read_to_end(&mut bytes)?;
        Ok(Some(bytes))
    }

    /// Sees to it that a folder is there, with those above it, as Docker makes a working directory.
    pub(super) fn make_directories(&self, path: &str) -> io::Result<OwnedFd> {
        let mut reached = String::new();
        let mut folder = self.at("/", OFlags::PATH | OFlags::DIRECTORY)?;
        for component in path.split('/').filter(|component| !component.is_empty() && *component != ".") {
            let within = format!("{reached}/{component}");
            folder = match self.at(&within, OFlags::PATH | OFlags::DIRECTORY) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    rustix::fs::mkdirat(&folder, component, Mode::from_raw_mode(0o755))?;
                    self.at(&within, OFlags::PATH | OFlags::DIRECTORY)?
                }
                found => found?,
            };
            reached = within;
        }
        Ok(folder)
    }
}

/// Copies everything in a folder, with owners, modes, times and attributes; links are copied, never followed. The target
/// folder takes over the source's own owner, mode and attributes.
pub(super) fn copy_directory(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    // An O_PATH descriptor does not list.
    let source = reopened(source)?;
    let target = reopened(target)?;
    for name in names(source.as_fd())? {
        let stat = rustix::fs::statat(&source, &name, AtFlags::SYMLINK_NOFOLLOW)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => {
                rustix::fs::mkdirat(&target, &name, Mode::from_raw_mode(0o700))?;
                let (from, to) = (
                    child(source.as_fd(), &name, OFlags::DIRECTORY)?,
                    child(target.as_fd(), &name, OFlags::DIRECTORY)?,
                );
                copy_directory(from.as_fd(), to.as_fd())?;
            }
            FileType::RegularFile => copy_file(source.as_fd(), target.as_fd(), &name, &stat)?,
            FileType::Symlink => {
                let link = rustix::fs::readlinkat(&source, &name, Vec::new())?;
                rustix::fs::symlinkat(&link, &target, &name)?;
                own(target.as_fd(), &name, &stat)?;
            }
            kind => {
                rustix::fs::mknodat(
                    &target,
                    &name,
                    kind,
                    Mode::from_raw_mode(stat.st_mode & 0o7777),
                    stat.st_rdev,
                )?;
                own(target.as_fd(), &name, &stat)?;
                rustix::fs::chmodat(
                    &target,
                    &name,
                    Mode::from_raw_mode(stat.st_mode & 0o7777),
                    AtFlags::empty(),
                )?;
            }
        }
    }
    copy_metadata(source.as_fd(), target.as_fd())
}

fn copy_file(
    source: BorrowedFd<'_>,
    target: BorrowedFd<'_>,
    name: &CStr,
    stat: &rustix::fs::Stat,
) -> io::Result<()> {
    let from = child(source, name, OFlags::NONBLOCK)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let to = rustix::fs::openat(target, name, flags, Mode::from_raw_mode(0o600))?;
    io::copy(&mut File::from(from.try_clone()?), &mut File::from(to.try_clone()?))?;
    debug_assert_eq!(FileType::from_raw_mode(stat.st_mode), FileType::RegularFile);
    copy_metadata(from.as_fd(), to.as_fd())
}

fn copy_metadata(source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> io::Result<()> {
    let stat = rustix::fs::fstat(source)?;
    rustix::fs::fchown(
        target,
        Some(rustix::fs::Uid::from_raw(stat.st_uid)),
        Some(rustix::fs::Gid::from_raw(stat.st_gid)),
    )?;
    rustix::fs::fchmod(target, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    let mut list = vec![0; 64 << 10];
    let length = match rustix::fs::flistxattr(source, &mut list) {
        Ok(length) => length,
        Err(Errno::NOTSUP) => 0,
        Err(error) => return Err(error.into()),
    };
    for name in list[..length].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        // What overlayfs keeps for itself is no part of the file.
        if name.starts_with(b"trusted.overlay.") {
            continue;
        }
        let name = OsStr::from_bytes(name);
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::fgetxattr(source, name, &mut value)?;
        rustix::fs::fsetxattr(target, name, &value[..length], rustix::fs::XattrFlags::empty())?;
    }
    let times = rustix::fs::Timestamps {
        last_access: rustix::fs::Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
        last_modification: rustix::fs::Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ },
    };
    Ok(rustix::fs::futimens(target, &times)?)
}

fn own(folder: BorrowedFd<'_>, name: &CStr, stat: &rustix::fs::Stat) -> io::Result<()> {
    let (user, group) = (rustix::fs::Uid::from_raw(stat.st_uid), rustix::fs::Gid::from_raw(stat.st_gid));
    Ok(rustix::fs::chownat(folder, name, Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?)
}

fn child(folder: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> io::Result<OwnedFd> {
    let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?)
}

fn reopened(folder: BorrowedFd<'_>) -> io::Result<OwnedFd> {
    Ok(rustix::fs::openat(folder, ".", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

/// What is in a folder, without `.` and `..`.
pub(super) fn names(folder: BorrowedFd<'_>) -> io::Result<Vec<CString>> {
    let mut buffer = [MaybeUninit::<u8>::uninit(); 16 << 10];
    let mut entries = RawDir::new(folder, &mut buffer);
    let mut names = Vec::new();
    while let Some(entry) = entries.next() {
        let name = entry?.file_name().to_owned();
        if !matches!(name.to_bytes(), b"." | b"..") {
            names.push(name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

    #[test]
    fn links_lead_nowhere_but_into_the_root() {
        let directory = tempfile::tempdir().unwrap();
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("secret"), "outside").unwrap();
        fs::create_dir(directory.path().join("etc")).unwrap();
        symlink(outside.path(), directory.path().join("absolute")).unwrap();
        symlink("../../../../../../../../etc/shadow", directory.path().join("etc/shadow")).unwrap();
        let root = Root::open(directory.path()).unwrap();
        assert_eq!(root.read("/absolute/secret", 99).unwrap(), None);
        assert!(root.read("/etc/shadow", 99).is_err() || root.read("/etc/shadow", 99).unwrap().is_none());
        assert!(root.make_directories("/absolute/made").is_err() || !outside.path().join("made").exists());
        assert!(!outside.path().join("made").exists());
    }

    #[test]
    fn directories_are_made_through_links_that_stay_inside() {
        let directory = tempfile::tempdir().unwrap();
        fs::create_dir(directory.path().join("real")).unwrap();
        symlink("/real", directory.path().join("link")).unwrap();
        let root = Root::open(directory.path()).unwrap();
        root.make_directories("/link/a/b").unwrap();
        assert!(directory.path().join("real/a/b").is_dir());
        root.make_directories("/link/a/b").unwrap();
    }

    #[test]
    fn a_copied_folder_is_the_same_to_modes_times_and_links() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(from.path().join("d")).unwrap();
        fs::write(from.path().join("d/f"), "text").unwrap();
        fs::set_permissions(from.path().join("d/f"), fs::Permissions::from_mode(0o640)).unwrap();
        symlink("/etc/passwd", from.path().join("l")).unwrap();
        fs::set_permissions(from.path(), fs::Permissions::from_mode(0o711)).unwrap();
        copy_directory(
            fs::File::open(from.path()).unwrap().as_fd(),
            fs::File::open(to.path()).unwrap().as_fd(),
        )
        .unwrap();
        assert_eq!(fs::read_to_string(to.path().join("d/f")).unwrap(), "text");
        let (was, is) =
            (fs::metadata(from.path().join("d/f")).unwrap(), fs::metadata(to.path().join("d/f")).unwrap());
        assert_eq!((was.mode(), was.mtime()), (is.mode(), is.mtime()));
        assert_eq!(fs::read_link(to.path().join("l")).unwrap(), Path::new("/etc/passwd"));
        assert_eq!(fs::metadata(to.path()).unwrap().mode() & 0o777, 0o711);
    }
}
