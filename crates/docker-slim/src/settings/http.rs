//! Flags of the HTTP probe → its settings.

use crate::arguments::HttpArguments;
use crate::failure::Failure;
use slim_build::HttpJudgement;
use slim_probe::{ApiSpec, CrawlLimits, HttpSettings, ProbeCommand};
use std::time::Duration;

/// Whether the probe runs.
///
/// # Errors
/// Flags that contradict each other.
pub fn is_on(arguments: &HttpArguments) -> Result<bool, Failure> {
    match (arguments.http_probe, arguments.http_probe_off) {
        (Some(true), true) => Err(Failure::usage("choose: --http-probe and --http-probe-off are both given")),
        (probe, off) => Ok(probe.unwrap_or(true) && !off),
    }
}

/// Whether it was asked for by name: then a program that answers nothing is an error.
pub fn is_asked_for(arguments: &HttpArguments) -> bool {
    arguments.http_probe == Some(true)
        || !arguments.http_probe_cmd.is_empty()
        || arguments.http_probe_cmd_file.is_some()
        || !arguments.http_probe_cmd_upload.is_empty()
        || !arguments.http_probe_apispec.is_empty()
        || !arguments.http_probe_apispec_file.is_empty()
}

/// How to probe.
///
/// # Errors
/// A command that is not understood, a file that cannot be read.
pub fn settings(arguments: &HttpArguments) -> Result<HttpSettings, Failure> {
    Ok(HttpSettings {
        ports: arguments.http_probe_ports.clone(),
        commands: commands(arguments)?,
        api_specs: api_specs(arguments)?,
        start_wait: Duration::from_secs(arguments.http_probe_start_wait),
        retry_count: if arguments.http_probe_retry_off { 0 } else { arguments.http_probe_retry_count },
        retry_wait: Duration::from_secs(arguments.http_probe_retry_wait),
        client_timeout: seconds("--http-probe-client-timeout", arguments.http_probe_client_timeout)?,
        client_timeout_crawl: seconds(
            "--http-probe-client-timeout-crawl",
            arguments.http_probe_client_timeout_crawl,
        )?,
        crawl: arguments.http_probe_crawl,
        crawl_limits: CrawlLimits {
            depth: arguments.http_crawl_max_depth,
            pages: arguments.http_crawl_max_page_count,
            concurrency: at_least_one("--http-crawl-concurrency", arguments.http_crawl_concurrency)?,
        },
        concurrency: at_least_one("--http-probe-concurrency", arguments.http_probe_concurrency)?,
        full: arguments.http_probe_full,
        fail_on_status_4xx: arguments.http_probe_fail_on_status_4xx,
        fail_on_status_5xx: arguments.http_probe_fail_on_status_5xx,
        ..HttpSettings::default()
    })
}

/// What of the probe's outcome is a failure of the build.
pub fn judgement(arguments: &HttpArguments) -> HttpJudgement {
    HttpJudgement {
        fail_on_nothing: arguments.http_probe_exit_on_failure,
        most_failures: arguments.http_probe_exit_on_failure_count.checked_sub(1),
    }
}

fn api_specs(arguments: &HttpArguments) -> Result<Vec<ApiSpec>, Failure> {
    let fetched = arguments.http_probe_apispec.iter().map(|text| ApiSpec::fetched(text));
    let read = arguments.http_probe_apispec_file.iter().map(|text| ApiSpec::read_file(text));
    fetched.chain(read).collect::<Result<_, _>>().map_err(|error| Failure::usage(error.to_string()))
}

/// The commands of the flags, then those of the file, then the uploads.
fn commands(arguments: &HttpArguments) -> Result<Vec<ProbeCommand>, Failure> {
    let mut commands = arguments
        .http_probe_cmd
        .iter()
        .map(|text| text.parse())
        .collect::<Result<Vec<ProbeCommand>, _>>()
        .map_err(|error| Failure::usage(error.to_string()))?;
    if let Some(path) = &arguments.http_probe_cmd_file {
        commands.extend(ProbeCommand::read_file(path).map_err(|error| Failure::usage(error.to_string()))?);
    }
    for text in &arguments.http_probe_cmd_upload {
        commands.push(ProbeCommand::upload(text).map_err(|error| Failure::usage(error.to_string()))?);
    }
    Ok(commands)
}

fn seconds(flag: &str, seconds: u64) -> Result<Duration, Failure> {
    match seconds {
        0 => Err(Failure::usage(format!("use {flag} 0: no request could be answered"))),
        seconds => Ok(Duration::from_secs(seconds)),
    }
}

fn at_least_one(flag: &str, number: usize) -> Result<usize, Failure> {
    match number {
        0 => Err(Failure::usage(format!("use {flag} 0: no request could be made"))),
        number => Ok(number),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command_line::tests::build;

    fn of(words: &[&str]) -> HttpSettings {
        settings(&build(words).common.http).unwrap()
    }

    fn refusal(words: &[&str]) -> String {
        settings(&build(words).common.http).unwrap_err().message
    }

    #[test]
    fn without_flags_the_probe_is_the_default_one() {
        let arguments = build(&[]).common.http;
        assert_eq!(settings(&arguments).unwrap(), HttpSettings::default());
        assert!(is_on(&arguments).unwrap() && !is_asked_for(&arguments));
        assert_eq!(judgement(&arguments), HttpJudgement::default());
    }

    #[test]
    fn every_flag_of_the_probe_sets_its_setting() {
        let default = HttpSettings::default;
        let limits = CrawlLimits::default;
        let seconds = Duration::from_secs;
        for (flag, expected) in [
            ("--http-probe-start-wait=3", HttpSettings { start_wait: seconds(3), ..default() }),
            ("--http-probe-retry-off", HttpSettings { retry_count: 0, ..default() }),
            ("--http-probe-retry-count=2", HttpSettings { retry_count: 2, ..default() }),
            ("--http-probe-retry-wait=1", HttpSettings { retry_wait: seconds(1), ..default() }),
            ("--http-probe-ports=8080,80", HttpSettings { ports: vec![8080, 80], ..default() }),
            ("--http-probe-full=false", HttpSettings { full: false, ..default() }),
            ("--http-probe-fail-on-status-5xx", HttpSettings { fail_on_status_5xx: true, ..default() }),
            ("--http-probe-fail-on-status-4xx", HttpSettings { fail_on_status_4xx: true, ..default() }),
            ("--http-probe-concurrency=2", HttpSettings { concurrency: 2, ..default() }),
            ("--http-probe-crawl=false", HttpSettings { crawl: false, ..default() }),
            ("--http-probe-client-timeout=4", HttpSettings { client_timeout: seconds(4), ..default() }),
            (
                "--http-probe-client-timeout-crawl=4",
                HttpSettings { client_timeout_crawl: seconds(4), ..default() },
            ),
            (
                "--http-crawl-max-depth=1",
                HttpSettings { crawl_limits: CrawlLimits { depth: 1, ..limits() }, ..default() },
            ),
            (
                "--http-crawl-max-page-count=9",
                HttpSettings { crawl_limits: CrawlLimits { pages: 9, ..limits() }, ..default() },
            ),
            (
                "--http-crawl-concurrency=2",
                HttpSettings { crawl_limits: CrawlLimits { concurrency: 2, ..limits() }, ..default() },
            ),
        ] {
            assert_eq!(of(&[flag]), expected, "{flag}");
        }
    }

    #[test]
    fn commands_come_from_flags_and_then_from_a_file_and_ask_for_the_probe() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("commands.json");
        std::fs::write(&path, r#"{"commands": [{"resource": "/c"}]}"#).unwrap();
        let file = format!("--http-probe-cmd-file={}", path.display());
        let words = ["--http-probe-cmd=/a", "--http-probe-cmd", "crawl:POST:/b", &file];
        let commands = of(&words).commands;
        let seen: Vec<_> = commands.iter().map(|command| (&*command.method, &*command.path)).collect();
        assert_eq!(seen, [("GET", "/a"), ("POST", "/b"), ("GET", "/c")]);
        assert!(is_asked_for(&build(&words).common.http));
        assert!(refusal(&["--http-probe-cmd=FETCH:/"]).contains("FETCH"));
        assert!(refusal(&["--http-probe-cmd-file=/none.json"]).contains("/none.json"));
    }

    #[test]
    fn uploads_and_specifications_are_understood_and_ask_for_the_probe() {
        let words =
            ["--http-probe-cmd-upload=generate.text:/upload", "--http-probe-apispec=/openapi.json:/v1"];
        let settings = of(&words);
        assert_eq!((settings.commands.len(), settings.commands[0].path.as_str()), (1, "/upload"));
        assert_eq!(settings.api_specs, [ApiSpec::fetched("/openapi.json:/v1").unwrap()]);
        assert!(
            is_asked_for(&build(&words[..1]).common.http) && is_asked_for(&build(&words[1..]).common.http)
        );
        assert!(refusal(&["--http-probe-apispec-file=/none.json"]).contains("/none.json"));
        assert!(refusal(&["--http-probe-cmd-upload=/none.png:/upload"]).contains("/none.png"));
    }

    #[test]
    fn the_probe_is_switched_off_by_two_names_and_not_on_and_off_at_once() {
        assert!(!is_on(&build(&["--http-probe-off"]).common.http).unwrap());
        assert!(!is_on(&build(&["--http-probe=false"]).common.http).unwrap());
        assert!(is_on(&build(&["--http-probe", "--http-probe-off"]).common.http).is_err());
    }

    #[test]
    fn what_of_the_outcome_is_a_failure_is_the_flags_to_say() {
        let of = |flag| judgement(&build(&[flag]).common.http);
        assert!(!of("--http-probe-exit-on-failure=false").fail_on_nothing);
        assert_eq!(of("--http-probe-exit-on-failure-count=3").most_failures, Some(2));
        assert_eq!(of("--http-probe-exit-on-failure-count=0").most_failures, None);
    }

    #[test]
    fn limits_that_leave_nothing_are_refused() {
        for flag in ["client-timeout", "client-timeout-crawl", "concurrency"] {
            assert!(refusal(&[&format!("--http-probe-{flag}=0")]).contains(flag));
        }
        assert!(refusal(&["--http-crawl-concurrency=0"]).contains("--http-crawl-concurrency"));
    }
}
