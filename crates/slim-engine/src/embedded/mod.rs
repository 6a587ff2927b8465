//! An engine without a daemon: images in a store of our own, containers by libcontainer, each held by a process of its own
//! ([`keeper`]).
//!
//! What is known of containers is in files below the store, so that every docker-slim of this machine sees the same ones,
//! and the leftovers of dead runs. It needs root.

mod control_group;
mod create;
mod filter;
mod joining;
mod keeper;
mod log;
mod network;
mod oci;
mod program;
mod record;
mod rooted;
mod seccomp;
mod store;
mod telling;
pub mod user_namespace;
mod users;

pub use log::Stream;
pub use store::{Pruned, Store, StoredImage};

use crate::engine::{
    Candidate, CandidateKind, ContainerId, ContainerMount, ContainerState, Engine, EngineDescription,
    ExecResult, ExecSpec, Logs, PublishedPort, SupervisorSockets,
};
use crate::error::EngineError;
use crate::host;
use crate::ports::Protocol;
use crate::run::{LABEL_RUN, Run};
use crate::spec::ContainerSpec;
use crate::streams::Attached;
use async_trait::async_trait;
use joining::{Came, Request};
use keeper::Said;
use record::{Folder, Network, Process, Record, RecordedSource, State, Status, write};
use rustix::fs::{MemfdFlags, SealFlags};
use slim_image::config::SourceImage;
use slim_image::history::HistoryEntry;
use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};
use tokio::io::unix::AsyncFd;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

type Result<T> = std::result::Result<T, EngineError>;

/// Kept of a log, and of each stream of a command.
const LOG_BYTES: usize = 16 << 20;
const OUTPUT_BYTES: usize = 1 << 20;
/// A killed container is gone after this, or something is wrong.
const GONE_WITHIN: Duration = Duration::from_secs(20);
/// The hidden subcommand by which this program holds containers.
pub const HELPER_COMMAND: &str = "container-helper";

/// The embedded engine.
#[derive(Clone, Debug)]
pub struct EmbeddedEngine {
    store: Store,
    helper: Arc<Helper>,
}

/// This program's own file, and the copy of it that runs beside containers' programs.
///
/// Whoever is in a container can open the file of a process that joins it (`/proc/PID/exe`), and have our program run
/// itself by an entrypoint of that name: with the file of this machine's program in their hands they could change it for
/// everybody (CVE-2019-5736, there runc's). Of the sealed copy they can change nothing.
#[derive(Debug)]
struct Helper {
    file: PathBuf,
    copy: OnceLock<OwnedFd>,
}

impl Helper {
    /// A path of the copy, for our own children.
    fn path(&self) -> io::Result<PathBuf> {
        let copy = match self.copy.get() {
            Some(copy) => copy,
            None => {
                let made = sealed_copy(&self.file)?;
                self.copy.get_or_init(|| made)
            }
        };
        Ok(PathBuf::from(format!("/proc/self/fd/{}", copy.as_raw_fd())))
    }
}

fn sealed_copy(path: &Path) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let copy = File::from(rustix::fs::memfd_create("docker-slim", flags)?);
    io::copy(&mut File::open(path)?, &mut &copy)?;
    rustix::fs::fcntl_add_seals(
        &copy,
        SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE,
    )?;
    Ok(copy.into())
}

/// What the hidden subcommand is to do; its arguments as [`EmbeddedEngine`] gives them.
///
/// Call it before anything else and on the main thread: it forks and enters name spaces. It takes no log.
pub fn help(arguments: &[std::ffi::OsString]) -> u8 {
    let words: Vec<&OsStr> = arguments.iter().map(std::ffi::OsString::as_os_str).collect();
    match words.as_slice() {
        [verb, store, folder] if *verb == "keep" => keeper::keep(Path::new(store), Path::new(folder)),
        [verb, folder, request] if *verb == "join" => {
            let helper = [OsStr::new("/proc/self/exe"), OsStr::new(HELPER_COMMAND)];
            joining::join(&helper, Path::new(folder), Path::new(request))
        }
        [verb, command @ ..] if *verb == "as-root" => user_namespace::enter(command),
        [verb, pid] if *verb == "map-users" => user_namespace::map(pid),
        [verb, folder, request] if *verb == "enter" => joining::enter(Path::new(folder), Path::new(request)),
        _ => 2,
    }
}

impl EmbeddedEngine {
    /// An engine over a store. `helper`: this program's own file, or one that has its hidden subcommand.
    #[must_use]
    pub fn new(store: Store, helper: impl Into<PathBuf>) -> Self {
        Self { store, helper: Arc::new(Helper { file: helper.into(), copy: OnceLock::new() }) }
    }

    /// Its store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Work on files, off the async threads.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let this = self.clone();
        tokio::task::spawn_blocking(move || work(&this)).await.map_err(|error| EngineError::Garbled {
            action: "work on the store".to_owned(),
            reason: error.to_string(),
        })?
    }

    /// A container's folder and record. `action`: what for.
    fn known(&self, id: &ContainerId, action: &str) -> Result<(Folder, Record)> {
        let folder = self.store.container(id.as_str());
        match folder.record() {
            Ok(record) => Ok((folder, record)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Err(EngineError::ContainerNotFound {
                action: format!("{action} container {}", id.short()),
                id: id.to_string(),
            }),
            Err(error) => Err(refused(action, id, &error)),
        }
    }

    fn state(&self, id: &ContainerId, action: &str) -> Result<(Folder, Record, State)> {
        let (folder, record) = self.known(id, action)?;
        let mut state = folder.state().map_err(|error| refused(action, id, &error))?;
        state.keeper = keeper_of(&folder);
        // A keeper that was killed tells no end.
        if state.status == Status::Running && state.living_keeper().is_none() {
            state = folder.state().map_err(|error| refused(action, id, &error))?;
            if state.status == Status::Running {
                state = State {
                    status: Status::Exited,
                    exit_code: 137,
                    error: "the process that held it was killed".to_owned(),
                    ..state
                };
            }
        }
        Ok((folder, record, state))
    }

    fn make(&self, spec: &ContainerSpec) -> Result<ContainerId> {
        let _held = self.store.share()?;
        let image = self.store.get(&spec.image)?;
        let failed = |reason: String| EngineError::CreateFailed { image: spec.image.clone(), reason };
        let id = new_id().map_err(|error| failed(error.to_string()))?;
        let record = create::settle(spec, &image, &id).map_err(failed)?;
        let written = self.store.make_container(&record, &State::created());
        written.map_err(|error| failed(error.to_string()))?;
        Ok(ContainerId::new(id))
    }

    fn begin(&self, id: &ContainerId) -> Result<()> {
        let (folder, _, state) = self.state(id, "start")?;
        let failed = |reason: String| EngineError::StartFailed { id: id.short().to_owned(), reason };
        if state.status == Status::Running {
            return Ok(());
        }
        let told = OpenOptions::new().create(true).append(true).open(folder.join("keeper.log"));
        let told = told.map_err(|error| failed(error.to_string()))?;
        let helper = self.helper.path().map_err(|error| failed(format!("copy this program: {error}")))?;
        let mut child = std::process::Command::new(helper)
            .arg0("docker-slim")
            .arg(HELPER_COMMAND)
            .arg("keep")
            .arg(self.store.path())
            .arg(folder.path())
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(told)
            .process_group(0)
            .spawn()
            .map_err(|error| failed(format!("start {}: {error}", self.helper.file.display())))?;
        let keeper = Process::of(child.id());
        write(&folder.join("keeper.json"), &keeper).map_err(|error| failed(error.to_string()))?;
        let mut line = String::new();
        if let Some(output) = child.stdout.take() {
            BufReader::new(output).read_line(&mut line).map_err(|error| failed(error.to_string()))?;
        }
        // Nobody but us can take its end notice.
        thread::spawn(move || child.wait());
        match serde_json::from_str(&line) {
            Ok(Said::Started) => Ok(()),
            Ok(Said::Failed(reason)) => Err(failed(reason)),
            Err(_) => {
                let log = fs::read_to_string(folder.join("keeper.log")).unwrap_or_default();
                let last = log.lines().last().unwrap_or("it left no word");
                Err(failed(format!("the process that was to hold the container ended: {last}")))
            }
        }
    }

    fn look(&self, id: &ContainerId) -> Result<ContainerState> {
        let (folder, record, state) = self.state(id, "inspect")?;
        let program = state.living_program();
        let running = state.status == Status::Running;
        let paused = running && control_group::is_frozen(id.as_str());
        let status = match state.status {
            Status::Created => "created",
            Status::Running if paused => "paused",
            Status::Running => "running",
            Status::Exited => "exited",
        };
        Ok(ContainerState {
            status: status.to_owned(),
            running,
            paused,
            pid: program.map(|program| program.pid),
            exit_code: state.exit_code,
            out_of_memory: state.out_of_memory,
            addresses: Vec::new(),
            ports: if running { published(&state) } else { Vec::new() },
            mounts: mounts(&folder, &self.store, &record),
            health: None,
            image: record.image.to_string(),
            tty: false,
            network_mode: match record.network {
                Network::Own => "none".to_owned(),
                Network::Host => "host".to_owned(),
            },
            labels: record.labels,
            error: state.error,
        })
    }

    /// Sends a signal to the container's first process; whether there was one.
    fn signal(&self, id: &ContainerId, signal: &str) -> Result<bool> {
        let (_, _, state) = self.state(id, "signal")?;
        let Some(program) = state.living_program() else { return Ok(false) };
        let number = signal_number(signal).ok_or_else(|| {
            refused("signal", id, &io::Error::other(format!("there is no signal {signal:?}")))
        })?;
        send(program, number).map_err(|error| refused("signal", id, &error))
    }

    fn throw_away(&self, id: &ContainerId, force: bool) -> Result<()> {
        let (folder, _, state) = match self.state(id, "remove") {
            Err(error) if error.is_not_found() => return self.throw_half_away(id),
            found => found?,
        };
        if state.status == Status::Running && !force {
            return Err(refused("remove", id, &io::Error::other("it is running")));
        }
        let began = Instant::now();
        while let Some(keeper) = keeper_of(&folder).filter(Process::lives) {
            let program = folder.state().ok().and_then(|state| state.living_program());
            let victim = program.unwrap_or(keeper);
            if control_group::is_frozen(id.as_str()) {
                let _ = control_group::freeze(id.as_str(), false);
            }
            send(victim, nix::libc::SIGKILL).map_err(|error| refused("remove", id, &error))?;
            if began.elapsed() > GONE_WITHIN {
                return Err(refused("remove", id, &io::Error::other("it does not end")));
            }
            thread::sleep(Duration::from_millis(5));
        }
        self.throw_half_away(id)
    }

    /// What is left of a container that nobody holds.
    fn throw_half_away(&self, id: &ContainerId) -> Result<()> {
        control_group::remove(id.as_str()).map_err(|error| refused("remove", id, &error))?;
        let _held = self.store.share()?;
        self.store.remove_container(id.as_str()).map_err(|error| refused("remove", id, &error))
    }

    fn read_log(&self, id: &ContainerId, tail: Option<usize>) -> Result<Logs> {
        let (folder, record) = self.known(id, "read the log of")?;
        if !record.keeps_log {
            let unreadable = Some("the container's log is not kept (log driver none)".to_owned());
            return Ok(Logs { bytes: Vec::new(), unreadable });
        }
        let mut bytes =
            log::read(&folder.log(), LOG_BYTES).map_err(|error| refused("read the log of", id, &error))?;
        if let Some(lines) = tail {
            bytes.drain(..start_of_last_lines(&bytes, lines));
        }
        Ok(Logs { bytes, unreadable: None })
    }

    /// Hands on what a started container's program writes, until it has ended; its exit code.
    ///
    /// # Errors
    /// When the container is gone.
    pub async fn follow(&self, id: &ContainerId, mut each: impl FnMut(Stream, &[u8]) + Send) -> Result<i64> {
        const LOOK: Duration = Duration::from_millis(20);
        let path = self.store.container(id.as_str()).log();
        let mut position = 0;
        let mut over = std::pin::pin!(self.wait(id));
        loop {
            // What was written before the end is there once the end is known.
            let ended = tokio::time::timeout(LOOK, &mut over).await.ok();
            position = log::follow(&path, position, &mut each)
                .map_err(|error| refused("read the log of", id, &error))?;
            if let Some(code) = ended {
                return code;
            }
        }
    }

    /// Every container, the newest last by nothing but its id.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn containers(&self) -> Result<Vec<(ContainerId, ContainerState)>> {
        self.blocking(|this| {
            let ids = this.store.containers()?.into_iter().map(|(_, record)| ContainerId::new(record.id));
            ids.map(|id| this.look(&id).map(|state| (id, state))).collect()
        })
        .await
    }
}

#[async_trait]
impl Engine for EmbeddedEngine {
    async fn describe(&self) -> Result<EngineDescription> {
        let (kernel_version, _) = host::kernel_and_name().unwrap_or_default();
        Ok(EngineDescription {
            name: "embedded".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            api_version: String::new(),
            endpoint: self.store.path().display().to_string(),
            runtime: "libcontainer".to_owned(),
            runtime_version: "0.7".to_owned(),
            cgroup_driver: "cgroupfs".to_owned(),
            cgroup_version: if control_group::is_unified() { 2 } else { 1 },
            storage_driver: "overlay".to_owned(),
            root_directory: self.store.path().display().to_string(),
            kernel_version,
            architecture: std::env::consts::ARCH.to_owned(),
            local: true,
        })
    }

    async fn inspect_image(&self, reference: &str) -> Result<SourceImage> {
        let reference = reference.to_owned();
        self.blocking(move |this| Ok(this.store.get(&reference)?.source(&reference))).await
    }

    async fn local_layers(&self, image: &str) -> Result<Option<Vec<PathBuf>>> {
        let image = image.to_owned();
        self.blocking(move |this| {
            let found = this.store.get(&image)?;
            let diff_ids = found.config.rootfs.diff_ids.iter();
            let layers: Vec<PathBuf> = diff_ids.map(|diff_id| this.store.layer_files(diff_id)).collect();
            Ok(Some(layers).filter(|_| host::sees_trusted_attributes() || !host::is_real_root()))
        })
        .await
    }

    async fn image_history(&self, reference: &str, _: usize) -> Result<Vec<HistoryEntry>> {
        let reference = reference.to_owned();
        self.blocking(move |this| Ok(this.store.get(&reference)?.config.history)).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId> {
        let spec = spec.clone();
        self.blocking(move |this| this.make(&spec)).await
    }

    fn supervisor_sockets(&self) -> Option<SupervisorSockets> {
        Some(SupervisorSockets { containers: self.store.path().join("containers"), name: telling::SOCKET })
    }

    async fn start(&self, id: &ContainerId) -> Result<()> {
        let id = id.clone();
        self.blocking(move |this| this.begin(&id)).await
    }

    async fn wait(&self, id: &ContainerId) -> Result<i64> {
        loop {
            let own = id.clone();
            let state = self.blocking(move |this| Ok(this.state(&own, "wait for")?.2)).await?;
            let Some(keeper) = state.living_keeper() else { return Ok(state.exit_code) };
            let failed = |error: io::Error| refused("wait for", id, &error);
            let Some(handle) = handle_of(keeper).map_err(failed)? else { continue };
            until_over(handle).await.map_err(failed)?;
        }
    }

    async fn inspect(&self, id: &ContainerId) -> Result<ContainerState> {
        let id = id.clone();
        self.blocking(move |this| this.look(&id)).await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        let own = id.clone();
        let asked = self
            .blocking(move |this| {
                let (_, record) = this.known(&own, "stop")?;
                this.signal(&own, &record.stop_signal)
            })
            .await?;
        if asked && tokio::time::timeout(grace, self.wait(id)).await.is_err() {
            self.kill(id, "KILL").await?;
        }
        self.wait(id).await.map(drop)
    }

    async fn kill(&self, id: &ContainerId, signal: &str) -> Result<()> {
        let (id, signal) = (id.clone(), signal.to_owned());
        self.blocking(move |this| this.signal(&id, &signal).map(drop)).await
    }

    async fn pause(&self, id: &ContainerId) -> Result<()> {
        let id = id.clone();
        self.blocking(move |_| {
            control_group::freeze(id.as_str(), true).map_err(|error| refused("pause", &id, &error))
        })
        .await
    }

    async fn unpause(&self, id: &ContainerId) -> Result<()> {
        let id = id.clone();
        self.blocking(move |_| {
            control_group::freeze(id.as_str(), false).map_err(|error| refused("unpause", &id, &error))
        })
        .await
    }

    async fn remove(&self, id: &ContainerId, force: bool) -> Result<()> {
        let id = id.clone();
        self.blocking(move |this| this.throw_away(&id, force)).await
    }

    async fn logs(&self, id: &ContainerId, tail: Option<usize>) -> Result<Logs> {
        let id = id.clone();
        self.blocking(move |this| this.read_log(&id, tail)).await
    }

    async fn copy_in(&self, id: &ContainerId, _: &str, _: Vec<u8>) -> Result<()> {
        Err(refused("copy into", id, &io::Error::other("the embedded engine does not do that")))
    }

    async fn attach(&self, id: &ContainerId) -> Result<Attached> {
        Err(refused("attach to", id, &io::Error::other("the embedded engine does not do that")))
    }

    async fn exec(&self, id: &ContainerId, command: &ExecSpec) -> Result<ExecResult> {
        let failed = |error: &dyn std::error::Error| refused("run a command in", id, error);
        let (folder, _) = self.known(id, "run a command in")?;
        let files = tempfile::Builder::new()
            .prefix("exec-")
            .tempdir_in(folder.path())
            .map_err(|error| failed(&error))?;
        let (request, answer) = (files.path().join("request.json"), files.path().join("answer.json"));
        let asked = Request {
            argv: command.argv.clone(),
            user: command.user.clone(),
            env: command.env.clone(),
            working_directory: command.working_directory.clone(),
            answer: answer.clone(),
        };
        write(&request, &asked).map_err(|error| failed(&error))?;
        let helper = self.helper.path().map_err(|error| failed(&error))?;
        let mut child = tokio::process::Command::new(helper)
            .arg0("docker-slim")
            .arg(HELPER_COMMAND)
            .arg("join")
            .args([folder.path(), &request])
            .current_dir("/")
            .stdin(if command.stdin.is_some() { Stdio::piped() } else { Stdio::null() })
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(&error))?;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let bytes = command.stdin.clone().unwrap_or_default();
        let write_input = async move {
            if let Some(mut input) = input {
                // A command need not read what it is given.
                let _ = input.write_all(&bytes).await;
            }
        };
        let ((), stdout, stderr, status) =
            tokio::join!(write_input, last_of(output), last_of(errors), child.wait());
        status.map_err(|error| failed(&error))?;
        let came = fs::read(&answer).map_err(|error| failed(&error))?;
        match serde_json::from_slice(&came).map_err(|error| failed(&error))? {
            Came::Ended { exit_code } => Ok(ExecResult {
                exit_code,
                stdout: stdout.map_err(|error| failed(&error))?,
                stderr: stderr.map_err(|error| failed(&error))?,
            }),
            Came::NotRun { reason, .. } => Err(refused("run a command in", id, &io::Error::other(reason))),
        }
    }

    async fn load_image(&self, mut archive: Box<dyn AsyncRead + Send + Unpin>) -> Result<Vec<String>> {
        let load_failed =
            |error: &dyn std::fmt::Display| EngineError::LoadFailed { reason: error.to_string() };
        let file = tempfile::tempfile_in(self.store.path()).map_err(|error| load_failed(&error))?;
        let mut writer = tokio::fs::File::from_std(file);
        tokio::io::copy(&mut archive, &mut writer).await.map_err(|error| load_failed(&error))?;
        writer.flush().await.map_err(|error| load_failed(&error))?;
        let file = writer.into_std().await;
        self.blocking(move |this| {
            let images = this.store.import(&file)?;
            let told = |image: StoredImage| match image.names.is_empty() {
                true => vec![image.id.to_string()],
                false => image.names,
            };
            Ok(images.into_iter().flat_map(told).collect())
        })
        .await
    }

    async fn pull_image(&self, reference: &str) -> Result<()> {
        Err(EngineError::ImageNotFound {
            reference: reference.to_owned(),
            reason: "the embedded engine's store does not hold it, and it does not pull images".to_owned(),
        })
    }

    async fn tag(&self, image: &str, reference: &str) -> Result<()> {
        let (image, reference) = (image.to_owned(), reference.to_owned());
        self.blocking(move |this| this.store.tag(&image, &reference)).await
    }

    async fn untag(&self, reference: &str) -> Result<()> {
        let reference = reference.to_owned();
        self.blocking(move |this| this.store.untag(&reference).map(drop)).await
    }

    async fn remove_image(&self, id: &str) -> Result<()> {
        let id = id.to_owned();
        self.blocking(move |this| this.store.remove(&id)).await
    }

    async fn image_exists(&self, reference: &str) -> Result<bool> {
        let reference = reference.to_owned();
        self.blocking(move |this| Ok(this.store.find(&reference)?.is_some())).await
    }

    async fn sweep_candidates(&self) -> Result<Vec<Candidate>> {
        self.blocking(|this| {
            if let Err(error) = this.store.tidy() {
                tracing::warn!("the store was not tidied: failed to {error}");
            }
            let containers = this.store.containers()?.into_iter().map(|(_, record)| record);
            let mut candidates: Vec<Candidate> = containers
                .filter(|record| record.labels.contains_key(LABEL_RUN))
                .map(|record| Candidate {
                    kind: CandidateKind::Container,
                    id: record.id,
                    labels: record.labels,
                })
                .collect();
            for name in this.store.images()?.into_iter().flat_map(|image| image.names) {
                if let Some(labels) = Run::labels_of_reference(&name) {
                    candidates.push(Candidate { kind: CandidateKind::ImageName, id: name, labels });
                }
            }
            Ok(candidates)
        })
        .await
    }

    async fn remove_candidate(&self, candidate: &Candidate) -> Result<()> {
        let removed = match candidate.kind {
            CandidateKind::Container => self.remove(&ContainerId::new(&candidate.id), true).await,
            CandidateKind::ImageName => self.untag(&candidate.id).await,
            CandidateKind::Volume | CandidateKind::Network => Ok(()),
        };
        removed.or_else(|error| if error.is_not_found() { Ok(()) } else { Err(error) })
    }
}

fn refused(action: &str, id: &ContainerId, error: &dyn std::error::Error) -> EngineError {
    EngineError::Refused {
        action: format!("{action} container {}", id.short()),
        status: 500,
        reason: error.to_string(),
    }
}

fn keeper_of(folder: &Folder) -> Option<Process> {
    serde_json::from_slice::<Option<Process>>(&fs::read(folder.join("keeper.json")).ok()?).ok()?
}

fn published(state: &State) -> Vec<PublishedPort> {
    let mut ports: Vec<PublishedPort> = state
        .ports
        .iter()
        .map(|port| PublishedPort {
            container_port: port.container_port,
            protocol: Protocol::Tcp,
            host_ip: port.host_ip,
            host_port: port.host_port,
        })
        .collect();
    ports.sort();
    ports
}

fn mounts(folder: &Folder, store: &Store, record: &Record) -> Vec<ContainerMount> {
    let mut mounts: Vec<ContainerMount> = record
        .mounts
        .iter()
        .map(|mount| {
            let (kind, source, name) = match &mount.source {
                RecordedSource::Bind(path) => ("bind", path.clone(), None),
                RecordedSource::Anonymous(name) => ("volume", folder.volume(name), Some(name.clone())),
                RecordedSource::Named(name) => ("volume", store.volume_path(name), Some(name.clone())),
            };
            ContainerMount {
                target: mount.target.clone(),
                source: source.display().to_string(),
                kind: kind.to_owned(),
                name,
                writable: !mount.read_only,
            }
        })
        .collect();
    mounts.extend(record.tmpfs.iter().map(|(target, options)| ContainerMount {
        target: target.clone(),
        source: String::new(),
        kind: "tmpfs".to_owned(),
        name: None,
        writable: !options.split(',').any(|option| option == "ro"),
    }));
    mounts.sort();
    mounts
}

/// Sixty-four hexadecimal digits.
fn new_id() -> io::Result<String> {
    let mut bytes = [0; 32];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// A handle of a process; `None` when it has ended.
fn handle_of(process: Process) -> io::Result<Option<OwnedFd>> {
    let pid = i32::try_from(process.pid).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("no number of a process"))?;
    match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => Ok(None),
        // Between the look and the handle the number may have got another owner.
        Ok(handle) => Ok(Some(handle).filter(|_| process.lives())),
        Err(error) => Err(error.into()),
    }
}

/// Waits until a process has ended: then its handle is readable.
#[expect(unsafe_code, reason = "tokio cannot know that the descriptor stays the same")]
async fn until_over(handle: OwnedFd) -> io::Result<()> {
    // SAFETY: an `OwnedFd` is one descriptor as long as it lives, which is as long as its registration.
    let registered = unsafe { AsyncFd::register(handle) }?;
    registered.readable().await.map(drop)
}

/// Sends a signal to this process and no other; whether it was there.
fn send(process: Process, signal: i32) -> io::Result<bool> {
    let Some(handle) = handle_of(process)? else { return Ok(false) };
    let signal = rustix::process::Signal::from_named_raw(signal)
        .ok_or_else(|| io::Error::other(format!("signal {signal} is not sent")))?;
    match rustix::process::pidfd_send_signal(handle, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(false),
        sent => Ok(sent.map(|()| true)?),
    }
}

/// `TERM`, `SIGTERM`, `15`.
fn signal_number(name: &str) -> Option<i32> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("SIG") { upper.clone() } else { format!("SIG{upper}") };
    let number = upper.parse::<i32>().ok().and_then(|number| nix::sys::signal::Signal::try_from(number).ok());
    number.or_else(|| full.parse::<nix::sys::signal::Signal>().ok()).map(|signal| signal as i32)
}

/// Where the last so many lines begin.
fn start_of_last_lines(bytes: &[u8], lines: usize) -> usize {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let breaks = text.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    match lines {
        0 => bytes.len(),
        _ => breaks.take(lines).nth(lines - 1).unwrap_or(0),
    }
}

/// The last MiB of a stream.
async fn last_of(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let Some(mut stream) = stream else { return Ok(Vec::new()) };
    let mut kept = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let read = stream.read(&mut buffer).await?;
        if read == 0 {
            kept.drain(..kept.len().saturating_sub(OUTPUT_BYTES));
            return Ok(kept);
        }
        kept.extend_from_slice(&buffer[..read]);
        if kept.len() > 2 * OUTPUT_BYTES {
            kept.drain(..kept.len() - OUTPUT_BYTES);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for name in ["TERM", "SIGTERM", "term", "15"] {
            assert_eq!(signal_number(name), Some(15), "{name}");
        }
        assert_eq!(signal_number("NOSUCH"), None);
        assert_eq!(signal_number("0"), None);
    }

    #[test]
    fn the_last_lines_of_a_log_are_found() {
        let log = b"one\ntwo\nthree\n";
        assert_eq!(&log[start_of_last_lines(log, 1)..], b"three\n");
        assert_eq!(&log[start_of_last_lines(log, 2)..], b"two\nthree\n");
        assert_eq!(start_of_last_lines(log, 9), 0);
        assert_eq!(&log[start_of_last_lines(log, 0)..], b"");
    }

    #[test]
    fn ids_are_of_the_known_length_and_never_the_same() {
        let (one, other) = (new_id().unwrap(), new_id().unwrap());
        assert!(one.len() == 64 && one != other);
    }
}
