//! Runs the fat container under the sensor while something exercises it.

use crate::behaviour::{Behaviour, Ending};
use crate::error::{BuildError, blocking};
use crate::exercise::{self, Exercised};
use crate::observers::Observers;
use crate::person::Person;
use crate::progress::{Stage, Story};
use crate::scratch::{Role, program_container};
use crate::settings::Settings;
use crate::subject::{BUFFER_FACTOR, Shared, Subject, died, image_volumes, with};
use crate::unobserved;
use slim_engine::{ContainerId, Engine, Protocol, PublishedPort};
use slim_image::{Config, SourceImage};
use slim_sensor::{Observer, SensorError};
use slim_trace::{Phase, Trace};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// One look at whether the program has started; between two, the container's state is checked.
const START_WAIT: Duration = Duration::from_millis(200);
/// Exit code of a program that was killed, since it did not end on its signal.
const KILLED: i64 = 137;
/// What came of watching the fat container.
pub struct Observation {
    pub trace: Arc<Trace>,
    pub exercised: Exercised,
    /// What the program did, to lay other runs beside.
    pub behaviour: Behaviour,
    /// Exit code of the program.
    pub exit_code: Option<i64>,
    /// How often the observation was repeated because the sensor lost events.
    pub repeated: u32,
}

impl Observation {
    /// What is known of a program that is not run.
    fn nothing_run(trace: &Arc<Trace>) -> Self {
        Self {
            trace: Arc::clone(trace),
            exercised: Exercised::default(),
            behaviour: Behaviour::default(),
            exit_code: None,
            repeated: 0,
        }
    }

    /// The image's config with what the user replaced on the command line: what ran is what must be kept.
    #[must_use]
    pub fn effective_config(&self, source: &SourceImage, settings: &Settings) -> Config {
        let overrides = &settings.container;
        let mut config = source.config.clone();
        if let Some(entrypoint) = &overrides.entrypoint {
            // As `docker run --entrypoint`: the image's CMD belonged to the image's ENTRYPOINT.
            config.entrypoint.clone_from(entrypoint);
            config.cmd.clear();
        }
        if let Some(cmd) = &overrides.cmd {
            config.cmd.clone_from(cmd);
        }
        config.env.extend(overrides.env.iter().cloned());
        config.user = overrides.user.clone().unwrap_or(config.user);
        config.working_dir = overrides.workdir.clone().unwrap_or(config.working_dir);
        config.volumes.extend(overrides.volumes.iter().cloned());
        config
    }
}

/// Watches one run of the fat container; twice, with a larger buffer, when events were lost.
///
/// # Errors
/// When the container does not start or dies, the exercise fails, or events are lost again.
pub async fn observe(
    engine: &dyn Engine,
    observers: &Observers,
    settings: &Settings,
    source: &SourceImage,
    story: &Story<'_>,
    person: &dyn Person,
) -> Result<Observation, BuildError> {
    if let Some(trace) = settings.from_trace.as_ref().filter(|_| settings.verify.is_off()) {
        story.begin(Stage::Observe).done("nothing is run: what the program uses is in the trace");
        return Ok(Observation::nothing_run(trace));
    }
    let first = observe_once(engine, observers, settings, source, story, person, settings.buffer_bytes).await;
    let Err(BuildError::Sensor(error @ SensorError::Dropped { .. })) = first else { return first };
    story.notice(format!("{error}; observing once more with {BUFFER_FACTOR} times the buffer"));
    let larger = settings.buffer_bytes.saturating_mul(BUFFER_FACTOR);
    let second = observe_once(engine, observers, settings, source, story, person, larger).await?;
    Ok(Observation { repeated: 1, ..second })
}

/// The image's layers, as traces name them.
pub fn layers(source: &SourceImage) -> Vec<String> {
    source.layer_diff_ids.iter().map(ToString::to_string).collect()
}

async fn observe_once(
    engine: &dyn Engine,
    observers: &Observers,
    settings: &Settings,
    source: &SourceImage,
    story: &Story<'_>,
    person: &dyn Person,
    buffer_bytes: u32,
) -> Result<Observation, BuildError> {
    let stage = story.begin(Stage::Observe);
    stage.working("starting the fat container");
    let subject = start(engine, observers, settings, source, story, person, buffer_bytes).await?;
    publish(&subject).await?;
    let watched = if settings.from_trace.is_some() {
        "not watched: what it uses is in the trace"
    } else {
        observers.manner()
    };
    stage.done(format!("container {} runs untouched, {watched}", subject.id.short()));

    let mut behaviour = Behaviour::default();
    let exercised = exercise::exercise(&subject, &mut behaviour).await?;
    with(&subject.observer, |observer| observer.enter_phase(Phase::Shutdown));
    let (exit_code, ending) = stop(&subject, exercised.ended_by_itself).await?;
    behaviour.ending = ending;
    if settings.show_container_logs {
        let logs = engine.logs(&subject.id, None).await?;
        for line in String::from_utf8_lossy(&logs.bytes).lines() {
            story.line(format!("| {line}"));
        }
    }
    let observer = subject.observer;
    let trace = blocking(move || {
        let observer = alone(observer)?.into_inner().expect("no holder of this lock panics");
        Ok(observer.finish()?)
    });
    // The container has ended: nothing that the sensor still has to read goes with it.
    let (trace, removed) = tokio::join!(trace, engine.remove(&subject.id, true));
    let mut trace = trace?;
    if settings.from_trace.is_none() {
        trace.layers = layers(source);
    }
    removed?;
    Ok(Observation { trace: Arc::new(trace), exercised, behaviour, exit_code: Some(exit_code), repeated: 0 })
}

/// The observer when nobody else asks it anything any more: a probe that is given up may just be telling of its last
/// request.
fn alone(mut observer: Shared) -> Result<Mutex<Box<dyn Observer>>, BuildError> {
    const LOOK: Duration = Duration::from_millis(1);
    const MOST_LOOKS: usize = 5000;
    for _ in 0..MOST_LOOKS {
        match Arc::try_unwrap(observer) {
            Ok(alone) => return Ok(alone),
            Err(shared) => observer = shared,
        }
        std::thread::sleep(LOOK);
    }
    Err(BuildError::Bug("the observer is still in use".to_owned()))
}

/// Creates, arms where it is to be watched, starts, and waits for the program's first exec.
async fn start<'a>(
    engine: &'a dyn Engine,
    observers: &Observers,
    settings: &'a Settings,
    source: &'a SourceImage,
    story: &'a Story<'a>,
    person: &'a dyn Person,
    buffer_bytes: u32,
) -> Result<Subject<'a>, BuildError> {
    let id = engine.create(&program_container(settings, &source.id.to_string(), Role::Fat)).await?;
    let (observer, pid) = match &settings.from_trace {
        Some(trace) => unobserved::start(engine, &observers.vantage(), source, &id, trace).await?,
        None => start_watched(engine, observers, settings, source, &id, buffer_bytes).await?,
    };
    let vantage = observers.vantage();
    let followed = vantage.follow(pid, false).await?;
    Ok(Subject { engine, settings, source, story, person, id, observer, vantage, pid, followed })
}

async fn start_watched(
    engine: &dyn Engine,
    observers: &Observers,
    settings: &Settings,
    source: &SourceImage,
    id: &ContainerId,
    buffer_bytes: u32,
) -> Result<(Shared, i32), BuildError> {
    let sensor = slim_sensor::Settings {
        image: source.id.to_string(),
        image_volumes: image_volumes(source, settings),
        buffer_bytes,
    };
    let observer: Shared = Arc::new(Mutex::new(observers.arm(id.as_str(), sensor).await?));
    engine.start(id).await?;
    let pid = wait_started(engine, observers, source, id, &observer).await?;
    Ok((observer, pid))
}

async fn wait_started(
    engine: &dyn Engine,
    observers: &Observers,
    source: &SourceImage,
    id: &ContainerId,
    observer: &Shared,
) -> Result<i32, BuildError> {
    loop {
        let watched = Arc::clone(observer);
        let started = blocking(move || {
            match watched.lock().expect("no holder of this lock panics").wait_started(START_WAIT) {
                Ok(started) => Ok(Some(started.pid)),
                Err(SensorError::NotStarted) => Ok(None),
                Err(error) => Err(error.into()),
            }
        })
        .await?;
        if let Some(pid) = started {
            return Ok(pid);
        }
        let state = engine.inspect(id).await?;
        if !state.running {
            return Err(died(engine, source, id, "the container ended before its program was seen").await);
        }
        // Nobody would ever see it start.
        if let (Observers::Local, Some(pid)) = (observers, state.pid)
            && slim_sensor::is_known_by_its_group(pid, id.as_str()) == Some(false)
        {
            return Err(SensorError::NoControlGroup(id.short().to_owned()).into());
        }
    }
}

/// `8000/tcp is published at http://127.0.0.1:49153`, without a scheme for anything but TCP. `machine`: the engine's.
fn published(port: &PublishedPort, machine: &str) -> String {
    let host = if port.host_ip.is_unspecified() { machine.to_owned() } else { port.host_ip.to_string() };
    let scheme = if port.protocol == Protocol::Tcp { "http://" } else { "" };
    format!(
        "port {}/{} is published at {scheme}{host}:{}",
        port.container_port, port.protocol, port.host_port
    )
}

/// Tells the published ports, so that a person can use them meanwhile.
async fn publish(subject: &Subject<'_>) -> Result<(), BuildError> {
    let state = subject.engine.inspect(&subject.id).await?;
    let machine = subject.vantage.engine_host().unwrap_or("localhost");
    // Docker publishes under IPv4 and IPv6 at different ports; one of them is enough to tell.
    let has_v4 =
        |port: u16| state.ports.iter().any(|other| other.container_port == port && other.host_ip.is_ipv4());
    for port in state.ports.iter().filter(|port| port.host_ip.is_ipv4() || !has_v4(port.container_port)) {
        subject.story.line(published(port, machine));
    }
    Ok(())
}

/// Stops the container, unless it has ended. Its exit code, and how the program ended.
async fn stop(subject: &Subject<'_>, ended_by_itself: bool) -> Result<(i64, Ending), BuildError> {
    let Subject { engine, id, .. } = subject;
    let grace = subject.settings.stop_grace;
    if ended_by_itself {
        let exit_code = engine.inspect(id).await?.exit_code;
        return Ok((exit_code, Ending::ByItself { exit_code, output: engine.logs(id, None).await?.bytes }));
    }
    let began = Instant::now();
    engine.stop(id, grace).await?;
    let took = began.elapsed();
    let exit_code = engine.inspect(id).await?.exit_code;
    if exit_code != KILLED || took < grace {
        return Ok((exit_code, Ending::Stopped { exit_code }));
    }
    subject.story.notice(format!(
        "the program did not end on {} within {} s and was killed: what it would do at shutdown was not seen",
        subject.source.config.stop_signal_name(),
        grace.as_secs()
    ));
    Ok((exit_code, Ending::Killed))
}
