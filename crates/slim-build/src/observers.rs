//! Who watches containers: the one place where an observer is made, whichever kind it is.

use crate::error::BuildError;
use crate::progress::Story;
use crate::scratch::{Role, labels};
use crate::settings::{ObserverChoice, Settings};
use crate::vantage::{Beside, Vantage};
use slim_engine::{Attached, Engine, EngineDescription, SidecarSpec, SupervisorSockets};
use slim_sensor::{Observer, SensorError, notify};
use slim_sidecar::Sidecar;
use std::sync::Arc;

/// Makes observers of one kind. Cheap to clone.
#[derive(Clone, Debug)]
pub enum Observers {
    /// This process.
    Local,
    /// A container of the engine's.
    Sidecar(Arc<Beside>),
    /// This process, told by the container's own programs.
    Notify(SupervisorSockets),
}

/// An observer that watches nothing yet; most of the time that arming takes is over with it.
pub enum Prepared {
    Local(Box<slim_sensor::Prepared>),
    Sidecar(slim_sidecar::Prepared),
    Notify(SupervisorSockets),
}

impl Observers {
    /// Those that the user asked for, where they can be had; says which, where that is not plain.
    ///
    /// # Errors
    /// Why they cannot watch the engine's containers.
    pub async fn choose(
        engine: &dyn Engine,
        description: &EngineDescription,
        settings: &Settings,
        story: &Story<'_>,
    ) -> Result<Self, BuildError> {
        // Nothing of a known program is watched but trials, which can go without.
        let is_known = settings.from_trace.is_some();
        let why = match settings.observer {
            ObserverChoice::Sidecar => None,
            ObserverChoice::Notify => return Self::notified(engine, description).await,
            ObserverChoice::Local if !description.local => {
                return Err(BuildError::FarEngine(description.endpoint.clone()));
            }
            ObserverChoice::Auto if !description.local => {
                Some(format!("the engine at {} runs on another machine", description.endpoint))
            }
            ObserverChoice::Auto | ObserverChoice::Local if is_known => return Ok(Self::Local),
            ObserverChoice::Local => {
                Self::Local.check().await?;
                return Ok(Self::Local);
            }
            ObserverChoice::Auto => match Self::Local.check().await {
                Ok(()) => return Ok(Self::Local),
                Err(error) if engine.supervisor_sockets().is_some() => {
                    story.line(format!(
                        "its own programs tell of their calls; from outside: failed to {error}"
                    ));
                    return Self::notified(engine, description).await;
                }
                // The same kernel has no more to offer to a container.
                Err(error) if !is_about_this_process(&error) => return Err(error.into()),
                Err(error) => Some(format!("this process may not: failed to {error}")),
            },
        };
        if let Some(why) = why {
            story.line(format!("a sidecar container watches; {why}"));
        }
        Ok(Self::Sidecar(Arc::new(start_sidecar(engine, description, settings, story).await?)))
    }

    /// Told by the programs themselves.
    async fn notified(engine: &dyn Engine, description: &EngineDescription) -> Result<Self, BuildError> {
        let sockets = engine.supervisor_sockets().ok_or_else(|| {
            BuildError::Usage(format!(
                "watch containers of {} by their own notifications: only the embedded engine does that \
                 (--engine embedded)",
                description.name
            ))
        })?;
        let observers = Self::Notify(sockets);
        observers.check().await?;
        Ok(observers)
    }

    /// From where the watched containers are seen.
    #[must_use]
    pub fn vantage(&self) -> Vantage {
        match self {
            Self::Local | Self::Notify(_) => Vantage::Here,
            Self::Sidecar(beside) => Vantage::Beside(Arc::clone(beside)),
        }
    }

    /// Does `work`, unless those who watch are gone before it is done.
    ///
    /// # Errors
    /// Those of the work; why nobody watches any more.
    pub async fn or_lost<T>(
        &self,
        engine: &dyn Engine,
        work: impl Future<Output = Result<T, BuildError>>,
    ) -> Result<T, BuildError> {
        let Self::Sidecar(beside) = self else { return work.await };
        tokio::select! {
            biased;
            lost = beside.sidecar.lost() => Err(explained(engine, beside, lost).await),
            done = work => done,
        }
    }

    /// How a container is watched, in a few words.
    #[must_use]
    pub fn manner(&self) -> &'static str {
        match self {
            Self::Local => "watched from outside",
            Self::Sidecar(_) => "watched from beside it",
            Self::Notify(_) => "its programs tell of their own calls, but for those made all the time",
        }
    }

    /// Whether they may watch.
    ///
    /// # Errors
    /// What is missing.
    pub async fn check(&self) -> Result<(), SensorError> {
        match self {
            Self::Local => off_thread(slim_sensor::preflight).await,
            Self::Sidecar(beside) => beside.sidecar.check().await,
            Self::Notify(_) => off_thread(notify::preflight).await,
        }
    }

    /// Makes one ready, with a ring buffer of this size.
    ///
    /// # Errors
    /// When the kernel does not let us.
    pub async fn prepare(&self, buffer_bytes: u32) -> Result<Prepared, SensorError> {
        match self {
            Self::Local => {
                off_thread(move || Ok(Prepared::Local(Box::new(slim_sensor::Prepared::new(buffer_bytes)?))))
                    .await
            }
            Self::Sidecar(beside) => beside.sidecar.prepare(buffer_bytes).await.map(Prepared::Sidecar),
            Self::Notify(sockets) => Ok(Prepared::Notify(sockets.clone())),
        }
    }

    /// Begins to watch for the container with this id, which must not have been started.
    ///
    /// # Errors
    /// When the kernel does not let us.
    pub async fn arm(
        &self,
        container: &str,
        settings: slim_sensor::Settings,
    ) -> Result<Box<dyn Observer>, SensorError> {
        self.prepare(settings.buffer_bytes).await?.arm(container, settings).await
    }
}

impl Prepared {
    /// Begins to watch for the container with this id, which must not run.
    ///
    /// # Errors
    /// When the kernel does not let us.
    pub async fn arm(
        self,
        container: &str,
        settings: slim_sensor::Settings,
    ) -> Result<Box<dyn Observer>, SensorError> {
        match self {
            Self::Local(prepared) => {
                let container = container.to_owned();
                off_thread(move || prepared.arm(&container, settings)).await
            }
            Self::Sidecar(prepared) => prepared.arm(container, settings).await,
            Self::Notify(sockets) => {
                let container = container.to_owned();
                off_thread(move || notify::Supervisor::arm(&sockets.of(&container), settings)).await
            }
        }
    }
}

/// Whether a container of the engine's may have what this process lacks.
fn is_about_this_process(error: &SensorError) -> bool {
    matches!(error, SensorError::Capabilities(_) | SensorError::PidNamespace)
}

async fn start_sidecar(
    engine: &dyn Engine,
    description: &EngineDescription,
    settings: &Settings,
    story: &Story<'_>,
) -> Result<Beside, BuildError> {
    let own = std::env::consts::ARCH;
    if !description.architecture.is_empty() && description.architecture != own {
        return Err(BuildError::Usage(format!(
            "watch from a sidecar container: the engine's machine is {}, this program is for {own}",
            description.architecture
        )));
    }
    let spec = SidecarSpec {
        binary: settings.binary.clone(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        arguments: vec!["sidecar".to_owned()],
        labels: labels(&settings.run, Role::Sidecar),
    };
    let running = slim_engine::start_sidecar(engine, &spec).await?;
    if let Some(name) = &running.loaded {
        story.line(format!("loaded {name} into the engine (docker-slim store prune --engine removes it)"));
    }
    let Attached { input, output, diagnostics } = running.attached;
    let sidecar = Sidecar::connect(output, input, move || diagnostics.text()).await?;
    sidecar.check().await?;
    let engine_host = (!description.local).then(|| host_of(&description.endpoint));
    Ok(Beside { sidecar, container: running.id, engine_host })
}

/// `tcp://user@host:2375/path` → `host`.
fn host_of(endpoint: &str) -> String {
    let rest = endpoint.split_once("://").map_or(endpoint, |(_, rest)| rest);
    let rest = rest.split('/').next().unwrap_or_default();
    let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
    match rest.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host.to_owned(),
        _ => rest.to_owned(),
    }
}

/// Why the sidecar is gone, as far as the engine knows.
async fn explained(engine: &dyn Engine, beside: &Beside, lost: SensorError) -> BuildError {
    match engine.inspect(&beside.container).await {
        Err(error) if error.is_engine_gone() => error.into(),
        Ok(state) if !state.running => {
            let reason = match &lost {
                SensorError::SidecarGone { reason } => reason.clone(),
                other => other.to_string(),
            };
            let killed = if state.out_of_memory { ", out of memory" } else { "" };
            SensorError::SidecarGone {
                reason: format!("it ended with exit code {}{killed} ({reason})", state.exit_code),
            }
            .into()
        }
        _ => lost.into(),
    }
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SensorError> + Send + 'static,
) -> Result<T, SensorError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(SensorError::Panicked))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engines_host_is_in_its_address() {
        for (endpoint, host) in [
            ("tcp://10.0.0.7:2375", "10.0.0.7"),
            ("tcp://[::1]:2375/engine", "[::1]"),
            ("ssh://me@builder", "builder"),
            ("ssh://me@builder:22/run/docker.sock", "builder"),
        ] {
            assert_eq!(host_of(endpoint), host, "{endpoint}");
        }
    }
}
