//! Folders that are needed for a while, and that do not stay when whoever made them is killed: the next one who makes one at the
//! same place takes away those that nobody holds any more.
//!
//! Invariant: a folder whose owner lives is never taken away. The owner holds a lock on a file in it, which goes with the owner's
//! process; a folder without that file is none of ours.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use tempfile::TempDir;

/// How their names begin.
const PREFIX: &str = ".slim-tmp-";
/// In each of them.
const LOCK: &str = "lock";

/// A folder that goes with the value.
#[derive(Debug)]
pub struct TemporaryFolder {
    folder: TempDir,
    _lock: File,
}

impl TemporaryFolder {
    /// Makes one below `parent`, which is there, after [`sweep`].
    ///
    /// # Errors
    /// Those of the disk.
    pub fn make(parent: &Path) -> io::Result<Self> {
        sweep(parent);
        loop {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            let lock =
                OpenOptions::new().create(true).truncate(false).write(true).open(folder.path().join(LOCK));
            let lock = match lock {
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                opened => opened?,
            };
            lock.lock()?;
            // Whoever sweeps may have been faster between the two.
            if lock.metadata()?.nlink() > 0 {
                return Ok(Self { folder, _lock: lock });
            }
        }
    }

    /// Where it is. Its own file there is called `lock`.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.folder.path()
    }
}

/// Takes away what killed processes left below `parent`. What cannot be removed costs space alone.
pub fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        let is_one = entry.file_name().to_str().is_some_and(|name| name.starts_with(PREFIX))
            && entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_one && let Err(error) = remove_unheld(&entry.path()) {
            tracing::warn!("could not remove {}: {error}", entry.path().display());
        }
    }
}

fn remove_unheld(folder: &Path) -> io::Result<()> {
    // The parent may be everybody's: a pipe would hold us up, a link would lead elsewhere.
    let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK;
    let lock = match OpenOptions::new().write(true).custom_flags(flags).open(folder.join(LOCK)) {
        // One that is being made, or that has just gone.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        opened => opened?,
    };
    match lock.try_lock() {
        Err(TryLockError::WouldBlock) => return Ok(()),
        Err(TryLockError::Error(error)) => return Err(error),
        Ok(()) => {}
    }
    match fs::remove_dir_all(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_killed_owner_left_goes_and_what_a_living_one_has_stays() {
        let parent = tempfile::tempdir().unwrap();
        let held = TemporaryFolder::make(parent.path()).unwrap();
        fs::write(held.path().join("blob"), "needed").unwrap();
        // As if its owner had been killed: the lock is gone, the folder is not.
        let TemporaryFolder { folder, _lock } = TemporaryFolder::make(parent.path()).unwrap();
        let left = folder.keep();
        fs::create_dir(left.join("layout")).unwrap();
        drop(_lock);
        for foreign in [".slim-tmp-foreign", "other"] {
            fs::create_dir(parent.path().join(foreign)).unwrap();
        }
        let other = TemporaryFolder::make(parent.path()).unwrap();
        assert!(!left.exists());
        assert!(held.path().join("blob").exists() && other.path().exists());
        assert!(parent.path().join(".slim-tmp-foreign").exists() && parent.path().join("other").exists());
        let path = held.path().to_owned();
        drop(held);
        assert!(!path.exists());
    }

    #[test]
    fn a_strangers_folder_neither_holds_us_up_nor_leads_us_elsewhere() {
        let parent = tempfile::tempdir().unwrap();
        let folder = |name: &str| {
            let folder = parent.path().join(format!("{PREFIX}{name}"));
            fs::create_dir(&folder).unwrap();
            folder.join(LOCK)
        };
        let (pipe, link) = (folder("pipe"), folder("link"));
        rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::RWXU).unwrap();
        let elsewhere = parent.path().join("elsewhere");
        fs::write(&elsewhere, "").unwrap();
        std::os::unix::fs::symlink(&elsewhere, &link).unwrap();
        sweep(parent.path());
        assert!(fs::symlink_metadata(&pipe).is_ok() && fs::symlink_metadata(&link).is_ok());
    }
}
