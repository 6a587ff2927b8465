//! Flags of `build`, of `harden` and of `profile`.

use super::{
    CommonArguments, ImageArguments, KeepArguments, LaunchArguments, PolicyArguments, RecipeArguments,
    VerifyArguments,
};
use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// How layers are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Compression {
    /// What every registry and engine reads.
    Gzip,
    /// Smaller and quicker; engines from 2020 on read it.
    Zstd,
    /// Not at all.
    None,
}

/// What layers the slim image has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LayerChoice {
    /// One, the smallest image.
    Flat,
    /// Those of the fat image, each with what is kept of it: slim images of one base share its layers.
    Preserve,
}

#[derive(Debug, Args)]
pub struct BuildArguments {
    #[command(flatten)]
    pub common: CommonArguments,
    /// Name of the slim image; may be given several times [default: <repository>.slim].
    #[arg(long, value_name = "NAME", help_heading = None)]
    pub tag: Vec<String>,
    /// Also write the slim image there, once it is verified: `oci:DIRECTORY[:TAG]`, `oci-archive:FILE[:TAG]`,
    /// `docker-archive:FILE[:NAME]`, `dir:DIRECTORY`, `docker://NAME[:TAG]` in a registry, `docker-daemon:NAME`, `podman:NAME`,
    /// `containerd:NAME`, `embedded:NAME`; may be given several times.
    #[arg(long, value_name = "PLACE", help_heading = None)]
    pub output: Vec<String>,
    /// How the layers are packed that --output writes. A docker-archive's never are, as `docker save` has it.
    #[arg(long, value_name = "PACKING", value_enum, default_value_t = Compression::Gzip, help_heading = None)]
    pub compression: Compression,
    /// What layers the slim image has.
    #[arg(long, value_name = "LAYERS", value_enum, default_value_t = LayerChoice::Flat, help_heading = None)]
    pub layers: LayerChoice,
    #[command(flatten)]
    pub verify: VerifyArguments,
    #[command(flatten)]
    pub launch: LaunchArguments,
    /// Take what the program uses from this trace (`docker-slim profile --trace-out`, `docker-slim trace merge`) instead
    /// of watching it: the trace must be of this image. The fat image still runs, unwatched, to be compared with;
    /// `--verify=off` runs nothing.
    #[arg(long, value_name = "FILE", help_heading = None)]
    pub from_trace: Option<PathBuf>,
    #[command(flatten)]
    pub recipe: RecipeArguments,
    #[command(flatten)]
    pub keep: KeepArguments,
    #[command(flatten)]
    pub policy: PolicyArguments,
    #[command(flatten)]
    pub edits: ImageArguments,
}

#[derive(Debug, Args)]
pub struct HardenArguments {
    #[command(flatten)]
    pub common: CommonArguments,
    #[command(flatten)]
    pub verify: VerifyArguments,
    /// Also write the trace to this file.
    #[arg(long, value_name = "FILE", help_heading = None)]
    pub trace_out: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct ProfileArguments {
    #[command(flatten)]
    pub common: CommonArguments,
    /// Also write the trace to this file.
    #[arg(long, value_name = "FILE", help_heading = None)]
    pub trace_out: Option<PathBuf>,
    #[command(flatten)]
    pub policy: PolicyArguments,
}
