//! What a container is to be, before an engine makes it.

use crate::mounts::Mount;
use crate::ports::PublishPort;
use std::collections::BTreeMap;

/// Why a container's setting cannot be understood. The message is a fragment that fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("understand port {text:?}: {reason}")]
    Port { text: String, reason: &'static str },
    #[error("understand mount {text:?}: {reason}")]
    Mount { text: String, reason: String },
}

/// How a container differs from `docker run IMAGE`. The default differs in nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Overrides {
    /// Instead of the image's ENTRYPOINT; its CMD falls away then, too. An empty list: no entrypoint.
    pub entrypoint: Option<Vec<String>>,
    /// Instead of the image's CMD.
    pub cmd: Option<Vec<String>>,
    /// `NAME=VALUE`, on top of the image's own.
    pub env: Vec<String>,
    pub user: Option<String>,
    pub workdir: Option<String>,
    pub hostname: Option<String>,
    /// Name of a network, or `host`, `none`, `bridge`, `container:<id>`.
    pub network: Option<String>,
    pub mounts: Vec<Mount>,
    pub publish_ports: Vec<PublishPort>,
    /// Publish every exposed port under its own number, rather than under any free one.
    pub publish_exposed_ports: bool,
    /// Run the engine's init as process 1.
    pub init: bool,
}

/// Whether the image's health check runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HealthCheck {
    /// As the image says.
    #[default]
    Image,
    Off,
}

/// What a container may do. The default is the engine's own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Security {
    /// As in `--security-opt`; a seccomp profile as `seccomp=<the JSON itself>`.
    pub options: Vec<String>,
    pub capabilities_added: Vec<String>,
    pub capabilities_dropped: Vec<String>,
    pub read_only_root: bool,
    /// Path → mount options, as in `--tmpfs`.
    pub tmpfs: BTreeMap<String, String>,
}

/// One container to make.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerSpec {
    /// Reference or id.
    pub image: String,
    /// `None`: the engine picks one.
    pub name: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub overrides: Overrides,
    pub security: Security,
    pub health_check: HealthCheck,
    /// Publish every exposed port, as `docker run -P` does.
    pub publish_all: bool,
    /// `None`: the engine's own log driver.
    pub log_driver: Option<String>,
    /// Open standard input, and end it when the one that attached ends it.
    pub standard_input: bool,
    pub tty: bool,
}

impl ContainerSpec {
    /// What `docker run -P IMAGE` would make, with the user's own settings on top.
    #[must_use]
    pub fn published(image: &str, overrides: Overrides) -> Self {
        // Ports published one by one under their own numbers need no second, random one.
        let publish_all = !overrides.publish_exposed_ports;
        Self { image: image.to_owned(), overrides, publish_all, ..Self::default() }
    }
}
