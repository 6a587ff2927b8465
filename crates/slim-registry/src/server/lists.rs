//! Lists: the tags of a repository, and what refers to a manifest.

use super::answer::{Answer, Refusal, answer, with};
use super::blobs::not_a_digest;
use super::{Shared, field};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, LINK};
use slim_image::manifest::media;
use slim_image::{Digest, Index};

const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");

impl Shared {
    /// `n`: so many at most; `last`: only those after it.
    pub(super) fn list_tags(&self, repository: &str, query: Option<&str>) -> Result<Answer, Refusal> {
        if !self.store.has_repository(repository) {
            return Err(Refusal::name_unknown(repository));
        }
        let last = field(query, "last");
        let most = match field(query, "n") {
            Some(text) => {
                let number = text.parse::<usize>();
                Some(number.map_err(|_| Refusal::size(format!("n={text} is no number of tags")))?)
            }
            None => None,
        };
        let tags = self.store.tags(repository)?;
        let mut after = tags.iter().filter(|tag| last.as_ref().is_none_or(|last| *tag > last));
        let page: Vec<&String> = after.by_ref().take(most.unwrap_or(usize::MAX)).collect();
        let has_more = after.next().is_some();
        let document = serde_json::json!({"name": repository, "tags": page});
        let reply = with(answer(StatusCode::OK, document.to_string()), &[(CONTENT_TYPE, "application/json")]);
        match (page.last(), most) {
            (Some(last), Some(most)) if has_more => {
                let link = format!("</v2/{repository}/tags/list?n={most}&last={last}>; rel=\"next\"");
                Ok(with(reply, &[(LINK, &link)]))
            }
            _ => Ok(reply),
        }
    }

    pub(super) fn list_referrers(
        &self,
        repository: &str,
        digest: &str,
        query: Option<&str>,
    ) -> Result<Answer, Refusal> {
        let subject: Digest = digest.parse().map_err(|_| not_a_digest(digest))?;
        let artifact_type = field(query, "artifactType").filter(|text| !text.is_empty());
        let mut manifests = self.store.referrers(repository, &subject)?;
        if let Some(wanted) = &artifact_type {
            manifests.retain(|descriptor| descriptor.artifact_type.as_ref() == Some(wanted));
        }
        let index = Index { manifests, ..Index::empty() };
        let bytes = serde_json::to_vec(&index).map_err(std::io::Error::other)?;
        let reply = with(answer(StatusCode::OK, bytes), &[(CONTENT_TYPE, media::INDEX)]);
        Ok(match artifact_type {
            Some(_) => with(reply, &[(FILTERS_APPLIED, "artifactType")]),
            None => reply,
        })
    }
}
