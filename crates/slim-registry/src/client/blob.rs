//! A blob as a stream: fetched from where the last connection broke, and hashed on its way.
//!
//! Invariant: who reads to the end without an error has read exactly the blob that the digest names (unless the reader
//! was told to begin in the middle: then whoever gets the bytes checks them).

use super::repository::Repository;
use super::transport::root_cause;
use crate::error::RegistryError;
use bytes::{Buf, Bytes};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE};
use hyper::{Method, StatusCode};
use sha2::{Digest as _, Sha256};
use slim_image::{Descriptor, Digest};
use std::time::Duration;

/// A connection that brings nothing for so long is taken for broken.
const IDLE: Duration = Duration::from_secs(60);

/// Reads a blob of a repository.
pub struct BlobReader {
    repository: Repository,
    digest: Digest,
    size: u64,
    /// How many bytes have been handed out, counted from the blob's beginning.
    position: u64,
    /// `None` where the reading began in the middle.
    hasher: Option<Sha256>,
    body: Option<Incoming>,
    /// Bytes to be thrown away: the registry began at the beginning again.
    skip: u64,
    failures: u32,
    action: String,
}

impl Repository {
    /// A reader of a whole blob.
    #[must_use]
    pub fn blob(&self, blob: &Descriptor) -> BlobReader {
        self.blob_after(blob, 0, Some(Sha256::new()))
    }

    /// A reader of what follows the first `position` bytes, which `hasher` has seen.
    pub(crate) fn blob_after(&self, blob: &Descriptor, position: u64, hasher: Option<Sha256>) -> BlobReader {
        BlobReader {
            repository: self.clone(),
            digest: blob.digest,
            size: blob.size,
            position,
            hasher,
            body: None,
            skip: 0,
            failures: 0,
            action: format!("read {} of {}", blob.digest, self.location()),
        }
    }
}

impl BlobReader {
    /// The next bytes; `None` at the end, when the digest is right.
    ///
    /// # Errors
    /// The registry went away for longer than is waited, or what it sent is not the blob.
    pub async fn next(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            if self.position == self.size {
                return self.finish().map(|()| None);
            }
            let body = match &mut self.body {
                Some(body) => body,
                None => {
                    let body = self.connect().await?;
                    self.body.insert(body)
                }
            };
            let reason = match tokio::time::timeout(IDLE, body.frame()).await {
                Ok(Some(Ok(frame))) => {
                    let Ok(mut bytes) = frame.into_data() else { continue };
                    let skipped = self.skip.min(bytes.len() as u64);
                    bytes.advance(usize::try_from(skipped).expect("no more than the bytes that are there"));
                    self.skip -= skipped;
                    if bytes.is_empty() {
                        continue;
                    }
                    return self.note(bytes).map(Some);
                }
                Ok(Some(Err(error))) => root_cause(&error),
                Ok(None) => format!("it ended after {} of {} bytes", self.position, self.size),
                Err(_) => format!("nothing came for {} s", IDLE.as_secs()),
            };
            self.lost(reason).await?;
        }
    }

    /// Whether every byte has been handed out; the digest is compared by the next call of [`Self::next`].
    pub(crate) fn is_at_end(&self) -> bool {
        self.position == self.size
    }

    fn note(&mut self, bytes: Bytes) -> Result<Bytes, RegistryError> {
        self.position += bytes.len() as u64;
        self.failures = 0;
        if self.position > self.size {
            return Err(
                self.garbled(format!("it is longer than the {} bytes that it should have", self.size))
            );
        }
        if let Some(hasher) = &mut self.hasher {
            hasher.update(&bytes);
        }
        Ok(bytes)
    }

    fn finish(&mut self) -> Result<(), RegistryError> {
        let Some(hasher) = &self.hasher else { return Ok(()) };
        let found = Digest::from_bytes(hasher.clone().finalize().into());
        if found == self.digest {
            return Ok(());
        }
        Err(RegistryError::WrongDigest {
            what: format!("a blob of {}", self.repository.location().repository),
            registry: self.repository.registry().to_owned(),
            wanted: self.digest,
            found,
        })
    }

    /// Waits before the connection is made anew; gives up after too many times without a byte.
    async fn lost(&mut self, reason: String) -> Result<(), RegistryError> {
        self.body = None;
        self.failures += 1;
        let retry = self.repository.client.settings().retry;
        if self.failures >= retry.attempts {
            let registry = self.repository.registry().to_owned();
            return Err(RegistryError::WentAway { action: self.action.clone(), registry, reason });
        }
        tracing::debug!(digest = %self.digest, position = self.position, %reason, "going on with a new connection");
        tokio::time::sleep(retry.pause(self.failures)).await;
        Ok(())
    }

    async fn connect(&mut self) -> Result<Incoming, RegistryError> {
        let url = self.repository.url(&format!("blobs/{}", self.digest)).await?;
        let mut headers = Vec::new();
        if self.position > 0 {
            let range =
                HeaderValue::from_str(&format!("bytes={}-", self.position)).expect("a range is ASCII");
            headers.push((RANGE, range));
        }
        let what = format!("{} in {}", self.digest, self.repository.location());
        let ask = self.repository.ask(&self.action, Some(&what), Method::GET, url, headers);
        let response = self.repository.client.send(ask).await?;
        self.skip = match response.status() {
            StatusCode::PARTIAL_CONTENT => match first_byte(response.headers()) {
                Some(first) if first <= self.position => self.position - first,
                first => {
                    return Err(
                        self.garbled(format!("asked from byte {}, it sends from {first:?}", self.position))
                    );
                }
            },
            _ => self.position,
        };
        Ok(response.into_body())
    }

    fn garbled(&self, reason: String) -> RegistryError {
        RegistryError::Garbled {
            action: self.action.clone(),
            registry: self.repository.registry().to_owned(),
            reason,
        }
    }
}

/// Where a part begins: `Content-Range: bytes 5-9/10`.
fn first_byte(headers: &HeaderMap) -> Option<u64> {
    let text = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    text.trim().strip_prefix("bytes")?.trim_start().split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_part_is_read() {
        let first = |text: &str| first_byte(&HeaderMap::from_iter([(CONTENT_RANGE, text.parse().unwrap())]));
        assert_eq!(first("bytes 5-9/10"), Some(5));
        assert_eq!(first("bytes 5-9/*"), Some(5));
        assert_eq!(first("bytes */10"), None);
        assert_eq!(first_byte(&HeaderMap::new()), None);
    }
}
