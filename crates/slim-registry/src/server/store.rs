//! What the registry holds, on disk.
//!
//! ```text
//! registry.json                                   format and version
//! lock                                            held by the process that serves
//! blobs/sha256/<hex>                              contents: of blobs and of manifests, each once
//! incoming/                                       small files on their way
//! repositories/<name>/_blobs/<hex>                the repository has this blob
//! repositories/<name>/_manifests/<hex>            and this manifest; its media type
//! repositories/<name>/_tags/<tag>                 a digest
//! repositories/<name>/_referrers/<hex>/<hex>      what refers to a manifest: its descriptor
//! repositories/<name>/_uploads/<id>               what has come of an upload
//! ```
//!
//! Invariants: a file appears whole under its name or not at all. Contents come before what names them, and go after it:
//! whoever is killed in between leaves contents that nobody names, and no name without contents.

use slim_image::{Descriptor, Digest};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use tempfile::NamedTempFile;

/// The version of the folder's format.
pub const FORMAT_VERSION: u32 = 1;
/// Uploads that nobody went on with for so long are removed at the next start.
const UPLOADS_LAST: Duration = Duration::from_secs(24 * 3600);
/// Of a random name: more than can be guessed.
const ID_LENGTH: usize = 32;

/// Why a folder cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("use {} as a registry's folder: {reason}", .root.display())]
    NotOurs { root: PathBuf, reason: String },
    #[error("{action} {}: {source}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
}

/// The folder of a registry. One process at a time has it.
pub(super) struct Store {
    root: PathBuf,
    _lock: File,
}

impl Store {
    /// Opens a registry's folder, or makes one where there is nothing.
    pub(super) fn open(root: &Path) -> Result<Self, StoreError> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| StoreError::Io { action, path, source }
        };
        let refuse = |reason: String| StoreError::NotOurs { root: root.to_owned(), reason };
        fs::create_dir_all(root).map_err(failed("make", root))?;
        let marker = root.join("registry.json");
        let is_empty = fs::read_dir(root).map_err(failed("read", root))?.next().is_none();
        if !is_empty && !marker.exists() {
            return Err(refuse("it holds something else".to_owned()));
        }
        if marker.exists() {
            let bytes = fs::read(&marker).map_err(failed("read", &marker))?;
            let found: serde_json::Value =
                serde_json::from_slice(&bytes).map_err(|error| refuse(format!("registry.json: {error}")))?;
            if found["version"] != FORMAT_VERSION {
                let found = &found["version"];
                return Err(refuse(format!("its version is {found}, {FORMAT_VERSION} is needed")));
            }
        } else {
            let document = serde_json::json!({"format": "docker-slim registry", "version": FORMAT_VERSION});
            let mut file = NamedTempFile::new_in(root).map_err(failed("write", &marker))?;
            file.write_all(document.to_string().as_bytes()).map_err(failed("write", &marker))?;
            file.persist(&marker).map_err(|error| failed("write", &marker)(error.error))?;
        }
        let lock_path = root.join("lock");
        let lock = File::options().create(true).truncate(false).write(true).open(&lock_path);
        let lock = lock.map_err(failed("open", &lock_path))?;
        lock.try_lock().map_err(|_| refuse("another process serves it".to_owned()))?;
        let store = Self { root: root.to_owned(), _lock: lock };
        for folder in ["blobs/sha256", "incoming", "repositories"] {
            let folder = store.root.join(folder);
            fs::create_dir_all(&folder).map_err(failed("make", &folder))?;
        }
        store.sweep().map_err(failed("clear away what was left in", root))?;
        Ok(store)
    }

    /// Removes small files that never got their names, and uploads that were given up.
    fn sweep(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.root.join("incoming"))? {
            fs::remove_file(entry?.path())?;
        }
        for repository in self.repositories()? {
            for upload in names_in(&self.repository(&repository).join("_uploads"))? {
                let path = self.upload_path(&repository, &upload);
                let age = SystemTime::now().duration_since(fs::metadata(&path)?.modified()?);
                if age.is_ok_and(|age| age > UPLOADS_LAST) {
                    fs::remove_file(path)?;
                }
            }
        }
        Ok(())
    }

    /// All names of repositories, sorted.
    pub(super) fn repositories(&self) -> io::Result<Vec<String>> {
        let mut found = Vec::new();
        let mut waiting = vec![String::new()];
        while let Some(folder) = waiting.pop() {
            let names = names_in(&self.root.join("repositories").join(&folder))?;
            if names.iter().any(|name| name.starts_with('_')) {
                found.push(folder.clone());
            }
            for name in names.into_iter().filter(|name| !name.starts_with('_')) {
                waiting.push(if folder.is_empty() { name } else { format!("{folder}/{name}") });
            }
        }
        found.sort();
        Ok(found)
    }

    fn repository(&self, name: &str) -> PathBuf {
        self.root.join("repositories").join(name)
    }

    pub(super) fn has_repository(&self, name: &str) -> bool {
        ["_blobs", "_manifests"].iter().any(|folder| self.repository(name).join(folder).is_dir())
    }

    /// Where contents lie.
    pub(super) fn contents(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    pub(super) fn upload_path(&self, repository: &str, id: &str) -> PathBuf {
        self.repository(repository).join("_uploads").join(id)
    }

    /// A new upload's id.
    pub(super) fn begin_upload(&self, repository: &str) -> io::Result<String> {
        let folder = self.repository(repository).join("_uploads");
        fs::create_dir_all(&folder)?;
        let file = tempfile::Builder::new().prefix("").rand_bytes(ID_LENGTH).tempfile_in(&folder)?;
        let (_, path) = file.keep().map_err(|error| error.error)?;
        let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
        name.ok_or_else(|| io::Error::other("a random name that is no text"))
    }

    /// Gives a file with these contents its name among them, for good.
    pub(super) fn adopt(&self, file: &File, path: &Path, digest: &Digest) -> io::Result<()> {
        let named = self.contents(digest);
        if named.exists() {
            return fs::remove_file(path);
        }
        file.sync_all()?;
        fs::rename(path, named)
    }

    pub(super) fn write_contents(&self, digest: &Digest, bytes: &[u8]) -> io::Result<()> {
        if self.contents(digest).exists() {
            return Ok(());
        }
        self.write(&self.contents(digest), bytes)
    }

    fn write(&self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = NamedTempFile::new_in(self.root.join("incoming"))?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    }

    pub(super) fn has_blob(&self, repository: &str, digest: &Digest) -> bool {
        self.repository(repository).join("_blobs").join(digest.hex()).exists()
    }

    pub(super) fn add_blob(&self, repository: &str, digest: &Digest) -> io::Result<()> {
        self.write(&self.repository(repository).join("_blobs").join(digest.hex()), b"")
    }

    /// Whether it was there.
    pub(super) fn remove_blob(&self, repository: &str, digest: &Digest) -> io::Result<bool> {
        removed(&self.repository(repository).join("_blobs").join(digest.hex()))
    }

    /// The media type of a manifest.
    pub(super) fn manifest(&self, repository: &str, digest: &Digest) -> io::Result<Option<String>> {
        text(&self.repository(repository).join("_manifests").join(digest.hex()))
    }

    pub(super) fn add_manifest(&self, repository: &str, digest: &Digest, media_type: &str) -> io::Result<()> {
        let path = self.repository(repository).join("_manifests").join(digest.hex());
        self.write(&path, media_type.as_bytes())
    }

    pub(super) fn remove_manifest(&self, repository: &str, digest: &Digest) -> io::Result<bool> {
        removed(&self.repository(repository).join("_manifests").join(digest.hex()))
    }

    /// All tags, sorted by their bytes.
    pub(super) fn tags(&self, repository: &str) -> io::Result<Vec<String>> {
        names_in(&self.repository(repository).join("_tags"))
    }

    pub(super) fn tag(&self, repository: &str, tag: &str) -> io::Result<Option<Digest>> {
        let text = text(&self.repository(repository).join("_tags").join(tag))?;
        text.map(|text| text.parse().map_err(io::Error::other)).transpose()
    }

    pub(super) fn set_tag(&self, repository: &str, tag: &str, digest: &Digest) -> io::Result<()> {
        self.write(&self.repository(repository).join("_tags").join(tag), digest.to_string().as_bytes())
    }

    pub(super) fn remove_tag(&self, repository: &str, tag: &str) -> io::Result<bool> {
        removed(&self.repository(repository).join("_tags").join(tag))
    }

    /// What refers to a manifest, by digest.
    pub(super) fn referrers(&self, repository: &str, subject: &Digest) -> io::Result<Vec<Descriptor>> {
        let folder = self.repository(repository).join("_referrers").join(subject.hex());
        let read =
            |name: String| serde_json::from_slice(&fs::read(folder.join(name))?).map_err(io::Error::other);
        names_in(&folder)?.into_iter().map(read).collect()
    }

    pub(super) fn add_referrer(
        &self,
        repository: &str,
        subject: &Digest,
        referrer: &Descriptor,
    ) -> io::Result<()> {
        let folder = self.repository(repository).join("_referrers").join(subject.hex());
        let bytes = serde_json::to_vec(referrer).map_err(io::Error::other)?;
        self.write(&folder.join(referrer.digest.hex()), &bytes)
    }

    pub(super) fn remove_referrer(
        &self,
        repository: &str,
        subject: &Digest,
        digest: &Digest,
    ) -> io::Result<()> {
        removed(&self.repository(repository).join("_referrers").join(subject.hex()).join(digest.hex()))
            .map(|_| ())
    }

    /// Removes contents that no repository names any more. Nobody may be adding a name meanwhile.
    pub(super) fn forget(&self, digest: &Digest) -> io::Result<()> {
        for repository in self.repositories()? {
            if self.has_blob(&repository, digest) || self.manifest(&repository, digest)?.is_some() {
                return Ok(());
            }
        }
        removed(&self.contents(digest)).map(|_| ())
    }
}

fn names_in(folder: &Path) -> io::Result<Vec<String>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if is_absence(&error) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.extend(entry?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

fn text(path: &Path) -> io::Result<Option<String>> {
    match File::open(path) {
        Ok(mut file) => {
            let mut text = String::new();
            file.read_to_string(&mut text)?;
            Ok(Some(text))
        }
        Err(error) if is_absence(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn removed(path: &Path) -> io::Result<bool> {
    match fs::remove_file(path) {
        Ok(()) => Ok(true),
        Err(error) if is_absence(&error) => Ok(false),
        Err(error) => Err(error),
    }
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_served_by_one_process_and_is_no_other_ones() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let second = Store::open(folder.path()).err().unwrap().to_string();
        assert!(second.contains("another process"), "{second}");
        drop(store);
        assert!(Store::open(folder.path()).is_ok());
        let other = tempfile::tempdir().unwrap();
        fs::write(other.path().join("x"), "").unwrap();
        assert!(Store::open(other.path()).err().unwrap().to_string().contains("something else"));
    }

    #[test]
    fn a_folder_of_a_later_version_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("registry.json"), r#"{"version": 2}"#).unwrap();
        let error = Store::open(folder.path()).err().unwrap().to_string();
        assert!(error.contains("its version is 2, 1 is needed"), "{error}");
    }

    #[test]
    fn contents_stay_as_long_as_one_repository_names_them() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        let digest = Digest::of("x");
        store.write_contents(&digest, b"x").unwrap();
        store.add_blob("a", &digest).unwrap();
        store.add_manifest("b/c", &digest, "m").unwrap();
        assert_eq!(store.repositories().unwrap(), ["a", "b/c"]);
        assert!(store.remove_blob("a", &digest).unwrap());
        store.forget(&digest).unwrap();
        assert!(store.contents(&digest).exists());
        assert!(store.remove_manifest("b/c", &digest).unwrap());
        store.forget(&digest).unwrap();
        assert!(!store.contents(&digest).exists());
    }

    #[test]
    fn what_was_on_its_way_when_a_process_was_killed_is_cleared_away_and_young_uploads_stay() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(folder.path()).unwrap();
        fs::write(folder.path().join("incoming/x"), "").unwrap();
        let (young, old) = (store.begin_upload("a").unwrap(), store.begin_upload("a").unwrap());
        let long_ago = SystemTime::now() - 2 * UPLOADS_LAST;
        let file = File::options().write(true).open(store.upload_path("a", &old)).unwrap();
        file.set_modified(long_ago).unwrap();
        drop(store);
        let store = Store::open(folder.path()).unwrap();
        assert_eq!(names_in(&folder.path().join("incoming")).unwrap(), [""; 0]);
        assert!(store.upload_path("a", &young).exists() && !store.upload_path("a", &old).exists());
    }
}
