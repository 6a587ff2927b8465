//! The stages in order. Each takes values and returns values; this file reads from top to bottom like the design's
//! picture.

use crate::artifacts::{self, Made};
use crate::decide::{keep, known, policy};
use crate::error::BuildError;
use crate::fat;
use crate::files::Files;
use crate::image;
use crate::observe;
use crate::observers::Observers;
use crate::origin;
use crate::outputs;
use crate::person::Person;
use crate::progress::{Progress, Stage, Story};
use crate::repair::Repairs;
use crate::rounds::{self, Proved, Proving};
use crate::seen::Seen;
use crate::settings::{Layers, Settings};
use crate::state::ImageState;
use crate::verify::{self, Bound};
use slim_engine::{Engine, Run};
use slim_image::SourceImage;
use slim_keep::{Level, Origin};
use slim_report::{BuildReport, VerificationResult, human};
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
    let work = build_stages(engine, settings, &story, person);
    leaving_nothing(engine, &settings.run, &story, person, work).await
}

/// Everything but the image: watches `settings.target` and writes what it would keep and allow.
///
/// # Errors
/// Why that is not known.
pub async fn profile(
    engine: &dyn Engine,
    settings: &Settings,
    progress: &dyn Progress,
    person: &dyn Person,
) -> Result<BuildReport, BuildError> {
    let story = Story::new(progress);
    let work = profile_stages(engine, settings, &story, person);
    leaving_nothing(engine, &settings.run, &story, person, work).await
}

/// Policy and run contract for `settings.target`, which stays as it is: proved by running it under both.
///
/// # Errors
/// Why there are none.
pub async fn harden(
    engine: &dyn Engine,
    settings: &Settings,
    progress: &dyn Progress,
    person: &dyn Person,
) -> Result<BuildReport, BuildError> {
    let story = Story::new(progress);
    let work = harden_stages(engine, settings, &story, person);
    leaving_nothing(engine, &settings.run, &story, person, work).await
}

/// Does the work, unless the person gives it up, and removes everything of this run from the engine.
pub(crate) async fn leaving_nothing<T>(
    engine: &dyn Engine,
    run: &Run,
    story: &Story<'_>,
    person: &dyn Person,
    work: impl Future<Output = Result<T, BuildError>>,
) -> Result<T, BuildError> {
    let outcome = tokio::select! {
        outcome = work => outcome,
        () = person.interrupted() => Err(BuildError::Interrupted),
    };
    for error in slim_engine::remove_run(engine, run).await {
        story.notice(format!("could not clean up: failed to {error}"));
    }
    outcome
}

async fn build_stages(
    engine: &dyn Engine,
    settings: &Settings,
    story: &Story<'_>,
    person: &dyn Person,
) -> Result<BuildReport, BuildError> {
    let (source, observers) = inspect(engine, settings, story).await?;
    let work = build_watched(engine, &observers, settings, story, person, source);
    observers.or_lost(engine, work).await
}

async fn build_watched(
    engine: &dyn Engine,
    observers: &Observers,
    settings: &Settings,
    story: &Story<'_>,
    person: &dyn Person,
    source: SourceImage,
) -> Result<BuildReport, BuildError> {
    let names = image::names(settings, &source)?;
    let (seen, files) = watch(engine, observers, settings, story, person, source).await?;
    let (files, made) =
        rounds::rounds(engine, observers, settings, story, &seen, files, Proving::Slim).await?;
    let Proved { kept, policies, bound, loaded, verification } = made;
    let loaded = loaded.ok_or_else(|| BuildError::Bug("no slim image was made".to_owned()))?;
    let written = outputs::write(settings, story, Arc::clone(&loaded.image), &names).await?;
    let (files, owners) = files.owners().await?;
    files.close(engine).await;
    let slim = Some(loaded.named(names.clone()));
    let made = Made { command: "build", seen, kept, policies, bound, slim, verification, files, owners };
    let report = artifacts::write(settings, story, made)?;
    // Last of all: a name that moves says that everything else is there.
    image::tag(engine, &loaded, &names).await?;
    Ok(BuildReport { outputs: written, ..report })
}

async fn profile_stages(
    engine: &dyn Engine,
    settings: &Settings,
    story: &Story<'_>,
    person: &dyn Person,
) -> Result<BuildReport, BuildError> {
    let (source, observers) = inspect(engine, settings, story).await?;
    let watching = watch(engine, &observers, settings, story, person, source);
    let (seen, files) = observers.or_lost(engine, watching).await?;
    let nothing = Repairs::default();
    let (files, kept) = keep(settings, story, &seen, files, &nothing).await?;
    let (files, of_files) = known(&seen, files, &kept, None).await?;
    let policies = policy(settings, story, &seen, &of_files, &nothing).await?;
    let verification = verify::not_run(VerificationResult::NoImage, "no image was made");
    let bound = Bound::presumed(&policies);
    let proved = Proved { kept, policies, bound, loaded: None, verification };
    without_image(engine, settings, story, "profile", seen, files, proved).await
}

async fn harden_stages(
    engine: &dyn Engine,
    settings: &Settings,
    story: &Story<'_>,
    person: &dyn Person,
) -> Result<BuildReport, BuildError> {
    let (source, observers) = inspect(engine, settings, story).await?;
    let proving = async {
        let (seen, files) = watch(engine, &observers, settings, story, person, source).await?;
        let (files, made) =
            rounds::rounds(engine, &observers, settings, story, &seen, files, Proving::Fat).await?;
        Ok((seen, files, made))
    };
    let (seen, files, made) = observers.or_lost(engine, proving).await?;
    without_image(engine, settings, story, "harden", seen, files, made).await
}

/// Writes what `command` has found out of an image that stays as it is.
async fn without_image(
    engine: &dyn Engine,
    settings: &Settings,
    story: &Story<'_>,
    command: &'static str,
    seen: Seen,
    files: Files,
    proved: Proved,
) -> Result<BuildReport, BuildError> {
    let Proved { kept, policies, bound, verification, .. } = proved;
    let (files, owners) = files.owners().await?;
    files.close(engine).await;
    let made = Made { command, seen, kept, policies, bound, slim: None, verification, files, owners };
    artifacts::write(settings, story, made)
}

async fn inspect(
    engine: &dyn Engine,
    settings: &Settings,
    story: &Story<'_>,
) -> Result<(SourceImage, Observers), BuildError> {
    let stage = story.begin(Stage::Inspect);
    let description = engine.describe().await?;
    let runs_the_program = settings.from_trace.is_none() || !settings.verify.is_off();
    let observers = if runs_the_program {
        Observers::choose(engine, &description, settings, story).await?
    } else {
        Observers::Local
    };
    let source = fat::find(engine, settings, &stage).await?;
    settings.launch.check_machine(&source.reference, &source.architecture)?;
    let (id, layers) = (source.id.to_string(), observe::layers(&source));
    if let Some(trace) = settings.from_trace.as_ref().filter(|trace| !trace.is_of(&id, &layers)) {
        return Err(BuildError::Usage(format!(
            "use the trace: it is of the image {}, and {} is {}",
            trace.image, source.reference, source.id
        )));
    }
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
    Ok((source, observers))
}

/// Watches a run of the fat image. The listing of its files is made meanwhile: nobody waits for it.
async fn watch(
    engine: &dyn Engine,
    observers: &Observers,
    settings: &Settings,
    story: &Story<'_>,
    person: &dyn Person,
    source: SourceImage,
) -> Result<(Seen, Files), BuildError> {
    let state = ImageState::open(&settings.state_path, &source.id)?;
    let origin = match (settings.keep.level, settings.layers) {
        (Level::Observed, Layers::Flat) => Origin::default(),
        _ => origin::find(engine, &source).await,
    };
    let (files, observation) = tokio::try_join!(
        Files::open(engine, settings, &source, &state),
        observe::observe(engine, observers, settings, &source, story, person),
    )?;
    Ok((Seen { source, origin, state, observation }, files))
}
