//! One HTTP exchange with a registry, over pooled connections: names without getaddrinfo, TLS with rustls, through a proxy
//! where there is one on the way.

use super::proxy::{Proxies, Proxy};
use crate::name::host_and_port;
use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::header::PROXY_AUTHORIZATION;
use hyper::{Request, Response, Uri};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use slim_dial::trust;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};

/// How long a connection may take to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// An unused connection is kept for so long; registries close theirs after a minute and more.
const POOL_IDLE: Duration = Duration::from_secs(30);

/// What requests carry.
pub(crate) type Body = UnsyncBoxBody<Bytes, io::Error>;

pub(crate) fn full(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync()
}

/// Why no answer came.
#[derive(Debug)]
pub(crate) struct TransportError {
    /// The innermost reason.
    pub reason: String,
    /// No connection came about: nothing of the request was sent.
    pub is_connect: bool,
}

/// The way to all registries. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Transport {
    client: hyper_util::client::legacy::Client<Connector, Body>,
    proxies: Arc<Proxies>,
}

impl Transport {
    /// `insecure`: registries (`host` or `host:port`) whose certificates are not checked. `certificate_folders`:
    /// folders with one folder a registry, whose `*.crt` files are believed for it, as Docker and Podman have them.
    pub(crate) fn new(
        insecure: BTreeSet<String>,
        certificate_folders: Vec<PathBuf>,
        proxies: Proxies,
    ) -> Self {
        let trust = Trust { insecure, certificate_folders, configs: Mutex::default() };
        let proxies = Arc::new(proxies);
        let client = hyper_util::client::legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(POOL_IDLE)
            .build(Connector { trust: Arc::new(trust), proxies: Arc::clone(&proxies) });
        Self { client, proxies }
    }

    /// Sends one request and gives back the answer's head; the body streams.
    pub(crate) async fn exchange(
        &self,
        mut request: Request<Body>,
    ) -> Result<Response<Incoming>, TransportError> {
        // Without a tunnel it is the request itself that tells the proxy who we are.
        let target = Target::of(request.uri());
        let proxy = target.proxy(&self.proxies).filter(|_| !target.is_encrypted);
        if let Some(authorization) = proxy.and_then(|proxy| proxy.authorization.clone()) {
            request.headers_mut().insert(PROXY_AUTHORIZATION, authorization);
        }
        self.client
            .request(request)
            .await
            .map_err(|error| TransportError { is_connect: error.is_connect(), reason: root_cause(&error) })
    }
}

/// The innermost error's text: the outer ones say only that something went wrong with a connection.
pub(crate) fn root_cause(error: &(dyn std::error::Error + 'static)) -> String {
    let mut inner = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

/// Whom TLS believes, by registry.
struct Trust {
    insecure: BTreeSet<String>,
    certificate_folders: Vec<PathBuf>,
    configs: Mutex<BTreeMap<String, Arc<ClientConfig>>>,
}

impl Trust {
    fn config(&self, authority: &str) -> io::Result<Arc<ClientConfig>> {
        let mut configs = self.configs.lock().expect("no holder of this lock panics");
        if let Some(config) = configs.get(authority) {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(self.new_config(authority).map_err(io::Error::other)?);
        configs.insert(authority.to_owned(), Arc::clone(&config));
        Ok(config)
    }

    fn new_config(&self, authority: &str) -> Result<ClientConfig, String> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?;
        let builder = if self.insecure.contains(authority) {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(trust::AnyServer(provider)))
        } else {
            builder.with_root_certificates(self.authorities(authority)?)
        };
        Ok(builder.with_no_client_auth())
    }

    fn authorities(&self, authority: &str) -> Result<rustls::RootCertStore, String> {
        let own: Vec<PathBuf> = self
            .certificate_folders
            .iter()
            .flat_map(|folder| certificate_files(&folder.join(authority)))
            .collect();
        let mut store = match trust::authorities(None) {
            Ok(store) => store,
            // A machine without any list may still have a certificate for this one registry.
            Err(_) if !own.is_empty() => rustls::RootCertStore::empty(),
            Err(reason) => return Err(reason),
        };
        for path in own {
            store.extend(trust::authorities(Some(&path))?.roots);
        }
        Ok(store)
    }
}

/// The `*.crt` files of a folder; none where there is no such folder.
fn certificate_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut files: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|extension| extension == "crt"))
        .collect();
    files.sort();
    files
}

#[derive(Clone)]
struct Connector {
    trust: Arc<Trust>,
    proxies: Arc<Proxies>,
}

impl tower_service::Service<Uri> for Connector {
    type Response = Wire;
    type Error = io::Error;
    type Future = Pin<Box<dyn Future<Output = io::Result<Wire>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let (trust, proxies) = (Arc::clone(&self.trust), Arc::clone(&self.proxies));
        Box::pin(async move {
            match tokio::time::timeout(CONNECT_TIMEOUT, dial(&trust, &proxies, &uri)).await {
                Ok(dialled) => dialled,
                Err(_) => Err(io::Error::new(
                    io::ErrorKind::TimedOut,
                    format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()),
                )),
            }
        })
    }
}

/// Whom a request is for.
struct Target<'a> {
    authority: &'a str,
    host: &'a str,
    port: u16,
    is_encrypted: bool,
}

impl<'a> Target<'a> {
    fn of(uri: &'a Uri) -> Self {
        let authority = uri.authority().map_or("", |authority| authority.as_str());
        let (host, port) = host_and_port(authority);
        let is_encrypted = uri.scheme_str() == Some("https");
        Self { authority, host, port: port.unwrap_or(if is_encrypted { 443 } else { 80 }), is_encrypted }
    }

    fn proxy<'p>(&self, proxies: &'p Proxies) -> Option<&'p Proxy> {
        proxies.on_the_way(self.is_encrypted, self.host, self.port)
    }
}

async fn dial(trust: &Trust, proxies: &Proxies, uri: &Uri) -> io::Result<Wire> {
    let target = Target::of(uri);
    let proxy = target.proxy(proxies);
    let mut stream = match proxy {
        Some(proxy) => to_proxy(trust, proxy).await?,
        None => Box::new(slim_dial::connect_tcp(target.host, target.port).await?),
    };
    if !target.is_encrypted {
        return Ok(Wire { io: TokioIo::new(stream), is_proxied: proxy.is_some() });
    }
    if let Some(proxy) = proxy {
        proxy.tunnel(&mut stream, target.host, target.port).await?;
    }
    let stream = encrypted(trust, target.authority, target.host, stream).await?;
    Ok(Wire { io: TokioIo::new(stream), is_proxied: false })
}

async fn to_proxy(trust: &Trust, proxy: &Proxy) -> io::Result<Box<dyn Io>> {
    let connected = slim_dial::connect_tcp(&proxy.host, proxy.port).await;
    let stream = connected.map_err(|error| {
        io::Error::new(error.kind(), format!("the proxy {proxy:?} does not answer: {error}"))
    })?;
    if !proxy.is_encrypted {
        return Ok(Box::new(stream));
    }
    encrypted(trust, &format!("{}:{}", proxy.host, proxy.port), &proxy.host, Box::new(stream)).await
}

/// Speaks TLS over a connection. `authority`: for whom certificates of one's own may be believed.
async fn encrypted(
    trust: &Trust,
    authority: &str,
    host: &str,
    stream: Box<dyn Io>,
) -> io::Result<Box<dyn Io>> {
    let name = rustls::pki_types::ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let connector = tokio_rustls::TlsConnector::from(trust.config(authority)?);
    Ok(Box::new(connector.connect(name, stream).await?))
}

trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection, encrypted or not.
struct Wire {
    io: TokioIo<Box<dyn Io>>,
    /// Whether a proxy reads the requests: then they name the registry in full.
    is_proxied: bool,
}

impl Connection for Wire {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.is_proxied)
    }
}

impl hyper::rt::Read for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: hyper::rt::ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
