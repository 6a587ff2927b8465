//! The seam: what watches a container, whichever way it does so.

use crate::error::SensorError;
use slim_image::ImagePath;
use slim_trace::{Listening, Phase, Trace};
use std::time::{Duration, Instant};

/// Watches one container from before its start to after its end.
pub trait Observer: Send {
    /// Waits until the container's own program was seen, is watched in full and runs.
    ///
    /// # Errors
    /// [`SensorError::NotStarted`] when that did not happen within `timeout`; ask again.
    fn wait_started(&mut self, timeout: Duration) -> Result<Started, SensorError>;

    /// From now on, what is seen belongs to this phase.
    fn enter_phase(&mut self, phase: Phase);

    /// A step of the exercise, a request or a command, is over, or the first one begins: what is opened from now on is
    /// told apart.
    fn next_step(&mut self) {}

    /// Ports listened on so far.
    fn listening(&self) -> Vec<Listening>;

    /// When something was last seen that had not been seen before.
    fn last_activity(&self) -> Instant;

    /// Ends the observation.
    ///
    /// # Errors
    /// [`SensorError::Dropped`] when something was lost: such a trace is of no use.
    fn finish(self: Box<Self>) -> Result<Trace, SensorError>;
}

/// The container's program runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started {
    /// The first process, in our pid namespace.
    pub pid: i32,
}

/// What an observer is told about its container.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The image's config digest, `sha256:…`.
    pub image: String,
    /// Where the image's volumes lie: the anonymous volumes there hold the image's own content.
    pub image_volumes: Vec<ImagePath>,
    /// Size of the ring buffer in bytes; a power of two and a multiple of the page size.
    pub buffer_bytes: u32,
}
