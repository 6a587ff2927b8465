//! `docker-slim version`.

use crate::arguments::{GlobalArguments, OutputFormat};
use crate::failure::Failure;
use std::io::Write;

/// Prints program and format versions on stdout.
pub fn run(global: &GlobalArguments) -> Result<(), Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let text = match global.output_format {
        OutputFormat::Text => format!(
            "docker-slim {version}\ntrace format {}\nkeep format {}\nreport format {}\nregistry format {}",
            slim_trace::VERSION,
            slim_keep::VERSION,
            slim_report::VERSION,
            slim_registry::server::FORMAT_VERSION
        ),
        OutputFormat::Json => format!(
            "{:#}",
            serde_json::json!({
                "version": version,
                "formats": {
                    "trace": slim_trace::VERSION,
                    "keep": slim_keep::VERSION,
                    "report": slim_report::VERSION,
                    "registry": slim_registry::server::FORMAT_VERSION,
                },
            })
        ),
    };
    // Nobody is left to be told when stdout is closed.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
    Ok(())
}
