//! An OCI image layout on disk: a directory with `oci-layout`, `index.json` and `blobs/sha256/…`
//! (image-spec, image-layout.md, version 1.0.0).
//!
//! Any number of processes may read and write one layout at once. Blobs never change: they appear whole under the name
//! that their bytes have, or not at all. `index.json` is replaced in one piece under a lock (flock on `oci-layout`).
//! What a killed process left behind is cleared away by whoever changes the index next.
//!
//! Invariant: what is read is checked. A blob whose size or digest is not what its descriptor says is an error of the
//! reader, at the latest with its last byte.

mod blob;
mod exchange;
pub(crate) mod resolve;

pub use blob::{BlobWriter, Verifying};
pub use exchange::ExchangeError;
pub use resolve::{Resolved, Selector};

use crate::beneath::open_file;
use crate::digest::Digest;
use crate::manifest::{Descriptor, Document, Index, MANIFEST_LIMIT, ManifestError};
use crate::platform::Platform;
use serde::{Deserialize, Serialize};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// The only version there is.
pub const VERSION: &str = "1.0.0";
const MARKER: &str = "oci-layout";
const INDEX: &str = "index.json";
const BLOBS: &str = "blobs/sha256";
/// Files on their way; each is locked by the process that writes it.
const INCOMING: &str = ".incoming-";
/// What was fetched of a blob by now.
const PARTIAL: &str = ".partial-";

/// An OCI layout on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    root: PathBuf,
}

/// The contents of `oci-layout`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Marker {
    image_layout_version: String,
}

/// Why a layout cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LayoutError {
    #[error("open the OCI layout {}: {reason}", .layout.display())]
    NotALayout { layout: PathBuf, reason: String },
    #[error("{action} {}: {source}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("read {name} of the OCI layout {}: {source}", .layout.display())]
    Document { layout: PathBuf, name: String, source: ManifestError },
    #[error("find {wanted} in the OCI layout {}: it has {}", .layout.display(), listed(.names))]
    NotFound { layout: PathBuf, wanted: String, names: Vec<String> },
    #[error("choose an image of the OCI layout {}: it has {}; name one of them behind a colon", .layout.display(), listed(.names))]
    Several { layout: PathBuf, names: Vec<String> },
    #[error("read {digest} of the OCI layout {}: it has {size} bytes, {limit} at most are read", .layout.display())]
    TooLarge { layout: PathBuf, digest: Digest, size: u64, limit: u64 },
    #[error("write a blob to the OCI layout {}: it should be {expected} of {size} bytes but is {found} of {length}", .layout.display())]
    OtherBlob { layout: PathBuf, expected: Digest, size: u64, found: Digest, length: u64 },
}

fn listed(names: &[String]) -> String {
    if names.is_empty() { "no image".to_owned() } else { names.join(", ") }
}

impl Layout {
    /// Whether a directory looks like a layout.
    #[must_use]
    pub fn is_at(directory: &Path) -> bool {
        directory.join(MARKER).is_file()
    }

    /// A layout that is there.
    ///
    /// # Errors
    /// When the directory is no layout, or of another version.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, LayoutError> {
        let layout = Self { root: directory.into() };
        let refuse = |reason: String| LayoutError::NotALayout { layout: layout.root.clone(), reason };
        let bytes = match small_file(&layout.root, MARKER) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let there = if layout.root.exists() {
                    "it has no file oci-layout"
                } else {
                    "there is no such directory"
                };
                return Err(refuse(there.to_owned()));
            }
            Err(error) => return Err(refuse(format!("its oci-layout cannot be read: {error}"))),
        };
        let marker: Marker =
            serde_json::from_slice(&bytes).map_err(|error| refuse(format!("its oci-layout: {error}")))?;
        if marker.image_layout_version != VERSION {
            let found = marker.image_layout_version;
            return Err(refuse(format!("its version is {found:?}, {VERSION} is needed")));
        }
        // Blobs are written there, too.
        let within = |name: &str| match (layout.root.canonicalize(), layout.root.join(name).canonicalize()) {
            (Ok(root), Ok(folder)) => folder.starts_with(root),
            // It is not there yet.
            _ => !layout.root.join(name).is_symlink(),
        };
        if !["blobs", BLOBS].into_iter().all(within) {
            return Err(refuse("its folder of blobs is a link that leads elsewhere".to_owned()));
        }
        Ok(layout)
    }

    /// A layout, made where there is none: a directory that is not there or empty.
    ///
    /// # Errors
    /// When the directory holds something else, or cannot be written.
    pub fn create(directory: impl Into<PathBuf>) -> Result<Self, LayoutError> {
        let layout = Self { root: directory.into() };
        let marker = layout.root.join(MARKER);
        if !marker.exists() {
            layout.refuse_other_contents()?;
            let blobs = layout.root.join(BLOBS);
            fs::create_dir_all(&blobs).map_err(failed("make", &blobs))?;
            let version = Marker { image_layout_version: VERSION.to_owned() };
            let file = layout.whole_file(&json(&version))?;
            keep_first(file, &marker)?;
        }
        let layout = Self::open(layout.root)?;
        let index = layout.root.join(INDEX);
        if !index.exists() {
            let _lock = layout.lock()?;
            keep_first(layout.whole_file(&json(&Index::empty()))?, &index)?;
        }
        let blobs = layout.root.join(BLOBS);
        fs::create_dir_all(&blobs).map_err(failed("make", &blobs))?;
        Ok(layout)
    }

    /// The layout's directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    /// What `index.json` says.
    ///
    /// # Errors
    /// When it cannot be read or is none.
    pub fn index(&self) -> Result<Index, LayoutError> {
        let path = self.root.join(INDEX);
        let bytes = small_file(&self.root, INDEX).map_err(failed("read", &path))?;
        let document = |source| self.bad_document(INDEX.to_owned(), source);
        match Document::read(&bytes, None).map_err(document)? {
            Document::Index(index) => Ok(*index),
            Document::Manifest(_) => {
                Err(document(ManifestError::NotAnImage("a manifest where an index is expected".to_owned())))
            }
        }
    }

    /// The image that is meant, for a platform where there are several.
    ///
    /// # Errors
    /// When there is none, or several that could be meant; when its manifest cannot be read.
    pub fn resolve(&self, selector: &Selector, platform: &Platform) -> Result<Resolved, LayoutError> {
        resolve::resolve(&self.index()?, selector, platform, &mut |descriptor| {
            self.read_blob(descriptor, MANIFEST_LIMIT)
        })
        .map_err(|error| self.located(error))
    }

    /// Where a blob lies, whether it is there or not.
    #[must_use]
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join(blob_name(digest))
    }

    /// Whether a blob is there with that size. Its contents are checked when they are read.
    #[must_use]
    pub fn has_blob(&self, digest: &Digest, size: u64) -> bool {
        let found = open_file(&self.root, blob_name(digest)).and_then(|file| file.metadata());
        found.is_ok_and(|found| found.len() == size)
    }

    /// Reads a blob; its digest is checked on the way.
    ///
    /// # Errors
    /// When it is not there or has another size.
    pub fn open_blob(&self, descriptor: &Descriptor) -> Result<Verifying<File>, LayoutError> {
        Ok(Verifying::new(self.blob_file(descriptor)?, descriptor.digest, descriptor.size))
    }

    /// A blob's file, whose digest nobody has checked. It lies in the layout, whatever links lead there.
    ///
    /// # Errors
    /// When it is not there or has another size.
    pub fn blob_file(&self, descriptor: &Descriptor) -> Result<File, LayoutError> {
        let path = self.blob_path(&descriptor.digest);
        let file = open_file(&self.root, blob_name(&descriptor.digest)).map_err(failed("read", &path))?;
        let found = file.metadata().map_err(failed("read", &path))?.len();
        if found != descriptor.size {
            let message = format!("it has {found} bytes, its descriptor says {}", descriptor.size);
            return Err(failed("read", &path)(io::Error::new(io::ErrorKind::InvalidData, message)));
        }
        Ok(file)
    }

    /// The bytes of a blob of at most `limit` bytes.
    ///
    /// # Errors
    /// When it is not there, larger, or damaged.
    pub fn read_blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, LayoutError> {
        if descriptor.size > limit {
            let (digest, size) = (descriptor.digest, descriptor.size);
            return Err(LayoutError::TooLarge { layout: self.root.clone(), digest, size, limit });
        }
        let mut bytes = Vec::new();
        let path = self.blob_path(&descriptor.digest);
        self.open_blob(descriptor)?.read_to_end(&mut bytes).map_err(failed("read", &path))?;
        Ok(bytes)
    }

    /// Begins a blob; [`BlobWriter::commit`] gives it its name.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn begin_blob(&self) -> Result<BlobWriter, LayoutError> {
        Ok(BlobWriter::new(self.clone(), self.incoming()?))
    }

    /// Writes a blob that is in memory.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn put_blob(&self, media_type: &str, bytes: &[u8]) -> Result<Descriptor, LayoutError> {
        let descriptor = Descriptor::of(media_type, bytes);
        if !self.has_blob(&descriptor.digest, descriptor.size) {
            let mut writer = self.begin_blob()?;
            let path = self.blob_path(&descriptor.digest);
            writer.write_all(bytes).map_err(failed("write", &path))?;
            writer.commit(Some(&descriptor))?;
        }
        Ok(descriptor)
    }

    /// Takes a blob away; whether it was there. That nothing needs it any more is the caller's to know.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn remove_blob(&self, digest: &Digest) -> Result<bool, LayoutError> {
        let path = self.blob_path(digest);
        match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(failed("remove", &path)(error)),
        }
    }

    /// Takes away what pulls that were broken off have fetched of blobs. The caller knows that none is under way.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn remove_partial(&self) -> Result<(), LayoutError> {
        for entry in fs::read_dir(&self.root).map_err(failed("list", &self.root))? {
            let entry = entry.map_err(failed("list", &self.root))?;
            if entry.file_name().to_string_lossy().starts_with(PARTIAL) {
                fs::remove_file(entry.path()).map_err(failed("remove", &entry.path()))?;
            }
        }
        Ok(())
    }

    /// Where a blob may wait that a pull has begun to fetch.
    #[must_use]
    pub fn partial_path(&self, digest: &Digest) -> PathBuf {
        self.root.join(format!("{PARTIAL}{}", digest.hex()))
    }

    /// Every blob with its size, by digest.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn blobs(&self) -> Result<Vec<(Digest, u64)>, LayoutError> {
        let directory = self.root.join(BLOBS);
        let mut blobs = Vec::new();
        for entry in fs::read_dir(&directory).map_err(failed("list", &directory))? {
            let entry = entry.map_err(failed("list", &directory))?;
            let name = entry.file_name();
            let digest = name.to_str().and_then(|hex| format!("sha256:{hex}").parse().ok());
            let Some(digest) = digest else { continue };
            // What is no file of the layout is none of its blobs.
            if let Ok(metadata) = open_file(&self.root, blob_name(&digest)).and_then(|file| file.metadata()) {
                blobs.push((digest, metadata.len()));
            }
        }
        blobs.sort_unstable();
        Ok(blobs)
    }

    /// Puts a descriptor into `index.json`: in the place of what had its name, or of the same one without a name.
    ///
    /// # Errors
    /// Those of the disk, and when the index cannot be read.
    pub fn put(&self, descriptor: Descriptor) -> Result<(), LayoutError> {
        self.edit_index(|index| {
            let is_replaced = |other: &Descriptor| match descriptor.ref_name() {
                Some(name) => other.ref_name() == Some(name),
                None => other.ref_name().is_none() && other.digest == descriptor.digest,
            };
            index.manifests.retain(|other| !is_replaced(other));
            index.manifests.push(descriptor);
        })
    }

    /// Takes a name, or all names of a digest, out of `index.json`; gives what was taken out. Blobs stay.
    ///
    /// # Errors
    /// Those of the disk, and when the index cannot be read.
    pub fn take(&self, selector: &Selector) -> Result<Vec<Descriptor>, LayoutError> {
        self.edit_index(|index| {
            let (taken, kept) = std::mem::take(&mut index.manifests)
                .into_iter()
                .partition(|descriptor| selector.names(descriptor));
            index.manifests = kept;
            taken
        })
    }

    /// Changes `index.json` while nobody else does. It is not written where nothing was changed.
    ///
    /// # Errors
    /// Those of the disk, and when the index cannot be read.
    pub fn edit_index<T>(&self, edit: impl FnOnce(&mut Index) -> T) -> Result<T, LayoutError> {
        let _lock = self.lock()?;
        self.sweep()?;
        let before = self.index()?;
        let mut index = before.clone();
        let value = edit(&mut index);
        if index != before {
            let path = self.root.join(INDEX);
            let file = self.whole_file(&json(&index))?;
            file.as_file().sync_data().map_err(failed("write", &path))?;
            file.persist(&path).map_err(|error| failed("write", &path)(error.error))?;
        }
        Ok(value)
    }

    /// Keeps others from changing the layout while the value lives.
    fn lock(&self) -> Result<File, LayoutError> {
        let (file, path) = self.marker_for_locking()?;
        file.lock().map_err(failed("lock", &path))?;
        Ok(file)
    }

    fn marker_for_locking(&self) -> Result<(File, PathBuf), LayoutError> {
        let path = self.root.join(MARKER);
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = options.open(&path).map_err(failed("lock", &path))?;
        Ok((file, path))
    }

    /// A file on its way to becoming a blob.
    fn incoming(&self) -> Result<NamedTempFile, LayoutError> {
        // Nobody sweeps between the file's making and its lock.
        let (marker, path) = self.marker_for_locking()?;
        marker.lock_shared().map_err(failed("lock", &path))?;
        let file = self.new_file()?;
        file.as_file().lock().map_err(failed("lock", file.path()))?;
        Ok(file)
    }

    fn new_file(&self) -> Result<NamedTempFile, LayoutError> {
        tempfile::Builder::new()
            .prefix(INCOMING)
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
            .tempfile_in(&self.root)
            .map_err(failed("write below", &self.root))
    }

    fn whole_file(&self, bytes: &[u8]) -> Result<NamedTempFile, LayoutError> {
        let mut file = self.new_file()?;
        file.write_all(bytes).map_err(failed("write", file.path()))?;
        Ok(file)
    }

    /// Removes what killed processes were writing. The layout is locked.
    fn sweep(&self) -> Result<(), LayoutError> {
        for entry in fs::read_dir(&self.root).map_err(failed("list", &self.root))? {
            let entry = entry.map_err(failed("list", &self.root))?;
            if !entry.file_name().to_string_lossy().starts_with(INCOMING) {
                continue;
            }
            let path = entry.path();
            let is_left = plain_file(&path).is_ok_and(|file| file.try_lock().is_ok()) || path.is_symlink();
            if !is_left {
                continue;
            }
            match fs::remove_file(&path) {
                // Its writer has just given it its name, and with that let go of it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed.map_err(failed("remove", &path))?,
            }
        }
        Ok(())
    }

    fn refuse_other_contents(&self) -> Result<(), LayoutError> {
        let mut entries = match fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed("list", &self.root)(error)),
        };
        // Another process may be making the same layout.
        let is_ours =
            |name: &str| name == "blobs" || name == MARKER || name == INDEX || name.starts_with(INCOMING);
        match entries
            .find(|entry| entry.as_ref().is_ok_and(|entry| !is_ours(&entry.file_name().to_string_lossy())))
        {
            None => Ok(()),
            Some(_) => Err(LayoutError::NotALayout {
                layout: self.root.clone(),
                reason: "the directory holds something else".to_owned(),
            }),
        }
    }

    fn bad_document(&self, name: String, source: ManifestError) -> LayoutError {
        LayoutError::Document { layout: self.root.clone(), name, source }
    }

    fn located(&self, error: resolve::ResolveError<LayoutError>) -> LayoutError {
        let layout = self.root.clone();
        match error {
            resolve::ResolveError::Read(error) => error,
            resolve::ResolveError::Document { name, source } => self.bad_document(name, source),
            resolve::ResolveError::NotFound { wanted, names } => {
                LayoutError::NotFound { layout, wanted, names }
            }
            resolve::ResolveError::Several { names } => LayoutError::Several { layout, names },
        }
    }
}

/// Gives a finished file its name, unless there is one already. Whoever made that one may have swept ours away.
fn keep_first(file: NamedTempFile, path: &Path) -> Result<(), LayoutError> {
    match file.persist_noclobber(path) {
        Ok(_) => Ok(()),
        Err(_) if path.exists() => Ok(()),
        Err(error) => Err(failed("write", path)(error.error)),
    }
}

/// Opens what must be a regular file: a fifo of that name would never end.
fn plain_file(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is no regular file")) }
}

fn blob_name(digest: &Digest) -> PathBuf {
    Path::new(BLOBS).join(digest.hex())
}

fn small_file(folder: &Path, name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    open_file(folder, name)?.take(MANIFEST_LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > MANIFEST_LIMIT {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("it has more than {MANIFEST_LIMIT} bytes"),
        ));
    }
    Ok(bytes)
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LayoutError + use<> {
    let path = path.to_owned();
    move |source| LayoutError::Io { action, path, source }
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("the values written here have text keys and no numbers that JSON lacks")
}

#[cfg(test)]
mod tests;
