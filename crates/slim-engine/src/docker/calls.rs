//! Calls with a time limit, and what their failures mean.

use super::{DockerEngine, Result};
use crate::endpoint::Endpoint;
use crate::engine::ContainerId;
use crate::error::EngineError;
use crate::transport::{Transport, TransportError};
use bollard::errors::Error as BollardError;
use http_body_util::BodyExt;
use hyper::Response;
use hyper::body::Incoming;
use serde::de::DeserializeOwned;
use std::fmt::Write as _;
use std::io;
use std::time::Duration;

/// The newest version of the API that this crate was written for.
const NEWEST: (u32, u32) = (1, 48);
/// The oldest one that has all we use (Docker 18.09).
const OLDEST: (u32, u32) = (1, 39);

#[derive(serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Versions {
    #[serde(default)]
    api_version: String,
    #[serde(default, rename = "MinAPIVersion")]
    min_api_version: String,
}

/// The engine's words for what went wrong.
#[derive(serde::Deserialize)]
struct Complaint {
    message: String,
}

/// Agrees on a version of the API: the engine's own, unless it is newer than what we know.
pub(super) async fn negotiate(transport: &Transport, limit: Duration) -> Result<String> {
    let endpoint = transport.endpoint();
    let failed = |reason: String| EngineError::NoEngine {
        endpoint: endpoint.to_string(),
        reason,
        hint: "see whether it is a Docker engine that listens there".to_owned(),
    };
    let exchange = async {
        let response = transport.get("/version").await.map_err(|error| no_engine(endpoint, &error))?;
        let status = response.status();
        let body =
            response.into_body().collect().await.map_err(|error| failed(error.to_string()))?.to_bytes();
        if !status.is_success() {
            return Err(failed(format!("it answers with status {status}")));
        }
        serde_json::from_slice::<Versions>(&body).map_err(|error| failed(error.to_string()))
    };
    let versions = tokio::time::timeout(limit, exchange)
        .await
        .map_err(|_| failed(format!("no answer within {} s", limit.as_secs())))??;
    common_version(&versions.api_version, &versions.min_api_version)
        .map(|(major, minor)| format!("{major}.{minor}"))
        .map_err(|reason| EngineError::Incompatible { endpoint: endpoint.to_string(), reason })
}

fn common_version(newest: &str, oldest: &str) -> std::result::Result<(u32, u32), String> {
    let theirs = parse_version(newest).ok_or_else(|| format!("{newest:?} is no version of the API"))?;
    let common = theirs.min(NEWEST);
    if common < OLDEST {
        return Err(format!(
            "it speaks version {newest} of the API, at least {}.{} is needed",
            OLDEST.0, OLDEST.1
        ));
    }
    match parse_version(oldest) {
        Some(minimum) if minimum > common => {
            Err(format!("it wants version {oldest} of the API, we know up to {}.{}", NEWEST.0, NEWEST.1))
        }
        _ => Ok(common),
    }
}

fn parse_version(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once('.')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Nobody there, said so that a person knows what to do.
fn no_engine(endpoint: &Endpoint, error: &TransportError) -> EngineError {
    let kind = match error {
        TransportError::Connect(error) => error.kind(),
        TransportError::Exchange(_) | TransportError::Request(_) => io::ErrorKind::Other,
    };
    let hint = match (endpoint, kind) {
        (Endpoint::Unix(_), io::ErrorKind::PermissionDenied) => {
            "this user may not use that socket: run as root, or join the group docker".to_owned()
        }
        (Endpoint::Unix(_), _) => {
            "start it (`systemctl start docker`, or `dockerd` as root), or set DOCKER_HOST to where one runs".to_owned()
        }
        (Endpoint::Tcp(tcp), _) if tcp.tls.is_none() => {
            "see whether DOCKER_HOST or the docker context is right, and whether the engine there wants TLS (DOCKER_TLS_VERIFY)"
                .to_owned()
        }
        (Endpoint::Tcp(_), _) => {
            "see whether DOCKER_HOST, DOCKER_CERT_PATH or the docker context is right".to_owned()
        }
        (Endpoint::Ssh(ssh), _) => format!(
            "try `ssh {}{} docker version`: the docker command must be there, and ssh must need no password",
            ssh.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default(),
            ssh.host
        ),
    };
    let reason = match error {
        TransportError::Connect(error) if error.kind() == io::ErrorKind::NotFound => match endpoint {
            Endpoint::Unix(_) => "the socket does not exist".to_owned(),
            _ => error.to_string(),
        },
        TransportError::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            "connection refused".to_owned()
        }
        TransportError::Connect(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            "permission denied".to_owned()
        }
        error => error.to_string(),
    };
    EngineError::NoEngine { endpoint: endpoint.to_string(), reason, hint }
}

impl DockerEngine {
    /// One call through bollard, within the usual time.
    pub(super) async fn timed<T>(
        &self,
        action: &(dyn Fn() -> String + Sync),
        call: impl Future<Output = std::result::Result<T, BollardError>>,
    ) -> Result<T> {
        self.timed_by(self.call_timeout, action, call).await
    }

    /// One call through bollard, within a given time.
    pub(super) async fn timed_by<T>(
        &self,
        limit: Duration,
        action: &(dyn Fn() -> String + Sync),
        call: impl Future<Output = std::result::Result<T, BollardError>>,
    ) -> Result<T> {
        match tokio::time::timeout(limit, call).await {
            Ok(answer) => answer.map_err(|error| self.meaning(action(), error)),
            Err(_) => Err(self.timed_out(action(), limit)),
        }
    }

    /// Reads a JSON document.
    pub(super) async fn ask<T: DeserializeOwned>(&self, action: &str, path: &str) -> Result<T> {
        self.ask_as(&|| action.to_owned(), path).await
    }

    /// Reads a JSON document.
    pub(super) async fn ask_as<T: DeserializeOwned>(
        &self,
        action: &(dyn Fn() -> String + Sync),
        path: &str,
    ) -> Result<T> {
        let exchange = async {
            let response = self.transport.get(path).await.map_err(|error| self.broken(action(), &error))?;
            let response = self.checked(action, response).await?;
            let body = response.into_body().collect().await;
            let bytes = body.map_err(|error| self.broken(action(), &error.into()))?.to_bytes();
            serde_json::from_slice(&bytes)
                .map_err(|error| EngineError::Garbled { action: action(), reason: error.to_string() })
        };
        match tokio::time::timeout(self.call_timeout, exchange).await {
            Ok(answer) => answer,
            Err(_) => Err(self.timed_out(action(), self.call_timeout)),
        }
    }

    /// Lets an answer pass whose status is good; else reads the engine's complaint.
    pub(super) async fn checked(
        &self,
        action: &(dyn Fn() -> String + Sync),
        response: Response<Incoming>,
    ) -> Result<Response<Incoming>> {
        let status = response.status();
        if status.is_success() || status == hyper::StatusCode::SWITCHING_PROTOCOLS {
            return Ok(response);
        }
        let body = response.into_body().collect().await;
        let bytes = body.map_err(|error| self.broken(action(), &error.into()))?.to_bytes();
        let reason = serde_json::from_slice::<Complaint>(&bytes)
            .map(|complaint| complaint.message)
            .unwrap_or_else(|_| String::from_utf8_lossy(&bytes).trim().to_owned());
        Err(EngineError::Refused { action: action(), status: status.as_u16(), reason })
    }

    /// A connection that could not be made or did not hold. We have talked with this engine before.
    pub(super) fn broken(&self, action: String, error: &TransportError) -> EngineError {
        match error {
            TransportError::Request(reason) => EngineError::Garbled { action, reason: reason.clone() },
            error => self.went_away(action, error.to_string()),
        }
    }

    pub(super) fn went_away(&self, action: String, reason: String) -> EngineError {
        EngineError::WentAway { action, endpoint: self.endpoint().to_string(), reason }
    }

    pub(super) fn timed_out(&self, action: String, limit: Duration) -> EngineError {
        EngineError::TimedOut { action, endpoint: self.endpoint().to_string(), seconds: limit.as_secs() }
    }

    /// What a failure of bollard's means.
    fn meaning(&self, action: String, error: BollardError) -> EngineError {
        match error {
            BollardError::DockerResponseServerError { status_code, message } => {
                EngineError::Refused { action, status: status_code, reason: message }
            }
            BollardError::RequestTimeoutError => self.timed_out(action, self.call_timeout),
            BollardError::HyperResponseError { err } => self.broken(action, &err.into()),
            BollardError::IOError { err } => {
                match err.get_ref().and_then(|inner| inner.downcast_ref::<TransportError>()) {
                    Some(inner) => self.broken(action, inner),
                    None => self.went_away(action, err.to_string()),
                }
            }
            other => EngineError::Garbled { action, reason: other.to_string() },
        }
    }
}

/// Whether the engine says that the container itself does not exist (and not its network, its program …).
pub(super) fn means_no_container(status: u16, reason: &str) -> bool {
    status == 404 && reason.to_lowercase().contains("no such container")
}

/// Names the container that is gone.
pub(super) fn of_container(error: EngineError, id: &ContainerId) -> EngineError {
    match error {
        EngineError::Refused { action, status, reason } if means_no_container(status, &reason) => {
            EngineError::ContainerNotFound { action, id: id.to_string() }
        }
        other => other,
    }
}

/// Makes any text one part of a path or query. Slashes and colons stay: image names hold them.
pub(super) fn encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' | b':' | b'@' => {
                encoded.push(char::from(byte));
            }
            // Writing to a string cannot fail.
            _ => drop(write!(encoded, "%{byte:02X}")),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_older_side_decides_the_version() {
        assert_eq!(common_version("1.41", "1.12"), Ok((1, 41)));
        assert_eq!(common_version("1.99", "1.40"), Ok(NEWEST));
        assert!(common_version("1.24", "1.12").unwrap_err().contains("1.24"));
        assert!(common_version("2.5", "2.0").unwrap_err().contains("2.0"));
        assert!(common_version("", "").is_err());
    }

    #[test]
    fn no_name_can_leave_its_part_of_the_path() {
        assert_eq!(encode("host:5000/a/b:1@sha256:0"), "host:5000/a/b:1@sha256:0");
        assert_eq!(encode("a?b#c d%\"é"), "a%3Fb%23c%20d%25%22%C3%A9");
    }

    #[test]
    fn a_missing_network_is_not_a_missing_container() {
        assert!(means_no_container(404, "No such container: abc"));
        assert!(!means_no_container(404, "network nowhere not found"));
    }
}
