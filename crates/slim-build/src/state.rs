//! The state path: `.images/<image id>/artifacts/…` and the listing cache beside it.
//!
//! Invariant: a file appears complete or not at all, also when two builds of one image run at once: everything is
//! written beside its place under a name of its own and renamed.

use crate::error::BuildError;
use slim_image::{Digest, Reference};
use slim_keep::{ImageNames, KEEP_FILE, KeepHead};
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

    /// The folder of `image` if it is there.
    #[must_use]
    pub fn existing(state_path: &Path, image: &Digest) -> Option<Self> {
        let directory = state_path.join(".images").join(image.hex());
        directory.is_dir().then_some(Self { directory })
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

/// The folder with the artifacts of the last build of an image: of the fat image or the slim one, by name, id or the
/// beginning of an id. `None` where none was made below this state path.
///
/// # Errors
/// When a folder below the state path cannot be read.
pub fn last_artifacts(state_path: &Path, image: &str) -> Result<Option<PathBuf>, BuildError> {
    let images = state_path.join(".images");
    let failed = |source| BuildError::State { action: "read folder", path: images.clone(), source };
    let folders = match fs::read_dir(&images) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        folders => folders.map_err(failed)?,
    };
    let mut last: Option<(std::time::SystemTime, PathBuf)> = None;
    for folder in folders {
        let artifacts = folder.map_err(failed)?.path().join("artifacts");
        let path = artifacts.join(KEEP_FILE);
        let Ok(when) = fs::metadata(&path).and_then(|data| data.modified()) else { continue };
        // Of another version, or not whole: nothing that could be told from.
        let head = fs::read(&path).ok().and_then(|bytes| KeepHead::from_json(&bytes).ok());
        let is_meant = head.is_some_and(|head| {
            is_called(&head.image, image) || head.slim.is_some_and(|slim| is_called(&slim, image))
        });
        if is_meant && last.as_ref().is_none_or(|(before, _)| *before < when) {
            last = Some((when, artifacts));
        }
    }
    Ok(last.map(|(_, artifacts)| artifacts))
}

/// Whether a name or the beginning of an id, at least four digits of it, is this image's.
fn is_called(image: &ImageNames, text: &str) -> bool {
    const DIGITS_LEAST: usize = 4;
    let canonical = |name: &str| name.parse::<Reference>().ok().map(|name| name.canonical());
    let is_name = canonical(text)
        .is_some_and(|wanted| image.names.iter().any(|name| canonical(name).as_ref() == Some(&wanted)));
    let id = text.strip_prefix("sha256:").unwrap_or(text);
    is_name || (id.len() >= DIGITS_LEAST && image.id.hex().starts_with(id))
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

    #[test]
    fn the_last_build_of_an_image_is_found_by_any_of_its_names() {
        let folder = tempfile::tempdir().unwrap();
        let names = |text: &str, names: &[&str]| ImageNames {
            id: Digest::of(text),
            names: names.iter().map(ToString::to_string).collect(),
        };
        let mut artifacts = Vec::new();
        for (number, text) in ["old", "new"].into_iter().enumerate() {
            let state = ImageState::open(folder.path(), &Digest::of(text)).unwrap();
            let made = slim_keep::Made {
                slim: Some(names(&format!("slim of {text}"), &["app.slim"])),
                ..slim_keep::Made::of(names(text, &["app:latest"]))
            };
            let tree = slim_image::MemoryTree::new();
            let file = slim_keep::KeepFile::new(&slim_keep::KeepSet::default(), &made, &tree, &());
            let path = state.write_artifact(KEEP_FILE, &file.to_json()).unwrap();
            let when = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(number as u64 + 1);
            fs::File::options().write(true).open(path).unwrap().set_modified(when).unwrap();
            artifacts.push(state.artifacts());
        }
        let [old, new] = &artifacts[..] else { panic!() };
        let found = |image: &str| last_artifacts(folder.path(), image).unwrap();
        let old_id = Digest::of("old");
        for (image, expected) in [
            ("app", Some(new)),
            ("docker.io/library/app:latest", Some(new)),
            ("app.slim", Some(new)),
            ("app:1", None),
            (&old_id.to_string(), Some(old)),
            (&old_id.hex()[..12], Some(old)),
            (&Digest::of("slim of old").hex()[..12], Some(old)),
            ("other", None),
        ] {
            assert_eq!(found(image).as_ref(), expected, "{image}");
        }
        assert_eq!(last_artifacts(Path::new("/none"), "app").unwrap(), None);
    }
}
