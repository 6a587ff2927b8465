//! The fat image in the engine: held there already, or brought there from files for as long as the run lasts.
//!
//! Invariant: what is brought has a temporary name of this run, and goes with it. An image that the engine holds anyway is
//! used as it is, and stays.

use crate::error::BuildError;
use crate::progress::Running;
use crate::settings::{FatFiles, Settings};
use crate::stream;
use slim_engine::{Engine, TEMPORARY_REPOSITORY};
use slim_image::{Platform, Reference, SourceImage};
use std::sync::Arc;

/// Finds the fat image, or brings it.
///
/// # Errors
/// When there is none, the engine refuses it, or it is for another platform than the one asked for.
pub async fn find(
    engine: &dyn Engine,
    settings: &Settings,
    stage: &Running<'_>,
) -> Result<SourceImage, BuildError> {
    let source = match &settings.fat_files {
        Some(files) => bring(engine, settings, files, stage).await?,
        None => engine.inspect_image(&settings.target).await?,
    };
    let own =
        Platform { variant: source.variant.clone(), ..Platform::new(&*source.os, &*source.architecture) };
    match settings.platform.as_ref().filter(|wanted| wanted.distance(&own).is_none()) {
        Some(wanted) => Err(BuildError::Usage(format!(
            "use {}: it is for {}, --platform says {wanted}",
            source.reference,
            own.normal()
        ))),
        None => Ok(source),
    }
}

async fn bring(
    engine: &dyn Engine,
    settings: &Settings,
    files: &FatFiles,
    stage: &Running<'_>,
) -> Result<SourceImage, BuildError> {
    let temporary = settings.run.temporary_reference("fat");
    let mut source = if let Some(id) = held_as(engine, files).await? {
        let held = engine.inspect_image(&id).await?;
        // Whoever has it named may take that name away meanwhile; an image without any would go with ours.
        if !held.tags.is_empty() {
            engine.tag(&id, &temporary).await?;
        }
        held
    } else {
        stage.working("loading the fat image into the engine");
        let name: Reference = temporary
            .parse()
            .map_err(|error| BuildError::Bug(format!("name the image for a while: {error}")))?;
        let image = Arc::clone(&files.image);
        engine.load_image(stream::written_by(move |output| image.write_archive(output, &[name]))).await?;
        engine.inspect_image(&temporary).await?
    };
    source.tags.retain(|name| !name.starts_with(TEMPORARY_REPOSITORY));
    source.reference = files.name.clone().unwrap_or_else(|| source.id.to_string());
    source.tags.extend(files.name.clone());
    Ok(source)
}

/// The id that the engine knows the image by, if it has it: Docker's own store goes by the configuration's digest,
/// containerd's, which Docker may use, by the manifest's.
async fn held_as(engine: &dyn Engine, files: &FatFiles) -> Result<Option<String>, BuildError> {
    for id in [Some(files.image.id()), files.image.manifest_digest()].into_iter().flatten() {
        if engine.image_exists(&id.to_string()).await? {
            return Ok(Some(id.to_string()));
        }
    }
    Ok(None)
}
