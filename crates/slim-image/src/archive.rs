//! The slim image as one tar stream that is a docker-archive (`manifest.json`) and an OCI layout (`oci-layout`,
//! `index.json`) at once, over the same blobs.
//!
//! The bytes depend on the source image's description, the layer and the names given, never on a clock.

use crate::config::{Config, SourceImage};
use crate::digest::Digest;
use crate::history::{self, HistoryEntry};
pub use crate::layer::Layer;
use crate::layout;
use crate::manifest::{Descriptor, Index, Manifest, annotation, media};
use crate::reference::Reference;
use crate::tape::{self, BLOCK, Member, MemberKind};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Write};

/// A complete image: its configuration and its layers.
#[derive(Debug)]
pub struct SlimImage {
    id: Digest,
    config_json: Vec<u8>,
    manifest_json: Vec<u8>,
    manifest_digest: Digest,
    layers: Vec<Layer>,
}

/// What an image's stored configuration holds: the blob whose digest is the image's id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageConfig {
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    pub os: String,
    #[serde(rename = "os.version", default, skip_serializing_if = "Option::is_none")]
    pub os_version: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub author: Option<String>,
    #[serde(default)]
    pub config: Config,
    pub rootfs: RootFs,
    #[serde(default)]
    pub history: Vec<HistoryEntry>,
}

/// The layers of an image by the digests of their unpacked streams.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootFs {
    #[serde(rename = "type")]
    pub kind: String,
    pub diff_ids: Vec<Digest>,
}

/// `manifest.json` of a docker-archive.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DockerManifest {
    pub config: String,
    pub repo_tags: Option<Vec<String>>,
    pub layers: Vec<String>,
}

impl SlimImage {
    /// The slim image of `source` with `config` and one content layer.
    ///
    /// `created` (RFC 3339) stands for the source image's own date where it is given.
    #[must_use]
    pub fn new(source: &SourceImage, config: Config, layer: Layer, created: Option<String>) -> Self {
        let created = created.or_else(|| source.created.clone());
        let history = history::of(&config, created.as_deref());
        Self::of_layers(source, config, vec![layer], history, created)
    }

    /// The slim image of `source` with `config` and these layers, the base first; `history` has a step for each of them.
    ///
    /// `created` (RFC 3339) stands for the source image's own date where it is given.
    #[must_use]
    pub fn of_layers(
        source: &SourceImage,
        config: Config,
        layers: Vec<Layer>,
        history: Vec<HistoryEntry>,
        created: Option<String>,
    ) -> Self {
        let created = created.or_else(|| source.created.clone());
        let image_config = ImageConfig {
            architecture: source.architecture.clone(),
            variant: source.variant.clone(),
            os: source.os.clone(),
            os_version: source.os_version.clone(),
            history,
            created,
            author: source.author.clone(),
            config,
            rootfs: RootFs {
                kind: "layers".to_owned(),
                diff_ids: layers.iter().map(|layer| layer.diff_id).collect(),
            },
        };
        let config_json = json(&image_config);
        let id = Digest::of(&config_json);
        let manifest_json = json(&Manifest {
            schema_version: 2,
            media_type: Some(media::MANIFEST.to_owned()),
            artifact_type: None,
            config: Descriptor::new(media::CONFIG, id, config_json.len() as u64),
            layers: layers
                .iter()
                .map(|layer| Descriptor::new(media::LAYER, layer.diff_id, layer.size))
                .collect(),
            subject: None,
            annotations: BTreeMap::new(),
        });
        let manifest_digest = Digest::of(&manifest_json);
        Self { id, config_json, manifest_json, manifest_digest, layers }
    }

    /// The image's id: the digest of its configuration.
    #[must_use]
    pub fn id(&self) -> &Digest {
        &self.id
    }

    /// The digest of the OCI manifest.
    #[must_use]
    pub fn manifest_digest(&self) -> &Digest {
        &self.manifest_digest
    }

    /// The configuration as stored.
    #[must_use]
    pub fn config_json(&self) -> &[u8] {
        &self.config_json
    }

    /// The layers, the base first.
    #[must_use]
    pub fn layers(&self) -> &[Layer] {
        &self.layers
    }

    /// How many bytes [`SlimImage::write_to`] writes with these names.
    #[must_use]
    pub fn archive_size(&self, names: &[Reference]) -> u64 {
        let small = self.small_files(names);
        let files = small.iter().map(|(name, bytes)| (name.clone(), bytes.len() as u64));
        let layers = self.distinct_layers().map(|layer| (blob_path(&layer.diff_id), layer.size));
        let framed: u64 = files
            .chain(layers)
            .map(|(name, size)| {
                let header = header_of(&name, size).len() as u64;
                header + size.next_multiple_of(BLOCK as u64)
            })
            .sum();
        // Two directories before the files, two empty blocks behind them.
        framed + 4 * BLOCK as u64
    }

    /// Writes the archive; an engine that loads it gives the image `names` (none: it is known by its id).
    ///
    /// # Errors
    /// Those of [`Layer::copy_to`].
    pub fn write_to(&self, mut output: impl Write, names: &[Reference]) -> io::Result<()> {
        self.write(&mut output, self.small_files(names))
    }

    /// The same without an OCI layout: for an engine that would take that one, and its format has no HEALTHCHECK for it.
    ///
    /// # Errors
    /// Those of [`Layer::copy_to`].
    pub fn write_docker_archive(&self, mut output: impl Write, names: &[Reference]) -> io::Result<()> {
        let small = vec![
            ("manifest.json".to_owned(), self.docker_manifest(names)),
            (blob_path(&self.id), self.config_json.clone()),
        ];
        self.write(&mut output, small)
    }

    fn write(&self, output: &mut dyn Write, small_files: Vec<(String, Vec<u8>)>) -> io::Result<()> {
        for directory in ["blobs/", "blobs/sha256/"] {
            tape::write_header(output, &Member::new(directory, MemberKind::Directory, 0o755))?;
        }
        for (name, bytes) in small_files {
            let size = bytes.len() as u64;
            output.write_all(&header_of(&name, size))?;
            output.write_all(&bytes)?;
            tape::pad(output, size)?;
        }
        for layer in self.distinct_layers() {
            output.write_all(&header_of(&blob_path(&layer.diff_id), layer.size))?;
            layer.copy_to(output)?;
            tape::pad(output, layer.size)?;
        }
        tape::finish(output)?;
        output.flush()
    }

    /// Each blob once: two layers may hold the same.
    fn distinct_layers(&self) -> impl Iterator<Item = &Layer> {
        let mut seen = BTreeSet::new();
        self.layers.iter().filter(move |layer| seen.insert(layer.diff_id))
    }

    /// Everything but the layers: what says what is in the archive comes first.
    fn small_files(&self, names: &[Reference]) -> Vec<(String, Vec<u8>)> {
        vec![
            ("oci-layout".to_owned(), json(&BTreeMap::from([("imageLayoutVersion", layout::VERSION)]))),
            ("index.json".to_owned(), self.index(names)),
            ("manifest.json".to_owned(), self.docker_manifest(names)),
            (blob_path(&self.id), self.config_json.clone()),
            (blob_path(&self.manifest_digest), self.manifest_json.clone()),
        ]
    }

    fn docker_manifest(&self, names: &[Reference]) -> Vec<u8> {
        json(&[DockerManifest {
            config: blob_path(&self.id),
            repo_tags: Some(names.iter().map(|name| name.with_tag().to_string()).collect()),
            layers: self.layers.iter().map(|layer| blob_path(&layer.diff_id)).collect(),
        }])
    }

    fn index(&self, names: &[Reference]) -> Vec<u8> {
        let plain = Descriptor::new(media::MANIFEST, self.manifest_digest, self.manifest_json.len() as u64);
        let mut manifests: Vec<Descriptor> = names.iter().map(|name| named(plain.clone(), name)).collect();
        if manifests.is_empty() {
            manifests.push(plain);
        }
        json(&Index { manifests, ..Index::empty() })
    }
}

/// Where a blob lies in the archive.
pub(crate) fn blob_path(digest: &Digest) -> String {
    format!("blobs/sha256/{}", digest.hex())
}

fn named(mut descriptor: Descriptor, name: &Reference) -> Descriptor {
    let full = name.with_tag();
    if let Some(tag) = &full.tag {
        descriptor.annotations.insert(annotation::REF_NAME.to_owned(), tag.clone());
    }
    descriptor.annotations.insert(annotation::CONTAINERD_NAME.to_owned(), full.canonical());
    descriptor
}

fn json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("the values written here have text keys and no numbers that JSON lacks")
}

fn header_of(name: &str, size: u64) -> Vec<u8> {
    let mut member = Member::new(name, MemberKind::File, 0o644);
    member.size = size;
    let mut header = Vec::with_capacity(BLOCK);
    tape::write_header(&mut header, &member)
        .expect("a blob's name and size can be expressed, memory can be written");
    header
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// The description of some fat image.
    pub(crate) fn source() -> SourceImage {
        SourceImage {
            id: Digest::of("fat"),
            reference: "fat".to_owned(),
            tags: vec![],
            digests: vec![],
            architecture: "amd64".to_owned(),
            variant: None,
            os: "linux".to_owned(),
            os_version: None,
            created: Some("2024-01-01T00:00:00Z".to_owned()),
            author: None,
            size: 5,
            config: Config { cmd: vec!["/app/one".to_owned()], ..Config::default() },
            layer_diff_ids: vec![],
        }
    }
}
