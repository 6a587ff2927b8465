//! Flags of `build`.

use super::{ContainerArguments, ExerciseArguments, HttpArguments, ImageArguments, KeepArguments};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct BuildArguments {
    /// The fat image: name or id.
    #[arg(value_name = "IMAGE")]
    pub image: Option<String>,
    /// The fat image: name or id (the same as the argument).
    #[arg(long, value_name = "IMAGE")]
    pub target: Option<String>,
    /// Name of the slim image; may be given several times [default: <repository>.slim].
    #[arg(long, value_name = "NAME")]
    pub tag: Vec<String>,
    /// Also copy the artifacts to this folder.
    #[arg(long, value_name = "FOLDER")]
    pub copy_meta_artifacts: Option<PathBuf>,
    /// Run the slim image under its seccomp profile and compare what it does with the fat one, before it gets its name.
    #[arg(long, default_value_t = true)]
    pub verify: bool,
    /// Show the container's log when it has stopped.
    #[arg(long)]
    pub show_clogs: bool,

    #[command(flatten)]
    pub exercise: ExerciseArguments,
    #[command(flatten)]
    pub http: HttpArguments,
    #[command(flatten)]
    pub container: ContainerArguments,
    #[command(flatten)]
    pub keep: KeepArguments,
    #[command(flatten)]
    pub edits: ImageArguments,
}
