//! Reading an image's files through a second container of it, which never runs the image's own program.
//!
//! [`serve`] runs inside that container, from a static binary; [`Client`] runs outside and is an
//! [`ImageTree`](crate::ImageTree). Between them is a pair of byte streams, in practice the container's stdin and
//! stdout.
//!
//! # Protocol, version 1
//!
//! Frames both ways: one byte of kind, length and CRC-32 of kind and payload (both 32 bit, little-endian), payload of
//! at most 1 MiB. Payloads are JSON, but for data. The client's side is a sequence of requests, each answered in full
//! before the next: `hello`, then `list`, `read` a range, `read-each` of many small files, `bye`. An answer is data
//! frames and one end frame with the number of their bytes and their SHA-256; `read-each` has one such answer per
//! path. An error frame stands in an answer's place (or breaks it off) and names path, action and errno; the next
//! request is then answered as usual.

mod client;
mod frame;
mod server;
mod walk;

pub use client::Client;
pub use server::{ServeOptions, serve};

use crate::listing::ListingError;
use crate::path::ImagePath;
use serde::{Deserialize, Serialize};
use std::io;

/// What both sides say first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Hello {
    protocol: String,
    version: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct ListRequest {
    volumes: Vec<ImagePath>,
}

#[derive(Debug, Serialize, Deserialize)]
struct ReadRequest {
    path: ImagePath,
    offset: u64,
    length: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct ReadEachRequest {
    paths: Vec<ImagePath>,
}

/// Ends an answer: what its data frames held together.
#[derive(Debug, Serialize, Deserialize)]
struct End {
    length: u64,
    sha256: crate::digest::Digest,
}

/// What the collector could not do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteError {
    /// `list`, `read`, …
    pub action: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<ImagePath>,
    /// Linux's error number, where the kernel gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errno: Option<i32>,
    pub message: String,
}

impl std::fmt::Display for RemoteError {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.action)?;
        if let Some(path) = &self.path {
            write!(formatter, " {path}")?;
        }
        write!(formatter, ": {}", self.message)
    }
}

/// Why the collector and its client do not understand each other.
#[derive(Debug, thiserror::Error)]
pub enum CollectorError {
    #[error("talk to the collector: {0}")]
    Io(#[from] io::Error),
    #[error("talk to the collector: it ended")]
    Ended,
    #[error("talk to the collector: a frame of {0} bytes was announced")]
    FrameTooLong(u32),
    #[error("talk to the collector: a frame arrived damaged")]
    Checksum,
    #[error("talk to the collector: {expected} was expected, {found:?} came")]
    Unexpected { expected: &'static str, found: char },
    #[error("talk to the collector: a message is malformed: {0}")]
    Message(String),
    #[error("talk to the collector: it speaks {protocol} version {version}, version {} is needed", VERSION)]
    OtherVersion { protocol: String, version: u32 },
    #[error("talk to the collector: an answer of {announced} bytes had {found} bytes or other contents")]
    Damaged { announced: u64, found: u64 },
    #[error("talk to the collector: an answer is longer than the {0} bytes asked for")]
    TooMuch(u64),
    #[error("talk to the collector: it failed before: {0}")]
    Broken(String),
    #[error("have the collector {0}")]
    Remote(RemoteError),
    #[error(transparent)]
    Listing(#[from] ListingError),
}

const PROTOCOL: &str = "docker-slim-collector";
const VERSION: u32 = 1;

/// Says who speaks.
fn hello() -> Hello {
    Hello { protocol: PROTOCOL.to_owned(), version: VERSION }
}

/// Checks who speaks.
fn check_hello(hello: Hello) -> Result<(), CollectorError> {
    if hello.protocol == PROTOCOL && hello.version == VERSION {
        Ok(())
    } else {
        Err(CollectorError::OtherVersion { protocol: hello.protocol, version: hello.version })
    }
}
