//! Referrers: what says something about a manifest (signatures, SBOMs), through the API or through the tag that stands
//! in for it.

use super::answer;
use super::manifests::Which;
use super::repository::Repository;
use crate::error::RegistryError;
use bytes::Bytes;
use hyper::Method;
use hyper::header::{ACCEPT, HeaderName, HeaderValue};
use slim_image::manifest::media;
use slim_image::{Descriptor, Digest, Document, Index};

/// By which a registry says that it filtered.
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
const INDEX_LIMIT: usize = 16 << 20;

/// The tag that lists the referrers of a manifest where a registry does not know the API.
#[must_use]
pub fn referrers_tag(subject: &Digest) -> String {
    subject.to_string().replace(':', "-")
}

impl Repository {
    /// What refers to a manifest, of one kind or of any.
    ///
    /// # Errors
    /// When the registry does not tell. That nothing refers to it is none.
    pub async fn referrers(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Vec<Descriptor>, RegistryError> {
        let found = match self.referrers_by_api(subject, artifact_type).await? {
            Some(found) => found,
            None => self.tagged_referrers(subject).await?.map_or_else(Vec::new, |index| index.manifests),
        };
        let is_wanted = |descriptor: &Descriptor| {
            artifact_type.is_none_or(|wanted| descriptor.artifact_type.as_deref() == Some(wanted))
        };
        Ok(found.into_iter().filter(is_wanted).collect())
    }

    /// `None`: this registry does not know the API.
    async fn referrers_by_api(
        &self,
        subject: &Digest,
        artifact_type: Option<&str>,
    ) -> Result<Option<Vec<Descriptor>>, RegistryError> {
        let action = format!("list what refers to {subject} in {}", self.location());
        let mut url = self.url(&format!("referrers/{subject}")).await?;
        if let Some(artifact_type) = artifact_type {
            url.query_pairs_mut().append_pair("artifactType", artifact_type);
        }
        let mut next = Some(url);
        let mut found = Vec::new();
        while let Some(url) = next {
            let headers = vec![(ACCEPT, HeaderValue::from_static(media::INDEX))];
            let ask = self.ask(&action, Some(&action), Method::GET, url.clone(), headers);
            let response = match self.client.send(ask).await {
                Ok(response) => response,
                Err(error) if error.is_not_found() => return Ok(None),
                Err(error) => return Err(error),
            };
            tracing::debug!(filtered = response.headers().contains_key(&FILTERS_APPLIED), "referrers");
            next = answer::next_page(response.headers(), &url).filter(|page| *page != url);
            let body = self.whole(response, INDEX_LIMIT, &action).await?;
            let index: Index = self.json(&body, &action)?;
            found.extend(index.manifests);
        }
        Ok(Some(found))
    }

    async fn tagged_referrers(&self, subject: &Digest) -> Result<Option<Index>, RegistryError> {
        match self.manifest(&Which::Tag(referrers_tag(subject))).await {
            Ok(fetched) => match fetched.document {
                Document::Index(index) => Ok(Some(*index)),
                Document::Manifest(_) => Ok(None),
            },
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Adds a referrer to the tag of its subject; does nothing for what is no referrer.
    pub(crate) async fn note_referrer(
        &self,
        document: &Document,
        mut descriptor: Descriptor,
    ) -> Result<(), RegistryError> {
        let (subject, artifact_type, annotations) = match document {
            Document::Manifest(manifest) => {
                let artifact_type =
                    manifest.artifact_type.clone().unwrap_or_else(|| manifest.config.media_type.clone());
                (&manifest.subject, Some(artifact_type), &manifest.annotations)
            }
            Document::Index(index) => (&index.subject, index.artifact_type.clone(), &index.annotations),
        };
        let Some(subject) = subject else { return Ok(()) };
        descriptor.artifact_type = artifact_type;
        descriptor.annotations.clone_from(annotations);
        let mut index = self.tagged_referrers(&subject.digest).await?.unwrap_or_else(Index::empty);
        if index.manifests.iter().any(|known| known.digest == descriptor.digest) {
            return Ok(());
        }
        index.manifests.push(descriptor);
        let bytes = Bytes::from(serde_json::to_vec(&index).expect("an index has string keys only"));
        self.put_manifest(&Which::Tag(referrers_tag(&subject.digest)), media::INDEX, &bytes).await?;
        Ok(())
    }
}
