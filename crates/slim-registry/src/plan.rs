//! What belongs to an image: its manifests, those below an index, and all their blobs; the same for every origin.
//!
//! Invariant: manifests come after everything that they name, so that whoever stores them in this order never has one
//! that names what is not there.

use crate::client::{BlobSource, Fetched, Repository, Which};
use crate::error::RegistryError;
use crate::name::RepositoryName;
use bytes::Bytes;
use slim_image::manifest::{CONFIG_LIMIT, MANIFEST_LIMIT, media};
use slim_image::{Descriptor, Digest, Document, Layout, Manifest, ManifestError, Platform};
use std::collections::BTreeSet;

/// Indexes within one another before that counts as a trick.
const DEPTH: usize = 4;

/// The most bytes of manifests that one image may have, all platforms together: they are held in memory.
const MANIFESTS_LIMIT: u64 = 64 << 20;

/// Which images of an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Platforms {
    /// The whole index, as it is.
    All,
    /// The one for this platform. An image that is not in an index is taken whatever it is for.
    Usual(Platform),
    /// The one for this platform and no other.
    Only(Platform),
}

impl Platforms {
    fn one(&self) -> Option<&Platform> {
        match self {
            Self::All => None,
            Self::Usual(platform) | Self::Only(platform) => Some(platform),
        }
    }
}

/// Where an image comes from.
#[derive(Clone)]
pub(crate) enum Origin {
    Repository(Repository),
    Layout(Layout),
}

/// What has to be moved.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    /// Each once.
    pub blobs: Vec<Descriptor>,
    /// The last one is what the name means.
    pub manifests: Vec<Fetched>,
    /// What refers to one of them, or to another of these: each after its subject, where it was asked for.
    pub referrers: Vec<Fetched>,
}

impl Plan {
    /// What the name means.
    pub(crate) fn root(&self) -> &Fetched {
        self.manifests.last().expect("a plan has the manifest that it was made for")
    }

    fn digests(&self) -> impl Iterator<Item = Digest> {
        self.manifests.iter().map(|fetched| fetched.descriptor.digest)
    }
}

impl Origin {
    fn name(&self) -> String {
        match self {
            Self::Repository(repository) => repository.location().to_string(),
            Self::Layout(layout) => layout.path().display().to_string(),
        }
    }

    async fn document(&self, descriptor: &Descriptor) -> Result<Fetched, RegistryError> {
        let mut fetched = match self {
            Self::Repository(repository) => repository.manifest(&Which::Digest(descriptor.digest)).await?,
            Self::Layout(layout) => {
                let bytes = Bytes::from(layout.read_blob(descriptor, MANIFEST_LIMIT)?);
                let document = Document::read(&bytes, Some(&descriptor.media_type))
                    .map_err(|reason| self.unusable(&descriptor.digest, reason))?;
                Fetched { descriptor: descriptor.clone(), bytes, document }
            }
        };
        // With what the index says of it.
        fetched.descriptor = descriptor.clone();
        Ok(fetched)
    }

    async fn small_blob(&self, blob: &Descriptor) -> Result<Vec<u8>, RegistryError> {
        match self {
            Self::Layout(layout) => Ok(layout.read_blob(blob, CONFIG_LIMIT)?),
            Self::Repository(repository) => {
                let mut reader = repository.blob(blob);
                let mut bytes = Vec::new();
                while let Some(piece) = reader.next().await? {
                    bytes.extend_from_slice(&piece);
                }
                Ok(bytes)
            }
        }
    }

    /// Where the blobs of the plan are read.
    pub(crate) fn source(&self) -> BlobSource {
        match self {
            Self::Repository(repository) => BlobSource::Repository(repository.clone()),
            Self::Layout(layout) => BlobSource::Layout(layout.clone()),
        }
    }

    /// The repository that it is.
    pub(crate) fn location(&self) -> Option<&RepositoryName> {
        match self {
            Self::Repository(repository) => Some(repository.location()),
            Self::Layout(_) => None,
        }
    }

    /// Adds what refers to the manifests of a plan, and to that in turn.
    pub(crate) async fn add_referrers(&self, plan: &mut Plan) -> Result<(), RegistryError> {
        let mut seen: BTreeSet<Digest> = plan.digests().collect();
        let mut blobs: BTreeSet<Digest> = plan.blobs.iter().map(|blob| blob.digest).collect();
        let mut waiting: Vec<Digest> = seen.iter().copied().collect();
        let mut size = 0;
        while let Some(subject) = waiting.pop() {
            for descriptor in self.referrers(&subject).await? {
                if seen.contains(&descriptor.digest) {
                    continue;
                }
                let below = self.plan(self.document(&descriptor).await?, &Platforms::All).await?;
                plan.blobs.extend(below.blobs.into_iter().filter(|blob| blobs.insert(blob.digest)));
                for fetched in below.manifests {
                    size += fetched.bytes.len() as u64;
                    if size > MANIFESTS_LIMIT {
                        return Err(self.too_large(&fetched));
                    }
                    if seen.insert(fetched.descriptor.digest) {
                        waiting.push(fetched.descriptor.digest);
                        plan.referrers.push(fetched);
                    }
                }
            }
        }
        Ok(())
    }

    async fn referrers(&self, subject: &Digest) -> Result<Vec<Descriptor>, RegistryError> {
        match self {
            Self::Repository(repository) => repository.referrers(subject, None).await,
            Self::Layout(layout) => {
                let index = layout.index()?;
                let manifests =
                    index.manifests.iter().filter(|it| !it.is_index() && it.size <= MANIFEST_LIMIT);
                let mut found = Vec::new();
                for descriptor in manifests {
                    let bytes = layout.read_blob(descriptor, MANIFEST_LIMIT)?;
                    let read = Document::read(&bytes, Some(&descriptor.media_type));
                    let refers = read.is_ok_and(|document| {
                        matches!(document, Document::Manifest(manifest)
                            if manifest.subject.as_ref().is_some_and(|named| named.digest == *subject))
                    });
                    if refers {
                        found.push(descriptor.clone());
                    }
                }
                Ok(found)
            }
        }
    }

    fn unusable(&self, digest: &Digest, reason: ManifestError) -> RegistryError {
        RegistryError::Image { image: format!("{}@{digest}", self.name()), reason }
    }

    /// Finds out what has to be moved.
    pub(crate) async fn plan(&self, root: Fetched, platforms: &Platforms) -> Result<Plan, RegistryError> {
        let root = match platforms.one() {
            Some(platform) => self.only(root, platform).await?,
            None => root,
        };
        if let (Platforms::Only(wanted), Document::Manifest(manifest)) = (platforms, &root.document) {
            self.check_platform(&root, manifest, wanted).await?;
        }
        let mut plan = Plan::default();
        let mut seen = BTreeSet::new();
        // Depth first, with a stack of its own: an index's children are asked for one after the other.
        let mut waiting = vec![(root, 0, false)];
        let mut blobs = BTreeSet::new();
        let mut size = 0;
        while let Some((fetched, depth, is_complete)) = waiting.pop() {
            if is_complete {
                plan.manifests.push(fetched);
                continue;
            }
            if !seen.insert(fetched.descriptor.digest) {
                continue;
            }
            match &fetched.document {
                Document::Manifest(manifest) => {
                    self.refuse_foreign(&fetched, manifest)?;
                    let new = manifest.blobs().filter(|blob| blobs.insert(blob.digest));
                    plan.blobs.extend(new.cloned());
                    plan.manifests.push(fetched);
                }
                Document::Index(index) => {
                    if depth == DEPTH {
                        return Err(self.too_deep(&fetched));
                    }
                    let children = index.manifests.clone();
                    waiting.push((fetched, depth, true));
                    for child in children.iter().rev().filter(|child| !seen.contains(&child.digest)) {
                        let child = self.document(child).await?;
                        size += child.bytes.len() as u64;
                        if size > MANIFESTS_LIMIT {
                            return Err(self.too_large(&child));
                        }
                        waiting.push((child, depth + 1, false));
                    }
                }
            }
        }
        Ok(plan)
    }

    /// From an index to the image for a platform.
    async fn only(&self, root: Fetched, platform: &Platform) -> Result<Fetched, RegistryError> {
        let mut at = root;
        for _ in 0..DEPTH {
            let Document::Index(index) = &at.document else { return Ok(at) };
            let chosen = index.for_platform(platform);
            let chosen = chosen.map_err(|reason| self.unusable(&at.descriptor.digest, reason))?;
            at = self.document(chosen).await?;
        }
        match at.document {
            Document::Manifest(_) => Ok(at),
            Document::Index(_) => Err(self.too_deep(&at)),
        }
    }

    fn too_deep(&self, at: &Fetched) -> RegistryError {
        let reason = ManifestError::NotAnImage(format!("an index within {DEPTH} others"));
        self.unusable(&at.descriptor.digest, reason)
    }

    fn too_large(&self, at: &Fetched) -> RegistryError {
        let reason = format!("part of an index with more than {MANIFESTS_LIMIT} bytes of manifests");
        self.unusable(&at.descriptor.digest, ManifestError::NotAnImage(reason))
    }

    async fn check_platform(
        &self,
        root: &Fetched,
        manifest: &Manifest,
        wanted: &Platform,
    ) -> Result<(), RegistryError> {
        if !matches!(&*manifest.config.media_type, media::CONFIG | media::DOCKER_CONFIG) {
            return Ok(());
        }
        let unusable = |reason| self.unusable(&root.descriptor.digest, reason);
        if manifest.config.size > CONFIG_LIMIT {
            return Err(unusable(ManifestError::NotAnImage("its configuration is too large".to_owned())));
        }
        let config = self.small_blob(&manifest.config).await?;
        // The fields of a configuration that say what it is for are those of a platform.
        let found: Platform = serde_json::from_slice(&config)
            .map_err(|error| unusable(ManifestError::Json(format!("its configuration: {error}"))))?;
        if wanted.distance(&found).is_none() {
            let (wanted, offered) = (wanted.to_string(), vec![found.to_string()]);
            return Err(unusable(ManifestError::NoPlatform { wanted, offered }));
        }
        Ok(())
    }

    fn refuse_foreign(&self, at: &Fetched, manifest: &Manifest) -> Result<(), RegistryError> {
        let foreign = manifest.layers.iter().find(|layer| {
            !layer.urls.is_empty()
                || layer.media_type.contains(".foreign.")
                || layer.media_type.contains("nondistributable")
        });
        match foreign {
            Some(layer) => {
                Err(self.unusable(&at.descriptor.digest, ManifestError::ForeignLayer(layer.digest)))
            }
            None => Ok(()),
        }
    }
}
