//! Rule: what configuration and source texts name by its path is kept.
//!
//! A file is kept as it is, with what it needs where it is a program. Globs stand for the files that they match. A relative
//! name counts where a word as `include` stands before it: beside the file that names it, or in a directory above, which
//! is what the main file's directory is for an included one. Of command lines (supervisord, systemd, cron) the programs
//! are kept also where only their name is given.
//!
//! A directory is kept, but for the fundamental ones of a system, which say nothing. What lies in it is kept with it only
//! where it is small and not the system's: `files = /etc/app/conf.d`, a folder of error pages. Documentation, headers and
//! package databases are never meant.

mod mentions;
mod texts;

use super::seeds::{Asks, below};
use super::{KeptFile, Rule, Via, World};
use crate::context::Context;
use crate::entrypoint;
use crate::exclude::glob;
use crate::listing;
use crate::observed::counts;
use crate::seed::Seed;
use mentions::{What, mentions};
use slim_image::{Entry, ImagePath, Kind, TreeError};
use slim_trace::Access;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// A directory with more in it is kept without what it holds.
const ENTRIES_MAX: usize = 400;
const BYTES_MAX: u64 = 1 << 20;
/// Paths that a glob stands for.
const MATCHES_MAX: usize = 400;
/// What texts name for people, or for building, or that is not the image's.
const NEVER_MEANT: [&str; 16] = [
    "/dev",
    "/etc/alternatives",
    "/proc",
    "/sys",
    "/usr/include",
    "/usr/share/doc",
    "/usr/share/i18n",
    "/usr/share/info",
    "/usr/share/locale",
    "/usr/share/man",
    "/usr/src/linux",
    "/var/cache",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/rpm",
    "/var/log",
];

/// The rule, with what the program was seen to open.
#[derive(Default)]
pub(super) struct NamedPaths {
    opened: BTreeSet<ImagePath>,
}

impl Rule for NamedPaths {
    fn begin(&mut self, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        let opened = world.observed.touches.iter().filter(|touch| {
            touch.access.access.contains(&Access::Open)
                && touch.access.phases.iter().any(|phase| counts(*phase))
        });
        self.opened = opened.filter_map(|touch| touch.object.clone()).collect();
        Ok(Vec::new())
    }

    fn follow(&mut self, file: &KeptFile<'_>, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        let context = world.context;
        let Some(style) = texts::style(file, context, &self.opened) else { return Ok(Vec::new()) };
        let Some(text) = file.text()?.filter(|text| !text.contains(&0)) else { return Ok(Vec::new()) };
        let mut seeds = Vec::new();
        for mention in mentions(&text, style) {
            let asks = Asks { line: Some(mention.line), ..Asks::new(Via::NamedPath, file.path, "") };
            match mention.what {
                What::Path(path) => path_seeds(context, Asks { what: path, ..asks }, path, &mut seeds),
                What::Included(name) => {
                    included(context, Asks { what: name, ..asks }, file.path, name, &mut seeds)
                }
                What::Command(line) => {
                    if let Ok(line) = std::str::from_utf8(line) {
                        let reason = |word: &str| Asks { what: word.as_bytes(), ..asks }.reason();
                        entrypoint::shell_line(context, line, &reason, &mut seeds);
                    }
                }
            }
        }
        Ok(seeds)
    }
}

/// What an absolute path, or a glob, stands for in the image.
fn path_seeds(context: &Context<'_>, asks: Asks<'_>, path: &[u8], seeds: &mut Vec<Seed>) {
    if path.contains(&b'*') {
        for found in expand(context, path) {
            seeds.extend(seed(context, asks, found.as_bytes()));
        }
        return;
    }
    // A sentence's full stop, or a separator, is no part of the path.
    let trimmed = path.trim_ascii_end();
    let end = trimmed.iter().rposition(|byte| !b".~-+@".contains(byte)).map_or(0, |last| last + 1);
    let name = [trimmed, &trimmed[..end]].into_iter().find(|name| context.walk(name, true).found().is_some());
    seeds.extend(name.and_then(|name| seed(context, asks, name)));
}

/// What a path that the image has is kept as.
fn seed(context: &Context<'_>, asks: Asks<'_>, path: &[u8]) -> Option<Seed> {
    let walk = context.walk(path, true);
    let found = walk.found()?;
    let is_meant =
        |path: &ImagePath| !NEVER_MEANT.iter().any(|place| path.is_within(&ImagePath::from(*place)));
    if !is_meant(found) || !is_meant(&ImagePath::new(path)) {
        return None;
    }
    match context.entry(found)?.kind {
        Kind::File { .. } => Some(asks.program(path)),
        Kind::Directory if listing::is_fundamental(context, found) => None,
        Kind::Directory if is_small(context, found) => Some(Seed { run: true, ..asks.tree(path) }),
        Kind::Directory => Some(asks.object(path)),
        _ => None,
    }
}

/// Whether a directory is kept with what it holds.
fn is_small(context: &Context<'_>, directory: &ImagePath) -> bool {
    if !texts::is_own(context, directory) {
        return false;
    }
    let (mut entries, mut bytes) = (0, 0);
    let mut directories = vec![directory.clone()];
    while let Some(directory) = directories.pop() {
        for name in context.tree.read_dir(&directory) {
            let path = directory.join(name);
            entries += 1;
            match context.entry(&path).map(|entry| &entry.kind) {
                Some(Kind::Directory) => directories.push(path),
                // What a link leads to comes with it.
                Some(Kind::Symlink { .. }) => {
                    let target = context.file(path.as_bytes());
                    bytes += target.and_then(|target| context.entry(&target)).map_or(0, Entry::size);
                }
                Some(Kind::File { size }) => bytes += size,
                _ => {}
            }
            if entries > ENTRIES_MAX || bytes > BYTES_MAX {
                return false;
            }
        }
    }
    true
}

/// What a relative name behind `include` stands for: in the directory of the file that names it or, where that has none,
/// in one above.
fn included(context: &Context<'_>, asks: Asks<'_>, by: &ImagePath, name: &[u8], seeds: &mut Vec<Seed>) {
    let mut directory = by.parent();
    while let Some(place) = directory.filter(|place| !listing::is_fundamental(context, place)) {
        let before = seeds.len();
        path_seeds(context, asks, below(&place, name).as_bytes(), seeds);
        // A file that includes what matches itself finds itself.
        if seeds[before..].iter().any(|seed| seed.path != by.as_bytes()) {
            return;
        }
        directory = place.parent();
    }
}

/// The paths that a glob stands for, sorted. What would look through a fundamental directory stands for nothing.
fn expand(context: &Context<'_>, pattern: &[u8]) -> Vec<ImagePath> {
    let mut places = vec![ImagePath::root()];
    for component in pattern.split(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
        if !component.contains(&b'*') {
            places = places.iter().map(|place| below(place, component)).collect();
            continue;
        }
        let Some(matcher) = std::str::from_utf8(component).ok().and_then(|pattern| glob(pattern).ok()) else {
            return Vec::new();
        };
        let matcher = matcher.compile_matcher();
        let mut matches = Vec::new();
        for place in &places {
            let walk = context.walk(place.as_bytes(), true);
            let Some(directory) = walk.found().filter(|found| !listing::is_fundamental(context, found))
            else {
                continue;
            };
            let names = context.tree.read_dir(directory).into_iter();
            // As a shell: what begins with a dot is not meant.
            let names = names.filter(|name| {
                !(name.starts_with(b".") && component[0] != b'.')
                    && matcher.is_match(Path::new(OsStr::from_bytes(name)))
            });
            matches.extend(
                names.map(|name| place.join(name)).take(MATCHES_MAX - matches.len().min(MATCHES_MAX)),
            );
        }
        places = matches;
    }
    places.retain(|place| context.walk(place.as_bytes(), true).found().is_some());
    places
}
