//! `docker-slim build`, one slim image of one fat one, and `docker-slim profile`, the same without the image.

use super::choice::Wanted;
use super::fat_image;
use super::with_engine::with_engine;
use crate::arguments::{BuildArguments, GlobalArguments, OutputFormat, ProfileArguments};
use crate::failure::Failure;
use crate::settings::{self, FatImage, Work};
use slim_build::BuildError;
use slim_engine::Engine;
use slim_image::location::EngineKind;
use slim_report::BuildReport;
use std::fs;
use std::io::Write;
use std::path::Path;

/// What comes of the observation.
#[derive(Clone, Copy)]
pub(super) enum Outcome {
    Image,
    /// Policy and run contract, proved on the fat image.
    Contract,
    ProfileOnly,
}

/// Builds, writes the report and prints the result.
pub fn build(global: &GlobalArguments, arguments: &BuildArguments) -> Result<(), Failure> {
    run(global, &settings::build(global, arguments)?, Outcome::Image)
}

/// Profiles, writes the report and prints the result.
pub fn profile(global: &GlobalArguments, arguments: &ProfileArguments) -> Result<(), Failure> {
    run(global, &settings::profile(global, arguments)?, Outcome::ProfileOnly)
}

pub(super) fn run(global: &GlobalArguments, work: &Work, outcome: Outcome) -> Result<(), Failure> {
    let mut report = with_engine(
        global,
        &work.settings.run,
        wanted(&work.fat_image),
        async |engine, terminal, outside| {
            let worked = async {
                let settings = fat_image::prepare(global, engine, work, terminal, outside).await?;
                Ok(match outcome {
                    Outcome::Image => slim_build::build(engine, &settings, terminal, outside).await?,
                    Outcome::Contract => slim_build::harden(engine, &settings, terminal, outside).await?,
                    Outcome::ProfileOnly => slim_build::profile(engine, &settings, terminal, outside).await?,
                })
            };
            let worked: Result<BuildReport, Failure> = worked.await;
            // Also after a failure, which is what is told then.
            let removed = remove_fat_image(engine, &work.fat_image).await;
            worked.and_then(|report| removed.map(|()| report))
        },
    )?;
    if work.remove_artifacts {
        remove_artifacts(&mut report, work.settings.copy_meta_artifacts.as_deref())?;
    }
    if let Some(path) = settings::report_path(global) {
        write_report(path, &report)?;
    }
    print(global, &report);
    Ok(())
}

/// What an engine is to have already.
fn wanted(fat_image: &FatImage) -> Wanted<'_> {
    match fat_image {
        FatImage::Held { reference, .. } => Wanted::Image(reference),
        FatImage::HeldBy { engine: EngineKind::Containerd, .. } => Wanted::Any,
        FatImage::HeldBy { engine, .. } => Wanted::HeldBy(*engine),
        _ => Wanted::Any,
    }
}

async fn remove_fat_image(engine: &dyn Engine, fat_image: &FatImage) -> Result<(), Failure> {
    match fat_image {
        FatImage::Built(recipe) if recipe.delete => {
            engine.untag(&recipe.name).await.map_err(|error| Failure::from(BuildError::from(error)))
        }
        _ => Ok(()),
    }
}

/// Removes the image's folder below the state path; the report then names the copies, if there are any.
fn remove_artifacts(report: &mut BuildReport, copies: Option<&Path>) -> Result<(), Failure> {
    if let Some(folder) = report.artifacts_folder.parent() {
        fs::remove_dir_all(folder).map_err(|error| {
            Failure::new(format!("remove the artifacts in {}: {error}", folder.display()), 1)
        })?;
        // Folders of other images stay, and with them the folder of all.
        let _ = folder.parent().map(fs::remove_dir);
    }
    match copies {
        Some(copies) => report.artifacts_folder = copies.to_owned(),
        None => report.artifacts.clear(),
    }
    Ok(())
}

fn write_report(path: &Path, report: &BuildReport) -> Result<(), Failure> {
    let text = serde_json::to_vec_pretty(report).expect("a report has string keys only");
    slim_build::write_whole(path, |file| {
        file.write_all(&text)?;
        file.write_all(b"\n")
    })
    .map_err(|error| Failure::from(error).with_hint("--report names another file, or off"))
}

fn print(global: &GlobalArguments, report: &BuildReport) {
    let text = match global.output_format {
        OutputFormat::Json => serde_json::to_string_pretty(report).expect("a report has string keys only"),
        OutputFormat::Text if global.quiet => return,
        OutputFormat::Text => report.summary(),
    };
    // Nobody is left to be told when stdout is closed.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
