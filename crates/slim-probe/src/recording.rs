//! Requests with their answers, as a versioned file.
//!
//! Invariant: the order of exchanges is the order of discovery, never of completion, and nothing in a recording comes
//! from a clock of ours, so that equal conversations are equal bytes.

use serde::{Deserialize, Serialize};
use slim_image::Digest;
use std::fmt;

/// The version of the recording that this code writes and reads.
pub const VERSION: u32 = 1;
/// Texts up to this many bytes stand in the recording; longer bodies are known by digest only.
pub(crate) const INLINE_BYTES: usize = 4096;

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordingError {
    #[error("read the recording: {0}")]
    Json(#[from] serde_json::Error),
    #[error("read the recording: its version is {0}, this program knows version {VERSION}")]
    Version(u32),
}

/// What was asked and answered, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recording {
    pub version: u32,
    pub exchanges: Vec<Exchange>,
}

/// One request with its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exchange {
    pub request: Request,
    /// `None` where nothing that is HTTP came back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<Response>,
    /// Why there is no answer, or why it broke off.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A request, complete: it can be made again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// Inside the container.
    pub port: u16,
    pub protocol: Protocol,
    pub method: String,
    /// Path and query, percent-encoded.
    pub path: String,
    /// What was sent beyond host, user agent and accept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<Header>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub body: Option<Content>,
}

/// Bytes that are sent: text where they are UTF-8, base64 otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Content {
    Text(String),
    #[serde(with = "base64_bytes")]
    Base64(Vec<u8>),
}

/// One header line.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Header {
    /// Lower case.
    pub name: String,
    pub value: String,
}

/// How a port is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// HTTP/1.1.
    Http,
    /// HTTP/1.1 over TLS.
    Https,
    /// HTTP/2 over TLS.
    Http2,
    /// HTTP/2 in the clear, with prior knowledge.
    Http2c,
    /// A WebSocket (RFC 6455): the body is sent as a message, the answer's body is what the program says.
    Ws,
    /// A WebSocket over TLS.
    Wss,
}

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Response {
    pub status: u16,
    /// Sorted by name; lines of one name in their own order. Without `date`, which says nothing of the program.
    pub headers: Vec<Header>,
    /// Media type without parameters, lower case.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    pub body: Body,
}

/// What is known of an answer's body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// Bytes read.
    pub length: u64,
    /// Of the bytes read.
    pub digest: Digest,
    /// Whether the body was read to its end. False for one larger than the limit, endless, or broken off.
    pub complete: bool,
    /// The body itself, where it is short UTF-8 text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
}

impl Recording {
    #[must_use]
    pub fn new(exchanges: Vec<Exchange>) -> Self {
        Self { version: VERSION, exchanges }
    }

    /// The recording as JSON, with a line feed at the end.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a recording has only text keys");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a recording.
    ///
    /// # Errors
    /// When it is no JSON of this shape, or of another version.
    pub fn from_json(bytes: &[u8]) -> Result<Self, RecordingError> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u32,
        }
        let Versioned { version } = serde_json::from_slice(bytes)?;
        if version != VERSION {
            return Err(RecordingError::Version(version));
        }
        Ok(serde_json::from_slice(bytes)?)
    }
}

impl Exchange {
    /// The answer's status, where there is an answer.
    #[must_use]
    pub fn status(&self) -> Option<u16> {
        self.response.as_ref().map(|response| response.status)
    }
}

impl Request {
    /// A request without headers or body.
    #[must_use]
    pub fn new(port: u16, protocol: Protocol, method: &str, path: &str) -> Self {
        Self {
            port,
            protocol,
            method: method.to_owned(),
            path: path.to_owned(),
            headers: Vec::new(),
            body: None,
        }
    }

    /// Whether it may be made beside others: it changes nothing, by the method's meaning.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        matches!(self.method.as_str(), "GET" | "HEAD")
    }

    /// `localhost:8080`, without the port where it is the scheme's own.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.port == self.protocol.default_port() {
            "localhost".to_owned()
        } else {
            format!("localhost:{}", self.port)
        }
    }
}

/// `GET http://localhost:8080/path`.
impl fmt::Display for Request {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}://{}{}", self.method, self.protocol.scheme(), self.authority(), self.path)
    }
}

impl Content {
    #[must_use]
    pub fn of(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(error) => Self::Base64(error.into_bytes()),
        }
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Text(text) => text.as_bytes(),
            Self::Base64(bytes) => bytes,
        }
    }
}

impl Protocol {
    /// The URL's scheme.
    #[must_use]
    pub fn scheme(self) -> &'static str {
        match self {
            Self::Http | Self::Http2c => "http",
            Self::Https | Self::Http2 => "https",
            Self::Ws => "ws",
            Self::Wss => "wss",
        }
    }

    #[must_use]
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Https | Self::Http2 | Self::Wss)
    }

    pub(crate) fn is_http2(self) -> bool {
        matches!(self, Self::Http2 | Self::Http2c)
    }

    pub(crate) fn is_websocket(self) -> bool {
        matches!(self, Self::Ws | Self::Wss)
    }

    fn default_port(self) -> u16 {
        if self.is_encrypted() { 443 } else { 80 }
    }
}

/// As Mint's flags name it.
impl fmt::Display for Protocol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Http2 => "http2",
            Self::Http2c => "http2c",
            Self::Ws => "ws",
            Self::Wss => "wss",
        })
    }
}

impl Response {
    /// Whether the program itself answered, rather than broke: any status below 500.
    #[must_use]
    pub fn is_below_500(&self) -> bool {
        self.status < 500
    }

    /// The value of a header, by its lower-case name.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|header| header.name == name).map(|header| header.value.as_str())
    }
}

mod base64_bytes {
    //! Bytes as base64 text in JSON.

    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de};

    pub fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<u8>, D::Error> {
        BASE64_STANDARD.decode(String::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recording() -> Recording {
        let mut request = Request::new(8000, Protocol::Http, "POST", "/a?b=c");
        request.headers.push(Header { name: "x-test".to_owned(), value: "1".to_owned() });
        request.body = Some(Content::of(vec![0xff, 0]));
        let response = Response {
            status: 201,
            headers: vec![Header { name: "content-type".to_owned(), value: "text/plain".to_owned() }],
            content_type: Some("text/plain".to_owned()),
            body: Body { length: 2, digest: Digest::of("ok"), complete: true, text: Some("ok".to_owned()) },
        };
        let failed = Request::new(8443, Protocol::Https, "GET", "/");
        Recording::new(vec![
            Exchange { request, response: Some(response), error: None },
            Exchange { request: failed, response: None, error: Some("no answer".to_owned()) },
        ])
    }

    #[test]
    fn a_recording_survives_the_file() {
        let bytes = recording().to_json();
        assert_eq!(Recording::from_json(&bytes).unwrap(), recording());
        assert!(String::from_utf8(bytes).unwrap().contains(r#""base64": "/wA=""#));
    }

    #[test]
    fn a_recording_of_another_version_is_refused_by_its_number() {
        let error = Recording::from_json(br#"{"version": 7, "conversations": []}"#).unwrap_err();
        assert_eq!(error.to_string(), "read the recording: its version is 7, this program knows version 1");
    }

    #[test]
    fn a_request_reads_like_an_address() {
        let [first, second] = recording().exchanges.try_into().unwrap();
        assert_eq!(first.request.to_string(), "POST http://localhost:8000/a?b=c");
        assert_eq!(second.request.to_string(), "GET https://localhost:8443/");
        assert_eq!(Request::new(443, Protocol::Http2, "GET", "/").to_string(), "GET https://localhost/");
    }
}
