//! What is written of a container below the store: `container.json` when it is made, `state.json` by whoever runs it.
//!
//! Invariant: both appear whole or not at all, and have a version; the state names processes with their start times, so
//! that a number used again is never taken for the container.

use super::health::Check;
use crate::host;
use crate::ports::{Protocol, PublishPort};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use slim_image::Digest;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// Version of both files.
pub(super) const VERSION: u32 = 1;

/// A container as it was asked for, settled down to what its runtime needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub version: u32,
    pub id: String,
    pub name: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub image: Digest,
    /// Diff ids of its layers, the base first.
    pub layers: Vec<Digest>,
    pub argv: Vec<String>,
    /// Without what the container's own user and name add.
    pub env: Vec<String>,
    /// `user`, `uid`, `user:group` …; empty for root.
    pub user: String,
    pub working_directory: String,
    pub hostname: String,
    pub network: Network,
    pub mounts: Vec<RecordedMount>,
    /// Path → mount options.
    pub tmpfs: BTreeMap<String, String>,
    pub ports: Vec<RecordedPort>,
    pub read_only_root: bool,
    /// Names without `CAP_`, sorted.
    pub capabilities: Vec<String>,
    /// The JSON of a profile as Docker takes it; `None` for none.
    pub seccomp: Option<String>,
    pub no_new_privileges: bool,
    /// Nothing masked, nothing read-only in /proc and /sys.
    pub unmasked: bool,
    pub stop_signal: String,
    pub shm_size: i64,
    pub sysctls: BTreeMap<String, String>,
    /// `name:address`.
    pub extra_hosts: Vec<String>,
    pub dns: Vec<String>,
    pub dns_search: Vec<String>,
    /// Whether what the program writes is kept.
    pub keeps_log: bool,
    /// Whether its streams are one terminal.
    #[serde(default)]
    pub tty: bool,
    /// Whether its standard input is open.
    #[serde(default)]
    pub standard_input: bool,
    /// Whether its keeper removes it when it has ended.
    #[serde(default)]
    pub removes_itself: bool,
    /// Name of a loaded AppArmor profile.
    #[serde(default)]
    pub apparmor: Option<String>,
    #[serde(default)]
    pub limits: RecordedLimits,
    #[serde(default)]
    pub health: Option<Check>,
}

/// What it may take; `None` for as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RecordedLimits {
    /// Bytes.
    pub memory: Option<i64>,
    /// Billionths of a processor.
    pub nano_cpus: Option<i64>,
    pub pids: Option<i64>,
}

/// Which network a container has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Network {
    /// One of its own with nothing but the loopback interface.
    Own,
    /// The same with a way out ([`super::bridge`]).
    Bridge,
    Host,
}

/// A mount besides those of the root and of the runtime.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RecordedMount {
    pub target: String,
    pub source: RecordedSource,
    pub read_only: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum RecordedSource {
    Bind(PathBuf),
    /// A folder of the container's own, filled with what the image holds at the target.
    Anonymous(String),
    /// A folder of the store's, filled the first time.
    Named(String),
}

/// A port to be reached on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct RecordedPort {
    pub container_port: u16,
    #[serde(default)]
    pub protocol: Protocol,
    pub host_ip: IpAddr,
    /// 0: any free one.
    pub host_port: u16,
}

impl RecordedPort {
    pub(super) fn of(port: &PublishPort) -> Self {
        Self {
            container_port: port.container_port,
            protocol: port.protocol,
            host_ip: port.host_ip.unwrap_or(IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED)),
            host_port: port.host_port.unwrap_or(0),
        }
    }
}

/// How a container is doing, as its keeper wrote it last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    pub version: u32,
    pub status: Status,
    /// The one that lived when somebody looked; never written.
    #[serde(skip)]
    pub keeper: Option<Process>,
    pub program: Option<Process>,
    pub exit_code: i64,
    /// Why it could not be started.
    pub error: String,
    pub out_of_memory: bool,
    /// With the host's ports as they are.
    pub ports: Vec<RecordedPort>,
    /// Its own, besides loopback.
    #[serde(default)]
    pub addresses: Vec<IpAddr>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Status {
    Created,
    Running,
    Exited,
}

impl State {
    pub(super) fn created() -> Self {
        Self {
            version: VERSION,
            status: Status::Created,
            keeper: None,
            program: None,
            exit_code: 0,
            error: String::new(),
            out_of_memory: false,
            ports: Vec::new(),
            addresses: Vec::new(),
        }
    }

    /// The program, while it lives and the container counts as running.
    pub(super) fn living_program(&self) -> Option<Process> {
        self.program.filter(|program| self.status == Status::Running && program.lives())
    }
}

/// A process of this machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Process {
    pub pid: u32,
    /// In clock ticks since boot.
    pub start_time: u64,
}

impl Process {
    /// `None` where there is no such process.
    pub(super) fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, start_time: host::start_time(pid)? })
    }

    pub(super) fn lives(&self) -> bool {
        host::start_time(self.pid) == Some(self.start_time)
    }
}

/// The files of one container.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

impl Folder {
    pub(super) fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn join(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    pub(super) fn record(&self) -> io::Result<Record> {
        let record: Record = read(&self.join("container.json"))?;
        known(record.version, &self.join("container.json")).map(|()| record)
    }

    pub(super) fn write_record(&self, record: &Record) -> io::Result<()> {
        write(&self.join("container.json"), record)
    }

    pub(super) fn state(&self) -> io::Result<State> {
        let state: State = read(&self.join("state.json"))?;
        known(state.version, &self.join("state.json")).map(|()| state)
    }

    pub(super) fn write_state(&self, state: &State) -> io::Result<()> {
        write(&self.join("state.json"), state)
    }

    /// Where an anonymous volume lies.
    pub(super) fn volume(&self, name: &str) -> PathBuf {
        self.join("volumes").join(name).join("_data")
    }

    /// What the program wrote.
    pub(super) fn log(&self) -> PathBuf {
        self.join("log.1")
    }
}

fn known(version: u32, path: &Path) -> io::Result<()> {
    if version == VERSION {
        return Ok(());
    }
    let text = format!("{} has version {version}, version {VERSION} is understood", path.display());
    Err(io::Error::new(io::ErrorKind::InvalidData, text))
}

fn read<T: DeserializeOwned>(path: &Path) -> io::Result<T> {
    serde_json::from_slice(&fs::read(path)?)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{}: {error}", path.display())))
}

/// Writes a file so that it is there whole or not at all.
pub(super) fn write(path: &Path, value: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec_pretty(value).map_err(io::Error::other)?;
    let beside = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = fs::File::create(&beside)?;
    file.write_all(&bytes)?;
    drop(file);
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_another_version_is_refused_by_name() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::new(directory.path());
        folder.write_state(&State { version: 7, ..State::created() }).unwrap();
        let error = folder.state().unwrap_err().to_string();
        assert!(error.contains("state.json has version 7"), "{error}");
        folder.write_state(&State::created()).unwrap();
        assert_eq!(folder.state().unwrap(), State::created());
    }

    #[test]
    fn a_process_under_a_number_used_again_is_not_the_container() {
        let this = Process::of(std::process::id()).unwrap();
        assert!(this.lives());
        let other = Process { start_time: this.start_time + 1, ..this };
        assert!(!other.lives());
        let state = State { status: Status::Running, program: Some(other), ..State::created() };
        assert_eq!(state.living_program(), None);
    }
}
