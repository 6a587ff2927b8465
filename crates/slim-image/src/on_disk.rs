//! What the kernel says about one file that lies on this machine, as an [`Entry`] of an image.

use crate::tree::{Entry, Kind};
use rustix::fs::{FileType, Stat};
use rustix::io::Errno;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt;
use std::path::Path;

/// Tries at reading a list of attributes that grows meanwhile.
const XATTR_TRIES: usize = 4;

/// Extended attributes by name.
pub(crate) type Xattrs = BTreeMap<String, Vec<u8>>;

/// Numbers of the inodes with several names.
#[derive(Debug, Default)]
pub(crate) struct LinkGroups {
    inodes: BTreeMap<(u64, u64), u64>,
}

impl LinkGroups {
    fn of(&mut self, stat: &Stat) -> Option<u64> {
        (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile && stat.st_nlink > 1).then(|| {
            let next = self.inodes.len() as u64;
            *self.inodes.entry((stat.st_dev, stat.st_ino)).or_insert(next)
        })
    }
}

/// The entry of the file at `host`, of which `stat` and `xattrs` were read.
///
/// # Errors
/// When a symlink cannot be read.
pub(crate) fn entry(host: &Path, stat: &Stat, xattrs: Xattrs, groups: &mut LinkGroups) -> io::Result<Entry> {
    Ok(Entry {
        kind: kind(host, stat)?,
        mode: stat.st_mode & 0o7777,
        uid: stat.st_uid,
        gid: stat.st_gid,
        mtime: stat.st_mtime,
        xattrs,
        hard_link_group: groups.of(stat),
    })
}

fn kind(host: &Path, stat: &Stat) -> io::Result<Kind> {
    let (major, minor) = (rustix::fs::major(stat.st_rdev), rustix::fs::minor(stat.st_rdev));
    Ok(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Kind::Directory,
        FileType::RegularFile => Kind::File { size: u64::try_from(stat.st_size).unwrap_or(0) },
        FileType::Symlink => Kind::Symlink { target: fs::read_link(host)?.into_os_string().into_vec() },
        FileType::CharacterDevice => Kind::CharacterDevice { major, minor },
        FileType::BlockDevice => Kind::BlockDevice { major, minor },
        FileType::Fifo => Kind::Fifo,
        FileType::Socket | FileType::Unknown => Kind::Socket,
    })
}

/// The extended attributes of the file at `host` (not of what it links to) whose names are wanted.
///
/// # Errors
/// Those of the kernel, but for a file system that has none.
pub(crate) fn xattrs(host: &Path, wanted: impl Fn(&str) -> bool) -> io::Result<Xattrs> {
    let query = || rustix::fs::llistxattr_query(host);
    let list = match growing(query, |buffer| rustix::fs::llistxattr(host, buffer)) {
        Ok(list) => list,
        Err(Errno::NOTSUP | Errno::PERM) => return Ok(Xattrs::new()),
        Err(error) => return Err(error.into()),
    };
    let mut attributes = Xattrs::new();
    for name in list.split(|byte| *byte == 0) {
        let Ok(name) = std::str::from_utf8(name) else { continue };
        if name.is_empty() || !wanted(name) {
            continue;
        }
        let query = || rustix::fs::lgetxattr_query(host, name);
        match growing(query, |buffer| rustix::fs::lgetxattr(host, name, buffer)) {
            Ok(value) => drop(attributes.insert(name.to_owned(), value)),
            Err(Errno::NODATA | Errno::NOTSUP) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(attributes)
}

/// Reads what is of unknown length: asks for the length, then for the bytes, again if it grew in between.
fn growing(
    query: impl Fn() -> rustix::io::Result<usize>,
    read: impl Fn(&mut [u8]) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    let mut last = Errno::RANGE;
    for _ in 0..XATTR_TRIES {
        let mut bytes = vec![0; query()?];
        if bytes.is_empty() {
            return Ok(bytes);
        }
        match read(&mut bytes) {
            Ok(length) => {
                bytes.truncate(length);
                return Ok(bytes);
            }
            Err(Errno::RANGE) => {}
            Err(error) => last = error,
        }
    }
    Err(last)
}
