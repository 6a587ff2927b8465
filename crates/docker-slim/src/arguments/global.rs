//! Flags that every command takes, before or after its name.

use clap::{Args, ValueEnum};
use std::path::PathBuf;

/// Flags that every command takes, before or after its name.
#[derive(Debug, Args)]
#[command(next_help_heading = "Global options")]
pub struct GlobalArguments {
    /// Where to write the command's report (JSON); `off` for none.
    #[arg(long, global = true, default_value = "slim.report.json", value_name = "FILE")]
    pub report: String,
    /// Folder that holds `.images` with the artifacts [default: the working directory].
    #[arg(long, global = true, value_name = "FOLDER")]
    pub state_path: Option<PathBuf>,
    /// Which engine runs containers; `auto`: the one that has the image (Docker, Podman, the embedded one), else the first that
    /// answers, else the embedded one [default: auto].
    #[arg(long, global = true, value_enum, num_args = 0..=1, default_missing_value = "auto", value_name = "ENGINE")]
    pub engine: Option<EngineName>,
    /// Folder of the embedded engine's images and containers: an empty one, or one that they are in already [default:
    /// /var/lib/docker-slim; for others than root docker-slim in $XDG_DATA_HOME, or in ~/.local/share].
    #[arg(long, global = true, value_name = "FOLDER")]
    pub store_root: Option<PathBuf>,
    /// Most bytes that an image from a registry, an archive or a folder may unpack to: `10g`, `500m`.
    #[arg(long, global = true, default_value = "64g", value_parser = crate::settings::size, value_name = "BYTES")]
    pub unpack_limit: u64,
    /// Address of the engine: unix:///path, tcp://host:port.
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub host: Option<String>,
    /// Socket of the engine, as --host: an address or a path.
    #[arg(long, global = true, value_name = "ADDRESS")]
    pub crt_connection: Option<String>,
    /// Talk TLS with an engine reached by TCP; `=false`: do not, whatever the environment says [default: as DOCKER_TLS,
    /// DOCKER_TLS_VERIFY and --tls-cert-path have it].
    #[arg(long, global = true, value_name = "BOOL")]
    pub tls: Option<bool>,
    /// Check the engine's certificate.
    #[arg(long, global = true, value_name = "BOOL")]
    pub tls_verify: Option<bool>,
    /// Folder with ca.pem, cert.pem and key.pem for TLS.
    #[arg(long, global = true, value_name = "FOLDER")]
    pub tls_cert_path: Option<PathBuf>,
    /// Name of the docker context to use.
    #[arg(long, global = true, value_name = "NAME")]
    pub crt_context: Option<String>,
    /// Say nothing but errors (and the JSON document, if asked for).
    #[arg(long, global = true)]
    pub quiet: bool,
    /// Log at level debug.
    #[arg(long, global = true)]
    pub debug: bool,
    /// Log at level info.
    #[arg(long, global = true)]
    pub verbose: bool,
    /// Least level of what is logged to stderr.
    #[arg(long, global = true, value_enum, default_value_t = LogLevel::Warn)]
    pub log_level: LogLevel,
    /// Write the log to this file instead of stderr.
    #[arg(long, global = true, value_name = "FILE")]
    pub log: Option<PathBuf>,
    /// How log lines are written.
    #[arg(long, global = true, value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// `json`: one JSON document on stdout, nothing else there.
    #[arg(long, global = true, value_enum, default_value_t = OutputFormat::Text)]
    pub output_format: OutputFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum EngineName {
    Auto,
    /// By its API; Podman speaks it, too.
    Docker,
    /// By its Docker-compatible API, at its usual sockets or CONTAINER_HOST.
    Podman,
    /// Without a daemon, in this program.
    Embedded,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogLevel {
    Trace,
    Debug,
    Info,
    Warn,
    Error,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    Text,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    Text,
    Json,
}
