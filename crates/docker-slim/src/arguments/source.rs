//! Flags that `build` and `profile` share.

use super::{ContainerArguments, ExerciseArguments, FetchArguments, HttpArguments};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Who watches the container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ObserverName {
    /// This program where the engine runs on this machine and it may watch; else a sidecar container, or with the embedded
    /// engine the container's own programs.
    Auto,
    /// This program: the engine runs on this machine, and it has the capabilities (root has).
    Local,
    /// A short-lived container of this program, made by the engine beside the one that is watched.
    Sidecar,
    /// The container's own programs, by seccomp's user notification: needs no capability, but the embedded engine. Calls
    /// that every program makes all the time are taken for made.
    Notify,
}

#[derive(Debug, Args)]
pub struct CommonArguments {
    /// The fat image: name or id, or a place: `oci:DIRECTORY[:TAG]`, `oci-archive:FILE[:TAG]`, `docker-archive:FILE[:NAME]`,
    /// `dir:DIRECTORY`, `docker://NAME[:TAG][@DIGEST]` in a registry, `docker-daemon:NAME`, `podman:NAME`, `containerd:NAME`,
    /// `embedded:NAME`, or a path to one of these files. With --dockerfile: the folder that it is built in.
    #[arg(value_name = "IMAGE")]
    pub image: Option<String>,
    /// The fat image: name or id (the same as the argument).
    #[arg(long, value_name = "IMAGE")]
    pub target: Option<String>,
    /// Fetch the fat image from the registry that its name says where the engine does not hold it.
    #[arg(long, default_value_t = true)]
    pub pull: bool,
    /// Which image of a multi-platform one, as in `linux/arm64`; what any other must be for [default: this machine's].
    #[arg(long, value_name = "OS/ARCHITECTURE[/VARIANT]")]
    pub platform: Option<String>,
    /// Take flags from this JSON file, `{"flag": value}`; those of the command line and the environment go before it.
    #[arg(long, value_name = "FILE")]
    pub command_params_file: Option<PathBuf>,
    /// Also copy the artifacts to this folder.
    #[arg(long, value_name = "FOLDER")]
    pub copy_meta_artifacts: Option<PathBuf>,
    /// Remove the artifacts from the state path at the end.
    #[arg(long)]
    pub remove_file_artifacts: bool,
    /// Who watches the container.
    #[arg(long, value_name = "OBSERVER", value_enum, default_value_t = ObserverName::Auto)]
    pub observer: ObserverName,
    /// Show the container's log when it has stopped.
    #[arg(long)]
    pub show_clogs: bool,

    #[command(flatten)]
    pub fetch: FetchArguments,

    #[command(flatten)]
    pub exercise: ExerciseArguments,
    #[command(flatten)]
    pub http: HttpArguments,
    #[command(flatten)]
    pub container: ContainerArguments,
}
