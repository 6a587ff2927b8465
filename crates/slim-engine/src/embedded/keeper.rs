//! The process that holds one container: mounts its root in a mount name space of its own, makes it, keeps its log, hands
//! on its ports, waits for its end and clears away after it.
//!
//! It is this program's own binary, started anew for each container: libcontainer forks, which a process with threads must
//! not. It outlives whoever started it; what it needs and what it leaves is in the container's folder. Invariant: nothing
//! that it makes outlives it but the container's control group, and that goes with the container's removal.

use super::control_group;
use super::log::{self, Stream};
use super::network::{Published, bring_up_loopback};
use super::oci::{self, Bind};
use super::program::{self, NotRun, Program};
use super::record::{Folder, Network, Process, Record, RecordedPort, RecordedSource, State, Status, write};
use super::rooted::{Root, copy_directory};
use super::store::Store;
use super::telling::{self, Supervisor};
use super::user_namespace;
use super::users::{self, User};
use crate::host;
use libcontainer::container::Container;
use libcontainer::container::builder::ContainerBuilder;
use libcontainer::oci_spec::runtime::Spec;
use libcontainer::syscall::syscall::SyscallType;
use libcontainer::workload::{Executor, ExecutorError, ExecutorSetEnvsError, ExecutorValidationError};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, PipeReader, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

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
    // A terminal's signals are not for us. That we lead a session already is fine.
    let _ = rustix::process::setsid();
    let _alone = lock(folder)?;
    let record = folder.record()?;
    let started = start(store, folder, &record);
    let state = match started {
        Ok(running) => {
            let state = State {
                status: Status::Running,
                program: Some(running.program),
                ports: running.ports.clone(),
                ..State::created()
            };
            folder.write_state(&state)?;
            say(&Said::Started);
            let ended = running.wait()?;
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
    folder.write_state(&state)?;
    removed
}

/// Nobody else runs this container while the file is open.
fn lock(folder: &Folder) -> io::Result<File> {
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
    logs: Vec<JoinHandle<()>>,
}

impl Running {
    /// Waits for its end; the exit code as a shell has it.
    fn wait(self) -> io::Result<i64> {
        let pid = Pid::from_raw(i32::try_from(self.program.pid).map_err(io::Error::other)?);
        let code = end_of(pid)?;
        // With its first process everything in the container has ended, and with that its streams.
        for log in self.logs {
            let _ = log.join();
        }
        Ok(code)
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

fn start(store: &Path, folder: &Folder, record: &Record) -> Result<Running, NotRun> {
    let store = Store::open(store).map_err(|error| io::Error::other(error.to_string()))?;
    own_mounts()?;
    let root_path = mount_root(&store, folder, record)?;
    let root = Root::open(&root_path)?;
    let user = users::resolve(&root, &record.user)?;
    root.make_directories(&record.working_directory).map_err(|error| {
        io::Error::other(format!("make the working directory {}: {error}", record.working_directory))
    })?;
    let binds = binds(&store, folder, record, &root)?;
    let published = Published::take(&record.ports)?;
    let ports = published.ports();
    let supervisor = telling::connect(folder)?;
    let program = program(record, user, &record.argv, &[], supervisor.clone())?;

    // A runtime's state of a start before this one, whose keeper was killed.
    control_group::remove(&record.id)?;
    let runtime = folder.join("runtime");
    match fs::remove_dir_all(&runtime) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
        _ => fs::create_dir_all(&runtime)?,
    }
    write(&folder.join("config.json"), &oci::specification(record, &root_path, &binds))?;
    let (report, reporter) = io::pipe()?;
    let (output, program_output) = io::pipe()?;
    let (errors, program_errors) = io::pipe()?;
    let executor = Starter { program: Arc::new(program), reporter: Arc::new(reporter.into()) };
    let made = ContainerBuilder::new(record.id.clone(), SyscallType::default())
        .with_root_path(&runtime)
        .map(|builder| {
            let nothing: OwnedFd = null().into();
            builder
                .with_executor(executor)
                .with_stdin(nothing)
                .with_stdout(program_output)
                .with_stderr(program_errors)
        })
        .and_then(|builder| builder.as_init(folder.path()).with_systemd(false).with_detach(true).build());
    let mut container = made.map_err(|error| not_made(&error))?;
    let started = run(&mut container, record, published, report, supervisor.as_ref());
    let pid = container.pid().map(|pid| pid.as_raw()).unwrap_or_default();
    match started {
        Ok(program) => {
            let log = open_log(folder, record)?;
            let logs = vec![
                keep_log(output, Stream::Output, Arc::clone(&log)),
                keep_log(errors, Stream::Errors, log),
            ];
            Ok(Running { program, ports, logs })
        }
        Err(not_run) => {
            // What is left of it holds our pipes and the control group.
            let _ = control_group::remove(&record.id);
            let _ = end_of(Pid::from_raw(pid));
            Err(not_run)
        }
    }
}

/// Lets the made container's program begin. It has when this comes back.
fn run(
    container: &mut Container,
    record: &Record,
    published: Published,
    mut report: PipeReader,
    supervisor: Option<&Supervisor>,
) -> Result<Process, NotRun> {
    let pid = container.pid().and_then(|pid| u32::try_from(pid.as_raw()).ok()).unwrap_or_default();
    let program =
        Process::of(pid).ok_or_else(|| io::Error::other("the container's first process is gone"))?;
    if record.network == Network::Own {
        bring_up_loopback(pid)?;
    }
    published.serve(program)?;
    if let Some(supervisor) = supervisor {
        telling::hold(supervisor, program);
    }
    container.start().map_err(|error| io::Error::other(reasons(&error)))?;
    // The pipe ends with the exec, or carries why there was none.
    let mut reason = String::new();
    report.read_to_string(&mut reason)?;
    match serde_json::from_str::<(String, i64)>(&reason) {
        Ok((reason, exit_code)) => Err(NotRun { reason, exit_code }),
        Err(_) => Ok(program),
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
        std::env::set_current_dir(&self.program.working_directory)
            .map_err(|error| ExecutorValidationError::ArgValidationError(error.to_string()))?;
        self.program
            .find()
            .map(drop)
            .map_err(|not_run| ExecutorValidationError::ArgValidationError(not_run.reason))
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
        keeps_groups: user_namespace::keeps_groups(),
    })
}

/// Mounts of ours are seen by nobody else, and go with us; what the host unmounts goes here, too.
fn own_mounts() -> io::Result<()> {
    unshare(CloneFlags::CLONE_NEWNS)?;
    mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_SLAVE, None::<&str>)?;
    if !host::is_real_root() {
        // Only the group that we are in can be ours, and only the v2 tree is handed on to users. The runtime takes what it
        // sees there for all, and goes on where it may make no groups.
        unshare(CloneFlags::CLONE_NEWCGROUP)?;
        mount(Some("cgroup2"), "/sys/fs/cgroup", Some("cgroup2"), MsFlags::empty(), None::<&str>)?;
    }
    Ok(())
}

/// Puts the image's layers and the container's own on top of one another.
fn mount_root(store: &Store, folder: &Folder, record: &Record) -> io::Result<PathBuf> {
    let made = |name: &str| -> io::Result<PathBuf> {
        let path = folder.join(name);
        fs::create_dir_all(&path).map(|()| path)
    };
    let (root, upper, _work, lower) = (made("root")?, made("upper")?, made("work")?, made("lower")?);
    // The kernel takes one page of options: short names for many layers.
    let mut names = Vec::new();
    for (number, diff_id) in record.layers.iter().enumerate().rev() {
        let link = lower.join(number.to_string());
        if fs::symlink_metadata(&link).is_err() {
            symlink(store.layer_files(diff_id), &link)?;
        }
        names.push(number.to_string());
    }
    if names.is_empty() {
        fs::create_dir_all(lower.join("empty"))?;
        names.push("empty".to_owned());
    }
    // The root folder itself is shown as the topmost layer has it.
    let top = fs::metadata(lower.join(&names[0]))?;
    fs::set_permissions(&upper, fs::Permissions::from_mode(top.mode() & 0o7777))?;
    chown(&upper, Some(top.uid()), Some(top.gid()))?;
    std::env::set_current_dir(&lower)?;
    // Without privilege overlayfs keeps its own attributes under `user.`, where the layers have them, too.
    let own = if host::is_real_root() { "" } else { ",userxattr" };
    let options = format!("lowerdir={},upperdir=../upper,workdir=../work,index=off{own}", names.join(":"));
    // Where no controller keeps devices from being used, those of an image lead nowhere.
    let flags = if control_group::is_unified() { MsFlags::MS_NODEV } else { MsFlags::empty() };
    mount(Some("overlay"), &root, Some("overlay"), flags, Some(options.as_str())).map_err(|error| {
        let hint = if error == nix::errno::Errno::EINVAL {
            "; the store must lie on a file system that overlayfs can write to (no overlay, no network): --store-root"
        } else {
            ""
        };
        io::Error::other(format!("mount the container's root: {error}{hint}"))
    })?;
    std::env::set_current_dir("/")?;
    Ok(root)
}

/// The engine's own files, volumes with what the image holds there, and what the user mounts.
fn binds(store: &Store, folder: &Folder, record: &Record, root: &Root) -> io::Result<Vec<Bind>> {
    let mut binds = Vec::new();
    let taken = |target: &str| record.mounts.iter().any(|mount| mount.target == target);
    for (name, text) in engine_files(record) {
        let target = format!("/etc/{name}");
        if !taken(&target) {
            let source = folder.join(name);
            fs::write(&source, text)?;
            fs::set_permissions(&source, fs::Permissions::from_mode(0o644))?;
            binds.push(Bind { source, target, read_only: false });
        }
    }
    for mount in &record.mounts {
        let source = match &mount.source {
            RecordedSource::Bind(path) => path.clone(),
            RecordedSource::Anonymous(name) => {
                let path = folder.volume(name);
                fs::create_dir_all(&path)?;
                seed(root, &mount.target, &path)?;
                path
            }
            RecordedSource::Named(name) => {
                let path = store.volume(name)?;
                seed(root, &mount.target, &path)?;
                path
            }
        };
        binds.push(Bind { source, target: mount.target.clone(), read_only: mount.read_only });
    }
    Ok(binds)
}

/// Fills an empty volume with what the image holds at its place.
fn seed(root: &Root, target: &str, volume: &Path) -> io::Result<()> {
    if fs::read_dir(volume)?.next().is_some() {
        return Ok(());
    }
    let source = match root.at(target, OFlags::RDONLY | OFlags::DIRECTORY) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => {
            return Ok(());
        }
        source => source?,
    };
    copy_directory(source.as_fd(), File::open(volume)?.as_fd())
}

/// What every engine puts over an image's own files.
fn engine_files(record: &Record) -> [(&'static str, String); 3] {
    let Record { hostname, network, .. } = record;
    let mut hosts = match network {
        Network::Host => fs::read_to_string("/etc/hosts").unwrap_or_default(),
        Network::Own => format!(
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::0\tip6-localnet\nff00::0\t\
             ip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n127.0.0.1\t{hostname}\n"
        ),
    };
    for host in &record.extra_hosts {
        if let Some((name, address)) = host.split_once([':', '=']) {
            hosts.push_str(&format!("{address}\t{name}\n"));
        }
    }
    [("hosts", hosts), ("hostname", format!("{hostname}\n")), ("resolv.conf", resolver(record))]
}

fn resolver(record: &Record) -> String {
    let host = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let of_host = |word: &str| {
        host.lines().filter(|line| line.starts_with(word)).map(|line| format!("{line}\n")).collect()
    };
    let servers: String = match record.dns.as_slice() {
        [] => of_host("nameserver"),
        own => own.iter().map(|server| format!("nameserver {server}\n")).collect(),
    };
    let search: String = match record.dns_search.as_slice() {
        [] => of_host("search"),
        own => format!("search {}\n", own.join(" ")),
    };
    let options: String = of_host("options");
    format!("{servers}{search}{options}")
}

fn null() -> File {
    File::open("/dev/null").expect("every machine has /dev/null")
}

/// Writes what comes, as it comes. A log that cannot be written any more must not stop the program.
fn keep_log(mut from: PipeReader, stream: Stream, log: SharedLog) -> JoinHandle<()> {
    thread::spawn(move || {
        let mut buffer = vec![0; log::FRAME_BYTES];
        loop {
            match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => {
                    let mut file = log.lock().unwrap_or_else(PoisonError::into_inner);
                    if file.as_mut().is_some_and(|file| log::append(file, stream, &buffer[..read]).is_err()) {
                        *file = None;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    })
}

type SharedLog = Arc<Mutex<Option<File>>>;

fn open_log(folder: &Folder, record: &Record) -> io::Result<SharedLog> {
    let open = || OpenOptions::new().create(true).append(true).open(folder.log());
    Ok(Arc::new(Mutex::new(record.keeps_log.then(open).transpose()?)))
}
