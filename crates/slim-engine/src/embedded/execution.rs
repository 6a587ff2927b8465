//! Commands beside a container's program: asked for by files, run by [`super::joining`].

use super::attaching::{Control, Kind, Size, Streams};
use super::joining::{Came, Request};
use super::record::write;
use super::{EmbeddedEngine, HELPER_COMMAND, Result, refused, streams};
use crate::engine::{ContainerId, ExecResult, ExecSpec};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;

/// Kept of each stream of a command.
const OUTPUT_BYTES: usize = 1 << 20;

/// How a command is connected with whoever asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// Whether its standard input is open.
    pub input: bool,
    pub tty: bool,
    /// Of the terminal.
    pub size: Option<Size>,
}

/// A command that runs in a container.
#[derive(Debug)]
pub struct Execution {
    container: ContainerId,
    child: Child,
    answer: PathBuf,
    _files: TempDir,
}

impl Execution {
    /// Waits for its end; gives its exit code.
    ///
    /// # Errors
    /// It could not be run.
    pub async fn wait(mut self) -> Result<i64> {
        let failed = |error: &dyn std::error::Error| refused(ACTION, &self.container, error);
        self.child.wait().await.map_err(|error| failed(&error))?;
        let came = fs::read(&self.answer).map_err(|error| failed(&error))?;
        match serde_json::from_slice(&came).map_err(|error| failed(&error))? {
            Came::Ended { exit_code } => Ok(exit_code),
            Came::NotRun { reason, .. } => Err(failed(&io::Error::other(reason))),
            Came::TimedOut => Err(failed(&io::Error::from(io::ErrorKind::TimedOut))),
        }
    }
}

const ACTION: &str = "run a command in";

impl EmbeddedEngine {
    /// Runs a command in a running container, whose streams are in the caller's hands.
    ///
    /// # Errors
    /// No such container; it does not run; its terminal cannot be made.
    pub async fn begin_execution(
        &self,
        id: &ContainerId,
        command: &ExecSpec,
        connection: Connection,
    ) -> Result<(Streams, Execution)> {
        let failed = |error: io::Error| refused(ACTION, id, &error);
        if connection.tty {
            // Of a kind whose end is seen when all who hold the other one are gone.
            let flags = SockFlag::SOCK_CLOEXEC;
            let pair = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags);
            let (socket, theirs) = pair.map_err(|error| failed(error.into()))?;
            let streams = [Stdio::from(theirs), Stdio::null(), Stdio::null()];
            let execution = self.asked_to_join(id, command, true, streams)?;
            let came = tokio::task::spawn_blocking(move || streams::message(&socket));
            let master =
                match came.await.map_err(io::Error::other).and_then(|came| came).map_err(failed)?.1.pop() {
                    Some(master) => master,
                    // Then it has ended, and says why.
                    None => {
                        return Err(match execution.wait().await {
                            Err(error) => error,
                            Ok(_) => failed(io::Error::other("its terminal did not come")),
                        });
                    }
                };
            let streams = of_terminal(master, connection).map_err(failed)?;
            return Ok((streams, execution));
        }
        let (input, ours) = match connection.input {
            true => {
                io::pipe().map(|(theirs, ours)| (theirs.into(), Some(OwnedFd::from(ours)))).map_err(failed)?
            }
            false => (Stdio::null(), None),
        };
        let (output, their_output) = io::pipe().map_err(failed)?;
        let (errors, their_errors) = io::pipe().map_err(failed)?;
        let execution =
            self.asked_to_join(id, command, false, [input, their_output.into(), their_errors.into()])?;
        let (output, errors) = (output.into(), Some(errors.into()));
        Ok((Streams { input: ours, output, errors, control: Control(Kind::Nobody) }, execution))
    }

    /// Starts the process that joins the container, with these streams.
    fn asked_to_join(
        &self,
        id: &ContainerId,
        command: &ExecSpec,
        tty: bool,
        [input, output, errors]: [Stdio; 3],
    ) -> Result<Execution> {
        let failed = |error: &dyn std::error::Error| refused(ACTION, id, error);
        let (folder, _) = self.known(id, ACTION)?;
        let files = tempfile::Builder::new().prefix("exec-").tempdir_in(folder.path());
        let files = files.map_err(|error| failed(&error))?;
        let (request, answer) = (files.path().join("request.json"), files.path().join("answer.json"));
        let mut env = command.env.clone();
        if tty && !env.iter().any(|pair| pair.starts_with("TERM=")) {
            // As Docker's own.
            env.push("TERM=xterm".to_owned());
        }
        let asked = Request {
            argv: command.argv.clone(),
            user: command.user.clone(),
            env,
            working_directory: command.working_directory.clone(),
            answer: answer.clone(),
            limit: None,
            tty,
        };
        write(&request, &asked).map_err(|error| failed(&error))?;
        let helper = self.helper.path().map_err(|error| failed(&error))?;
        let child = tokio::process::Command::new(helper)
            .arg0("docker-slim")
            .arg(HELPER_COMMAND)
            .arg("join")
            .args([folder.path(), &request])
            .current_dir("/")
            .stdin(input)
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| failed(&error))?;
        Ok(Execution { container: id.clone(), child, answer, _files: files })
    }

    pub(super) async fn execute(&self, id: &ContainerId, command: &ExecSpec) -> Result<ExecResult> {
        let piped_input = if command.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut execution =
            self.asked_to_join(id, command, false, [piped_input, Stdio::piped(), Stdio::piped()])?;
        let child = &mut execution.child;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let bytes = command.stdin.clone().unwrap_or_default();
        let write_input = async move {
            if let Some(mut input) = input {
                // A command need not read what it is given.
                let _ = input.write_all(&bytes).await;
            }
        };
        let ((), stdout, stderr, exit_code) =
            tokio::join!(write_input, last_of(output), last_of(errors), execution.wait());
        let failed = |error: io::Error| refused(ACTION, id, &error);
        Ok(ExecResult {
            exit_code: exit_code?,
            stdout: stdout.map_err(failed)?,
            stderr: stderr.map_err(failed)?,
        })
    }
}

fn of_terminal(master: OwnedFd, connection: Connection) -> io::Result<Streams> {
    if let Some(size) = connection.size {
        streams::resize(&master, size);
    }
    let input = connection.input.then(|| master.try_clone()).transpose()?;
    let control = Control(Kind::Terminal(master.try_clone()?));
    Ok(Streams { input, output: master, errors: None, control })
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
