//! A trace in figures, for a person.

use crate::steps::Unseen;
use crate::trace::{Access, Phase, Process, ProcessId, Trace};
use serde::Serialize;
use slim_image::ImagePath;
use std::collections::{BTreeMap, BTreeSet};

/// What a trace holds. The container runtime's own work is left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub image: String,
    pub kernel: String,
    pub architecture: String,
    /// Programs in the order of the trace: each parent before its children.
    pub processes: Vec<ProcessLine>,
    pub phases: Vec<PhaseLine>,
    /// Paths touched.
    pub paths: usize,
    /// Of them, those that were looked for and never found.
    pub missing: usize,
    /// Directories with the number of files in them that were opened or run, the most first.
    pub directories: Vec<(ImagePath, usize)>,
    /// `tcp/8000`.
    pub listening: BTreeSet<String>,
    pub system_calls: BTreeSet<String>,
    /// Calls that were refused at least once.
    pub refused_calls: BTreeSet<String>,
    /// `None` where the exercise had fewer than two steps.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen: Option<Unseen>,
}

/// One program, or several that look alike.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProcessLine {
    /// How many parents it has in the trace.
    pub depth: usize,
    /// The executable file, and its arguments.
    pub command: String,
    pub count: usize,
}

/// What was seen in one part of the run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PhaseLine {
    pub phase: &'static str,
    pub paths: usize,
    /// Paths that no phase before touched.
    pub new_paths: usize,
    pub system_calls: usize,
}

impl Summary {
    /// The figures of a trace.
    #[must_use]
    pub fn of(trace: &Trace) -> Self {
        let touched = trace.touched();
        let is_missing = |access: &&BTreeSet<Access>| access.iter().all(|access| *access == Access::Missing);
        let mut directories: BTreeMap<ImagePath, usize> = BTreeMap::new();
        for (path, access) in &touched {
            if access.contains(&Access::Open) || access.contains(&Access::Execute) {
                let parent = ImagePath::new(path.as_bytes()).parent().unwrap_or_else(ImagePath::root);
                *directories.entry(parent).or_default() += 1;
            }
        }
        let mut directories: Vec<(ImagePath, usize)> = directories.into_iter().collect();
        directories.sort_by(|one, other| other.1.cmp(&one.1).then_with(|| one.0.cmp(&other.0)));
        Self {
            image: trace.image.clone(),
            kernel: trace.kernel.clone(),
            architecture: trace.architecture.clone(),
            processes: processes(trace),
            phases: phases(trace),
            paths: touched.len(),
            missing: touched.values().filter(is_missing).count(),
            directories,
            listening: trace.ports(),
            system_calls: trace.calls(),
            refused_calls: trace.refused_calls(),
            unseen: trace.steps.unseen(),
        }
    }
}

fn processes(trace: &Trace) -> Vec<ProcessLine> {
    let mut depths: Vec<usize> = Vec::with_capacity(trace.processes.len());
    let mut lines: Vec<ProcessLine> = Vec::new();
    for process in &trace.processes {
        let is_program = |process: &Process| process.executable.is_some();
        let above = process.parent.and_then(|ProcessId(parent)| {
            // Of processes that only forked, the line is their parent's.
            let depth = *depths.get(parent as usize)?;
            Some(depth + usize::from(trace.processes.get(parent as usize).is_some_and(is_program)))
        });
        let depth = above.unwrap_or_default();
        depths.push(depth);
        let Some(executable) = &process.executable else { continue };
        let arguments = process.argv.iter().skip(1).map(String::as_str);
        let command =
            std::iter::once(executable.to_string().as_str()).chain(arguments).collect::<Vec<_>>().join(" ");
        match lines.last_mut().filter(|last| last.command == command) {
            Some(last) => last.count += 1,
            None => lines.push(ProcessLine { depth, command, count: 1 }),
        }
    }
    lines
}

fn phases(trace: &Trace) -> Vec<PhaseLine> {
    let mut before = BTreeSet::new();
    let parts = [(Phase::Startup, "startup"), (Phase::Exercise, "exercise"), (Phase::Shutdown, "shutdown")];
    parts
        .into_iter()
        .map(|(phase, name)| {
            let files = trace.files.iter().filter(|file| file.phases.contains(&phase));
            let paths: BTreeSet<_> = files.map(|file| &file.path).collect();
            let calls: BTreeSet<&String> = trace
                .system_calls
                .iter()
                .filter(|set| set.phase == phase)
                .flat_map(|set| &set.calls)
                .collect();
            let new_paths = paths.iter().filter(|path| before.insert(**path)).count();
            PhaseLine { phase: name, paths: paths.len(), new_paths, system_calls: calls.len() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TracedPath;
    use crate::trace::FileAccess;

    #[test]
    fn figures_go_by_path_and_phase_and_leave_the_runtime_out() {
        let mut trace = Trace::empty("sha256:0");
        let program = |parent, name: &str| Process {
            parent,
            began: Phase::Startup,
            executable: Some(TracedPath::new(name)),
            invoked_as: None,
            interpreter: None,
            shebang: Vec::new(),
            argv: vec!["x".to_owned(), "-a".to_owned()],
        };
        trace.processes = vec![
            program(None, "/bin/sh"),
            program(Some(ProcessId(0)), "/bin/ls"),
            program(Some(ProcessId(0)), "/bin/ls"),
        ];
        let file = |path: &str, process, access, phases: &[Phase]| FileAccess {
            path: TracedPath::new(path),
            process: ProcessId(process),
            access: [access].into(),
            phases: phases.iter().copied().collect(),
        };
        trace.files = vec![
            file("/etc/a", 0, Access::Open, &[Phase::Startup, Phase::Exercise]),
            file("/etc/a", 1, Access::Stat, &[Phase::Exercise]),
            file("/etc/b", 0, Access::Missing, &[Phase::Exercise]),
            file("/runtime", 0, Access::Open, &[Phase::Runtime]),
        ];
        let summary = Summary::of(&trace);
        assert_eq!((summary.paths, summary.missing), (2, 1));
        assert_eq!(summary.directories, [(ImagePath::from("/etc"), 1)]);
        let processes = summary.processes.iter().map(|line| (line.depth, line.command.as_str(), line.count));
        assert_eq!(processes.collect::<Vec<_>>(), [(0, "/bin/sh -a", 1), (1, "/bin/ls -a", 2)]);
        let phases = summary.phases.iter().map(|line| (line.paths, line.new_paths));
        assert_eq!(phases.collect::<Vec<_>>(), [(1, 1), (2, 1), (0, 0)]);
    }
}
