//! Flags about what to keep beyond the observed, and what not.

use clap::Args;

#[derive(Debug, Args)]
#[command(next_help_heading = "What to keep beyond the observed")]
pub struct KeepArguments {
    /// Keep this path; a folder with all below it. May be given several times.
    #[arg(long, value_name = "PATH")]
    pub include_path: Vec<String>,
    /// Keep this ELF file with all that it needs.
    #[arg(long, value_name = "PATH")]
    pub include_bin: Vec<String>,
    /// Keep the program of this name (looked up in PATH) with all that it needs.
    #[arg(long, value_name = "NAME")]
    pub include_exe: Vec<String>,
    /// Leave out what matches this pattern (`**` crosses folders), whatever else says it is needed.
    #[arg(long, value_name = "PATTERN")]
    pub exclude_pattern: Vec<String>,
}
