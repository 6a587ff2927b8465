//! `docker-slim build`: one slim image of one fat one.

use crate::arguments::{BuildArguments, GlobalArguments, OutputFormat};
use crate::failure::Failure;
use crate::outside::Outside;
use crate::settings;
use crate::terminal::Terminal;
use slim_build::BuildError;
use slim_report::BuildReport;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

/// How long blocking workers may still take after everything has been cleaned up.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Builds, writes the report and prints the result.
pub fn run(global: &GlobalArguments, arguments: &BuildArguments) -> Result<(), Failure> {
    let settings = settings::build(global, arguments)?;
    let inputs = settings::endpoint_inputs(global);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::from(BuildError::Bug(format!("start the async runtime: {error}"))))?;
    let outcome = runtime.block_on(async {
        let outside =
            Outside::new().map_err(|error| BuildError::Bug(format!("install signal handlers: {error}")))?;
        let terminal = Terminal::new(global.quiet);
        let engine = slim_engine::connect(&inputs).await.map_err(BuildError::from)?;
        slim_build::build(engine.as_ref(), &settings, &terminal, &outside).await
    });
    runtime.shutdown_timeout(SHUTDOWN);
    let report = outcome?;
    if let Some(path) = settings::report_path(global) {
        write_report(path, &report)?;
    }
    print(global, &report);
    Ok(())
}

fn write_report(path: &Path, report: &BuildReport) -> Result<(), Failure> {
    let text = serde_json::to_vec_pretty(report).expect("a report has string keys only");
    slim_build::write_whole(path, |file| {
        file.write_all(&text)?;
        file.write_all(b"\n")
    })
    .map_err(|error| Failure::from(error).with_hint("--report names another file, or off"))
}

fn print(global: &GlobalArguments, report: &BuildReport) {
    let text = match global.output_format {
        OutputFormat::Json => serde_json::to_string_pretty(report).expect("a report has string keys only"),
        OutputFormat::Text if global.quiet => return,
        OutputFormat::Text => report.summary(),
    };
    // Nobody is left to be told when stdout is closed.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
