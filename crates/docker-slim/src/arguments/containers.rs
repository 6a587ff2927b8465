//! Flags of `ps`, `logs`, `start`, `exec`, `top`, `inspect`, `stop` and `rm`. Their names are Docker's.

use clap::Args;

/// Flags of `ps`.
#[derive(Debug, Args)]
pub struct PsArguments {
    /// Those that do not run as well.
    #[arg(short, long)]
    pub all: bool,
}

/// Flags of `logs`.
#[derive(Debug, Args)]
pub struct LogsArguments {
    /// Go on until the container ends.
    #[arg(short, long)]
    pub follow: bool,
    /// Name, id or beginning of an id.
    pub container: String,
}

/// Flags of `stop`.
#[derive(Debug, Args)]
pub struct StopArguments {
    /// Seconds that a container has before it is killed.
    #[arg(short, long, value_name = "SECONDS", default_value_t = 10)]
    pub time: u64,
    /// Names, ids or beginnings of ids.
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// Flags of `rm`.
#[derive(Debug, Args)]
pub struct RmArguments {
    /// Kill those that run.
    #[arg(short, long)]
    pub force: bool,
    /// Names, ids or beginnings of ids.
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// Flags of `start`.
#[derive(Debug, Args)]
pub struct StartArguments {
    /// Names, ids or beginnings of ids.
    #[arg(required = true)]
    pub containers: Vec<String>,
}

/// Flags of `exec`.
#[derive(Debug, Args)]
pub struct ExecArguments {
    /// Set a variable: NAME=VALUE.
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Run as this user: name or number, with :GROUP behind it.
    #[arg(short, long)]
    pub user: Option<String>,
    /// Working folder.
    #[arg(short, long, value_name = "PATH")]
    pub workdir: Option<String>,
    /// Hand standard input on, as it comes.
    #[arg(short, long)]
    pub interactive: bool,
    /// Give the command a terminal.
    #[arg(short, long)]
    pub tty: bool,
    /// Name, id or beginning of an id.
    pub container: String,
    /// The command. Its exit code is ours.
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}

/// Flags of `top`.
#[derive(Debug, Args)]
pub struct TopArguments {
    /// Name, id or beginning of an id.
    pub container: String,
    /// Options of ps [default: -ef].
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "PS OPTIONS")]
    pub options: Vec<String>,
}

/// Flags of `inspect`.
#[derive(Debug, Args)]
pub struct InspectArguments {
    /// Names, ids or beginnings of ids.
    #[arg(required = true)]
    pub containers: Vec<String>,
}
