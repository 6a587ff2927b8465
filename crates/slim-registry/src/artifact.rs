//! Files that say something about an image, kept beside it as an OCI artifact whose subject the image's manifest is.
//!
//! Invariant: equal files give an equal manifest, so that attaching the same twice leaves one artifact. A registry that
//! does not know the referrers API gets the tag that stands in for it (OCI distribution 1.1).

use crate::client::{BlobSource, Client, Progress, Repository, Which};
use crate::error::RegistryError;
use crate::name::RepositoryName;
use bytes::Bytes;
use slim_image::manifest::{MANIFEST_LIMIT, media};
use slim_image::{Descriptor, Digest, Document, Layout, Manifest, ManifestError, Platform, Reference};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The name of a file in an artifact, as ORAS writes it.
const TITLE: &str = "org.opencontainers.image.title";
/// The configuration of an artifact that has none.
const NO_CONFIG: &[u8] = b"{}";
/// The largest file of an artifact that is read, in bytes.
const FILE_LIMIT: u64 = 16 << 20;

/// Files about an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Artifact {
    /// What kind of thing this is: a media type.
    pub artifact_type: String,
    pub annotations: BTreeMap<String, String>,
    pub files: Vec<ArtifactFile>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ArtifactFile {
    pub name: String,
    pub media_type: String,
    pub bytes: Bytes,
}

impl ArtifactFile {
    fn descriptor(&self) -> Descriptor {
        let mut descriptor = Descriptor::of(self.media_type.clone(), &self.bytes);
        descriptor.annotations.insert(TITLE.to_owned(), self.name.clone());
        descriptor
    }
}

impl Artifact {
    /// The manifest of an artifact about `subject`.
    fn manifest(&self, subject: &Descriptor) -> Bytes {
        let manifest = Manifest {
            schema_version: 2,
            media_type: Some(media::MANIFEST.to_owned()),
            artifact_type: Some(self.artifact_type.clone()),
            config: Descriptor::of(media::EMPTY, NO_CONFIG),
            layers: self.files.iter().map(ArtifactFile::descriptor).collect(),
            subject: Some(Descriptor::new(subject.media_type.clone(), subject.digest, subject.size)),
            annotations: self.annotations.clone(),
        };
        Bytes::from(serde_json::to_vec(&manifest).expect("a manifest has string keys only"))
    }
}

/// Puts an artifact about the image with this manifest into the image's repository; gives the artifact's digest. That it
/// is there already is no matter.
///
/// # Errors
/// When the registry does not take it.
pub async fn attach(
    client: &Client,
    image: &Reference,
    subject: &Descriptor,
    artifact: &Artifact,
    progress: &Arc<dyn Progress>,
) -> Result<Digest, RegistryError> {
    let repository = client.to_push(RepositoryName::of(image));
    let config = (Descriptor::of(media::EMPTY, NO_CONFIG), Bytes::from_static(NO_CONFIG));
    let files = artifact.files.iter().map(|file| (file.descriptor(), file.bytes.clone()));
    for (blob, bytes) in std::iter::once(config).chain(files) {
        repository.push_blob(&blob, &BlobSource::Bytes(bytes), progress).await?;
    }
    let manifest = artifact.manifest(subject);
    let which = Which::Digest(Digest::of(&manifest));
    repository.push_manifest(&which, media::MANIFEST, &manifest).await
}

/// The artifacts of one kind about the image of this name, for this platform where the name means several; in the order
/// in which the registry lists them.
///
/// # Errors
/// The image is not there, or the registry does not tell.
pub async fn attached(
    client: &Client,
    image: &Reference,
    platform: &Platform,
    artifact_type: &str,
) -> Result<Vec<Artifact>, RegistryError> {
    let repository = client.to_pull(RepositoryName::of(image));
    let root = repository.manifest(&Which::of(image)).await?;
    let unusable = |reason| RegistryError::Image { image: image.to_string(), reason };
    let subject = match &root.document {
        Document::Manifest(_) => root.descriptor.digest,
        Document::Index(index) => index.for_platform(platform).map_err(unusable)?.digest,
    };
    let mut artifacts = Vec::new();
    for referrer in repository.referrers(&subject, Some(artifact_type)).await? {
        let fetched = repository.manifest(&Which::Digest(referrer.digest)).await?;
        let Document::Manifest(manifest) = fetched.document else { continue };
        let mut files = Vec::new();
        for layer in &manifest.layers {
            files.push(file_of(layer, blob(&repository, layer).await?));
        }
        artifacts.push(artifact_of(*manifest, files));
    }
    Ok(artifacts)
}

/// The same of an image in a layout whose manifest has this digest. What refers to it stands in the layout's index.
///
/// # Errors
/// When the layout cannot be read.
pub fn attached_in_layout(
    layout: &Layout,
    subject: &Digest,
    artifact_type: &str,
) -> Result<Vec<Artifact>, RegistryError> {
    let mut artifacts = Vec::new();
    for descriptor in layout.index()?.manifests.iter().filter(|descriptor| descriptor.size <= MANIFEST_LIMIT)
    {
        let bytes = layout.read_blob(descriptor, MANIFEST_LIMIT)?;
        let Ok(Document::Manifest(manifest)) = Document::read(&bytes, Some(&descriptor.media_type)) else {
            continue;
        };
        let is_about_it = manifest.subject.as_ref().is_some_and(|named| named.digest == *subject);
        if !is_about_it || manifest.artifact_type.as_deref() != Some(artifact_type) {
            continue;
        }
        let read = |layer: &Descriptor| Ok(file_of(layer, Bytes::from(layout.read_blob(layer, FILE_LIMIT)?)));
        let files: Result<Vec<ArtifactFile>, RegistryError> = manifest.layers.iter().map(read).collect();
        artifacts.push(artifact_of(*manifest, files?));
    }
    Ok(artifacts)
}

fn file_of(layer: &Descriptor, bytes: Bytes) -> ArtifactFile {
    let name = layer.annotations.get(TITLE).cloned().unwrap_or_else(|| layer.digest.to_string());
    ArtifactFile { name, media_type: layer.media_type.clone(), bytes }
}

fn artifact_of(manifest: Manifest, files: Vec<ArtifactFile>) -> Artifact {
    Artifact {
        artifact_type: manifest.artifact_type.unwrap_or_default(),
        annotations: manifest.annotations,
        files,
    }
}

async fn blob(repository: &Repository, blob: &Descriptor) -> Result<Bytes, RegistryError> {
    if blob.size > FILE_LIMIT {
        let reason = ManifestError::NotAnImage(format!("an artifact with a file of {} bytes", blob.size));
        return Err(RegistryError::Image { image: repository.location().to_string(), reason });
    }
    let mut reader = repository.blob(blob);
    let mut bytes = Vec::new();
    while let Some(more) = reader.next().await? {
        bytes.extend_from_slice(&more);
    }
    Ok(Bytes::from(bytes))
}
