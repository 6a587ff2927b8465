//! The one place where flags and the environment become the plain settings of a command.

mod container;
mod diff;
mod endpoint;
mod exercise;
mod explain;
mod files;
mod http;
mod image;
mod keep;
mod launch;
pub mod outputs;
mod policy;
mod probe;
mod recipe;
mod registry;
mod run;
mod text;
mod trace;
mod verify;

pub use diff::Side;
pub use endpoint::{endpoint_inputs, flags_name_an_address, names_an_address, podman_sockets};
pub use explain::{Question, explain};
pub use policy::{AttachPolicy, PolicyPlace, attach_policy, built_here, policy_place};
pub use probe::{ProbeSettings, probe};
pub use recipe::{FatImage, Recipe};
pub use registry::{
    Copy, Import, Selected, client, copy, fetching, import, is_id, program, pull, push, serve,
};
pub use run::{RunSettings, run};
pub use trace::read_trace;

use crate::arguments::{
    BuildArguments, CommonArguments, GlobalArguments, HardenArguments, LayerChoice, ObserverName,
    ProfileArguments,
};
use crate::failure::Failure;
use slim_build::{ConfigEdits, Layers, ObserverChoice, Output, Reading, Settings, Verify};
use slim_engine::Run;
use slim_image::{Location, Packing, Platform};
use slim_registry::ClientSettings;
use std::env;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// `docker stop`'s own.
const STOP_GRACE: Duration = Duration::from_secs(10);
/// Room for some 50,000 events that were not read yet.
const BUFFER_BYTES: u32 = 8 << 20;

/// This program's own file.
pub const OWN_BINARY: &str = "/proc/self/exe";

/// What `build`, `harden` or `profile` does, around the pipeline.
#[derive(Debug)]
pub struct Work {
    pub settings: Settings,
    /// How the fat image comes into the engine where it is not there.
    pub fat_image: FatImage,
    /// How registries are talked to.
    pub client: ClientSettings,
    /// Where the slim image goes besides files: registries, engines.
    pub elsewhere: Vec<Location>,
    /// Remove what lies below the state path when all is done.
    pub remove_artifacts: bool,
}

/// The settings of `build`.
///
/// # Errors
/// What is wrong with the flags.
pub fn build(global: &GlobalArguments, arguments: &BuildArguments) -> Result<Work, Failure> {
    let mut work = common(global, &arguments.common, recipe::fat_image(global, arguments)?)?;
    work.settings.tags.clone_from(&arguments.tag);
    let outputs::Outputs { stored, elsewhere } = outputs::outputs(&arguments.output)?;
    work.settings.outputs = stored.into_iter().map(Output::Stored).collect();
    work.elsewhere = elsewhere;
    work.settings.layers = match arguments.layers {
        LayerChoice::Flat => Layers::Flat,
        LayerChoice::Preserve => Layers::Preserve,
    };
    work.settings.packing = outputs::packing(arguments.compression);
    work.settings.edits = image::edits(&arguments.edits)?;
    work.settings.keep = keep::settings(&arguments.keep)?;
    work.settings.verify = verify::settings(&arguments.verify)?;
    work.settings.launch = launch::settings(&arguments.launch, arguments.layers)?;
    policy::apply(&arguments.policy, &mut work.settings);
    work.settings.from_trace = arguments.from_trace.as_deref().map(read_trace).transpose()?.map(Arc::new);
    Ok(work)
}

/// The settings of `harden`.
///
/// # Errors
/// What is wrong with the flags.
pub fn harden(global: &GlobalArguments, arguments: &HardenArguments) -> Result<Work, Failure> {
    let fat_image = FatImage::at(recipe::target(&arguments.common)?, arguments.common.pull)?;
    let mut work = common(global, &arguments.common, fat_image)?;
    work.settings.verify = verify::settings(&arguments.verify)?;
    work.settings.trace_out.clone_from(&arguments.trace_out);
    Ok(work)
}

/// The settings of `profile`.
///
/// # Errors
/// What is wrong with the flags.
pub fn profile(global: &GlobalArguments, arguments: &ProfileArguments) -> Result<Work, Failure> {
    let fat_image = FatImage::at(recipe::target(&arguments.common)?, arguments.common.pull)?;
    let mut work = common(global, &arguments.common, fat_image)?;
    work.settings.trace_out.clone_from(&arguments.trace_out);
    policy::apply(&arguments.policy, &mut work.settings);
    Ok(work)
}

/// What is needed to read the files of images.
///
/// # Errors
/// When this process cannot tell who it is.
pub fn reading(global: &GlobalArguments) -> Result<Reading, Failure> {
    Ok(Reading {
        binary: PathBuf::from(OWN_BINARY),
        local_layers: local_layers()?,
        state_path: state_path(global),
        run: this_run()?,
    })
}

/// Folder that holds `.images`, and what is needed for a while.
pub fn state_path(global: &GlobalArguments) -> PathBuf {
    global.state_path.clone().unwrap_or_else(|| PathBuf::from("."))
}

/// Where the embedded engine's store lies.
pub fn store_root(global: &GlobalArguments) -> PathBuf {
    global.store_root.clone().unwrap_or_else(|| {
        usual_store(slim_engine::host::is_real_root(), &|name| env::var_os(name).map(PathBuf::from))
    })
}

/// Whether we act as root, be it of a user namespace.
pub fn is_root() -> bool {
    slim_engine::host::acts_as_root()
}

/// The words behind this program's name.
pub fn command_line() -> Vec<std::ffi::OsString> {
    env::args_os().skip(1).collect()
}

fn usual_store(is_root: bool, variable: &dyn Fn(&str) -> Option<PathBuf>) -> PathBuf {
    let absolute = |name: &str| variable(name).filter(|path| path.is_absolute());
    let of_user =
        absolute("XDG_DATA_HOME").or_else(|| absolute("HOME").map(|home| home.join(".local/share")));
    match of_user {
        Some(data) if !is_root => data.join("docker-slim"),
        _ => PathBuf::from("/var/lib/docker-slim"),
    }
}

fn common(
    global: &GlobalArguments,
    arguments: &CommonArguments,
    fat_image: FatImage,
) -> Result<Work, Failure> {
    let settings = Settings {
        target: fat_image.reference(),
        fat_files: None,
        platform: platform(arguments.platform.as_deref())?,
        tags: Vec::new(),
        outputs: Vec::new(),
        carrier: None,
        packing: Packing::Gzip,
        layers: Layers::Flat,
        threads: outputs::threads(),
        state_path: state_path(global),
        copy_meta_artifacts: arguments.copy_meta_artifacts.clone(),
        container: container::settings(&arguments.container)?,
        edits: ConfigEdits::default(),
        exercise: exercise::settings(&arguments.exercise, &arguments.http)?,
        observer: observer(arguments.observer),
        keep: keep::usual(),
        launch: slim_build::Launch::default(),
        seccomp: slim_policy::Mode::default(),
        seccomp_arguments: false,
        verify: Verify::default(),
        show_container_logs: arguments.show_clogs,
        stop_grace: STOP_GRACE,
        source_date_epoch: source_date_epoch()?,
        from_trace: None,
        trace_out: None,
        binary: PathBuf::from(OWN_BINARY),
        local_layers: local_layers()?,
        buffer_bytes: BUFFER_BYTES,
        run: this_run()?,
    };
    let client = fetching(&arguments.fetch)?;
    Ok(Work {
        settings,
        fat_image,
        client,
        elsewhere: Vec::new(),
        remove_artifacts: arguments.remove_file_artifacts,
    })
}

fn observer(name: ObserverName) -> ObserverChoice {
    match name {
        ObserverName::Auto => ObserverChoice::Auto,
        ObserverName::Local => ObserverChoice::Local,
        ObserverName::Sidecar => ObserverChoice::Sidecar,
        ObserverName::Notify => ObserverChoice::Notify,
    }
}

fn platform(text: Option<&str>) -> Result<Option<Platform>, Failure> {
    let parsed = text.map(str::parse).transpose();
    parsed.map_err(|error| Failure::usage(format!("understand --platform: failed to {error}")))
}

fn source_date_epoch() -> Result<Option<i64>, Failure> {
    match env::var("SOURCE_DATE_EPOCH") {
        Ok(text) => text.parse().map(Some).map_err(|_| {
            Failure::usage(format!("understand SOURCE_DATE_EPOCH={text}: no number of seconds"))
        }),
        Err(_) => Ok(None),
    }
}

/// `DOCKER_SLIM_LOCAL_LAYERS=off` has the image read through a container, as where its layers do not lie on this machine:
/// for engines whose layers are not what they seem, and for tests.
fn local_layers() -> Result<bool, Failure> {
    match env::var("DOCKER_SLIM_LOCAL_LAYERS").as_deref() {
        Err(_) | Ok("" | "on") => Ok(true),
        Ok("off") => Ok(false),
        Ok(other) => {
            Err(Failure::usage(format!("understand DOCKER_SLIM_LOCAL_LAYERS={other}: it is on or off")))
        }
    }
}

pub fn this_run() -> Result<Run, Failure> {
    let run = std::fs::read_to_string("/proc/sys/kernel/random/uuid")
        .and_then(|uuid| slim_engine::host::this_run(uuid.trim().replace('-', "")));
    run.map_err(|error| {
        Failure::new(format!("read what identifies this run: {error}"), 1).with_hint("is /proc mounted?")
    })
}

/// Where the report goes; `None` for `off`.
pub fn report_path(global: &GlobalArguments) -> Option<&Path> {
    (global.report != "off").then(|| Path::new(&global.report))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Command;
    use crate::command_line::tests::parse_with;

    fn of(words: &[&str]) -> Work {
        let arguments = parse_with(&[&["build", "x"], words].concat(), &[]).unwrap().arguments;
        let Command::Build(build_arguments) = arguments.command else { panic!() };
        build(&arguments.global, &build_arguments).unwrap()
    }

    #[test]
    fn who_is_not_root_has_a_store_of_their_own() {
        let home = |name: &str| (name == "HOME").then(|| PathBuf::from("/home/ada"));
        let data = |name: &str| Some(PathBuf::from(if name == "HOME" { "/home/ada" } else { "/data" }));
        assert_eq!(usual_store(true, &home), PathBuf::from("/var/lib/docker-slim"));
        assert_eq!(usual_store(false, &home), PathBuf::from("/home/ada/.local/share/docker-slim"));
        assert_eq!(usual_store(false, &data), PathBuf::from("/data/docker-slim"));
        assert_eq!(usual_store(false, &|_| None), PathBuf::from("/var/lib/docker-slim"));
    }

    #[test]
    fn every_other_flag_of_build_sets_its_setting() {
        let path = |text: &str| PathBuf::from(text);
        assert_eq!(of(&["--tag=a", "--tag", "b"]).settings.tags, ["a", "b"]);
        assert_eq!(of(&["--state-path=/s"]).settings.state_path, path("/s"));
        assert_eq!(of(&["--copy-meta-artifacts=/c"]).settings.copy_meta_artifacts, Some(path("/c")));
        assert!(of(&["--show-clogs"]).settings.show_container_logs);
        assert_eq!(of(&["--verify-rounds=7"]).settings.verify.rounds, 7);
        assert!(of(&["--remove-file-artifacts"]).remove_artifacts && !of(&[]).remove_artifacts);
        assert_eq!(of(&["--new-workdir=/w"]).settings.edits.workdir.as_deref(), Some("/w"));
        assert_eq!(of(&["--seccomp=strict"]).settings.seccomp, slim_policy::Mode::Strict);
        assert_eq!(of(&[]).settings.seccomp, slim_policy::Mode::Balanced);
        assert!(of(&["--seccomp-args"]).settings.seccomp_arguments);
        assert!(of(&["--include-shell"]).settings.keep.include_shell);
        assert!(of(&[]).settings.from_trace.is_none());
        let written = of(&["--output=oci:a", "--output=docker-daemon:b", "--compression=zstd"]);
        assert_eq!((written.settings.outputs.len(), written.elsewhere.len()), (1, 1));
        assert_eq!(written.settings.packing, Packing::Zstd);
        assert_eq!(of(&[]).settings.packing, Packing::Gzip);
        assert_eq!(of(&["--layers=preserve"]).settings.layers, Layers::Preserve);
        assert_eq!(of(&[]).settings.layers, Layers::Flat);
        assert_eq!(of(&["--observer=sidecar"]).settings.observer, ObserverChoice::Sidecar);
        assert_eq!(of(&[]).settings.observer, ObserverChoice::Auto);
        let platform = of(&["--platform=linux/aarch64"]).settings.platform;
        assert_eq!(platform, Some(Platform::new("linux", "arm64")));
    }

    #[test]
    fn a_trace_is_read_before_anything_is_done() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trace.json");
        std::fs::write(&path, slim_trace::Trace::empty("sha256:0").to_json()).unwrap();
        let flag = format!("--from-trace={}", path.display());
        assert_eq!(of(&[&flag]).settings.from_trace.unwrap().image, "sha256:0");
        std::fs::write(&path, "{}").unwrap();
        let arguments = parse_with(&["build", "x", &flag], &[]).unwrap().arguments;
        let Command::Build(build_arguments) = arguments.command else { panic!() };
        assert_eq!(build(&arguments.global, &build_arguments).unwrap_err().exit_code, 2);
    }

    #[test]
    fn the_report_goes_where_the_flag_says_or_nowhere() {
        let report = |words: &[&str]| {
            let global = parse_with(&[&["version"], words].concat(), &[]).unwrap().arguments.global;
            report_path(&global).map(Path::to_owned)
        };
        assert_eq!(report(&[]), Some(PathBuf::from("slim.report.json")));
        assert_eq!(report(&["--report=r.json"]), Some(PathBuf::from("r.json")));
        assert_eq!(report(&["--report=off"]), None);
    }

    #[test]
    fn harden_takes_the_flags_about_running_and_proving_and_not_those_about_the_image() {
        let words = ["harden", "x", "--env=A=1", "--verify-rounds=1", "--trace-out=/t"];
        let arguments = parse_with(&words, &[]).unwrap().arguments;
        let Command::Harden(harden_arguments) = arguments.command else { panic!() };
        let work = harden(&arguments.global, &harden_arguments).unwrap();
        assert_eq!(work.settings.verify.rounds, 1);
        assert_eq!(work.settings.trace_out, Some(PathBuf::from("/t")));
        for flag in ["--include-shell", "--tag=y", "--output=oci:z"] {
            assert!(parse_with(&["harden", "x", flag], &[]).is_err(), "{flag}");
        }
    }

    #[test]
    fn profile_takes_the_flags_about_running_and_not_those_about_the_image() {
        let arguments =
            parse_with(&["profile", "x", "--env=A=1", "--http-probe-off"], &[]).unwrap().arguments;
        let Command::Profile(profile_arguments) = arguments.command else { panic!() };
        let work = profile(&arguments.global, &profile_arguments).unwrap();
        assert_eq!(
            (work.settings.target.as_str(), &work.settings.container.env[..]),
            ("x", &["A=1".to_owned()][..])
        );
        assert!(work.settings.exercise.http.is_none());
        assert!(parse_with(&["profile", "x", "--include-shell"], &[]).is_err());
    }
}
