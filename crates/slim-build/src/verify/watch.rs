//! A trial under the sensor's eyes: what the slim program looks for and does not find, what it is refused.
//!
//! Invariant: a trial never fails because it is watched, and hardly waits for it. Bringing the sensor's programs into the
//! kernel is most of the work of watching: that is done while the slim image is made. Where the sensor fails, the caller
//! goes on without it.

use crate::error::{BuildError, blocking};
use crate::observers::{Observers, Prepared};
use slim_engine::ContainerId;
use slim_image::{ImagePath, SourceImage};
use slim_sensor::SensorError;
use slim_trace::Trace;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Instant;
use tokio::task::JoinHandle;

/// How trials are watched.
pub struct Watch {
    observers: Observers,
    image: String,
    volumes: Vec<ImagePath>,
    buffer_bytes: u32,
    /// Sensors in the making, for the next containers, in order.
    prepared: Mutex<VecDeque<Making>>,
    /// Held by the one that is being made: the first is needed first.
    turn: Arc<tokio::sync::Mutex<()>>,
}

type Making = JoinHandle<Result<Prepared, SensorError>>;

impl Watch {
    /// As the fat image was watched; `None` where nobody may watch, with the reason told to `tell`.
    pub async fn new(
        observers: &Observers,
        source: &SourceImage,
        volumes: Vec<ImagePath>,
        buffer_bytes: u32,
        tell: impl FnOnce(String),
    ) -> Option<Self> {
        match observers.check().await {
            Ok(()) => Some(Self::unprepared(observers.clone(), source.id.to_string(), volumes, buffer_bytes)),
            Err(error) => {
                tell(format!("the slim image runs unwatched, so nothing can be repaired: failed to {error}"));
                None
            }
        }
    }

    /// The same with a larger buffer, for the time after events were lost.
    #[must_use]
    pub fn with_buffer_times(&self, factor: u32) -> Self {
        let larger = self.buffer_bytes.saturating_mul(factor);
        Self::unprepared(self.observers.clone(), self.image.clone(), self.volumes.clone(), larger)
    }

    fn unprepared(observers: Observers, image: String, volumes: Vec<ImagePath>, buffer_bytes: u32) -> Self {
        Self { observers, image, volumes, buffer_bytes, prepared: Mutex::default(), turn: Arc::default() }
    }

    /// Begins to make sensors for so many containers. Nobody waits for them.
    pub fn prepare(&self, containers: usize) {
        let mut prepared = self.prepared.lock().expect("no holder of this lock panics");
        while prepared.len() < containers {
            prepared.push_back(self.make());
        }
    }

    fn make(&self) -> Making {
        let (turn, observers, buffer_bytes) =
            (Arc::clone(&self.turn), self.observers.clone(), self.buffer_bytes);
        tokio::spawn(async move {
            let _turn = turn.lock().await;
            observers.prepare(buffer_bytes).await
        })
    }

    async fn sensor(&self) -> Result<Prepared, BuildError> {
        let next = self.prepared.lock().expect("no holder of this lock panics").pop_front();
        let next = next.unwrap_or_else(|| self.make());
        Ok(next.await.map_err(|error| BuildError::Bug(format!("a worker stopped: {error}")))??)
    }
}

/// Does `work`, which starts a container that is not running and sees it through. What was seen of it, where it was
/// watched.
///
/// # Errors
/// Those of the work; [`BuildError::Sensor`] when the container could not be watched in full.
pub async fn watched<T>(
    watch: Option<&Watch>,
    container: &ContainerId,
    work: impl Future<Output = Result<T, BuildError>>,
) -> Result<(T, Option<Trace>), BuildError> {
    let Some(watch) = watch else { return Ok((work.await?, None)) };
    let settings = slim_sensor::Settings {
        image: watch.image.clone(),
        image_volumes: watch.volumes.clone(),
        buffer_bytes: watch.buffer_bytes,
    };
    let began = Instant::now();
    let observer = watch.sensor().await?.arm(container.as_str(), settings).await?;
    let armed_in = began.elapsed();
    let done = work.await?;
    let ended = Instant::now();
    let trace = blocking(move || Ok(observer.finish()?)).await?;
    tracing::debug!(?armed_in, finished_in = ?ended.elapsed(), "watched a trial");
    Ok((done, Some(trace)))
}

/// Two traces of one trial.
#[must_use]
pub fn both(one: Option<Trace>, other: Option<Trace>) -> Option<Trace> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.merge(&other)),
        (one, other) => one.or(other),
    }
}
