//! Flags about what drives the program → the exercise.

use super::files::{lines, read};
use super::http;
use crate::arguments::{ExerciseArguments, HttpArguments};
use crate::failure::Failure;
use crate::outside;
use slim_build::{ContinueAfter, Exercise};
use std::collections::BTreeSet;
use std::path::Path;

/// What drives the program.
///
/// # Errors
/// What is wrong with a flag, or a file of them.
pub fn settings(arguments: &ExerciseArguments, http: &HttpArguments) -> Result<Exercise, Failure> {
    let mut exec = arguments.exec.clone();
    if let Some(path) = &arguments.exec_file {
        exec.push(script(path)?);
    }
    let host_exec = lines(&arguments.host_exec, "--host-exec", arguments.host_exec_file.as_deref())?;
    let modes = arguments.continue_after.as_deref().unwrap_or_default();
    for (mode, commands) in [("exec", &exec), ("host-exec", &host_exec)] {
        if words(modes).any(|word| word == mode) && commands.is_empty() {
            return Err(Failure::usage(format!(
                "understand --continue-after {mode}: there is no --{mode} command to wait for"
            )));
        }
    }
    let continue_after = continue_after(modes)?;
    let probes = http::is_on(http)?;
    if continue_after.contains(&ContinueAfter::Probe) && !probes {
        return Err(Failure::usage("understand --continue-after probe: the HTTP probe is switched off"));
    }
    if continue_after.contains(&ContinueAfter::Enter) && outside::input_has_ended() {
        return Err(Failure::usage("wait for Enter: standard input is closed or /dev/null")
            .with_hint("--continue-after signal waits for a signal instead (kill -USR1 PID)"));
    }
    Ok(Exercise {
        http: if probes { Some(http::settings(http)?) } else { None },
        http_required: http::is_asked_for(http) || continue_after.contains(&ContinueAfter::Probe),
        http_judgement: http::judgement(http),
        exec,
        host_exec,
        continue_after,
    })
}

/// `probe&enter`, `30`, `signal` …
fn continue_after(text: &str) -> Result<BTreeSet<ContinueAfter>, Failure> {
    words(text)
        .map(|mode| {
            Ok(match mode {
                "probe" => ContinueAfter::Probe,
                "exec" | "host-exec" => ContinueAfter::Exec,
                "signal" => ContinueAfter::Signal,
                "enter" => ContinueAfter::Enter,
                // Mint's own name for its default of a minute.
                "timeout" => ContinueAfter::Seconds(60),
                number => ContinueAfter::Seconds(number.parse().map_err(|_| {
                    Failure::usage(format!("understand --continue-after {text}: {number:?} is no mode"))
                        .with_hint(
                            "modes are probe, exec, host-exec, signal, enter and a number of seconds, joined by &",
                        )
                })?),
            })
        })
        .collect()
}

/// The modes of `--continue-after`.
fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split('&').map(str::trim).filter(|mode| !mode.is_empty())
}

/// A script as one command for a shell.
fn script(path: &Path) -> Result<String, Failure> {
    let text = read("--exec-file", path)?;
    if text.trim().is_empty() {
        return Err(Failure::usage(format!("read --exec-file {}: it is empty", path.display())));
    }
    // The line feed makes it a shell's business even where the script is one plain word.
    Ok(format!("{}\n", text.trim_end()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::tests::build;

    fn of(words: &[&str]) -> Result<Exercise, Failure> {
        let arguments = build(words).common;
        settings(&arguments.exercise, &arguments.http)
    }

    #[test]
    fn commands_come_from_flags_and_then_from_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("script");
        std::fs::write(&path, "ls\n").unwrap();
        let (exec, host) =
            (format!("--exec-file={}", path.display()), format!("--host-exec-file={}", path.display()));
        assert_eq!(of(&["--exec=a", "--exec", "b c", &exec]).unwrap().exec, ["a", "b c", "ls\n"]);
        assert_eq!(of(&["--host-exec=a", &host]).unwrap().host_exec, ["a", "ls"]);
        assert!(of(&["--exec-file=/none"]).unwrap_err().message.contains("/none"));
        std::fs::write(&path, "\n").unwrap();
        assert!(of(&[&exec]).unwrap_err().message.contains("empty"));
    }

    #[test]
    fn what_is_waited_for_must_be_there() {
        for (mode, flags) in [
            ("exec", &[][..]),
            ("host-exec", &[]),
            ("probe", &["--http-probe-off"]),
            ("probe", &["--http-probe=false"]),
        ] {
            let words = [&["--continue-after", mode], flags].concat();
            assert!(of(&words).unwrap_err().message.contains(mode), "{mode}");
        }
        let waits = of(&["--continue-after=host-exec", "--host-exec=curl localhost"]).unwrap();
        assert_eq!(waits.continue_after, [ContinueAfter::Exec].into());
        assert!(of(&["--continue-after=probe"]).unwrap().http_required);
    }

    #[test]
    fn continue_after_joins_modes() {
        let modes = continue_after("probe&enter & 5").unwrap();
        assert_eq!(modes, [ContinueAfter::Probe, ContinueAfter::Seconds(5), ContinueAfter::Enter].into());
    }

    #[test]
    fn an_unknown_mode_names_itself_and_the_known_ones() {
        let failure = continue_after("probe&app-exit").unwrap_err();
        assert!(failure.message.contains("app-exit"), "{}", failure.message);
        assert!(failure.hint.unwrap().contains("signal"));
        assert_eq!(failure.exit_code, 2);
    }
}
