//! A command in a running container: two processes of this program's own binary. The first joins the container's control
//! groups and its process name space, which only its children are in; the second enters the other name spaces and becomes
//! the command.

use super::control_group;
use super::keeper;
use super::program::NotRun;
use super::record::{Folder, Network, write};
use super::rooted::Root;
use super::telling;
use super::terminal;
use super::users;
use crate::host;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, setns};
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

/// What is to be run, in a file.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Request {
    pub argv: Vec<String>,
    pub user: Option<String>,
    pub env: Vec<String>,
    pub working_directory: Option<String>,
    /// Written when all is over: a [`Came`].
    pub answer: PathBuf,
    /// It is killed after this.
    #[serde(default)]
    pub limit: Option<Duration>,
    /// It gets a terminal of the container's, whose other end goes over the socket that is standard input.
    #[serde(default)]
    pub tty: bool,
}

/// What came of it.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Came {
    Ended { exit_code: i64 },
    NotRun { reason: String, exit_code: i64 },
    TimedOut,
}

/// The first process. The program's exit code.
pub(super) fn join(helper: &[&std::ffi::OsStr], folder: &Path, request: &Path) -> u8 {
    let Ok(asked) = read(request) else { return 1 };
    let answer = asked.answer.clone();
    let came = joined(helper, folder, request, &asked);
    let failed = |error: io::Error| Came::NotRun { reason: error.to_string(), exit_code: 126 };
    let came = came.map_or_else(failed, |ended| match refusal(&answer) {
        Some(refused) => refused,
        None => ended,
    });
    u8::from(write(&answer, &came).is_err())
}

/// What the second process wrote in place of the command's running.
fn refusal(answer: &Path) -> Option<Came> {
    let bytes = std::fs::read(refused_at(answer)).ok()?;
    serde_json::from_slice(&bytes).ok()
}

fn refused_at(answer: &Path) -> PathBuf {
    answer.with_extension("refused")
}

fn read(path: &Path) -> io::Result<Request> {
    serde_json::from_slice(&std::fs::read(path)?).map_err(io::Error::other)
}

fn joined(helper: &[&std::ffi::OsStr], folder: &Path, request: &Path, asked: &Request) -> io::Result<Came> {
    let record = Folder::new(folder).record()?;
    let pid = running(folder)?;
    File::create(refused_at(&asked.answer))?;
    match control_group::join(&record.id) {
        // Without privilege there may be none.
        Err(error) if error.kind() == io::ErrorKind::NotFound && !host::is_real_root() => {}
        joined => joined?,
    }
    setns(File::open(format!("/proc/{pid}/ns/pid"))?, CloneFlags::CLONE_NEWPID)?;
    let mut command = Command::new(helper[0]);
    command.args(&helper[1..]).arg("enter").arg(folder).arg(request);
    let mut child = command.spawn()?;
    if let Some(limit) = asked.limit
        && !ends_within(&child, limit)?
    {
        child.kill()?;
        child.wait()?;
        return Ok(Came::TimedOut);
    }
    let status = child.wait()?;
    let code = status.code().map_or_else(|| 128 + i64::from(status.signal().unwrap_or_default()), i64::from);
    Ok(Came::Ended { exit_code: code })
}

/// Waits for the end of a child of ours; whether it came in time.
fn ends_within(child: &Child, limit: Duration) -> io::Result<bool> {
    let number = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
    let number = number.ok_or_else(|| io::Error::other("no number of a process"))?;
    let handle = rustix::process::pidfd_open(number, rustix::process::PidfdFlags::empty())?;
    let deadline = Instant::now() + limit;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        // Never shorter than what is left, so that the last look is behind the deadline.
        let milliseconds = u16::try_from(left.as_millis() + 1).unwrap_or(u16::MAX);
        let mut watched = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, PollTimeout::from(milliseconds)) {
            Ok(0) if left.is_zero() => return Ok(false),
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            Ok(_) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

fn running(folder: &Path) -> io::Result<u32> {
    let state = Folder::new(folder).state()?;
    state
        .living_program()
        .map(|program| program.pid)
        .ok_or_else(|| io::Error::other("the container is not running"))
}

/// The second process: comes back only when the command cannot be run.
pub(super) fn enter(folder: &Path, request: &Path) -> u8 {
    let Ok(asked) = read(request) else { return 1 };
    // It is written to from inside of the container, where its path means nothing.
    let refused = File::options().write(true).open(refused_at(&asked.answer));
    let NotRun { reason, exit_code } = entered(folder, &asked);
    let came = Came::NotRun { reason, exit_code };
    if let (Ok(mut file), Ok(bytes)) = (refused, serde_json::to_vec(&came)) {
        let _ = file.write_all(&bytes);
    }
    1
}

fn entered(folder: &Path, request: &Request) -> NotRun {
    let prepared = (|| {
        let record = Folder::new(folder).record()?;
        let pid = running(folder)?;
        let supervisor = telling::connect(&Folder::new(folder))?;
        let mut kinds = vec![("ipc", CloneFlags::CLONE_NEWIPC), ("uts", CloneFlags::CLONE_NEWUTS)];
        if record.network != Network::Host {
            kinds.push(("net", CloneFlags::CLONE_NEWNET));
        }
        if control_group::is_unified() {
            kinds.push(("cgroup", CloneFlags::CLONE_NEWCGROUP));
        }
        // Behind this one there is no /proc of the host's.
        kinds.push(("mnt", CloneFlags::CLONE_NEWNS));
        let open =
            |(name, kind): (&str, CloneFlags)| Ok((File::open(format!("/proc/{pid}/ns/{name}"))?, kind));
        let namespaces = kinds.into_iter().map(open).collect::<io::Result<Vec<_>>>()?;
        for (namespace, kind) in namespaces {
            setns(namespace, kind)?;
        }
        if request.tty {
            terminal::take()?;
        }
        let user =
            users::resolve(&Root::open(Path::new("/"))?, request.user.as_ref().unwrap_or(&record.user))?;
        let mut program = keeper::program(&record, user, &request.argv, &request.env, supervisor)
            .map_err(|not_run| io::Error::other(not_run.reason))?;
        if let Some(directory) = &request.working_directory {
            program.working_directory.clone_from(directory);
        }
        own_session()?;
        io::Result::Ok(program)
    })();
    match prepared {
        Ok(program) => program.become_it(),
        Err(error) => NotRun { reason: error.to_string(), exit_code: 126 },
    }
}

/// Leaves the session of whoever asked, whose terminal is not the container's: `/dev/tty` would be it, and who may open that
/// can type into it (TIOCSTI of ioctl_tty(2)).
fn own_session() -> io::Result<()> {
    if nix::unistd::getsid(None)? != nix::unistd::getpid() {
        nix::unistd::setsid()?;
    }
    Ok(())
}
