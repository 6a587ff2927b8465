//! Blobs that are there: read, in parts too, and removed.

use super::answer::{Answer, Body, Refusal, answer, with};
use super::{CONTENT_DIGEST, Shared};
use crate::pieces;
use futures_util::StreamExt;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;
use hyper::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, HeaderMap, RANGE};
use hyper::{Response, StatusCode};
use slim_image::Digest;
use std::io;
use tokio::io::AsyncSeekExt;

impl Shared {
    pub(super) async fn get_blob(
        &self,
        repository: &str,
        digest: &str,
        headers: &HeaderMap,
        is_head: bool,
    ) -> Result<Answer, Refusal> {
        let parsed: Digest = digest.parse().map_err(|_| not_a_digest(digest))?;
        if !self.store.has_blob(repository, &parsed) {
            return Err(Refusal::blob_unknown(digest));
        }
        let mut file = tokio::fs::File::open(self.store.contents(&parsed)).await?;
        let size = file.metadata().await?.len();
        let asked = headers.get(RANGE).and_then(|value| value.to_str().ok()).filter(|_| !is_head);
        let part = match asked.and_then(|text| Part::of(text, size)) {
            None => None,
            Some(Some(part)) => Some(part),
            Some(None) => {
                return Err(Refusal::range(format!("the blob has {size} bytes"))
                    .with(CONTENT_RANGE, &format!("bytes */{size}")));
            }
        };
        let (first, length) = part.as_ref().map_or((0, size), |part| (part.first, part.length));
        let mut reply = if is_head {
            answer(StatusCode::OK, "")
        } else {
            file.seek(io::SeekFrom::Start(first)).await?;
            Response::new(streamed(file, length))
        };
        if part.is_some() {
            *reply.status_mut() = StatusCode::PARTIAL_CONTENT;
            let range = format!("bytes {first}-{}/{size}", first + length - 1);
            reply = with(reply, &[(CONTENT_RANGE, &range)]);
        }
        Ok(with(
            reply,
            &[
                (CONTENT_DIGEST, digest),
                (CONTENT_LENGTH, &length.to_string()),
                (CONTENT_TYPE, "application/octet-stream"),
                (ACCEPT_RANGES, "bytes"),
            ],
        ))
    }

    pub(super) async fn delete_blob(&self, repository: &str, digest: &str) -> Result<Answer, Refusal> {
        let parsed: Digest = digest.parse().map_err(|_| not_a_digest(digest))?;
        let _alone = self.names.write().await;
        if !self.store.remove_blob(repository, &parsed)? {
            return Err(Refusal::blob_unknown(digest));
        }
        self.store.forget(&parsed)?;
        Ok(answer(StatusCode::ACCEPTED, ""))
    }
}

pub(super) fn not_a_digest(text: &str) -> Refusal {
    Refusal::digest(format!("{text:?} is no sha256 digest"))
}

pub(super) fn streamed(file: tokio::fs::File, length: u64) -> Body {
    StreamBody::new(pieces::of_file(file, length).map(|piece| piece.map(Frame::data))).boxed_unsync()
}

/// A part of a blob, at least one byte.
#[derive(Debug, PartialEq, Eq)]
struct Part {
    first: u64,
    length: u64,
}

impl Part {
    /// Reads a `Range` (RFC 9110 §14). `None`: it is none of bytes, or several; the whole is the answer then.
    /// `Some(None)`: there is no such part.
    fn of(text: &str, size: u64) -> Option<Option<Self>> {
        let range = text.trim().strip_prefix("bytes=")?;
        let (first, last) = range.split_once('-')?;
        let (first, end) = match (first.trim(), last.trim()) {
            ("", suffix) => (size.saturating_sub(suffix.parse().ok()?), size),
            (first, "") => (first.parse().ok()?, size),
            (first, last) => {
                let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
                if last < first {
                    return None;
                }
                (first, last.saturating_add(1).min(size))
            }
        };
        Some((first < end).then(|| Self { first, length: end - first }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_as_http_has_them() {
        let part = |first, length| Some(Some(Part { first, length }));
        assert_eq!(Part::of("bytes=0-4", 10), part(0, 5));
        assert_eq!(Part::of("bytes=5-", 10), part(5, 5));
        assert_eq!(Part::of("bytes=-3", 10), part(7, 3));
        assert_eq!(Part::of("bytes=-30", 10), part(0, 10));
        assert_eq!(Part::of("bytes=8-99", 10), part(8, 2));
        assert_eq!(Part::of("bytes=10-", 10), Some(None));
        assert_eq!(Part::of("bytes=-0", 10), Some(None));
        for whole in ["bytes=5-4", "bytes=0-1,3-4", "lines=1-2", "bytes=x-", "bytes=-"] {
            assert_eq!(Part::of(whole, 10), None, "{whole}");
        }
    }
}
