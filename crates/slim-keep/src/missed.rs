//! What a run of the slim image looked for and did not find although the fat image has it.
//!
//! A miss is a look-up that failed for want of the path, where the fat image has the path (over symlinks, as the kernel
//! walks) and the slim image does not. So what the program removed itself is none, nor what is no part of an image.
//! Where the slim program does what the fat one does, two kinds of misses do not count: what the observed run of the fat
//! image missed as well, and probes along a search path.
//!
//! Invariant: what the user excluded never becomes a seed.

use crate::context::{Context, Mounts};
use crate::error::KeepError;
use crate::exclude::Exclusions;
use crate::keep_set::KeepSet;
use crate::listing;
use crate::observed::{Observed, counts};
use crate::reason::Reason;
use crate::seed::{Extent, Seed};
use crate::settings::Settings;
use crate::sweep;
use crate::walk::Walk;
use slim_image::{Config, ImagePath, ImageTree, Kind};
use slim_trace::{Access, FileAccess, ProcessId, Trace, TracedPath};
use std::collections::{BTreeMap, BTreeSet};

/// A process that finds a name in more directories than these was not looking for *the* file of that name along a search
/// path: `__init__.py`, `package.json`.
const FOUND_IN_MOST: usize = 2;
/// A missed directory comes with all that is below it, unless that is more than this.
const TREE_ENTRIES_MAX: usize = 1_000;
const TREE_BYTES_MAX: u64 = 20_000_000;

/// A run of a slim image, beside the run of the fat one that it was made from.
#[derive(Clone, Copy)]
pub struct SlimRun<'a> {
    /// What was seen of the fat image.
    pub fat: &'a Trace,
    /// What was seen of the slim one.
    pub slim: &'a Trace,
    /// What the slim image holds.
    pub kept: &'a KeepSet,
    /// Whether the slim program did what the fat one does.
    pub agrees: bool,
}

/// What a slim image is to get.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// One seed a missed path, with the reason that it is repaired; sorted, each once.
    pub seeds: Vec<Seed>,
    /// Missed paths that an exclude pattern takes out: they stay out.
    pub excluded: BTreeMap<ImagePath, String>,
    /// Misses that do no harm.
    pub harmless: usize,
}

/// Finds what to keep besides, in this round of repair. `tree`, `config` and `settings` are those that the keep-set was
/// made with.
///
/// # Errors
/// When an exclude pattern is none.
pub fn missed(
    run: SlimRun<'_>,
    tree: &dyn ImageTree,
    config: &Config,
    settings: &Settings,
    round: u32,
) -> Result<Missed, KeepError> {
    let context = Context {
        mounts: Mounts::new(if run.slim.mounts.is_empty() { &run.fat.mounts } else { &run.slim.mounts }),
        exclusions: Exclusions::new(&settings.exclude_pattern)?,
        ..Context::new(tree, config)
    };
    let mut found = BTreeSet::new();
    let mut missed = Missed::default();
    let missing_in_fat: BTreeSet<&TracedPath> = misses(run.fat).map(|file| &file.path).collect();
    let probes = Probes::of(run.slim);
    for file in misses(run.slim) {
        let Some(seed) = absent(&context, run.kept, file.path.as_bytes(), round) else { continue };
        if let Some((path, pattern)) = excluded(&context, &file.path) {
            missed.excluded.insert(path, pattern);
        } else if run.agrees && (missing_in_fat.contains(&file.path) || probes.is_one(file)) {
            missed.harmless += 1;
        } else {
            found.insert(seed);
        }
    }
    if !run.agrees {
        found.extend(listed(&context, run, round));
    }
    missed.seeds = found.into_iter().collect();
    Ok(missed)
}

/// Look-ups of the program that failed for want of the path. (The runtime's own, as of a program that `docker exec` asks
/// for, are not in a trace.)
fn misses(trace: &Trace) -> impl Iterator<Item = &FileAccess> {
    trace.files.iter().filter(|file| {
        file.access.contains(&Access::Missing) && file.phases.iter().any(|phase| counts(*phase))
    })
}

/// The seed that brings a path that the fat image has and the slim one does not.
fn absent(context: &Context<'_>, kept: &KeepSet, path: &[u8], round: u32) -> Option<Seed> {
    let (walk, found) = walked(context, path)?;
    let entry = context.entry(&found)?;
    // A socket without its program is nothing.
    if found.is_root() || entry.kind == Kind::Socket {
        return None;
    }
    let mut needed = walk.links.iter().chain(&walk.directories).chain([&found]);
    if needed.all(|path| kept.contains(path)) {
        return None;
    }
    let extent = match entry.kind {
        Kind::Symlink { .. } => Extent::Link,
        Kind::Directory if is_small(context, &found) => Extent::Tree,
        _ => Extent::Object,
    };
    let run = matches!(entry.kind, Kind::File { .. }) && entry.mode & 0o111 != 0;
    Some(Seed { path: path.to_vec(), reason: Reason::Repaired { round }, extent, observed: true, run })
}

/// The way to a path of the fat image, and what lies there: a symlink only where it leads nowhere.
fn walked(context: &Context<'_>, path: &[u8]) -> Option<(Walk, ImagePath)> {
    [true, false].into_iter().find_map(|follow| {
        let walk = context.walk_observed(path, follow);
        let found = walk.found().cloned()?;
        Some((walk, found))
    })
}

/// Whether a directory can be kept with all that is below it.
fn is_small(context: &Context<'_>, directory: &ImagePath) -> bool {
    if listing::tells_nothing(context, directory) {
        return false;
    }
    let (mut entries, mut bytes) = (0, 0);
    let mut ahead = vec![directory.clone()];
    while let Some(directory) = ahead.pop() {
        for name in context.tree.read_dir(&directory) {
            let path = directory.join(name);
            let Some(entry) = context.entry(&path) else { continue };
            entries += 1;
            bytes += entry.size();
            if entries > TREE_ENTRIES_MAX || bytes > TREE_BYTES_MAX {
                return false;
            }
            if entry.is_directory() {
                ahead.push(path);
            }
        }
    }
    true
}

/// The path or link on the way that an exclude pattern takes out.
fn excluded(context: &Context<'_>, path: &TracedPath) -> Option<(ImagePath, String)> {
    let (walk, found) = walked(context, path.as_bytes())?;
    let mut way = std::iter::once(found).chain(walk.links);
    way.find_map(|path| {
        let pattern = context.exclusions.matching(&path)?.to_owned();
        Some((path, pattern))
    })
}

/// What lies in directories that only the slim run listed: nothing that is not there is asked for by name then.
fn listed(context: &Context<'_>, run: SlimRun<'_>, round: u32) -> Vec<Seed> {
    let observed = Observed::new(run.slim, context);
    let sweeps = sweep::find(&observed, context);
    let is_new = |seed: &Seed| {
        let path = ImagePath::new(&seed.path);
        !run.kept.contains(&path) && context.exclusions.matching(&path).is_none()
    };
    let seeds = listing::find(&observed, &sweeps, context).seeds.into_iter().filter(is_new);
    seeds.map(|seed| Seed { reason: Reason::Repaired { round }, ..seed }).collect()
}

/// Where each process found a name.
struct Probes<'a> {
    found: BTreeMap<(ProcessId, &'a [u8]), BTreeSet<&'a [u8]>>,
}

impl<'a> Probes<'a> {
    fn of(trace: &'a Trace) -> Self {
        let mut probes = Self { found: BTreeMap::new() };
        for file in &trace.files {
            if file.access.iter().any(|access| *access != Access::Missing) {
                probes.add(file.process, &file.path);
            }
        }
        // A program that is looked for along PATH is run by the process that looked, which is another one from then on.
        for process in &trace.processes {
            let Some(parent) = process.parent else { continue };
            for path in process.executable.iter().chain(&process.invoked_as) {
                probes.add(parent, path);
            }
        }
        probes
    }

    fn add(&mut self, process: ProcessId, path: &'a TracedPath) {
        let (directory, name) = split(path);
        self.found.entry((process, name)).or_default().insert(directory);
    }

    /// Whether a miss was a probe: the same process found the same name elsewhere, and the name is no common one.
    fn is_one(&self, missed: &FileAccess) -> bool {
        let (directory, name) = split(&missed.path);
        let Some(found) = self.found.get(&(missed.process, name)) else { return false };
        let elsewhere = found.iter().filter(|other| **other != directory).count();
        !name.is_empty() && (1..=FOUND_IN_MOST).contains(&elsewhere)
    }
}

fn split(path: &TracedPath) -> (&[u8], &[u8]) {
    let bytes = path.as_bytes();
    let slash = bytes.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    (&bytes[..slash], bytes.get(slash + 1..).unwrap_or_default())
}
