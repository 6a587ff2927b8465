//! Writes what a build leaves for people and tools to read, and draws up the report.

use crate::error::BuildError;
use crate::image::Slim;
use crate::observe::Observation;
use crate::pipeline::Seen;
use crate::policy::{self, Policies};
use crate::progress::{Stage, Story};
use crate::settings::Settings;
use crate::state::write_whole;
use slim_keep::KeepSet;
use slim_policy::{Refused, RefusedBecause, RunSpec, UNTRACED_RUNTIMES, runtime_sets};
use slim_report::{
    BuildReport, ImageReport, KeepReport, ObservationReport, PolicyReport, StageReport, VerificationReport,
};
use slim_trace::{Phase, Transport};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything the stages before this one made.
pub struct Made {
    pub seen: Seen,
    pub kept: Arc<KeepSet>,
    pub policies: Policies,
    /// `None` where no image was asked for.
    pub slim: Option<Slim>,
    pub verification: VerificationReport,
    pub fat_entries: usize,
}

/// Writes the artifacts and gives the report.
///
/// # Errors
/// When a file cannot be written.
pub fn write(settings: &Settings, story: &Story<'_>, made: Made) -> Result<BuildReport, BuildError> {
    let stage = story.begin(Stage::Artifacts);
    let state = &made.seen.state;
    let observation = &made.seen.observation;
    let profiles = Profiles::of(&policy::file_stem(settings, &made.seen.source));
    let mut artifacts = vec![
        ("trace.json".to_owned(), observation.trace.to_json()),
        ("keep.json".to_owned(), made.kept.to_json()),
        (profiles.seccomp.clone(), made.policies.seccomp.clone().into_bytes()),
        (profiles.apparmor.clone(), made.policies.apparmor.clone().into_bytes()),
        (profiles.run.clone(), run_settings(&made.policies.run_spec)),
    ];
    if let Some(recording) = &observation.behaviour.answers {
        artifacts.push(("recording.json".to_owned(), recording.to_json()));
    }
    for (name, bytes) in &artifacts {
        state.write_artifact(name, bytes)?;
    }
    let names: Vec<String> = artifacts.into_iter().map(|(name, _)| name).collect();
    let folder = state.artifacts();
    if let Some(copy) = &settings.copy_meta_artifacts {
        copy_artifacts(&folder, copy, &names)?;
    }
    stage.done(format!("{} in {}", names.join(", "), folder.display()));
    Ok(report(story, made, &profiles, folder, names))
}

/// File names of the profiles.
struct Profiles {
    seccomp: String,
    apparmor: String,
    run: String,
}

impl Profiles {
    fn of(stem: &str) -> Self {
        Self {
            seccomp: format!("{stem}-seccomp.json"),
            apparmor: format!("{stem}-apparmor-profile"),
            run: format!("{stem}-run.json"),
        }
    }
}

/// The run settings as a versioned file, with the options of `docker run` spelt out.
fn run_settings(run_spec: &RunSpec) -> Vec<u8> {
    let value = serde_json::json!({ "version": 1, "settings": run_spec, "options": run_spec.options() });
    format!("{value:#}\n").into_bytes()
}

fn copy_artifacts(from: &Path, to: &Path, names: &[String]) -> Result<(), BuildError> {
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
    profiles: &Profiles,
    artifacts_folder: PathBuf,
    artifacts: Vec<String>,
) -> BuildReport {
    let Made { seen: Seen { source, observation, .. }, kept, policies, slim, verification, fat_entries } =
        made;
    let figures = kept.figures();
    BuildReport {
        version: slim_report::VERSION,
        generator: concat!("docker-slim ", env!("CARGO_PKG_VERSION")).to_owned(),
        command: if slim.is_some() { "build" } else { "profile" }.to_owned(),
        factor: slim.as_ref().map(|slim| slim_report::factor(source.size, slim.size)),
        source: ImageReport {
            names: vec![source.reference],
            id: source.id.to_string(),
            size: source.size,
            entries: fat_entries,
        },
        slim: slim.map(|slim| ImageReport {
            names: slim.names,
            id: slim.id,
            size: slim.size,
            entries: kept.entries.len(),
        }),
        observation: observed(&observation),
        exercise: observation.exercised.report,
        keep: KeepReport {
            files: figures.files,
            directories: figures.directories,
            links: figures.links,
            bytes: figures.bytes,
            reasons: figures.reasons,
        },
        policy: policy_report(&policies, profiles),
        verification,
        stages: story
            .times()
            .into_iter()
            .map(|(stage, took)| StageReport {
                stage: stage.to_string(),
                milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            })
            .collect(),
        artifacts_folder,
        artifacts,
        notices: story.notices(),
    }
}

fn policy_report(policies: &Policies, profiles: &Profiles) -> PolicyReport {
    let policy = &policies.policy;
    let is_tried = |refused: &&Refused| matches!(refused.because, RefusedBecause::OnlyEverRefused { .. });
    let left_out: Vec<String> =
        UNTRACED_RUNTIMES.iter().map(|(runtime, why)| format!("{runtime} ({why})")).collect();
    PolicyReport {
        system_calls_allowed: policy.allowed.len(),
        system_calls_made: policies.made_by_program(),
        system_calls_refused: policy
            .refused
            .iter()
            .filter(is_tried)
            .map(|refused| refused.system_call.clone())
            .collect(),
        system_calls_inexpressible: policy.inexpressible.iter().cloned().collect(),
        runtimes: runtime_sets()
            .iter()
            .map(|set| format!("{} {}", set.runtime, set.runtime_version))
            .collect(),
        runtimes_left_out: format!("not traced, and so not in the profile: {}", left_out.join(", ")),
        seccomp_profile: profiles.seccomp.clone(),
        apparmor_profile: profiles.apparmor.clone(),
        run_options: policies.run_spec.options(),
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
