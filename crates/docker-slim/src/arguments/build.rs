//! Flags of `build` and of `profile`.

use super::{CommonArguments, ImageArguments, KeepArguments, RecipeArguments, VerifyArguments};
use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct BuildArguments {
    #[command(flatten)]
    pub common: CommonArguments,
    /// Name of the slim image; may be given several times [default: <repository>.slim].
    #[arg(long, value_name = "NAME", help_heading = None)]
    pub tag: Vec<String>,
    #[command(flatten)]
    pub verify: VerifyArguments,
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
    pub edits: ImageArguments,
}

#[derive(Debug, Args)]
pub struct ProfileArguments {
    #[command(flatten)]
    pub common: CommonArguments,
    /// Also write the trace to this file.
    #[arg(long, value_name = "FILE", help_heading = None)]
    pub trace_out: Option<PathBuf>,
}
