//! Does the slim program do what the fat one did? The slim image is run under its own seccomp profile, asked the same,
//! and what it does is laid beside the observed run; the sensor sees what it looks for in vain.
//!
//! A second, unobserved run of the fat image (the reference) tells what is not the same from run to run. It goes on
//! while the slim image is made, so that nobody waits for it.

mod contract;
mod plan;
mod quiet;
mod reference;
mod trial;
mod watch;

pub use contract::Bound;
pub(crate) use plan::Plan;
pub use reference::{Reference, reference};
pub use watch::Watch;

use crate::behaviour::{self, Behaviour, Difference, Ending, Life};
use crate::error::BuildError;
use crate::progress::{Running, Story};
use crate::scratch::{Role, program_container};
use crate::settings::Settings;
use crate::subject::BUFFER_FACTOR;
use crate::vantage::Vantage;
use slim_engine::{ContainerSpec, Engine};
use slim_report::{VerificationReport, VerificationResult};
use slim_sensor::SensorError;
use slim_trace::Trace;
use trial::{Conduct, Trialled};

/// What is said of a slim image.
pub struct Verdict {
    /// Empty: it does what the fat one does.
    pub differences: Vec<Difference>,
    /// The slim program's last log lines.
    pub log: String,
    pub report: VerificationReport,
    /// What was seen of it; `None` where it was not watched.
    pub trace: Option<Trace>,
    /// What the slim program did; `None` where nobody ran it.
    pub behaviour: Option<Behaviour>,
}

impl Verdict {
    /// What is said of an image that nobody ran.
    #[must_use]
    pub fn unknown(report: VerificationReport) -> Self {
        Self { differences: Vec::new(), log: String::new(), report, trace: None, behaviour: None }
    }
}

/// What slim images are judged by.
pub struct Check<'a> {
    pub engine: &'a dyn Engine,
    pub vantage: &'a Vantage,
    pub settings: &'a Settings,
    pub story: &'a Story<'a>,
    pub plan: &'a Plan,
    /// What the observed program did.
    pub fat: &'a Behaviour,
    pub reference: Reference,
    /// `None`: the slim image runs unwatched, and what it misses is not known.
    pub watch: Option<Watch>,
}

impl Check<'_> {
    /// Runs a slim image under its seccomp profile and compares. `image`: what the engine knows it by.
    ///
    /// # Errors
    /// When the engine fails. That the slim program is different is no error here.
    pub async fn verdict(
        &self,
        stage: &Running<'_>,
        image: &str,
        seccomp: &str,
    ) -> Result<Verdict, BuildError> {
        if self.plan.meets_others {
            stage.working("waiting for the second run of the fat image");
            self.reference.outcome().await?;
        }
        stage.working("running the slim image under its seccomp profile");
        let mut spec = program_container(self.settings, image, Role::Verify);
        spec.overrides.clone_from(&self.plan.slim_overrides);
        spec.security.options.push(format!("seccomp={seccomp}"));
        let spec = without_ports(spec);
        let read_only_spec = read_only(spec.clone(), Some(&self.plan.user));
        let (Trialled { behaviour, trace }, read_only) =
            tokio::try_join!(self.trial(&spec), self.on_read_only(&read_only_spec, None))?;
        let slim = Behaviour { read_only: read_only.map(|(life, _)| life), ..behaviour };
        stage.working("waiting for the second run of the fat image");
        let again = self.reference.outcome().await?;
        let differences = behaviour::differences(self.fat, again.as_ref(), &slim);
        let mut trace = trace;
        if self.watch.is_some() && differences.iter().any(Difference::is_of_read_only) {
            // It was not watched the first time: nearly always there is nothing to be seen.
            stage.working("running the slim image with a read-only root once more, watched");
            trace = watch::both(trace, self.watched_on_read_only(&read_only_spec).await?);
        }
        let report = self.report(again.as_ref(), &slim, &differences);
        Ok(Verdict { differences, log: slim.log.clone(), report, trace, behaviour: Some(slim) })
    }

    /// The trial, watched if it can be; lost events repeat it once.
    async fn trial(&self, spec: &ContainerSpec) -> Result<Trialled, BuildError> {
        let larger = self.watch.as_ref().map(|watch| watch.with_buffer_times(BUFFER_FACTOR));
        let mut watch = self.watch.as_ref();
        let mut repeated = false;
        loop {
            let conduct = Conduct { watch, host_commands: &self.settings.verify.commands };
            let error = match trial::run(self.engine, self.vantage, spec, self.plan, conduct).await {
                Err(BuildError::Sensor(error)) => error,
                done => return done,
            };
            if matches!(error, SensorError::Dropped { .. }) && !repeated {
                self.story.notice(format!(
                    "{error} of the slim image; running it once more with {BUFFER_FACTOR} times the buffer"
                ));
                (watch, repeated) = (larger.as_ref(), true);
            } else {
                self.story.notice(format!(
                    "the slim image runs unwatched, so nothing can be repaired: failed to {error}"
                ));
                watch = None;
            }
        }
    }

    /// Begins to get ready for the next slim image, which is being made.
    pub fn prepare(&self) {
        if let Some(watch) = &self.watch {
            watch.prepare(1 + usize::from(self.plan.second_start));
        }
    }

    /// Starts the slim image with a read-only root, where the fat image survived that.
    async fn on_read_only(
        &self,
        spec: &ContainerSpec,
        watch: Option<&Watch>,
    ) -> Result<Option<(Life, Option<Trace>)>, BuildError> {
        let Some(fat) = self.reference.read_only().await? else { return Ok(None) };
        if !fat.is_as(self.fat) {
            return Ok(None);
        }
        let patience = self.plan.ready_within;
        trial::start_only(self.engine, self.vantage, spec, self.plan, patience, watch).await.map(Some)
    }

    async fn watched_on_read_only(&self, spec: &ContainerSpec) -> Result<Option<Trace>, BuildError> {
        match self.on_read_only(spec, self.watch.as_ref()).await {
            Err(BuildError::Sensor(error)) => {
                self.story
                    .notice(format!("what it misses on a read-only root is not known: failed to {error}"));
                Ok(None)
            }
            lived => Ok(lived?.and_then(|(_, trace)| trace)),
        }
    }

    fn report(
        &self,
        again: Option<&Behaviour>,
        slim: &Behaviour,
        differences: &[Difference],
    ) -> VerificationReport {
        let unstable = again.map_or(0, |again| behaviour::unstable(self.fat, again));
        let report = passed(self.fat, again, slim, unstable);
        if differences.is_empty() {
            return report;
        }
        VerificationReport {
            result: VerificationResult::Different,
            told: format!("{} difference{} from the fat image", differences.len(), plural(differences.len())),
            differences: differences.iter().map(ToString::to_string).collect(),
            ..report
        }
    }
}

/// What the report says when no slim image was run.
#[must_use]
pub fn not_run(result: VerificationResult, told: &str) -> VerificationReport {
    VerificationReport { told: told.to_owned(), ..VerificationReport::new(result) }
}

/// Nobody outside needs to reach a trial's container by a port of the host, and fixed ones can be had once only.
fn without_ports(mut spec: ContainerSpec) -> ContainerSpec {
    spec.publish_all = false;
    spec.overrides.publish_ports.clear();
    spec.overrides.publish_exposed_ports = false;
    spec
}

/// The same with a read-only root, as the image's own user: `user`, or whom the image names.
fn read_only(mut spec: ContainerSpec, user: Option<&str>) -> ContainerSpec {
    spec.overrides.user = user.filter(|user| !user.is_empty()).map(str::to_owned);
    spec.security.read_only_root = true;
    spec
}

fn passed(
    fat: &Behaviour,
    again: Option<&Behaviour>,
    slim: &Behaviour,
    unstable_requests: usize,
) -> VerificationReport {
    let requests = fat.answers.as_ref().map_or(0, |recording| {
        recording.exchanges.iter().filter(|exchange| exchange.response.is_some()).count()
    });
    let commands = fat.commands.len();
    let tests = slim.tests.iter().filter(|test| test.exit_code == Some(0)).count();
    let mut parts = Vec::new();
    if requests > 0 {
        parts.push(format!("same answers to {requests} request{}", plural(requests)));
    }
    if commands > 0 {
        parts.push(format!("same results of {commands} command{}", plural(commands)));
    }
    if fat.health.is_some() && fat.health == slim.health {
        parts.push("same health".to_owned());
    }
    if tests > 0 {
        parts.push(format!("{tests} --verify-cmd passed"));
    }
    parts.push(match &slim.ending {
        Ending::ByItself { .. } => "same output and exit code".to_owned(),
        Ending::Stopped { exit_code } => format!("stopped with exit code {exit_code}"),
        _ => "still running at the end".to_owned(),
    });
    let second_start = again.is_some_and(|again| again.survives_second_start()) && slim.second.is_some();
    let read_only_start = slim.read_only.is_some();
    match (second_start, read_only_start) {
        (true, true) => parts.push("started again, and with a read-only root".to_owned()),
        (true, false) => parts.push("started again".to_owned()),
        (false, true) => parts.push("started with a read-only root".to_owned()),
        (false, false) => {}
    }
    VerificationReport {
        requests,
        unstable_requests,
        commands,
        host_commands: tests,
        second_start,
        read_only_start,
        told: parts.join(", "),
        ..VerificationReport::new(VerificationResult::Passed)
    }
}

fn plural(number: usize) -> &'static str {
    if number == 1 { "" } else { "s" }
}
