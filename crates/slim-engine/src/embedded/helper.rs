//! This program as the helper that runs beside containers.

use rustix::fs::{MemfdFlags, SealFlags};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// This program's own file, and the copy of it that runs beside containers' programs.
///
/// Whoever is in a container can open the file of a process that joins it (`/proc/PID/exe`), and have our program run
/// itself by an entrypoint of that name: with the file of this machine's program in their hands they could change it for
/// everybody (CVE-2019-5736, there runc's). Of the sealed copy they can change nothing.
#[derive(Debug)]
pub(super) struct Helper {
    pub(super) file: PathBuf,
    copy: OnceLock<OwnedFd>,
}

impl Helper {
    pub(super) fn new(file: PathBuf) -> Self {
        Self { file, copy: OnceLock::new() }
    }

    /// A path of the copy, for our own children.
    pub(super) fn path(&self) -> io::Result<PathBuf> {
        let copy = match self.copy.get() {
            Some(copy) => copy,
            None => {
                let made = sealed_copy(&self.file)?;
                self.copy.get_or_init(|| made)
            }
        };
        Ok(PathBuf::from(format!("/proc/self/fd/{}", copy.as_raw_fd())))
    }
}

fn sealed_copy(path: &Path) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = File::from(rustix::fs::memfd_create("docker-slim", flags)?);
    io::copy(&mut File::open(path)?, &mut &copy)?;
    rustix::fs::fcntl_add_seals(
        &copy,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(copy.into())
}
