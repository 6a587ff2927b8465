//! The proved slim image to the places where it was asked for.

use crate::error::{BuildError, blocking};
use crate::progress::{Running, Stage, Story};
use crate::settings::{Carrier, Output, Settings};
use slim_image::location::Form;
use slim_image::temporary::TemporaryFolder;
use slim_image::{Layout, PackedImage, Reference, Selector, SinkError, SlimImage, Stored};
use slim_report::human;
use std::sync::Arc;

/// Writes the image to every place in files, one after the other, and has it carried to all others; gives them as they were
/// named. `names`: the slim image's.
///
/// # Errors
/// When a place cannot be written, or does not take it. Those before it have it.
pub async fn write(
    settings: &Settings,
    story: &Story<'_>,
    image: Arc<SlimImage>,
    names: &[String],
) -> Result<Vec<String>, BuildError> {
    let places: Vec<Stored> = settings.outputs.iter().filter_map(in_files).cloned().collect();
    if places.is_empty() && settings.carrier.is_none() {
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
    let mut told: Vec<String> = places.iter().map(ToString::to_string).collect();
    if let Some(carrier) = &settings.carrier {
        told.extend(carry(settings, &stage, carrier.as_ref(), packed).await?);
    }
    stage.done(format!("{}, {}", human(bytes), told.join(", ")));
    Ok(told)
}

/// Through a layout of its own, which is gone afterwards.
async fn carry(
    settings: &Settings,
    stage: &Running<'_>,
    carrier: &dyn Carrier,
    packed: Arc<PackedImage>,
) -> Result<Vec<String>, BuildError> {
    let state = |source| BuildError::State {
        action: "write the image below",
        path: settings.state_path.clone(),
        source,
    };
    let folder = TemporaryFolder::make(&settings.state_path).map_err(state)?;
    let path = folder.path().join("layout");
    let place = Stored { form: Form::Layout, path: path.clone(), selector: Selector::Only };
    let layout = blocking(move || {
        packed.write(&place, &[]).map_err(unwritten)?;
        Layout::open(path).map_err(|error| BuildError::Output(error.to_string()))
    })
    .await?;
    stage.working("taking the image to where it is to go");
    Ok(carrier.carry(&layout).await?)
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
