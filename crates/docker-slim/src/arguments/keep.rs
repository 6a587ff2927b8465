//! Flags about what to keep beyond the observed, and what not.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(next_help_heading = "What to keep beyond the observed")]
pub struct KeepArguments {
    /// How much to keep: what was observed and what must follow from it; also what the program can reach without having
    /// been exercised, the application's own files among it; or also the rest of each package that is used, but for
    /// documentation.
    #[arg(long, value_name = "LEVEL", value_enum, default_value_t = KeepLevel::Reachable)]
    pub keep: KeepLevel,
    /// How many of the image's layers, from the bottom, are its base's; what came after them and is of no package is the
    /// application's own [default: as the image's labels or history show].
    #[arg(long, value_name = "NUMBER")]
    pub base_layers: Option<usize>,
    /// Keep this path; a folder with all below it. `PATH:MODE#UID#GID` also sets permissions. May be given several
    /// times.
    #[arg(long, value_name = "PATH")]
    pub include_path: Vec<String>,
    /// Keep the paths in this file, one a line.
    #[arg(long, value_name = "FILE")]
    pub include_path_file: Option<PathBuf>,
    /// Keep this path in its initial state; contents always come from the image, so this is --include-path.
    #[arg(long, value_name = "PATH")]
    pub preserve_path: Vec<String>,
    /// The same for the paths in this file, one a line.
    #[arg(long, value_name = "FILE")]
    pub preserve_path_file: Option<PathBuf>,
    /// Keep this ELF file with all that it needs.
    #[arg(long, value_name = "PATH")]
    pub include_bin: Vec<String>,
    /// Keep the ELF files in this file, one a line, with all that they need.
    #[arg(long, value_name = "FILE")]
    pub include_bin_file: Option<PathBuf>,
    /// Keep every ELF file below this folder with all that it needs.
    #[arg(long, value_name = "FOLDER")]
    pub include_dir_bins: Vec<String>,
    /// Keep the program of this name (looked up in PATH) with all that it needs.
    #[arg(long, value_name = "NAME")]
    pub include_exe: Vec<String>,
    /// Keep the programs in this file, one name a line, with all that they need.
    #[arg(long, value_name = "FILE")]
    pub include_exe_file: Option<PathBuf>,
    /// Keep a shell, and the commands that people use in one.
    #[arg(long)]
    pub include_shell: bool,
    /// Keep WORKDIR with all below it.
    #[arg(long)]
    pub include_workdir: bool,
    /// Keep what the C library needs to look up hosts and users.
    #[arg(long, default_value_t = true)]
    pub include_oslibs_net: bool,
    /// Keep what HEALTHCHECK names, though it was not run.
    #[arg(long, default_value_t = true)]
    pub include_healthcheck: bool,
    /// Keep all files that tell what distribution this is.
    #[arg(long)]
    pub include_distro_info: bool,
    /// Keep the time zones.
    #[arg(long)]
    pub include_zoneinfo: bool,
    /// Keep the certificates of authorities: bundles, folders of single ones, and what they are made from; `=false`
    /// keeps none [default: bundles only].
    #[arg(long, value_name = "BOOL")]
    pub include_cert_all: Option<bool>,
    /// Keep the bundles of authorities' certificates.
    #[arg(long)]
    pub include_cert_bundles_only: bool,
    /// Keep the folders of authorities' single certificates.
    #[arg(long)]
    pub include_cert_dirs: bool,
    /// Keep all private keys: the system's folders of them, and those of authorities.
    #[arg(long)]
    pub include_cert_pk_all: bool,
    /// Keep the system's folders of private keys.
    #[arg(long)]
    pub include_cert_pk_dirs: bool,
    /// Give a path other permissions in the slim image: `PATH:MODE[#UID[#GID]]`, MODE in octal digits. The path is
    /// kept. May be given several times.
    #[arg(long, value_name = "PERMISSIONS")]
    pub path_perms: Vec<String>,
    /// The same for the lines of this file.
    #[arg(long, value_name = "FILE")]
    pub path_perms_file: Option<PathBuf>,
    /// Leave out what matches this pattern (`**` crosses folders), whatever else says it is needed.
    #[arg(long, value_name = "PATTERN")]
    pub exclude_pattern: Vec<String>,
    /// Leave out what lies in /var/lock and /run/lock; the folders stay.
    #[arg(long, default_value_t = true)]
    pub exclude_varlock_files: bool,
}

/// A level of `--keep`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum KeepLevel {
    Observed,
    Reachable,
    Package,
}
