//! Drives the program while it is watched: probe, exec, and whatever `--continue-after` waits for.
//!
//! Nothing here sleeps for a fixed time: the program counts as ready when it listens or has become quiet, and quiet
//! when the sensor has seen nothing new for a while.

use crate::behaviour::{Behaviour, acts_as};
use crate::error::{BuildError, blocking};
use crate::host;
use crate::inside;
use crate::judgement::{self, Verdict};
use crate::progress::{Running, Stage};
use crate::settings::ContinueAfter;
use crate::subject::{self, Subject, with};
use slim_probe::{HttpSettings, Others, Outcome, Progress};
use slim_report::{ExecReport, ExerciseReport, HttpReport};
use slim_trace::{Phase, Transport};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// How often the program is looked at while waiting for it.
const LOOK: Duration = Duration::from_millis(20);
/// A program that listens and has shown nothing new for so long is ready.
pub(crate) const QUIET_LISTENING: Duration = Duration::from_millis(200);
/// The same for one that listens on nothing.
pub(crate) const QUIET: Duration = Duration::from_millis(1500);
/// The same for one that listens on nothing though its image exposes ports.
const QUIET_EXPOSED: Duration = Duration::from_secs(10);
/// A program that never becomes quiet is taken as ready after this.
pub(crate) const READY_AT_LAST: Duration = Duration::from_secs(120);
/// After the exercise, the program may finish what it began: until it is quiet, at most this long.
pub(crate) const SETTLE_AT_LAST: Duration = Duration::from_secs(5);

/// What drove the program, and how it went.
#[derive(Default)]
pub struct Exercised {
    pub report: ExerciseReport,
    /// Whether the program ended without being stopped.
    pub ended_by_itself: bool,
    /// From the start until the program was ready.
    pub ready_after: Duration,
    /// From the start until the exercise, or the program, had ended.
    pub lasted: Duration,
}

/// Exercises the program until everything asked for has happened, or the program has ended.
///
/// # Errors
/// When the program dies, answers nothing though a probe was asked for, or a command fails.
pub(crate) async fn exercise(
    subject: &Subject<'_>,
    behaviour: &mut Behaviour,
) -> Result<Exercised, BuildError> {
    let stage = subject.story.begin(Stage::Probe);
    let cancel = CancelOnDrop(Arc::default());
    let began = Instant::now();
    let exercised = tokio::select! {
        biased;
        driven = drive(subject, &stage, &cancel.0, behaviour) => driven?,
        code = subject.engine.wait(&subject.id) => {
            // Half an exercise proves nothing of a program that does its work and ends.
            *behaviour = Behaviour::default();
            ended(subject, code?).await?
        }
    };
    let exercised = Exercised { lasted: began.elapsed(), ..exercised };
    stage.done(figures(&exercised));
    Ok(exercised)
}

/// Sets the flag that ends a probe thread, however this future ends.
pub(crate) struct CancelOnDrop(pub Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The program ended before the exercise did: fine for a program that does its work and ends well, when nothing was
/// asked for that needs it alive.
async fn ended(subject: &Subject<'_>, code: i64) -> Result<Exercised, BuildError> {
    let exercise = &subject.settings.exercise;
    let needed = exercise.http_required || !exercise.exec.is_empty() || !exercise.host_exec.is_empty();
    if code != 0 || needed {
        let what =
            if needed { "the program ended before it could be exercised" } else { "the program failed" };
        return Err(subject::died(subject.engine, subject.source, &subject.id, what).await);
    }
    Ok(Exercised { ended_by_itself: true, ..Exercised::default() })
}

async fn drive(
    subject: &Subject<'_>,
    stage: &Running<'_>,
    cancel: &Arc<AtomicBool>,
    behaviour: &mut Behaviour,
) -> Result<Exercised, BuildError> {
    let exercise = &subject.settings.exercise;
    let began = Instant::now();
    let listens = until_ready(subject).await;
    with(&subject.observer, |observer| observer.enter_phase(Phase::Exercise));
    let mut exercised = Exercised { ready_after: began.elapsed(), ..Exercised::default() };
    with(&subject.observer, |observer| observer.next_step());
    if let Some(http) = &exercise.http {
        let outcome = probe(subject, stage, http, listens, Arc::clone(cancel)).await?;
        judge(subject, &outcome).await?;
        if outcome.speaks_http() {
            exercised.report.http = Some(HttpReport {
                requests: outcome.requests,
                answers_below_500: outcome.answers_below_500,
                failures: outcome.failures,
            });
            behaviour.answers = Some(outcome.recording);
        }
    }
    for command in &exercise.exec {
        let ran = inside::exec(subject, command).await?;
        exercised.report.exec.push(ExecReport { command: command.clone(), exit_code: ran.exit_code });
        behaviour.commands.push(ran);
        with(&subject.observer, |observer| observer.next_step());
    }
    for command in &exercise.host_exec {
        exercised.report.host_exec.push(host::exec(subject, command).await?);
        with(&subject.observer, |observer| observer.next_step());
    }
    if let Some(health) = inside::health_command(&subject.source.config, &subject.settings.keep) {
        // The engine may run it much later than we stop; what it needs must be seen.
        behaviour.health = inside::check_health(subject.engine, &subject.id, &health).await?;
    }
    hold(subject, stage, began).await?;
    until_quiet(subject, QUIET_LISTENING, SETTLE_AT_LAST).await;
    let before = subject.vantage.acting(subject.pid).await?;
    behaviour.listens = listening(subject, cancel).await?;
    behaviour.acts_as = acts_as(&before, &subject.vantage.acting(subject.pid).await?);
    Ok(exercised)
}

/// The TCP ports that the program listens on now, of those that it ever did.
async fn listening(subject: &Subject<'_>, cancel: &Arc<AtomicBool>) -> Result<BTreeSet<u16>, BuildError> {
    let ports: BTreeSet<u16> = traced_tcp_ports(subject).into_iter().collect();
    if ports.is_empty() {
        return Ok(ports);
    }
    let target = subject.vantage.target(subject.pid, None, ports.iter().copied().collect());
    let cancel = Arc::clone(cancel);
    let now = blocking(move || {
        slim_probe::wait_listening(&target, Duration::ZERO, Others::Briefly, &cancel, &|| true)
            .map_err(|error| BuildError::Exercise { what: error.to_string(), hint: None, log: String::new() })
    });
    Ok(now.await?.into_iter().map(|port| port.number).filter(|port| ports.contains(port)).collect())
}

fn traced_tcp_ports(subject: &Subject<'_>) -> Vec<u16> {
    with(&subject.observer, |observer| observer.listening())
        .iter()
        .filter_map(|listening| (listening.transport == Transport::Tcp).then_some(listening.port))
        .collect()
}

/// Waits until the program listens, or does nothing new any more. Whether it listens.
async fn until_ready(subject: &Subject<'_>) -> bool {
    let exposes = !subject.source.config.exposed_tcp_ports().is_empty();
    let began = Instant::now();
    while began.elapsed() < READY_AT_LAST {
        let (listens, quiet_for) = with(&subject.observer, |observer| {
            (!observer.listening().is_empty(), observer.last_activity().elapsed())
        });
        let enough = match (listens, exposes) {
            (true, _) => QUIET_LISTENING,
            (false, true) => QUIET_EXPOSED,
            (false, false) => QUIET,
        };
        // A probe has its own, better way to see that a port answers.
        if quiet_for >= enough || (listens && subject.settings.exercise.http.is_some()) {
            return listens;
        }
        tokio::time::sleep(LOOK).await;
    }
    false
}

async fn until_quiet(subject: &Subject<'_>, quiet: Duration, at_last: Duration) {
    let began = Instant::now();
    while began.elapsed() < at_last
        && with(&subject.observer, |observer| observer.last_activity().elapsed()) < quiet
    {
        tokio::time::sleep(LOOK).await;
    }
}

async fn probe(
    subject: &Subject<'_>,
    stage: &Running<'_>,
    settings: &HttpSettings,
    listens: bool,
    cancel: Arc<AtomicBool>,
) -> Result<Outcome, BuildError> {
    let state = subject.engine.inspect(&subject.id).await?;
    let mut ports = subject.source.config.exposed_tcp_ports();
    ports.extend(traced_tcp_ports(subject));
    ports.sort_unstable();
    ports.dedup();
    let mut settings = settings.clone();
    if !listens && !subject.settings.exercise.http_required {
        // The program is quiet and nothing listens: what listens now is all there is.
        settings.listen_timeout = Duration::ZERO;
    }
    let target = subject.vantage.target(subject.pid, state.addresses.first().copied(), ports);
    // Held for a moment only: the observation ends without this thread.
    let (followed, observer) = (subject.followed.clone(), Arc::downgrade(&subject.observer));
    let (said, mut says) = tokio::sync::mpsc::unbounded_channel();
    let probed = blocking(move || {
        let alive = || followed.is_alive();
        let mut tell = |progress| {
            if matches!(progress, Progress::Request { .. }) {
                // That request is over.
                if let Some(observer) = observer.upgrade() {
                    with(&observer, |observer| observer.next_step());
                }
            }
            // Nobody listens any more when the build was given up.
            let _ = said.send(progress);
        };
        slim_probe::probe(&settings, &target, &mut tell, &cancel, &alive)
            .map_err(|error| BuildError::Exercise { what: error.to_string(), hint: None, log: String::new() })
    });
    let mut probed = std::pin::pin!(probed);
    let outcome = loop {
        tokio::select! {
            outcome = &mut probed => break outcome?,
            Some(progress) = says.recv() => if let Progress::Request { request, .. } = progress {
                stage.working(request.to_string());
            },
        }
    };
    if let Some(reason) = &outcome.fallback {
        subject.story.notice(format!("the probe runs outside of the container's network: {reason}"));
    }
    Ok(outcome)
}

/// Whether the probe's outcome is good enough to go on.
async fn judge(subject: &Subject<'_>, outcome: &Outcome) -> Result<(), BuildError> {
    let exercise = &subject.settings.exercise;
    let (what, hint) = match judgement::judge(outcome, exercise.http_required, exercise.http_judgement) {
        Verdict::Good => return Ok(()),
        Verdict::Tell(notice) => {
            subject.story.notice(notice);
            return Ok(());
        }
        Verdict::Failed { what, hint } => (what, hint),
    };
    let log = subject::last_lines(subject.engine, &subject.id).await;
    Err(BuildError::Exercise { what, hint: Some(hint.to_owned()), log })
}

/// Waits for what `--continue-after` names beyond probe and exec, in a fixed order: time, signal, Enter.
async fn hold(subject: &Subject<'_>, stage: &Running<'_>, began: Instant) -> Result<(), BuildError> {
    for condition in &subject.settings.exercise.continue_after {
        stage.working("waiting for what --continue-after names");
        match condition {
            ContinueAfter::Probe | ContinueAfter::Exec => {}
            ContinueAfter::Seconds(seconds) => {
                subject.story.line(format!("continue-after: {seconds} s after the start"));
                tokio::time::sleep_until((began + Duration::from_secs(*seconds)).into()).await;
            }
            ContinueAfter::Signal => {
                subject.story.line(format!("continue-after: signal (kill -USR1 {})", std::process::id()));
                subject.person.signal().await;
            }
            ContinueAfter::Enter => {
                subject.story.line("continue-after: enter (press Enter to go on)");
                subject.person.enter().await.map_err(|error| BuildError::Usage(error.to_string()))?;
            }
        }
    }
    Ok(())
}

/// `1 command`, `2 commands`.
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

fn figures(exercised: &Exercised) -> String {
    let mut parts = Vec::new();
    if let Some(http) = &exercised.report.http {
        parts.push(format!(
            "{}, {} answered below 500",
            count(http.requests, "HTTP request"),
            http.answers_below_500
        ));
    }
    if !exercised.report.exec.is_empty() {
        parts.push(format!("{} run in the container", count(exercised.report.exec.len(), "command")));
    }
    if !exercised.report.host_exec.is_empty() {
        parts.push(format!("{} run on this machine", count(exercised.report.host_exec.len(), "command")));
    }
    if exercised.ended_by_itself {
        parts.push("the program did its work and ended by itself".to_owned());
    }
    if parts.is_empty() {
        parts.push("the program was started".to_owned());
    }
    parts.join(", ")
}
