//! Manifests and indexes: stored when everything that they name is there, byte by byte as they came.

use super::answer::{Answer, Refusal, answer, with};
use super::blobs::{not_a_digest, streamed};
use super::route::Reading;
use super::{CONTENT_DIGEST, Shared};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, LOCATION};
use hyper::{Request, Response, StatusCode};
use slim_image::manifest::MANIFEST_LIMIT;
use slim_image::{Descriptor, Digest, Document};

const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");

impl Shared {
    /// The digest that a tag or a digest means, if the repository has such a manifest, and its media type.
    fn find(&self, repository: &str, which: &str) -> Result<(Digest, String), Refusal> {
        let unknown = || match self.store.has_repository(repository) {
            true => Refusal::manifest_unknown(which),
            false => Refusal::name_unknown(repository),
        };
        let digest = match Reading::of(which) {
            Reading::Digest(digest) => digest,
            Reading::Tag(tag) => self.store.tag(repository, &tag)?.ok_or_else(unknown)?,
            Reading::Neither => return Err(unknown()),
        };
        let media_type = self.store.manifest(repository, &digest)?.ok_or_else(unknown)?;
        Ok((digest, media_type))
    }

    pub(super) async fn get_manifest(
        &self,
        repository: &str,
        which: &str,
        is_head: bool,
    ) -> Result<Answer, Refusal> {
        let (digest, media_type) = self.find(repository, which)?;
        let file = tokio::fs::File::open(self.store.contents(&digest)).await?;
        let size = file.metadata().await?.len();
        let reply = if is_head { answer(StatusCode::OK, "") } else { Response::new(streamed(file, size)) };
        Ok(with(
            reply,
            &[
                (CONTENT_TYPE, &media_type),
                (CONTENT_LENGTH, &size.to_string()),
                (CONTENT_DIGEST, &digest.to_string()),
            ],
        ))
    }

    pub(super) async fn put_manifest(
        &self,
        repository: &str,
        which: &str,
        request: Request<Incoming>,
    ) -> Result<Answer, Refusal> {
        let wanted = Reading::of(which);
        if matches!(wanted, Reading::Neither) {
            return Err(match which.contains(':') {
                true => not_a_digest(which),
                false => Refusal::manifest_invalid(format!("{which:?} is neither tag nor digest")),
            });
        }
        let content_type = request.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let announced = content_type.map(str::to_owned);
        let bytes = whole(request.into_body()).await?;
        let digest = Digest::of(&bytes);
        if let Reading::Digest(wanted) = &wanted
            && *wanted != digest
        {
            return Err(Refusal::digest(format!("what was sent has the digest {digest}, not {wanted}")));
        }
        let document = Document::read(&bytes, announced.as_deref())
            .map_err(|error| Refusal::manifest_invalid(error.to_string()))?;
        let media_type = media_type(&document, announced.as_deref())?;
        let _shared = self.names.read().await;
        self.check_names(repository, &document)?;
        self.store.write_contents(&digest, &bytes)?;
        self.store.add_manifest(repository, &digest, &media_type)?;
        let subject = subject(&document);
        if let Some(subject) = &subject {
            let referrer = referrer(&document, &media_type, digest, bytes.len() as u64);
            self.store.add_referrer(repository, subject, &referrer)?;
        }
        if let Reading::Tag(tag) = &wanted {
            self.store.set_tag(repository, tag, &digest)?;
        }
        let address = format!("/v2/{repository}/manifests/{digest}");
        let reply = with(
            answer(StatusCode::CREATED, ""),
            &[(LOCATION, &address), (CONTENT_DIGEST, &digest.to_string())],
        );
        Ok(match subject {
            Some(subject) => with(reply, &[(SUBJECT, &subject.to_string())]),
            None => reply,
        })
    }

    /// A tag goes alone; a digest takes its tags with it.
    pub(super) async fn delete_manifest(&self, repository: &str, which: &str) -> Result<Answer, Refusal> {
        let _alone = self.names.write().await;
        let (digest, _) = self.find(repository, which)?;
        if let Reading::Tag(tag) = Reading::of(which) {
            self.store.remove_tag(repository, &tag)?;
            return Ok(answer(StatusCode::ACCEPTED, ""));
        }
        for tag in self.store.tags(repository)? {
            if self.store.tag(repository, &tag)? == Some(digest) {
                self.store.remove_tag(repository, &tag)?;
            }
        }
        let bytes = std::fs::read(self.store.contents(&digest))?;
        if let Some(subject) = Document::read(&bytes, None).ok().as_ref().and_then(subject) {
            self.store.remove_referrer(repository, &subject, &digest)?;
        }
        self.store.remove_manifest(repository, &digest)?;
        self.store.forget(&digest)?;
        Ok(answer(StatusCode::ACCEPTED, ""))
    }

    /// Refuses what names things that are not there. The subject need not be, and what its maker alone gives out.
    fn check_names(&self, repository: &str, document: &Document) -> Result<(), Refusal> {
        let missing = match document {
            Document::Manifest(manifest) => manifest
                .blobs()
                .filter(|blob| blob.urls.is_empty())
                .map(|blob| blob.digest)
                .find(|digest| !self.store.has_blob(repository, digest)),
            Document::Index(index) => {
                let mut missing = None;
                for child in &index.manifests {
                    if self.store.manifest(repository, &child.digest)?.is_none() {
                        missing = Some(child.digest);
                        break;
                    }
                }
                missing
            }
        };
        missing.map_or(Ok(()), |digest| Err(Refusal::manifest_blob_unknown(&digest.to_string())))
    }
}

async fn whole(body: Incoming) -> Result<Bytes, Refusal> {
    let limit = usize::try_from(MANIFEST_LIMIT).unwrap_or(usize::MAX);
    match Limited::new(body, limit).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => Err(Refusal::manifest_too_large(MANIFEST_LIMIT)),
        Err(error) => Err(Refusal::manifest_invalid(format!("the request's body broke off: {error}"))),
    }
}

/// What the document says that it is, else what it came as.
fn media_type(document: &Document, announced: Option<&str>) -> Result<String, Refusal> {
    let own = match document {
        Document::Manifest(manifest) => &manifest.media_type,
        Document::Index(index) => &index.media_type,
    };
    let announced = announced.and_then(|text| text.split(';').next()).map(str::trim);
    own.as_deref()
        .or(announced)
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
        .ok_or_else(|| Refusal::manifest_invalid("neither the manifest nor the request says its media type"))
}

fn subject(document: &Document) -> Option<Digest> {
    let subject = match document {
        Document::Manifest(manifest) => &manifest.subject,
        Document::Index(index) => &index.subject,
    };
    subject.as_ref().map(|subject| subject.digest)
}

/// How a list of referrers tells a manifest.
fn referrer(document: &Document, media_type: &str, digest: Digest, size: u64) -> Descriptor {
    let (artifact_type, annotations) = match document {
        Document::Manifest(manifest) => {
            let own = manifest.artifact_type.as_ref().filter(|own| !own.is_empty());
            (Some(own.unwrap_or(&manifest.config.media_type).clone()), &manifest.annotations)
        }
        Document::Index(index) => (index.artifact_type.clone(), &index.annotations),
    };
    let annotations = annotations.clone();
    Descriptor { artifact_type, annotations, ..Descriptor::new(media_type, digest, size) }
}
