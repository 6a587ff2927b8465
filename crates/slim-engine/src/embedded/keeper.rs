//! The process that holds one container: mounts its root in a mount name space of its own, makes it, keeps its log, hands
//! on its ports, waits for its end and clears away after it.
//!
//! It is this program's own binary, started anew for each container: libcontainer forks, which a process with threads must
//! not. It outlives whoever started it; what it needs and what it leaves is in the container's folder. Invariant: nothing
//! that it makes outlives it but the container's control group, and that goes with the container's removal. The program is
//! killed with it by the kernel; one that has become another user's by a set-id file is by whoever looks at the container
//! next.

use super::containers::end_unheld;
use super::health::Watch;
use super::network::bring_up_loopback;
use super::program::{self, NotRun, Program};
use super::publishing::Published;
use super::record::{Folder, Network, Process, Record, RecordedPort, State, Status, write};
use super::rooted::Root;
use super::signals::has_ended;
use super::store::Store;
use super::streams::{Client, Ends, Plumbing};
use super::telling::{self, Supervisor};
use super::users::{self, User};
use super::{bridge, control_group, filesystem, oci, user_namespace};
use crate::host;
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::mount::{MntFlags, umount2};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::process::PidfdFlags;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, Read, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

/// How a shell's exit code tells of a signal.
const BY_SIGNAL: i64 = 128;

/// What the keeper says once to whoever started it: one line of JSON on its standard output.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Said {
    Started,
    Failed(String),
}

/// Runs the container of a folder to its end. The program's exit code.
pub(super) fn keep(store: &Path, folder: &Path) -> u8 {
    let folder = Folder::new(folder);
    match kept(store, &folder) {
        Ok(()) => 0,
        Err(error) => {
            // The folder is gone, or another keeper has it.
            say(&Said::Failed(error.to_string()));
            1
        }
    }
}

fn kept(store: &Path, folder: &Folder) -> io::Result<()> {
    // A terminal's signals are not for us, nor is the terminal for the container.
    rustix::process::setsid()?;
    let _alone = lock(folder)?;
    write(&folder.join("keeper.json"), &Process::of(std::process::id()))?;
    let record = folder.record()?;
    if !record.ports.is_empty() {
        raise_file_limit();
    }
    let started = Client::of_standard_input()
        .map_err(NotRun::from)
        .and_then(|client| start(store, folder, &record, client));
    let state = match started {
        Ok(running) => {
            let state = State {
                status: Status::Running,
                program: Some(running.program),
                ports: running.ports.clone(),
                addresses: running.addresses.clone(),
                ..State::created()
            };
            folder.write_state(&state)?;
            let check = record.health.clone();
            // A disk that is full must not take the container's keeper away.
            let watch = check.and_then(|check| Watch::begin(folder, &record.id, check).ok());
            say(&Said::Started);
            let ended = running.wait()?;
            drop(watch);
            State {
                status: Status::Exited,
                exit_code: ended,
                out_of_memory: control_group::was_out_of_memory(&record.id),
                program: None,
                ..state
            }
        }
        Err(NotRun { reason, exit_code }) => {
            let state =
                State { status: Status::Exited, exit_code, error: reason.clone(), ..State::created() };
            folder.write_state(&state)?;
            say(&Said::Failed(reason));
            state
        }
    };
    let removed = control_group::remove(&record.id);
    if record.network == Network::Bridge {
        bridge::disconnect(&record.id);
    }
    folder.write_state(&state)?;
    if record.removes_itself && state.error.is_empty() {
        return remove_all(store, &record);
    }
    removed
}

/// Takes the container's folder away, its root with it.
fn remove_all(store: &Path, record: &Record) -> io::Result<()> {
    let store = Store::open(store).map_err(|error| io::Error::other(error.to_string()))?;
    let _held = store.share().map_err(|error| io::Error::other(error.to_string()))?;
    match umount2(&store.container(&record.id).join("root"), MntFlags::MNT_DETACH) {
        Ok(()) | Err(nix::errno::Errno::EINVAL | nix::errno::Errno::ENOENT) => {}
        Err(error) => return Err(error.into()),
    }
    store.remove_container(&record.id)
}

/// As many open files as we may have: each connection of a published port takes two. (The program's own limit is set before
/// its exec.)
fn raise_file_limit() {
    let own = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    let limit = rustix::process::Rlimit { current: own.maximum, maximum: own.maximum };
    if let Err(error) = rustix::process::setrlimit(rustix::process::Resource::Nofile, limit) {
        tracing::debug!("the limit of open files stays: {error}");
    }
}

/// Nobody else runs this container while the file is open.
pub(super) fn lock(folder: &Folder) -> io::Result<File> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).open(folder.join("lock"))?;
    file.try_lock().map_err(|_| io::Error::other("the container runs already"))?;
    Ok(file)
}

/// The one who asked may be gone.
fn say(said: &Said) {
    let line = serde_json::to_string(said).unwrap_or_default();
    let _ = writeln!(io::stdout().lock(), "{line}");
    let nothing = OpenOptions::new().write(true).open("/dev/null");
    if let Ok(nothing) = nothing {
        let _ = nix::unistd::dup2_stdout(nothing);
    }
}

/// A container whose program runs.
struct Running {
    program: Process,
    ports: Vec<RecordedPort>,
    addresses: Vec<IpAddr>,
    copies: Vec<JoinHandle<()>>,
}

impl Running {
    /// Waits for its end; the exit code as a shell has it.
    fn wait(self) -> io::Result<i64> {
        let pid = Pid::from_raw(i32::try_from(self.program.pid).map_err(io::Error::other)?);
        let code = end_of(pid)?;
        // With its first process everything in the container has ended, and with that its streams.
        for copy in self.copies {
            let _ = copy.join();
        }
        Ok(code)
    }
}

/// Ends a child of ours. (Without privilege there may be no control group by which all have ended.) Numbers that name no
/// single process are none: of 0 any child's end would be waited for.
fn kill_and_wait(pid: i32) {
    if pid > 0 {
        let pid = Pid::from_raw(pid);
        let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
        let _ = end_of(pid);
    }
}

fn end_of(pid: Pid) -> io::Result<i64> {
    loop {
        match waitpid(pid, None) {
            Ok(WaitStatus::Exited(_, code)) => return Ok(i64::from(code)),
            Ok(WaitStatus::Signaled(_, signal, _)) => return Ok(BY_SIGNAL + signal as i64),
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

impl From<io::Error> for NotRun {
    fn from(error: io::Error) -> Self {
        Self { reason: error.to_string(), exit_code: 128 }
    }
}

/// The runtime would name a file of the kernel's.
fn refuse_limits_that_cannot_hold(record: &Record) -> io::Result<()> {
    let missing = control_group::missing_controllers(record.limits);
    if missing.is_empty() {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "a limit needs a control group that is this user's own, with the controller {}: run docker-slim in one \
         (systemd-run --user --scope --property=Delegate=yes docker-slim ...), or without the limit",
        missing.join(", ")
    )))
}

fn start(store: &Path, folder: &Folder, record: &Record, client: Client) -> Result<Running, NotRun> {
    let store = Store::open(store).map_err(|error| io::Error::other(error.to_string()))?;
    if !host::is_real_root() {
        refuse_limits_that_cannot_hold(record)?;
    }
    filesystem::own_mounts()?;
    let root_path = filesystem::mount_root(&store, folder, record)?;
    let root = Root::open(&root_path)?;
    let user = users::resolve(&root, &record.user)?;
    root.make_directories(&record.working_directory).map_err(|error| {
        io::Error::other(format!("make the working directory {}: {error}", record.working_directory))
    })?;
    let published = Published::take(&record.ports)?;
    let ports = published.ports();
    let bridge =
        if record.network == Network::Bridge { Some(bridge::Reserved::take(&record.id)?) } else { None };
    let addresses: Vec<IpAddr> = bridge.iter().map(bridge::Reserved::address).collect();
    let own_address = addresses.first().copied().unwrap_or(IpAddr::V4(Ipv4Addr::LOCALHOST));
    let binds = filesystem::binds(&store, folder, record, &root, own_address)?;
    // The runtime forks: what is open here, the container's first process has, too.
    drop(root);
    let supervisor = telling::connect(folder)?;
    let program = program(record, user, &record.argv, &[], supervisor.clone())?;

    let runtime = fresh_runtime(folder, record)?;
    write(&folder.join("config.json"), &oci::specification(record, &root_path, &binds))?;
    let (report, reporter) = io::pipe()?;
    let keeper = rustix::process::pidfd_open(rustix::process::getpid(), PidfdFlags::empty())
        .map_err(io::Error::from)?;
    let executor =
        Starter { program: Arc::new(program), reporter: Arc::new(reporter.into()), keeper: Arc::new(keeper) };
    let (plumbing, ends) = Plumbing::make(folder, record, client)?;
    let made = ContainerBuilder::new(record.id.clone(), SyscallType::default())
        .with_root_path(&runtime)
        .map(|builder| match ends {
            Ends::Pipes { input, output, errors } => {
                builder.with_executor(executor).with_stdin(input).with_stdout(output).with_stderr(errors)
            }
            Ends::Terminal(socket) => builder.with_executor(executor).with_console_socket(Some(socket)),
        })
        .and_then(|builder| builder.as_init(folder.path()).with_systemd(false).with_detach(true).build());
    let mut container = made.map_err(|error| not_made(&error))?;
    let ready = (|| {
        let program = first_process(&container)?;
        bring_up(record, program, bridge)?;
        published.serve(program, &addresses)?;
        if let Some(supervisor) = &supervisor {
            telling::hold(supervisor, program);
        }
        Ok::<_, io::Error>((program, plumbing.connect()?))
    })();
    let started = ready.map_err(NotRun::from).and_then(|(program, connected)| {
        begin(&mut container, report)?;
        Ok((program, connected))
    });
    match started {
        Ok((program, connected)) => Ok(Running { program, ports, addresses, copies: connected.copy()? }),
        Err(not_run) => {
            // What is left of it holds our pipes and the control group.
            let _ = control_group::remove(&record.id);
            kill_and_wait(container.pid().map_or(0, |pid| pid.as_raw()));
            bridge::disconnect(&record.id);
            Err(not_run)
        }
    }
}

/// An empty folder for the runtime's own state: one of a start before this one, whose keeper was killed, goes.
fn fresh_runtime(folder: &Folder, record: &Record) -> io::Result<PathBuf> {
    // Nobody else runs the container: what is told of a program is of a keeper before us.
    end_unheld(&folder.state()?)?;
    control_group::remove(&record.id)?;
    let runtime = folder.join("runtime");
    match fs::remove_dir_all(&runtime) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => fs::create_dir_all(&runtime)?,
    }
    Ok(runtime)
}

fn first_process(container: &Container) -> io::Result<Process> {
    let pid = container.pid().and_then(|pid| u32::try_from(pid.as_raw()).ok()).unwrap_or_default();
    Process::of(pid).ok_or_else(|| io::Error::other("the container's first process is gone"))
}

/// The container's network, as far as it has one of its own.
fn bring_up(record: &Record, program: Process, bridge: Option<bridge::Reserved>) -> io::Result<()> {
    if record.network == Network::Host {
        return Ok(());
    }
    bring_up_loopback(program.pid)?;
    bridge.map_or(Ok(()), |bridge| bridge.connect(program.pid))
}

/// Lets the made container's program begin. It has when this comes back.
fn begin(container: &mut Container, mut report: PipeReader) -> Result<(), NotRun> {
    container.start().map_err(|error| io::Error::other(reasons(&error)))?;
    // The pipe ends with the exec, or carries why there was none.
    let mut reason = String::new();
    report.read_to_string(&mut reason)?;
    match serde_json::from_str::<(String, i64)>(&reason) {
        Ok((reason, exit_code)) => Err(NotRun { reason, exit_code }),
        Err(_) => Ok(()),
    }
}

/// libcontainer's words for a program that is not there carry ours.
fn not_made(error: &dyn std::error::Error) -> NotRun {
    let reason = reasons(error);
    let says = |what: &str| reason.to_lowercase().contains(what);
    let exit_code = match () {
        () if says("not found") || says("no such file") => 127,
        () if says("permission denied") => 126,
        () => 128,
    };
    NotRun { reason, exit_code }
}

/// An error with all that caused it, each once.
fn reasons(error: &dyn std::error::Error) -> String {
    let mut told = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let text = error.to_string();
        if !told.contains(&text) {
            told = format!("{told}: {text}");
        }
        source = error.source();
    }
    told
}

/// Becomes the container's program where libcontainer would exec it.
#[derive(Clone)]
struct Starter {
    program: Arc<Program>,
    /// Closed by the exec.
    reporter: Arc<OwnedFd>,
    /// A handle of the keeper's process.
    keeper: Arc<OwnedFd>,
}

impl Executor for Starter {
    fn exec(&self, _: &Spec) -> Result<(), ExecutorError> {
        let NotRun { reason, exit_code } = self.program.become_it();
        let line = serde_json::to_vec(&(&reason, exit_code)).unwrap_or_default();
        // Nobody reads: then nobody waits for it either.
        let _ = rustix::io::write(&*self.reporter, &line);
        Err(ExecutorError::Other(reason))
    }

    fn validate(&self, _: &Spec) -> Result<(), ExecutorValidationError> {
        let refused = ExecutorValidationError::ArgValidationError;
        // From here on the process waits to be started: without its keeper it would for ever, with the container's lock. What it
        // becomes asks for this anew, since a change of the user takes it away.
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
            .map_err(|error| refused(error.to_string()))?;
        if has_ended(&self.keeper) {
            return Err(refused("the container's keeper is gone".to_owned()));
        }
        self.program.enter_working_directory().map_err(|error| refused(error.to_string()))?;
        self.program.find().map(drop).map_err(|not_run| refused(not_run.reason))
    }

    fn setup_envs(&self, _: HashMap<String, String>) -> Result<(), ExecutorSetEnvsError> {
        // The exec hands the environment on.
        Ok(())
    }
}

/// What a command becomes in this container: the program, or another one beside it.
pub(super) fn program(
    record: &Record,
    user: User,
    argv: &[String],
    env: &[String],
    supervisor: Option<Supervisor>,
) -> Result<Program, NotRun> {
    let mut capabilities = record.capabilities.clone();
    if control_group::is_unified() {
        // There no controller of ours keeps devices from being used: none may be made.
        capabilities.retain(|name| name != "MKNOD");
    }
    let seccomp = program::filter(record.seccomp.as_deref(), &capabilities).map_err(io::Error::other)?;
    let name_of = |pair: &String| pair.split('=').next().unwrap_or_default().to_owned();
    let mut all: Vec<String> = record
        .env
        .iter()
        .filter(|pair| !env.iter().any(|own| name_of(own) == name_of(pair)))
        .cloned()
        .collect();
    all.extend(env.iter().cloned());
    if !all.iter().any(|pair| pair.starts_with("HOME=")) {
        all.push(format!("HOME={}", user.home));
    }
    Ok(Program {
        argv: argv.to_vec(),
        env: all,
        working_directory: record.working_directory.clone(),
        user,
        capabilities,
        seccomp,
        supervisor,
        no_new_privileges: record.no_new_privileges,
        apparmor: record.apparmor.clone(),
        keeps_groups: user_namespace::keeps_groups(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{Duration, Instant};

    #[test]
    fn a_child_that_does_not_end_is_killed_and_no_other_is_waited_for() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let began = Instant::now();
        kill_and_wait(0);
        assert!(child.try_wait().unwrap().is_none(), "it was not meant");
        kill_and_wait(i32::try_from(child.id()).unwrap());
        assert!(began.elapsed() < Duration::from_secs(100));
        assert_eq!(
            child.try_wait().unwrap_err().raw_os_error(),
            Some(nix::libc::ECHILD),
            "it was waited for"
        );
    }
}
