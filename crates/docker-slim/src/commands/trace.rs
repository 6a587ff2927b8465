//! `docker-slim trace`: merges, shows and compares trace files.

use super::difference::{of_traces, tell};
use super::output::{counted, print};
use crate::arguments::{
    GlobalArguments, MergeArguments, ShowArguments, TraceArguments, TraceCommand, TraceDiffArguments,
};
use crate::failure::Failure;
use crate::settings::read_trace;
use slim_trace::{Summary, Trace};

/// Runs one of the commands about traces.
pub fn run(global: &GlobalArguments, arguments: &TraceArguments) -> Result<(), Failure> {
    match &arguments.command {
        TraceCommand::Merge(arguments) => merge(global, arguments),
        TraceCommand::Show(arguments) => show(global, arguments),
        TraceCommand::Diff(arguments) => diff(global, arguments),
    }
}

fn merge(global: &GlobalArguments, arguments: &MergeArguments) -> Result<(), Failure> {
    let mut merged: Option<Trace> = None;
    for path in &arguments.files {
        let trace = read_trace(path)?;
        merged = Some(match merged {
            None => trace,
            Some(before) => {
                before.check_mergeable(&trace).map_err(|error| {
                    let first = arguments.files[0].display();
                    Failure::usage(format!("merge {first} and {}: {error}", path.display()))
                })?;
                before.merge(&trace)
            }
        });
    }
    let Some(merged) = merged else { return Err(Failure::usage("merge: no trace was given")) };
    let output = &arguments.output;
    slim_build::write_whole(output, |file| file.write_all(&merged.to_json()))
        .map_err(|error| Failure::from(error).with_hint("-o names another file"))?;
    let summary = Summary::of(&merged);
    let text = || {
        format!(
            "{} of {} in {}: {}, {}, {}",
            counted(arguments.files.len(), "trace"),
            merged.image,
            output.display(),
            counted(merged.processes.len(), "process"),
            counted(summary.paths, "path"),
            counted(summary.system_calls.len(), "system call"),
        )
    };
    print(global, text, &summary);
    Ok(())
}

fn show(global: &GlobalArguments, arguments: &ShowArguments) -> Result<(), Failure> {
    let trace = read_trace(&arguments.file)?;
    let summary = Summary::of(&trace);
    print(global, || told(&summary, arguments.top), &summary);
    Ok(())
}

fn diff(global: &GlobalArguments, arguments: &TraceDiffArguments) -> Result<(), Failure> {
    let (before, after) = (read_trace(&arguments.before)?, read_trace(&arguments.after)?);
    let difference = before.difference(&after);
    let shown = arguments.shown;
    tell(global, shown, || of_traces(&difference, shown.top), &difference, difference.is_empty())
}

fn told(summary: &Summary, top: usize) -> String {
    let mut lines =
        vec![format!("image {}, seen on {} {}", summary.image, summary.architecture, summary.kernel)];
    lines.push("processes:".to_owned());
    for process in &summary.processes {
        let indent = "  ".repeat(process.depth.min(20) + 1);
        let times = if process.count > 1 { format!(" ({} of them)", process.count) } else { String::new() };
        lines.push(format!("{indent}{}{times}", process.command));
    }
    lines.push("phases:".to_owned());
    for phase in &summary.phases {
        lines.push(format!(
            "  {:<10}{:>6} paths, {:>4} of them first touched then, {:>4} system calls",
            phase.phase, phase.paths, phase.new_paths, phase.system_calls
        ));
    }
    lines.push(format!(
        "files: {} touched, {} of them looked for and missing; opened or run, by directory:",
        counted(summary.paths, "path"),
        summary.missing
    ));
    let shown = if top == 0 { summary.directories.len() } else { top.min(summary.directories.len()) };
    lines.extend(summary.directories[..shown].iter().map(|(path, count)| format!("  {count:>6}  {path}")));
    if shown < summary.directories.len() {
        lines.push(format!(
            "  … and {} more directories (--top 0 shows all)",
            summary.directories.len() - shown
        ));
    }
    if !summary.listening.is_empty() {
        let ports: Vec<&str> = summary.listening.iter().map(String::as_str).collect();
        lines.push(format!("listening: {}", ports.join(", ")));
    }
    let calls: Vec<&str> = summary.system_calls.iter().map(String::as_str).collect();
    lines.push(format!("{}: {}", counted(calls.len(), "system call"), calls.join(" ")));
    if let Some(unseen) = &summary.unseen {
        let curve: Vec<String> = unseen.curve.iter().map(ToString::to_string).collect();
        lines.push(format!(
            "files opened after the start, and after each of {} steps: {}",
            unseen.steps,
            curve.join(" ")
        ));
        lines.push(format!(
            "about {} would turn up: of {} that the exercise opened, {} came in one step only, {} in two",
            counted(usize::try_from(unseen.more).unwrap_or(usize::MAX), "more file"),
            unseen.of_the_exercise,
            unseen.in_one_step,
            unseen.in_two_steps
        ));
    }
    if !summary.refused_calls.is_empty() {
        let refused: Vec<&str> = summary.refused_calls.iter().map(String::as_str).collect();
        lines.push(format!("refused at least once: {}", refused.join(" ")));
    }
    lines.join("\n")
}
