//! The one place where flags and the environment become the plain settings of a command.

mod container;
mod files;
mod http;
mod image;
mod keep;
mod text;

use crate::arguments::{BuildArguments, ExerciseArguments, GlobalArguments, HttpArguments};
use crate::failure::Failure;
use crate::outside;
use slim_build::{ContinueAfter, Exercise, Settings};
use slim_engine::{EndpointInputs, Run};
use std::collections::BTreeSet;
use std::env;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// `docker stop`'s own.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// Room for some 50,000 events that were not read yet.
const BUFFER_BYTES: u32 = 8 << 20;

/// Where the engine is, as the docker CLI finds it.
pub fn endpoint_inputs(global: &GlobalArguments) -> EndpointInputs {
    let text = |name: &str| env::var(name).ok().filter(|value| !value.is_empty());
    let home = env::var_os("HOME").map_or_else(|| PathBuf::from("/root"), PathBuf::from);
    EndpointInputs {
        host_flag: global.host.clone(),
        context_flag: global.crt_context.clone(),
        docker_host: text("DOCKER_HOST"),
        docker_context: text("DOCKER_CONTEXT"),
        docker_tls: text("DOCKER_TLS"),
        docker_tls_verify: text("DOCKER_TLS_VERIFY"),
        docker_cert_path: text("DOCKER_CERT_PATH").map(PathBuf::from),
        docker_config_dir: text("DOCKER_CONFIG").map_or_else(|| home.join(".docker"), PathBuf::from),
    }
}

/// The settings of `build`.
///
/// # Errors
/// What is wrong with the flags.
pub fn build(global: &GlobalArguments, arguments: &BuildArguments) -> Result<Settings, Failure> {
    Ok(Settings {
        target: target(arguments)?,
        tags: arguments.tag.clone(),
        state_path: global.state_path.clone().unwrap_or_else(|| PathBuf::from(".")),
        copy_meta_artifacts: arguments.copy_meta_artifacts.clone(),
        container: container::settings(&arguments.container)?,
        edits: image::edits(&arguments.edits)?,
        exercise: exercise(&arguments.exercise, &arguments.http)?,
        keep: keep::settings(&arguments.keep)?,
        verify: arguments.verify,
        show_container_logs: arguments.show_clogs,
        stop_grace: STOP_GRACE,
        source_date_epoch: source_date_epoch()?,
        binary: PathBuf::from("/proc/self/exe"),
        buffer_bytes: BUFFER_BYTES,
        run: this_run()?,
    })
}

fn target(arguments: &BuildArguments) -> Result<String, Failure> {
    match (&arguments.image, &arguments.target) {
        (Some(image), Some(target)) if image != target => Err(Failure::usage(format!(
            "choose the image: the argument says {image}, --target says {target}"
        ))),
        (Some(name), _) | (None, Some(name)) if !name.trim().is_empty() => Ok(name.clone()),
        _ => {
            Err(Failure::usage("find an image to work on: none was named")
                .with_hint("docker-slim build IMAGE"))
        }
    }
}

fn exercise(arguments: &ExerciseArguments, http: &HttpArguments) -> Result<Exercise, Failure> {
    let continue_after = match &arguments.continue_after {
        Some(text) => continue_after(text)?,
        None => BTreeSet::new(),
    };
    let probes = http::is_on(http)?;
    if continue_after.contains(&ContinueAfter::Exec) && arguments.exec.is_empty() {
        return Err(Failure::usage(
            "understand --continue-after exec: there is no --exec command to wait for",
        ));
    }
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
        exec: arguments.exec.clone(),
        continue_after,
    })
}

/// `probe&enter`, `30`, `signal` …
fn continue_after(text: &str) -> Result<BTreeSet<ContinueAfter>, Failure> {
    text.split('&')
        .map(|mode| {
            Ok(match mode.trim() {
                "probe" => ContinueAfter::Probe,
                "exec" => ContinueAfter::Exec,
                "signal" => ContinueAfter::Signal,
                "enter" => ContinueAfter::Enter,
                // Mint's own name for its default of a minute.
                "timeout" => ContinueAfter::Seconds(60),
                number => ContinueAfter::Seconds(number.parse().map_err(|_| {
                    Failure::usage(format!("understand --continue-after {text}: {number:?} is no mode"))
                        .with_hint(
                            "modes are probe, exec, signal, enter and a number of seconds, joined by &",
                        )
                })?),
            })
        })
        .collect()
}

fn source_date_epoch() -> Result<Option<i64>, Failure> {
    match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.parse().map(Some).map_err(|_| {
            Failure::usage(format!("understand SOURCE_DATE_EPOCH={text}: no number of seconds"))
        }),
        Err(_) => Ok(None),
    }
}

fn this_run() -> Result<Run, Failure> {
    let run = std::fs::read_to_string("/proc/sys/kernel/random/uuid")
        .and_then(|uuid| slim_engine::host::this_run(uuid.trim().replace('-', "")));
    run.map_err(|error| {
        Failure::new(format!("read what identifies this run: {error}"), 1).with_hint("is /proc mounted?")
    })
}

/// Where the report goes; `None` for `off`.
pub fn report_path(global: &GlobalArguments) -> Option<&Path> {
    (global.report != "off").then(|| Path::new(&global.report))
}

#[cfg(test)]
mod tests {
    use super::*;

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
