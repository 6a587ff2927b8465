//! The command line as clap sees it: names, defaults and help, no logic. Flag names and environment variables are
//! those that users of DockerSlim know.

use clap::{Args, Parser, Subcommand, ValueEnum};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Makes a container image small: runs it, watches what its program really uses, and writes an image with that and
/// nothing else.
#[derive(Debug, Parser)]
#[command(name = "docker-slim", version, arg_required_else_help = true, max_term_width = 110)]
pub struct Arguments {
    #[command(flatten)]
    pub global: GlobalArguments,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Makes a slim image of a fat one.
    #[command(visible_aliases = ["slim", "b"])]
    Build(Box<BuildArguments>),
    /// Shows the version of the program and of the formats it writes.
    Version,
    /// Serves an image's files; runs inside a container of that image.
    #[command(hide = true)]
    Collector,
}

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
    /// Address of the engine: unix:///path, tcp://host:port.
    #[arg(long, global = true, env = "DSLIM_HOST", value_name = "ADDRESS")]
    pub host: Option<String>,
    /// Name of the docker context to use.
    #[arg(long, global = true, env = "DSLIM_CRT_CONTEXT", value_name = "NAME")]
    pub crt_context: Option<String>,
    /// Say nothing but errors (and the JSON document, if asked for).
    #[arg(long, global = true, env = "DSLIM_QUIET", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set)]
    pub quiet: bool,
    /// Log at level debug.
    #[arg(long, global = true, env = "DSLIM_DEBUG", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set)]
    pub debug: bool,
    /// Log at level info.
    #[arg(long, global = true, env = "DSLIM_VERBOSE", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set)]
    pub verbose: bool,
    /// Least level of what is logged to stderr.
    #[arg(long, global = true, env = "DSLIM_LOG_LEVEL", value_enum, default_value_t = LogLevel::Warn)]
    pub log_level: LogLevel,
    /// How log lines are written.
    #[arg(long, global = true, env = "DSLIM_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
    /// `json`: one JSON document on stdout, nothing else there.
    #[arg(long, global = true, env = "DSLIM_OUTPUT_FORMAT", value_enum, default_value_t = OutputFormat::Text)]
    pub output_format: OutputFormat,
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

#[derive(Debug, Args)]
pub struct BuildArguments {
    /// The fat image: name or id.
    #[arg(value_name = "IMAGE")]
    pub image: Option<String>,
    /// The fat image: name or id (the same as the argument).
    #[arg(long, env = "DSLIM_TARGET", value_name = "IMAGE")]
    pub target: Option<String>,
    /// Name of the slim image; may be given several times [default: <repository>.slim].
    #[arg(long, env = "DSLIM_TARGET_TAG", value_name = "NAME")]
    pub tag: Vec<String>,
    /// Also copy the artifacts to this folder.
    #[arg(long, env = "DSLIM_CP_META_ARTIFACTS", value_name = "FOLDER")]
    pub copy_meta_artifacts: Option<PathBuf>,
    /// Show the container's log when it has stopped.
    #[arg(long, env = "DSLIM_SHOW_CLOGS", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set)]
    pub show_clogs: bool,

    #[command(flatten)]
    pub exercise: ExerciseArguments,
    #[command(flatten)]
    pub container: ContainerArguments,
    #[command(flatten)]
    pub keep: KeepArguments,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What drives the program")]
pub struct ExerciseArguments {
    /// Probe the program over HTTP: GET / on every port, then its links. On by default; given by name, a program that
    /// answers no request is an error; `=false` switches it off.
    #[arg(long, env = "DSLIM_HTTP_PROBE", num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")]
    pub http_probe: Option<bool>,
    /// Run this command inside the container; may be given several times. A command with shell characters is run by
    /// `sh -c`, another one as it is.
    #[arg(long, env = "DSLIM_RC_EXE", value_name = "COMMAND")]
    pub exec: Vec<String>,
    /// When to stop the container: `probe`, `exec`, `enter`, `signal` (USR1), a number of seconds; several joined by
    /// `&` [default: when probe and exec have ended and the program is quiet].
    #[arg(long, env = "DSLIM_CONTINUE_AFTER", value_name = "MODES")]
    pub continue_after: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "How the container runs")]
pub struct ContainerArguments {
    /// Publish a port: `[[HOST_IP:]HOST_PORT:]PORT[/PROTOCOL]`; may be given several times.
    #[arg(long, env = "DSLIM_PUBLISH_PORT", value_name = "PORT")]
    pub publish_port: Vec<String>,
    /// Publish every exposed port under the same number on the host.
    #[arg(long, env = "DSLIM_PUBLISH_EXPOSED", num_args = 0..=1, require_equals = true, default_value = "false", default_missing_value = "true", action = clap::ArgAction::Set)]
    pub publish_exposed_ports: bool,
    /// Set an environment variable: `NAME=VALUE`, or `NAME` to take the value from here.
    #[arg(long, env = "DSLIM_RC_ENV", value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Other ENTRYPOINT: JSON array or shell words.
    #[arg(long, env = "DSLIM_RC_ENTRYPOINT", value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// Other CMD: JSON array or shell words.
    #[arg(long, env = "DSLIM_RC_CMD", value_name = "COMMAND")]
    pub cmd: Option<String>,
    /// Other USER.
    #[arg(long, env = "DSLIM_RC_USER", value_name = "USER")]
    pub user: Option<String>,
    /// Other WORKDIR.
    #[arg(long, env = "DSLIM_RC_WORKDIR", value_name = "FOLDER")]
    pub workdir: Option<String>,
    /// Mount a folder or volume: `SOURCE:TARGET[:OPTIONS]`; may be given several times. Never part of the slim image.
    #[arg(long, env = "DSLIM_MOUNT", value_name = "MOUNT")]
    pub mount: Vec<String>,
    /// Network to join.
    #[arg(long, env = "DSLIM_RC_NET", value_name = "NETWORK")]
    pub network: Option<String>,
    /// Host name of the container.
    #[arg(long, env = "DSLIM_RC_HOSTNAME", value_name = "NAME")]
    pub hostname: Option<String>,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "What to keep beyond the observed")]
pub struct KeepArguments {
    /// Keep this path; a folder with all below it. May be given several times.
    #[arg(long, env = "DSLIM_INCLUDE_PATH", value_name = "PATH")]
    pub include_path: Vec<String>,
    /// Keep this ELF file with all that it needs.
    #[arg(long, env = "DSLIM_INCLUDE_BIN", value_name = "PATH")]
    pub include_bin: Vec<String>,
    /// Keep the program of this name (looked up in PATH) with all that it needs.
    #[arg(long, env = "DSLIM_INCLUDE_EXE", value_name = "NAME")]
    pub include_exe: Vec<String>,
    /// Leave out what matches this pattern (`**` crosses folders), whatever else says it is needed.
    #[arg(long, env = "DSLIM_EXCLUDE_PATTERN", value_name = "PATTERN")]
    pub exclude_pattern: Vec<String>,
}

/// The long names of all flags of a command and its subcommands, without dashes.
pub fn long_names(command: &clap::Command) -> BTreeSet<String> {
    let mut names: BTreeSet<String> =
        command.get_arguments().filter_map(clap::Arg::get_long).map(str::to_owned).collect();
    for subcommand in command.get_subcommands() {
        names.extend(long_names(subcommand));
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flags::{State, table};
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_flag_works_exactly_when_the_table_says_so() {
        let known = long_names(&Arguments::command());
        for flag in table().filter(|flag| ["global", "common", "build"].contains(&flag.group)) {
            assert_eq!(known.contains(flag.name), flag.state == State::Works, "--{}", flag.name);
        }
    }
}
