//! One request, one connection, one answer: HTTP/1.1 and HTTP/2, plain and over TLS, straight on hyper.
//!
//! Addresses are dialled as given: no name is looked up, no proxy asked, no redirect followed, and no encoding
//! accepted (a server that sends its precompressed files would hide the plain ones from the trace).

use crate::crawl::parsed_as;
use crate::error::ProbeError;
use crate::reach::{Reach, Stream};
use crate::recording::{Body, Header, INLINE_BYTES, Request, Response};
use crate::{tls, websocket};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper::header::{ACCEPT, CONTENT_LENGTH, HOST, HeaderMap, USER_AGENT};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use sha2::{Digest as _, Sha256};
use slim_image::Digest;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

const AGENT: &str = concat!("docker-slim/", env!("CARGO_PKG_VERSION"));
/// How long connecting to one address may take; nothing is far away.
const CONNECT: Duration = Duration::from_secs(5);
/// The same where somebody far away connects in our place.
const CONNECT_FAR: Duration = Duration::from_secs(20);

/// Makes requests.
pub(crate) struct Client {
    http1_tls: TlsConnector,
    http2_tls: TlsConnector,
    max_body_bytes: u64,
    reach: Option<(Arc<dyn Reach>, i32)>,
}

/// How a request is made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// From the start to the end of the answer's headers.
    pub answer: Duration,
    /// From the start to the end of its body.
    pub whole: Duration,
    /// Bytes of the body that are handed out, for reading links.
    pub capture: usize,
    /// Whether to hand out bodies of every type, and not only those that are read for links.
    pub capture_any: bool,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub response: Response,
    /// The first bytes of the body, as far as [`Limits::capture`] wanted them.
    pub captured: Vec<u8>,
    /// Why the body broke off, if it did.
    pub broke_off: Option<String>,
}

/// Why no answer came back.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("connect to {address}: {source}")]
    Connect { address: SocketAddr, source: io::Error },
    #[error("connect: no address is known for port {0}")]
    NoAddress(u16),
    #[error("agree on TLS with port {port}: {source}")]
    Tls { port: u16, source: io::Error },
    #[error("get an answer from port {0}: it closed the connection")]
    Closed(u16),
    #[error("get an answer from port {port} within {} s", .after.as_secs_f32())]
    Silent { port: u16, after: Duration },
    #[error("understand port {0}: what it sent is not HTTP")]
    NotHttp(u16),
    #[error("send the request: {0}")]
    Request(String),
}

impl CallError {
    /// Whether a program that is about to be ready may behave like this.
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Closed(_))
    }
}

/// A spawned connection, ended with its owner.
struct Driver(JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Client {
    /// `reach`: who connects in our place, and as which process.
    pub fn new(max_body_bytes: u64, reach: Option<(Arc<dyn Reach>, i32)>) -> Result<Self, ProbeError> {
        let (http1_tls, http2_tls) = (tls::connector("http/1.1")?, tls::connector("h2")?);
        Ok(Self { http1_tls, http2_tls, max_body_bytes, reach })
    }

    /// Makes the request at the first address that takes the connection.
    pub async fn call(
        &self,
        addresses: &[SocketAddr],
        request: &Request,
        limits: Limits,
    ) -> Result<Answer, CallError> {
        let began = Instant::now();
        if request.protocol.is_websocket() {
            let stream = timeout_at(began + limits.answer, self.stream(addresses, request)).await;
            let silent = |_| CallError::Silent { port: request.port, after: limits.answer };
            let body = BodyReader::new(self.max_body_bytes, limits.capture);
            return websocket::talk(stream.map_err(silent)??, request, began, limits, body).await;
        }
        let silent = CallError::Silent { port: request.port, after: limits.answer };
        let first = timeout_at(began + limits.answer, self.send(addresses, request)).await;
        let (_driver, response) = first.map_err(|_| silent)??;
        Ok(self.receive(response, began + limits.whole.max(limits.answer), limits).await)
    }

    /// Whether a TLS handshake succeeds there, within this time.
    pub async fn speaks_tls(&self, addresses: &[SocketAddr], port: u16, within: Duration) -> bool {
        let handshake = async {
            let stream = self.connect(addresses, port).await?;
            encrypt(&self.http1_tls, stream, port).await
        };
        matches!(tokio::time::timeout(within, handshake).await, Ok(Ok(_)))
    }

    /// A connection to the first address that takes one.
    async fn connect(&self, addresses: &[SocketAddr], port: u16) -> Result<Box<dyn Stream>, CallError> {
        let mut last = CallError::NoAddress(port);
        for address in addresses {
            match self.dial(*address).await {
                Ok(stream) => return Ok(stream),
                Err(source) => last = CallError::Connect { address: *address, source },
            }
        }
        Err(last)
    }

    async fn dial(&self, address: SocketAddr) -> io::Result<Box<dyn Stream>> {
        if let Some((reach, pid)) = &self.reach {
            return match tokio::time::timeout(CONNECT_FAR, reach.connect(*pid, address)).await {
                Ok(connected) => connected,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            };
        }
        let stream = match tokio::time::timeout(CONNECT, TcpStream::connect(address)).await {
            Ok(connected) => connected?,
            Err(_) => return Err(io::ErrorKind::TimedOut.into()),
        };
        // Small requests are sent at once; a failure to say so costs time only.
        drop(stream.set_nodelay(true));
        Ok(Box::new(stream))
    }

    async fn stream(
        &self,
        addresses: &[SocketAddr],
        request: &Request,
    ) -> Result<Box<dyn Stream>, CallError> {
        let stream = self.connect(addresses, request.port).await?;
        if !request.protocol.is_encrypted() {
            return Ok(stream);
        }
        let connector = if request.protocol.is_http2() { &self.http2_tls } else { &self.http1_tls };
        Ok(Box::new(encrypt(connector, stream, request.port).await?))
    }

    async fn send(
        &self,
        addresses: &[SocketAddr],
        request: &Request,
    ) -> Result<(Driver, hyper::Response<Incoming>), CallError> {
        let stream = self.stream(addresses, request).await?;
        let message = message(request)?;
        let failed = |error: &hyper::Error| classify(error, request.port);
        if request.protocol.is_http2() {
            let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
                .await
                .map_err(|error| failed(&error))?;
            let driver = Driver(tokio::spawn(async move { drop(connection.await) }));
            let response = sender.send_request(message).await.map_err(|error| failed(&error))?;
            Ok((driver, response))
        } else {
            let (mut sender, connection) =
                lenient().handshake(TokioIo::new(stream)).await.map_err(|error| failed(&error))?;
            let (told, ended) = oneshot::channel();
            let driver = Driver(tokio::spawn(async move {
                // Nobody listens any more once the answer is there.
                drop(told.send(connection.await));
            }));
            match sender.send_request(message).await {
                Ok(response) => Ok((driver, response)),
                // A server that speaks first may do so before the request is handed over; then only the connection
                // knows why it ended.
                Err(error) if error.is_canceled() => match ended.await {
                    Ok(Err(reason)) => Err(failed(&reason)),
                    _ => Err(failed(&error)),
                },
                Err(error) => Err(failed(&error)),
            }
        }
    }

    /// Reads the body to its end, the limit or the deadline, whichever comes first.
    async fn receive(
        &self,
        response: hyper::Response<Incoming>,
        deadline: Instant,
        limits: Limits,
    ) -> Answer {
        let (parts, mut body) = response.into_parts();
        let headers = sorted(&parts.headers);
        let content_type = headers
            .iter()
            .find(|header| header.name == "content-type")
            .map(|header| header.value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
        let is_captured = limits.capture_any || parsed_as(content_type.as_deref()).is_some();
        let capture = if is_captured { limits.capture } else { 0 };
        let mut reader = BodyReader::new(self.max_body_bytes, capture);
        let (mut complete, mut broke_off) = (false, None);
        loop {
            let frame = match timeout_at(deadline, body.frame()).await {
                Ok(Some(Ok(frame))) => frame,
                Ok(Some(Err(error))) => {
                    broke_off = Some(format!("read the body: {}", root_cause(&error)));
                    break;
                }
                Ok(None) => {
                    complete = true;
                    break;
                }
                Err(_) => break,
            };
            let Ok(data) = frame.into_data() else { continue };
            reader.take(&data);
            if reader.is_full() {
                break;
            }
        }
        let (body, captured) = reader.finish(complete);
        let response = Response { status: parts.status.as_u16(), headers, content_type, body };
        Answer { response, captured, broke_off }
    }
}

/// What is kept of a body while it comes in: its digest, and its first bytes.
pub(crate) struct BodyReader {
    hash: Sha256,
    length: u64,
    most: u64,
    is_full: bool,
    kept: BytesMut,
    capture: usize,
}

impl BodyReader {
    /// Reads `most` bytes at most; hands out the first `capture`.
    fn new(most: u64, capture: usize) -> Self {
        Self { hash: Sha256::new(), length: 0, most, is_full: false, kept: BytesMut::new(), capture }
    }

    pub fn take(&mut self, data: &[u8]) {
        let room = usize::try_from(self.most - self.length).unwrap_or(usize::MAX);
        self.is_full |= data.len() > room;
        let data = &data[..data.len().min(room)];
        self.hash.update(data);
        self.length += data.len() as u64;
        let keep = self.capture.max(INLINE_BYTES + 1);
        self.kept.extend_from_slice(&data[..data.len().min(keep - self.kept.len())]);
    }

    /// Whether more came than is read.
    fn is_full(&self) -> bool {
        self.is_full
    }

    /// The body, and its first bytes. `is_whole`: nothing of it is missing, as far as the connection knows.
    pub fn finish(mut self, is_whole: bool) -> (Body, Vec<u8>) {
        let complete = is_whole && !self.is_full;
        let digest = Digest::from_bytes(self.hash.finalize().into());
        let text = (complete && self.length <= INLINE_BYTES as u64)
            .then(|| String::from_utf8(self.kept.to_vec()).ok())
            .flatten()
            .filter(|text| !text.is_empty());
        self.kept.truncate(self.capture);
        (Body { length: self.length, digest, complete, text }, self.kept.into())
    }
}

async fn encrypt(
    connector: &TlsConnector,
    stream: Box<dyn Stream>,
    port: u16,
) -> Result<tokio_rustls::client::TlsStream<Box<dyn Stream>>, CallError> {
    let name = ServerName::try_from("localhost").expect("localhost is a name");
    connector.connect(name, stream).await.map_err(|source| CallError::Tls { port, source })
}

/// Takes what browsers take: the program's manners are not what is probed.
fn lenient() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .ignore_invalid_headers_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .allow_spaces_after_header_name_in_responses(true);
    builder
}

/// The request as it goes over the wire. Headers that the request itself names win over ours.
fn message(request: &Request) -> Result<hyper::Request<Full<Bytes>>, CallError> {
    let refused = |error: &dyn std::error::Error| CallError::Request(error.to_string());
    let body = request.body.as_ref().map_or_else(Bytes::new, |body| Bytes::copy_from_slice(body.as_bytes()));
    let named = |name: &str| request.headers.iter().any(|header| header.name == name);
    let mut builder = hyper::Request::builder().method(request.method.as_str());
    if request.protocol.is_http2() {
        let scheme = request.protocol.scheme();
        builder = builder.uri(format!("{scheme}://{}{}", request.authority(), request.path));
    } else {
        builder = builder.uri(request.path.as_str());
        if !named(HOST.as_str()) {
            builder = builder.header(HOST, request.authority());
        }
    }
    if !named(USER_AGENT.as_str()) {
        builder = builder.header(USER_AGENT, AGENT);
    }
    if !named(ACCEPT.as_str()) {
        builder = builder.header(ACCEPT, "*/*");
    }
    // A method that usually has a body says that there is none; hyper does so only for a body of unknown size.
    if body.is_empty()
        && matches!(request.method.as_str(), "POST" | "PUT" | "PATCH")
        && !named(CONTENT_LENGTH.as_str())
    {
        builder = builder.header(CONTENT_LENGTH, 0);
    }
    for header in &request.headers {
        builder = builder.header(header.name.as_str(), header.value.as_str());
    }
    builder.body(Full::new(body)).map_err(|error| refused(&error))
}

/// Whether a message can be made of the request at all.
#[cfg(test)]
pub(crate) fn is_sendable(request: &Request) -> bool {
    message(request).is_ok()
}

fn classify(error: &hyper::Error, port: u16) -> CallError {
    if error.is_parse() {
        return CallError::NotHttp(port);
    }
    if error.is_user() {
        return CallError::Request(root_cause(error));
    }
    // For HTTP/2, garbage is a protocol error, found by h2; for HTTP/1, a greeting is an unexpected message.
    let text = root_cause(error);
    if ["frame", "protocol error", "unexpected message"].iter().any(|words| text.contains(words)) {
        return CallError::NotHttp(port);
    }
    CallError::Closed(port)
}

/// The innermost error's text: the outer ones of hyper only say that sending failed.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

/// Headers sorted by name, without `date`.
pub(crate) fn sorted(headers: &HeaderMap) -> Vec<Header> {
    let mut sorted: Vec<Header> = headers
        .iter()
        .filter(|(name, _)| *name != hyper::header::DATE)
        .map(|(name, value)| Header {
            name: name.as_str().to_owned(),
            value: String::from_utf8_lossy(value.as_bytes()).into_owned(),
        })
        .collect();
    sorted.sort_by(|left, right| left.name.cmp(&right.name));
    sorted
}
