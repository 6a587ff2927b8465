//! Slim images to files: OCI layouts and archives, docker-archives, skopeo's directories.
//!
//! Invariant: what stood there before stays whole until the new image is complete, and the same image with the same packing
//! gives the same bytes.

use crate::archive::{ImageConfig, SlimImage, blob_path};
use crate::digest::Digest;
use crate::hashing::Hashing;
use crate::layout::{self, Layout, LayoutError, Selector};
use crate::location::{DIRECTORY_VERSION, Form, Stored};
use crate::manifest::{Descriptor, Index, Manifest, Packing, annotation, media};
use crate::pack::pack;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::shelf::{Part, Place};
use crate::tape::{self, Member, MemberKind};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::num::NonZero;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Bytes on their way to a file.
const BUFFER: usize = 256 << 10;

/// A slim image whose layers are packed as they are to be written.
#[derive(Debug)]
pub struct PackedImage {
    image: Arc<SlimImage>,
    /// `None` for those that are not packed.
    layers: Vec<Option<Part>>,
    manifest: Manifest,
    manifest_json: Vec<u8>,
    platform: Option<Platform>,
}

/// Why an image cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("{action} {}: {source}", .path.display())]
    Io { action: &'static str, path: PathBuf, source: io::Error },
    #[error("write the image to {}: {reason}", .path.display())]
    Place { path: PathBuf, reason: String },
}

impl PackedImage {
    /// Packs the layers, to unnamed files in `scratch`, with so many threads.
    ///
    /// # Errors
    /// When a layer cannot be read, or the disk is full.
    pub fn new(
        image: Arc<SlimImage>,
        packing: Packing,
        threads: NonZero<usize>,
        scratch: &Path,
    ) -> Result<Self, SinkError> {
        let mut layers = Vec::new();
        let mut descriptors = Vec::new();
        for layer in image.layers() {
            if packing == Packing::Plain {
                layers.push(None);
                descriptors.push(Descriptor::new(media::LAYER, layer.diff_id, layer.size));
                continue;
            }
            let packed = tempfile::tempfile_in(scratch).and_then(|file| {
                let mut output = Hashing::new(BufWriter::with_capacity(BUFFER, &file));
                pack(packing, threads, &mut output, |output| layer.copy_to(output))?;
                let (_, digest, size) = output.finish();
                Ok((file, digest, size))
            });
            let (file, digest, size) = packed.map_err(failed("pack a layer in", scratch))?;
            layers.push(Some(Part::new(Arc::new(file), Place { offset: 0, size })));
            descriptors.push(Descriptor::new(packing.media_type(), digest, size));
        }
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media::MANIFEST.to_owned()),
            artifact_type: None,
            config: Descriptor::of(media::CONFIG, image.config_json()),
            layers: descriptors,
            subject: None,
            annotations: BTreeMap::new(),
        };
        let config: Option<ImageConfig> = serde_json::from_slice(image.config_json()).ok();
        let platform = config.map(|config| Platform {
            variant: config.variant,
            ..Platform::new(config.os, config.architecture)
        });
        let manifest_json = json(&manifest);
        Ok(Self { image, layers, manifest, manifest_json, platform })
    }

    /// The manifest, as it is written.
    #[must_use]
    pub fn manifest_json(&self) -> &[u8] {
        &self.manifest_json
    }

    /// What the image is made of.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The image whose layers are packed.
    #[must_use]
    pub fn image(&self) -> &SlimImage {
        &self.image
    }

    /// Writes a layer as [`PackedImage::manifest`] describes it.
    ///
    /// # Errors
    /// Those of the writer; when the layer cannot be read.
    ///
    /// # Panics
    /// When there is no layer of that number.
    pub fn copy_layer_to(&self, number: usize, mut output: &mut dyn Write) -> io::Result<()> {
        match &self.layers[number] {
            Some(part) => io::copy(&mut part.reader(), &mut output).map(drop),
            None => self.image.layers()[number].copy_to(output),
        }
    }

    /// Writes the image to its place. `names` are the slim image's own: what is written there says them where the place
    /// names none.
    ///
    /// # Errors
    /// When the place holds something else, cannot be written, or a layer cannot be read.
    pub fn write(&self, place: &Stored, names: &[Reference]) -> Result<(), SinkError> {
        let path = &place.path;
        if let Selector::Digest(_) = place.selector {
            let reason = "a digest follows from the image; a name may be given".to_owned();
            return Err(SinkError::Place { path: path.clone(), reason });
        }
        match place.form {
            Form::Layout => self.write_layout(path, &named_descriptors(self.descriptor(), place, names)),
            Form::Directory => self.write_directory(path),
            Form::OciArchive => {
                let descriptors = named_descriptors(self.descriptor(), place, names);
                whole_file(path, |output| self.write_oci_archive(output, descriptors))
            }
            Form::DockerArchive | Form::AnyArchive => {
                let names = archive_names(place, names)?;
                whole_file(path, |output| self.image.write_to(output, &names))
            }
        }
    }

    fn descriptor(&self) -> Descriptor {
        let descriptor = Descriptor::of(media::MANIFEST, &self.manifest_json);
        Descriptor { platform: self.platform.clone(), ..descriptor }
    }

    fn write_layout(&self, path: &Path, descriptors: &[Descriptor]) -> Result<(), SinkError> {
        let layout = Layout::create(path)?;
        for (number, layer) in self.manifest.layers.iter().enumerate() {
            if layout.has_blob(&layer.digest, layer.size) {
                continue;
            }
            let mut blob = layout.begin_blob()?;
            self.copy_layer_to(number, &mut blob).map_err(failed("write a layer to", path))?;
            blob.commit(Some(layer))?;
        }
        layout.put_blob(media::CONFIG, self.image.config_json())?;
        layout.put_blob(media::MANIFEST, &self.manifest_json)?;
        for descriptor in descriptors {
            layout.put(descriptor.clone())?;
        }
        Ok(())
    }

    fn write_oci_archive(&self, output: &mut dyn Write, manifests: Vec<Descriptor>) -> io::Result<()> {
        for directory in ["blobs/", "blobs/sha256/"] {
            tape::write_header(output, &Member::new(directory, MemberKind::Directory, 0o755))?;
        }
        let index = json(&Index { manifests, ..Index::empty() });
        let files = [
            ("oci-layout".to_owned(), json(&BTreeMap::from([("imageLayoutVersion", layout::VERSION)]))),
            ("index.json".to_owned(), index),
            (blob_path(&Digest::of(&self.manifest_json)), self.manifest_json.clone()),
            (blob_path(self.image.id()), self.image.config_json().to_vec()),
        ];
        for (name, bytes) in files {
            write_header(output, &name, bytes.len() as u64)?;
            output.write_all(&bytes)?;
            tape::pad(output, bytes.len() as u64)?;
        }
        let mut written = BTreeSet::new();
        for (number, layer) in self.manifest.layers.iter().enumerate() {
            if written.insert(layer.digest) {
                write_header(output, &blob_path(&layer.digest), layer.size)?;
                self.copy_layer_to(number, output)?;
                tape::pad(output, layer.size)?;
            }
        }
        tape::finish(output)
    }

    fn write_directory(&self, path: &Path) -> Result<(), SinkError> {
        refuse_other_directory(path)?;
        fs::create_dir_all(path).map_err(failed("make", path))?;
        let write = |name: &str, bytes: &[u8]| whole_file(&path.join(name), |output| output.write_all(bytes));
        for (number, layer) in self.manifest.layers.iter().enumerate() {
            whole_file(&path.join(layer.digest.hex()), |output| self.copy_layer_to(number, output))?;
        }
        write(&self.image.id().hex(), self.image.config_json())?;
        write("version", format!("{DIRECTORY_VERSION}1.1\n").as_bytes())?;
        write("manifest.json", &self.manifest_json)?;
        remove_other_blobs(path, &self.manifest.blobs().map(|blob| blob.digest).collect())
    }
}

/// Removes from a directory of skopeo's what the image before this one had and this one has not.
pub(crate) fn remove_other_blobs(path: &Path, own: &BTreeSet<Digest>) -> Result<(), SinkError> {
    for entry in fs::read_dir(path).map_err(failed("list", path))? {
        let entry = entry.map_err(failed("list", path))?;
        let digest = format!("sha256:{}", entry.file_name().to_string_lossy()).parse::<Digest>();
        if digest.is_ok_and(|digest| !own.contains(&digest)) {
            fs::remove_file(entry.path()).map_err(failed("remove", &entry.path()))?;
        }
    }
    Ok(())
}

/// A directory that holds something else than an image of skopeo's is left alone.
pub(crate) fn refuse_other_directory(path: &Path) -> Result<(), SinkError> {
    let is_empty = match fs::read_dir(path) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => true,
        Err(error) => return Err(failed("list", path)(error)),
    };
    if is_empty
        || fs::read_to_string(path.join("version")).is_ok_and(|text| text.starts_with(DIRECTORY_VERSION))
    {
        return Ok(());
    }
    let reason = "the directory holds something else".to_owned();
    Err(SinkError::Place { path: path.to_owned(), reason })
}

/// How an index names the image: as the place says, else by the tags of the image's own names.
fn named_descriptors(descriptor: Descriptor, place: &Stored, names: &[Reference]) -> Vec<Descriptor> {
    let annotated = |annotations: &[(&str, String)]| {
        let annotations = annotations.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect();
        Descriptor { annotations, ..descriptor.clone() }
    };
    if let Some(name) = place.name() {
        return vec![annotated(&[(annotation::REF_NAME, name.to_owned())])];
    }
    let named = names.iter().map(|name| {
        let full = name.with_tag();
        let tag = full.tag.clone().unwrap_or_default();
        annotated(&[(annotation::REF_NAME, tag), (annotation::CONTAINERD_NAME, full.canonical())])
    });
    let named: Vec<Descriptor> = named.collect();
    if named.is_empty() { vec![descriptor] } else { named }
}

fn archive_names(place: &Stored, names: &[Reference]) -> Result<Vec<Reference>, SinkError> {
    let Some(name) = place.name() else { return Ok(names.to_vec()) };
    let reference = name.parse().map_err(|error| SinkError::Place {
        path: place.path.clone(),
        reason: format!("failed to {error}"),
    })?;
    Ok(vec![reference])
}

fn write_header(output: &mut dyn Write, name: &str, size: u64) -> io::Result<()> {
    let mut member = Member::new(name, MemberKind::File, 0o644);
    member.size = size;
    tape::write_header(output, &member)
}

/// A file that appears whole or not at all.
pub(crate) fn whole_file(
    path: &Path,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), SinkError> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::Builder::new()
        .prefix(".slim-")
        .permissions(fs::Permissions::from_mode(0o666))
        .tempfile_in(folder)
        .map_err(failed("write", path))?;
    let mut output = BufWriter::with_capacity(BUFFER, file.as_file());
    write(&mut output).and_then(|()| output.flush()).map_err(failed("write", path))?;
    drop(output);
    file.persist(path).map(|_: File| ()).map_err(|error| failed("write", path)(error.error))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SinkError + use<> {
    let path = path.to_owned();
    move |source| SinkError::Io { action, path, source }
}

fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("the values written here have text keys and no numbers that JSON lacks")
}
