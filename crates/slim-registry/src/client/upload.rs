//! Blobs on their way into a registry: not at all where they are there, taken over from another repository where that
//! is allowed, else uploaded; in one piece or in chunks, and on from where a connection broke.

use super::answer;
use super::blob::BlobReader;
use super::progress::{Event, How, Progress};
use super::repository::Repository;
use super::send::{Failed, is_for_now, request};
use super::transport::{Body, full};
use crate::error::RegistryError;
use crate::pieces;
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use http_body_util::BodyExt;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, HeaderValue, RANGE};
use hyper::{Method, Response, StatusCode};
use slim_image::Descriptor;
use std::io;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use tokio::io::AsyncSeekExt;
use url::Url;

/// Where the bytes of a blob come from.
#[derive(Clone)]
pub enum BlobSource {
    File(PathBuf),
    Bytes(Bytes),
    Repository(Repository),
}

/// What happened to a blob that was pushed.
pub type Pushed = How;

/// An upload that a registry has begun.
struct Session {
    url: Url,
    /// How many bytes the registry has.
    offset: u64,
}

/// What goes wrong while a body is read; the connection breaks then, which would hide the reason.
type Slot = Arc<Mutex<Option<RegistryError>>>;

impl Repository {
    /// Makes sure that a blob is in the repository.
    ///
    /// # Errors
    /// Its source cannot be read, or the registry does not take it.
    pub async fn push_blob(
        &self,
        blob: &Descriptor,
        source: &BlobSource,
        progress: &Arc<dyn Progress>,
    ) -> Result<Pushed, RegistryError> {
        let how = self.push_unless_there(blob, source, progress).await?;
        progress.tell(Event::Done { blob, how });
        Ok(how)
    }

    async fn push_unless_there(
        &self,
        blob: &Descriptor,
        source: &BlobSource,
        progress: &Arc<dyn Progress>,
    ) -> Result<Pushed, RegistryError> {
        if self.has_blob(&blob.digest).await? {
            return Ok(How::AlreadyThere);
        }
        let action = format!("push {} to {}", blob.digest, self.location());
        let Some(session) = self.begin(blob, &action, self.scope.mount_from.as_deref()).await? else {
            return Ok(How::Mounted);
        };
        progress.tell(Event::Began { blob, already: 0 });
        Upload { repository: self, blob, source, progress, action: &action, session }.run().await?;
        Ok(How::Moved)
    }

    /// `None`: the registry has taken the blob over from the other repository.
    async fn begin(
        &self,
        blob: &Descriptor,
        action: &str,
        mount_from: Option<&str>,
    ) -> Result<Option<Session>, RegistryError> {
        let mut url = self.url("blobs/uploads/").await?;
        if let Some(from) = mount_from {
            url.query_pairs_mut().append_pair("mount", &blob.digest.to_string()).append_pair("from", from);
        }
        let ask = self.ask(action, None, Method::POST, url.clone(), Vec::new());
        let response = self.client.send_for_any(&ask).await?;
        match response.status() {
            StatusCode::CREATED if mount_from.is_some() => Ok(None),
            StatusCode::ACCEPTED => match answer::location(response.headers(), &url) {
                Some(url) => Ok(Some(Session { url, offset: 0 })),
                None => Err(RegistryError::Garbled {
                    action: action.to_owned(),
                    registry: self.registry().to_owned(),
                    reason: "it begins an upload and does not say where".to_owned(),
                }),
            },
            // A registry that does not let us look into the other repository may still take the upload.
            _ if mount_from.is_some() => Box::pin(self.begin(blob, action, None)).await,
            _ => Err(self.client.refused(response, &self.scope, action, None).await),
        }
    }
}

struct Upload<'a> {
    repository: &'a Repository,
    blob: &'a Descriptor,
    source: &'a BlobSource,
    progress: &'a Arc<dyn Progress>,
    action: &'a str,
    session: Session,
}

impl Upload<'_> {
    async fn run(mut self) -> Result<(), RegistryError> {
        let retry = self.repository.client.settings().retry;
        let (mut failures, mut furthest) = (0, 0);
        loop {
            let (reason, pause) = match self.step().await {
                Ok(true) => return Ok(()),
                Ok(false) => continue,
                Err(Failed::ForGood(error)) => return Err(error),
                Err(Failed::ForNow { reason, pause, .. }) => (reason, pause),
            };
            failures += 1;
            if failures >= retry.attempts {
                let registry = self.repository.registry().to_owned();
                return Err(RegistryError::WentAway { action: self.action.to_owned(), registry, reason });
            }
            tracing::debug!(digest = %self.blob.digest, %reason, failures, "going on with the upload");
            tokio::time::sleep(pause.unwrap_or_else(|| retry.pause(failures))).await;
            self.find_out().await?;
            if self.session.offset > furthest {
                (failures, furthest) = (0, self.session.offset);
            }
            self.progress.tell(Event::Began { blob: self.blob, already: self.session.offset });
        }
    }

    /// One request of the upload. Says whether it was the last.
    async fn step(&mut self) -> Result<bool, Failed> {
        let left = self.blob.size - self.session.offset;
        let chunk = self.repository.client.settings().chunk.filter(|chunk| *chunk > 0);
        if left == 0 || (self.session.offset == 0 && chunk.is_none_or(|chunk| chunk >= left)) {
            self.put(left).await?;
            return Ok(true);
        }
        self.patch(chunk.map_or(left, |chunk| chunk.min(left))).await?;
        Ok(false)
    }

    async fn put(&mut self, length: u64) -> Result<(), Failed> {
        let mut url = self.session.url.clone();
        url.query_pairs_mut().append_pair("digest", &self.blob.digest.to_string());
        let response = self.transfer(Method::PUT, &url, length, Vec::new()).await?;
        match response.status() {
            StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK | StatusCode::ACCEPTED => Ok(()),
            _ => Err(self.refused(response).await),
        }
    }

    async fn patch(&mut self, length: u64) -> Result<(), Failed> {
        let (first, last) = (self.session.offset, self.session.offset + length - 1);
        let range = HeaderValue::from_str(&format!("{first}-{last}")).expect("a range is ASCII");
        let url = self.session.url.clone();
        let response = self.transfer(Method::PATCH, &url, length, vec![(CONTENT_RANGE, range)]).await?;
        if !response.status().is_success() {
            return Err(self.refused(response).await);
        }
        if let Some(url) = answer::location(response.headers(), &url) {
            self.session.url = url;
        }
        self.session.offset += length;
        Ok(())
    }

    async fn transfer(
        &self,
        method: Method,
        url: &Url,
        length: u64,
        mut headers: Vec<(HeaderName, HeaderValue)>,
    ) -> Result<Response<Incoming>, Failed> {
        let client = &self.repository.client;
        headers.push((CONTENT_TYPE, HeaderValue::from_static("application/octet-stream")));
        // What is not the registry itself was chosen by it, and signed.
        let own = client.base(self.repository.registry()).await.map_err(Failed::ForGood)?;
        client.check_way(self.action, self.repository.registry(), &own, url).map_err(Failed::ForGood)?;
        let is_own = url.origin() == own.origin();
        let proof = client.proof(&self.repository.scope).await?.filter(|_| is_own);
        let (slot, sent) = (Slot::default(), Arc::new(AtomicU64::new(0)));
        let body = if length == 0 {
            full(Bytes::new())
        } else {
            self.body(length, &slot, &sent).await.map_err(Failed::ForGood)?
        };
        let request =
            request(&method, url, &headers, proof.as_ref(), body, self.action, self.repository.registry())
                .map_err(Failed::ForGood)?;
        let answered = client.exchange_watched(request, &sent).await;
        if let Some(error) = slot.lock().expect("no holder of this lock panics").take() {
            return Err(Failed::ForGood(error));
        }
        let response = answered?;
        if response.status() == StatusCode::UNAUTHORIZED
            && is_own
            && client.unauthorized(&self.repository.scope, &response, proof.as_ref()).await
        {
            return Err(Failed::ForNow {
                reason: "the token was too old".to_owned(),
                is_connect: false,
                pause: None,
            });
        }
        Ok(response)
    }

    /// The error of an answer; one that an upload begun anew, or later, may mend is one for now.
    async fn refused(&self, response: Response<Incoming>) -> Failed {
        let status = response.status();
        let mut failures = 0;
        let pause = self.repository.client.pause_for(status, response.headers(), &mut failures);
        let error = self.repository.client.refused(response, &self.repository.scope, self.action, None).await;
        let is_lost = matches!(status, StatusCode::NOT_FOUND | StatusCode::RANGE_NOT_SATISFIABLE);
        if is_for_now(status) || is_lost {
            return Failed::ForNow { reason: error.to_string(), is_connect: false, pause };
        }
        Failed::ForGood(error)
    }

    /// Asks the registry how far the upload is; begins anew where it does not know it any more.
    async fn find_out(&mut self) -> Result<(), RegistryError> {
        let url = self.session.url.clone();
        let ask = self.repository.ask(self.action, None, Method::GET, url.clone(), Vec::new());
        let response = self.repository.client.send_for_any(&ask).await?;
        let offset = response.status().is_success().then(|| uploaded(&response)).flatten();
        if let Some(offset) = offset.filter(|offset| *offset <= self.blob.size) {
            let url = answer::location(response.headers(), &url).unwrap_or(url);
            self.session = Session { url, offset };
            return Ok(());
        }
        match self.repository.begin(self.blob, self.action, None).await? {
            Some(session) => self.session = session,
            None => unreachable!("nothing is taken over where no other repository is named"),
        }
        Ok(())
    }

    async fn body(&self, length: u64, slot: &Slot, sent: &Arc<AtomicU64>) -> Result<Body, RegistryError> {
        let pieces = self.source.open(self.blob, self.session.offset, length).await?;
        let slot = Arc::clone(slot);
        let (progress, digest) = (Arc::clone(self.progress), self.blob.digest);
        let sent = Arc::clone(sent);
        let stream = pieces.map(move |piece| match piece {
            Ok(bytes) => {
                sent.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                progress.tell(Event::Moved { blob: &digest, bytes: bytes.len() as u64 });
                Ok(bytes)
            }
            Err(error) => {
                let text = io::Error::other(error.to_string());
                slot.lock().expect("no holder of this lock panics").get_or_insert(error);
                Err(text)
            }
        });
        Ok(Exactly { stream: stream.boxed(), left: length }.boxed_unsync())
    }
}

/// How many bytes the registry has: `Range: 0-9` is ten, `0-0` is one or none.
fn uploaded(response: &Response<Incoming>) -> Option<u64> {
    let text = response.headers().get(RANGE)?.to_str().ok()?;
    let (first, last) = text.trim().trim_start_matches("bytes=").split_once('-')?;
    match (first.parse().ok()?, last.parse().ok()?) {
        // Nothing cannot be said otherwise; should it be one byte, the registry refuses what does not follow on it.
        (0, 0) => Some(0),
        (0_u64, last) => Some(last + 1),
        _ => None,
    }
}

impl BlobSource {
    /// So many bytes from a position on, in pieces.
    async fn open(
        &self,
        blob: &Descriptor,
        offset: u64,
        length: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, RegistryError>>, RegistryError> {
        match self {
            Self::Bytes(bytes) => {
                let range = |at: u64| usize::try_from(at).unwrap_or(usize::MAX).min(bytes.len());
                let part = bytes.slice(range(offset)..range(offset + length));
                Ok(stream::iter([Ok(part)]).boxed())
            }
            Self::File(path) => {
                let mut file =
                    tokio::fs::File::open(path).await.map_err(RegistryError::file("open", path.clone()))?;
                file.seek(io::SeekFrom::Start(offset))
                    .await
                    .map_err(RegistryError::file("read", path.clone()))?;
                let path = path.clone();
                let failed = move |error| RegistryError::file("read", path.clone())(error);
                Ok(pieces::of_file(file, length).map(move |piece| piece.map_err(&failed)).boxed())
            }
            Self::Repository(repository) => {
                let reader = match offset {
                    0 => repository.blob(blob),
                    // The registry that it goes to checks the whole.
                    _ => repository.blob_after(blob, offset, None),
                };
                Ok(pieces_from(reader, length))
            }
        }
    }
}

fn pieces_from(reader: BlobReader, length: u64) -> BoxStream<'static, Result<Bytes, RegistryError>> {
    stream::try_unfold((reader, length), |(mut reader, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let Some(mut piece) = reader.next().await? else { return Ok(None) };
        piece.truncate(usize::try_from(left).unwrap_or(usize::MAX));
        let left = left - piece.len() as u64;
        // The last call is the one that compares the digest.
        if left == 0 && reader.is_at_end() {
            reader.next().await?;
        }
        Ok(Some((piece, (reader, left))))
    })
    .boxed()
}

/// A body of a known length.
struct Exactly {
    stream: BoxStream<'static, Result<Bytes, io::Error>>,
    left: u64,
}

impl hyper::body::Body for Exactly {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let polled = self.stream.poll_next_unpin(context);
        polled.map(|piece| {
            piece.map(|piece| {
                piece.map(|bytes| {
                    self.left = self.left.saturating_sub(bytes.len() as u64);
                    Frame::data(bytes)
                })
            })
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}
