//! Images: find, load, name, remove.

use super::{DockerEngine, Result, answers, calls, podman};
use crate::engine::{HeldImage, Login};
use crate::error::EngineError;
use crate::host;
use crate::transport::{TransportError, root_cause};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use bollard::query_parameters::{RemoveImageOptions, TagImageOptions};
use bytes::Bytes;
use futures_util::StreamExt;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::{Method, Request, Response};
use slim_image::config::SourceImage;
use slim_image::history::HistoryEntry;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use tokio::io::AsyncRead;
use tokio_util::io::{ReaderStream, StreamReader};

/// How much of an archive is read and sent at a time.
const CHUNK_BYTES: usize = 256 * 1024;
/// A line of the engine's progress is never longer than this.
const LINE_BYTES: usize = 1024 * 1024;
const NO_IMAGE: &str = "the archive holds no image";

impl DockerEngine {
    /// See [`crate::Engine::local_layers`].
    pub(super) async fn find_layers(&self, image: &str) -> Result<Option<Vec<PathBuf>>> {
        let info: answers::Info = self.ask("ask the engine for its settings", "/info").await?;
        let kind = self.kind().await?;
        let has_layers =
            info.has_overlay_layers(self.endpoint(), kind.is_podman()) && !kind.may_shift_owners();
        if !host::sees_trusted_attributes() || !has_layers {
            return Ok(None);
        }
        let layers = self.ask_for_image(image).await?.layer_directories();
        // What the engine names lies in its own mount namespace, which need not be ours.
        Ok(layers.filter(|layers| layers.iter().all(|layer| layer.is_dir())))
    }

    pub(super) async fn find_image(&self, reference: &str) -> Result<SourceImage> {
        if reference.is_empty() {
            let reason = "the name is empty".to_owned();
            return Err(EngineError::ImageNotFound { reference: "\"\"".to_owned(), reason });
        }
        let source = self.ask_for_image(reference).await?.into_source(reference);
        let source = source
            .map_err(|reason| EngineError::ImageUnreadable { reference: reference.to_owned(), reason })?;
        match self.kind().await? {
            podman::Kind::Docker => Ok(source),
            podman::Kind::Podman { images, .. } => self.complete(source, images.as_deref()).await,
        }
    }

    async fn ask_for_image(&self, reference: &str) -> Result<answers::Image> {
        let action = || format!("inspect image {reference}");
        let path = format!("/images/{}/json", calls::encode(reference));
        self.ask_as(&action, &path).await.map_err(|error| of_image(error, reference))
    }

    pub(super) async fn find_history(&self, reference: &str, layers: usize) -> Result<Vec<HistoryEntry>> {
        if let podman::Kind::Podman { images, .. } = self.kind().await? {
            return self.history_of_podman(reference, images.as_deref()).await;
        }
        if let Some(history) = self.history_on_disk(reference).await? {
            return Ok(history);
        }
        let action = || format!("ask for the history of image {reference}");
        let path = format!("/images/{}/history", calls::encode(reference));
        let steps: Vec<answers::Step> =
            self.ask_as(&action, &path).await.map_err(|error| of_image(error, reference))?;
        Ok(answers::history(steps, layers))
    }

    /// The history as the image's own config has it, where the engine's files can be read: its API does not tell which of
    /// the steps of no bytes left a layer.
    async fn history_on_disk(&self, reference: &str) -> Result<Option<Vec<HistoryEntry>>> {
        let info: answers::Info = self.ask("ask the engine for its settings", "/info").await?;
        if !info.has_overlay_layers(self.endpoint(), false) {
            return Ok(None);
        }
        let file = info.config_of(&self.find_image(reference).await?.id);
        let read = tokio::task::spawn_blocking(move || std::fs::read(file).ok());
        let config = read.await.ok().flatten();
        Ok(config
            .and_then(|config| serde_json::from_slice::<answers::History>(&config).ok())
            .map(|config| config.history))
    }

    pub(super) async fn add_name(&self, image: &str, reference: &str) -> Result<()> {
        let (repository, tag) = split_tag(reference);
        let action = || format!("give image {image} the name {reference}");
        let options = TagImageOptions { repo: Some(repository.to_owned()), tag: Some(tag.to_owned()) };
        self.timed(&action, self.docker.tag_image(image, Some(options)))
            .await
            .map_err(|error| of_image(error, image))
    }

    /// Removes an image or one of its names. `force`: although it has several names, or a stopped container.
    pub(super) async fn delete_image(&self, reference: &str, force: bool) -> Result<()> {
        let action = || format!("remove image {reference}");
        let options = RemoveImageOptions { force, noprune: true, platforms: None };
        self.timed(&action, self.docker.remove_image(reference, Some(options), None))
            .await
            .map(drop)
            .map_err(|error| of_image(error, reference))
    }

    pub(super) async fn load(&self, archive: Box<dyn AsyncRead + Send + Unpin>) -> Result<Vec<String>> {
        let unread = Arc::new(Mutex::new(None));
        let answer = match self.transport.exchange(load_request(archive, Arc::clone(&unread))?).await {
            Ok(response) => self.read_load_answer(response).await,
            Err(error) => Err(self.broken("load the image".to_owned(), &error)),
        };
        // An archive that cannot be read shows as a connection that we broke ourselves.
        if let Some(reason) = unread.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take() {
            return Err(EngineError::LoadFailed { reason: format!("cannot read the archive: {reason}") });
        }
        match answer {
            Err(EngineError::WentAway { reason, .. }) if self.is_alive().await => {
                Err(EngineError::LoadFailed {
                    reason: format!("the engine closed the connection ({reason})"),
                })
            }
            Err(EngineError::Refused { reason, .. } | EngineError::LoadFailed { reason }) => {
                Err(EngineError::LoadFailed { reason: in_plain_words(reason) })
            }
            other => other,
        }
    }

    /// Only what the engine answers with; what it reads for that is its own business.
    pub(super) async fn save(&self, reference: &str) -> Result<Box<dyn AsyncRead + Send + Unpin>> {
        // An engine saves an empty archive of what it does not have.
        self.ask_for_image(reference).await?;
        let action = || format!("save image {reference}");
        let path = format!("/images/{}/get", calls::encode(reference));
        let response = self.transport.get(&path).await.map_err(|error| self.broken(action(), &error))?;
        let response = self.checked(&action, response).await.map_err(|error| of_image(error, reference))?;
        let pieces = response.into_body().into_data_stream();
        Ok(Box::new(StreamReader::new(pieces.map(|piece| piece.map_err(io::Error::other)))))
    }

    /// The list tells neither history nor date in a form of its own: each image is asked for.
    pub(super) async fn held_images(&self) -> Result<Vec<HeldImage>> {
        #[derive(serde::Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Listed {
            id: String,
        }
        let listed: Vec<Listed> = self.ask("list images", "/images/json").await?;
        let mut images = Vec::new();
        for Listed { id } in listed {
            let found = match self.find_image(&id).await {
                Ok(found) => found,
                // Gone meanwhile, or nothing that could run.
                Err(EngineError::ImageNotFound { .. } | EngineError::ImageUnreadable { .. }) => continue,
                Err(error) => return Err(error),
            };
            let action = || format!("ask for the history of image {id}");
            let path = format!("/images/{}/history", calls::encode(&id));
            let steps: Vec<answers::Step> = self.ask_as(&action, &path).await.unwrap_or_default();
            let steps = answers::history_entries(steps);
            images.push(HeldImage::new(id, found.tags, found.created, found.size, &steps));
        }
        Ok(images)
    }

    pub(super) async fn pull(&self, reference: &str, login: Option<&Login>) -> Result<()> {
        let action = || format!("pull image {reference}");
        let not_pulled = |reason: String| EngineError::ImageNotFound {
            reference: reference.to_owned(),
            reason: format!("the engine does not hold it and cannot pull it: {reason}"),
        };
        let (name, tag) = if reference.contains('@') { (reference, "") } else { split_tag(reference) };
        let path = format!("/images/create?fromImage={}&tag={}", calls::encode(name), calls::encode(tag));
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("X-Registry-Auth", login.map(registry_auth).unwrap_or_default())
            .body(bollard::body_full(Bytes::new()))
            .map_err(|error| EngineError::Garbled { action: action(), reason: error.to_string() })?;
        let response =
            self.transport.exchange(request).await.map_err(|error| self.broken(action(), &error))?;
        let response = self.checked(&action, response).await.map_err(|error| match error {
            EngineError::Refused { reason, .. } => not_pulled(reason),
            other => other,
        })?;
        match self.read_progress(&action, response).await?.error {
            Some(reason) => Err(not_pulled(reason)),
            None => Ok(()),
        }
    }

    async fn read_load_answer(&self, response: Response<Incoming>) -> Result<Vec<String>> {
        let action = || "load the image".to_owned();
        let response = self.checked(&action, response).await?;
        self.read_progress(&action, response).await?.finish()
    }

    async fn read_progress(
        &self,
        action: &(dyn Fn() -> String + Sync),
        response: Response<Incoming>,
    ) -> Result<Progress> {
        let mut body = response.into_body();
        let mut progress = Progress::default();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.broken(action(), &TransportError::from(error)))?;
            if let Some(bytes) = frame.data_ref() {
                progress.take(bytes);
            }
        }
        Ok(progress)
    }

    async fn is_alive(&self) -> bool {
        self.ask::<serde::de::IgnoredAny>("ask the engine for its version", "/version").await.is_ok()
    }
}

/// Who we are, as the engine's API takes it.
fn registry_auth(login: &Login) -> String {
    let document = match login {
        Login::Password { user, password } => serde_json::json!({"username": user, "password": password}),
        Login::IdentityToken(token) => serde_json::json!({"identitytoken": token}),
    };
    URL_SAFE.encode(document.to_string())
}

/// An archive without a manifest is looked through for the index of a format long gone; its name says little.
fn in_plain_words(reason: String) -> String {
    if reason.contains("/repositories: no such file") { NO_IMAGE.to_owned() } else { reason }
}

fn load_request(
    archive: Box<dyn AsyncRead + Send + Unpin>,
    unread: Arc<Mutex<Option<String>>>,
) -> Result<bollard::BollardRequest> {
    let stream = ReaderStream::with_capacity(archive, CHUNK_BYTES).map(move |chunk: io::Result<Bytes>| {
        chunk.inspect_err(|error| {
            *unread.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(root_cause(error));
        })
    });
    Request::builder()
        .method(Method::POST)
        .uri("/images/load?quiet=1")
        .header(CONTENT_TYPE, "application/x-tar")
        .body(bollard::body_try_stream(stream))
        .map_err(|error| EngineError::LoadFailed { reason: error.to_string() })
}

/// The engine's report while it loads or pulls: JSON documents one after the other, an error among them at any place.
#[derive(Default)]
struct Progress {
    rest: Vec<u8>,
    loaded: Vec<String>,
    error: Option<String>,
}

#[derive(serde::Deserialize)]
struct ProgressLine {
    #[serde(default)]
    stream: Option<String>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default, rename = "errorDetail")]
    detail: Option<ErrorDetail>,
}

#[derive(serde::Deserialize)]
struct ErrorDetail {
    #[serde(default)]
    message: Option<String>,
}

impl Progress {
    fn take(&mut self, bytes: &[u8]) {
        self.rest.extend_from_slice(bytes);
        let mut documents = serde_json::Deserializer::from_slice(&self.rest).into_iter::<ProgressLine>();
        let mut read = 0;
        let mut lines = Vec::new();
        while let Some(Ok(line)) = documents.next() {
            read = documents.byte_offset();
            lines.push(line);
        }
        self.rest.drain(..read);
        if self.rest.len() > LINE_BYTES {
            self.error.get_or_insert_with(|| "the engine's report cannot be understood".to_owned());
            self.rest.clear();
        }
        for line in lines {
            self.note(line);
        }
    }

    fn note(&mut self, line: ProgressLine) {
        if let Some(error) = line.detail.and_then(|detail| detail.message).or(line.error) {
            self.error.get_or_insert(error);
        }
        let text = line.stream.unwrap_or_default();
        for prefix in ["Loaded image ID: ", "Loaded image: "] {
            if let Some(name) = text.trim().strip_prefix(prefix) {
                self.loaded.push(name.to_owned());
            }
        }
    }

    fn finish(self) -> Result<Vec<String>> {
        if let Some(reason) = self.error {
            return Err(EngineError::LoadFailed { reason });
        }
        if !self.rest.trim_ascii().is_empty() {
            let rest = String::from_utf8_lossy(&self.rest);
            return Err(EngineError::LoadFailed {
                reason: format!("the engine's report ends with {:?}", rest.trim()),
            });
        }
        if self.loaded.is_empty() {
            // A tar archive without a manifest is taken in silence.
            return Err(EngineError::LoadFailed { reason: NO_IMAGE.to_owned() });
        }
        Ok(self.loaded)
    }
}

/// Splits `name:tag`; the tag is `latest` where there is none. A colon before the last slash belongs to a port.
fn split_tag(reference: &str) -> (&str, &str) {
    match reference.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => (repository, tag),
        _ => (reference, "latest"),
    }
}

/// Names the image that is not there. What is no image name at all names none, either.
pub(super) fn of_image(error: EngineError, reference: &str) -> EngineError {
    match error {
        EngineError::Refused { status: 404, .. } => EngineError::ImageNotFound {
            reference: reference.to_owned(),
            reason: "the engine has no image of this name".to_owned(),
        },
        EngineError::Refused { status: 400, reason, .. } => {
            EngineError::ImageNotFound { reference: reference.to_owned(), reason }
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn progress(chunks: &[&str]) -> Result<Vec<String>> {
        let mut progress = Progress::default();
        for chunk in chunks {
            progress.take(chunk.as_bytes());
        }
        progress.finish()
    }

    #[test]
    fn documents_are_read_across_chunks() {
        let loaded = progress(&[
            "{\"status\":\"Loading layer\",\"progressDetail\":{\"current\":1}}\r\n{\"str",
            "eam\":\"Loaded image: a:1\\n\"}\r\n",
            "{\"stream\":\"Loaded image ID: sha256:12\\n\"}",
        ]);
        assert_eq!(loaded.unwrap(), ["a:1", "sha256:12"]);
    }

    #[test]
    fn an_error_anywhere_is_an_error() {
        let text =
            r#"{"errorDetail":{"message":"no space left on device"},"error":"no space left on device"}"#;
        let error = progress(&["{\"stream\":\"Loaded image: a:1\\n\"}", text]).unwrap_err();
        assert_eq!(error.to_string(), "load the image: no space left on device");
        assert!(progress(&["{\"error\":\"bad\"}"]).is_err());
        assert!(progress(&["{\"stream\":\"Loaded image: a:1\\n\"}", "{\"strea"]).is_err());
        assert!(progress(&[]).is_err());
    }

    #[test]
    fn a_registrys_port_is_no_tag() {
        assert_eq!(split_tag("a"), ("a", "latest"));
        assert_eq!(split_tag("a:1"), ("a", "1"));
        assert_eq!(split_tag("host:5000/a"), ("host:5000/a", "latest"));
        assert_eq!(split_tag("host:5000/a:1"), ("host:5000/a", "1"));
    }
}
