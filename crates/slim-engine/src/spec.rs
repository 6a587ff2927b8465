//! What a container is to be, before an engine makes it.

use crate::mounts::Mount;
use crate::ports::PublishPort;
use slim_image::config::Healthcheck;
use std::collections::{BTreeMap, BTreeSet};

/// Why a container's setting cannot be understood. The message is a fragment that fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("understand port {text:?}: {reason}")]
    Port { text: String, reason: &'static str },
    #[error("understand mount {text:?}: {reason}")]
    Mount { text: String, reason: String },
    #[error("understand the host configuration: {reason}")]
    HostConfig { reason: String },
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
    /// Ports to expose besides the image's own: `9000/tcp`.
    pub exposed_ports: BTreeSet<String>,
    /// Volumes besides the image's own: paths in the container.
    pub volumes: BTreeSet<String>,
    pub labels: BTreeMap<String, String>,
    /// `container[:alias]`.
    pub links: Vec<String>,
    /// `name:address`, for `/etc/hosts`.
    pub extra_hosts: Vec<String>,
    /// Addresses of name servers.
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    /// Name of the OCI runtime; `None`: the engine's own.
    pub runtime: Option<String>,
    pub sysctls: BTreeMap<String, String>,
    /// Bytes of `/dev/shm`.
    pub shm_size: Option<i64>,
    /// Settings in the API's own words; the ones above go before them.
    pub host_config: HostConfigFile,
}

/// A part of the API's `HostConfig`: what a file says of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HostConfigFile(pub(crate) serde_json::Map<String, serde_json::Value>);

impl HostConfigFile {
    /// Reads a JSON object with fields of the API's `HostConfig`.
    ///
    /// # Errors
    /// When it is no such object; fields that the API does not have are named.
    pub fn parse(text: &str) -> Result<Self, SpecError> {
        let failed = |reason: String| SpecError::HostConfig { reason };
        let fields: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(text).map_err(|error| failed(error.to_string()))?;
        let read: bollard::models::HostConfig =
            serde_json::from_value(fields.clone().into()).map_err(|error| failed(error.to_string()))?;
        // What reading leaves behind was not known.
        let known = serde_json::to_value(read).map_err(|error| failed(error.to_string()))?;
        let is_set = |value: &serde_json::Value| !value.is_null();
        let unknown = fields.iter().find(|(name, value)| is_set(value) && known.get(name.as_str()).is_none());
        match unknown {
            Some((name, _)) => Err(failed(format!("the API has no field {name:?}"))),
            None => Ok(Self(fields)),
        }
    }

    /// Whether it says nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.values().all(serde_json::Value::is_null)
    }

    /// Whether a field is `true`.
    #[must_use]
    pub fn is_true(&self, name: &str) -> bool {
        self.0.get(name) == Some(&serde_json::Value::Bool(true))
    }

    /// What it says besides these fields.
    #[must_use]
    pub fn without(&self, names: &[&str]) -> Self {
        let others = self.0.iter().filter(|(name, _)| !names.contains(&name.as_str()));
        Self(others.map(|(name, value)| (name.clone(), value.clone())).collect())
    }

    /// The texts of a field that is a list; nothing of any other.
    pub fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        let list = self.0.get(name).and_then(serde_json::Value::as_array);
        list.into_iter().flatten().filter_map(serde_json::Value::as_str)
    }
}

/// Whether the image's health check runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum HealthCheck {
    /// As the image says.
    #[default]
    Image,
    /// The image's, with what is set here in its place.
    With(Healthcheck),
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

/// What a container may take; `None`: as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of memory, without swap on top.
    pub memory: Option<i64>,
    /// Billionths of a processor.
    pub nano_cpus: Option<i64>,
    /// Processes and threads at a time.
    pub pids: Option<i64>,
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
    /// Remove the container when it has ended.
    pub remove_at_end: bool,
    pub limits: Limits,
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
