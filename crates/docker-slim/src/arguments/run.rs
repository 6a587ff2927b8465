//! Flags of `run`. Their names are `docker run`'s.

use super::FetchArguments;
use crate::settings::duration;
use clap::{Args, ValueEnum};
use std::path::PathBuf;
use std::time::Duration;

/// When an image is fetched from its registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum PullPolicy {
    /// Always, whether the store has it or not.
    Always,
    /// Where the store does not have it.
    Missing,
    Never,
}

/// Flags of `run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Go on without it, and print its id: `ps`, `logs`, `stop` and `rm` know the container by it, or by its name.
    #[arg(short, long)]
    pub detach: bool,
    /// Keep standard input open, and hand on what is typed or piped.
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the container a terminal.
    #[arg(short, long)]
    pub tty: bool,
    /// Name of the container.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
    /// Publish a port: [[IP:]PORT:]PORT[/udp].
    #[arg(short = 'p', long, value_name = "PORT")]
    pub publish: Vec<String>,
    /// Publish every exposed port under a free one of this machine.
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// Set a variable: NAME=VALUE, or NAME for the value that it has here.
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Mount: SOURCE:TARGET[:ro], NAME:TARGET, or TARGET.
    #[arg(short, long, value_name = "MOUNT")]
    pub volume: Vec<String>,
    /// Memory at a path: PATH[:OPTIONS].
    #[arg(long, value_name = "PATH")]
    pub tmpfs: Vec<String>,
    /// Run as this user: name or number, with :GROUP behind it.
    #[arg(short, long)]
    pub user: Option<String>,
    /// Working folder.
    #[arg(short, long, value_name = "PATH")]
    pub workdir: Option<String>,
    /// Name of the container's host.
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// The program, instead of the image's ENTRYPOINT.
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,
    /// `none` (one of the container's own with loopback alone, the default), `bridge` (the same with a way out, through
    /// nftables; needs root) or `host`.
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<String>,
    /// Run under this seccomp profile: a file, a folder of artifacts, an image that was built here, or one in a layout or
    /// a registry with a policy attached (`oci:FOLDER[:NAME]`, `docker://NAME`).
    #[arg(long, value_name = "REF")]
    pub policy: Option<String>,
    /// seccomp=FILE, seccomp=unconfined, apparmor=PROFILE (a loaded one), no-new-privileges, systempaths=unconfined.
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// Add a capability.
    #[arg(long, value_name = "NAME")]
    pub cap_add: Vec<String>,
    /// Take a capability away.
    #[arg(long, value_name = "NAME")]
    pub cap_drop: Vec<String>,
    /// Make the root read-only.
    #[arg(long)]
    pub read_only: bool,
    /// Remove the container when it ends.
    #[arg(long)]
    pub rm: bool,
    /// Add a label to the container.
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// Set a kernel parameter of the container's name spaces.
    #[arg(long, value_name = "NAME=VALUE")]
    pub sysctl: Vec<String>,
    /// Write the container's id to this file, which must not be there.
    #[arg(long, value_name = "FILE")]
    pub cidfile: Option<PathBuf>,
    /// Address of a name server.
    #[arg(long, value_name = "ADDRESS")]
    pub dns: Vec<String>,
    /// Memory at most: bytes, or with k, m, g behind the number.
    #[arg(short, long, value_name = "BYTES")]
    pub memory: Option<String>,
    /// Processors at most: 0.5, 2 …
    #[arg(long, value_name = "NUMBER")]
    pub cpus: Option<f64>,
    /// Processes and threads at most.
    #[arg(long, value_name = "NUMBER")]
    pub pids_limit: Option<i64>,
    /// Find out in this way whether the program is well, instead of by the image's HEALTHCHECK: a line for the shell.
    #[arg(long, value_name = "LINE", conflicts_with = "no_healthcheck")]
    pub health_cmd: Option<String>,
    /// How often: 30s, 1m30s, 500ms …
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub health_interval: Option<Duration>,
    /// A check that takes longer has failed.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub health_timeout: Option<Duration>,
    /// So many failures in a row are unhealthy.
    #[arg(long, value_name = "NUMBER")]
    pub health_retries: Option<u32>,
    /// Failures within this do not count, until a check has succeeded.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub health_start_period: Option<Duration>,
    /// How often meanwhile.
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    pub health_start_interval: Option<Duration>,
    /// No health check, whatever the image says.
    #[arg(long)]
    pub no_healthcheck: bool,
    /// Whether the image is fetched from its registry.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = PullPolicy::Missing)]
    pub pull: PullPolicy,
    #[command(flatten)]
    pub fetch: FetchArguments,
    /// The image: name, id or beginning of an id in the store, a name in a registry, or any place that `docker-slim copy`
    /// reads.
    pub image: String,
    /// Instead of the image's CMD.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}
