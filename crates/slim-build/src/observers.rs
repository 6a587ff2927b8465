//! Who watches containers: the one place where an observer is made, whichever kind it is.

use crate::error::BuildError;
use crate::settings::{ObserverChoice, Settings};
use slim_engine::{Engine, EngineDescription, SupervisorSockets};
use slim_sensor::{Observer, SensorError, notify};

/// Makes observers of one kind. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observers {
    /// This process.
    Local,
    /// This process, told by the container's own programs.
    Notify(SupervisorSockets),
}

/// An observer that watches nothing yet; most of the time that arming takes is over with it.
pub enum Prepared {
    Local(slim_sensor::Prepared),
    Notify(SupervisorSockets),
}

impl Observers {
    /// Those that the user asked for, where they can be had.
    ///
    /// # Errors
    /// Why they cannot watch the engine's containers.
    pub async fn choose(
        engine: &dyn Engine,
        description: &EngineDescription,
        settings: &Settings,
    ) -> Result<Self, BuildError> {
        match settings.observer {
            ObserverChoice::Notify => {
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
            ObserverChoice::Auto | ObserverChoice::Local => {
                if !description.local {
                    return Err(BuildError::Usage(format!(
                        "watch containers of {}: the engine runs on another machine",
                        description.endpoint
                    )));
                }
                let observers = Self::Local;
                let checked = observers.check().await;
                match (checked, engine.supervisor_sockets()) {
                    (Err(_), Some(sockets)) if settings.observer == ObserverChoice::Auto => {
                        Ok(Self::Notify(sockets))
                    }
                    (Err(error), _) if settings.from_trace.is_none() => Err(error.into()),
                    _ => Ok(observers),
                }
            }
            ObserverChoice::Sidecar => {
                Err(BuildError::Usage("watch from a sidecar container: not in this version".to_owned()))
            }
        }
    }

    /// How a container is watched, in a few words.
    #[must_use]
    pub fn manner(&self) -> &'static str {
        match self {
            Self::Local => "watched from outside",
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
                off_thread(move || Ok(Prepared::Local(slim_sensor::Prepared::new(buffer_bytes)?))).await
            }
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
        let container = container.to_owned();
        match self {
            Self::Local(prepared) => off_thread(move || prepared.arm(&container, settings)).await,
            Self::Notify(sockets) => {
                off_thread(move || notify::Supervisor::arm(&sockets.of(&container), settings)).await
            }
        }
    }
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SensorError> + Send + 'static,
) -> Result<T, SensorError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(SensorError::Panicked))
}
