//! An image's HEALTHCHECK while its container runs, as Docker runs it (moby, `daemon/health.go`): the container's keeper runs
//! the command in it every so often, and writes what came of it to `health.json` in the container's folder.
//!
//! Invariant: the thread that does it has ended before the keeper clears away after the container.

use super::HELPER_COMMAND;
use super::control_group;
use super::joining::{Came, Request};
use super::record::{Folder, write};
use serde::{Deserialize, Serialize};
use slim_image::config::{Config, Healthcheck};
use std::fs;
use std::io::{self, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Docker's, where an image says nothing.
const INTERVAL: Duration = Duration::from_secs(30);
const TIMEOUT: Duration = Duration::from_secs(30);
const INTERVAL_AT_START: Duration = Duration::from_secs(5);
const RETRIES: u32 = 3;
/// So many results are kept, each with so many bytes of output.
const RESULTS: usize = 5;
const OUTPUT_BYTES: usize = 4096;
/// Output that is on its way when the command has ended comes within this.
const LAST_OUTPUT: Duration = Duration::from_millis(200);
const FILE: &str = "health.json";

/// What is run how often.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Check {
    argv: Vec<String>,
    interval: Duration,
    timeout: Duration,
    /// A failure within this says nothing, as long as nothing has succeeded.
    start_period: Duration,
    /// In place of the interval meanwhile.
    start_interval: Duration,
    retries: u32,
}

impl Check {
    /// The image's own, with what `changes` sets in its place; `None` where there is none, or it is switched off.
    pub(super) fn of(config: &Config, changes: &Healthcheck) -> Option<Self> {
        let mut config = config.clone();
        let mut check = config.healthcheck.take().unwrap_or_default();
        if !changes.test.is_empty() {
            check.test.clone_from(&changes.test);
        }
        let pick = |own: i64, image: i64| if own > 0 { own } else { image };
        let or = |nanoseconds: i64, usual: Duration| {
            u64::try_from(nanoseconds).ok().filter(|n| *n > 0).map_or(usual, Duration::from_nanos)
        };
        config.healthcheck = Some(check.clone());
        Some(Self {
            argv: config.health_command()?,
            interval: or(pick(changes.interval, check.interval), INTERVAL),
            timeout: or(pick(changes.timeout, check.timeout), TIMEOUT),
            start_period: or(pick(changes.start_period, check.start_period), Duration::ZERO),
            start_interval: or(pick(changes.start_interval, check.start_interval), INTERVAL_AT_START),
            retries: u32::try_from(pick(changes.retries, check.retries))
                .ok()
                .filter(|n| *n > 0)
                .unwrap_or(RETRIES),
        })
    }

    /// How long until the next one. Docker 25 asks more often while the container starts.
    fn pause(&self, health: &Health, since_start: Duration) -> Duration {
        let starts = health.status == HealthStatus::Starting && since_start < self.start_period;
        if starts { self.start_interval.min(self.interval) } else { self.interval }
    }
}

/// How the program is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HealthStatus {
    Starting,
    Healthy,
    Unhealthy,
}

impl HealthStatus {
    /// As Docker says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// What the checks said by now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub status: HealthStatus,
    /// So many checks in a row have failed.
    pub failing_streak: u32,
    /// The last five, the oldest first.
    pub log: Vec<HealthResult>,
}

/// What came of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthResult {
    /// Milliseconds since 1970.
    pub start: u64,
    pub end: u64,
    /// -1 where it did not end in time, or could not be run.
    pub exit_code: i64,
    /// The first 4 KiB of what it wrote, or why it could not be run.
    pub output: String,
}

impl Health {
    fn at_first() -> Self {
        Self { status: HealthStatus::Starting, failing_streak: 0, log: Vec::new() }
    }

    /// What is known of a container that has a check and runs.
    pub(super) fn read(folder: &Folder) -> Self {
        let read = fs::read(folder.join(FILE)).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        read.unwrap_or_else(Self::at_first)
    }

    fn note(&mut self, check: &Check, since_start: Duration, result: HealthResult) {
        if result.exit_code == 0 {
            self.failing_streak = 0;
            self.status = HealthStatus::Healthy;
        } else if self.status != HealthStatus::Starting || since_start >= check.start_period {
            self.failing_streak += 1;
            if self.failing_streak >= check.retries {
                self.status = HealthStatus::Unhealthy;
            }
        }
        let surplus = (self.log.len() + 1).saturating_sub(RESULTS);
        self.log.drain(..surplus);
        self.log.push(result);
    }
}

/// The checks of a running container; they end when this is dropped.
pub(super) struct Watch {
    thread: Option<JoinHandle<()>>,
    stop: Option<Sender<()>>,
}

impl Watch {
    /// Begins; the first check comes after the interval. `container`: its id.
    pub(super) fn begin(folder: &Folder, container: &str, check: Check) -> io::Result<Self> {
        write(&folder.join(FILE), &Health::at_first())?;
        let (stop, stopped) = mpsc::channel();
        let (folder, container) = (folder.clone(), container.to_owned());
        let thread = thread::spawn(move || {
            let began = Instant::now();
            let mut health = Health::at_first();
            while stopped.recv_timeout(check.pause(&health, began.elapsed()))
                == Err(RecvTimeoutError::Timeout)
            {
                if control_group::is_frozen(&container) {
                    continue;
                }
                let since_start = began.elapsed();
                let result = run(&folder, &check);
                // What ended with its container says nothing of it.
                if stopped.try_recv() != Err(mpsc::TryRecvError::Empty) {
                    return;
                }
                health.note(&check, since_start, result);
                if let Err(error) = write(&folder.join(FILE), &health) {
                    tracing::warn!("the container's health is not told any more: {error}");
                    return;
                }
            }
        });
        Ok(Self { thread: Some(thread), stop: Some(stop) })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Runs the check once.
fn run(folder: &Folder, check: &Check) -> HealthResult {
    let start = now();
    let came = ran(folder, check);
    let (exit_code, output) = match came {
        Ok((Came::Ended { exit_code }, output)) => (exit_code, output),
        Ok((Came::NotRun { reason, .. }, _)) => (-1, reason),
        Ok((Came::TimedOut, _)) => (-1, format!("Health check exceeded timeout ({:?})", check.timeout)),
        Err(error) => (-1, error.to_string()),
    };
    HealthResult { start, end: now(), exit_code, output }
}

fn ran(folder: &Folder, check: &Check) -> io::Result<(Came, String)> {
    let files = tempfile::Builder::new().prefix("health-").tempdir_in(folder.path())?;
    let (request, answer) = (files.path().join("request.json"), files.path().join("answer.json"));
    let asked = Request {
        argv: check.argv.clone(),
        answer: answer.clone(),
        limit: Some(check.timeout),
        ..Request::default()
    };
    write(&request, &asked)?;
    let (output, writer) = io::pipe()?;
    let mut command = Command::new("/proc/self/exe");
    command.arg(HELPER_COMMAND).arg("join").args([folder.path(), &request]).current_dir("/");
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // Our copies of the pipe's writing end go with it.
    drop(command);
    let kept = first_of(output);
    child.wait()?;
    let came = read(&answer)?;
    Ok((came, kept()))
}

fn read(answer: &Path) -> io::Result<Came> {
    serde_json::from_slice(&fs::read(answer)?).map_err(io::Error::other)
}

/// Reads a pipe to its end, beside. What is handed back gives the first bytes: it waits for a moment for the end, which does
/// not come as long as something that the command left running has the pipe open.
fn first_of(mut pipe: io::PipeReader) -> impl FnOnce() -> String {
    let kept = Arc::new(Mutex::new(Vec::new()));
    let (over, is_over) = mpsc::channel::<()>();
    let written = Arc::clone(&kept);
    thread::spawn(move || {
        let mut buffer = [0; OUTPUT_BYTES];
        while let Ok(read @ 1..) = pipe.read(&mut buffer) {
            let mut kept = written.lock().unwrap_or_else(PoisonError::into_inner);
            let room = OUTPUT_BYTES - kept.len();
            kept.extend_from_slice(&buffer[..read.min(room)]);
        }
        drop(over);
    });
    move || {
        let _ = is_over.recv_timeout(LAST_OUTPUT);
        String::from_utf8_lossy(&kept.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        serde_json::from_str(text).unwrap()
    }

    fn check(changes: &Healthcheck) -> Option<Check> {
        let image = r#"{"Healthcheck":{"Test":["CMD-SHELL","a || b"],"Interval":5000000000,"Retries":2},"Shell":["/bin/ash","-c"]}"#;
        Check::of(&config(image), changes)
    }

    fn result(exit_code: i64) -> HealthResult {
        HealthResult { start: 0, end: 0, exit_code, output: String::new() }
    }

    #[test]
    fn the_images_check_has_dockers_usual_times() {
        let own = check(&Healthcheck::default()).unwrap();
        assert_eq!(own.argv, ["/bin/ash", "-c", "a || b"]);
        assert_eq!((own.interval, own.timeout, own.retries), (Duration::from_secs(5), TIMEOUT, 2));
        assert_eq!(Check::of(&config("{}"), &Healthcheck::default()), None);
        let changes = Healthcheck { interval: 1_000_000_000, ..Healthcheck::default() };
        assert_eq!(check(&changes).unwrap().interval, Duration::from_secs(1));
    }

    #[test]
    fn a_check_of_ones_own_takes_the_images_place_or_switches_it_off() {
        let test = |words: &[&str]| Healthcheck {
            test: words.iter().map(|&word| word.to_owned()).collect(),
            ..Healthcheck::default()
        };
        assert_eq!(check(&test(&["CMD", "c"])).unwrap().argv, ["c"]);
        assert_eq!(check(&test(&["NONE"])), None);
        assert_eq!(Check::of(&config("{}"), &test(&["CMD", "c"])).unwrap().interval, INTERVAL);
    }

    #[test]
    fn so_many_failures_in_a_row_are_unhealthy_and_one_success_is_healthy() {
        let check = check(&Healthcheck::default()).unwrap();
        let mut health = Health::at_first();
        let mut status_after = |exit_code| {
            health.note(&check, Duration::from_secs(9), result(exit_code));
            (health.status, health.failing_streak)
        };
        assert_eq!(status_after(1), (HealthStatus::Starting, 1));
        assert_eq!(status_after(-1), (HealthStatus::Unhealthy, 2));
        assert_eq!(status_after(0), (HealthStatus::Healthy, 0));
        assert_eq!(status_after(1), (HealthStatus::Healthy, 1));
        for _ in 0..5 {
            status_after(0);
        }
        assert_eq!(health.log.len(), RESULTS);
    }

    #[test]
    fn failures_while_a_container_starts_do_not_count() {
        let changes = Healthcheck { start_period: 10_000_000_000, ..Healthcheck::default() };
        let check = check(&changes).unwrap();
        let mut health = Health::at_first();
        health.note(&check, Duration::from_secs(9), result(1));
        assert_eq!(health.failing_streak, 0);
        assert_eq!(check.pause(&health, Duration::from_secs(9)), Duration::from_secs(5));
        health.note(&check, Duration::from_secs(10), result(1));
        assert_eq!(health.failing_streak, 1);
        health.note(&check, Duration::from_secs(1), result(0));
        health.note(&check, Duration::from_secs(2), result(1));
        assert_eq!((health.status, health.failing_streak), (HealthStatus::Healthy, 1));
    }

    #[test]
    fn the_first_bytes_are_kept_and_what_stays_open_is_not_waited_for() {
        let (reader, mut writer) = io::pipe().unwrap();
        let kept = first_of(reader);
        io::Write::write_all(&mut writer, "x".repeat(OUTPUT_BYTES + 7).as_bytes()).unwrap();
        let _still_open = writer;
        assert_eq!(kept().len(), OUTPUT_BYTES);
    }
}
