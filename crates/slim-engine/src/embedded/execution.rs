//! Commands beside a container's program: asked for by files, run by [`super::joining`].

use super::joining::{Came, Request};
use super::record::write;
use super::{EmbeddedEngine, HELPER_COMMAND, Result, refused};
use crate::engine::{ContainerId, ExecResult, ExecSpec};
use std::fs;
use std::io;
use std::process::Stdio;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

/// Kept of each stream of a command.
const OUTPUT_BYTES: usize = 1 << 20;

impl EmbeddedEngine {
    pub(super) async fn execute(&self, id: &ContainerId, command: &ExecSpec) -> Result<ExecResult> {
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
