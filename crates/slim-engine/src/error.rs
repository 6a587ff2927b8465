//! Why an engine did not do what it was asked to, and what that means for the exit code.
//!
//! Invariant: an engine that cannot be reached, or stops answering half-way, is always [`EngineError::NoEngine`],
//! whatever call met it.

use crate::endpoint::EndpointError;
use crate::spec::SpecError;

/// Why a call to the engine failed. The message is a fragment that fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// Nothing answers there.
    #[error("reach the engine: no Docker engine answers at {endpoint} ({reason})")]
    NoEngine { endpoint: String, reason: String, hint: String },
    /// It answered before, and does not any more.
    #[error("{action}: the engine at {endpoint} went away ({reason})")]
    WentAway { action: String, endpoint: String, reason: String },
    /// It is there, but did not answer in time.
    #[error("{action}: the engine at {endpoint} did not answer within {seconds} s")]
    TimedOut { action: String, endpoint: String, seconds: u64 },
    /// Which engine is meant cannot be told.
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    /// The engine speaks no version of the API that we know.
    #[error("talk to the engine at {endpoint}: {reason}")]
    Incompatible { endpoint: String, reason: String },
    /// No such image in the engine.
    #[error("find image {reference}: {reason}")]
    ImageNotFound { reference: String, reason: String },
    /// The image is there, but what the engine says about it cannot be understood.
    #[error("read image {reference}: {reason}")]
    ImageUnreadable { reference: String, reason: String },
    /// The engine did not take the image.
    #[error("load the image: {reason}")]
    LoadFailed { reason: String },
    /// The engine refused to make the container.
    #[error("create a container of {image}: {reason}")]
    CreateFailed { image: String, reason: String },
    /// The container was made but did not start.
    #[error("start container {id}: {reason}")]
    StartFailed { id: String, reason: String },
    /// The container is gone.
    #[error("{action}: no such container {id}")]
    ContainerNotFound { action: String, id: String },
    /// A setting of the container cannot be understood.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// The engine answered with an error.
    #[error("{action}: the engine says: {reason}")]
    Refused { action: String, status: u16, reason: String },
    /// The engine answered with something that cannot be understood.
    #[error("{action}: cannot understand the engine's answer ({reason})")]
    Garbled { action: String, reason: String },
    /// The embedded engine's own store does not do what it should.
    #[error("{action} the store at {}: {reason}", .path.display())]
    Store { action: String, path: std::path::PathBuf, reason: String },
    /// A file of this machine that a call needs cannot be read.
    #[error("read {path}: {source}")]
    File { path: std::path::PathBuf, source: std::io::Error },
}

impl EngineError {
    /// The exit code of the design's table.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NoEngine { .. }
            | Self::WentAway { .. }
            | Self::TimedOut { .. }
            | Self::Incompatible { .. }
            | Self::Store { .. }
            | Self::Refused { .. }
            | Self::Garbled { .. } => 3,
            Self::Endpoint(_) | Self::Spec(_) => 2,
            Self::ImageNotFound { .. } | Self::ImageUnreadable { .. } | Self::LoadFailed { .. } => 4,
            Self::CreateFailed { .. } | Self::StartFailed { .. } | Self::ContainerNotFound { .. } => 5,
            Self::File { .. } => 1,
        }
    }

    /// What the reader may do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::NoEngine { hint, .. } => Some(hint.clone()),
            Self::Endpoint(error) => error.hint(),
            Self::WentAway { .. } | Self::TimedOut { .. } => {
                Some("see whether the engine still runs: `docker info`, and its own log".to_owned())
            }
            Self::ImageNotFound { reference, reason } if reason.contains("store") => Some(format!(
                "`docker-slim store ls` lists what the store holds; `docker-slim store import docker-daemon:{reference}` \
                 brings it there from Docker, docker://{reference} from its registry"
            )),
            Self::ImageNotFound { reference, .. } => Some(format!(
                "`docker images` lists what the engine holds; `docker pull {reference}` or `docker build -t {reference} .` brings it there"
            )),
            Self::LoadFailed { reason } | Self::Refused { reason, .. }
                if reason.contains("no space left") =>
            {
                Some("the engine's disk is full: `docker system df` shows what takes the space".to_owned())
            }
            Self::CreateFailed { reason, .. } if reason.contains("No command specified") => Some(
                "the image has neither ENTRYPOINT nor CMD: give one with --entrypoint or --cmd".to_owned(),
            ),
            Self::StartFailed { reason, .. }
                if reason.contains("port is already allocated")
                    || reason.contains("address already in use") =>
            {
                Some("another container or program holds that port: publish another one".to_owned())
            }
            _ => None,
        }
    }

    /// Whether the thing that the call was about does not exist (any more).
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(
            self,
            Self::ImageNotFound { .. } | Self::ContainerNotFound { .. } | Self::Refused { status: 404, .. }
        )
    }

    /// Whether the engine itself is gone: whoever cleans up need not try the rest.
    #[must_use]
    pub fn is_engine_gone(&self) -> bool {
        matches!(self, Self::NoEngine { .. } | Self::WentAway { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_losing_the_engine_is_exit_code_3() {
        let lost = [
            EngineError::NoEngine { endpoint: "e".into(), reason: "r".into(), hint: "h".into() },
            EngineError::WentAway { action: "a".into(), endpoint: "e".into(), reason: "r".into() },
            EngineError::TimedOut { action: "a".into(), endpoint: "e".into(), seconds: 1 },
        ];
        for error in lost {
            assert_eq!(error.exit_code(), 3, "{error}");
            assert!(error.hint().is_some(), "{error}");
        }
    }

    #[test]
    fn a_full_disk_is_told_apart_from_a_broken_archive() {
        let full = EngineError::LoadFailed { reason: "write /x: no space left on device".into() };
        assert!(full.hint().expect("a hint").contains("disk is full"));
        assert_eq!(EngineError::LoadFailed { reason: "unexpected EOF".into() }.hint(), None);
    }
}
