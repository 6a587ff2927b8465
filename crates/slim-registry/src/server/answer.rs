//! Answers as the distribution specification has them: errors with their codes, and heads.

use bytes::Bytes;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use std::io;

pub(super) type Body = UnsyncBoxBody<Bytes, io::Error>;
pub(super) type Answer = Response<Body>;

/// Why a request is refused; becomes the specification's JSON.
#[derive(Debug)]
pub(super) struct Refusal {
    status: StatusCode,
    code: &'static str,
    message: String,
    headers: Vec<(HeaderName, HeaderValue)>,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), headers: Vec::new() }
    }

    pub(super) fn with(mut self, name: HeaderName, value: &str) -> Self {
        self.headers.push((name, header(value)));
        self
    }

    pub(super) fn blob_unknown(digest: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UNKNOWN", format!("the repository has no blob {digest}"))
    }

    pub(super) fn upload_unknown(id: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", format!("there is no upload {id}"))
    }

    pub(super) fn upload_invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BLOB_UPLOAD_INVALID", message)
    }

    /// What does not follow on what was uploaded before.
    pub(super) fn out_of_order(message: impl Into<String>) -> Self {
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "BLOB_UPLOAD_INVALID", message)
    }

    pub(super) fn range(message: impl Into<String>) -> Self {
        Self::new(StatusCode::RANGE_NOT_SATISFIABLE, "SIZE_INVALID", message)
    }

    pub(super) fn size(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "SIZE_INVALID", message)
    }

    pub(super) fn digest(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "DIGEST_INVALID", message)
    }

    pub(super) fn manifest_unknown(which: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "MANIFEST_UNKNOWN",
            format!("the repository has no manifest {which}"),
        )
    }

    pub(super) fn manifest_invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", message)
    }

    pub(super) fn manifest_too_large(limit: u64) -> Self {
        let message = format!("a manifest has {limit} bytes at most");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "MANIFEST_INVALID", message)
    }

    pub(super) fn manifest_blob_unknown(digest: &str) -> Self {
        let message = format!("the manifest names {digest}, which the repository does not have");
        Self::new(StatusCode::BAD_REQUEST, "MANIFEST_BLOB_UNKNOWN", message)
    }

    pub(super) fn name_invalid(name: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "NAME_INVALID", format!("{name:?} is no name of a repository"))
    }

    pub(super) fn name_unknown(name: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NAME_UNKNOWN", format!("there is no repository {name}"))
    }

    pub(super) fn unsupported() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "UNSUPPORTED", "this cannot be done here")
    }

    pub(super) fn nothing_there() -> Self {
        Self::new(StatusCode::NOT_FOUND, "UNSUPPORTED", "there is nothing at this address")
    }

    /// The client went away in the middle, or what it sends is broken.
    pub(super) fn broken(reason: &str) -> Self {
        Self::upload_invalid(format!("the request's body broke off: {reason}"))
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        // The client learns no paths; whoever runs the registry finds it in the log.
        tracing::error!(%error, "the registry's folder");
        let status = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StatusCode::INSUFFICIENT_STORAGE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(status, "UNKNOWN", format!("the registry's folder: {}", error.kind()))
    }
}

impl From<Refusal> for Answer {
    fn from(refusal: Refusal) -> Self {
        let document = serde_json::json!({"errors": [{"code": refusal.code, "message": refusal.message}]});
        let mut answer = answer(refusal.status, document.to_string());
        answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        answer.headers_mut().extend(refusal.headers);
        answer
    }
}

pub(super) fn answer(status: StatusCode, bytes: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(bytes.into()).map_err(|never| match never {}).boxed_unsync());
    *answer.status_mut() = status;
    answer
}

pub(super) fn with(mut answer: Answer, headers: &[(HeaderName, &str)]) -> Answer {
    for (name, value) in headers {
        answer.headers_mut().insert(name, header(value));
    }
    answer
}

fn header(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).unwrap_or(HeaderValue::from_static("-"))
}
