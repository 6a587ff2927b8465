//! Rule: processes that go over whole trees without reading them (find, chown -R, du, a file watcher) keep nothing of
//! what they only looked at.
//!
//! A process sweeps when it listed eight directories or more and opened few of the files in them; `chown`, `chmod`,
//! `chgrp` and `du` sweep whenever they list. Of such a process two kinds of touches do not count: attributes read or
//! changed of an entry of a listed directory in which it looked at nearly all entries, and directories inside listed
//! directories. The topmost directories, and whatever was opened, run or read as a link, count as ever. An interpreter's
//! search for modules is not a sweep, nor part of one.

use crate::context::Context;
use crate::listing;
use crate::observed::{Observed, Touch, counts};
use slim_image::{Entry, ImagePath};
use slim_trace::{Access, ProcessId};
use std::collections::{BTreeMap, BTreeSet};

/// Listed directories from which on a process may be a sweep.
const DIRECTORIES_MIN: usize = 8;
/// A sweep opened less than one in this many of the files in the directories that it listed.
const OPENED_ONE_IN: usize = 4;
/// Programs that list only to go on into what they list.
const SWEEPERS: [&str; 4] = ["chgrp", "chmod", "chown", "du"];

/// What sweeps touched.
#[derive(Debug, Default)]
pub(crate) struct Sweeps {
    /// Touches, by their index, that do not count.
    pub touches: BTreeSet<usize>,
    pub processes: BTreeSet<ProcessId>,
    /// By program: the directories listed, and the entries that are not kept on its account.
    pub programs: BTreeMap<String, Swept>,
}

/// What one program swept over.
#[derive(Debug, Default)]
pub(crate) struct Swept {
    pub directories: BTreeSet<ImagePath>,
    pub entries: BTreeSet<ImagePath>,
}

/// Finds the sweeps of a trace.
pub(crate) fn find(observed: &Observed<'_>, context: &Context<'_>) -> Sweeps {
    let mut by_process: BTreeMap<ProcessId, Vec<usize>> = BTreeMap::new();
    for (index, touch) in observed.touches.iter().enumerate() {
        by_process.entry(touch.access.process).or_default().push(index);
    }
    let mut sweeps = Sweeps::default();
    for (process, indices) in by_process {
        let listed = listed_directories(observed, context, &indices);
        let program = observed.program(process);
        if !is_sweep(observed, context, &indices, &listed, &program.called) {
            continue;
        }
        let swept = sweeps.programs.entry(program.name.clone()).or_default();
        for index in only_looked_at(observed, context, &indices, &listed) {
            sweeps.touches.insert(index);
            swept.entries.extend(observed.touches[index].name.clone());
        }
        for directory in &listed {
            swept
                .entries
                .extend(context.tree.read_dir(directory).into_iter().map(|name| directory.join(name)));
        }
        swept.directories.extend(listed);
        sweeps.processes.insert(process);
    }
    let handed_on = handed_on(observed, &sweeps);
    sweeps.touches.extend(handed_on);
    sweeps
}

/// What a sweep handed to a program that changes attributes: `find … -exec chown … {} +`. In an image without these
/// entries the sweep does not find them.
fn handed_on(observed: &Observed<'_>, sweeps: &Sweeps) -> Vec<usize> {
    let directories: BTreeSet<&ImagePath> =
        sweeps.programs.values().flat_map(|swept| &swept.directories).collect();
    let is_handed_on = |touch: &Touch<'_>| {
        SWEEPERS.contains(&observed.program(touch.access.process).called.as_str())
            && !is_use(&touch.access.access)
            && touch
                .name
                .as_ref()
                .and_then(ImagePath::parent)
                .is_some_and(|parent| directories.contains(&parent))
    };
    let touches = observed.touches.iter().enumerate();
    touches.filter(|(_, touch)| is_handed_on(touch)).map(|(index, _)| index).collect()
}

fn listed_directories(
    observed: &Observed<'_>,
    context: &Context<'_>,
    indices: &[usize],
) -> BTreeSet<ImagePath> {
    let touches = indices.iter().map(|index| &observed.touches[*index]);
    let listed = touches.filter(|touch| touch.access.access.contains(&Access::List));
    listed
        .filter(|touch| touch.access.phases.iter().any(|phase| counts(*phase)))
        .filter_map(|touch| {
            let directory = touch.object.clone()?;
            let program = observed.program(touch.access.process);
            let is_search = program.is_python && listing::is_module_search(observed, context, &directory);
            (!is_search).then_some(directory)
        })
        .collect()
}

/// Whether a touch reached the object itself, not only its attributes.
fn is_use(access: &BTreeSet<Access>) -> bool {
    access.iter().any(|access| {
        !matches!(access, Access::Stat | Access::ChangeAttributes | Access::Missing | Access::List)
    })
}

fn is_sweep(
    observed: &Observed<'_>,
    context: &Context<'_>,
    indices: &[usize],
    listed: &BTreeSet<ImagePath>,
    called: &str,
) -> bool {
    if !listed.is_empty() && SWEEPERS.contains(&called) {
        return true;
    }
    if listed.len() < DIRECTORIES_MIN {
        return false;
    }
    let files: usize = listed.iter().map(|directory| files_in(context, directory).count()).sum();
    let opened: BTreeSet<&ImagePath> = indices
        .iter()
        .map(|index| &observed.touches[*index])
        .filter(|touch| is_use(&touch.access.access))
        .filter_map(|touch| touch.name.as_ref())
        .filter(|name| is_in(name, listed) && !context.entry(name).is_some_and(Entry::is_directory))
        .collect();
    opened.len() * OPENED_ONE_IN < files.max(1)
}

fn only_looked_at(
    observed: &Observed<'_>,
    context: &Context<'_>,
    indices: &[usize],
    listed: &BTreeSet<ImagePath>,
) -> Vec<usize> {
    let mut looked_at: BTreeMap<ImagePath, BTreeSet<&ImagePath>> = BTreeMap::new();
    for index in indices {
        if let Some(name) = &observed.touches[*index].name
            && let Some(parent) = name.parent().filter(|parent| listed.contains(parent))
        {
            looked_at.entry(parent).or_default().insert(name);
        }
    }
    // A glance at one entry of many is a question of its own.
    let swept = |directory: &ImagePath| {
        let entries = context.tree.read_dir(directory).len();
        looked_at.get(directory).is_some_and(|names| names.len() * 4 >= entries * 3)
    };
    let swept: BTreeSet<&ImagePath> = listed.iter().filter(|directory| swept(directory)).collect();
    let is_only_looked_at = |index: &&usize| {
        let touch = &observed.touches[**index];
        let Some(name) = &touch.name else { return false };
        let Some(parent) = name.parent().filter(|_| is_in(name, listed)) else { return false };
        if context.entry(name).is_some_and(Entry::is_directory) {
            let goes_on = |access: &Access| {
                matches!(
                    access,
                    Access::Open
                        | Access::List
                        | Access::Stat
                        | Access::ChangeAttributes
                        | Access::ChangeDirectory
                        | Access::Missing
                )
            };
            return touch.access.access.iter().all(goes_on);
        }
        swept.contains(&parent) && !is_use(&touch.access.access)
    };
    indices.iter().filter(is_only_looked_at).copied().collect()
}

fn is_in(name: &ImagePath, directories: &BTreeSet<ImagePath>) -> bool {
    name.parent().is_some_and(|parent| directories.contains(&parent))
}

fn files_in<'a>(context: &'a Context<'_>, directory: &'a ImagePath) -> impl Iterator<Item = ImagePath> + 'a {
    let names = context.tree.read_dir(directory).into_iter().map(|name| directory.join(name));
    names.filter(|path| context.entry(path).is_some_and(|entry| !entry.is_directory()))
}
