//! One file a command.

mod build;
mod collector;
mod version;

use crate::arguments::{Arguments, Command, GlobalArguments, LogFormat, LogLevel};
use std::process::ExitCode;
use tracing::level_filters::LevelFilter;

/// Runs the command and gives the exit code.
pub fn run(arguments: Arguments) -> ExitCode {
    let Arguments { global, command } = arguments;
    log_to_stderr(&global);
    let outcome = match command {
        Command::Build(build_arguments) => build::run(&global, &build_arguments),
        Command::Version => version::run(&global),
        Command::Collector => collector::run(),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(global.output_format),
    }
}

fn log_to_stderr(global: &GlobalArguments) {
    let level = match global.log_level {
        _ if global.debug => LevelFilter::DEBUG,
        _ if global.verbose => LevelFilter::INFO,
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let builder = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::stderr);
    match global.log_format {
        LogFormat::Text => builder.without_time().init(),
        LogFormat::Json => builder.json().init(),
    }
}
