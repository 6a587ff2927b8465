//! Which helpers run under a profile of their own, within the main one.
//!
//! A helper is a program that another one of the container runs beside itself: not what comes from outside (`docker
//! exec`), and not what the first program becomes by exec. It gets a profile of its own where its needs are very different:
//! where it, or what it runs, uses a capability, changes a directory, or runs a program that nobody else does.

use super::capabilities;
use super::permissions::Permissions;
use super::rules::both;
use super::scope::Scope;
use crate::inputs::{Inputs, KeptKind};
use crate::launch::{is_copy, line};
use crate::paths::resolve;
use slim_image::ImagePath;
use slim_trace::{Process, ProcessId, Trace};
use std::collections::{BTreeMap, BTreeSet};

/// The main profile's part, and then each helper's.
pub(crate) fn scopes<'a>(trace: &'a Trace, inputs: &'a Inputs, name: &str) -> Vec<Scope<'a>> {
    let all: BTreeSet<ProcessId> = (0..).zip(&trace.processes).map(|(id, _)| ProcessId(id)).collect();
    let named = trace.files.iter().map(|file| file.process).chain(trace.sockets.iter().map(|it| it.process));
    // A trace made by hand need not have all of its processes.
    let mut main: BTreeSet<ProcessId> = all.iter().copied().chain(named).collect();
    main.extend(trace.system_calls.iter().map(|record| record.process));
    let helpers = if inputs.transitions { helpers(trace, inputs) } else { BTreeMap::new() };
    let mut names = BTreeMap::new();
    for (path, processes) in &helpers {
        main.retain(|process| !processes.contains(process));
        let name = profile_name(path, &names);
        names.insert(path.clone(), name);
    }
    let part = |name: String, own, helpers, within| Scope { trace, inputs, name, own, helpers, within };
    let mut scopes = vec![part(name.to_owned(), main.clone(), names.clone(), None)];
    for (path, processes) in helpers {
        let within = Some((name.to_owned(), main.clone()));
        scopes.push(part(names[&path].clone(), processes, BTreeMap::new(), within));
    }
    scopes
}

/// The name of the file in letters that need no quotes; another one of the same name gets a number.
fn profile_name(path: &ImagePath, taken: &BTreeMap<ImagePath, String>) -> String {
    let letter = |byte: &u8| {
        if byte.is_ascii_alphanumeric() || b"._-".contains(byte) { char::from(*byte) } else { '-' }
    };
    let name: String = path.file_name().iter().map(letter).collect();
    let name = name.trim_start_matches(['.', '-']);
    let name = if name.is_empty() { "helper" } else { name };
    let numbered = (2..).map(|number| format!("{name}-{number}"));
    let is_free = |name: &String| !taken.values().any(|other| other == name);
    std::iter::once(name.to_owned())
        .chain(numbered)
        .find(is_free)
        .expect("there are more numbers than helpers")
}

/// The helpers with needs of their own, by the path that is exec'ed, each with its processes and all that they ran.
fn helpers(trace: &Trace, inputs: &Inputs) -> BTreeMap<ImagePath, BTreeSet<ProcessId>> {
    let mut found = runs(trace, inputs);
    // Those that have no profile of their own run under the main one, which may do what they need: until nothing changes.
    loop {
        let apart: BTreeSet<ProcessId> = found.values().flatten().copied().collect();
        let others = (0..).zip(&trace.processes).map(|(id, _)| ProcessId(id));
        let others = Needs::of(trace, inputs, &others.filter(|process| !apart.contains(process)).collect());
        let before = found.len();
        found.retain(|_, own| Needs::of(trace, inputs, own).differ_from(&others));
        if found.len() == before {
            return found;
        }
    }
}

/// Every program that is run beside the main ones and never is one of those: the path that is exec'ed, and who runs there.
fn runs(trace: &Trace, inputs: &Inputs) -> BTreeMap<ImagePath, BTreeSet<ProcessId>> {
    let line = line(trace);
    let mut of_main: BTreeSet<ImagePath> = BTreeSet::new();
    // What is a main program at last was none at first, perhaps: until nothing changes.
    loop {
        let before = of_main.len();
        let mut helpers = runs_beside(&mut of_main, &line, trace, inputs);
        if of_main.len() == before {
            helpers.retain(|path, _| matches!(inputs.paths.get(path), Some(KeptKind::File { .. })));
            return helpers;
        }
    }
}

/// `of_main`: the main programs as far as they are known, those that turn up are added. One that a main program starts beside
/// itself is main, too, and what it runs is a helper: the shell of system(3), most of all.
fn runs_beside(
    of_main: &mut BTreeSet<ImagePath>,
    line: &BTreeSet<ProcessId>,
    trace: &Trace,
    inputs: &Inputs,
) -> BTreeMap<ImagePath, BTreeSet<ProcessId>> {
    let mut main: BTreeSet<ProcessId> = BTreeSet::new();
    let mut helpers: BTreeMap<ImagePath, BTreeSet<ProcessId>> = BTreeMap::new();
    // To whose tree a process belongs.
    let mut belongs: BTreeMap<ProcessId, ImagePath> = BTreeMap::new();
    for (id, process) in (0..).zip(&trace.processes) {
        let id = ProcessId(id);
        let parent = process.parent;
        if let Some(path) = parent.and_then(|parent| belongs.get(&parent)).cloned() {
            helpers.entry(path.clone()).or_default().insert(id);
            belongs.insert(id, path);
            continue;
        }
        let path = execed(process, inputs);
        let is_helper =
            |parent: &ProcessId| main.contains(parent) && !line.contains(&id) && !is_copy(trace, *parent, id);
        match path {
            Some(path) if parent.as_ref().is_some_and(is_helper) && !of_main.contains(&path) => {
                helpers.entry(path.clone()).or_default().insert(id);
                belongs.insert(id, path);
            }
            path => {
                main.insert(id);
                of_main.extend(path);
            }
        }
    }
    helpers
}

/// The path that the kernel looks at when it is exec'ed: a script's own, not its interpreter's.
fn execed(process: &Process, inputs: &Inputs) -> Option<ImagePath> {
    let script = process.invoked_as.as_ref().filter(|_| !process.shebang.is_empty());
    resolve(script.or(process.executable.as_ref())?, &inputs.paths)
}

/// What sets programs apart.
struct Needs {
    capabilities: BTreeSet<&'static str>,
    raises_privileges: bool,
    /// Directories in which something is changed.
    changes: BTreeSet<ImagePath>,
    runs: BTreeSet<ImagePath>,
}

impl Needs {
    fn of(trace: &Trace, inputs: &Inputs, own: &BTreeSet<ProcessId>) -> Self {
        let ours = trace.files.iter().filter(|file| own.contains(&file.process));
        let changed = ours.filter(|file| file.access.iter().any(|access| Permissions::of(*access).changes()));
        let processes = (0..).zip(&trace.processes).filter(|(id, _)| own.contains(&ProcessId(*id)));
        let runs: BTreeSet<ImagePath> =
            processes.filter_map(|(_, process)| execed(process, inputs)).collect();
        let raises = |path: &ImagePath| {
            matches!(inputs.paths.get(path), Some(KeptKind::File { privileged: true, .. }))
        };
        Self {
            capabilities: capabilities::asked_for(trace, own),
            raises_privileges: runs.iter().any(raises),
            changes: changed
                .flat_map(|file| both(&file.path, inputs))
                .filter_map(|path| path.parent())
                .filter(|path| !is_everybodys(path))
                .collect(),
            runs,
        }
    }

    /// What is run is always a difference of its own program; more than that one is one of needs.
    fn differ_from(&self, others: &Self) -> bool {
        self.raises_privileges && !others.raises_privileges
            || !self.capabilities.is_subset(&others.capabilities)
            || !self.changes.is_subset(&others.changes)
            || self.runs.difference(&others.runs).count() > 1
    }
}

/// Where every program may write by the rules that all profiles have.
fn is_everybodys(path: &ImagePath) -> bool {
    ["/proc", "/dev", "/sys"].iter().any(|top| path.is_within(&(*top).into()))
}

#[cfg(test)]
#[path = "helpers_tests.rs"]
mod tests;
