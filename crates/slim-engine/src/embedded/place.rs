//! The folder of a store: one that is ours, and nobody else's.
//!
//! Invariants: a folder that holds something else is never touched; what lies in a store is seen by nobody but its owner, whatever
//! the mode of the folder itself, which is changed only where we made it.

use serde::{Deserialize, Serialize};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

/// In every store.
const MARKER: &str = "store.json";
/// How the name of one begins and ends that is being written.
const ON_ITS_WAY: (&str, &str) = ("store.", ".new");
const FORMAT: &str = "docker-slim store";
const VERSION: u32 = 1;
const FOLDERS: [&str; 4] = ["images", "layers", "containers", "volumes"];

#[derive(Debug, Serialize, Deserialize)]
struct Marker {
    format: String,
    version: u32,
}

/// Finds the store in a folder, or makes one where there is nothing. Its path without links.
///
/// # Errors
/// The disk's; a folder that holds something else, belongs to somebody else, or that others may write to; a store of a version
/// that is not understood.
pub(super) fn claim(root: &Path) -> io::Result<PathBuf> {
    let mut private = fs::DirBuilder::new();
    private.recursive(true).mode(0o700);
    private.create(root)?;
    let root = root.canonicalize()?;
    match fs::read(root.join(MARKER)) {
        Ok(bytes) => known(&bytes)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            if !is_empty(&root)? && !is_store_without_marker(&root) {
                // Somebody else may have made it just now.
                if root.join(MARKER).exists() {
                    return claim(&root);
                }
                return Err(io::Error::other("it holds something else; --store-root names another folder"));
            }
            refuse_what_others_may_change(&root)?;
            mark(&root)?;
        }
        Err(error) => return Err(error),
    }
    for folder in FOLDERS {
        private.create(root.join(folder))?;
    }
    Ok(root)
}

fn mark(root: &Path) -> io::Result<()> {
    let marker = Marker { format: FORMAT.to_owned(), version: VERSION };
    let mut file = tempfile::Builder::new().prefix(ON_ITS_WAY.0).suffix(ON_ITS_WAY.1).tempfile_in(root)?;
    file.write_all(&serde_json::to_vec_pretty(&marker).map_err(io::Error::other)?)?;
    file.persist(root.join(MARKER)).map(drop).map_err(|error| error.error)
}

fn known(bytes: &[u8]) -> io::Result<()> {
    match serde_json::from_slice::<Marker>(bytes) {
        Ok(Marker { format, version: VERSION }) if format == FORMAT => Ok(()),
        Ok(Marker { format, version }) => Err(io::Error::other(format!(
            "its {MARKER} says {format:?}, version {version}; {FORMAT:?}, version {VERSION} is understood"
        ))),
        Err(error) => Err(io::Error::other(format!("its {MARKER} is damaged: {error}"))),
    }
}

/// Whether there is nothing but markers on their way: of others who make the store at the same time.
fn is_empty(root: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(root)? {
        let name = entry?.file_name();
        let name = name.to_string_lossy();
        if !(name.starts_with(ON_ITS_WAY.0) && name.ends_with(ON_ITS_WAY.1)) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// As versions before the marker made them.
fn is_store_without_marker(root: &Path) -> bool {
    FOLDERS.iter().all(|folder| root.join(folder).is_dir()) && root.join("images/oci-layout").is_file()
}

fn refuse_what_others_may_change(root: &Path) -> io::Result<()> {
    const OTHERS_WRITE: u32 = 0o022;
    let folder = fs::metadata(root)?;
    if folder.mode() & OTHERS_WRITE != 0 || folder.uid() != rustix::process::geteuid().as_raw() {
        return Err(io::Error::other("others may write to it; --store-root names another folder"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn with_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_folder_that_holds_something_else_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        with_mode(folder.path(), 0o755);
        fs::create_dir(folder.path().join("layers")).unwrap();
        let error = claim(folder.path()).unwrap_err().to_string();
        assert!(error.contains("holds something else; --store-root"), "{error}");
        assert_eq!(mode(folder.path()), 0o755);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was made in it");
    }

    #[test]
    fn an_empty_folder_becomes_a_store_whose_contents_nobody_else_sees() {
        let folder = tempfile::tempdir().unwrap();
        with_mode(folder.path(), 0o755);
        for _ in 0..2 {
            assert_eq!(claim(folder.path()).unwrap(), folder.path().canonicalize().unwrap());
        }
        assert_eq!(mode(folder.path()), 0o755);
        for name in FOLDERS {
            assert_eq!(mode(&folder.path().join(name)), 0o700, "{name}");
        }
        let parent = tempfile::tempdir().unwrap();
        let made = parent.path().join("within/made");
        claim(&made).unwrap();
        assert_eq!(mode(&made), 0o700);
    }

    #[test]
    fn several_may_make_a_store_at_the_same_time() {
        for _ in 0..20 {
            let parent = tempfile::tempdir().unwrap();
            let made = parent.path().join("store");
            std::thread::scope(|scope| {
                let claims: Vec<_> = (0..4).map(|_| scope.spawn(|| claim(&made))).collect();
                for one in claims {
                    one.join().unwrap().unwrap();
                }
            });
        }
    }

    #[test]
    fn an_empty_folder_that_others_write_to_is_no_place_for_a_store() {
        let folder = tempfile::tempdir().unwrap();
        with_mode(folder.path(), 0o1777);
        let error = claim(folder.path()).unwrap_err().to_string();
        assert!(error.contains("others may write to it"), "{error}");
        assert_eq!(mode(folder.path()), 0o1777);
    }

    #[test]
    fn a_store_of_a_version_before_the_marker_is_used_and_one_of_a_later_version_is_not() {
        let folder = tempfile::tempdir().unwrap();
        for name in FOLDERS {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("images/oci-layout"), "{}").unwrap();
        fs::write(folder.path().join("lock"), "").unwrap();
        claim(folder.path()).unwrap();
        let later = Marker { format: FORMAT.to_owned(), version: VERSION + 1 };
        super::super::record::write(&folder.path().join(MARKER), &later).unwrap();
        let error = claim(folder.path()).unwrap_err().to_string();
        assert!(error.contains("version 2; \"docker-slim store\", version 1 is understood"), "{error}");
    }
}
