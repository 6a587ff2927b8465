//! What is known before anything is decided.

use crate::observe::Observation;
use crate::state::ImageState;
use slim_image::SourceImage;
use slim_keep::Origin;

/// What is known of the fat image and its program.
pub struct Seen {
    pub source: SourceImage,
    /// Not asked for where only what was observed is kept, in one layer.
    pub origin: Origin,
    pub state: ImageState,
    pub observation: Observation,
}
