//! The images of a saved archive (a docker-archive, or an OCI layout in a tar file) → the blobs of a layout on disk.

use crate::archive::ImageConfig;
use crate::digest::Digest;
use crate::layout::{Layout, LayoutError};
use crate::manifest::{CONFIG_LIMIT, Descriptor, Manifest, annotation, media};
use crate::packing::packing_of;
use crate::reference::Reference;
use crate::shelf::{ArchiveError, LAYER_LIMIT, Place, Shelf, ShelvedImage, section};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};

/// Why an archive was not taken into a layout.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    #[error(transparent)]
    Archive(#[from] ArchiveError),
    #[error(transparent)]
    Layout(#[from] LayoutError),
    #[error("read the image archive: {0}")]
    Io(#[from] io::Error),
    #[error("read the image archive: {what} is {found}, not {expected}")]
    OtherBlob { what: String, expected: Digest, found: Digest },
    #[error("read the image archive: {0}")]
    Image(String),
}

/// An image whose blobs are in the layout. Its index does not name it yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Imported {
    /// The digest of its configuration.
    pub id: Digest,
    pub manifest: Descriptor,
    /// `repository:tag`, sorted.
    pub names: Vec<String>,
}

/// Copies the blobs of every image of an archive into a layout. Layers come in as they are packed.
///
/// # Errors
/// When it is no image archive, a blob is not what its name says, or the layout cannot be written.
pub fn import_archive(mut archive: &File, layout: &Layout) -> Result<Vec<Imported>, ImportError> {
    let shelf = Shelf::scan(&mut archive)?;
    let images = if shelf.holds("manifest.json") {
        shelf.docker_images(&mut archive)?
    } else {
        let names = oci_names(&shelf, archive)?;
        let mut images = shelf.oci_images(&mut archive)?;
        for image in &mut images {
            let digest = image.manifest.unwrap_or_else(|| Digest::of(""));
            image.tags = names.get(&digest).cloned().unwrap_or_default();
        }
        images
    };
    images.into_iter().map(|image| import(&shelf, archive, image, layout)).collect()
}

fn import(
    shelf: &Shelf,
    mut archive: &File,
    image: ShelvedImage,
    layout: &Layout,
) -> Result<Imported, ImportError> {
    let config_json = shelf.bytes(&mut archive, &image.config, CONFIG_LIMIT)?;
    let id = Digest::of(&config_json);
    check(&image.config, id)?;
    let config: ImageConfig =
        serde_json::from_slice(&config_json).map_err(|error| ImportError::Image(error.to_string()))?;
    if image.layers.len() > LAYER_LIMIT {
        let layers = image.layers.len();
        return Err(ImportError::Image(format!(
            "the image has {layers} layers, no engine takes more than {LAYER_LIMIT}"
        )));
    }
    if config.rootfs.diff_ids.len() != image.layers.len() {
        return Err(ImportError::Image(format!(
            "the configuration names {} layers, the manifest {}",
            config.rootfs.diff_ids.len(),
            image.layers.len()
        )));
    }
    let config = layout.put_blob(media::CONFIG, &config_json)?;
    let mut layers = Vec::new();
    for name in &image.layers {
        layers.push(layer(archive, name, shelf.place(name)?, layout)?);
    }
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media::MANIFEST.to_owned()),
        artifact_type: None,
        config,
        layers,
        subject: None,
        annotations: BTreeMap::new(),
    };
    let bytes = serde_json::to_vec(&manifest).map_err(|error| ImportError::Image(error.to_string()))?;
    let manifest = layout.put_blob(media::MANIFEST, &bytes)?;
    let names: BTreeSet<String> = image.tags.iter().filter_map(|tag| named(tag)).collect();
    Ok(Imported { id, manifest, names: names.into_iter().collect() })
}

fn layer(mut archive: &File, name: &str, place: Place, layout: &Layout) -> Result<Descriptor, ImportError> {
    let mut input = section(&mut archive, place)?;
    let mut start = Vec::new();
    (&mut input).take(4).read_to_end(&mut start)?;
    let packing = packing_of(&start);
    let mut writer = layout.begin_blob()?;
    writer.write_all(&start)?;
    let copied = io::copy(&mut input, &mut writer)? + start.len() as u64;
    if copied != place.size {
        return Err(ImportError::Image(format!("{name} ends {} bytes too early", place.size - copied)));
    }
    let (digest, size) = writer.commit(None)?;
    check(name, digest)?;
    Ok(Descriptor::new(packing.media_type(), digest, size))
}

/// A blob of an OCI layout is named by its digest, and old archives name configurations so.
fn check(name: &str, found: Digest) -> Result<(), ImportError> {
    let last = name.rsplit('/').next().unwrap_or(name);
    match format!("sha256:{}", last.trim_end_matches(".json")).parse::<Digest>() {
        Ok(expected) if expected != found => {
            Err(ImportError::OtherBlob { what: name.to_owned(), expected, found })
        }
        _ => Ok(()),
    }
}

/// The names that an OCI index gives to manifests: full ones, where it has any.
fn oci_names(shelf: &Shelf, mut archive: &File) -> Result<BTreeMap<Digest, Vec<String>>, ImportError> {
    let index: Value = shelf.json(&mut archive, "index.json")?;
    let mut names: BTreeMap<Digest, Vec<String>> = BTreeMap::new();
    for entry in index["manifests"].as_array().into_iter().flatten() {
        let digest = entry["digest"].as_str().and_then(|text| text.parse().ok());
        let annotation = |key: &str| entry["annotations"][key].as_str();
        let name = annotation(annotation::CONTAINERD_NAME).or_else(|| annotation(annotation::REF_NAME));
        if let (Some(digest), Some(name)) = (digest, name) {
            names.entry(digest).or_default().push(name.to_owned());
        }
    }
    Ok(names)
}

/// A name as engines list it.
fn named(text: &str) -> Option<String> {
    let short =
        text.strip_prefix("docker.io/library/").or_else(|| text.strip_prefix("docker.io/")).unwrap_or(text);
    short.parse::<Reference>().ok().map(|reference| reference.with_tag().to_string())
}
