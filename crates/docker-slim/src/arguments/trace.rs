//! Flags of the commands about trace files.

use super::DifferenceArguments;
use clap::{Args, Subcommand};
use std::path::PathBuf;

#[derive(Debug, Args)]
pub struct TraceArguments {
    #[command(subcommand)]
    pub command: TraceCommand,
}

#[derive(Debug, Subcommand)]
pub enum TraceCommand {
    /// Puts traces of one image together: what any of them saw was seen.
    Merge(MergeArguments),
    /// Shows what a trace holds.
    Show(ShowArguments),
    /// Shows how two traces differ.
    Diff(TraceDiffArguments),
}

#[derive(Debug, Args)]
pub struct MergeArguments {
    /// The traces.
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Where the merged trace goes.
    #[arg(long, short, value_name = "FILE")]
    pub output: PathBuf,
}

#[derive(Debug, Args)]
pub struct ShowArguments {
    /// The trace.
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Show so many directories; 0: all.
    #[arg(long, default_value_t = 20, value_name = "NUMBER")]
    pub top: usize,
}

#[derive(Debug, Args)]
pub struct TraceDiffArguments {
    /// Before.
    #[arg(value_name = "A")]
    pub before: PathBuf,
    /// After.
    #[arg(value_name = "B")]
    pub after: PathBuf,
    #[command(flatten)]
    pub shown: DifferenceArguments,
}
