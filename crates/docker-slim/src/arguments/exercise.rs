//! Flags about what drives the program besides HTTP.

use clap::Args;

#[derive(Debug, Args)]
#[command(next_help_heading = "What drives the program")]
pub struct ExerciseArguments {
    /// Run this command inside the container; may be given several times. A command with shell characters is run by
    /// `sh -c`, another one as it is.
    #[arg(long, value_name = "COMMAND")]
    pub exec: Vec<String>,
    /// When to stop the container: `probe`, `exec`, `enter`, `signal` (USR1), a number of seconds; several joined by
    /// `&` [default: when probe and exec have ended and the program is quiet].
    #[arg(long, value_name = "MODES")]
    pub continue_after: Option<String>,
}
