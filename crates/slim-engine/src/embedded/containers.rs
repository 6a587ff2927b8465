//! A container's way through life: made, started, looked at, sent signals, removed. All of it works on files and blocks.

use super::health::Health;
use super::record::{Folder, Network, Process, Record, RecordedSource, State, Status};
use super::signals::{kill, send, signal_number};
use super::{EmbeddedEngine, HELPER_COMMAND, Result, Store, bridge, control_group, create, keeper, refused};
use crate::engine::{ContainerId, ContainerMount, ContainerState, PublishedPort};
use crate::error::EngineError;
use crate::spec::ContainerSpec;
use keeper::Said;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant, UNIX_EPOCH};

/// A killed container is gone after this, or something is wrong.
const GONE_WITHIN: Duration = Duration::from_secs(20);

/// A container as a list shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    pub id: ContainerId,
    pub name: Option<String>,
    /// The image's name by now, else its id.
    pub image: String,
    pub command: Vec<String>,
    /// Seconds since 1970.
    pub created: u64,
    pub state: ContainerState,
    /// What its health checks said, while it runs.
    pub health: Option<Health>,
}

impl EmbeddedEngine {
    /// A container's folder and record. `action`: what for.
    pub(super) fn known(&self, id: &ContainerId, action: &str) -> Result<(Folder, Record)> {
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

    /// How a container is doing. Its keeper is one that lived when we looked: running is nothing that nobody held.
    pub(super) fn state(&self, id: &ContainerId, action: &str) -> Result<(Folder, Record, State)> {
        let (folder, record) = self.known(id, action)?;
        let look = || {
            let state = folder.state().map_err(|error| refused(action, id, &error))?;
            Result::Ok(State { keeper: living_keeper(&folder), ..state })
        };
        let mut state = look()?;
        // A keeper that was killed tells no end.
        if state.status == Status::Running && state.keeper.is_none() {
            // It may have told one since the first look, and the container may run again.
            state = look()?;
            if state.status == Status::Running && state.keeper.is_none() {
                if let Err(error) = end_unheld(&state) {
                    tracing::warn!("container {} runs on with nobody to hold it: {error}", id.short());
                }
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

    pub(super) fn make(&self, spec: &ContainerSpec) -> Result<ContainerId> {
        let _held = self.store.share()?;
        let image = self.store.get(&spec.image)?;
        let failed = |reason: String| EngineError::CreateFailed { image: spec.image.clone(), reason };
        let id = new_id().map_err(|error| failed(error.to_string()))?;
        let record = create::settle(spec, &image, &id).map_err(failed)?;
        let _named = self.store.name_lock()?;
        if let Some(name) = &record.name {
            let taken =
                self.store.containers()?.into_iter().find(|(_, other)| other.name.as_ref() == Some(name));
            if let Some((_, other)) = taken {
                return Err(failed(format!("container {} has the name {name} already", &other.id[..12])));
            }
        }
        let written = self.store.make_container(&record, &State::created());
        written.map_err(|error| failed(error.to_string()))?;
        Ok(ContainerId::new(id))
    }

    pub(super) fn begin(&self, id: &ContainerId) -> Result<()> {
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
            .stdin(self.for_keeper(id).map_or_else(Stdio::null, Stdio::from))
            .stdout(Stdio::piped())
            .stderr(told)
            .spawn()
            .map_err(|error| failed(format!("start {}: {error}", self.helper.file.display())))?;
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

    pub(super) fn look(&self, id: &ContainerId) -> Result<ContainerState> {
        let (folder, record, state) = self.state(id, "inspect")?;
        let program = state.living_program();
        let running = state.status == Status::Running;
        let health = Self::health_of(&folder, &record, running);
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
            addresses: if running { state.addresses.clone() } else { Vec::new() },
            ports: if running { published(&state) } else { Vec::new() },
            mounts: mounts(&folder, &self.store, &record),
            health: health.map(|health| health.status.as_str().to_owned()),
            image: record.image.to_string(),
            tty: record.tty,
            network_mode: match record.network {
                Network::Own => "none".to_owned(),
                Network::Bridge => "bridge".to_owned(),
                Network::Host => "host".to_owned(),
            },
            labels: record.labels,
            error: state.error,
        })
    }

    /// What its checks say of a container that has some and runs.
    fn health_of(folder: &Folder, record: &Record, running: bool) -> Option<Health> {
        record.health.as_ref().filter(|_| running).map(|_| Health::read(folder))
    }

    /// Sends a signal to the container's first process; whether there was one.
    pub(super) fn signal(&self, id: &ContainerId, signal: &str) -> Result<bool> {
        let (_, _, state) = self.state(id, "signal")?;
        let Some(program) = state.living_program() else { return Ok(false) };
        let number = signal_number(signal).ok_or_else(|| {
            refused("signal", id, &io::Error::other(format!("there is no signal {signal:?}")))
        })?;
        send(program, number).map_err(|error| refused("signal", id, &error))
    }

    pub(super) fn throw_away(&self, id: &ContainerId, force: bool) -> Result<()> {
        let (folder, _, state) = match self.state(id, "remove") {
            Err(error) if error.is_not_found() => return self.throw_half_away(id),
            found => found?,
        };
        if state.status == Status::Running && !force {
            return Err(refused("remove", id, &io::Error::other("it is running")));
        }
        let began = Instant::now();
        let _alone = loop {
            match self.end(id, &folder) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => break None,
                Ok(Some(alone)) => break Some(alone),
                Ok(None) if began.elapsed() < GONE_WITHIN => thread::sleep(Duration::from_millis(5)),
                Ok(None) => return Err(refused("remove", id, &io::Error::other("it does not end"))),
                Err(error) => return Err(refused("remove", id, &error)),
            }
        };
        self.throw_half_away(id)
    }

    /// Kills a container; its lock, once nobody runs it any more: one that is just being started has no keeper yet that
    /// could be seen.
    fn end(&self, id: &ContainerId, folder: &Folder) -> io::Result<Option<File>> {
        let Some(keeper) = living_keeper(folder) else {
            return match keeper::lock(folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Ok(None),
                locked => locked.map(Some),
            };
        };
        let program = folder.state().ok().and_then(|state| state.living_program());
        if control_group::is_frozen(id.as_str()) {
            let _ = control_group::freeze(id.as_str(), false);
        }
        send(program.unwrap_or(keeper), nix::libc::SIGKILL).map(|_| None)
    }

    /// Clears away what killed processes left behind, as far as nobody is at work.
    pub(super) fn tidy(&self) {
        if let Err(error) = self.store.tidy() {
            tracing::warn!("the store was not tidied: failed to {error}");
        }
        bridge::sweep();
        // Containers that were to remove themselves, and whose keeper was killed before it could.
        let orphans = self.store.containers().unwrap_or_default().into_iter().filter(|(folder, record)| {
            let state = folder.state().is_ok_and(|state| state.status != Status::Created);
            record.removes_itself && state && living_keeper(folder).is_none()
        });
        for (_, record) in orphans {
            if let Err(error) = self.throw_half_away(&ContainerId::new(record.id)) {
                tracing::warn!("a leftover container stays: failed to {error}");
            }
        }
    }

    pub(super) fn listed(&self) -> Result<Vec<Listed>> {
        let images = self.store.images()?;
        let mut all = Vec::new();
        for (folder, record) in self.store.containers()? {
            let id = ContainerId::new(&record.id);
            let state = match self.look(&id) {
                // One that has just gone.
                Err(error) if error.is_not_found() => continue,
                state => state?,
            };
            let named = images.iter().find(|image| image.id == record.image);
            let name = named.and_then(|image| image.names.first().cloned());
            let made = fs::metadata(folder.join("container.json")).and_then(|data| data.modified());
            let since = made.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            all.push(Listed {
                id,
                image: name.unwrap_or_else(|| record.image.short()),
                created: since.map_or(0, |since| since.as_secs()),
                health: Self::health_of(&folder, &record, state.running),
                name: record.name,
                command: record.argv,
                state,
            });
        }
        all.sort_by(|one, other| (other.created, &one.id).cmp(&(one.created, &other.id)));
        Ok(all)
    }

    pub(super) fn named(&self, name: &str) -> Result<ContainerId> {
        let records: Vec<Record> = self.store.containers()?.into_iter().map(|(_, record)| record).collect();
        if let Some(record) = records.iter().find(|record| record.name.as_deref() == Some(name)) {
            return Ok(ContainerId::new(&record.id));
        }
        let mut begin = records.iter().filter(|record| !name.is_empty() && record.id.starts_with(name));
        match (begin.next(), begin.next()) {
            (Some(record), None) => Ok(ContainerId::new(&record.id)),
            (Some(_), Some(_)) => Err(EngineError::Refused {
                action: format!("find container {name}"),
                status: 409,
                reason: "several ids begin like this".to_owned(),
            }),
            (None, _) => Err(EngineError::ContainerNotFound {
                action: "find the container".to_owned(),
                id: name.to_owned(),
            }),
        }
    }

    /// What is left of a container that nobody holds.
    pub(super) fn throw_half_away(&self, id: &ContainerId) -> Result<()> {
        if let Ok(state) = self.store.container(id.as_str()).state() {
            end_unheld(&state).map_err(|error| refused("remove", id, &error))?;
        }
        control_group::remove(id.as_str()).map_err(|error| refused("remove", id, &error))?;
        bridge::disconnect(id.as_str());
        let _held = self.store.share()?;
        self.store.remove_container(id.as_str()).map_err(|error| refused("remove", id, &error))
    }
}

/// Kills the program of a container whose keeper was killed. (It has the kernel kill it then, but the exec of a set-id program
/// takes that away: prctl(2), PR_SET_PDEATHSIG.)
pub(super) fn end_unheld(state: &State) -> io::Result<()> {
    state.living_program().map_or(Ok(()), kill)
}

/// The process that holds the container, or makes it or clears away after it just now.
pub(super) fn living_keeper(folder: &Folder) -> Option<Process> {
    let told = fs::read(folder.join("keeper.json")).ok()?;
    serde_json::from_slice::<Option<Process>>(&told).ok()?.filter(Process::lives)
}

fn published(state: &State) -> Vec<PublishedPort> {
    let mut ports: Vec<PublishedPort> = state
        .ports
        .iter()
        .map(|port| PublishedPort {
            container_port: port.container_port,
            protocol: port.protocol,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_of_the_known_length_and_never_the_same() {
        let (one, other) = (new_id().unwrap(), new_id().unwrap());
        assert!(one.len() == 64 && one != other);
    }
}
