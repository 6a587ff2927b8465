//! Flags about what is taken away between the entrypoint and the program that stays.

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(next_help_heading = "What the program that stays may do")]
pub struct LaunchArguments {
    /// Up to when the seccomp profile holds alone. `entrypoint`: `docker-slim launch` takes the place of the program that the
    /// entrypoint execs last, and takes away what only entrypoint scripts and helpers used; it sets no-new-privileges.
    #[arg(long, value_name = "PHASE", value_enum, default_value_t = SeccompPhase::Container)]
    pub seccomp_phase: SeccompPhase,
    /// Let the program that stays do with files only what it was seen to do, by Landlock, where the kernel has it. Paths
    /// that are mounted when the container runs are refused, but for volumes of the image.
    #[arg(long)]
    pub landlock: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SeccompPhase {
    /// One profile for the container's whole life.
    Container,
    /// A tighter filter after the entrypoint.
    Entrypoint,
}
