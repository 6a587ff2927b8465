//! Images in files of this machine: OCI layouts, docker-archives, OCI archives and skopeo's directories.
//!
//! [`LocalImage::open`] reads what says what is there; layers are read when they are asked for. All of them give the same:
//! configuration, layers packed or not, a tree ([`LocalImage::tree`]) and an archive that an engine loads
//! ([`LocalImage::write_archive`]).
//!
//! Invariant: nothing that such files say leads out of them, and every layer is checked against the diff id in the
//! configuration before its end is given.

use crate::archive::{DockerManifest, ImageConfig, blob_path};
use crate::beneath::open_file;
use crate::digest::Digest;
use crate::layout::{Layout, LayoutError, Selector, Verifying, resolve};
use crate::location::{Form, Stored};
use crate::manifest::{
    CONFIG_LIMIT, Descriptor, Document, MANIFEST_LIMIT, Manifest, ManifestError, Packing, annotation,
};
use crate::packing::{Checked, Scratch, packing_of, unpack, unpack_rest};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::saved::SavedTree;
use crate::shelf::{ArchiveError, LAYER_LIMIT, Part, Place, Shelf};
use crate::tape::{self, Member, MemberKind};
use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An image in files.
#[derive(Debug)]
pub struct LocalImage {
    id: Digest,
    config_json: Vec<u8>,
    config: ImageConfig,
    manifest: Option<Digest>,
    names: Vec<String>,
    layers: Vec<LocalLayer>,
    scratch: Scratch,
}

/// A layer as it is stored.
#[derive(Debug)]
struct LocalLayer {
    part: Part,
    /// Digest of the stored bytes, where the source tells it.
    blob: Option<Digest>,
    /// Digest of the unpacked stream.
    diff_id: Digest,
}

/// Why an image in files cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("{source} ({})", .path.display())]
    Archive { path: PathBuf, source: ArchiveError },
    #[error("read {}: {source}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("read the image at {}: {reason}", .path.display())]
    Image { path: PathBuf, reason: String },
}

impl LocalImage {
    /// Reads everything but the layers. `platform`: which image of several, and what a single one must be for; `None` for
    /// this machine's, or whatever a single one is for. What must be unpacked on the way, or later, goes to `scratch`.
    ///
    /// # Errors
    /// When there is no such image, or its documents cannot be read or do not fit together.
    pub fn open(
        stored: &Stored,
        platform: Option<&Platform>,
        scratch: impl Into<Scratch>,
    ) -> Result<Self, LocalError> {
        let scratch = &scratch.into();
        let host = Platform::host();
        let wanted = platform.unwrap_or(&host);
        let image = match stored.form {
            Form::Layout => Self::of_layout(stored, wanted, scratch)?,
            Form::Directory => Self::of_directory(stored, scratch)?,
            Form::OciArchive | Form::DockerArchive | Form::AnyArchive => {
                let file = plain_file(&stored.path)?;
                Self::of_archive(file, stored.form, &stored.selector, wanted, scratch)
                    .map_err(|source| LocalError::Archive { path: stored.path.clone(), source })?
            }
        };
        let own = image.platform();
        match platform.filter(|platform| platform.distance(&own).is_none()) {
            Some(platform) => Err(LocalError::Image {
                path: stored.path.clone(),
                reason: format!("it is for {own}, not for {platform}"),
            }),
            None => Ok(image),
        }
    }

    /// The image's id: the digest of its configuration.
    #[must_use]
    pub fn id(&self) -> &Digest {
        &self.id
    }

    /// The configuration as stored.
    #[must_use]
    pub fn config_json(&self) -> &[u8] {
        &self.config_json
    }

    /// What the configuration says.
    #[must_use]
    pub fn config(&self) -> &ImageConfig {
        &self.config
    }

    /// The digest of the manifest, where there is one.
    #[must_use]
    pub fn manifest_digest(&self) -> Option<&Digest> {
        self.manifest.as_ref()
    }

    /// Full names that the files give the image.
    #[must_use]
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// What the image runs on.
    #[must_use]
    pub fn platform(&self) -> Platform {
        let config = &self.config;
        Platform { variant: config.variant.clone(), ..Platform::new(&*config.os, &*config.architecture) }
            .normal()
    }

    /// How many layers there are.
    #[must_use]
    pub fn layer_count(&self) -> usize {
        self.layers.len()
    }

    /// The unpacked tar stream of a layer; its digest is checked at its end.
    ///
    /// # Errors
    /// Those of the disk.
    ///
    /// # Panics
    /// When there is no layer of that number.
    pub fn layer(&self, number: usize) -> io::Result<Box<dyn Read + Send + '_>> {
        let layer = &self.layers[number];
        let plain = unpack(layer.stored()?, self.scratch.limit)?;
        Ok(Box::new(Checked::new(plain, layer.diff_id)))
    }

    /// Bytes of the configuration and of all layers, as they are stored.
    #[must_use]
    pub fn stored_size(&self) -> u64 {
        self.config_json.len() as u64 + self.layers.iter().map(|layer| layer.part.size()).sum::<u64>()
    }

    /// How a layer is stored.
    ///
    /// # Errors
    /// Those of the disk.
    ///
    /// # Panics
    /// When there is no layer of that number.
    pub fn layer_packing(&self, number: usize) -> io::Result<Packing> {
        Ok(packing_of(&self.layers[number].start()?))
    }

    /// A layer's bytes as they are stored, checked where the source tells their digest.
    pub(crate) fn stored_layer(&self, number: usize) -> io::Result<Box<dyn Read + Send + '_>> {
        self.layers[number].stored()
    }

    /// The image's files, its layers put over one another. Packed layers are unpacked to unnamed files.
    ///
    /// # Errors
    /// When a layer cannot be read, is not what the configuration says, or is larger than the limit.
    pub fn tree(&self) -> Result<SavedTree, ArchiveError> {
        let mut left = self.scratch.limit;
        let mut parts = Vec::with_capacity(self.layers.len());
        for (number, layer) in self.layers.iter().enumerate() {
            let refuse = |error: io::Error| ArchiveError::Layer { layer: number, reason: error.to_string() };
            if packing_of(&layer.start().map_err(refuse)?) == Packing::Plain {
                parts.push((layer.part.clone(), Some(layer.diff_id)));
                continue;
            }
            let mut file = tempfile::tempfile_in(&self.scratch.folder)?;
            let stored = layer.stored().map_err(refuse)?;
            let plain = unpack_rest(stored, left, self.scratch.limit).map_err(refuse)?;
            let size = io::copy(&mut Checked::new(plain, layer.diff_id), &mut file).map_err(refuse)?;
            left -= size;
            parts.push((Part::new(Arc::new(file), Place { offset: 0, size }), None));
        }
        SavedTree::of_layers(self.id, self.names.clone(), self.config.clone(), parts)
    }

    /// Writes a docker-archive, which any engine loads, under `names` (none: it is known by its id). Layers stay packed as
    /// they are, but for zstd, which older engines do not unpack.
    ///
    /// # Errors
    /// Those of the writer; when a layer cannot be read, or is not what the manifest says.
    pub fn write_archive(&self, mut output: impl Write, names: &[Reference]) -> io::Result<()> {
        let output: &mut dyn Write = &mut output;
        let config_name = blob_path(&self.id);
        let layer_names: Vec<String> =
            (0..self.layers.len()).map(|number| format!("layers/{number}.tar")).collect();
        let manifest = [DockerManifest {
            config: config_name.clone(),
            repo_tags: Some(names.iter().map(|name| name.with_tag().to_string()).collect()),
            layers: layer_names.clone(),
        }];
        let manifest = serde_json::to_vec(&manifest).map_err(io::Error::other)?;
        write_file(output, "manifest.json", manifest.len() as u64, &mut &manifest[..])?;
        write_file(output, &config_name, self.config_json.len() as u64, &mut &self.config_json[..])?;
        for (number, (name, layer)) in layer_names.iter().zip(&self.layers).enumerate() {
            if packing_of(&layer.start()?) == Packing::Zstd {
                let mut file = tempfile::tempfile_in(&self.scratch.folder)?;
                let size = io::copy(&mut self.layer(number)?, &mut file)?;
                let part = Part::new(Arc::new(file), Place { offset: 0, size });
                write_file(output, name, size, &mut part.reader())?;
            } else {
                write_file(output, name, layer.part.size(), &mut layer.stored()?)?;
            }
        }
        tape::finish(output)?;
        output.flush()
    }

    /// Reads an image in a tar file that may be packed itself.
    pub(crate) fn of_archive(
        file: File,
        form: Form,
        selector: &Selector,
        platform: &Platform,
        scratch: &Scratch,
    ) -> Result<Self, ArchiveError> {
        let file = Arc::new(unpacked_archive(file, scratch)?);
        let mut input = &*file;
        let shelf = Shelf::scan(&mut input)?;
        let is_docker = match form {
            Form::DockerArchive => true,
            Form::OciArchive => false,
            _ => shelf.holds("manifest.json"),
        };
        if !is_docker {
            return Self::of_shelved_layout(&file, &shelf, selector, platform, scratch);
        }
        let image = shelf.docker_image(&mut input, selector)?;
        let config_json = shelf.bytes(&mut input, &image.config, CONFIG_LIMIT)?;
        let parts =
            image.layers.iter().map(|name| Ok((Part::new(Arc::clone(&file), shelf.place(name)?), None)));
        let parts = parts.collect::<Result<_, ArchiveError>>()?;
        let malformed = |reason| ArchiveError::Json { name: image.config.clone(), reason };
        Self::assembled(config_json, parts, image.tags.clone(), scratch).map_err(malformed)
    }

    fn of_shelved_layout(
        file: &Arc<File>,
        shelf: &Shelf,
        selector: &Selector,
        platform: &Platform,
        scratch: &Scratch,
    ) -> Result<Self, ArchiveError> {
        let mut input = &**file;
        let bytes = shelf.bytes(&mut input, "index.json", MANIFEST_LIMIT)?;
        let document = |name: String| {
            move |source: ManifestError| ArchiveError::Json { name, reason: source.to_string() }
        };
        let Document::Index(index) =
            Document::read(&bytes, None).map_err(document("index.json".to_owned()))?
        else {
            let reason = "it is no index".to_owned();
            return Err(ArchiveError::Json { name: "index.json".to_owned(), reason });
        };
        let mut read = |descriptor: &Descriptor| shelf.blob(&mut &**file, descriptor, MANIFEST_LIMIT);
        let resolved =
            resolve::resolve(&index, selector, platform, &mut read).map_err(|error| match error {
                resolve::ResolveError::Read(error) => error,
                resolve::ResolveError::Document { name, source } => document(name)(source),
                resolve::ResolveError::NotFound { wanted, names } => ArchiveError::NotFound { wanted, names },
                resolve::ResolveError::Several { names } => ArchiveError::Several { names },
            })?;
        let name = resolved.descriptor.digest.to_string();
        let layers = resolved.manifest.image_layers().map_err(document(name))?;
        let config_json = shelf.blob(&mut input, &resolved.manifest.config, CONFIG_LIMIT)?;
        let mut parts = Vec::with_capacity(layers.len());
        for (layer, _) in layers {
            let place = shelf.place(&blob_path(&layer.digest))?;
            check_size(layer, place.size)
                .map_err(|reason| ArchiveError::Json { name: layer.digest.to_string(), reason })?;
            parts.push((Part::new(Arc::clone(file), place), Some(layer.digest)));
        }
        let names = names_of(&resolved.descriptor);
        let config = resolved.manifest.config.digest;
        let image = Self::assembled(config_json, parts, names, scratch)
            .map_err(|reason| ArchiveError::Json { name: config.to_string(), reason })?;
        Ok(Self { manifest: Some(resolved.descriptor.digest), ..image })
    }

    fn of_layout(stored: &Stored, platform: &Platform, scratch: &Scratch) -> Result<Self, LocalError> {
        let layout = Layout::open(&*stored.path)?;
        let resolved = layout.resolve(&stored.selector, platform)?;
        let config_json = layout.read_blob(&resolved.manifest.config, CONFIG_LIMIT)?;
        let blob = |layer: &Descriptor| layout.blob_file(layer).map_err(LocalError::from);
        let image = Self::of_files(&stored.path, &resolved.manifest, config_json, blob, scratch)?;
        let names = names_of(&resolved.descriptor);
        Ok(Self { manifest: Some(resolved.descriptor.digest), names, ..image })
    }

    fn of_directory(stored: &Stored, scratch: &Scratch) -> Result<Self, LocalError> {
        let refuse = |reason: String| LocalError::Image { path: stored.path.clone(), reason };
        let bytes = small(&stored.path, "manifest.json", MANIFEST_LIMIT)?;
        let manifest = match Document::read(&bytes, None).map_err(|error| refuse(error.to_string()))? {
            Document::Manifest(manifest) => manifest,
            Document::Index(_) => {
                return Err(refuse(
                    "it holds an index of several images; copy one of them with --override-arch".to_owned(),
                ));
            }
        };
        let config = &manifest.config;
        let config_json = small(&stored.path, &config.digest.hex(), CONFIG_LIMIT)?;
        if Digest::of(&config_json) != config.digest {
            return Err(refuse(format!("the configuration is not {}", config.digest)));
        }
        let blob = |layer: &Descriptor| beneath(&stored.path, &layer.digest.hex());
        let image = Self::of_files(&stored.path, &manifest, config_json, blob, scratch)?;
        Ok(Self { manifest: Some(Digest::of(&bytes)), ..image })
    }

    /// An image of which each blob is a file.
    fn of_files(
        path: &Path,
        manifest: &Manifest,
        config_json: Vec<u8>,
        blob: impl Fn(&Descriptor) -> Result<File, LocalError>,
        scratch: &Scratch,
    ) -> Result<Self, LocalError> {
        let refuse = |reason: String| LocalError::Image { path: path.to_owned(), reason };
        let mut parts = Vec::with_capacity(manifest.layers.len());
        for (layer, _) in manifest.image_layers().map_err(|error| refuse(error.to_string()))? {
            let file = blob(layer)?;
            let failed = |source| LocalError::Io { path: path.to_owned(), source };
            let size = file.metadata().map_err(failed)?.len();
            check_size(layer, size).map_err(refuse)?;
            parts.push((Part::new(Arc::new(file), Place { offset: 0, size }), Some(layer.digest)));
        }
        Self::assembled(config_json, parts, Vec::new(), scratch).map_err(refuse)
    }

    fn assembled(
        config_json: Vec<u8>,
        parts: Vec<(Part, Option<Digest>)>,
        names: Vec<String>,
        scratch: &Scratch,
    ) -> Result<Self, String> {
        let config: ImageConfig = serde_json::from_slice(&config_json)
            .map_err(|error| format!("it is no image's configuration: {error}"))?;
        let diff_ids = &config.rootfs.diff_ids;
        if parts.len() > LAYER_LIMIT {
            return Err(format!(
                "the image has {} layers, no engine takes more than {LAYER_LIMIT}",
                parts.len()
            ));
        }
        if diff_ids.len() != parts.len() {
            return Err(format!(
                "the image has {} layers, its configuration names {}",
                parts.len(),
                diff_ids.len()
            ));
        }
        let layers = parts
            .into_iter()
            .zip(diff_ids)
            .map(|((part, blob), diff_id)| LocalLayer { part, blob, diff_id: *diff_id })
            .collect();
        let (id, scratch) = (Digest::of(&config_json), scratch.clone());
        Ok(Self { id, config_json, config, manifest: None, names, layers, scratch })
    }
}

impl LocalLayer {
    /// The bytes as stored, checked where the source tells their digest.
    fn stored(&self) -> io::Result<Box<dyn Read + Send + '_>> {
        let reader = self.part.reader();
        Ok(match self.blob {
            Some(digest) => Box::new(Verifying::new(reader, digest, self.part.size())),
            None => Box::new(reader),
        })
    }

    fn start(&self) -> io::Result<Vec<u8>> {
        let mut start = Vec::new();
        self.part.reader().take(4).read_to_end(&mut start)?;
        Ok(start)
    }
}

/// Full names that an index gives an image. A tag alone names no repository.
fn names_of(descriptor: &Descriptor) -> Vec<String> {
    let full = descriptor.annotations.get(annotation::CONTAINERD_NAME).map(String::as_str);
    let name = full.or_else(|| descriptor.ref_name().filter(|name| name.contains(['/', ':'])));
    let reference = name.and_then(|name| name.parse::<Reference>().ok());
    reference.map(|reference| reference.familiar().with_tag().to_string()).into_iter().collect()
}

fn check_size(layer: &Descriptor, found: u64) -> Result<(), String> {
    if layer.size == found {
        return Ok(());
    }
    Err(format!("layer {} should have {} bytes but has {found}", layer.digest, layer.size))
}

fn write_file(output: &mut dyn Write, name: &str, size: u64, contents: &mut dyn Read) -> io::Result<()> {
    let mut member = Member::new(name, MemberKind::File, 0o644);
    member.size = size;
    tape::write_header(output, &member)?;
    let written = io::copy(contents, output)?;
    if written != size {
        return Err(io::Error::other(format!("{name} should have {size} bytes but has {written}")));
    }
    tape::pad(output, size)
}

/// The archive itself, or what it unpacks to.
pub(crate) fn unpacked_archive(file: File, scratch: &Scratch) -> Result<File, ArchiveError> {
    let mut start = Vec::new();
    let whole = Part::new(Arc::new(file.try_clone()?), Place { offset: 0, size: u64::MAX });
    whole.reader().take(4).read_to_end(&mut start)?;
    if packing_of(&start) == Packing::Plain {
        return Ok(file);
    }
    let mut plain = tempfile::tempfile_in(&scratch.folder)?;
    io::copy(&mut unpack(whole.reader(), scratch.limit)?, &mut plain)?;
    Ok(plain)
}

fn plain_file(path: &Path) -> Result<File, LocalError> {
    let failed = |source| LocalError::Io { path: path.to_owned(), source };
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path);
    let file = opened.map_err(failed)?;
    if file.metadata().map_err(failed)?.is_file() {
        return Ok(file);
    }
    Err(failed(io::Error::other("it is no regular file")))
}

fn beneath(folder: &Path, name: &str) -> Result<File, LocalError> {
    open_file(folder, name).map_err(|source| LocalError::Io { path: folder.join(name), source })
}

fn small(folder: &Path, name: &str, limit: u64) -> Result<Vec<u8>, LocalError> {
    let mut bytes = Vec::new();
    let failed = |source| LocalError::Io { path: folder.join(name), source };
    BufReader::new(beneath(folder, name)?).take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        let message = format!("it has more than {limit} bytes");
        return Err(failed(io::Error::new(io::ErrorKind::InvalidData, message)));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests;
