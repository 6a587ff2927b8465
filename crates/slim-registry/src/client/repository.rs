//! A repository of a registry, and the plain questions about it.

use super::auth::{Access, Scope};
use super::send::Ask;
use super::{Client, answer};
use crate::error::RegistryError;
use crate::name::RepositoryName;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::{Method, Response};
use serde::Deserialize;
use slim_image::Digest;
use url::Url;

/// Lists of tags come in pages; one is no longer than this.
const PAGE_LIMIT: usize = 16 << 20;

/// A repository to read from or to write to. Cheap to clone.
#[derive(Clone)]
pub struct Repository {
    pub(crate) client: Client,
    pub(crate) scope: Scope,
}

impl Repository {
    pub(crate) fn new(client: Client, location: RepositoryName, access: Access) -> Self {
        Self { client, scope: Scope { location, access, mount_from: None } }
    }

    /// The same, allowed to take blobs over from another repository of the registry.
    #[must_use]
    pub fn mounting_from(mut self, repository: Option<String>) -> Self {
        self.scope.mount_from = repository.filter(|from| *from != self.scope.location.repository);
        self
    }

    #[must_use]
    pub fn location(&self) -> &RepositoryName {
        &self.scope.location
    }

    pub(crate) fn registry(&self) -> &str {
        &self.scope.location.registry
    }

    /// The address of something in this repository.
    pub(crate) async fn url(&self, path: &str) -> Result<Url, RegistryError> {
        let base = self.client.base(self.registry()).await?;
        base.join(&format!("v2/{}/{path}", self.scope.location.repository)).map_err(|error| {
            RegistryError::Garbled {
                action: format!("name {path}"),
                registry: self.registry().to_owned(),
                reason: error.to_string(),
            }
        })
    }

    /// A request without a body.
    pub(crate) fn ask<'a>(
        &'a self,
        action: &'a str,
        what: Option<&'a str>,
        method: Method,
        url: Url,
        headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Ask<'a> {
        Ask { action, what, scope: &self.scope, method, url, headers, body: Bytes::new() }
    }

    /// A whole answer of at most so many bytes.
    pub(crate) async fn whole(
        &self,
        response: Response<Incoming>,
        limit: usize,
        action: &str,
    ) -> Result<Bytes, RegistryError> {
        match Limited::new(response.into_body(), limit).collect().await {
            Ok(body) => Ok(body.to_bytes()),
            Err(error) => Err(RegistryError::Garbled {
                action: action.to_owned(),
                registry: self.registry().to_owned(),
                reason: super::transport::root_cause(error.as_ref()),
            }),
        }
    }

    /// Whether a blob is there.
    ///
    /// # Errors
    /// When that cannot be found out.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let action = format!("look for {digest} in {}", self.location());
        let url = self.url(&format!("blobs/{digest}")).await?;
        let ask = self.ask(&action, Some(&action), Method::HEAD, url, Vec::new());
        match self.client.send(ask).await {
            Ok(_) => Ok(true),
            Err(error) if error.is_not_found() => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// All tags, in the registry's order, however many pages they take.
    ///
    /// # Errors
    /// When the registry does not tell.
    pub async fn tags(&self) -> Result<Vec<String>, RegistryError> {
        #[derive(Deserialize)]
        struct Page {
            tags: Option<Vec<String>>,
        }
        let action = format!("list the tags of {}", self.location());
        let what = self.location().to_string();
        let mut next = Some(self.url("tags/list").await?);
        let mut tags = Vec::new();
        while let Some(url) = next {
            let ask = self.ask(&action, Some(&what), Method::GET, url.clone(), Vec::new());
            let response = self.client.send(ask).await?;
            next = answer::next_page(response.headers(), &url).filter(|page| *page != url);
            let body = self.whole(response, PAGE_LIMIT, &action).await?;
            let page: Page = self.json(&body, &action)?;
            tags.extend(page.tags.unwrap_or_default());
        }
        Ok(tags)
    }

    pub(crate) fn json<T: serde::de::DeserializeOwned>(
        &self,
        body: &[u8],
        action: &str,
    ) -> Result<T, RegistryError> {
        serde_json::from_slice(body).map_err(|error| RegistryError::Garbled {
            action: action.to_owned(),
            registry: self.registry().to_owned(),
            reason: error.to_string(),
        })
    }
}
