//! Running containers: trait [`Engine`] with few verbs; Docker (Podman through the same API) and an engine of our own
//! behind it.
//!
//! Nothing above this crate knows which engine runs. What the environment says is handed in (see [`endpoint`]);
//! [`host`] reads what the kernel says of processes; all else that touches the kernel is in [`embedded`].
#![deny(unsafe_code)]

pub mod collector;
pub mod docker;
pub mod embedded;
pub mod endpoint;
pub mod engine;
pub mod error;
pub mod host;
pub mod mounts;
pub mod ports;
pub mod run;
pub mod sidecar;
pub mod spec;
pub mod streams;

mod tls;
mod transport;

pub use collector::{Collector, CollectorSpec, start_collector};
pub use docker::DockerEngine;
pub use embedded::EmbeddedEngine;
pub use endpoint::{Endpoint, EndpointError, EndpointInputs};
pub use engine::{
    Candidate, CandidateKind, ContainerId, ContainerMount, ContainerState, Engine, EngineDescription,
    ExecResult, ExecSpec, HeldImage, Login, Logs, PublishedPort, SupervisorSockets,
};
pub use error::EngineError;
pub use mounts::{Mount, MountSource};
pub use ports::{Protocol, PublishPort};
pub use run::{Run, Sweep, TEMPORARY_REPOSITORY, remove_run, sweep};
pub use sidecar::{RunningSidecar, SidecarSpec, prune_sidecars, start_sidecar};
pub use slim_dial::resolve;
pub use spec::{ContainerSpec, HealthCheck, HostConfigFile, Limits, Overrides, Security, SpecError};
pub use streams::{Attached, Diagnostics};

/// Finds the engine that is meant and agrees on a version of the API with it.
///
/// # Errors
/// [`EngineError::Endpoint`] where it cannot be told which one is meant, [`EngineError::NoEngine`] where none answers.
pub async fn connect(inputs: &EndpointInputs) -> Result<Box<dyn Engine>, EngineError> {
    let endpoint = endpoint::resolve(inputs)?;
    Ok(Box::new(DockerEngine::connect(&endpoint).await?))
}
