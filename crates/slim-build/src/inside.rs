//! Commands that are run inside a container: those of `--exec`, and the image's HEALTHCHECK.

use crate::error::BuildError;
use crate::subject::Subject;
use slim_engine::{ContainerId, Engine, EngineError, ExecSpec};
use slim_image::Config;
use slim_probe::ExecExchange;
use std::time::Duration;

/// How long a HEALTHCHECK may take where the image says nothing, as the engine has it.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(30);
/// Kept of a command's output for an error message.
const OUTPUT_SHOWN: usize = 2000;

/// What the HEALTHCHECK runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HealthCommand {
    argv: Vec<String>,
    timeout: Duration,
}

/// Runs a command of `--exec` in the observed container.
///
/// # Errors
/// When it ends with another exit code than 0.
pub(crate) async fn exec(subject: &Subject<'_>, command: &str) -> Result<ExecExchange, BuildError> {
    let argv = exec_words(command);
    let result =
        subject.engine.exec(&subject.id, &ExecSpec { argv: argv.clone(), ..ExecSpec::default() }).await?;
    if result.exit_code != 0 {
        let mut output = [result.stdout, result.stderr].concat();
        let shown = output.split_off(output.len().saturating_sub(OUTPUT_SHOWN));
        return Err(BuildError::Exercise {
            what: format!("`{command}` in the container ended with exit code {}", result.exit_code),
            hint: None,
            log: String::from_utf8_lossy(&shown).into_owned(),
        });
    }
    Ok(ExecExchange::new(argv, result.exit_code, &result.stdout, &result.stderr))
}

/// A command with shell characters goes to a shell; another one is run as it is, so that no shell comes into the
/// image just for it.
fn exec_words(command: &str) -> Vec<String> {
    const SHELL: &[char] =
        &['|', '&', ';', '<', '>', '(', ')', '$', '`', '*', '?', '[', '#', '~', '{', '}', '\n'];
    match shell_words::split(command) {
        Ok(words) if !command.contains(SHELL) && words.first().is_some_and(|word| !word.contains('=')) => {
            words
        }
        _ => vec!["sh".to_owned(), "-c".to_owned(), command.to_owned()],
    }
}

/// What the image's HEALTHCHECK runs; `None` where there is none, or the slim image is to be without what it needs.
pub(crate) fn health_command(config: &Config, keep: &slim_keep::Settings) -> Option<HealthCommand> {
    if keep.without_healthcheck {
        return None;
    }
    let (check, argv) = (config.healthcheck.as_ref()?, config.health_command()?);
    let timeout = u64::try_from(check.timeout).ok().filter(|timeout| *timeout > 0);
    Some(HealthCommand { argv, timeout: timeout.map_or(HEALTH_TIMEOUT, Duration::from_nanos) })
}

/// Runs the HEALTHCHECK's command once; `None` when it does not end in time.
///
/// # Errors
/// When the engine is gone. That it cannot run the command is exit code 126, as a shell says it.
pub(crate) async fn check_health(
    engine: &dyn Engine,
    id: &ContainerId,
    health: &HealthCommand,
) -> Result<Option<i64>, BuildError> {
    let ran = run_inside(engine, id, &health.argv, health.timeout).await?;
    Ok(ran.map(|ran| ran.exit_code))
}

/// Runs a command in a container; `None` when it does not end in time. One that the engine cannot run ends with exit
/// code 126, as a shell says it.
///
/// # Errors
/// When the engine is gone.
pub(crate) async fn run_inside(
    engine: &dyn Engine,
    id: &ContainerId,
    argv: &[String],
    within: Duration,
) -> Result<Option<ExecExchange>, BuildError> {
    const CANNOT_RUN: i64 = 126;
    let spec = ExecSpec { argv: argv.to_vec(), ..ExecSpec::default() };
    match tokio::time::timeout(within, engine.exec(id, &spec)).await {
        Err(_) => Ok(None),
        Ok(Ok(ran)) => Ok(Some(ExecExchange::new(argv.to_vec(), ran.exit_code, &ran.stdout, &ran.stderr))),
        Ok(Err(EngineError::Refused { reason, .. })) => {
            Ok(Some(ExecExchange::new(argv.to_vec(), CANNOT_RUN, b"", reason.as_bytes())))
        }
        Ok(Err(error)) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_command_needs_no_shell() {
        assert_eq!(exec_words("redis-cli set 'a key' 1"), ["redis-cli", "set", "a key", "1"]);
    }

    #[test]
    fn the_health_check_runs_as_the_engine_runs_it() {
        let config = |test: &[&str], shell: &[&str]| Config {
            healthcheck: Some(slim_image::config::Healthcheck {
                test: test.iter().map(ToString::to_string).collect(),
                timeout: 3_000_000_000,
                ..Default::default()
            }),
            shell: shell.iter().map(ToString::to_string).collect(),
            ..Config::default()
        };
        let argv = |config: &Config| {
            health_command(config, &slim_keep::Settings::default()).map(|health| health.argv)
        };
        let words = |words: &[&str]| Some(words.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(argv(&config(&["CMD", "redis-cli", "ping"], &[])), words(&["redis-cli", "ping"]));
        assert_eq!(argv(&config(&["CMD-SHELL", "a | b"], &[])), words(&["/bin/sh", "-c", "a | b"]));
        assert_eq!(argv(&config(&["CMD-SHELL", "a"], &["bash", "-ec"])), words(&["bash", "-ec", "a"]));
        assert_eq!(argv(&config(&["NONE"], &[])), None);
        assert_eq!(argv(&Config::default()), None);
        let with_check = config(&["CMD", "x"], &[]);
        let mut keep = slim_keep::Settings::default();
        assert_eq!(health_command(&with_check, &keep).unwrap().timeout, Duration::from_secs(3));
        keep.without_healthcheck = true;
        assert_eq!(health_command(&with_check, &keep), None);
    }

    #[test]
    fn a_command_with_shell_characters_goes_to_a_shell_as_it_is() {
        for command in ["echo a | cat", "FOO=1 env", "ls *.txt", "echo $HOME", "echo 'unfinished"] {
            assert_eq!(exec_words(command), ["sh", "-c", command]);
        }
    }
}
