//! The state path: `.images/<image id>/artifacts/…` and the listing cache beside it.
//!
//! Invariant: a file appears complete or not at all, also when two builds of one image run at once: everything is
//! written beside its place under a name of its own and renamed.

use crate::error::BuildError;
use slim_image::Digest;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

/// The folder of one image below the state path.
#[derive(Clone, Debug)]
pub struct ImageState {
    directory: PathBuf,
}

impl ImageState {
    /// Makes the folder of `image` if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn open(state_path: &Path, image: &Digest) -> Result<Self, BuildError> {
        let directory = state_path.join(".images").join(image.hex());
        let state = Self { directory };
        let artifacts = state.artifacts();
        fs::create_dir_all(&artifacts).map_err(|source| BuildError::State {
            action: "make folder",
            path: artifacts,
            source,
        })?;
        Ok(state)
    }

    /// Where the artifacts lie.
    #[must_use]
    pub fn artifacts(&self) -> PathBuf {
        self.directory.join("artifacts")
    }

    /// The cached listing of the image's files.
    #[must_use]
    pub fn listing(&self) -> PathBuf {
        self.directory.join("listing.json")
    }

    /// A temporary file on the same file system, gone when dropped.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn temporary_file(&self) -> Result<tempfile::NamedTempFile, BuildError> {
        tempfile::Builder::new().prefix(".slim-").tempfile_in(&self.directory).map_err(|source| {
            BuildError::State { action: "make a temporary file in", path: self.directory.clone(), source }
        })
    }

    /// Writes an artifact whole.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_artifact(&self, name: &str, bytes: &[u8]) -> Result<PathBuf, BuildError> {
        let path = self.artifacts().join(name);
        write_whole(&path, |file| file.write_all(bytes))?;
        Ok(path)
    }
}

/// Writes a file beside its place and renames it there.
///
/// # Errors
/// When the folder is missing or full, or the file cannot be written.
pub fn write_whole(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
) -> Result<(), BuildError> {
    let failed = |source| BuildError::State { action: "write", path: path.to_owned(), source };
    let folder = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::Builder::new().prefix(".slim-").tempfile_in(folder).map_err(failed)?;
    let mut buffered = std::io::BufWriter::new(file.as_file_mut());
    write(&mut buffered).map_err(failed)?;
    buffered.flush().map_err(failed)?;
    drop(buffered);
    // A temporary file is private to its owner; what a user is handed follows the usual mode.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    file.as_file().set_permissions(mode).map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        write_whole(&path, |file| file.write_all(b"old")).unwrap();
        let error = write_whole(&path, |_| Err(std::io::Error::other("no space"))).unwrap_err();
        assert_eq!(error.to_string(), format!("write {}: no space", path.display()));
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
