//! Our own registry, served within the test, and plain requests to it.

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::header::HOST;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use slim_image::Digest;
use slim_image::manifest::media;
use slim_registry::{Server, ServerSettings};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

/// Ends with the value, or with [`Self::kill`].
pub struct OwnRegistry {
    /// `127.0.0.1:port`.
    pub address: String,
    folder: TempDir,
    task: JoinHandle<()>,
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Reply {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Reply {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).unwrap_or_else(|| panic!("no {name} in {self:?}")).to_str().unwrap()
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error} in {self:?}"))
    }

    /// The code of an error, with the status.
    pub fn refusal(&self) -> (u16, String) {
        let error = &self.json()["errors"][0];
        assert!(error["message"].as_str().is_some_and(|message| !message.is_empty()), "{self:?}");
        (self.status.as_u16(), error["code"].as_str().unwrap().to_owned())
    }
}

impl OwnRegistry {
    pub async fn start() -> Self {
        Self::in_folder(tempfile::tempdir().unwrap()).await
    }

    async fn in_folder(folder: TempDir) -> Self {
        let settings =
            ServerSettings { listen: "127.0.0.1:0".parse().unwrap(), root: folder.path().join("root") };
        let mut server = Server::bind(&settings).await;
        // Connections of the one that was ended may hold the folder for a moment more.
        for _ in 0..1000 {
            if server.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
            server = Server::bind(&settings).await;
        }
        let server = server.unwrap();
        let address = server.address().to_string();
        Self { address, folder, task: tokio::spawn(server.run(std::future::pending())) }
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("root")
    }

    /// Ends it whatever it is doing, and serves the folder anew.
    pub async fn kill_and_start(mut self) -> Self {
        self.task.abort();
        let _ = (&mut self.task).await;
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().unwrap());
        Self::in_folder(folder).await
    }

    /// One request on a connection of its own; `path` is below the registry's address.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Reply {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let (mut sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let mut builder = Request::builder().method(method).uri(path).header(HOST, &self.address);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        let response = sender.send_request(builder.body(Full::new(body.into())).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        Reply { status: head.status, headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.ask(Method::GET, path, &[], "").await
    }

    pub async fn put_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::of(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let reply = self.ask(Method::POST, &path, &[], bytes.to_vec()).await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        digest
    }

    pub async fn put_manifest(&self, repository: &str, which: &str, manifest: &[u8]) -> Reply {
        let path = format!("/v2/{repository}/manifests/{which}");
        self.ask(Method::PUT, &path, &[("content-type", media::MANIFEST)], manifest.to_vec()).await
    }

    /// A new upload's address.
    pub async fn begin(&self, repository: &str) -> String {
        let reply = self.ask(Method::POST, &format!("/v2/{repository}/blobs/uploads/"), &[], "").await;
        assert_eq!(reply.status, StatusCode::ACCEPTED, "{reply:?}");
        reply.header("location").to_owned()
    }
}

impl Drop for OwnRegistry {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Every file below a folder.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
    }
    found
}
