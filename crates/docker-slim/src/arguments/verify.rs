//! Flags about how the slim image is proved.

use clap::{Args, ValueEnum};

#[derive(Debug, Args)]
#[command(next_help_heading = "How the slim image is proved")]
pub struct VerifyArguments {
    /// Run the slim image under its seccomp profile and compare what it does with the fat one, before it gets its name.
    /// `report`: differences are told, and the image gets its name all the same; `off`: it is not run.
    #[arg(
        long,
        value_enum,
        value_name = "MODE",
        num_args = 0..=1,
        require_equals = true,
        default_value_t = VerifyMode::Strict,
        default_missing_value = "strict"
    )]
    pub verify: VerifyMode,
    /// Add what the slim image looked for in vain, and what its profile refused it, and try again, at most so many times;
    /// 0: never.
    #[arg(long, value_name = "N", default_value_t = slim_build::Verify::ROUNDS)]
    pub verify_rounds: u32,
    /// Run this command on this machine, with `sh -c`, against the running slim container; its exit code decides. It
    /// finds the container in DOCKER_SLIM_CONTAINER and DOCKER_SLIM_HOST, its port 8000 in DOCKER_SLIM_PORT_8000. May be
    /// given several times.
    #[arg(long, value_name = "COMMAND")]
    pub verify_cmd: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum VerifyMode {
    #[value(aliases = ["false", "no", "0"])]
    Off,
    Report,
    #[value(aliases = ["true", "yes", "on", "1"])]
    Strict,
}
