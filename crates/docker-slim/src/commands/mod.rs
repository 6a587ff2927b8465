//! One file a command.

mod attach;
mod build;
mod choice;
mod collector;
mod completion;
mod containers;
mod copy;
mod diff;
mod difference;
mod documentation;
mod explain;
mod fat_image;
mod foreground;
mod harden;
mod images;
mod launch;
mod metadata;
mod output;
mod own_store;
mod policy;
mod probe;
mod pull;
mod push;
mod registry;
mod run;
mod sidecar;
mod store;
mod trace;
mod transfer;
mod version;
mod with_engine;
mod with_registry;

use crate::arguments::{Arguments, Command, GlobalArguments, LogFormat, LogLevel};
use crate::failure::Failure;
use std::fs::File;
use std::process::ExitCode;
use std::sync::Mutex;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::fmt::writer::BoxMakeWriter;

/// Runs the command and gives the exit code.
pub fn run(arguments: Arguments) -> ExitCode {
    let Arguments { global, command } = arguments;
    if let Command::ContainerHelper { arguments } = &command {
        // Its output is a container's: no log.
        return ExitCode::from(slim_engine::embedded::help(arguments));
    }
    let outcome = start_log(&global).and_then(|()| run_command(&global, command));
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.tell(global.output_format),
    }
}

fn run_command(global: &GlobalArguments, command: Command) -> Result<(), Failure> {
    match command {
        Command::Build(arguments) => build::build(global, &arguments),
        Command::Harden(arguments) => harden::harden(global, &arguments),
        Command::Profile(arguments) => build::profile(global, &arguments),
        Command::Probe(arguments) => probe::run(global, &arguments),
        Command::Explain(arguments) => explain::run(global, &arguments),
        Command::Diff(arguments) => diff::run(global, &arguments),
        Command::Trace(arguments) => trace::run(global, &arguments),
        Command::Policy(arguments) => policy::run(global, &arguments),
        Command::Launch(arguments) => launch::run(&arguments),
        Command::Run(arguments) => run::run(global, &arguments),
        Command::Ps(arguments) => containers::list(global, &arguments),
        Command::Logs(arguments) => containers::logs(global, &arguments),
        Command::Start(arguments) => containers::start(global, &arguments),
        Command::Exec(arguments) => containers::execute(global, &arguments),
        Command::Stop(arguments) => containers::stop(global, &arguments),
        Command::Rm(arguments) => containers::remove(global, &arguments),
        Command::Store(arguments) => store::run(global, &arguments),
        Command::Images(arguments) => images::run(global, &arguments),
        Command::Pull(arguments) => pull::run(global, &arguments),
        Command::Push(arguments) => push::run(global, &arguments),
        Command::Copy(arguments) => copy::run(global, &arguments),
        Command::Registry(arguments) => registry::run(global, &arguments),
        Command::Version => version::run(global),
        Command::Completion { shell } => {
            completion::run(shell);
            Ok(())
        }
        Command::Documentation { folder } => documentation::run(&folder),
        Command::DockerCliPluginMetadata => {
            metadata::run();
            Ok(())
        }
        Command::Collector => collector::run(),
        Command::Sidecar => sidecar::run(),
        Command::ContainerHelper { .. } => Ok(()),
    }
}

/// Sends log lines to stderr, or to the file of `--log`.
fn start_log(global: &GlobalArguments) -> Result<(), Failure> {
    let level = match global.log_level {
        _ if global.debug => LevelFilter::DEBUG,
        _ if global.verbose => LevelFilter::INFO,
        LogLevel::Trace => LevelFilter::TRACE,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Error => LevelFilter::ERROR,
    };
    let writer = match &global.log {
        Some(path) => {
            let file =
                File::options().create(true).append(true).open(path).map_err(|error| {
                    Failure::usage(format!("write the log to {}: {error}", path.display()))
                })?;
            BoxMakeWriter::new(Mutex::new(file))
        }
        None => BoxMakeWriter::new(std::io::stderr),
    };
    let builder =
        tracing_subscriber::fmt().with_max_level(level).with_ansi(global.log.is_none()).with_writer(writer);
    match global.log_format {
        LogFormat::Text => builder.without_time().init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
