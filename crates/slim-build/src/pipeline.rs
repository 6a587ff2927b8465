//! The stages in order. Each takes values and returns values; this file reads from top to bottom like the design's
//! picture.

use crate::artifacts::{self, Made};
use crate::error::BuildError;
use crate::files::Files;
use crate::image::{self, Loaded};
use crate::observe::{self, Observation};
use crate::person::Person;
use crate::policy::{self, Policies};
use crate::progress::{Progress, Stage, Story};
use crate::settings::Settings;
use crate::state::ImageState;
use crate::verify::{self, Check, Plan, Verdict};
use slim_engine::{Engine, Run};
use slim_image::SourceImage;
use slim_keep::KeepSet;
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
    let source = inspect(engine, settings, story).await?;
    let names = image::names(settings, &source)?;
    let (seen, files) = watch(engine, settings, story, person, source).await?;
    let (files, round) = rounds(engine, settings, story, &seen, files).await?;
    let Round { kept, policies, loaded, verdict } = round;
    let verification = match verdict {
        Verdict::Same(report) => report,
        Verdict::Different { differences, log } => {
            let differences = differences.iter().map(ToString::to_string).collect();
            return Err(BuildError::Verification { image: seen.source.reference, differences, log });
        }
    };
    let owners = files.owners();
    let (slim, ()) = tokio::join!(image::tag(engine, loaded, names), files.close(engine));
    let slim = Some(slim?);
    artifacts::write(settings, story, Made { seen, kept, policies, slim, verification, files, owners })
}

async fn profile_stages(
    engine: &dyn Engine,
    settings: &Settings,
    story: &Story<'_>,
    person: &dyn Person,
) -> Result<BuildReport, BuildError> {
    let source = inspect(engine, settings, story).await?;
    let (seen, files) = watch(engine, settings, story, person, source).await?;
    let (files, kept) = keep(settings, story, &seen, files).await?;
    let (files, policies) = policy(settings, story, &seen, files, &kept).await?;
    let owners = files.owners();
    files.close(engine).await;
    let verification = verify::not_run(VerificationResult::NoImage, "no image was made");
    artifacts::write(settings, story, Made { seen, kept, policies, slim: None, verification, files, owners })
}

/// What is known of the fat image and its program.
pub struct Seen {
    pub source: SourceImage,
    pub state: ImageState,
    pub observation: Observation,
}

/// Makes slim images until one does what the fat one does, as far as that is asked for. One round for now: what it finds
/// different ends the build. (A repair would let the keep-set grow and go round again.)
async fn rounds(
    engine: &dyn Engine,
    settings: &Settings,
    story: &Story<'_>,
    seen: &Seen,
    files: Files,
) -> Result<(Files, Round), BuildError> {
    let plan = Plan::of(settings, &seen.source, &seen.observation);
    let (reference, second_run) = verify::reference(engine, settings, &seen.source, story, &plan);
    let fat = &seen.observation.behaviour;
    let check = settings.verify.then_some(Check { engine, settings, plan: &plan, fat, reference });
    let making = async {
        let (files, kept) = keep(settings, story, seen, files).await?;
        round(engine, settings, story, seen, check.as_ref(), files, kept).await
    };
    if settings.verify {
        // The fat program's second run goes on meanwhile.
        return Ok(tokio::try_join!(making, second_run)?.0);
    }
    story.notice("--verify=off: the slim image gets its name without having been run");
    making.await
}

/// What came of one keep-set.
struct Round {
    kept: Arc<KeepSet>,
    policies: Policies,
    loaded: Loaded,
    verdict: Verdict,
}

/// Keep-set → policy → image → verdict. The image is in the engine then, under a temporary name.
async fn round(
    engine: &dyn Engine,
    settings: &Settings,
    story: &Story<'_>,
    seen: &Seen,
    check: Option<&Check<'_>>,
    files: Files,
    kept: Arc<KeepSet>,
) -> Result<(Files, Round), BuildError> {
    let (files, policies) = policy(settings, story, seen, files, &kept).await?;
    let stage = story.begin(Stage::Image);
    let (files, image) = image::write(settings, &stage, &seen.source, &seen.state, files, &kept).await?;
    let loaded = image::load(engine, settings, &stage, &image).await?;
    stage.done(format!("{}, one layer, {}", human(loaded.size), image.id().short()));
    let Some(check) = check else {
        let verdict = Verdict::Same(verify::not_run(VerificationResult::Off, "off (--verify=off)"));
        return Ok((files, Round { kept, policies, loaded, verdict }));
    };
    let stage = story.begin(Stage::Verify);
    let verdict = check.verdict(&stage, &loaded.id, &policies.seccomp).await?;
    stage.done(match &verdict {
        Verdict::Same(report) => format!("under its seccomp profile: {}", report.told),
        Verdict::Different { differences, .. } => {
            format!("under its seccomp profile: {} different from the fat image", differences.len())
        }
    });
    Ok((files, Round { kept, policies, loaded, verdict }))
}

async fn inspect(
    engine: &dyn Engine,
    settings: &Settings,
    story: &Story<'_>,
) -> Result<SourceImage, BuildError> {
    let stage = story.begin(Stage::Inspect);
    let description = engine.describe().await?;
    let runs_the_program = settings.from_trace.is_none() || settings.verify;
    if !description.local && runs_the_program {
        return Err(BuildError::Usage(format!(
            "watch containers of {}: the engine runs on another machine",
            description.endpoint
        )));
    }
    if settings.from_trace.is_none() {
        tokio::task::spawn_blocking(slim_sensor::preflight)
            .await
            .map_err(|error| BuildError::Bug(format!("the preflight stopped: {error}")))??;
    }
    let source = engine.inspect_image(&settings.target).await?;
    if let Some(trace) = settings.from_trace.as_ref().filter(|trace| trace.image != source.id.to_string()) {
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
    Ok(source)
}

/// Watches a run of the fat image. The listing of its files is made meanwhile: nobody waits for it.
async fn watch(
    engine: &dyn Engine,
    settings: &Settings,
    story: &Story<'_>,
    person: &dyn Person,
    source: SourceImage,
) -> Result<(Seen, Files), BuildError> {
    let state = ImageState::open(&settings.state_path, &source.id)?;
    let (files, observation) = tokio::try_join!(
        Files::open(engine, settings, &source, &state),
        observe::observe(engine, settings, &source, story, person),
    )?;
    Ok((Seen { source, state, observation }, files))
}

async fn keep(
    settings: &Settings,
    story: &Story<'_>,
    seen: &Seen,
    files: Files,
) -> Result<(Files, Arc<KeepSet>), BuildError> {
    let stage = story.begin(Stage::Keep);
    let keep_settings = settings.keep.clone();
    let config = seen.observation.effective_config(&seen.source, settings);
    let trace = Arc::clone(&seen.observation.trace);
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
        human(seen.source.size)
    ));
    for note in &kept.notes {
        story.notice(note.to_string());
    }
    Ok((files, kept))
}

async fn policy(
    settings: &Settings,
    story: &Story<'_>,
    seen: &Seen,
    files: Files,
    kept: &Arc<KeepSet>,
) -> Result<(Files, Policies), BuildError> {
    let stage = story.begin(Stage::Policy);
    let config = seen.observation.effective_config(&seen.source, settings);
    let name = policy::file_stem(settings, &seen.source);
    let overrides = settings.container.clone();
    let (trace, kept) = (Arc::clone(&seen.observation.trace), Arc::clone(kept));
    let (files, policies) = crate::error::blocking(move || {
        let policies = policy::decide(&name, &config, &overrides, &trace, files.tree(), &kept)?;
        Ok((files, policies))
    })
    .await?;
    stage.done(policies.told());
    if !policies.policy.inexpressible.is_empty() {
        let calls: Vec<&str> = policies.policy.inexpressible.iter().map(String::as_str).collect();
        story.notice(format!("no profile can allow system calls without a name: {}", calls.join(", ")));
    }
    Ok((files, policies))
}
