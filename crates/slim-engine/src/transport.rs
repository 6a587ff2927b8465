//! One HTTP exchange with an engine, over whatever its endpoint is: socket, TCP, TLS or ssh.
//!
//! Every exchange has a connection of its own. That costs a few hundred microseconds on a socket and buys that no
//! request ever meets a pooled connection which the other side has closed, and that the end of a connection means the
//! end of its call. Bollard gets this as its custom transport; streams are taken from it directly.

use crate::endpoint::{Endpoint, EndpointError, SshEndpoint, TcpEndpoint};
use crate::tls;
use bollard::BollardRequest;
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderValue, UPGRADE};
use hyper::{Method, Response, Uri};
use hyper_util::rt::TokioIo;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How long a connection may take to be there.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// A connection's two directions.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Why an exchange did not come about or ended early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TransportError {
    /// Nothing is there.
    #[error("{0}")]
    Connect(io::Error),
    /// The connection broke.
    #[error("{}", root_cause(.0))]
    Exchange(#[from] hyper::Error),
    /// The request could not be put together: a bug, or a name with impossible characters.
    #[error("{0}")]
    Request(String),
}

impl From<TransportError> for bollard::errors::Error {
    fn from(error: TransportError) -> Self {
        Self::IOError { err: io::Error::other(error) }
    }
}

/// The way to one engine. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Transport {
    inner: Arc<Inner>,
}

struct Inner {
    endpoint: Endpoint,
    tls: Option<Arc<rustls::ClientConfig>>,
    /// `/v1.41`, once negotiated.
    version: OnceLock<String>,
}

impl Transport {
    /// # Errors
    /// TLS files that cannot be used.
    pub(crate) fn new(endpoint: &Endpoint) -> Result<Self, EndpointError> {
        let tls = match endpoint {
            Endpoint::Tcp(TcpEndpoint { tls: Some(settings), .. }) => {
                Some(tls::client_config(settings, &endpoint.to_string())?)
            }
            _ => None,
        };
        Ok(Self { inner: Arc::new(Inner { endpoint: endpoint.clone(), tls, version: OnceLock::new() }) })
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.inner.endpoint
    }

    /// From now on every path of the API begins with this version.
    pub(crate) fn set_version(&self, version: &str) {
        // A second negotiation gives the same answer, and the first one stands.
        let _ = self.inner.version.set(format!("/v{version}"));
    }

    /// Sends one request and gives back the answer's head; the body streams.
    pub(crate) async fn exchange(
        &self,
        request: BollardRequest,
    ) -> Result<Response<Incoming>, TransportError> {
        let request = self.address(request)?;
        let stream = match tokio::time::timeout(CONNECT_TIMEOUT, self.connect()).await {
            Ok(connected) => connected.map_err(TransportError::Connect)?,
            Err(_) => return Err(TransportError::Connect(io::ErrorKind::TimedOut.into())),
        };
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // Its errors reach whoever waits for the answer or reads the body.
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "engine connection ended");
            }
        });
        Ok(sender.send_request(request).await?)
    }

    /// Sends a request without a body.
    pub(crate) async fn get(&self, path_and_query: &str) -> Result<Response<Incoming>, TransportError> {
        let request = hyper::Request::builder()
            .method(Method::GET)
            .uri(path_and_query)
            .body(bollard::body_full(Bytes::new()))
            .map_err(|error| TransportError::Request(error.to_string()))?;
        self.exchange(request).await
    }

    /// Posts JSON and asks for the connection itself: what comes back (if the status says so) is a raw stream.
    pub(crate) async fn post_for_stream(
        &self,
        path_and_query: &str,
        json: String,
    ) -> Result<Response<Incoming>, TransportError> {
        let request = hyper::Request::builder()
            .method(Method::POST)
            .uri(path_and_query)
            .header(CONTENT_TYPE, "application/json")
            .header(CONNECTION, "Upgrade")
            .header(UPGRADE, "tcp")
            .body(bollard::body_full(Bytes::from(json)))
            .map_err(|error| TransportError::Request(error.to_string()))?;
        self.exchange(request).await
    }

    /// Turns a request's address into what goes over the wire: path with base and version, and a Host header.
    fn address(&self, request: BollardRequest) -> Result<BollardRequest, TransportError> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().map_or("/", |path| path.as_str());
        let (base, host) = match &self.inner.endpoint {
            Endpoint::Tcp(tcp) => (tcp.base_path.as_str(), self.host_header(tcp)),
            Endpoint::Unix(_) | Endpoint::Ssh(_) => ("", "docker".to_owned()),
        };
        let version = self.inner.version.get().map_or("", String::as_str);
        parts.uri = format!("{base}{version}{path}")
            .parse::<Uri>()
            .map_err(|error| TransportError::Request(format!("{path}: {error}")))?;
        let host =
            HeaderValue::from_str(&host).map_err(|error| TransportError::Request(error.to_string()))?;
        parts.headers.insert(HOST, host);
        Ok(BollardRequest::from_parts(parts, body))
    }

    fn host_header(&self, tcp: &TcpEndpoint) -> String {
        if tcp.host.contains(':') {
            format!("[{}]:{}", tcp.host, tcp.port)
        } else {
            format!("{}:{}", tcp.host, tcp.port)
        }
    }

    async fn connect(&self) -> io::Result<Box<dyn Io>> {
        match &self.inner.endpoint {
            Endpoint::Unix(path) => connect_unix(path).await,
            Endpoint::Tcp(tcp) => {
                let stream = slim_dial::connect_tcp(&tcp.host, tcp.port).await?;
                match &self.inner.tls {
                    None => Ok(Box::new(stream)),
                    Some(config) => {
                        let name = rustls::pki_types::ServerName::try_from(tcp.host.clone())
                            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
                        let connector = tokio_rustls::TlsConnector::from(Arc::clone(config));
                        Ok(Box::new(connector.connect(name, stream).await?))
                    }
                }
            }
            Endpoint::Ssh(ssh) => connect_ssh(ssh),
        }
    }
}

async fn connect_unix(path: &Path) -> io::Result<Box<dyn Io>> {
    Ok(Box::new(UnixStream::connect(path).await?))
}

/// The docker command line's own way: its program on the other side passes our bytes to the engine's socket.
fn connect_ssh(ssh: &SshEndpoint) -> io::Result<Box<dyn Io>> {
    let mut command = Command::new(&ssh.program);
    command.args(["-o", "ConnectTimeout=15", "-T"]);
    if let Some(user) = &ssh.user {
        command.args(["-l", user]);
    }
    if let Some(port) = ssh.port {
        command.args(["-p", &port.to_string()]);
    }
    command.args(["--", &ssh.host, "docker"]);
    if let Some(socket) = &ssh.socket {
        command.args(["--host", &format!("unix://{socket}")]);
    }
    command.args(["system", "dial-stdio"]);
    // Its messages (host key, password) are for the person; it must not share our terminal's input.
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
    let mut child = command
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("run {}: {error}", ssh.program.display())))?;
    let (input, output) = (child.stdin.take(), child.stdout.take());
    match (input, output) {
        (Some(input), Some(output)) => Ok(Box::new(ChildIo { _child: child, input: Some(input), output })),
        _ => Err(io::Error::other("ssh has no pipes")),
    }
}

/// A process's pipes as one connection. The process is ended with it.
struct ChildIo {
    _child: Child,
    /// `None` once our side is shut down.
    input: Option<ChildStdin>,
    output: ChildStdout,
}

impl AsyncRead for ChildIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.output).poll_read(context, buffer)
    }
}

impl AsyncWrite for ChildIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.input {
            Some(input) => Pin::new(input).poll_flush(context),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(input) = &mut self.input {
            std::task::ready!(Pin::new(input).poll_flush(context))?;
        }
        // Closing the pipe is what tells the other side.
        self.input = None;
        Poll::Ready(Ok(()))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::endpoint::parse_host;

    fn wire_uri(endpoint: &str, version: Option<&str>, uri: &str) -> (String, String) {
        let transport = Transport::new(&parse_host(endpoint, false).unwrap()).unwrap();
        if let Some(version) = version {
            transport.set_version(version);
        }
        let request = hyper::Request::builder().uri(uri).body(bollard::body_full(Bytes::new())).unwrap();
        let request = transport.address(request).unwrap();
        (request.uri().to_string(), request.headers()[HOST].to_str().unwrap().to_owned())
    }

    #[test]
    fn the_negotiated_version_begins_every_path() {
        let (path, host) = wire_uri("unix:///x", Some("1.41"), "http://docker/containers/a/json?size=0");
        assert_eq!((path.as_str(), host.as_str()), ("/v1.41/containers/a/json?size=0", "docker"));
        assert_eq!(wire_uri("unix:///x", None, "/version").0, "/version");
    }

    #[test]
    fn a_base_path_and_an_ipv6_host_are_kept() {
        let (path, host) = wire_uri("tcp://[::1]:99/engine", Some("1.41"), "/info");
        assert_eq!((path.as_str(), host.as_str()), ("/engine/v1.41/info", "[::1]:99"));
    }

    #[tokio::test]
    async fn a_missing_socket_is_a_failed_connection() {
        let transport = Transport::new(&parse_host("unix:///nonexistent.sock", false).unwrap()).unwrap();
        assert!(matches!(transport.get("/version").await, Err(TransportError::Connect(_))));
    }
}
