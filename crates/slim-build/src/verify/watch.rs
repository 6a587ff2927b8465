//! A trial under the sensor's eyes: what the slim program looks for and does not find, what it is refused.
//!
//! Invariant: a trial never fails because it is watched. Where the sensor fails, the caller goes on without it.

use crate::error::{BuildError, blocking};
use slim_engine::ContainerId;
use slim_image::{ImagePath, SourceImage};
use slim_sensor::Sensor;
use slim_trace::Trace;

/// How a trial is watched.
#[derive(Clone, Debug)]
pub struct Watch {
    image: String,
    volumes: Vec<ImagePath>,
    buffer_bytes: u32,
}

impl Watch {
    /// As the fat image was watched; `None` where nobody may watch, with the reason told to `tell`.
    pub async fn new(
        source: &SourceImage,
        volumes: Vec<ImagePath>,
        buffer_bytes: u32,
        tell: impl FnOnce(String),
    ) -> Option<Self> {
        match blocking(|| Ok(slim_sensor::preflight()?)).await {
            Ok(()) => Some(Self { image: source.id.to_string(), volumes, buffer_bytes }),
            Err(error) => {
                tell(format!("the slim image runs unwatched, so nothing can be repaired: failed to {error}"));
                None
            }
        }
    }

    /// The same with a larger buffer, for the time after events were lost.
    #[must_use]
    pub fn with_buffer_times(&self, factor: u32) -> Self {
        Self { buffer_bytes: self.buffer_bytes.saturating_mul(factor), ..self.clone() }
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
    let container = container.to_string();
    let observer = blocking(move || Ok(Sensor::arm(&container, settings)?)).await?;
    let done = work.await?;
    let trace = blocking(move || Ok(observer.finish()?)).await?;
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
