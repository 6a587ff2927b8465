//! Who watches containers: the one place where an observer is made, whichever kind it is.

use crate::error::BuildError;
use crate::settings::{ObserverChoice, Settings};
use slim_engine::EngineDescription;
use slim_sensor::{Observer, SensorError};

/// Makes observers of one kind. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observers {
    /// This process.
    Local,
}

/// An observer that watches nothing yet; most of the time that arming takes is over with it.
pub enum Prepared {
    Local(slim_sensor::Prepared),
}

impl Observers {
    /// Those that the user asked for, where they can be had.
    ///
    /// # Errors
    /// Why they cannot watch the engine's containers.
    pub async fn choose(description: &EngineDescription, settings: &Settings) -> Result<Self, BuildError> {
        match settings.observer {
            ObserverChoice::Auto | ObserverChoice::Local => {
                if !description.local {
                    return Err(BuildError::Usage(format!(
                        "watch containers of {}: the engine runs on another machine",
                        description.endpoint
                    )));
                }
                let observers = Self::Local;
                if settings.from_trace.is_none() {
                    observers.check().await?;
                }
                Ok(observers)
            }
            ObserverChoice::Sidecar => {
                Err(BuildError::Usage("watch from a sidecar container: not in this version".to_owned()))
            }
        }
    }

    /// Whether they may watch.
    ///
    /// # Errors
    /// What is missing.
    pub async fn check(&self) -> Result<(), SensorError> {
        match self {
            Self::Local => off_thread(slim_sensor::preflight).await,
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
        }
    }
}

async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SensorError> + Send + 'static,
) -> Result<T, SensorError> {
    tokio::task::spawn_blocking(work).await.unwrap_or(Err(SensorError::Panicked))
}
