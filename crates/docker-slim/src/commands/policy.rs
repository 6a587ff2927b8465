//! `docker-slim policy`: what an image may do and why; its seccomp profile for other programs.

use super::output::print;
use crate::arguments::{GlobalArguments, PolicyCommand, PolicyCommandArguments, PolicyShowArguments};
use crate::failure::Failure;
use crate::settings;
use slim_policy::{Policy, PolicyFile, dangerous};
use std::io::Write as _;

/// Runs one of the commands about policies.
pub fn run(global: &GlobalArguments, arguments: &PolicyCommandArguments) -> Result<(), Failure> {
    match &arguments.command {
        PolicyCommand::Show(arguments) => show(global, arguments),
    }
}

fn show(global: &GlobalArguments, arguments: &PolicyShowArguments) -> Result<(), Failure> {
    let settings = settings::policy_show(global, arguments)?;
    let file = settings::read_policy(&settings.policy_file)?;
    let policy = if settings.after_entrypoint { &file.after_entrypoint } else { &file.policy };
    match settings.format {
        Some(format) => {
            // Nobody is left to be told when stdout is closed.
            let _ = std::io::stdout().lock().write_all(&policy.written(format, &file.name));
        }
        None => print(global, || told(&file, policy), &file),
    }
    Ok(())
}

/// Every call with its reason, a line each, and the figures.
fn told(file: &PolicyFile, policy: &Policy) -> String {
    let counts = file.counts;
    let mut lines = vec![
        format!(
            "{} ({}): {} system calls allowed, {}",
            file.name,
            file.image,
            policy.allowed.len(),
            policy.mode
        ),
        format!(
            "observed {}, strict {}, balanced {}, broad {}; Docker's default {}",
            counts.observed, counts.strict, counts.balanced, counts.broad, counts.engine_default
        ),
        format!(
            "{} only to start, {} to serve, {} only before the entrypoint's last exec",
            file.phases.only_startup.len(),
            file.phases.serving.len(),
            file.phases.only_before_entrypoint.len()
        ),
        String::new(),
    ];
    let wide = policy.names().map(str::len).max().unwrap_or_default();
    lines.extend(
        policy.allowed.iter().map(|allowed| format!("{:wide$}  {}", allowed.system_call, allowed.reason())),
    );
    lines.push(String::new());
    for call in dangerous(policy) {
        let state = if call.allowed { "ALLOWED" } else { "blocked" };
        lines.push(format!("{state} {}: {}", call.system_call, call.why));
    }
    lines.join("\n")
}
