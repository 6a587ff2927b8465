//! Commands beside a container's program: asked for by files, run by [`super::joining`].

use super::attaching::{Control, Size, Streams};
use super::joining::{Came, Request};
use super::record::write;
use super::{EmbeddedEngine, HELPER_COMMAND, Result, exec_terminal, refused};
use crate::engine::{ContainerId, ExecResult, ExecSpec};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Stdio;
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::Child;

/// Kept of each stream of a command.
const OUTPUT_BYTES: usize = 1 << 20;

/// A command that runs.
#[derive(Debug)]
pub struct Execution {
    child: Child,
    container: ContainerId,
    answer: PathBuf,
    _files: TempDir,
}

impl Execution {
    /// Waits for its end; its exit code.
    ///
    /// # Errors
    /// It could not be run.
    pub async fn wait(mut self) -> Result<i64> {
        let failed = |error: &dyn std::error::Error| refused("run a command in", &self.container, error);
        self.child.wait().await.map_err(|error| failed(&error))?;
        let came = fs::read(&self.answer).map_err(|error| failed(&error))?;
        match serde_json::from_slice(&came).map_err(|error| failed(&error))? {
            Came::Ended { exit_code } => Ok(exit_code),
            Came::NotRun { reason, .. } => Err(failed(&io::Error::other(reason))),
        }
    }
}

impl EmbeddedEngine {
    pub(super) async fn execute(&self, id: &ContainerId, command: &ExecSpec) -> Result<ExecResult> {
        let failed = |error: &dyn std::error::Error| refused("run a command in", id, error);
        let stdin = if command.stdin.is_some() { Stdio::piped() } else { Stdio::null() };
        let mut running = self.join(id, command, None, [stdin, Stdio::piped(), Stdio::piped()])?;
        let child = &mut running.child;
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let bytes = command.stdin.clone().unwrap_or_default();
        let write_input = async move {
            if let Some(mut input) = input {
                // A command need not read what it is given.
                let _ = input.write_all(&bytes).await;
            }
        };
        let ((), stdout, stderr, exit_code) =
            tokio::join!(write_input, last_of(output), last_of(errors), running.wait());
        Ok(ExecResult {
            exit_code: exit_code?,
            stdout: stdout.map_err(|error| failed(&error))?,
            stderr: stderr.map_err(|error| failed(&error))?,
        })
    }

    /// Begins a command whose streams come as they are made. `input`: whether it has a standard input; `terminal`: the size of
    /// the terminal that it is to have. What `command` says of standard input is not looked at.
    ///
    /// # Errors
    /// No such container, it does not run, or the command cannot be run.
    pub async fn exec_streams(
        &self,
        id: &ContainerId,
        command: &ExecSpec,
        input: bool,
        terminal: Option<Size>,
    ) -> Result<(Streams, Execution)> {
        let failed = |error: io::Error| refused("run a command in", id, &error);
        if let Some(size) = terminal {
            let flags = SockFlag::SOCK_CLOEXEC;
            let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)
                .map_err(|error| failed(error.into()))?;
            let running =
                self.join(id, command, Some(size), [theirs.into(), Stdio::null(), Stdio::null()])?;
            let master = tokio::task::spawn_blocking(move || exec_terminal::received(&ours)).await;
            let Some(master) = master.map_err(|error| failed(io::Error::other(error)))?.map_err(failed)?
            else {
                let code = running.wait().await?;
                return Err(failed(io::Error::other(format!("it ended with {code} before it began"))));
            };
            let again = || master.try_clone().map_err(failed);
            let input = if input { Some(again()?) } else { None };
            let streams =
                Streams { input, output: again()?, errors: None, control: Control::of_master(again()?) };
            return Ok((streams, running));
        }
        let (program_input, input) = if input {
            io::pipe().map(|(theirs, ours)| (theirs.into(), Some(ours))).map_err(failed)?
        } else {
            (Stdio::null(), None)
        };
        let (output, program_output) = io::pipe().map_err(failed)?;
        let (errors, program_errors) = io::pipe().map_err(failed)?;
        let running =
            self.join(id, command, None, [program_input, program_output.into(), program_errors.into()])?;
        let streams = Streams {
            input: input.map(Into::into),
            output: output.into(),
            errors: Some(errors.into()),
            control: Control::of_nothing(),
        };
        Ok((streams, running))
    }

    /// Starts the first of the two processes, with these streams.
    fn join(
        &self,
        id: &ContainerId,
        command: &ExecSpec,
        terminal: Option<Size>,
        [input, output, errors]: [Stdio; 3],
    ) -> Result<Execution> {
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
            terminal,
            answer: answer.clone(),
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
        Ok(Execution { child, container: id.clone(), answer, _files: files })
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
