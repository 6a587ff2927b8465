//! `docker-slim probe`: the HTTP probe against any address.

use crate::arguments::{GlobalArguments, OutputFormat, ProbeArguments};
use crate::failure::Failure;
use crate::settings::{self, ProbeSettings};
use slim_build::{BuildError, Verdict};
use slim_probe::{Outcome, Progress, Target};
use std::io::Write;
use std::net::IpAddr;
use std::sync::Arc;

/// Nothing there answers well.
const FAILED: u8 = 6;

/// Probes, tells each request on stderr, and the figures on stdout.
pub fn run(global: &GlobalArguments, arguments: &ProbeArguments) -> Result<(), Failure> {
    let settings = settings::probe(arguments)?;
    let outcome = probe(global, &settings)?;
    let verdict = slim_build::judge(&outcome, true, settings.judgement);
    print(global, &outcome);
    match verdict {
        Verdict::Good | Verdict::Tell(_) => Ok(()),
        Verdict::Failed { what, .. } => Err(Failure::new(format!("probe {}: {what}", settings.host), FAILED)),
    }
}

fn probe(global: &GlobalArguments, settings: &ProbeSettings) -> Result<Outcome, Failure> {
    let target = Target {
        pid: None,
        reach: None,
        address: Some(address(&settings.host)?),
        ports: settings.http.ports.clone(),
    };
    let mut tell = |progress: Progress| {
        let line = match progress {
            _ if global.quiet => return,
            Progress::Request { request, status: Some(status) } => format!("{status} {request}"),
            Progress::Request { request, status: None } => format!("--- {request}: no answer"),
            _ => return,
        };
        // Nobody is left to be told when stderr is closed.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
    };
    slim_probe::probe(&settings.http, &target, &mut tell, &Arc::default(), &|| true)
        .map_err(|error| Failure::new(format!("probe {}: {error}", settings.host), FAILED))
}

/// The first address of a host.
fn address(host: &str) -> Result<IpAddr, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::from(BuildError::Bug(format!("start the async runtime: {error}"))))?;
    let found = runtime.block_on(slim_engine::resolve::addresses(host));
    let failed = |reason: String| Failure::new(format!("find the host {host}: {reason}"), FAILED);
    found
        .map_err(|error| failed(error.to_string()))?
        .first()
        .copied()
        .ok_or_else(|| failed("it has no address".to_owned()))
}

fn print(global: &GlobalArguments, outcome: &Outcome) {
    let text = match global.output_format {
        OutputFormat::Json => format!(
            "{:#}",
            serde_json::json!({
                "requests": outcome.requests,
                "answers_below_500": outcome.answers_below_500,
                "failures": outcome.failures,
                "ports": outcome.ports.iter().map(ToString::to_string).collect::<Vec<_>>(),
                "recording": outcome.recording,
            })
        ),
        OutputFormat::Text if global.quiet => return,
        OutputFormat::Text => format!(
            "{}: {} requests, {} answered below 500, {} failed",
            outcome.ports_tried(),
            outcome.requests,
            outcome.answers_below_500,
            outcome.failures
        ),
    };
    // Nobody is left to be told when stdout is closed.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
