//! Rule: time zones. `/etc/localtime` and the zone of TZ, which every C library asks for; all zones only where a program
//! plainly takes them by name.
//!
//! That is so where the trace shows that it opened a zone that is not the environment's, or where its own constants name
//! the directory of zones (PostgreSQL; programs in Go that call `time.LoadLocation`; see
//! [`constants`](crate::elf::constants)). A kept library that could — ICU and Python have zones of their own or look for
//! them at their time — is no sign.

use super::dynamic::is_glibc;
use super::seeds::{Asks, places};
use super::{KeptFile, Rule, Via, World};
use crate::context::Context;
use crate::inspect::File;
use crate::observed::counts;
use crate::seed::Seed;
use slim_image::{Entry, ImagePath, TreeError};
use slim_trace::Access;
use std::collections::BTreeSet;

const ZONES: [&str; 4] =
    ["/usr/share/zoneinfo", "/usr/lib/zoneinfo", "/usr/share/lib/zoneinfo", "/etc/zoneinfo"];
/// The machine's own zone, as a file and as a name.
const LOCAL: [&str; 3] = ["/etc/localtime", "/etc/timezone", "/etc/TZ"];
/// The same zones once more, with and without leap seconds: nothing asks for them unless told.
const VARIANTS: [&[u8]; 2] = [b"posix", b"right"];
/// What any program may open though it takes no zones by name.
const OF_NO_PLACE: [&[u8]; 12] = [
    b"Factory",
    b"GMT",
    b"Greenwich",
    b"UCT",
    b"UTC",
    b"Universal",
    b"Zulu",
    b"iso3166.tab",
    b"leapseconds",
    b"localtime",
    b"posixrules",
    b"zone.tab",
];

/// The rule; whether the environment's zone has been kept.
#[derive(Default)]
pub(super) struct TimeZone {
    is_done: bool,
}

impl Rule for TimeZone {
    fn begin(&mut self, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        Ok(by_name(world).map_or_else(Vec::new, |zone| all(world.context, &zone)))
    }

    fn follow(&mut self, file: &KeptFile<'_>, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        if self.is_done || !has_library_c(file) {
            return Ok(Vec::new());
        }
        self.is_done = true;
        let asks = |what| Asks::new(Via::TimeZone, file.path, what);
        let mut seeds: Vec<Seed> = LOCAL.iter().map(|path| asks(path).object(path)).collect();
        if let Some(value) = world.context.environment.value("TZ") {
            let name = value.strip_prefix(':').unwrap_or(value);
            let what = format!("TZ={value}");
            let asks = Asks::new(Via::TimeZone, file.path, &what);
            seeds.extend(zone(world.context, name).map(|path| asks.object(path)));
        }
        Ok(seeds)
    }
}

/// Whether this is the C library, or a program that brings its own.
pub(super) fn has_library_c(file: &KeptFile<'_>) -> bool {
    let File::Elf(headers) = &file.what else { return false };
    let is_static = headers.is_static_program() && file.entry.mode & 0o111 != 0;
    is_glibc(file.path.file_name()) || is_musl(file.path) || is_static
}

/// `/lib/ld-musl-x86_64.so.1`, which is loader and library in one, also under the library's name.
pub(super) fn is_musl(path: &ImagePath) -> bool {
    let name = path.file_name();
    name.starts_with(b"ld-musl-") || name.starts_with(b"libc.musl-")
}

/// Whether the image has zones at all.
pub(super) fn has_zones(context: &Context<'_>) -> bool {
    !directories(context).is_empty()
}

/// Every zone of the image, for a file that takes them by name.
pub(super) fn all(context: &Context<'_>, from: &ImagePath) -> Vec<Seed> {
    let mut seeds = Vec::new();
    for directory in directories(context) {
        for name in context.tree.read_dir(&directory).into_iter().filter(|name| !VARIANTS.contains(name)) {
            seeds.push(Asks::new(Via::TimeZone, from, name).tree(directory.join(name)));
        }
    }
    seeds
}

/// A zone that a program opened though the environment does not name it: others may follow.
fn by_name(world: &World<'_>) -> Option<ImagePath> {
    let context = world.context;
    let mut expected: BTreeSet<ImagePath> =
        LOCAL.iter().filter_map(|path| context.file(path.as_bytes())).collect();
    let name = context.environment.value("TZ").map(|value| value.strip_prefix(':').unwrap_or(value));
    expected.extend(name.and_then(|name| zone(context, name)).and_then(|path| context.file(&path)));
    let directories = directories(context);
    let opened = world.observed.touches.iter().filter(|touch| {
        touch.access.access.contains(&Access::Open) && touch.access.phases.iter().any(|phase| counts(*phase))
    });
    let is_zone = |path: &&ImagePath| {
        directories.iter().any(|directory| path.is_within(directory) && *path != directory)
            && !path.file_name().ends_with(b".tab")
            && OF_NO_PLACE.binary_search(&path.file_name()).is_err()
            && !expected.contains(*path)
            && context.entry(path).is_some_and(|entry| !Entry::is_directory(entry))
    };
    opened.filter_map(|touch| touch.object.as_ref()).filter(is_zone).min().cloned()
}

/// Where the image has zones, links followed.
fn directories(context: &Context<'_>) -> BTreeSet<ImagePath> {
    let named = places(context, "TZDIR");
    ZONES
        .into_iter()
        .chain(named)
        .filter_map(|path| context.walk(path.as_bytes(), true).found().cloned())
        .collect()
}

/// The path of a zone of this name; of a rule as `CET-1CEST` there is none.
fn zone(context: &Context<'_>, name: &str) -> Option<Vec<u8>> {
    if name.starts_with('/') {
        return Some(name.into());
    }
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return None;
    }
    let mut paths = ZONES.into_iter().chain(places(context, "TZDIR")).map(|place| format!("{place}/{name}"));
    paths.find(|path| context.file(path.as_bytes()).is_some()).map(Into::into)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_are_sorted_for_the_search() {
        assert!(OF_NO_PLACE.is_sorted());
    }
}
