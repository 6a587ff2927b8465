//! A started fat container, and what every stage asks of it.

use crate::error::BuildError;
use crate::person::Person;
use crate::progress::Story;
use crate::settings::Settings;
use crate::vantage::{Followed, Vantage};
use slim_engine::{ContainerId, Engine};
use slim_image::{ImagePath, SourceImage};
use slim_sensor::Observer;
use std::sync::{Arc, Mutex};

/// Log lines shown with an error.
pub(crate) const LOG_LINES: usize = 20;
/// A lost event repeats the run once with this many times the buffer.
pub(crate) const BUFFER_FACTOR: u32 = 4;

/// The observer, shared between the stages of an observation.
pub(crate) type Shared = Arc<Mutex<Box<dyn Observer>>>;

/// A started fat container.
pub(crate) struct Subject<'a> {
    pub engine: &'a dyn Engine,
    pub settings: &'a Settings,
    pub source: &'a SourceImage,
    pub story: &'a Story<'a>,
    pub person: &'a dyn Person,
    pub id: ContainerId,
    pub observer: Shared,
    /// From where it is seen.
    pub vantage: Vantage,
    /// Pid of the container's first process, in the engine's machine.
    pub pid: i32,
    /// How that is doing.
    pub followed: Followed,
}

/// The volumes that engines fill with what the image holds there: the image's own, and those of `--volume`.
pub(crate) fn image_volumes(source: &SourceImage, settings: &Settings) -> Vec<ImagePath> {
    let mut volumes = source.config.volume_paths();
    volumes.extend(settings.container.volumes.iter().map(ImagePath::new));
    volumes
}

/// The error for a container that is gone, with its last log lines and what the engine says.
pub(crate) async fn died(
    engine: &dyn Engine,
    source: &SourceImage,
    id: &ContainerId,
    what: &str,
) -> BuildError {
    let log = last_lines(engine, id).await;
    let state = engine.inspect(id).await.ok();
    let mut what = what.to_owned();
    if let Some(state) = state.filter(|state| !state.running) {
        what.push_str(&format!(" (exit code {})", state.exit_code));
        if state.out_of_memory {
            what.push_str(", out of memory");
        }
        if !state.error.is_empty() {
            what.push_str(&format!(": {}", state.error));
        }
    }
    BuildError::ContainerDied { image: source.reference.clone(), what, log }
}

/// The last log lines of a container; empty where they cannot be had.
pub(crate) async fn last_lines(engine: &dyn Engine, id: &ContainerId) -> String {
    engine.logs(id, Some(LOG_LINES)).await.map(|logs| logs.last_lines(LOG_LINES)).unwrap_or_default()
}

/// Asks the observer something short.
pub(crate) fn with<T>(observer: &Shared, ask: impl FnOnce(&mut dyn Observer) -> T) -> T {
    ask(observer.lock().expect("no holder of this lock panics").as_mut())
}
