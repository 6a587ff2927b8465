//! A registry on disk: the OCI distribution specification 1.1, for pulls, pushes, referrers and deletes.
//!
//! It knows no users and no TLS: it is for this machine, for tests and jobs, or to stand behind something that knows both.
//! Digests are SHA-256; others are refused.

mod answer;
mod blobs;
mod lists;
mod manifests;
mod route;
mod store;
mod uploads;

pub use store::{FORMAT_VERSION, StoreError};

use answer::{Answer, Refusal, answer, with};
use hyper::body::Incoming;
use hyper::header::HeaderName;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use route::Route;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::{OwnedMutexGuard, RwLock};
use tokio::task::JoinSet;

/// By which clients of old tell a registry.
const API_VERSION: HeaderName = HeaderName::from_static("docker-distribution-api-version");
pub(crate) const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// What a server is told.
#[derive(Clone, Debug)]
pub struct ServerSettings {
    /// Port 0 takes any that is free.
    pub listen: SocketAddr,
    /// Where everything is stored; made where it is not there.
    pub root: PathBuf,
}

/// Why a server does not start.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    #[error("listen on {address}: {source}")]
    Listen { address: SocketAddr, source: io::Error },
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A registry that listens already.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
}

/// What all requests share.
struct Shared {
    store: Store,
    /// Held by whoever adds names, shared, and by whoever removes contents, alone.
    names: RwLock<()>,
    /// Who is at an upload, and who waits for it.
    turns: Mutex<BTreeMap<PathBuf, Arc<tokio::sync::Mutex<()>>>>,
}

impl Server {
    /// Opens the folder and begins to listen.
    ///
    /// # Errors
    /// The folder cannot be used, or the address cannot be listened on.
    pub async fn bind(settings: &ServerSettings) -> Result<Self, ServerError> {
        let store = Store::open(&settings.root)?;
        let failed = |source| ServerError::Listen { address: settings.listen, source };
        let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let shared = Shared { store, names: RwLock::default(), turns: Mutex::default() };
        Ok(Self { listener, address, shared: Arc::new(shared) })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until told to stop. What is on its way then is broken off; nothing half is left by that.
    pub async fn run(self, stop: impl Future<Output = ()>) {
        let mut connections = JoinSet::new();
        tokio::pin!(stop);
        loop {
            tokio::select! {
                () = &mut stop => return,
                Some(_) = connections.join_next(), if !connections.is_empty() => {}
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, peer)) => {
                        let shared = Arc::clone(&self.shared);
                        connections.spawn(async move {
                            let service = hyper::service::service_fn(move |request| {
                                let shared = Arc::clone(&shared);
                                async move { Ok::<_, std::convert::Infallible>(shared.answer(request).await) }
                            });
                            let connection = hyper::server::conn::http1::Builder::new()
                                .timer(TokioTimer::new())
                                .serve_connection(TokioIo::new(stream), service);
                            if let Err(error) = connection.await {
                                tracing::debug!(%peer, %error, "connection ended");
                            }
                        });
                    }
                    // Too many open files, most likely: some will be closed.
                    Err(error) => {
                        tracing::warn!(%error, "accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }
}

impl Shared {
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let answered = self.route(request).await;
        let reply = answered.unwrap_or_else(|refusal| {
            tracing::info!(%method, %path, ?refusal, "refused");
            refusal.into()
        });
        tracing::debug!(%method, %path, status = %reply.status(), "answered");
        with(reply, &[(API_VERSION, "registry/2.0")])
    }

    async fn route(&self, request: Request<Incoming>) -> Result<Answer, Refusal> {
        let method = request.method().clone();
        let is_head = method == Method::HEAD;
        let reads = is_head || method == Method::GET;
        let route = Route::of(request.uri().path());
        match (route, method) {
            (Route::Version, _) if reads => Ok(answer(StatusCode::OK, "{}")),
            (Route::Blob { repository, digest }, _) if reads => {
                self.get_blob(&repository, &digest, request.headers(), is_head).await
            }
            (Route::Blob { repository, digest }, Method::DELETE) => {
                self.delete_blob(&repository, &digest).await
            }
            (Route::Uploads { repository }, Method::POST) => self.begin_upload(&repository, request).await,
            (Route::Upload { repository, id }, Method::PATCH) => {
                self.continue_upload(&repository, &id, request).await
            }
            (Route::Upload { repository, id }, Method::PUT) => {
                self.end_upload(&repository, &id, request).await
            }
            (Route::Upload { repository, id }, Method::GET) => self.upload_status(&repository, &id).await,
            (Route::Upload { repository, id }, Method::DELETE) => self.cancel_upload(&repository, &id).await,
            (Route::Manifest { repository, which }, _) if reads => {
                self.get_manifest(&repository, &which, is_head).await
            }
            (Route::Manifest { repository, which }, Method::PUT) => {
                self.put_manifest(&repository, &which, request).await
            }
            (Route::Manifest { repository, which }, Method::DELETE) => {
                self.delete_manifest(&repository, &which).await
            }
            (Route::Tags { repository }, _) if reads => self.list_tags(&repository, request.uri().query()),
            (Route::Referrers { repository, digest }, _) if reads => {
                self.list_referrers(&repository, &digest, request.uri().query())
            }
            (Route::BadName(name), _) => Err(Refusal::name_invalid(&name)),
            (Route::Nothing, _) => Err(Refusal::nothing_there()),
            _ => Err(Refusal::unsupported()),
        }
    }

    /// Waits for its turn with an upload, and keeps others off while the value lives: a client whose connection broke is
    /// back before the end of what it sent has been written.
    async fn turn(&self, upload: &Path) -> Turn<'_> {
        let lock = {
            let mut turns = self.turns.lock().expect("no holder of this lock panics");
            Arc::clone(turns.entry(upload.to_owned()).or_default())
        };
        let held = Some(lock.lock_owned().await);
        Turn { shared: self, upload: upload.to_owned(), held }
    }
}

struct Turn<'a> {
    shared: &'a Shared,
    upload: PathBuf,
    held: Option<OwnedMutexGuard<()>>,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut turns = self.shared.turns.lock().expect("no holder of this lock panics");
        self.held = None;
        // Whoever waits has the lock from the table already; the last one takes it out.
        if turns.get(&self.upload).is_some_and(|lock| Arc::strong_count(lock) == 1) {
            turns.remove(&self.upload);
        }
    }
}

/// The first value of a query's field.
fn field(query: Option<&str>, name: &str) -> Option<String> {
    let mut fields = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    fields.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}
