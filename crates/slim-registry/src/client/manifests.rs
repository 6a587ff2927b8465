//! Manifests and indexes: fetched and checked, pushed as they are.

use super::repository::Repository;
use super::send::Ask;
use crate::error::RegistryError;
use bytes::Bytes;
use hyper::Method;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderName, HeaderValue};
use slim_image::manifest::{MANIFEST_LIMIT, media};
use slim_image::{Descriptor, Digest, Document, ManifestError, Reference};
use std::fmt;

pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
/// The answer to the push of a referrer by registries that know the referrers API.
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

/// Which manifest of a repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Which {
    Tag(String),
    Digest(Digest),
}

impl Which {
    /// What an image's name says: its digest, else its tag, else `latest`.
    #[must_use]
    pub fn of(reference: &Reference) -> Self {
        match (&reference.digest, &reference.tag) {
            (Some(digest), _) => Self::Digest(*digest),
            (None, Some(tag)) => Self::Tag(tag.clone()),
            (None, None) => Self::Tag("latest".to_owned()),
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tag(tag) => write!(formatter, ":{tag}"),
            Self::Digest(digest) => write!(formatter, "@{digest}"),
        }
    }
}

/// A manifest or index as it was stored, and read.
#[derive(Clone, Debug)]
pub struct Fetched {
    /// Type, digest and size.
    pub descriptor: Descriptor,
    pub bytes: Bytes,
    pub document: Document,
}

impl Repository {
    /// Fetches a manifest or index; its digest is checked.
    ///
    /// # Errors
    /// It is not there, is not what its digest says, or is none that is read (Docker's schema 1).
    pub async fn manifest(&self, which: &Which) -> Result<Fetched, RegistryError> {
        let what = format!("{}{which}", self.location());
        let action = format!("read the manifest of {what}");
        let url = self.url(&path(which)).await?;
        let accept = HeaderValue::from_str(&media::DOCUMENTS.join(", ")).expect("media types are ASCII");
        let ask = self.ask(&action, Some(&what), Method::GET, url, vec![(ACCEPT, accept)]);
        let response = self.client.send(ask).await?;
        let header = |name: &HeaderName| {
            response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
        };
        let announced = header(&CONTENT_TYPE);
        let told = header(&CONTENT_DIGEST).and_then(|text| text.parse().ok());
        let bytes =
            self.whole(response, usize::try_from(MANIFEST_LIMIT).unwrap_or(usize::MAX), &action).await?;
        let found = Digest::of(&bytes);
        let wanted = match which {
            Which::Digest(digest) => Some(*digest),
            Which::Tag(_) => told,
        };
        if let Some(wanted) = wanted.filter(|wanted| *wanted != found) {
            let registry = self.registry().to_owned();
            return Err(RegistryError::WrongDigest { what, registry, wanted, found });
        }
        let unusable = |reason: ManifestError| RegistryError::Image { image: what.clone(), reason };
        let document = Document::read(&bytes, announced.as_deref()).map_err(unusable)?;
        let media_type = media_type(&document, announced.as_deref());
        Ok(Fetched { descriptor: Descriptor::of(media_type, &bytes), bytes, document })
    }

    /// The digest of a manifest that is there.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub async fn find_manifest(&self, which: &Which) -> Result<Option<Digest>, RegistryError> {
        let what = format!("{}{which}", self.location());
        let action = format!("look for the manifest of {what}");
        let url = self.url(&path(which)).await?;
        let accept = HeaderValue::from_str(&media::DOCUMENTS.join(", ")).expect("media types are ASCII");
        let ask = self.ask(&action, Some(&what), Method::HEAD, url, vec![(ACCEPT, accept)]);
        match self.client.send(ask).await {
            Ok(response) => {
                let told = response
                    .headers()
                    .get(&CONTENT_DIGEST)
                    .and_then(|value| value.to_str().ok()?.parse().ok());
                match (told, which) {
                    (Some(digest), _) => Ok(Some(digest)),
                    (None, Which::Digest(digest)) => Ok(Some(*digest)),
                    // Some registries do not tell with HEAD.
                    (None, Which::Tag(_)) => Ok(Some(self.manifest(which).await?.descriptor.digest)),
                }
            }
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Stores a manifest or index, byte by byte as it is. What it names must be there. Where it is a referrer and the
    /// registry does not know the referrers API, the tag that stands in for it is kept up to date.
    ///
    /// # Errors
    /// When the registry does not take it.
    pub async fn push_manifest(
        &self,
        which: &Which,
        media_type: &str,
        bytes: &Bytes,
    ) -> Result<Digest, RegistryError> {
        let digest = Digest::of(bytes);
        let knows_referrers = self.put_manifest(which, media_type, bytes).await?;
        if !knows_referrers && let Ok(document) = Document::read(bytes, Some(media_type)) {
            let descriptor = Descriptor::new(media_type, digest, bytes.len() as u64);
            self.note_referrer(&document, descriptor).await?;
        }
        Ok(digest)
    }

    /// Whether the registry says that it took note of the subject.
    pub(crate) async fn put_manifest(
        &self,
        which: &Which,
        media_type: &str,
        bytes: &Bytes,
    ) -> Result<bool, RegistryError> {
        let digest = Digest::of(bytes);
        let what = format!("{}{which}", self.location());
        let action = format!("push the manifest of {what}");
        let content_type = HeaderValue::from_str(media_type).map_err(|_| RegistryError::Garbled {
            action: action.clone(),
            registry: self.registry().to_owned(),
            reason: format!("{media_type:?} is no media type"),
        })?;
        let url = self.url(&path(which)).await?;
        let headers = vec![(CONTENT_TYPE, content_type)];
        let ask = Ask { body: bytes.clone(), ..self.ask(&action, None, Method::PUT, url, headers) };
        let response = self.client.send(ask).await?;
        let told =
            response.headers().get(&CONTENT_DIGEST).and_then(|value| value.to_str().ok()?.parse().ok());
        if let Some(found) = told.filter(|told| *told != digest) {
            let registry = self.registry().to_owned();
            return Err(RegistryError::WrongDigest { what, registry, wanted: digest, found });
        }
        Ok(response.headers().contains_key(&SUBJECT))
    }
}

fn path(which: &Which) -> String {
    match which {
        Which::Tag(tag) => format!("manifests/{tag}"),
        Which::Digest(digest) => format!("manifests/{digest}"),
    }
}

/// What the document says that it is, else what the registry says, else what it looks like.
fn media_type(document: &Document, announced: Option<&str>) -> String {
    let own = match document {
        Document::Manifest(manifest) => &manifest.media_type,
        Document::Index(index) => &index.media_type,
    };
    let announced = announced.and_then(|text| text.split(';').next()).map(str::trim);
    let announced = announced.filter(|announced| media::DOCUMENTS.contains(announced));
    let usual = match document {
        Document::Manifest(_) => media::MANIFEST,
        Document::Index(_) => media::INDEX,
    };
    own.as_deref().or(announced).unwrap_or(usual).to_owned()
}
