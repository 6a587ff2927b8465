//! The stages in order. Each takes values and returns values; this file reads from top to bottom like the design's
//! picture.

use crate::artifacts::{self, Made};
use crate::error::BuildError;
use crate::files::Files;
use crate::image;
use crate::observe::{self, Observation};
use crate::person::Person;
use crate::progress::{Progress, Stage, Story};
use crate::settings::Settings;
use crate::state::ImageState;
use slim_engine::Engine;
use slim_image::SourceImage;
use slim_report::{BuildReport, human};
use std::sync::Arc;

/// Makes a slim image of `settings.target` and leaves nothing else behind, whatever happens.
///
/// # Errors
/// Why there is no slim image; the tag it would have got still names what it named before.
pub async fn build(
    engine: &dyn Engine,
    settings: &Settings,
    progress: &dyn Progress,
    person: &dyn Person,
) -> Result<BuildReport, BuildError> {
    let story = Story::new(progress);
    let outcome = tokio::select! {
        outcome = stages(engine, settings, &story, person) => outcome,
        () = person.interrupted() => Err(BuildError::Interrupted),
    };
    for error in slim_engine::remove_run(engine, &settings.run).await {
        story.notice(format!("could not clean up: failed to {error}"));
    }
    outcome
}

async fn stages(
    engine: &dyn Engine,
    settings: &Settings,
    story: &Story<'_>,
    person: &dyn Person,
) -> Result<BuildReport, BuildError> {
    let source = inspect(engine, settings, story).await?;
    let state = ImageState::open(&settings.state_path, &source.id)?;
    // The listing of the fat image is made while the program runs: nobody waits for it.
    let (files, observation) = tokio::try_join!(
        Files::open(engine, settings, &source, &state),
        observe::observe(engine, settings, &source, story, person),
    )?;
    let (files, kept) = keep(settings, story, &source, files, &observation).await?;
    let stage = story.begin(Stage::Image);
    let (files, image) = image::write(settings, &stage, &source, &state, files, &kept).await?;
    files.close(engine).await;
    let slim = image::load(engine, settings, &stage, &source, &image).await?;
    stage.done(format!("{} {}, one layer, {}", slim.names.join(", "), human(slim.size), image.id().short()));
    artifacts::write(
        settings,
        story,
        &state,
        Made { source, observation, kept, slim, fat_entries: files.entries() },
    )
}

async fn inspect(
    engine: &dyn Engine,
    settings: &Settings,
    story: &Story<'_>,
) -> Result<SourceImage, BuildError> {
    let stage = story.begin(Stage::Inspect);
    let description = engine.describe().await?;
    if !description.local {
        return Err(BuildError::Usage(format!(
            "watch containers of {}: the engine runs on another machine",
            description.endpoint
        )));
    }
    tokio::task::spawn_blocking(slim_sensor::preflight)
        .await
        .map_err(|error| BuildError::Bug(format!("the preflight stopped: {error}")))??;
    for error in slim_engine::sweep(engine, &settings.run).await.errors {
        story.notice(format!("could not remove what a dead run left: failed to {error}"));
    }
    let source = engine.inspect_image(&settings.target).await?;
    if source.config.command_line().is_empty()
        && settings.container.entrypoint.is_none()
        && settings.container.cmd.is_none()
    {
        return Err(BuildError::ContainerDied {
            image: source.reference,
            what: "the image names no command (neither ENTRYPOINT nor CMD)".to_owned(),
            log: String::new(),
        });
    }
    stage.done(format!(
        "{} {}, {}, {} {}",
        source.reference,
        human(source.size),
        source.architecture,
        description.name,
        description.version
    ));
    Ok(source)
}

async fn keep(
    settings: &Settings,
    story: &Story<'_>,
    source: &SourceImage,
    files: Files,
    observation: &Observation,
) -> Result<(Files, Arc<slim_keep::KeepSet>), BuildError> {
    let stage = story.begin(Stage::Keep);
    let (keep_settings, config) = (settings.keep.clone(), observation.effective_config(source, settings));
    let trace = Arc::clone(&observation.trace);
    let (files, kept) = crate::error::blocking(move || {
        let kept = slim_keep::keep(&trace, files.tree(), &config, &keep_settings)?;
        Ok((files, Arc::new(kept)))
    })
    .await?;
    let figures = kept.figures();
    stage.done(format!(
        "{} of {} files, directories and links, {} of {}",
        kept.entries.len(),
        files.entries(),
        human(figures.bytes),
        human(source.size)
    ));
    for note in &kept.notes {
        story.notice(note.to_string());
    }
    Ok((files, kept))
}
