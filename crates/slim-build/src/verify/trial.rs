//! One unobserved run of the program: the same requests and commands as during observation, and what came of them.

use super::behaviour::{Behaviour, Ending};
use super::plan::Plan;
use super::quiet::{is_alive, until_quiet};
use crate::error::{BuildError, blocking};
use crate::exercise::{CancelOnDrop, QUIET, QUIET_LISTENING, SETTLE_AT_LAST};
use crate::inside;
use crate::observe;
use slim_engine::{ContainerId, ContainerSpec, Engine, EngineError};
use slim_probe::{CancelFlag, Others, ProbeError, Target};
use std::sync::Arc;
use std::time::Duration;

/// Runs a container through the plan and removes it.
///
/// # Errors
/// When the engine fails. What the program does, or fails to do, is no error.
pub async fn run(engine: &dyn Engine, spec: &ContainerSpec, plan: &Plan) -> Result<Behaviour, BuildError> {
    let mut behaviour = Behaviour::default();
    let id = match engine.create(spec).await {
        Err(EngineError::CreateFailed { reason, .. }) => {
            behaviour.ending = Ending::NotStarted { reason };
            return Ok(behaviour);
        }
        created => created?,
    };
    match engine.start(&id).await {
        Err(EngineError::StartFailed { reason, .. }) => behaviour.ending = Ending::NotStarted { reason },
        started => {
            started?;
            let trial = Trial { engine, plan, id: &id };
            behaviour.ending = trial.run(&mut behaviour).await?;
            behaviour.log = observe::last_lines(engine, &id).await;
        }
    }
    engine.remove(&id, true).await?;
    Ok(behaviour)
}

/// A started container.
struct Trial<'a> {
    engine: &'a dyn Engine,
    plan: &'a Plan,
    id: &'a ContainerId,
}

/// The program ended during its exercise.
struct Over;

impl Trial<'_> {
    async fn run(&self, behaviour: &mut Behaviour) -> Result<Ending, BuildError> {
        if self.plan.ends {
            return match tokio::time::timeout(self.plan.ends_within, self.engine.wait(self.id)).await {
                Ok(exit_code) => self.ended(exit_code?).await,
                Err(_) => Ok(Ending::RunsOn),
            };
        }
        tokio::select! {
            biased;
            driven = self.drive(behaviour) => match driven? {
                Ok(()) => self.stop().await,
                Err(Over) => self.ended(self.engine.wait(self.id).await?).await,
            },
            exit_code = self.engine.wait(self.id) => self.ended(exit_code?).await,
        }
    }

    async fn ended(&self, exit_code: i64) -> Result<Ending, BuildError> {
        let output = self.engine.logs(self.id, None).await?.bytes;
        Ok(Ending::ByItself { exit_code, output })
    }

    async fn stop(&self) -> Result<Ending, BuildError> {
        if !self.plan.stops {
            // The observed program ended on no signal: nobody waits for that again.
            return Ok(Ending::Killed);
        }
        self.engine.stop(self.id, self.plan.stop_grace).await?;
        Ok(Ending::Stopped { exit_code: self.engine.inspect(self.id).await?.exit_code })
    }

    /// The exercise, in the order of the observed one.
    async fn drive(&self, behaviour: &mut Behaviour) -> Result<Result<(), Over>, BuildError> {
        let state = self.engine.inspect(self.id).await?;
        let Some(pid) = state.pid.and_then(|pid| i32::try_from(pid).ok()) else { return Ok(Err(Over)) };
        let target = Target {
            pid: Some(pid),
            address: state.addresses.first().copied(),
            ports: self.plan.ports.clone(),
        };
        // What is asked for cannot be asked of a program that is not ready.
        if self.listening(&target, self.plan.ready_within).await?.is_none() {
            return Ok(Err(Over));
        }
        if self.plan.ports.is_empty() {
            until_quiet(pid, QUIET, self.plan.settles_within).await;
        } else if self.plan.recording.is_none() {
            until_quiet(pid, QUIET_LISTENING, SETTLE_AT_LAST).await;
        }
        if let Some(recording) = &self.plan.recording {
            let (recording, mut http) = (recording.clone(), self.plan.http.clone());
            // They were waited for already.
            http.listen_timeout = Duration::ZERO;
            let asked = target.clone();
            let replayed = self.probe(pid, move |cancel, alive| {
                slim_probe::replay(&recording, &http, &asked, &mut |_| {}, cancel, alive)
            });
            behaviour.answers = replayed.await?;
            if behaviour.answers.is_none() {
                return Ok(Err(Over));
            }
        }
        for argv in &self.plan.commands {
            let ran = inside::run_inside(self.engine, self.id, argv, self.plan.ends_within).await?;
            let Some(ran) = ran else { break };
            behaviour.commands.push(ran);
        }
        if let Some(health) = &self.plan.health {
            behaviour.health = inside::check_health(self.engine, self.id, health).await?;
        }
        until_quiet(pid, QUIET_LISTENING, SETTLE_AT_LAST).await;
        match self.listening(&target, Duration::ZERO).await? {
            Some(ports) if is_alive(pid) => behaviour.listens = ports.into_iter().collect(),
            _ => return Ok(Err(Over)),
        }
        Ok(Ok(()))
    }

    /// The ports that listen, after waiting for the plan's; `None` when the program has ended.
    async fn listening(&self, target: &Target, patience: Duration) -> Result<Option<Vec<u16>>, BuildError> {
        let (Some(pid), false) = (target.pid, self.plan.ports.is_empty()) else {
            return Ok(Some(Vec::new()));
        };
        let target = target.clone();
        let ports = self
            .probe(pid, move |cancel, alive| {
                slim_probe::wait_listening(&target, patience, Others::AsLong, cancel, alive)
            })
            .await?;
        Ok(ports.map(|ports| ports.into_iter().map(|port| port.number).collect()))
    }

    /// Work on the container's network; `None` when the program has ended.
    async fn probe<T: Send + 'static>(
        &self,
        pid: i32,
        work: impl FnOnce(&CancelFlag, &(dyn Fn() -> bool + Sync)) -> Result<T, ProbeError> + Send + 'static,
    ) -> Result<Option<T>, BuildError> {
        let guard = CancelOnDrop(Arc::default());
        let cancel = Arc::clone(&guard.0);
        blocking(move || match work(&cancel, &|| is_alive(pid)) {
            Ok(done) => Ok(Some(done)),
            Err(ProbeError::Died) => Ok(None),
            Err(_) if is_ending(pid) => Ok(None),
            Err(error) => {
                Err(BuildError::Exercise { what: error.to_string(), hint: None, log: String::new() })
            }
        })
        .await
    }
}

/// Whether a process that has no network namespace any more is on its way out: the kernel takes that away some time
/// before the process counts as ended (`do_exit` in its `kernel/exit.c`).
fn is_ending(pid: i32) -> bool {
    const LOOK: Duration = Duration::from_millis(10);
    const MOST_LOOKS: usize = 200;
    (0..MOST_LOOKS).any(|_| {
        let ended = !is_alive(pid);
        if !ended {
            std::thread::sleep(LOOK);
        }
        ended
    })
}
