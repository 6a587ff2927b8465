//! One run of the program beside the observed one: the same requests and commands, and what came of them.

use super::plan::Plan;
use super::quiet::until_quiet;
use super::watch::{Watch, both, watched};
use crate::behaviour::{Behaviour, Ending, Life, acts_as};
use crate::complaints::Complaints;
use crate::error::{BuildError, blocking};
use crate::exercise::{CancelOnDrop, QUIET, QUIET_LISTENING, SETTLE_AT_LAST};
use crate::peaks::Watcher;
use crate::subject::LOG_LINES;
use crate::vantage::{Followed, Vantage};
use crate::{host, inside};
use slim_engine::{ContainerId, ContainerSpec, Engine, EngineError};
use slim_probe::{CancelFlag, Others, ProbeError, Target};
use slim_trace::Trace;
use std::sync::Arc;
use std::time::Duration;

/// A program that is started just to see that it comes up may be busy so long.
const LIFE_SETTLES: Duration = Duration::from_secs(1);

/// What a trial does beyond the plan.
#[derive(Clone, Copy, Default)]
pub struct Conduct<'a> {
    pub watch: Option<&'a Watch>,
    /// Commands of `--verify-cmd`, run on this machine.
    pub host_commands: &'a [String],
}

/// What came of a trial.
#[derive(Default)]
pub struct Trialled {
    pub behaviour: Behaviour,
    /// What was seen, where it was watched.
    pub trace: Option<Trace>,
}

/// Runs a container through the plan and removes it.
///
/// # Errors
/// When the engine or the sensor fails. What the program does, or fails to do, is no error.
pub async fn run(
    engine: &dyn Engine,
    vantage: &Vantage,
    spec: &ContainerSpec,
    plan: &Plan,
    conduct: Conduct<'_>,
) -> Result<Trialled, BuildError> {
    let mut trialled = Trialled::default();
    let id = match engine.create(spec).await {
        Err(EngineError::CreateFailed { reason, .. }) => {
            trialled.behaviour.ending = Ending::NotStarted { reason };
            return Ok(trialled);
        }
        created => created?,
    };
    let ran = Trial { engine, vantage, plan, id: &id }.whole(&mut trialled, conduct).await;
    engine.remove(&id, true).await?;
    ran.map(|()| trialled)
}

/// Starts a container, sees whether it comes up, and removes it.
///
/// # Errors
/// When the engine or the sensor fails.
pub async fn start_only(
    engine: &dyn Engine,
    vantage: &Vantage,
    spec: &ContainerSpec,
    plan: &Plan,
    patience: Duration,
    watch: Option<&Watch>,
) -> Result<(Life, Option<Trace>), BuildError> {
    let id = match engine.create(spec).await {
        Err(EngineError::CreateFailed { reason, .. }) => return Ok((Life::NotStarted { reason }, None)),
        created => created?,
    };
    let lived = watched(watch, &id, Trial { engine, vantage, plan, id: &id }.live(patience)).await;
    engine.remove(&id, true).await?;
    lived
}

/// A created container.
struct Trial<'a> {
    engine: &'a dyn Engine,
    vantage: &'a Vantage,
    plan: &'a Plan,
    id: &'a ContainerId,
}

/// A container that has been started.
struct Up {
    pid: i32,
    /// How its first process is doing.
    followed: Followed,
    /// Where its ports are.
    target: Target,
}

/// The program ended during its exercise.
struct Over;

impl Trial<'_> {
    async fn whole(&self, trialled: &mut Trialled, conduct: Conduct<'_>) -> Result<(), BuildError> {
        let behaviour = &mut trialled.behaviour;
        let first = async {
            match self.engine.start(self.id).await {
                Err(EngineError::StartFailed { reason, .. }) => {
                    behaviour.ending = Ending::NotStarted { reason };
                }
                started => {
                    started?;
                    self.run_counted(behaviour, conduct.host_commands).await?;
                }
            }
            Ok(())
        };
        let ((), trace) = watched(conduct.watch, self.id, first).await?;
        trialled.trace = trace;
        if self.plan.second_start && trialled.behaviour.ended_as_planned(self.plan.ends) {
            let second = self.live(self.plan.ready_within);
            let (life, trace) = watched(conduct.watch, self.id, second).await?;
            trialled.behaviour.second = Some(life);
            trialled.trace = both(trialled.trace.take(), trace);
        }
        Ok(())
    }

    /// The run, with the most that it took of the machine, and with what it said.
    async fn run_counted(
        &self,
        behaviour: &mut Behaviour,
        host_commands: &[String],
    ) -> Result<(), BuildError> {
        let watcher = match self.vantage {
            Vantage::Here => {
                let pid = self.engine.inspect(self.id).await?.pid;
                pid.and_then(|pid| i32::try_from(pid).ok()).map(Watcher::of)
            }
            // A sidecar tells nothing of control groups.
            Vantage::Beside(_) => None,
        };
        behaviour.ending = match &watcher {
            None => self.run(behaviour, host_commands).await?,
            Some(watcher) => tokio::select! {
                biased;
                ending = self.run(behaviour, host_commands) => ending?,
                never = watcher.watch() => match never {},
            },
        };
        behaviour.peaks = watcher.map(|watcher| watcher.peaks()).unwrap_or_default();
        let logs = self.engine.logs(self.id, None).await.unwrap_or_default();
        behaviour.log = logs.last_lines(LOG_LINES);
        behaviour.complaints = Complaints::in_log(&logs.bytes);
        if self.engine.inspect(self.id).await?.out_of_memory {
            behaviour.complaints.no_room += 1;
        }
        Ok(())
    }

    async fn run(&self, behaviour: &mut Behaviour, host_commands: &[String]) -> Result<Ending, BuildError> {
        if self.plan.ends {
            return match tokio::time::timeout(self.plan.ends_within, self.engine.wait(self.id)).await {
                Ok(exit_code) => {
                    let exit_code = exit_code?;
                    self.test(behaviour, host_commands).await?;
                    self.ended(exit_code).await
                }
                Err(_) => Ok(Ending::RunsOn),
            };
        }
        tokio::select! {
            biased;
            driven = self.drive(behaviour, host_commands) => match driven? {
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
    async fn drive(
        &self,
        behaviour: &mut Behaviour,
        host_commands: &[String],
    ) -> Result<Result<(), Over>, BuildError> {
        let Some(started) = self.started().await? else { return Ok(Err(Over)) };
        let Up { pid, followed, target } = &started;
        // What is asked for cannot be asked of a program that is not ready.
        if self.silent(&started, self.plan.ready_within).await?.is_none() {
            return Ok(Err(Over));
        }
        if self.plan.ports.is_empty() {
            until_quiet(followed, QUIET, self.plan.settles_within).await;
        } else if self.plan.recording.is_none() {
            until_quiet(followed, QUIET_LISTENING, SETTLE_AT_LAST).await;
        }
        if let Some(recording) = &self.plan.recording {
            let (recording, mut http) = (recording.clone(), self.plan.http.clone());
            // They were waited for already.
            http.listen_timeout = Duration::ZERO;
            let asked = target.clone();
            let replayed = self.probe(followed, move |cancel, alive| {
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
        self.test(behaviour, host_commands).await?;
        until_quiet(followed, QUIET_LISTENING, SETTLE_AT_LAST).await;
        let before = self.vantage.acting(*pid).await?;
        match self.listening(&started, target.ports.clone(), Duration::ZERO, Others::Briefly).await? {
            Some(ports) if followed.is_alive() => {
                behaviour.listens = ports.into_iter().collect();
                behaviour.acts_as = acts_as(&before, &self.vantage.acting(*pid).await?);
            }
            _ => return Ok(Err(Over)),
        }
        Ok(Ok(()))
    }

    /// The user's own tests.
    async fn test(&self, behaviour: &mut Behaviour, commands: &[String]) -> Result<(), BuildError> {
        for command in commands {
            let ran =
                host::test(self.engine, self.vantage, self.id, &self.plan.reachable_ports, command).await?;
            behaviour.tests.push(ran);
        }
        Ok(())
    }

    /// Starts the container and waits until the program is up, or has ended.
    async fn live(&self, patience: Duration) -> Result<Life, BuildError> {
        match self.engine.start(self.id).await {
            Err(EngineError::StartFailed { reason, .. }) => return Ok(Life::NotStarted { reason }),
            started => started?,
        }
        if self.plan.ends {
            return match tokio::time::timeout(self.plan.ends_within, self.engine.wait(self.id)).await {
                Ok(exit_code) => Ok(Life::Ended { exit_code: exit_code? }),
                Err(_) => Ok(Life::Up { silent: None }),
            };
        }
        tokio::select! {
            biased;
            up = self.up(patience) => match up? {
                Ok(life) => Ok(life),
                Err(Over) => Ok(Life::Ended { exit_code: self.engine.wait(self.id).await? }),
            },
            exit_code = self.engine.wait(self.id) => Ok(Life::Ended { exit_code: exit_code? }),
        }
    }

    async fn up(&self, patience: Duration) -> Result<Result<Life, Over>, BuildError> {
        let Some(started) = self.started().await? else { return Ok(Err(Over)) };
        if self.silent(&started, patience).await?.is_none() {
            return Ok(Err(Over));
        }
        until_quiet(&started.followed, QUIET_LISTENING, LIFE_SETTLES).await;
        Ok(match self.silent(&started, Duration::ZERO).await? {
            Some(silent) if started.followed.is_alive() => Ok(Life::Up { silent: silent.first().copied() }),
            _ => Err(Over),
        })
    }

    /// The container's first process, and where its ports are; `None` when it has ended.
    async fn started(&self) -> Result<Option<Up>, BuildError> {
        let state = self.engine.inspect(self.id).await?;
        let Some(pid) = state.pid.and_then(|pid| i32::try_from(pid).ok()) else { return Ok(None) };
        let followed = self.vantage.follow(pid, false).await?;
        let target = self.vantage.target(pid, state.addresses.first().copied(), self.plan.ports.clone());
        Ok(Some(Up { pid, followed, target }))
    }

    /// The ports that the program is to listen on and does not, after waiting for them; `None` when it has ended.
    async fn silent(&self, up: &Up, patience: Duration) -> Result<Option<Vec<u16>>, BuildError> {
        let awaited = &self.plan.awaited;
        // Those that are another port in every run cannot be waited for by number.
        let (ports, others) = if awaited.is_empty() {
            (up.target.ports.clone(), Others::Briefly)
        } else {
            (awaited.iter().copied().collect(), Others::AsLong)
        };
        let listens = self.listening(up, ports, patience, others).await?;
        let silent =
            |listens: Vec<u16>| awaited.iter().copied().filter(|port| !listens.contains(port)).collect();
        Ok(listens.map(silent))
    }

    /// The ports that listen, after waiting for these; `None` when the program has ended.
    async fn listening(
        &self,
        up: &Up,
        ports: Vec<u16>,
        patience: Duration,
        others: Others,
    ) -> Result<Option<Vec<u16>>, BuildError> {
        if ports.is_empty() {
            return Ok(Some(ports));
        }
        let target = Target { ports, ..up.target.clone() };
        let ports = self
            .probe(&up.followed, move |cancel, alive| {
                slim_probe::wait_listening(&target, patience, others, cancel, alive)
            })
            .await?;
        Ok(ports.map(|ports| ports.into_iter().map(|port| port.number).collect()))
    }

    /// Work on the container's network; `None` when the program has ended.
    async fn probe<T: Send + 'static>(
        &self,
        followed: &Followed,
        work: impl FnOnce(&CancelFlag, &(dyn Fn() -> bool + Sync)) -> Result<T, ProbeError> + Send + 'static,
    ) -> Result<Option<T>, BuildError> {
        let guard = CancelOnDrop(Arc::default());
        let (cancel, followed) = (Arc::clone(&guard.0), followed.clone());
        blocking(move || match work(&cancel, &|| followed.is_alive()) {
            Ok(done) => Ok(Some(done)),
            Err(ProbeError::Died) => Ok(None),
            Err(_) if is_ending(&followed) => Ok(None),
            Err(error) => {
                Err(BuildError::Exercise { what: error.to_string(), hint: None, log: String::new() })
            }
        })
        .await
    }
}

/// Whether a process that has no network namespace any more is on its way out: the kernel takes that away some time
/// before the process counts as ended (`do_exit` in its `kernel/exit.c`).
fn is_ending(followed: &Followed) -> bool {
    const LOOK: Duration = Duration::from_millis(10);
    const MOST_LOOKS: usize = 200;
    (0..MOST_LOOKS).any(|_| {
        let ended = !followed.is_alive();
        if !ended {
            std::thread::sleep(LOOK);
        }
        ended
    })
}
