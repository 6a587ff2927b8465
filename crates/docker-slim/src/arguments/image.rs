//! Flags about what the slim image says of itself.

use clap::Args;

#[derive(Debug, Args)]
#[command(next_help_heading = "What the slim image says of itself")]
pub struct ImageArguments {
    /// Make these settings of the watched container the slim image's own: `all`, or some of entrypoint, cmd, workdir,
    /// env, expose, volume, label, separated by commas.
    #[arg(long, value_name = "SETTINGS")]
    pub image_overrides: Option<String>,
    /// Other ENTRYPOINT: JSON array or shell words; one space takes it away.
    #[arg(long, value_name = "COMMAND")]
    pub new_entrypoint: Option<String>,
    /// Other CMD: JSON array or shell words; one space takes it away.
    #[arg(long, value_name = "COMMAND")]
    pub new_cmd: Option<String>,
    /// Other WORKDIR.
    #[arg(long, value_name = "FOLDER")]
    pub new_workdir: Option<String>,
    /// Add or replace an environment variable: `NAME=VALUE`; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    pub new_env: Vec<String>,
    /// Add or replace a label: `NAME=VALUE`; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    pub new_label: Vec<String>,
    /// Expose one more port: `PORT[-PORT][/PROTOCOL]`; may be given several times.
    #[arg(long, value_name = "PORT")]
    pub new_expose: Vec<String>,
    /// Add a VOLUME; may be given several times.
    #[arg(long, value_name = "PATH")]
    pub new_volume: Vec<String>,
    /// Take an environment variable away; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub remove_env: Vec<String>,
    /// Take a label away; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub remove_label: Vec<String>,
    /// Expose a port no longer: `PORT[-PORT][/PROTOCOL]`; may be given several times.
    #[arg(long, value_name = "PORT")]
    pub remove_expose: Vec<String>,
    /// Take a VOLUME away; may be given several times.
    #[arg(long, value_name = "PATH")]
    pub remove_volume: Vec<String>,
}
