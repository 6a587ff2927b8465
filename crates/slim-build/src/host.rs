//! Commands of `--host-exec`: run on this machine while the container is observed.

use crate::error::BuildError;
use crate::observe::Subject;
use slim_report::ExecReport;
use std::process::Stdio;
use tokio::process::Command;

/// Kept of a command's output for an error message.
const OUTPUT_SHOWN: usize = 2000;

/// Runs one command with `sh -c`. It finds the container's id in `SLIM_CONTAINER`, its address in `SLIM_ADDRESS`, and the
/// host's port of the container's port 8000 in `SLIM_PORT_8000`.
///
/// # Errors
/// When it ends with another exit code than 0, or by a signal.
pub(crate) async fn exec(subject: &Subject<'_>, command: &str) -> Result<ExecReport, BuildError> {
    let state = subject.engine.inspect(&subject.id).await?;
    let mut process = Command::new("sh");
    process.args(["-c", command]).env("SLIM_CONTAINER", subject.id.as_str());
    if let Some(address) = state.addresses.first() {
        process.env("SLIM_ADDRESS", address.to_string());
    }
    // Docker publishes under IPv6 and IPv4 at different ports; the one that everybody can reach comes last and stays.
    let (v4, v6): (Vec<_>, Vec<_>) = state.ports.iter().partition(|port| port.host_ip.is_ipv4());
    for port in v6.into_iter().chain(v4) {
        process.env(format!("SLIM_PORT_{}", port.container_port), port.host_port.to_string());
    }
    run(process, command).await
}

async fn run(mut process: Command, command: &str) -> Result<ExecReport, BuildError> {
    let failed = |what: String, log: String| BuildError::Exercise { what, hint: None, log };
    // A build that is given up takes the command with it.
    process.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let output = process
        .output()
        .await
        .map_err(|error| failed(format!("`{command}` on this machine: {error}"), String::new()))?;
    if output.status.success() {
        return Ok(ExecReport { command: command.to_owned(), exit_code: 0 });
    }
    let mut said = [output.stdout, output.stderr].concat();
    let shown = said.split_off(said.len().saturating_sub(OUTPUT_SHOWN));
    let ending = match output.status.code() {
        Some(code) => format!("ended with exit code {code}"),
        None => "was ended by a signal".to_owned(),
    };
    Err(failed(format!("`{command}` on this machine {ending}"), String::from_utf8_lossy(&shown).into_owned()))
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
