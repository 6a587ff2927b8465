//! The command line as clap sees it: names, defaults and help, no logic; one file a group of flags. Flag names are
//! those that users of DockerSlim know; what the table of flags adds to them is in [`crate::command_line`].

mod build;
mod container;
mod containers;
mod diff;
mod exercise;
mod explain;
mod global;
mod http;
mod image;
mod images;
mod keep;
mod launch;
mod policy;
mod probe;
mod recipe;
mod registry;
mod run;
mod source;
mod store;
mod trace;
mod verify;

pub use build::{BuildArguments, Compression, HardenArguments, LayerChoice, ProfileArguments};
pub use container::ContainerArguments;
pub use containers::{ExecArguments, LogsArguments, PsArguments, RmArguments, StartArguments, StopArguments};
pub use diff::{DiffArguments, DifferenceArguments};
pub use exercise::ExerciseArguments;
pub use explain::{ByArgument, ExplainArguments};
pub use global::{EngineName, GlobalArguments, LogFormat, LogLevel, OutputFormat};
pub use http::HttpArguments;
pub use image::ImageArguments;
pub use images::ImagesArguments;
pub use keep::{KeepArguments, KeepLevel};
pub use launch::{LaunchArguments, SeccompPhase};
pub use policy::{
    LauncherArguments, MergeRule, PolicyArguments, PolicyCheckArguments, PolicyCommand,
    PolicyCommandArguments, PolicyCompileArguments, PolicyDiffArguments, PolicyFileArgument, PolicyForm,
    PolicyMergeArguments, PolicyShowArguments, SeccompChoice,
};
pub use probe::ProbeArguments;
pub use recipe::RecipeArguments;
pub use registry::{
    ClientArguments, CopyArguments, FetchArguments, PlatformArguments, PullArguments, PushArguments,
    RegistryArguments, RegistryCommand, ServeArguments,
};
pub use run::{PullPolicy, RunArguments};
pub use source::{CommonArguments, ObserverName};
pub use store::{ImportArguments, StoreArguments, StoreCommand};
pub use trace::{MergeArguments, ShowArguments, TraceArguments, TraceCommand, TraceDiffArguments};
pub use verify::{VerifyArguments, VerifyMode};

use clap::{Parser, Subcommand};
use clap_complete::Shell;
use std::ffi::OsString;
use std::path::PathBuf;

/// Makes a container image small: runs it, watches what its program really uses, and writes an image with that and
/// nothing else.
#[derive(Debug, Parser)]
#[command(name = "docker-slim", version, arg_required_else_help = true, max_term_width = 110)]
pub struct Arguments {
    #[command(flatten)]
    pub global: GlobalArguments,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes a slim image of a fat one.
    #[command(visible_aliases = ["slim", "b"])]
    Build(Box<BuildArguments>),
    /// Finds with how little an image runs that stays as it is: its security profiles and its run contract, proved by
    /// running it under them.
    Harden(Box<HardenArguments>),
    /// Watches a fat image and writes its security profiles, without making an image.
    #[command(visible_alias = "p")]
    Profile(Box<ProfileArguments>),
    /// Probes an address over HTTP, as `build` probes a container.
    Probe(Box<ProbeArguments>),
    /// Tells why paths are in a slim image, or why not and what would bring them in; or what was removed.
    Explain(ExplainArguments),
    /// Shows how two images, traces or keep files differ: paths, contents, modes, owners; system calls of traces.
    Diff(DiffArguments),
    /// Merges, shows and compares traces: what `profile --trace-out` wrote, and `build --from-trace` takes.
    Trace(TraceArguments),
    /// Shows what a slim image may do and why, writes its profile for other programs; compares, combines and checks profiles: those
    /// of builds, and those attached to images in registries.
    Policy(PolicyCommandArguments),
    /// Runs a program under the tighter filter of a policy; what a slim image has with `--seccomp-phase entrypoint`.
    Launch(LauncherArguments),
    /// Runs an image of the embedded engine's store; flags as `docker run`.
    Run(Box<RunArguments>),
    /// Lists the embedded engine's containers.
    Ps(PsArguments),
    /// Shows what a container of the embedded engine wrote.
    Logs(LogsArguments),
    /// Starts containers of the embedded engine that have ended, or never ran.
    Start(StartArguments),
    /// Runs a command in a container of the embedded engine.
    Exec(ExecArguments),
    /// Stops containers of the embedded engine.
    Stop(StopArguments),
    /// Removes containers of the embedded engine with their anonymous volumes.
    Rm(RmArguments),
    /// The images of the embedded engine, which needs no daemon: lists, imports, removes.
    Store(StoreArguments),
    /// Lists the images of all engines that answer, and which of them are slim.
    Images(ImagesArguments),
    /// Fetches an image from a registry into an engine, or to where --output says; no engine is needed for that.
    Pull(PullArguments),
    /// Brings an image from an engine or from files into a registry.
    Push(PushArguments),
    /// Copies an image from any place to any other, a whole index unless --platform is given. From registry to registry nothing
    /// is stored here.
    Copy(CopyArguments),
    /// Our own registry.
    Registry(RegistryArguments),
    /// Shows the version of the program and of the formats it writes.
    Version,
    /// Writes the completions of a shell to stdout.
    Completion {
        /// Which shell.
        #[arg(value_enum)]
        shell: Shell,
    },
    /// Writes reference and man pages to a folder.
    #[command(hide = true)]
    Documentation {
        /// Where they go: `cli.md`, `man/*.1`.
        folder: PathBuf,
    },
    /// Tells the docker command what plugin this is.
    #[command(hide = true)]
    DockerCliPluginMetadata,
    /// Serves an image's files; runs inside a container of that image.
    #[command(hide = true)]
    Collector,
    /// Watches containers beside which it runs, over standard input and output.
    #[command(hide = true)]
    Sidecar,
    /// Holds a container of the embedded engine, or joins one.
    #[command(hide = true)]
    ContainerHelper {
        /// What to do, and with what.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}
