//! The verbs of an engine, and what they say about containers.

use crate::embedded::Store;
use crate::error::EngineError;
use crate::ports::Protocol;
use crate::run::TEMPORARY_REPOSITORY;
use crate::spec::ContainerSpec;
use crate::streams::Attached;
use async_trait::async_trait;
use slim_image::Reference;
use slim_image::config::SourceImage;
use slim_image::history::HistoryEntry;
use std::collections::BTreeMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;
use tokio::io::AsyncRead;

type Result<T> = std::result::Result<T, EngineError>;

/// Where supervisors of containers listen: from before a container's start on, they are told of the system calls of its
/// programs, and answer them (seccomp's user notification; `embedded/telling.rs` says what is sent). The container is killed
/// when its supervisor closes the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SupervisorSockets {
    pub(crate) containers: PathBuf,
    pub(crate) name: &'static str,
}

impl SupervisorSockets {
    /// The place for the container with this id, which has been created.
    #[must_use]
    pub fn of(&self, container: &str) -> PathBuf {
        self.containers.join(container).join(self.name)
    }
}

/// Something that runs containers and holds images.
///
/// Calls that only ask or set something end within a minute or two, whatever the engine does ([`EngineError::TimedOut`]).
/// `wait`, `load_image` and attached streams take as long as they take, but end when the engine goes away.
#[async_trait]
pub trait Engine: Send + Sync {
    /// What engine this is.
    async fn describe(&self) -> Result<EngineDescription>;

    /// What the engine knows about an image. `reference`: name, id or the beginning of an id.
    ///
    /// # Errors
    /// [`EngineError::ImageNotFound`], [`EngineError::ImageUnreadable`].
    async fn inspect_image(&self, reference: &str) -> Result<SourceImage>;

    /// Where the image's layers lie as directories in overlayfs's format, the base first; `None` where they do not, not
    /// on this machine, or not readable by us as containers see them. `image`: its id.
    async fn local_layers(&self, _image: &str) -> Result<Option<Vec<PathBuf>>> {
        Ok(None)
    }

    /// The steps of an image's making, the oldest first, with those that left its `layers` layers told from the others;
    /// empty where the engine does not know.
    ///
    /// # Errors
    /// [`EngineError::ImageNotFound`].
    async fn image_history(&self, reference: &str, layers: usize) -> Result<Vec<HistoryEntry>>;

    /// Makes a container and does not start it.
    ///
    /// # Errors
    /// [`EngineError::ImageNotFound`]; [`EngineError::CreateFailed`] with the engine's reason.
    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId>;

    /// Where a supervisor may listen to be told of the system calls of containers' programs; `None` where the engine cannot
    /// do this.
    fn supervisor_sockets(&self) -> Option<SupervisorSockets> {
        None
    }

    /// Starts a container.
    ///
    /// # Errors
    /// [`EngineError::StartFailed`] with the engine's reason: no such program, port taken, bad mount …
    async fn start(&self, id: &ContainerId) -> Result<()>;

    /// Waits until a started container has ended; gives its exit code (128 + signal when a signal ended it).
    async fn wait(&self, id: &ContainerId) -> Result<i64>;

    /// How a container is doing.
    async fn inspect(&self, id: &ContainerId) -> Result<ContainerState>;

    /// Sends the stop signal (the image's STOPSIGNAL, else TERM) and after `grace` (rounded up to seconds) KILL.
    /// A container that does not run is no error.
    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()>;

    /// Sends a signal (`KILL`, `USR1` …) to the container's first process. A container that does not run is no error.
    async fn kill(&self, id: &ContainerId, signal: &str) -> Result<()>;

    /// Freezes a container's processes.
    async fn pause(&self, id: &ContainerId) -> Result<()>;

    /// Lets them go on.
    async fn unpause(&self, id: &ContainerId) -> Result<()>;

    /// Removes a container with its anonymous volumes; `force` kills it first. One that is gone is no error.
    async fn remove(&self, id: &ContainerId, force: bool) -> Result<()>;

    /// What the container wrote to stdout and stderr, the last `tail` lines or all of it.
    async fn logs(&self, id: &ContainerId, tail: Option<usize>) -> Result<Logs>;

    /// Unpacks a tar archive into a folder of a container, which need not run.
    async fn copy_in(&self, id: &ContainerId, directory: &str, tar: Vec<u8>) -> Result<()>;

    /// Takes over the streams of a created container. Call it before `start`, or the first output may be lost.
    async fn attach(&self, id: &ContainerId) -> Result<Attached>;

    /// Runs a command in a running container and waits for its end.
    async fn exec(&self, id: &ContainerId, command: &ExecSpec) -> Result<ExecResult>;

    /// Whether an archive that is to be loaded may be an OCI layout as well. Podman takes the layout then, and for it an image
    /// in OCI's format has no HEALTHCHECK.
    ///
    /// # Errors
    /// When the engine does not say what it is.
    async fn takes_layouts(&self) -> Result<bool> {
        Ok(true)
    }

    /// Loads a docker-archive; gives what the engine says it loaded (references, or ids of images without one).
    ///
    /// # Errors
    /// [`EngineError::LoadFailed`] with the engine's reason, wherever in the stream it appears.
    async fn load_image(&self, archive: Box<dyn AsyncRead + Send + Unpin>) -> Result<Vec<String>>;

    /// Gives an image as a docker-archive, which ends with an error where the engine cannot give it whole.
    ///
    /// # Errors
    /// [`EngineError::ImageNotFound`].
    async fn save_image(&self, reference: &str) -> Result<Box<dyn AsyncRead + Send + Unpin>>;

    /// Every image that has a name, and those without that nothing is built on; not the temporary ones of ours.
    async fn list_images(&self) -> Result<Vec<HeldImage>>;

    /// The store of an engine that is in this program: images come into it without an archive.
    fn store(&self) -> Option<&Store> {
        None
    }

    /// Brings an image from its registry, as anybody may or as whoever `login` says. `reference`: `name`, `name:tag`,
    /// `name@digest`.
    ///
    /// # Errors
    /// [`EngineError::ImageNotFound`] with the engine's reason, the registry's words in it.
    async fn pull_image(&self, reference: &str, login: Option<&Login>) -> Result<()>;

    /// Gives an image one more name (`name[:tag]`); the name's former owner loses it.
    async fn tag(&self, image: &str, reference: &str) -> Result<()>;

    /// Takes a name away from its image. The image goes with its last name; other images stay.
    async fn untag(&self, reference: &str) -> Result<()>;

    /// Removes an image with all its names. Parents without a name stay.
    ///
    /// # Errors
    /// [`EngineError::ImageNotFound`]; a container that still uses it.
    async fn remove_image(&self, id: &str) -> Result<()>;

    /// Whether there is such an image.
    async fn image_exists(&self, reference: &str) -> Result<bool>;

    /// Every name that an image has, sorted; none where names are not the engine's own.
    async fn image_names(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Every container, volume and network that carries the label [`crate::run::LABEL_RUN`], and every temporary image
    /// name of ours ([`crate::run::Run::temporary_reference`]).
    async fn sweep_candidates(&self) -> Result<Vec<Candidate>>;

    /// Removes one of them, containers by force. One that is gone is no error.
    async fn remove_candidate(&self, candidate: &Candidate) -> Result<()>;
}

/// A container's full id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContainerId(String);

impl ContainerId {
    /// Takes the id as the engine gave it.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self(id.into())
    }

    /// All of its digits.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The twelve digits that people know.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.get(..12).unwrap_or(&self.0)
    }
}

impl fmt::Display for ContainerId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// Who we are for a registry, when the engine talks to it.
#[derive(Clone, PartialEq, Eq)]
pub enum Login {
    Password { user: String, password: String },
    IdentityToken(String),
}

impl fmt::Debug for Login {
    /// Secrets reach no log.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Password { user, .. } => write!(formatter, "password of {user}"),
            Self::IdentityToken(_) => formatter.write_str("identity token"),
        }
    }
}

/// An image that an engine holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeldImage {
    pub id: String,
    /// `repository:tag`, sorted.
    pub names: Vec<String>,
    /// RFC 3339.
    pub created: Option<String>,
    /// Bytes, as the engine counts them.
    pub size: u64,
    /// Whether a build of ours made it, as far as its history or its name tells.
    pub is_slim: bool,
}

impl HeldImage {
    /// Sorts names and tells slim images from others. `steps`: what its history says of who made each of them.
    pub(crate) fn new(
        id: String,
        mut names: Vec<String>,
        created: Option<String>,
        size: u64,
        steps: &[HistoryEntry],
    ) -> Self {
        names.retain(|name| !name.starts_with("<none>") && !name.starts_with(TEMPORARY_REPOSITORY));
        names.sort();
        let is_slim_name = |name: &String| name.parse::<Reference>().is_ok_and(|name| name.is_slim_name());
        let is_slim = slim_image::history::is_slim(steps) || names.iter().any(is_slim_name);
        Self { id, names, created, size, is_slim }
    }
}

/// What an engine is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineDescription {
    /// `docker`, `podman`.
    pub name: String,
    pub version: String,
    /// The version of the API that we speak with it.
    pub api_version: String,
    /// Its address.
    pub endpoint: String,
    /// The OCI runtime that containers get unless they ask for another: `runc`, `crun` …
    pub runtime: String,
    /// Its version; empty where the engine does not say.
    pub runtime_version: String,
    /// `cgroupfs`, `systemd`, `none`.
    pub cgroup_driver: String,
    /// 1 or 2.
    pub cgroup_version: u8,
    pub storage_driver: String,
    /// Where images and containers lie on the engine's host.
    pub root_directory: String,
    /// Kernel of the engine's host.
    pub kernel_version: String,
    /// `x86_64`, `aarch64` …
    pub architecture: String,
    /// Whether containers are processes of this machine's kernel (reached by a socket, same kernel and host name).
    pub local: bool,
}

/// How a container is doing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ContainerState {
    /// `created`, `running`, `exited` …
    pub status: String,
    pub running: bool,
    pub paused: bool,
    /// First process, in the engine's own pid name space; `None` when it does not run.
    pub pid: Option<u32>,
    /// Meaningful once it has ended.
    pub exit_code: i64,
    /// Why it could not be started; empty otherwise.
    pub error: String,
    pub out_of_memory: bool,
    /// Its addresses on all its networks; none with `--network host` or `none`.
    pub addresses: Vec<IpAddr>,
    /// Sorted by container port.
    pub ports: Vec<PublishedPort>,
    /// Sorted by target.
    pub mounts: Vec<ContainerMount>,
    /// `starting`, `healthy`, `unhealthy`; `None` without a health check.
    pub health: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// The image's id.
    pub image: String,
    /// Whether stdout and stderr are one terminal.
    pub tty: bool,
    /// `default`, `host`, `none`, a network's name …
    pub network_mode: String,
}

/// A port of a container that is to be reached on the host.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublishedPort {
    pub container_port: u16,
    pub protocol: Protocol,
    pub host_ip: IpAddr,
    pub host_port: u16,
}

/// A mount of a container.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ContainerMount {
    /// Path in the container.
    pub target: String,
    /// Path on the engine's host; empty for memory.
    pub source: String,
    /// `bind`, `volume`, `tmpfs`.
    pub kind: String,
    /// Of a volume.
    pub name: Option<String>,
    pub writable: bool,
}

/// A command to run in a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ExecSpec {
    pub argv: Vec<String>,
    /// `None`: the container's.
    pub user: Option<String>,
    pub env: Vec<String>,
    pub working_directory: Option<String>,
    /// Written to its standard input, which then ends. `None`: no standard input.
    pub stdin: Option<Vec<u8>>,
}

/// How a command ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecResult {
    pub exit_code: i64,
    /// The last MiB of it.
    pub stdout: Vec<u8>,
    /// The last MiB of it.
    pub stderr: Vec<u8>,
}

/// What a container wrote, stdout and stderr in the order in which the engine got them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Logs {
    /// At most the last 16 MiB.
    pub bytes: Vec<u8>,
    /// Why there is nothing to read, where the container's log driver keeps nothing.
    pub unreadable: Option<String>,
}

impl Logs {
    /// The last `count` lines, with what is no text replaced.
    #[must_use]
    pub fn last_lines(&self, count: usize) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

/// Something in the engine that may be a leftover.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    pub kind: CandidateKind,
    /// Id; name of a volume; temporary reference of an image.
    pub id: String,
    pub labels: BTreeMap<String, String>,
}

/// What kind of thing it is. In the order in which they can be removed: containers hold the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum CandidateKind {
    Container,
    /// By a temporary name that is to be taken away.
    ImageName,
    Volume,
    Network,
}

impl fmt::Display for CandidateKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Container => "container",
            Self::ImageName => "image name",
            Self::Volume => "volume",
            Self::Network => "network",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_are_text_whatever_was_written() {
        let logs = Logs { bytes: b"one\ntwo\nthr\xffee\n".to_vec(), unreadable: None };
        assert_eq!(logs.last_lines(2), "two\nthr\u{fffd}ee");
        assert_eq!(logs.last_lines(9).lines().count(), 3);
        assert_eq!(Logs::default().last_lines(3), "");
    }
}
