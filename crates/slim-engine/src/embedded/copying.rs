//! Files from outside into a container, which need not run.
//!
//! A process of our own enters the container's mounts (those of its program while it runs; else it puts the root together
//! as a keeper would, volumes left out), makes the root its own, and unpacks there: whatever names and links say, nothing
//! outside can be reached.

use super::record::Folder;
use super::store::Store;
use super::{EmbeddedEngine, HELPER_COMMAND, Result, filesystem, keeper, refused};
use crate::engine::ContainerId;
use nix::sched::{CloneFlags, setns};
use std::fs::File;
use std::io;
use std::path::Path;
use std::process::Stdio;
use tokio::io::AsyncWriteExt;

impl EmbeddedEngine {
    pub(super) async fn unpack_into(&self, id: &ContainerId, directory: &str, tar: &[u8]) -> Result<()> {
        let failed = |error: &dyn std::error::Error| refused("copy into", id, error);
        let (folder, _) = self.known(id, "copy into")?;
        let helper = self.helper.path().map_err(|error| failed(&error))?;
        let mut child = tokio::process::Command::new(helper)
            .arg0("docker-slim")
            .arg(HELPER_COMMAND)
            .arg("unpack")
            .args([self.store.path(), folder.path(), Path::new(directory)])
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(&error))?;
        if let Some(mut input) = child.stdin.take() {
            // Why it stopped reading is told by its end.
            let _ = input.write_all(tar).await;
        }
        let ended = child.wait_with_output().await.map_err(|error| failed(&error))?;
        if ended.status.success() {
            return Ok(());
        }
        let reason = String::from_utf8_lossy(&ended.stderr).trim().to_owned();
        Err(failed(&io::Error::other(if reason.is_empty() { ended.status.to_string() } else { reason })))
    }
}

/// The process: a tar archive on its standard input goes into a folder of the container. 0 when it has.
pub(super) fn unpack(store: &Path, folder: &Path, directory: &Path) -> u8 {
    match unpacked(store, &Folder::new(folder), directory) {
        Ok(()) => 0,
        Err(error) => {
            let _ = io::Write::write_all(&mut io::stderr().lock(), error.to_string().as_bytes());
            1
        }
    }
}

fn unpacked(store: &Path, folder: &Folder, directory: &Path) -> io::Result<()> {
    let _alone = match folder.state()?.living_program() {
        Some(program) => {
            setns(File::open(format!("/proc/{}/ns/mnt", program.pid))?, CloneFlags::CLONE_NEWNS)?;
            None
        }
        None => {
            let alone = keeper::lock(folder)?;
            let store = Store::open(store).map_err(|error| io::Error::other(error.to_string()))?;
            filesystem::own_mounts()?;
            let root = filesystem::mount_root(&store, folder, &folder.record()?)?;
            nix::unistd::chroot(&root)?;
            Some(alone)
        }
    };
    std::env::set_current_dir(Path::new("/").join(directory)).map_err(|error| {
        io::Error::new(error.kind(), format!("go to {} in the container: {error}", directory.display()))
    })?;
    let mut archive = tar::Archive::new(io::stdin().lock());
    archive.set_preserve_permissions(true);
    archive.set_preserve_ownerships(true);
    archive.set_preserve_mtime(true);
    archive.unpack(".")
}
