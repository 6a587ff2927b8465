//! The embedded engine's own store: images as an OCI layout, their layers unpacked by diff id, containers, volumes.
//!
//! ```text
//! store.json        says that it is one ([`super::place`])
//! lock              held shared by whoever uses images, alone by whoever takes some away
//! images/           an OCI layout: index.json names the images, blobs are kept as they came in
//! layers/<diff id>/ diff/ in overlayfs's format, layer.json with its size; appears whole or not at all
//! containers/<id>/  see [`super::record`]
//! volumes/<name>/   named volumes
//! .slim-tmp-*       folders of commands that are at work ([`slim_image::temporary`])
//! receiving         there while a pull is under way or broken off: its blobs are named by no index yet
//! ```
//!
//! Invariants: nobody but its owner looks into it (set-id programs and devices of strangers lie there); what an image or a
//! container needs is never taken away; what a killed process left half-made is cleared away by whoever holds the lock
//! alone next.

use super::place;
use super::record::{Folder, Record, State, write};
use crate::engine::HeldImage;
use crate::error::EngineError;
use serde::{Deserialize, Serialize};
use slim_image::archive::ImageConfig;
use slim_image::config::SourceImage;
use slim_image::location::Form;
use slim_image::manifest::{CONFIG_LIMIT, MANIFEST_LIMIT, annotation};
use slim_image::owners;
use slim_image::packing::{Scratch, UNPACKED_LIMIT};
use slim_image::remove::remove_all;
use slim_image::temporary;
use slim_image::unpack::{Limits, UnpackError, unpack_layer};
use slim_image::{
    Descriptor, Digest, Document, Imported, Layout, LocalImage, Manifest, Platform, Reference, Selector,
    Stored, import_archive,
};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Seek as _};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

type Result<T> = std::result::Result<T, EngineError>;

/// Layers and containers on their way in or out.
pub(super) const INCOMING: &str = ".incoming-";
/// A file that is there from the beginning of a pull to its end, however many runs that takes.
const RECEIVING: &str = "receiving";
/// What a pull that was broken off has fetched waits so long for its next run.
const KEPT_FOR_A_PULL: Duration = Duration::from_secs(24 * 60 * 60);

/// The store.
#[derive(Clone, Debug)]
pub struct Store {
    root: PathBuf,
    layout: Layout,
    /// Bytes that one image may unpack to.
    limit: u64,
}

/// An image of the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredImage {
    /// The digest of its configuration.
    pub id: Digest,
    /// `repository:tag`, sorted.
    pub names: Vec<String>,
    /// RFC 3339.
    pub created: Option<String>,
    /// Bytes of its unpacked layers.
    pub size: u64,
    pub(super) manifest: Descriptor,
    pub(super) config: ImageConfig,
    /// As an index names it, with its own packing.
    pub(super) layers: Vec<Descriptor>,
}

/// What was taken away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pruned {
    pub images: usize,
    pub layers: usize,
    pub blobs: usize,
    /// Of layers and blobs.
    pub bytes: u64,
}

/// `layer.json`.
#[derive(Debug, Serialize, Deserialize)]
struct LayerRecord {
    version: u32,
    size: u64,
}

/// The lock, until it is dropped.
pub(super) struct Held(#[expect(dead_code, reason = "holds the lock")] File);

impl Store {
    /// Opens the store, made where there is none: whoever is root, be it of a user namespace, may (see
    /// [`super::user_namespace`]).
    ///
    /// # Errors
    /// When the folder cannot be made or holds something else.
    pub fn open(root: &Path) -> Result<Self> {
        let root = place::claim(root).map_err(|error| EngineError::Store {
            action: "open".to_owned(),
            path: root.to_owned(),
            reason: error.to_string(),
        })?;
        let layout = Layout::create(root.join("images")).map_err(|error| EngineError::Store {
            action: "open".to_owned(),
            path: root.clone(),
            reason: error.to_string(),
        })?;
        Ok(Self { root, layout, limit: UNPACKED_LIMIT })
    }

    /// Lets an image that comes in unpack to so many bytes, instead of [`UNPACKED_LIMIT`].
    #[must_use]
    pub fn with_unpack_limit(self, limit: u64) -> Self {
        Self { limit, ..self }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.root
    }

    pub(super) fn failed(&self, action: impl Into<String>, reason: impl ToString) -> EngineError {
        EngineError::Store { action: action.into(), path: self.root.clone(), reason: reason.to_string() }
    }

    fn lock_file(&self) -> Result<File> {
        let path = self.root.join("lock");
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(path);
        file.map_err(|error| self.failed("lock", error))
    }

    /// Keeps what is there from being taken away.
    pub(super) fn share(&self) -> Result<Held> {
        let file = self.lock_file()?;
        file.lock_shared().map_err(|error| self.failed("lock", error))?;
        Ok(Held(file))
    }

    pub(super) fn alone(&self) -> Result<Held> {
        let file = self.lock_file()?;
        file.lock().map_err(|error| self.failed("lock", error))?;
        Ok(Held(file))
    }

    /// Clears away what killed processes left half-made, and what nothing needs any more, unless somebody is at work.
    pub(super) fn tidy(&self) -> Result<()> {
        let file = self.lock_file()?;
        if file.try_lock().is_err() {
            return Ok(());
        }
        self.collect(&Held(file), self.awaits_more()).map(drop)
    }

    /// Whether a pull was broken off that may go on where it was.
    fn awaits_more(&self) -> bool {
        let began = fs::metadata(self.root.join(RECEIVING)).and_then(|metadata| metadata.modified());
        began.is_ok_and(|began| began.elapsed().is_ok_and(|since| since < KEPT_FOR_A_PULL))
    }

    // --- images

    /// Takes in every image of an archive: a docker-archive (`docker save`) or an OCI layout in a tar file.
    ///
    /// # Errors
    /// [`EngineError::LoadFailed`]; what came in by then is taken away by the next prune.
    pub fn import(&self, archive: &File) -> Result<Vec<StoredImage>> {
        let load_failed = |reason: String| EngineError::LoadFailed { reason };
        let _held = self.share()?;
        let imported =
            import_archive(archive, &self.layout).map_err(|error| load_failed(error.to_string()))?;
        if imported.is_empty() {
            return Err(load_failed("the archive holds no image".to_owned()));
        }
        let mut images = Vec::new();
        for Imported { id, manifest, names } in imported {
            let image = self.described(manifest.clone(), names.clone())?;
            self.unpack(&image)?;
            let mut entries: Vec<Option<&str>> = names.iter().map(|name| Some(name.as_str())).collect();
            if entries.is_empty() {
                entries.push(None);
            }
            for name in entries {
                self.put(manifest.clone(), name)?;
            }
            images.extend(self.find(&id.to_string())?);
        }
        Ok(images)
    }

    /// The id of the image whose manifest this is.
    ///
    /// # Errors
    /// No such image.
    pub fn id_of(&self, manifest: &Digest) -> Result<Digest> {
        let found = self.images()?.into_iter().find(|image| image.manifest.digest == *manifest);
        found.map(|image| image.id).ok_or_else(|| EngineError::ImageNotFound {
            reference: manifest.to_string(),
            reason: format!("the store at {} has no such manifest", self.root.display()),
        })
    }

    /// Begins to take in an image blob by blob; nothing that comes in is taken away meanwhile.
    ///
    /// # Errors
    /// When the store cannot be locked.
    pub fn receive(&self) -> Result<Receiving> {
        let held = self.share()?;
        fs::write(self.root.join(RECEIVING), "").map_err(|error| self.failed("write to", error))?;
        Ok(Receiving { store: self.clone(), _held: held })
    }

    /// The layout that holds the images, with where one of them is in it.
    ///
    /// # Errors
    /// No such image.
    pub fn lend(&self, reference: &str) -> Result<(Layout, Selector)> {
        let image = self.get(reference)?;
        Ok((self.layout.clone(), Selector::Digest(image.manifest.digest)))
    }

    /// An image as a docker-archive under its names, in an unnamed file.
    pub(super) fn archive(&self, reference: &str) -> Result<File> {
        let _held = self.share()?;
        let image = self.get(reference)?;
        let unreadable =
            |reason: String| EngineError::ImageUnreadable { reference: reference.to_owned(), reason };
        let selector = Selector::Digest(image.manifest.digest);
        let stored = Stored { form: Form::Layout, path: self.layout.path().to_owned(), selector };
        let scratch = Scratch { folder: self.root.clone(), limit: self.limit };
        let local = LocalImage::open(&stored, Some(&image.platform()), scratch)
            .map_err(|error| unreadable(error.to_string()))?;
        let names: Vec<Reference> = image.names.iter().filter_map(|name| name.parse().ok()).collect();
        let mut file = tempfile::tempfile_in(&self.root).map_err(|error| self.failed("write to", error))?;
        let written = local.write_archive(BufWriter::new(&file), &names).and_then(|()| file.rewind());
        written.map_err(|error| unreadable(error.to_string()))?;
        Ok(file)
    }

    fn put(&self, mut manifest: Descriptor, name: Option<&str>) -> Result<()> {
        manifest.annotations.remove(annotation::REF_NAME);
        if let Some(name) = name {
            manifest.annotations.insert(annotation::REF_NAME.to_owned(), name.to_owned());
        }
        self.layout.put(manifest).map_err(|error| self.failed("write the index of", error))
    }

    /// Every image, by name; those without one last.
    ///
    /// # Errors
    /// When the index or a blob cannot be read.
    pub fn images(&self) -> Result<Vec<StoredImage>> {
        let index = self.layout.index().map_err(|error| self.failed("read", error))?;
        let mut manifests: BTreeMap<Digest, (Descriptor, BTreeSet<String>)> = BTreeMap::new();
        for descriptor in index.manifests {
            let name = descriptor.ref_name().map(str::to_owned);
            let (_, names) =
                manifests.entry(descriptor.digest).or_insert_with(|| (descriptor, BTreeSet::new()));
            names.extend(name);
        }
        let described = manifests
            .into_values()
            .map(|(manifest, names)| self.described(manifest, names.into_iter().collect()));
        let mut images = described.collect::<Result<Vec<_>>>()?;
        images.sort_by(|one, other| {
            (one.names.is_empty(), &one.names, one.id).cmp(&(other.names.is_empty(), &other.names, other.id))
        });
        Ok(images)
    }

    fn described(&self, mut manifest: Descriptor, names: Vec<String>) -> Result<StoredImage> {
        let unreadable = |reason: String| EngineError::ImageUnreadable { reference: manifest.told(), reason };
        let bytes = self
            .layout
            .read_blob(&manifest, MANIFEST_LIMIT)
            .map_err(|error| unreadable(error.to_string()))?;
        let document = Document::read(&bytes, Some(&manifest.media_type))
            .map_err(|error| unreadable(error.to_string()))?;
        let Document::Manifest(read) = document else {
            return Err(unreadable("it is an index".to_owned()));
        };
        let Manifest { config, layers, .. } = *read;
        let bytes =
            self.layout.read_blob(&config, CONFIG_LIMIT).map_err(|error| unreadable(error.to_string()))?;
        let read: ImageConfig =
            serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        if read.rootfs.diff_ids.len() != layers.len() {
            return Err(unreadable("manifest and configuration name different layers".to_owned()));
        }
        let size = read.rootfs.diff_ids.iter().map(|diff_id| self.layer_size(diff_id)).sum();
        manifest.annotations.remove(annotation::REF_NAME);
        Ok(StoredImage {
            id: config.digest,
            names,
            created: read.created.clone(),
            size,
            manifest,
            config: read,
            layers,
        })
    }

    /// The image of this name, id or beginning of an id.
    ///
    /// # Errors
    /// When the index cannot be read, or several ids begin like this.
    pub fn find(&self, reference: &str) -> Result<Option<StoredImage>> {
        let images = self.images()?;
        let digits = reference.strip_prefix("sha256:").unwrap_or(reference);
        let is_id = digits.len() >= 4 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        if let Some(name) = full_name(reference) {
            let named = images.iter().find(|image| image.names.contains(&name));
            if let Some(image) = named {
                return Ok(Some(image.clone()));
            }
        }
        let mut begin = images.into_iter().filter(|image| is_id && image.id.hex().starts_with(digits));
        let first = begin.next();
        // One image may be there with several manifests: as a registry packs its layers, and as a build does.
        if begin.any(|other| first.as_ref().is_some_and(|first| first.id != other.id)) {
            return Err(EngineError::ImageNotFound {
                reference: reference.to_owned(),
                reason: "several images of the store have an id that begins like this".to_owned(),
            });
        }
        Ok(first)
    }

    /// The same; that there is none is an error.
    pub(super) fn get(&self, reference: &str) -> Result<StoredImage> {
        self.find(reference)?.ok_or_else(|| EngineError::ImageNotFound {
            reference: reference.to_owned(),
            reason: format!("the store at {} has no image of this name", self.root.display()),
        })
    }

    /// Gives an image one more name; the name's former owner loses it.
    ///
    /// # Errors
    /// No such image, or no name.
    pub fn tag(&self, image: &str, reference: &str) -> Result<()> {
        let _held = self.share()?;
        let found = self.get(image)?;
        let name = full_name(reference)
            .ok_or_else(|| self.failed("write to", format!("{reference:?} is no image name")))?;
        let former = self.find(&name)?.filter(|former| former.id != found.id);
        self.put(found.manifest.clone(), Some(&name))?;
        if let Some(former) = former.filter(|former| former.names == [name]) {
            // It stays, known by its id.
            self.put(former.manifest, None)?;
        }
        self.take(|descriptor| descriptor.digest == found.manifest.digest && descriptor.ref_name().is_none())
    }

    fn take(&self, chosen: impl Fn(&Descriptor) -> bool) -> Result<()> {
        self.layout
            .edit_index(|index| index.manifests.retain(|descriptor| !chosen(descriptor)))
            .map_err(|error| self.failed("write the index of", error))
    }

    /// Takes a name away; the image goes with its last one. Whether an image went.
    ///
    /// # Errors
    /// No such name; a container that needs the image.
    pub fn untag(&self, reference: &str) -> Result<bool> {
        let held = self.alone()?;
        let image = self.get(reference)?;
        let name = full_name(reference).filter(|name| image.names.contains(name));
        match name {
            Some(name) if image.names.len() > 1 => {
                self.take(|descriptor| descriptor.ref_name() == Some(&name)).map(|()| false)
            }
            _ => self.remove_held(&image, &held).map(|()| true),
        }
    }

    /// Takes an image away with all its names.
    ///
    /// # Errors
    /// No such image; a container that needs it.
    pub fn remove(&self, reference: &str) -> Result<()> {
        let held = self.alone()?;
        let id = self.get(reference)?.id;
        while let Some(image) = self.find(&id.to_string())? {
            self.remove_held(&image, &held)?;
        }
        Ok(())
    }

    fn remove_held(&self, image: &StoredImage, held: &Held) -> Result<()> {
        if let Some(user) = self.containers()?.into_iter().find(|(_, record)| record.image == image.id) {
            let reason = format!("container {} is made of it", &user.1.id[..12]);
            return Err(EngineError::Refused {
                action: format!("remove image {}", image.id.short()),
                status: 409,
                reason,
            });
        }
        let removed = self.layout.take(&Selector::Digest(image.manifest.digest));
        removed.map_err(|error| self.failed("write the index of", error))?;
        self.collect(held, self.awaits_more()).map(drop)
    }

    /// Takes away images without a name, and everything that no image and no container needs.
    ///
    /// # Errors
    /// When something cannot be read or removed.
    pub fn prune(&self) -> Result<Pruned> {
        let held = self.alone()?;
        let used: BTreeSet<Digest> = self.containers()?.into_iter().map(|(_, record)| record.image).collect();
        let nameless: Vec<StoredImage> = self
            .images()?
            .into_iter()
            .filter(|image| image.names.is_empty() && !used.contains(&image.id))
            .collect();
        for image in &nameless {
            let digest = image.manifest.digest;
            self.take(|descriptor| descriptor.digest == digest)?;
        }
        match fs::remove_file(self.root.join(RECEIVING)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(self.failed("write to", error));
            }
            _ => {}
        }
        Ok(Pruned { images: nameless.len(), ..self.collect(&held, false)? })
    }

    /// Removes blobs and layers that nothing needs, and what was left half-made; not the blobs of a pull that may go on.
    fn collect(&self, _alone: &Held, keeps_blobs: bool) -> Result<Pruned> {
        temporary::sweep(&self.root);
        self.remove_forgotten();
        let mut pruned = Pruned::default();
        let images = self.images()?;
        let mut layers: BTreeSet<Digest> =
            images.iter().flat_map(|image| image.config.rootfs.diff_ids.iter().copied()).collect();
        layers.extend(self.containers()?.into_iter().flat_map(|(_, record)| record.layers));
        let mut blobs: BTreeSet<Digest> =
            images.iter().flat_map(|image| [image.id, image.manifest.digest]).collect();
        blobs.extend(images.iter().flat_map(|image| image.layers.iter().map(|layer| layer.digest)));
        let there = match keeps_blobs {
            true => Vec::new(),
            false => {
                self.layout.remove_partial().map_err(|error| self.failed("remove from", error))?;
                self.layout.blobs().map_err(|error| self.failed("list", error))?
            }
        };
        for (digest, size) in there.into_iter().filter(|(digest, _)| !blobs.contains(digest)) {
            self.layout.remove_blob(&digest).map_err(|error| self.failed("remove from", error))?;
            pruned.blobs += 1;
            pruned.bytes += size;
        }
        let failed = |error: io::Error| self.failed("remove a layer from", error);
        for entry in fs::read_dir(self.root.join("layers")).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let digest = format!("sha256:{name}").parse().ok();
            if digest.is_some_and(|digest| layers.contains(&digest)) {
                continue;
            }
            if let Some(digest) = digest {
                pruned.layers += 1;
                pruned.bytes += self.layer_size(&digest);
            }
            // Out of sight first: half a layer is none.
            let doomed = self.root.join("layers").join(format!("{INCOMING}{name}"));
            if !name.starts_with(INCOMING) {
                fs::rename(entry.path(), &doomed).map_err(failed)?;
            }
            let doomed = if name.starts_with(INCOMING) { entry.path() } else { doomed };
            remove_all(&doomed).map_err(failed)?;
        }
        for folder in ["containers", "volumes"] {
            for entry in fs::read_dir(self.root.join(folder)).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                if entry.file_name().to_string_lossy().starts_with(INCOMING) {
                    remove_all(&entry.path()).map_err(failed)?;
                }
            }
        }
        Ok(pruned)
    }

    /// What versions that did not lock their temporary folders left here, when they were killed long ago.
    fn remove_forgotten(&self) {
        let entries = fs::read_dir(&self.root).into_iter().flatten().flatten();
        let forgotten = entries.filter(|entry| {
            let name = entry.file_name();
            let is_old = |time: std::time::SystemTime| time.elapsed().is_ok_and(|age| age > KEPT_FOR_A_PULL);
            name.to_str().and_then(|name| name.strip_prefix(".slim-")).is_some_and(|rest| !rest.contains('-'))
                && entry.metadata().is_ok_and(|data| data.is_dir() && data.modified().is_ok_and(is_old))
        });
        for entry in forgotten {
            if let Err(error) = fs::remove_dir_all(entry.path()) {
                tracing::warn!("could not remove {}: {error}", entry.path().display());
            }
        }
    }

    // --- layers

    fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("layers").join(diff_id.hex())
    }

    /// A layer in overlayfs's format.
    pub(super) fn layer_files(&self, diff_id: &Digest) -> PathBuf {
        self.layer(diff_id).join("diff")
    }

    fn layer_size(&self, diff_id: &Digest) -> u64 {
        let record = fs::read(self.layer(diff_id).join("layer.json")).ok();
        record
            .and_then(|bytes| serde_json::from_slice::<LayerRecord>(&bytes).ok())
            .map_or(0, |record| record.size)
    }

    /// Unpacks an image's layers that are not unpacked yet. The lock is held shared.
    fn unpack(&self, image: &StoredImage) -> Result<()> {
        let load_failed = |reason: String| EngineError::LoadFailed { reason };
        let mut left = self.limit;
        for (number, (diff_id, layer)) in image.config.rootfs.diff_ids.iter().zip(&image.layers).enumerate() {
            if self.layer(diff_id).is_dir() {
                left = left.saturating_sub(self.layer_size(diff_id));
                continue;
            }
            let failed = |error: &dyn std::fmt::Display| load_failed(format!("layer {number}: {error}"));
            let incoming = Incoming::below(&self.root.join("layers")).map_err(|error| failed(&error))?;
            let files = incoming.path().join("diff");
            fs::DirBuilder::new().mode(0o755).create(&files).map_err(|error| failed(&error))?;
            let blob = self.layout.open_blob(layer).map_err(|error| failed(&error))?;
            let limits = Limits { bytes: left, ..Limits::default() };
            let unpacked = unpack_layer(blob, diff_id, &files, limits).map_err(|error| match error {
                UnpackError::TooLarge { .. } => failed(&UnpackError::TooLarge { limit: self.limit }),
                error => failed(&error),
            })?;
            left = left.saturating_sub(unpacked.size);
            write(&incoming.path().join("layer.json"), &LayerRecord { version: 1, size: unpacked.size })
                .map_err(|error| failed(&error))?;
            if !unpacked.owners.is_empty() {
                fs::write(incoming.path().join(owners::FILE), unpacked.owners.write())
                    .map_err(|error| failed(&error))?;
            }
            if unpacked.devices > 0 {
                tracing::warn!(
                    number,
                    devices = unpacked.devices,
                    "device nodes of a layer are left out: that takes root"
                );
            }
            // Another process may have been faster.
            match fs::rename(incoming.path(), self.layer(diff_id)) {
                Ok(()) => incoming.keep(),
                Err(_) if self.layer(diff_id).is_dir() => {}
                Err(error) => return Err(failed(&error)),
            }
        }
        Ok(())
    }

    // --- containers

    /// The folder of a container.
    pub(super) fn container(&self, id: &str) -> Folder {
        Folder::new(self.root.join("containers").join(id))
    }

    /// Held while a container of a new name is made, so that no two have one name.
    pub(super) fn name_lock(&self) -> Result<Held> {
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(self.root.join("names.lock"));
        let file = file.map_err(|error| self.failed("lock", error))?;
        file.lock().map_err(|error| self.failed("lock", error))?;
        Ok(Held(file))
    }

    /// Makes a container's folder with its files: it is there whole or not at all. The lock is held shared.
    pub(super) fn make_container(&self, record: &Record, state: &State) -> io::Result<()> {
        let incoming = Folder::new(self.root.join("containers").join(format!("{INCOMING}{}", record.id)));
        fs::DirBuilder::new().mode(0o700).create(incoming.path())?;
        incoming.write_state(state)?;
        incoming.write_record(record)?;
        fs::rename(incoming.path(), self.container(&record.id).path())
    }

    /// Takes a container's folder away, out of sight first. One that is gone is no error.
    pub(super) fn remove_container(&self, id: &str) -> io::Result<()> {
        let doomed = self.root.join("containers").join(format!("{INCOMING}{id}"));
        match fs::rename(self.container(id).path(), &doomed) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        match remove_all(&doomed) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Every container that is wholly there.
    pub(super) fn containers(&self) -> Result<Vec<(Folder, Record)>> {
        let failed = |error: io::Error| self.failed("list the containers of", error);
        let mut containers = Vec::new();
        for entry in fs::read_dir(self.root.join("containers")).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_string_lossy().starts_with(INCOMING) {
                continue;
            }
            let folder = Folder::new(entry.path());
            match folder.record() {
                Ok(record) => containers.push((folder, record)),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(failed(error)),
            }
        }
        containers.sort_by(|one, other| one.1.id.cmp(&other.1.id));
        Ok(containers)
    }

    pub(super) fn volume_path(&self, name: &str) -> PathBuf {
        self.root.join("volumes").join(name).join("_data")
    }

    /// The folder of a named volume, made where there is none.
    pub(super) fn volume(&self, name: &str) -> io::Result<PathBuf> {
        let folder = self.volume_path(name);
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&folder)?;
        Ok(folder)
    }
}

/// A layer's folder on its way into the store; removed with all that a stranger put there, unless it is kept.
struct Incoming(Option<PathBuf>);

impl Incoming {
    fn below(layers: &Path) -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix(INCOMING).tempdir_in(layers)?;
        Ok(Self(Some(folder.keep())))
    }

    fn path(&self) -> &Path {
        self.0.as_deref().unwrap_or(Path::new(""))
    }

    fn keep(mut self) {
        self.0 = None;
    }
}

impl Drop for Incoming {
    fn drop(&mut self) {
        // What is left is swept by the next one who has the store alone.
        drop(self.0.take().map(|folder| remove_all(&folder)));
    }
}

/// An image on its way into the store.
pub struct Receiving {
    store: Store,
    _held: Held,
}

impl Receiving {
    /// Where its blobs go: those of a manifest, and itself.
    #[must_use]
    pub fn layout(&self) -> &Layout {
        &self.store.layout
    }

    /// Unpacks the image whose blobs are there, and gives it a name; without one it is known by its id.
    ///
    /// # Errors
    /// [`EngineError::LoadFailed`] for what is no image, or does not unpack.
    pub fn finish(self, manifest: Descriptor, name: Option<&Reference>) -> Result<StoredImage> {
        let name = name.and_then(|name| full_name(&name.to_string()));
        let image = self.store.described(manifest.clone(), Vec::new())?;
        self.store.unpack(&image)?;
        let former = name.as_deref().map(|name| self.store.find(name)).transpose()?.flatten();
        self.store.put(manifest.clone(), name.as_deref())?;
        if let Some(former) = former.filter(|former| former.id != image.id && former.names.len() == 1) {
            // It stays, known by its id.
            self.store.put(former.manifest, None)?;
        }
        // Whoever else receives one loses no more than the chance to go on, should that be broken off.
        drop(fs::remove_file(self.store.root.join(RECEIVING)));
        if name.is_some() {
            self.store.take(|it| it.digest == manifest.digest && it.ref_name().is_none())?;
        }
        let taken = self.store.images()?.into_iter().find(|it| it.manifest.digest == manifest.digest);
        taken.ok_or_else(|| self.store.failed("find the image in", "its index does not name it"))
    }
}

impl StoredImage {
    /// What it runs on.
    fn platform(&self) -> Platform {
        let ImageConfig { os, architecture, variant, .. } = &self.config;
        Platform { variant: variant.clone(), ..Platform::new(&**os, &**architecture) }.normal()
    }

    /// As engines list it.
    pub(super) fn into_held(self) -> HeldImage {
        let id = self.id.to_string();
        HeldImage::new(id, self.names, self.created, self.size, &self.config.history)
    }

    /// As the pipeline wants it.
    pub(super) fn source(&self, reference: &str) -> SourceImage {
        let ImageConfig { architecture, variant, os, os_version, created, author, config, rootfs, .. } =
            self.config.clone();
        SourceImage {
            id: self.id,
            reference: reference.to_owned(),
            tags: self.names.clone(),
            digests: Vec::new(),
            architecture,
            variant,
            os,
            os_version,
            created,
            author,
            size: self.size,
            config,
            layer_diff_ids: rootfs.diff_ids,
        }
    }
}

/// A name as the index has it: with its tag, without what Docker leaves out; `None` for what is no name.
fn full_name(reference: &str) -> Option<String> {
    let short = reference
        .strip_prefix("docker.io/library/")
        .or_else(|| reference.strip_prefix("docker.io/"))
        .unwrap_or(reference);
    short.parse::<Reference>().ok().map(|parsed| parsed.with_tag().to_string())
}
