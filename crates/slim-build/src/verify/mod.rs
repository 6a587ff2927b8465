//! Does the slim program do what the fat one did? The slim image is run under its own seccomp profile, asked the same,
//! and what it does is laid beside the observed run.
//!
//! A second, unobserved run of the fat image (the reference) tells what is not the same from run to run. It goes on
//! while the slim image is made, so that nobody waits for it.

mod behaviour;
mod plan;
mod quiet;
mod trial;

pub use behaviour::{Behaviour, Difference, Ending};
pub(crate) use plan::Plan;
pub(crate) use quiet::{is_alive, processor_time};

use crate::error::BuildError;
use crate::progress::{Running, Story};
use crate::scratch::{Role, program_container};
use crate::settings::Settings;
use slim_engine::{ContainerSpec, Engine};
use slim_image::SourceImage;
use slim_report::{VerificationReport, VerificationResult};
use tokio::sync::watch;

/// What is said of a slim image.
pub enum Verdict {
    /// It does what the fat one does.
    Same(VerificationReport),
    /// It does not.
    Different {
        /// Never empty.
        differences: Vec<Difference>,
        /// The slim program's last log lines.
        log: String,
    },
}

/// The reference run, while it goes on and afterwards. Any number of rounds may wait for it.
pub struct Reference {
    done: watch::Receiver<Option<Outcome>>,
}

/// `None`: the fat image could not be run a second time.
type Outcome = Option<Behaviour>;

impl Reference {
    async fn outcome(&self) -> Result<Outcome, BuildError> {
        let mut done = self.done.clone();
        let outcome = done.wait_for(Option::is_some).await;
        // It is only gone when the whole build is.
        outcome
            .map(|outcome| outcome.clone().flatten())
            .map_err(|_| BuildError::Bug("the reference run was given up".to_owned()))
    }
}

/// A reference run: the future that does it, and where its outcome is to be had.
pub fn reference<'a>(
    engine: &'a dyn Engine,
    settings: &'a Settings,
    source: &'a SourceImage,
    story: &'a Story<'a>,
    plan: &'a Plan,
) -> (Reference, impl Future<Output = Result<(), BuildError>> + 'a) {
    let (sender, done) = watch::channel(None);
    let run = async move {
        let spec = without_ports(program_container(settings, &source.id.to_string(), Role::Reference));
        let behaviour = trial::run(engine, &spec, plan).await?;
        let outcome = match &behaviour.ending {
            Ending::NotStarted { reason } => {
                story.notice(format!("the fat image could not be run a second time: {reason}"));
                None
            }
            _ => Some(behaviour),
        };
        sender.send_replace(Some(outcome));
        Ok(())
    };
    (Reference { done }, run)
}

/// What slim images are judged by.
pub struct Check<'a> {
    pub engine: &'a dyn Engine,
    pub settings: &'a Settings,
    pub plan: &'a Plan,
    /// What the observed program did.
    pub fat: &'a Behaviour,
    pub reference: Reference,
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
        let slim = trial::run(self.engine, &without_ports(spec), self.plan).await?;
        stage.working("waiting for the second run of the fat image");
        let again = self.reference.outcome().await?;
        let differences = behaviour::differences(self.fat, again.as_ref(), &slim);
        if !differences.is_empty() {
            return Ok(Verdict::Different { differences, log: slim.log });
        }
        let unstable = again.map_or(0, |again| behaviour::unstable(self.fat, &again));
        Ok(Verdict::Same(passed(self.fat, &slim, unstable)))
    }
}

/// What the report says when no slim image was run.
#[must_use]
pub fn not_run(result: VerificationResult, told: &str) -> VerificationReport {
    VerificationReport { result, requests: 0, unstable_requests: 0, commands: 0, told: told.to_owned() }
}

/// Nobody outside needs to reach a trial's container, and fixed ports can be had once only.
fn without_ports(mut spec: ContainerSpec) -> ContainerSpec {
    spec.publish_all = false;
    spec.overrides.publish_ports.clear();
    spec.overrides.publish_exposed_ports = false;
    spec
}

fn passed(fat: &Behaviour, slim: &Behaviour, unstable_requests: usize) -> VerificationReport {
    let requests = fat.answers.as_ref().map_or(0, |recording| {
        recording.exchanges.iter().filter(|exchange| exchange.response.is_some()).count()
    });
    let commands = fat.commands.len();
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
    parts.push(match &slim.ending {
        Ending::ByItself { .. } => "same output and exit code".to_owned(),
        Ending::Stopped { exit_code } => format!("stopped with exit code {exit_code}"),
        _ => "still running at the end".to_owned(),
    });
    VerificationReport {
        result: VerificationResult::Passed,
        requests,
        unstable_requests,
        commands,
        told: parts.join(", "),
    }
}

fn plural(number: usize) -> &'static str {
    if number == 1 { "" } else { "s" }
}
