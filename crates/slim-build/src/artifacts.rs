//! Writes what a build leaves for people and tools to read, and draws up the report.

use crate::error::BuildError;
use crate::image::Slim;
use crate::observe::Observation;
use crate::progress::{Stage, Story};
use crate::settings::Settings;
use crate::state::{ImageState, write_whole};
use slim_image::SourceImage;
use slim_keep::KeepSet;
use slim_report::{BuildReport, ImageReport, KeepReport, ObservationReport, StageReport};
use slim_trace::{Phase, Transport};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::Arc;

/// Everything the stages before this one made.
pub struct Made {
    pub source: SourceImage,
    pub observation: Observation,
    pub kept: Arc<KeepSet>,
    pub slim: Slim,
    pub fat_entries: usize,
}

/// Writes the artifacts and gives the report.
///
/// # Errors
/// When a file cannot be written.
pub fn write(
    settings: &Settings,
    story: &Story<'_>,
    state: &ImageState,
    made: Made,
) -> Result<BuildReport, BuildError> {
    let stage = story.begin(Stage::Artifacts);
    let mut names = vec!["trace.json", "keep.json"];
    state.write_artifact("trace.json", &made.observation.trace.to_json())?;
    state.write_artifact("keep.json", &made.kept.to_json())?;
    if let Some(recording) = &made.observation.exercised.recording {
        state.write_artifact("recording.json", &recording.to_json())?;
        names.push("recording.json");
    }
    let folder = state.artifacts();
    if let Some(copy) = &settings.copy_meta_artifacts {
        copy_artifacts(&folder, copy, &names)?;
    }
    stage.done(format!("{} in {}", names.join(", "), folder.display()));
    Ok(report(story, made, folder, &names))
}

fn copy_artifacts(from: &Path, to: &Path, names: &[&str]) -> Result<(), BuildError> {
    let failed = |action, path: &Path| {
        let path = path.to_owned();
        move |source| BuildError::State { action, path, source }
    };
    fs::create_dir_all(to).map_err(failed("make folder", to))?;
    for name in names {
        let mut file = fs::File::open(from.join(name)).map_err(failed("read", &from.join(name)))?;
        write_whole(&to.join(name), |copy| std::io::copy(&mut file, copy).map(drop))?;
    }
    Ok(())
}

fn report(
    story: &Story<'_>,
    made: Made,
    artifacts_folder: std::path::PathBuf,
    names: &[&str],
) -> BuildReport {
    let Made { source, observation, kept, slim, fat_entries } = made;
    let figures = kept.figures();
    BuildReport {
        version: slim_report::VERSION,
        generator: concat!("docker-slim ", env!("CARGO_PKG_VERSION")).to_owned(),
        command: "build".to_owned(),
        factor: slim_report::factor(source.size, slim.size),
        source: ImageReport {
            names: vec![source.reference],
            id: source.id.to_string(),
            size: source.size,
            entries: fat_entries,
        },
        slim: ImageReport { names: slim.names, id: slim.id, size: slim.size, entries: kept.entries.len() },
        observation: observed(&observation),
        exercise: observation.exercised.report,
        keep: KeepReport {
            files: figures.files,
            directories: figures.directories,
            links: figures.links,
            bytes: figures.bytes,
            reasons: figures.reasons,
        },
        verification: "off".to_owned(),
        stages: story
            .times()
            .into_iter()
            .map(|(stage, took)| StageReport {
                stage: stage.to_string(),
                milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            })
            .collect(),
        artifacts_folder,
        artifacts: names.iter().map(|name| (*name).to_owned()).collect(),
        notices: story.notices(),
    }
}

fn observed(observation: &Observation) -> ObservationReport {
    let trace = &observation.trace;
    let calls: BTreeSet<&String> = trace
        .system_calls
        .iter()
        .filter(|calls| !matches!(calls.phase, Phase::Runtime | Phase::RuntimeFiltered))
        .flat_map(|calls| &calls.calls)
        .collect();
    let listening: BTreeSet<String> = trace
        .listening
        .iter()
        .map(|listening| match listening.transport {
            Transport::Tcp => format!("tcp/{}", listening.port),
            Transport::Udp => format!("udp/{}", listening.port),
        })
        .collect();
    ObservationReport {
        processes: trace.processes.iter().filter(|process| process.executable.is_some()).count(),
        paths: trace.files.len(),
        system_calls: calls.len(),
        listening: listening.into_iter().collect(),
        exit_code: observation.exit_code,
        ended_by_itself: observation.exercised.ended_by_itself,
        repeated: observation.repeated,
    }
}
