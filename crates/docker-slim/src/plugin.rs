//! How the docker command calls its plugins: `docker slim build …` runs us with `slim build …` as arguments, its own
//! global flags before them (docker/cli, `cli-plugins/manager/manager.go`).

use crate::failure::Failure;
use std::ffi::{OsStr, OsString};

/// The plugin's name, which comes first among the arguments.
const NAME: &str = "slim";
/// Set by the docker command for its plugins.
const CALLED_BY_DOCKER: &str = "DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND";

/// The arguments as we would be called without the docker command. `commands`: our own, by name and alias.
///
/// # Errors
/// A global flag of docker's that we have no flag for.
pub fn own_arguments(
    arguments: Vec<OsString>,
    environment: &dyn Fn(&str) -> Option<OsString>,
    commands: &dyn Fn(&OsStr) -> bool,
) -> Result<Vec<OsString>, Failure> {
    let named = arguments.iter().skip(1).position(|word| word == NAME).map(|index| index + 1);
    let is_called_by_docker = environment(CALLED_BY_DOCKER).is_some();
    match named {
        // Without the variable: `slim` is also a command of ours, so another command must follow.
        Some(1) if is_called_by_docker || arguments.get(2).is_some_and(|word| commands(word)) => {
            Ok([&arguments[..1], &arguments[2..]].concat())
        }
        Some(index) if is_called_by_docker => {
            let mut own = vec![arguments[0].clone()];
            own.extend(translated(&arguments[1..index])?);
            own.extend_from_slice(&arguments[index + 1..]);
            Ok(own)
        }
        _ => Ok(arguments),
    }
}

/// Docker's global flags in our words.
fn translated(flags: &[OsString]) -> Result<Vec<OsString>, Failure> {
    let mut own = Vec::new();
    let mut flags = flags.iter();
    while let Some(flag) = flags.next() {
        let text = flag.to_string_lossy();
        let (name, attached) =
            text.split_once('=').map_or((&*text, None), |(name, value)| (name, Some(value)));
        let ours = match name {
            "-H" | "--host" => "--host",
            "-c" | "--context" => "--crt-context",
            "-l" | "--log-level" => "--log-level",
            "-D" | "--debug" => {
                own.push("--debug".into());
                continue;
            }
            _ => {
                return Err(Failure::usage(format!(
                    "use docker's flag {name}: docker-slim has no such flag"
                ))
                .with_hint(
                    "the environment variables of the docker command work: DOCKER_CONFIG, DOCKER_CERT_PATH …",
                ));
            }
        };
        own.push(ours.into());
        own.extend(attached.map(OsString::from).or_else(|| flags.next().cloned()));
    }
    Ok(own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(words: &[&str], by_docker: bool) -> Result<Vec<OsString>, Failure> {
        let words = std::iter::once("docker-slim").chain(words.iter().copied()).map(OsString::from).collect();
        let environment =
            |name: &str| (by_docker && name == CALLED_BY_DOCKER).then(|| OsString::from("docker"));
        own_arguments(words, &environment, &|word| word == "build").map(|words| words[1..].to_vec())
    }

    #[test]
    fn the_plugins_name_goes_and_our_command_stays() {
        assert_eq!(own(&["slim", "build", "x"], true).unwrap(), ["build", "x"]);
        assert_eq!(own(&["slim", "build", "x"], false).unwrap(), ["build", "x"]);
        assert_eq!(own(&["slim", "x"], false).unwrap(), ["slim", "x"], "slim is Mint's name for build");
        assert_eq!(own(&["build", "slim"], false).unwrap(), ["build", "slim"]);
        assert_eq!(own(&["docker-cli-plugin-metadata"], false).unwrap(), ["docker-cli-plugin-metadata"]);
    }

    #[test]
    fn dockers_own_flags_become_ours() {
        let words = ["-H", "tcp://a:1", "--context=c", "-D", "-l", "info", "slim", "build", "x"];
        assert_eq!(
            own(&words, true).unwrap(),
            ["--host", "tcp://a:1", "--crt-context", "c", "--debug", "--log-level", "info", "build", "x"]
        );
        assert!(own(&["--config", "/c", "slim", "build"], true).unwrap_err().message.contains("--config"));
    }
}
