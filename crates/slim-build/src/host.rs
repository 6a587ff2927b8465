//! Commands that run on this machine: those of `--host-exec` while the container is observed, and the user's own tests of
//! `--verify-cmd` against a slim one.
//!
//! Where a container has no address that leads there from this machine, its ports are brought to this machine's loopback for
//! the time of the command ([`Forwards`]), so that the same commands work.

use crate::error::BuildError;
use crate::forwards::Forwards;
use crate::subject::Subject;
use crate::vantage::Vantage;
use slim_engine::{ContainerId, Engine};
use slim_report::ExecReport;
use std::collections::BTreeSet;
use std::process::Stdio;
use tokio::process::Command;

/// Kept of a command's output for an error message.
const OUTPUT_SHOWN: usize = 2000;

/// Runs one command with `sh -c`. It finds the container's id in `SLIM_CONTAINER`, its address in `SLIM_ADDRESS`, and the
/// port of 127.0.0.1 that is the container's port 8000 in `SLIM_PORT_8000`.
///
/// # Errors
/// When it ends with another exit code than 0, or by a signal.
pub(crate) async fn exec(subject: &Subject<'_>, command: &str) -> Result<ExecReport, BuildError> {
    let state = subject.engine.inspect(&subject.id).await?;
    let ports = state.ports.iter().map(|port| port.container_port).collect();
    let forwards = Forwards::of(&subject.vantage, &state, &ports).await?;
    let mut process = Command::new("sh");
    process
        .args(["-c", command])
        .env("SLIM_CONTAINER", subject.id.as_str())
        .env("SLIM_ADDRESS", forwards.address.to_string());
    // Docker publishes under IPv6 and IPv4 at different ports; the one that everybody can reach comes last and stays.
    let (v4, v6): (Vec<_>, Vec<_>) = state.ports.iter().partition(|port| port.host_ip.is_ipv4());
    for port in v6.into_iter().chain(v4) {
        process.env(format!("SLIM_PORT_{}", port.container_port), port.host_port.to_string());
    }
    let here = forwards.unpublished.iter();
    process.envs(here.map(|(port, here)| (format!("SLIM_PORT_{port}"), here.to_string())));
    run(process, command).await
}

/// A test of the user's that has ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tested {
    pub command: String,
    /// `None`: a signal ended it.
    pub exit_code: Option<i32>,
    /// The end of what it wrote.
    pub output: String,
}

impl Tested {
    /// How it ended, behind its name.
    #[must_use]
    pub fn ending(&self) -> String {
        match self.exit_code {
            Some(code) => format!("on this machine ended with exit code {code}"),
            None => "on this machine was ended by a signal".to_owned(),
        }
    }
}

/// Runs a test with `sh -c`. It finds the container's id in `DOCKER_SLIM_CONTAINER`, its address in `DOCKER_SLIM_HOST`, and
/// the port at which its port 8000 is there in `DOCKER_SLIM_PORT_8000`.
///
/// # Errors
/// When it cannot be run at all.
pub(crate) async fn test(
    engine: &dyn Engine,
    vantage: &Vantage,
    id: &ContainerId,
    ports: &BTreeSet<u16>,
    command: &str,
) -> Result<Tested, BuildError> {
    let state = engine.inspect(id).await?;
    let forwards = Forwards::of(vantage, &state, ports).await?;
    let at = |port: &u16| forwards.ports.get(port).unwrap_or(port).to_string();
    let mut process = Command::new("sh");
    process
        .args(["-c", command])
        .env("DOCKER_SLIM_CONTAINER", id.as_str())
        .env("DOCKER_SLIM_HOST", forwards.address.to_string())
        .envs(ports.iter().map(|port| (format!("DOCKER_SLIM_PORT_{port}"), at(port))));
    tested(process, command).await
}

async fn run(process: Command, command: &str) -> Result<ExecReport, BuildError> {
    let tested = tested(process, command).await?;
    if tested.exit_code == Some(0) {
        return Ok(ExecReport { command: command.to_owned(), exit_code: 0 });
    }
    let what = format!("`{command}` {}", tested.ending());
    Err(BuildError::Exercise { what, hint: None, log: tested.output })
}

async fn tested(mut process: Command, command: &str) -> Result<Tested, BuildError> {
    // A build that is given up takes the command with it.
    process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = process.output().await.map_err(|error| BuildError::Exercise {
        what: format!("`{command}` on this machine: {error}"),
        hint: None,
        log: String::new(),
    })?;
    let mut said = [output.stdout, output.stderr].concat();
    let shown = said.split_off(said.len().saturating_sub(OUTPUT_SHOWN));
    Ok(Tested {
        command: command.to_owned(),
        exit_code: output.status.code(),
        output: String::from_utf8_lossy(&shown).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn sh(command: &str) -> Result<ExecReport, BuildError> {
        let mut process = Command::new("sh");
        process.args(["-c", command]);
        run(process, command).await
    }

    #[tokio::test]
    async fn a_failing_command_is_a_failed_exercise_with_what_it_said() {
        assert_eq!(sh("exit 0").await.unwrap().exit_code, 0);
        let error = sh("echo out; echo err >&2; exit 3").await.unwrap_err();
        assert_eq!(error.exit_code(), 6);
        assert!(error.to_string().contains("exit code 3"), "{error}");
        assert_eq!(error.container_log(), "out\nerr\n");
        assert!(sh("kill $$").await.unwrap_err().to_string().contains("by a signal"));
    }
}
