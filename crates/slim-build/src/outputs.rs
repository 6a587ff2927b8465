//! The proved slim image to the places where it was asked for.

use crate::error::{BuildError, blocking};
use crate::progress::{Stage, Story};
use crate::settings::{Output, Settings};
use slim_image::{PackedImage, Reference, SinkError, SlimImage, Stored};
use slim_report::human;
use std::sync::Arc;

/// Writes the image to every place in files, one after the other; gives them as they were named. `names`: the slim image's.
///
/// # Errors
/// When a place cannot be written. Those before it have been.
pub async fn write(
    settings: &Settings,
    story: &Story<'_>,
    image: Arc<SlimImage>,
    names: &[String],
) -> Result<Vec<String>, BuildError> {
    let places: Vec<Stored> = settings.outputs.iter().filter_map(in_files).cloned().collect();
    if places.is_empty() {
        return Ok(Vec::new());
    }
    let stage = story.begin(Stage::Output);
    stage.working("packing the layers");
    let names: Vec<Reference> = names.iter().filter_map(|name| name.parse().ok()).collect();
    let (packing, threads, scratch) = (settings.packing, settings.threads, settings.state_path.clone());
    let packed =
        blocking(move || PackedImage::new(image, packing, threads, &scratch).map_err(unwritten)).await?;
    let packed = Arc::new(packed);
    let bytes: u64 = packed.manifest().layers.iter().map(|layer| layer.size).sum();
    for place in places.clone() {
        stage.working(format!("writing {place}"));
        let (packed, names) = (Arc::clone(&packed), names.clone());
        blocking(move || packed.write(&place, &names).map_err(unwritten)).await?;
    }
    let told: Vec<String> = places.iter().map(ToString::to_string).collect();
    stage.done(format!("{}, {}", human(bytes), told.join(", ")));
    Ok(told)
}

fn in_files(output: &Output) -> Option<&Stored> {
    match output {
        Output::Stored(stored) => Some(stored),
        Output::Name(_) => None,
    }
}

fn unwritten(error: SinkError) -> BuildError {
    BuildError::Output(error.to_string())
}
