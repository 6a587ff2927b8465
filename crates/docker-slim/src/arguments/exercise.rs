//! Flags about what drives the program besides HTTP.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(next_help_heading = "What drives the program")]
pub struct ExerciseArguments {
    /// Run this command inside the container; may be given several times. A command with shell characters is run by
    /// `sh -c`, another one as it is.
    #[arg(long, value_name = "COMMAND")]
    pub exec: Vec<String>,
    /// Run the script in this file inside the container, with `sh -c`.
    #[arg(long, value_name = "FILE")]
    pub exec_file: Option<PathBuf>,
    /// Run this command on this machine, with `sh -c`, while the container is observed; may be given several times. It
    /// finds the container in SLIM_CONTAINER and SLIM_ADDRESS, the host's port of its port 8000 in SLIM_PORT_8000.
    #[arg(long, value_name = "COMMAND")]
    pub host_exec: Vec<String>,
    /// The same for the lines of this file.
    #[arg(long, value_name = "FILE")]
    pub host_exec_file: Option<PathBuf>,
    /// When to stop the container: `probe`, `exec`, `host-exec`, `enter`, `signal` (USR1), a number of seconds; several joined by
    /// `&` [default: when probe and commands have ended and the program is quiet].
    #[arg(long, value_name = "MODES")]
    pub continue_after: Option<String>,
}
