//! Uploads: in one piece, with a session, in chunks; taken over from another repository; asked about, cancelled.
//!
//! An upload's file is its state: how far it is, is how long the file is.

use super::answer::{Answer, Refusal, answer, with};
use super::blobs::not_a_digest;
use super::{CONTENT_DIGEST, Shared, Turn, field};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, CONTENT_RANGE, HeaderMap, HeaderName, LOCATION, RANGE};
use hyper::{Request, StatusCode};
use sha2::{Digest as _, Sha256};
use slim_image::Digest;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::time::Duration;

const UPLOAD_ID: HeaderName = HeaderName::from_static("docker-upload-uuid");
const BUFFER: usize = 256 << 10;
/// A client that sends nothing for so long is taken for gone; what it sent stays.
const IDLE: Duration = Duration::from_secs(60);

impl Shared {
    pub(super) async fn begin_upload(
        &self,
        repository: &str,
        request: Request<Incoming>,
    ) -> Result<Answer, Refusal> {
        let query = request.uri().query();
        let (mount, from) = (field(query, "mount"), field(query, "from"));
        if let (Some(digest), Some(from)) = (mount, from)
            && let Some(mounted) = self.mount(repository, &digest, &from).await?
        {
            return Ok(mounted);
        }
        let digest = field(query, "digest");
        if let Some(digest) = &digest {
            let _: Digest = digest.parse().map_err(|_| not_a_digest(digest))?;
        }
        let id = self.store.begin_upload(repository)?;
        if digest.is_some() {
            let ended = self.end_upload(repository, &id, request).await;
            if ended.is_err() {
                // Nobody was told the id, so nobody can go on.
                self.remove_upload(repository, &id)?;
            }
            return ended;
        }
        Ok(state(answer(StatusCode::ACCEPTED, ""), repository, &id, 0))
    }

    /// `None`: the other repository does not have it, and it has to be uploaded.
    async fn mount(&self, repository: &str, digest: &str, from: &str) -> Result<Option<Answer>, Refusal> {
        let Ok(parsed) = digest.parse::<Digest>() else { return Err(not_a_digest(digest)) };
        let _shared = self.names.read().await;
        if !super::route::is_name(from) || !self.store.has_blob(from, &parsed) {
            return Ok(None);
        }
        self.store.add_blob(repository, &parsed)?;
        Ok(Some(stored(repository, digest)))
    }

    pub(super) async fn continue_upload(
        &self,
        repository: &str,
        id: &str,
        request: Request<Incoming>,
    ) -> Result<Answer, Refusal> {
        let (path, _turn) = self.upload(repository, id).await?;
        let mut file = OpenOptions::new().append(true).open(&path)?;
        let length = self.take(&mut file, repository, id, request).await?;
        Ok(state(answer(StatusCode::ACCEPTED, ""), repository, id, length))
    }

    pub(super) async fn end_upload(
        &self,
        repository: &str,
        id: &str,
        request: Request<Incoming>,
    ) -> Result<Answer, Refusal> {
        let (path, _turn) = self.upload(repository, id).await?;
        let digest = field(request.uri().query(), "digest");
        let digest = digest.ok_or_else(|| Refusal::digest("the upload's digest is missing (?digest=)"))?;
        let wanted: Digest = digest.parse().map_err(|_| not_a_digest(&digest))?;
        let mut file = OpenOptions::new().read(true).append(true).open(&path)?;
        self.take(&mut file, repository, id, request).await?;
        let hashed = tokio::task::spawn_blocking({
            let path = path.clone();
            move || hash(&path)
        });
        let found = hashed.await.map_err(io::Error::other)??;
        if found != wanted {
            fs::remove_file(&path)?;
            return Err(Refusal::digest(format!("what was uploaded has the digest {found}, not {wanted}")));
        }
        let _shared = self.names.read().await;
        self.store.adopt(&file, &path, &wanted)?;
        self.store.add_blob(repository, &wanted)?;
        Ok(stored(repository, &digest))
    }

    pub(super) async fn upload_status(&self, repository: &str, id: &str) -> Result<Answer, Refusal> {
        let (path, _turn) = self.upload(repository, id).await?;
        let length = fs::metadata(path)?.len();
        Ok(state(answer(StatusCode::NO_CONTENT, ""), repository, id, length))
    }

    pub(super) async fn cancel_upload(&self, repository: &str, id: &str) -> Result<Answer, Refusal> {
        let _turn = self.upload(repository, id).await?;
        self.remove_upload(repository, id)?;
        Ok(answer(StatusCode::NO_CONTENT, ""))
    }

    fn remove_upload(&self, repository: &str, id: &str) -> io::Result<()> {
        match fs::remove_file(self.store.upload_path(repository, id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// The file of an upload that is there, when it is our turn with it.
    async fn upload(&self, repository: &str, id: &str) -> Result<(PathBuf, Turn<'_>), Refusal> {
        // Ids are ours: letters and digits, so that none leads elsewhere.
        let is_id = !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_id {
            return Err(Refusal::upload_unknown(id));
        }
        let path = self.store.upload_path(repository, id);
        let turn = self.turn(&path).await;
        if path.is_file() { Ok((path, turn)) } else { Err(Refusal::upload_unknown(id)) }
    }

    /// Adds a request's body to an upload; gives its length. What comes out of order is refused before it is read.
    async fn take(
        &self,
        file: &mut File,
        repository: &str,
        id: &str,
        request: Request<Incoming>,
    ) -> Result<u64, Refusal> {
        let mut length = file.metadata()?.len();
        check_order(request.headers(), length).map_err(|refusal| {
            refusal.with(LOCATION, &upload_address(repository, id)).with(RANGE, &range(length))
        })?;
        let mut body = request.into_body();
        loop {
            let frame = match tokio::time::timeout(IDLE, body.frame()).await {
                Ok(None) => break,
                Ok(Some(frame)) => frame.map_err(|error| Refusal::broken(&error.to_string()))?,
                Err(_) => return Err(Refusal::broken("nothing came for too long")),
            };
            if let Ok(bytes) = frame.into_data() {
                file.write_all(&bytes)?;
                length += bytes.len() as u64;
            }
        }
        Ok(length)
    }
}

/// Whether a chunk follows on what is there, and is as long as it says.
fn check_order(headers: &HeaderMap, length: u64) -> Result<(), Refusal> {
    let Some(value) = headers.get(CONTENT_RANGE) else { return Ok(()) };
    let text = value.to_str().unwrap_or_default();
    let parsed = text.trim().trim_start_matches("bytes ").split_once('-').and_then(|(first, last)| {
        let last = last.split('/').next()?;
        Some((first.trim().parse::<u64>().ok()?, last.trim().parse::<u64>().ok()?))
    });
    let Some((first, last)) = parsed.filter(|(first, last)| first <= last) else {
        return Err(Refusal::out_of_order(format!("{text:?} is no range of bytes")));
    };
    if first != length {
        return Err(Refusal::out_of_order(format!("the chunk begins at byte {first}, {length} are there")));
    }
    let announced = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    match announced {
        Some(announced) if announced != last - first + 1 => {
            Err(Refusal::size(format!("bytes {first} to {last} are not {announced}")))
        }
        _ => Ok(()),
    }
}

fn hash(path: &std::path::Path) -> io::Result<Digest> {
    let (mut file, mut hasher, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; BUFFER]);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(Digest::from_bytes(hasher.finalize().into())),
            read => hasher.update(&buffer[..read]),
        }
    }
}

fn upload_address(repository: &str, id: &str) -> String {
    format!("/v2/{repository}/blobs/uploads/{id}")
}

/// How far an upload is: `0-9` is ten bytes. Nothing is told as `0-0`, for want of a better word.
fn range(length: u64) -> String {
    format!("0-{}", length.saturating_sub(1))
}

fn state(reply: Answer, repository: &str, id: &str, length: u64) -> Answer {
    let headers = [(LOCATION, &*upload_address(repository, id)), (RANGE, &*range(length)), (UPLOAD_ID, id)];
    with(reply, &headers)
}

fn stored(repository: &str, digest: &str) -> Answer {
    let address = format!("/v2/{repository}/blobs/{digest}");
    with(answer(StatusCode::CREATED, ""), &[(LOCATION, &address), (CONTENT_DIGEST, digest)])
}
