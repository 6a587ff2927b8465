//! Taking trees away that strangers made: however deep they are, two directories are open at a time, and no link is followed.
//!
//! A program may make directories in one another without end, and so may an archive. Going down into them would need a
//! descriptor and a piece of the stack for each; so what lies below a directory is moved up, beside it, before it goes.

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Takes away what lies at a path, with everything below it.
///
/// # Errors
/// Those of the disk; that nothing is there is one.
pub fn remove_all(path: &Path) -> io::Result<()> {
    let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    remove_tree(File::open(parent)?, name.as_bytes())
}

/// Takes away what lies under a name of a directory, with everything below it.
///
/// # Errors
/// Those of the disk; that nothing is there is one.
pub(crate) fn remove_tree(folder: impl AsFd, name: &[u8]) -> io::Result<()> {
    let name = OsStr::from_bytes(name);
    match rustix::fs::unlinkat(&folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        removed => return Ok(removed?),
    }
    let top = open_directory(&folder, name)?;
    let mut moved = 0;
    loop {
        let names = names(&top)?;
        if names.is_empty() {
            break;
        }
        for name in names {
            let name = OsStr::from_bytes(name.as_bytes());
            if !is_gone(&top, name)? {
                flatten(&top, name, &mut moved)?;
            }
        }
    }
    Ok(rustix::fs::unlinkat(&folder, name, AtFlags::REMOVEDIR)?)
}

/// Takes away a directory of `top`. Directories in it that are not empty are put beside it.
fn flatten(top: &OwnedFd, name: &OsStr, moved: &mut u64) -> io::Result<()> {
    let directory = open_directory(top, name)?;
    for below in names(&directory)? {
        let below = OsStr::from_bytes(below.as_bytes());
        while !is_gone(&directory, below)? {
            *moved += 1;
            match rustix::fs::renameat(&directory, below, top, format!(".moved-{moved}")) {
                // The archive may have just that name.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                renamed => {
                    renamed?;
                    break;
                }
            }
        }
    }
    Ok(rustix::fs::unlinkat(top, name, AtFlags::REMOVEDIR)?)
}

/// Takes away what is no directory, or an empty one; false for others.
fn is_gone(folder: &OwnedFd, name: &OsStr) -> io::Result<bool> {
    match rustix::fs::unlinkat(folder, name, AtFlags::empty()) {
        Err(Errno::ISDIR) => {}
        removed => return Ok(removed.map(|()| true)?),
    }
    match rustix::fs::unlinkat(folder, name, AtFlags::REMOVEDIR) {
        Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
        removed => Ok(removed.map(|()| true)?),
    }
}

fn open_directory(folder: impl AsFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, name, flags, Mode::empty())?)
}

fn names(directory: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names = Vec::new();
    for entry in rustix::fs::Dir::read_from(directory)? {
        let entry = entry?;
        if !matches!(entry.file_name().to_bytes(), b"." | b"..") {
            names.push(entry.file_name().to_owned());
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    /// Deeper than descriptors, the stack and PATH_MAX reach.
    #[test]
    fn a_tree_of_any_depth_goes() {
        let around = tempfile::tempdir().unwrap();
        let mut at: OwnedFd = File::open(around.path()).unwrap().into();
        for _ in 0..5000 {
            rustix::fs::mkdirat(&at, "tree", Mode::from_raw_mode(0o700)).unwrap();
            let file = rustix::fs::openat(&at, ".moved-1", OFlags::CREATE | OFlags::WRONLY, Mode::RUSR);
            drop(file.unwrap());
            at = open_directory(&at, OsStr::new("tree")).unwrap();
        }
        remove_all(&around.path().join("tree")).unwrap();
        assert_eq!(fs::read_dir(around.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_go_and_what_they_lead_to_stays() {
        let around = tempfile::tempdir().unwrap();
        let at = |name: &str| around.path().join(name);
        fs::create_dir_all(at("tree/a/b")).unwrap();
        fs::create_dir(at("kept")).unwrap();
        fs::write(at("kept/file"), "").unwrap();
        symlink(at("kept"), at("tree/a/b/link")).unwrap();
        symlink(at("kept"), at("link")).unwrap();
        remove_all(&at("tree")).unwrap();
        remove_all(&at("link")).unwrap();
        assert!(at("kept/file").exists() && !at("tree").exists() && !at("link").is_symlink());
        assert_eq!(remove_all(&at("tree")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
