//! From a name to a manifest, through as many indexes as lie between.

use crate::digest::Digest;
use crate::manifest::{self, Descriptor, Document, Index, Manifest, ManifestError, annotation};
use crate::platform::Platform;
use std::collections::BTreeSet;
use std::fmt;

/// Indexes within one another before that counts as a trick.
const DEPTH: usize = 4;
/// Documents that are read in search of a digest.
const SEARCH_LIMIT: usize = 1000;

/// Which image of several.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Selector {
    /// The only one.
    Only,
    /// The one with this name (`org.opencontainers.image.ref.name`, or the full name that containerd gives).
    Name(String),
    /// The manifest or index with this digest.
    Digest(Digest),
}

/// An image's manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// With the annotations and the platform that the index gives it, where one does.
    pub descriptor: Descriptor,
    /// As stored.
    pub bytes: Vec<u8>,
    pub manifest: Manifest,
}

/// Why no image is found; `E` is the reader's.
#[derive(Debug)]
pub(crate) enum ResolveError<E> {
    Read(E),
    Document { name: String, source: ManifestError },
    NotFound { wanted: String, names: Vec<String> },
    Several { names: Vec<String> },
}

type Reader<'a, E> = dyn FnMut(&Descriptor) -> Result<Vec<u8>, E> + 'a;

impl Selector {
    /// Whether an entry of an index is meant, as far as it says itself.
    #[must_use]
    pub fn names(&self, descriptor: &Descriptor) -> bool {
        match self {
            Self::Only => true,
            Self::Digest(digest) => descriptor.digest == *digest,
            Self::Name(name) => {
                descriptor.ref_name() == Some(name)
                    || descriptor.annotations.get(annotation::CONTAINERD_NAME) == Some(name)
            }
        }
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Only => formatter.write_str("an image"),
            Self::Name(name) => formatter.write_str(name),
            Self::Digest(digest) => digest.fmt(formatter),
        }
    }
}

/// Follows a selector from an index to a manifest; `read` gives the checked bytes of a blob.
pub(crate) fn resolve<E>(
    index: &Index,
    selector: &Selector,
    platform: &Platform,
    read: &mut Reader<'_, E>,
) -> Result<Resolved, ResolveError<E>> {
    let mut at = start(index, selector, platform, read)?;
    for _ in 0..DEPTH {
        let bytes = read(&at).map_err(ResolveError::Read)?;
        let name = at.told();
        let refuse = |source| ResolveError::Document { name: name.clone(), source };
        match Document::read(&bytes, Some(&at.media_type)).map_err(refuse)? {
            Document::Manifest(manifest) => {
                return Ok(Resolved { descriptor: at, bytes, manifest: *manifest });
            }
            Document::Index(index) => at = index.for_platform(platform).map_err(refuse)?.clone(),
        }
    }
    let source = ManifestError::NotAnImage(format!("an index within {DEPTH} others"));
    Err(ResolveError::Document { name: at.told(), source })
}

fn start<E>(
    index: &Index,
    selector: &Selector,
    platform: &Platform,
    read: &mut Reader<'_, E>,
) -> Result<Descriptor, ResolveError<E>> {
    let found: Vec<&Descriptor> = match selector {
        Selector::Only => index.images().collect(),
        _ => index.manifests.iter().filter(|descriptor| selector.names(descriptor)).collect(),
    };
    let digests: BTreeSet<Digest> = found.iter().map(|descriptor| descriptor.digest).collect();
    let names: BTreeSet<Option<&str>> = found.iter().map(|descriptor| descriptor.ref_name()).collect();
    match (digests.len(), found.first()) {
        (1, Some(only)) => Ok((*only).clone()),
        // One name, several platforms.
        (2.., _) if names.len() == 1 => {
            manifest::select(found, platform).cloned().map_err(|source| match source {
                ManifestError::Several { offered } => ResolveError::Several { names: offered },
                source => ResolveError::Document { name: selector.to_string(), source },
            })
        }
        (2.., _) => Err(ResolveError::Several { names: told(index) }),
        _ => {
            if let Selector::Digest(digest) = selector
                && let Some(nested) = search(index, digest, read)
            {
                return Ok(nested);
            }
            Err(ResolveError::NotFound { wanted: selector.to_string(), names: told(index) })
        }
    }
}

/// Looks for a digest in the indexes that an index names. What cannot be read is not where it is found.
fn search<E>(index: &Index, digest: &Digest, read: &mut Reader<'_, E>) -> Option<Descriptor> {
    let indexes = |index: Index| index.manifests.into_iter().filter(Descriptor::is_index);
    let mut waiting: Vec<Descriptor> = indexes(index.clone()).take(SEARCH_LIMIT).collect();
    let mut seen: BTreeSet<Digest> = waiting.iter().map(|index| index.digest).collect();
    while let Some(nested) = waiting.pop() {
        let Ok(bytes) = read(&nested) else { continue };
        let Ok(Document::Index(index)) = Document::read(&bytes, Some(&nested.media_type)) else { continue };
        if let Some(found) = index.manifests.iter().find(|descriptor| descriptor.digest == *digest) {
            return Some(found.clone());
        }
        for further in indexes(*index) {
            if seen.len() < SEARCH_LIMIT && seen.insert(further.digest) {
                waiting.push(further);
            }
        }
    }
    None
}

fn told(index: &Index) -> Vec<String> {
    let names: BTreeSet<String> = index.images().map(Descriptor::told).collect();
    names.into_iter().collect()
}
