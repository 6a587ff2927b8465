//! Flags of `explain`.

use clap::{Args, ValueEnum};
use std::ffi::OsString;

#[derive(Debug, Args)]
pub struct ExplainArguments {
    /// The image: name or id of the fat image or the slim one, or the `keep.json` that a build wrote.
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Paths to explain, as a program of the image would name them.
    #[arg(value_name = "PATH")]
    pub paths: Vec<OsString>,
    /// Show what was removed, by `--by`, the most bytes first.
    #[arg(long)]
    pub removed: bool,
    /// By what removed paths are put together.
    #[arg(long, value_enum, default_value_t = ByArgument::Directory, value_name = "WHAT")]
    pub by: ByArgument,
    /// Show so many lines of what was removed; 0: all.
    #[arg(long, default_value_t = 20, value_name = "NUMBER")]
    pub top: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ByArgument {
    Package,
    Layer,
    Directory,
    Extension,
}
