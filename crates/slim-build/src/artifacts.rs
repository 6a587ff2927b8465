//! Writes what a build leaves for people and tools to read, and draws up the report.

use crate::error::BuildError;
use crate::files::Files;
use crate::image::Slim;
use crate::observe::Observation;
use crate::policy::{self, Policies};
use crate::policy_files::{CONTRACT_FILE, LAUNCH_FILE, forget_policies_but};
use crate::progress::{Stage, Story};
use crate::seen::Seen;
use crate::settings::Settings;
use crate::state::write_whole;
use crate::verify::Bound;
use slim_image::SourceImage;
use slim_keep::{ImageNames, KEEP_FILE, KeepFile, KeepSet, Packages, REMOVED_FILE, RemovedFile, Shares};
use slim_policy::{
    CONTRACT_VERSION, Counts, Dangerous, Forms, POLICY_FILE, Refused, RefusedBecause, UNTRACED_RUNTIMES,
    runtime_sets,
};
use slim_report::{
    BuildReport, CeilingReport, ContractReport, DangerousReport, ImageReport, KeepReport, ModesReport,
    ObservationReport, PolicyReport, SharesReport, StageReport, UnseenReport, VerificationReport,
};
use slim_trace::{Phase, Transport};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Everything the stages before this one made.
pub struct Made {
    /// The command that made it.
    pub command: &'static str,
    pub seen: Seen,
    pub kept: Arc<KeepSet>,
    pub policies: Policies,
    pub bound: Bound,
    /// `None` where no image was asked for.
    pub slim: Option<Slim>,
    pub verification: VerificationReport,
    /// The fat image's; nothing is read from them any more.
    pub files: Files,
    /// Whose they are.
    pub owners: Arc<Packages>,
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
    let (keep, removed) = kept_and_removed(settings, &made)?;
    let shares = Shares::of(&made.kept, &removed);
    let mut artifacts = vec![
        ("trace.json".to_owned(), observation.trace.to_json()),
        (KEEP_FILE.to_owned(), keep.to_json()),
        (REMOVED_FILE.to_owned(), removed.to_json()),
        (POLICY_FILE.to_owned(), made.policies.file.to_json()),
        (profiles.seccomp.clone(), made.policies.seccomp.clone().into_bytes()),
        (
            profiles.apparmor.clone(),
            made.policies.apparmor(&observation.trace, &made.bound.contract).into_bytes(),
        ),
    ];
    if let Some(launched) = &made.policies.launched {
        artifacts.push((LAUNCH_FILE.to_owned(), launched.file.clone()));
        if let Some(tighter) = &launched.policy {
            artifacts.push((profiles.entrypoint.clone(), tighter.seccomp_json()));
        }
    }
    artifacts.extend(contract_files(&made, &profiles));
    if let Some(recording) = &observation.behaviour.answers {
        artifacts.push(("recording.json".to_owned(), recording.to_json()));
    }
    for (name, bytes) in &artifacts {
        state.write_artifact(name, bytes)?;
    }
    if let Some(path) = &settings.trace_out {
        write_whole(path, |file| file.write_all(&observation.trace.to_json()))?;
    }
    let names: Vec<String> = artifacts.into_iter().map(|(name, _)| name).collect();
    let folder = state.artifacts();
    forget_policies_but(&folder, &names)?;
    if let Some(copy) = &settings.copy_meta_artifacts {
        copy_artifacts(&folder, copy, &names)?;
    }
    stage.done(format!("{} in {}", names.join(", "), folder.display()));
    let mut report = report(settings, story, made, &profiles, folder, names);
    report.keep.shares = shares_report(shares);
    Ok(report)
}

fn shares_report(shares: Shares) -> SharesReport {
    let Shares { seen, needed, reachable, removed, untouched } = shares;
    let untouched = untouched.into_iter().map(|(path, bytes)| (path.to_string(), bytes)).collect();
    SharesReport { seen, needed, reachable, removed, untouched }
}

/// `keep.json` and `removed.json`.
fn kept_and_removed(settings: &Settings, made: &Made) -> Result<(KeepFile, RemovedFile), BuildError> {
    let (tree, owners) = (made.files.tree(), made.owners.as_ref());
    let image = image_names(&made.seen.source);
    let slim = made.slim.as_ref().map(|slim| {
        let id =
            slim.id.parse().map_err(|error| BuildError::Bug(format!("read the slim image's id: {error}")))?;
        Ok::<_, BuildError>(ImageNames { id, names: slim.names.clone() })
    });
    let removed = RemovedFile::new(image.clone(), &made.kept, tree, owners);
    let header = slim_keep::Made {
        image,
        slim: slim.transpose()?,
        level: settings.keep.level,
        exclude_patterns: &settings.keep.exclude_pattern,
        digests: made.slim.as_ref().map(|slim| &slim.contents),
    };
    Ok((KeepFile::new(&made.kept, &header, tree, owners), removed))
}

/// The fat image's names, and what it was asked for by.
fn image_names(source: &SourceImage) -> ImageNames {
    let asked_for = crate::image::fat_name(source).map(|name| name.with_tag().to_string());
    let names: BTreeSet<String> = source.tags.iter().cloned().chain(asked_for).collect();
    ImageNames { id: source.id, names: names.into_iter().collect() }
}

/// File names of the profiles.
struct Profiles {
    seccomp: String,
    apparmor: String,
    /// The tighter profile that the launcher installs.
    entrypoint: String,
    /// Name of the AppArmor profile.
    apparmor_name: String,
}

impl Profiles {
    fn of(stem: &str) -> Self {
        Self {
            seccomp: format!("{stem}-seccomp.json"),
            apparmor: format!("{stem}-apparmor-profile"),
            entrypoint: format!("{stem}-entrypoint-seccomp.json"),
            apparmor_name: slim_policy::profile_name(stem),
        }
    }
}

/// The contract as a versioned file, and as ready lines for who runs containers.
fn contract_files(made: &Made, profiles: &Profiles) -> Vec<(String, Vec<u8>)> {
    let contract = &made.bound.contract;
    let fat = made.seen.source.reference.clone();
    let image = made.slim.as_ref().and_then(|slim| slim.names.first().cloned()).unwrap_or(fat);
    let name = service_name(&image);
    let forms = Forms {
        contract,
        image: &image,
        name: &name,
        seccomp: &profiles.seccomp,
        apparmor: &profiles.apparmor_name,
        apparmor_file: &profiles.apparmor,
    };
    let value = serde_json::json!({
        "version": CONTRACT_VERSION,
        "image": image,
        "contract": contract,
        "seccomp": profiles.seccomp,
        "apparmor": { "profile": profiles.apparmor_name, "file": profiles.apparmor },
        "options": Forms::options(contract),
    });
    vec![
        (CONTRACT_FILE.to_owned(), format!("{value:#}\n").into_bytes()),
        ("run-contract.sh".to_owned(), forms.docker_run().into_bytes()),
        ("run-contract.compose.yaml".to_owned(), forms.compose().into_bytes()),
        ("run-contract.kubernetes.yaml".to_owned(), forms.kubernetes().into_bytes()),
        (format!("{name}.container"), forms.quadlet().into_bytes()),
    ]
}

/// What a service is called that runs the image: the last part of its name, in the letters that every tool takes.
fn service_name(image: &str) -> String {
    let last = image.rsplit('/').next().unwrap_or(image).split([':', '@']).next().unwrap_or_default();
    let plain: String = last
        .to_ascii_lowercase()
        .chars()
        .map(|character| if character.is_ascii_alphanumeric() { character } else { '-' })
        .collect();
    let plain = plain.trim_matches('-');
    if plain.is_empty() { "app".to_owned() } else { plain.to_owned() }
}

fn contract_report(bound: Bound) -> ContractReport {
    let told = bound.told();
    let Bound { contract, tries, refused } = bound;
    let ceiling = |ceiling: slim_policy::Ceiling| CeilingReport { peak: ceiling.peak, limit: ceiling.limit };
    let paths = |paths: Vec<&slim_image::ImagePath>| paths.into_iter().map(ToString::to_string).collect();
    ContractReport {
        file: CONTRACT_FILE.to_owned(),
        starts: contract.starts,
        user: contract.user.clone(),
        read_only: contract.read_only,
        tmpfs: paths(contract.tmpfs.keys().collect()),
        volumes: paths(contract.volumes.keys().collect()),
        refused_writes: paths(contract.refused_writes.iter().collect()),
        no_new_privileges: contract.no_new_privileges,
        capabilities: contract.capabilities.clone(),
        pids: contract.pids.map(ceiling),
        memory: contract.memory.map(ceiling),
        ports: contract.ports.iter().map(ToString::to_string).collect(),
        tries,
        refused,
        told,
    }
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
    settings: &Settings,
    story: &Story<'_>,
    made: Made,
    profiles: &Profiles,
    artifacts_folder: PathBuf,
    artifacts: Vec<String>,
) -> BuildReport {
    let Made { command, seen, kept, policies, bound, slim, verification, files, .. } = made;
    let Seen { source, observation, .. } = seen;
    let figures = kept.figures();
    BuildReport {
        version: slim_report::VERSION,
        generator: concat!("docker-slim ", env!("CARGO_PKG_VERSION")).to_owned(),
        command: command.to_owned(),
        factor: slim.as_ref().map(|slim| slim_report::factor(source.size, slim.size)),
        source: ImageReport {
            names: vec![source.reference],
            id: source.id.to_string(),
            size: source.size,
            entries: files.entries(),
        },
        slim: slim.map(|slim| ImageReport {
            names: slim.names,
            id: slim.id,
            size: slim.size,
            entries: kept.entries.len(),
        }),
        observation: observed(&observation, settings.from_trace.is_some()),
        exercise: observation.exercised.report,
        keep: KeepReport {
            files: figures.files,
            directories: figures.directories,
            links: figures.links,
            bytes: figures.bytes,
            reasons: figures.reasons,
            shares: SharesReport::default(),
        },
        policy: policy_report(&policies, &bound, profiles),
        contract: contract_report(bound),
        verification,
        stages: story
            .times()
            .into_iter()
            .map(|(stage, took)| StageReport {
                stage: stage.to_string(),
                milliseconds: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            })
            .collect(),
        outputs: Vec::new(),
        artifacts_folder,
        artifacts,
        notices: story.notices(),
    }
}

fn policy_report(policies: &Policies, bound: &Bound, profiles: &Profiles) -> PolicyReport {
    let policy = &policies.policy;
    let is_tried = |refused: &&Refused| matches!(refused.because, RefusedBecause::OnlyEverRefused { .. });
    let left_out: Vec<String> =
        UNTRACED_RUNTIMES.iter().map(|(runtime, why)| format!("{runtime} ({why})")).collect();
    let phases = &policies.file.phases;
    let names = |calls: &BTreeSet<String>| calls.iter().cloned().collect();
    PolicyReport {
        seccomp_mode: policy.mode.to_string(),
        system_calls_by_mode: modes(policies),
        possible_is_complete: policies.possible_is_complete,
        dangerous: slim_policy::dangerous(policy).into_iter().map(dangerous).collect(),
        system_calls_only_startup: names(&phases.only_startup),
        system_calls_serving: names(&phases.serving),
        system_calls_only_before_entrypoint: names(&phases.only_before_entrypoint),
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
        run_options: Forms::options(&bound.contract),
        launcher: policies.launched.as_ref().map(|launched| launched.report(policy)),
    }
}

fn modes(policies: &Policies) -> ModesReport {
    let Counts { observed, strict, balanced, broad, engine_default } = policies.counts;
    ModesReport { observed, strict, balanced, broad, engine_default }
}

fn dangerous(call: Dangerous) -> DangerousReport {
    let Dangerous { system_call, allowed, why } = call;
    DangerousReport { system_call: system_call.to_owned(), allowed, why }
}

fn observed(observation: &Observation, from_trace: bool) -> ObservationReport {
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
        from_trace,
        processes: trace.processes.iter().filter(|process| process.executable.is_some()).count(),
        paths: trace.files.len(),
        system_calls: calls.len(),
        listening: listening.into_iter().collect(),
        unseen: trace.steps.unseen().map(|unseen| UnseenReport {
            steps: unseen.steps,
            curve: unseen.curve,
            of_the_exercise: unseen.of_the_exercise,
            in_one_step: unseen.in_one_step,
            in_two_steps: unseen.in_two_steps,
            more: unseen.more,
        }),
        exit_code: observation.exit_code,
        ended_by_itself: observation.exercised.ended_by_itself,
        repeated: observation.repeated,
    }
}
