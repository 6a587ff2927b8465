//! Manifests and indexes: what an image is made of, and which images there are. OCI's documents and Docker's schema 2
//! differ in nothing but their media types, so one type reads both.
//!
//! Invariant: a document is read as one thing only. What could be taken for a manifest by one reader and for an index
//! by another is refused (CVE-2021-41190), and what is no image (an attestation, a chart) is never taken for one.

use crate::config::nullable;
use crate::digest::Digest;
use crate::platform::Platform;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};

/// Media types as they are registered.
pub mod media {
    pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
    pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
    pub const LAYER_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
    pub const LAYER_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";
    /// The configuration of what is no image.
    pub const EMPTY: &str = "application/vnd.oci.empty.v1+json";
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
    pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
    pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
    pub const DOCKER_LAYER_ZSTD: &str = "application/vnd.docker.image.rootfs.diff.tar.zstd";
    /// Every document that is read here: what a client says that it accepts.
    pub const DOCUMENTS: [&str; 4] = [MANIFEST, INDEX, DOCKER_MANIFEST, DOCKER_INDEX];

    pub(super) const SCHEMA_1: [&str; 2] = [
        "application/vnd.docker.distribution.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v1+prettyjws",
    ];
    pub(super) const FOREIGN: [&str; 2] = [
        "application/vnd.docker.image.rootfs.foreign.diff.tar",
        "application/vnd.oci.image.layer.nondistributable.v1.tar",
    ];
}

/// Annotations with a meaning here.
pub mod annotation {
    /// The name of an image in a layout: a tag.
    pub const REF_NAME: &str = "org.opencontainers.image.ref.name";
    /// The full name of an image in a layout, as containerd and buildkit write it.
    pub const CONTAINERD_NAME: &str = "io.containerd.image.name";
    /// On what buildkit puts beside images in an index.
    pub const DOCKER_REFERENCE_TYPE: &str = "vnd.docker.reference.type";
}

/// The largest manifest or index that is read, in bytes: the registries' own limit.
pub const MANIFEST_LIMIT: u64 = 4 << 20;
/// The largest image configuration that is read, in bytes.
pub const CONFIG_LIMIT: u64 = 16 << 20;

/// Why a document cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    #[error("it is no JSON document of that kind: {0}")]
    Json(String),
    #[error(
        "it is of Docker's schema 1, which engines gave up; pull and push the image again with a current Docker"
    )]
    SchemaOne,
    #[error("it is {0}, not an image's manifest or index")]
    NotAnImage(String),
    #[error("it could be taken for a manifest and for an index")]
    Ambiguous,
    #[error("it was announced as {announced} but says that it is {found}")]
    OtherType { announced: String, found: String },
    #[error(
        "layer {0} is a foreign one, whose contents come from its maker's address only (Windows base images have them)"
    )]
    ForeignLayer(Digest),
    #[error("layer {digest} is of type {media_type}, which is not read")]
    LayerType { digest: Digest, media_type: String },
    #[error("it has no image for {wanted}; it has {}", listed(offered))]
    NoPlatform { wanted: String, offered: Vec<String> },
    #[error("it has several images that are alike but for their digests: {}", listed(offered))]
    Several { offered: Vec<String> },
}

fn listed(offered: &[String]) -> String {
    if offered.is_empty() { "none".to_owned() } else { offered.join(", ") }
}

/// What a blob is, and where it lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    /// Bytes, as stored.
    pub size: u64,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "Vec::is_empty")]
    pub urls: Vec<String>,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// Everything else, as it was found.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// What one image is made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    pub config: Descriptor,
    /// The base first.
    #[serde(default, deserialize_with = "nullable")]
    pub layers: Vec<Descriptor>,
    /// What this says something about: then it is a referrer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// Which images there are: of one name, or in a layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, deserialize_with = "nullable")]
    pub manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(default, deserialize_with = "nullable", skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
    /// Everything else, as it was found.
    #[serde(flatten)]
    pub unknown: BTreeMap<String, Value>,
}

/// One or the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Document {
    Manifest(Box<Manifest>),
    Index(Box<Index>),
}

/// How a layer's tar stream is packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Document {
    /// Reads a manifest or an index. `announced`: the media type that a descriptor or a registry gave it, where one did.
    ///
    /// # Errors
    /// When it is neither, both, something else than announced, or Docker's schema 1.
    pub fn read(bytes: &[u8], announced: Option<&str>) -> Result<Self, ManifestError> {
        let malformed = |error: serde_json::Error| ManifestError::Json(error.to_string());
        let value: Value = serde_json::from_slice(bytes).map_err(malformed)?;
        let announced = announced.and_then(|text| text.split(';').next()).map(str::trim);
        let media_type = value.get("mediaType").and_then(Value::as_str);
        if value.get("schemaVersion") == Some(&Value::from(1))
            || announced.is_some_and(|media_type| media::SCHEMA_1.contains(&media_type))
        {
            return Err(ManifestError::SchemaOne);
        }
        if let (Some(announced), Some(found)) = (announced, media_type)
            && is_known(announced)
            && announced != found
        {
            let (announced, found) = (announced.to_owned(), found.to_owned());
            return Err(ManifestError::OtherType { announced, found });
        }
        let has = |field: &str| value.get(field).is_some_and(|value| !value.is_null());
        let looks_like_index = has("manifests");
        let looks_like_manifest = has("config") || has("layers");
        if looks_like_index && looks_like_manifest {
            return Err(ManifestError::Ambiguous);
        }
        let said = media_type.or(announced);
        let is_index = match said {
            Some(media::INDEX | media::DOCKER_INDEX) => true,
            Some(media::MANIFEST | media::DOCKER_MANIFEST) => false,
            Some(other) if media_type.is_some() => return Err(ManifestError::NotAnImage(other.to_owned())),
            _ => looks_like_index,
        };
        if (is_index && looks_like_manifest) || (!is_index && looks_like_index) {
            return Err(ManifestError::Ambiguous);
        }
        if is_index {
            serde_json::from_value(value).map(Box::new).map(Self::Index).map_err(malformed)
        } else {
            serde_json::from_value(value).map(Box::new).map(Self::Manifest).map_err(malformed)
        }
    }
}

fn is_known(media_type: &str) -> bool {
    media::DOCUMENTS.contains(&media_type)
}

impl Descriptor {
    /// A descriptor of nothing but type, digest and size.
    #[must_use]
    pub fn new(media_type: impl Into<String>, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.into(),
            digest,
            size,
            urls: Vec::new(),
            annotations: BTreeMap::new(),
            platform: None,
            artifact_type: None,
            unknown: BTreeMap::new(),
        }
    }

    /// The descriptor of these bytes.
    #[must_use]
    pub fn of(media_type: impl Into<String>, bytes: &[u8]) -> Self {
        Self::new(media_type, Digest::of(bytes), bytes.len() as u64)
    }

    /// The name that the descriptor has in a layout's index.
    #[must_use]
    pub fn ref_name(&self) -> Option<&str> {
        self.annotations.get(annotation::REF_NAME).map(String::as_str)
    }

    /// Whether this is what buildkit puts beside images in an index, and no image.
    #[must_use]
    pub fn is_attestation(&self) -> bool {
        self.annotations.contains_key(annotation::DOCKER_REFERENCE_TYPE)
            || self
                .platform
                .as_ref()
                .is_some_and(|platform| (&*platform.os, &*platform.architecture) == ("unknown", "unknown"))
    }

    /// Whether it says of itself that it is something else than an image: a signature, a list of contents.
    #[must_use]
    pub fn is_artifact(&self) -> bool {
        let is_image = |kind: &str| matches!(kind, media::CONFIG | media::DOCKER_CONFIG);
        self.artifact_type.as_deref().is_some_and(|kind| !kind.is_empty() && !is_image(kind))
    }

    /// Whether it is an index rather than a manifest, as far as its type says.
    #[must_use]
    pub fn is_index(&self) -> bool {
        matches!(&*self.media_type, media::INDEX | media::DOCKER_INDEX)
    }

    /// How people are told which one is meant: its name, its platform or its digest.
    #[must_use]
    pub fn told(&self) -> String {
        match (self.ref_name(), &self.platform) {
            (Some(name), _) => name.to_owned(),
            (None, Some(platform)) => platform.to_string(),
            (None, None) => self.digest.to_string(),
        }
    }
}

impl Manifest {
    /// The layers with their packing, the base first. The packing is what the type says; readers look at the first bytes.
    ///
    /// # Errors
    /// When this is no image's manifest, or a layer is foreign, encrypted or of a type not known.
    pub fn image_layers(&self) -> Result<Vec<(&Descriptor, Packing)>, ManifestError> {
        match &*self.config.media_type {
            media::CONFIG | media::DOCKER_CONFIG => {}
            other => {
                let what = self.artifact_type.as_deref().unwrap_or(other);
                return Err(ManifestError::NotAnImage(what.to_owned()));
            }
        }
        self.layers.iter().map(|layer| Ok((layer, Packing::of(layer)?))).collect()
    }

    /// Everything that the image needs besides this manifest: configuration and layers, each once.
    pub fn blobs(&self) -> impl Iterator<Item = &Descriptor> {
        let mut seen = BTreeSet::new();
        std::iter::once(&self.config).chain(&self.layers).filter(move |blob| seen.insert(blob.digest))
    }
}

impl Packing {
    fn of(layer: &Descriptor) -> Result<Self, ManifestError> {
        let media_type = &*layer.media_type;
        if media::FOREIGN.iter().any(|foreign| media_type.starts_with(foreign)) {
            return Err(ManifestError::ForeignLayer(layer.digest));
        }
        Ok(match media_type {
            media::LAYER | media::DOCKER_LAYER => Self::Plain,
            media::LAYER_GZIP | media::DOCKER_LAYER_GZIP => Self::Gzip,
            media::LAYER_ZSTD | media::DOCKER_LAYER_ZSTD => Self::Zstd,
            other => {
                let media_type = other.to_owned();
                return Err(ManifestError::LayerType { digest: layer.digest, media_type });
            }
        })
    }

    /// OCI's media type of a layer packed like this.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Plain => media::LAYER,
            Self::Gzip => media::LAYER_GZIP,
            Self::Zstd => media::LAYER_ZSTD,
        }
    }
}

impl Index {
    /// An index of nothing.
    #[must_use]
    pub fn empty() -> Self {
        Self {
            schema_version: 2,
            media_type: Some(media::INDEX.to_owned()),
            artifact_type: None,
            manifests: Vec::new(),
            subject: None,
            annotations: BTreeMap::new(),
            unknown: BTreeMap::new(),
        }
    }

    /// What is an image, or an index of images; what buildkit puts beside them, signatures and the like are not.
    pub fn images(&self) -> impl Iterator<Item = &Descriptor> {
        self.manifests.iter().filter(|descriptor| !descriptor.is_attestation() && !descriptor.is_artifact())
    }

    /// The image for a platform: the nearest of those that say theirs; the only one, where it does not say.
    ///
    /// # Errors
    /// When there is none, or several that nothing tells apart.
    pub fn for_platform(&self, wanted: &Platform) -> Result<&Descriptor, ManifestError> {
        select(self.images().collect(), wanted)
    }
}

/// See [`Index::for_platform`].
pub(crate) fn select<'a>(
    candidates: Vec<&'a Descriptor>,
    wanted: &Platform,
) -> Result<&'a Descriptor, ManifestError> {
    let offered = || candidates.iter().map(|candidate| candidate.told()).collect();
    let fitting = |candidate: &&'a Descriptor| {
        let distance = wanted.distance(candidate.platform.as_ref()?)?;
        Some((distance, *candidate))
    };
    let mut best: Vec<(u32, &Descriptor)> = candidates.iter().filter_map(fitting).collect();
    best.sort_by_key(|(distance, _)| *distance);
    match (&best[..], &candidates[..]) {
        ([first, second, ..], _) if first.0 == second.0 && first.1.digest != second.1.digest => {
            // Windows has one image a version of the system; elsewhere nothing tells them apart.
            Err(ManifestError::Several { offered: offered() })
        }
        ([first, ..], _) => Ok(first.1),
        ([], [only]) if only.platform.is_none() => Ok(only),
        ([], _) => Err(ManifestError::NoPlatform { wanted: wanted.to_string(), offered: offered() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn descriptor(name: &str, platform: Option<&str>) -> Descriptor {
        let platform = platform.map(|text| text.parse().unwrap());
        Descriptor { platform, ..Descriptor::of(media::MANIFEST, name.as_bytes()) }
    }

    fn index(descriptors: &[Descriptor]) -> Index {
        Index { manifests: descriptors.to_vec(), ..Index::empty() }
    }

    fn read(value: &Value, announced: Option<&str>) -> Result<Document, ManifestError> {
        Document::read(value.to_string().as_bytes(), announced)
    }

    fn manifest_with(layer_type: &str) -> Value {
        let digest = Digest::of("x");
        json!({
            "schemaVersion": 2,
            "config": {"mediaType": media::DOCKER_CONFIG, "digest": digest, "size": 1},
            "layers": [{"mediaType": layer_type, "digest": digest, "size": 1, "annotations": null}],
        })
    }

    #[test]
    fn dockers_and_ocis_documents_read_alike() {
        for (layer_type, packing) in [
            (media::DOCKER_LAYER_GZIP, Packing::Gzip),
            (media::LAYER_ZSTD, Packing::Zstd),
            (media::DOCKER_LAYER, Packing::Plain),
        ] {
            let Document::Manifest(manifest) = read(&manifest_with(layer_type), None).unwrap() else {
                panic!("{layer_type}")
            };
            assert_eq!(manifest.image_layers().unwrap()[0].1, packing);
            assert_eq!(manifest.blobs().count(), 1, "one blob under two names");
        }
        let list = json!({"schemaVersion": 2, "mediaType": media::DOCKER_INDEX, "manifests": null});
        assert!(matches!(read(&list, None), Ok(Document::Index(index)) if index.manifests.is_empty()));
    }

    #[test]
    fn foreign_and_encrypted_layers_are_refused_by_name() {
        for foreign in [
            "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
            "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
        ] {
            let Ok(Document::Manifest(manifest)) = read(&manifest_with(foreign), None) else { panic!() };
            assert!(matches!(manifest.image_layers(), Err(ManifestError::ForeignLayer(_))), "{foreign}");
        }
        let encrypted = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted";
        let Ok(Document::Manifest(manifest)) = read(&manifest_with(encrypted), None) else { panic!() };
        let error = manifest.image_layers().unwrap_err().to_string();
        assert!(error.contains("encrypted, which is not read"), "{error}");
    }

    #[test]
    fn what_is_no_image_is_never_taken_for_one() {
        let mut chart = manifest_with(media::LAYER);
        chart["config"]["mediaType"] = json!("application/vnd.cncf.helm.config.v1+json");
        let Ok(Document::Manifest(chart)) = read(&chart, None) else { panic!() };
        assert!(
            matches!(chart.image_layers(), Err(ManifestError::NotAnImage(what)) if what.contains("helm"))
        );
    }

    #[test]
    fn schema_one_is_refused_however_it_is_announced() {
        assert_eq!(read(&json!({"schemaVersion": 1, "fsLayers": []}), None), Err(ManifestError::SchemaOne));
        let announced = Some("application/vnd.docker.distribution.manifest.v1+prettyjws");
        assert_eq!(read(&json!({}), announced), Err(ManifestError::SchemaOne));
    }

    #[test]
    fn a_document_is_one_thing_only() {
        let mut both = manifest_with(media::LAYER);
        both["manifests"] = json!([]);
        assert_eq!(read(&both, None), Err(ManifestError::Ambiguous));
        let manifest = manifest_with(media::LAYER);
        assert_eq!(read(&manifest, Some(media::INDEX)), Err(ManifestError::Ambiguous));
        let mut typed = manifest;
        typed["mediaType"] = json!(media::MANIFEST);
        assert!(read(&typed, Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8")).is_ok());
        let error = read(&typed, Some(media::DOCKER_MANIFEST)).unwrap_err();
        assert!(matches!(error, ManifestError::OtherType { .. }), "{error}");
    }

    #[test]
    fn the_nearest_platform_is_taken() {
        let all = index(&[
            descriptor("v6", Some("linux/arm/v6")),
            descriptor("v7", Some("linux/arm/v7")),
            descriptor("64", Some("linux/arm64/v8")),
        ]);
        let of = |platform: &str| all.for_platform(&platform.parse().unwrap()).map(|found| found.digest);
        assert_eq!(of("linux/arm/v7"), Ok(Digest::of("v7")));
        assert_eq!(of("linux/arm/v8"), Ok(Digest::of("v7")));
        assert_eq!(of("linux/arm64"), Ok(Digest::of("64")));
        assert_eq!(
            of("linux/amd64").unwrap_err().to_string(),
            "it has no image for linux/amd64; it has linux/arm/v6, linux/arm/v7, linux/arm64"
        );
    }

    #[test]
    fn attestations_are_no_images() {
        let mut attestation = descriptor("a", None);
        attestation
            .annotations
            .insert(annotation::DOCKER_REFERENCE_TYPE.into(), "attestation-manifest".into());
        let all = index(&[descriptor("only", None), attestation]);
        assert_eq!(all.for_platform(&Platform::host()).unwrap().digest, Digest::of("only"));
    }

    #[test]
    fn fields_that_are_not_known_survive() {
        let value = json!({
            "schemaVersion": 2, "manifests": [{
                "mediaType": media::MANIFEST, "digest": Digest::of("x"), "size": 1, "data": "e30=",
                "platform": {"architecture": "amd64", "os": "windows", "os.version": "10.0"},
            }], "x-own": {"a": 1},
        });
        let Document::Index(index) = read(&value, None).unwrap() else { panic!() };
        assert_eq!(serde_json::to_value(&index).unwrap(), value);
    }
}
