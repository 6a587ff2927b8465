//! Rule: what lies in a directory that the program lists is kept, by name and content: a plug-in loader, an index page,
//! a shell's glob. Directories in it are kept as directories.
//!
//! Not so, and then a note says it: sweeps; the fundamental directories of a system; big directories of the system;
//! Python's search for modules, which lists every directory of `sys.path` and of every package. Where a Python program
//! lists a directory that it also imports from, what cannot be a module is kept.

use crate::context::Context;
use crate::note::Note;
use crate::observed::{Observed, Program, counts};
use crate::python;
use crate::reason::Reason;
use crate::seed::{Extent, Seed};
use crate::sweep::Sweeps;
use slim_image::{Entry, ImagePath, Kind};
use slim_trace::{Access, ProcessId};
use std::collections::{BTreeMap, BTreeSet};

/// A listed directory of the system with more entries, or more bytes in its files, is not kept whole.
const ENTRIES_MAX: usize = 100;
const BYTES_MAX: u64 = 20_000_000;
/// Where the system's own directories lie.
const SYSTEM: [&str; 13] = [
    "/bin",
    "/boot",
    "/etc",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/sbin",
    "/usr",
    "/var/cache",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/rpm",
];
/// Directories whose entries say nothing about the program that lists them.
const FUNDAMENTAL: [&str; 49] = [
    "/",
    "/bin",
    "/boot",
    "/dev",
    "/etc",
    "/home",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/media",
    "/mnt",
    "/opt",
    "/proc",
    "/run",
    "/sbin",
    "/srv",
    "/sys",
    "/tmp",
    "/usr",
    "/usr/bin",
    "/usr/games",
    "/usr/include",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/libx32",
    "/usr/local",
    "/usr/local/bin",
    "/usr/local/etc",
    "/usr/local/include",
    "/usr/local/lib",
    "/usr/local/lib64",
    "/usr/local/sbin",
    "/usr/local/share",
    "/usr/sbin",
    "/usr/share",
    "/usr/share/doc",
    "/usr/share/locale",
    "/usr/share/man",
    "/usr/src",
    "/var",
    "/var/cache",
    "/var/lib",
    "/var/log",
    "/var/run",
    "/var/spool",
    "/var/tmp",
];
/// The ones among them in which images also keep their program: then WORKDIR says so.
const MAY_HOLD_THE_PROGRAM: [&str; 7] =
    ["/home", "/media", "/mnt", "/opt", "/srv", "/tmp", "/usr/local/share"];

/// What listings keep, and what they do not.
#[derive(Debug, Default)]
pub(crate) struct Listings {
    pub seeds: Vec<Seed>,
    /// Directories of the system, each with the program that listed it.
    system: BTreeMap<ImagePath, String>,
    /// By program: directories searched for modules, and what in them is not kept.
    searches: BTreeMap<String, Search>,
}

#[derive(Debug, Default)]
struct Search {
    directories: BTreeSet<ImagePath>,
    entries: BTreeSet<ImagePath>,
}

/// Which entries of a listed directory are kept.
enum Verdict {
    All,
    /// Not what could be a module.
    NoModules,
    ModuleSearch,
    SystemDirectory,
}

/// Decides about every listed directory of a trace.
pub(crate) fn find(observed: &Observed<'_>, sweeps: &Sweeps, context: &Context<'_>) -> Listings {
    let mut listings = Listings::default();
    let mut decided = BTreeSet::new();
    for touch in &observed.touches {
        let process = touch.access.process;
        let is_listed = touch.access.access.contains(&Access::List)
            && touch.access.phases.iter().any(|phase| counts(*phase))
            && !sweeps.processes.contains(&process);
        let Some(directory) = touch.object.as_ref().filter(|_| is_listed) else { continue };
        if decided.insert((process, directory)) {
            listings.add(observed, context, process, directory);
        }
    }
    listings
}

/// Whether a Python process listed a directory to import from it: one that holds nothing but modules, or one that it
/// took a module from.
pub(crate) fn is_module_search(
    observed: &Observed<'_>,
    context: &Context<'_>,
    directory: &ImagePath,
) -> bool {
    is_python_library(context, directory) || is_imported_from(observed, context, directory)
}

fn is_python_library(context: &Context<'_>, directory: &ImagePath) -> bool {
    python::is_library(directory)
        || python::is_of_scripts(directory)
        || context.environment.python_path.iter().any(|path| {
            context.walk(path.as_bytes(), true).found().is_some_and(|found| directory.is_within(found))
        })
}

fn is_imported_from(observed: &Observed<'_>, context: &Context<'_>, directory: &ImagePath) -> bool {
    context.entry(&directory.join("__init__.py")).is_some() || observed.imported_from.contains(directory)
}

impl Listings {
    fn add(
        &mut self,
        observed: &Observed<'_>,
        context: &Context<'_>,
        process: ProcessId,
        directory: &ImagePath,
    ) {
        let program = observed.program(process);
        match verdict(observed, context, program, directory) {
            Verdict::All => self.keep(context, directory, program, |_| true),
            Verdict::NoModules => {
                let is_data = |path: &ImagePath| {
                    !python::is_module(path.file_name())
                        && !context.entry(path).is_some_and(Entry::is_directory)
                };
                self.keep(context, directory, program, is_data);
                self.search(context, directory, program, |path| !is_data(path));
            }
            Verdict::ModuleSearch => self.search(context, directory, program, |_| true),
            Verdict::SystemDirectory => {
                let lister = self.system.entry(directory.clone()).or_insert_with(|| program.name.clone());
                if program.name < *lister {
                    lister.clone_from(&program.name);
                }
            }
        }
    }

    fn keep(
        &mut self,
        context: &Context<'_>,
        directory: &ImagePath,
        program: &Program,
        wanted: impl Fn(&ImagePath) -> bool,
    ) {
        let reason = || Reason::ListedBy { directory: directory.clone(), program: program.name.clone() };
        for path in entries(context, directory).filter(wanted) {
            self.seeds.push(Seed {
                extent: Extent::Object,
                observed: true,
                ..Seed::object(path.as_bytes(), reason())
            });
        }
    }

    fn search(
        &mut self,
        context: &Context<'_>,
        directory: &ImagePath,
        program: &Program,
        left_out: impl Fn(&ImagePath) -> bool,
    ) {
        let search = self.searches.entry(program.name.clone()).or_default();
        search.directories.insert(directory.clone());
        search.entries.extend(entries(context, directory).filter(left_out));
    }

    /// Notes on what was left out and that nothing else keeps.
    pub(crate) fn notes(self, context: &Context<'_>, is_kept: &dyn Fn(&ImagePath) -> bool) -> Vec<Note> {
        let system = self.system.into_iter().filter_map(|(directory, program)| {
            let (entries, bytes) = left_out(context, entries(context, &directory), is_kept)?;
            Some(Note::SystemDirectoryListed { directory, program, entries, bytes })
        });
        let searches = self.searches.into_iter().filter_map(|(program, search)| {
            let (entries, bytes) = left_out(context, search.entries.into_iter(), is_kept)?;
            Some(Note::ModuleSearch { program, directories: search.directories.len(), entries, bytes })
        });
        system.chain(searches).collect()
    }
}

/// How many of these paths are not kept, and how many bytes they hold; `None` where all are.
pub(crate) fn left_out(
    context: &Context<'_>,
    paths: impl Iterator<Item = ImagePath>,
    is_kept: &dyn Fn(&ImagePath) -> bool,
) -> Option<(usize, u64)> {
    let (mut entries, mut bytes) = (0, 0);
    for path in paths.filter(|path| !is_kept(path)) {
        entries += 1;
        bytes += context.entry(&path).map_or(0, Entry::size);
    }
    (entries > 0).then_some((entries, bytes))
}

fn verdict(
    observed: &Observed<'_>,
    context: &Context<'_>,
    program: &Program,
    directory: &ImagePath,
) -> Verdict {
    if program.is_python && is_python_library(context, directory) {
        return Verdict::ModuleSearch;
    }
    if tells_nothing(context, directory) {
        return Verdict::SystemDirectory;
    }
    if program.is_python && is_imported_from(observed, context, directory) {
        return Verdict::NoModules;
    }
    Verdict::All
}

/// Whether the entries of a directory say nothing about the program that looks at it.
pub(crate) fn tells_nothing(context: &Context<'_>, directory: &ImagePath) -> bool {
    is_fundamental(context, directory) || is_big_system_directory(context, directory)
}

/// Whether a directory is so general that its entries say nothing about a program.
pub(crate) fn is_fundamental(context: &Context<'_>, directory: &ImagePath) -> bool {
    let Ok(text) = std::str::from_utf8(directory.as_bytes()) else { return false };
    let is_library_directory = directory
        .parent()
        .is_some_and(|parent| matches!(parent.as_bytes(), b"/lib" | b"/usr/lib") && text.contains("-linux-"));
    if !is_library_directory && FUNDAMENTAL.binary_search(&text).is_err() {
        return false;
    }
    let is_working_directory =
        || context.walk(context.environment.working_directory.as_bytes(), true).found() == Some(directory);
    !(MAY_HOLD_THE_PROGRAM.contains(&text) && is_working_directory())
}

/// Whether a directory lies among the system's own, and is not that of the application there (`/usr/src/app`, `/usr/local/tomcat`).
pub(crate) fn is_of_the_system(context: &Context<'_>, directory: &ImagePath) -> bool {
    const APPLICATIONS: [&str; 2] = ["/usr/local", "/usr/src"];
    const NONE: [&str; 3] = ["/usr/local/include", "/usr/local/lib", "/usr/local/share"];
    let is_in = |places: &[&str]| places.iter().any(|place| directory.is_within(&ImagePath::from(*place)));
    is_fundamental(context, directory) || (is_in(&SYSTEM) && (!is_in(&APPLICATIONS) || is_in(&NONE)))
}

fn is_big_system_directory(context: &Context<'_>, directory: &ImagePath) -> bool {
    if !SYSTEM.iter().any(|system| directory.is_within(&ImagePath::from(*system))) {
        return false;
    }
    let (mut count, mut bytes) = (0, 0);
    for path in entries(context, directory) {
        count += 1;
        bytes += context.entry(&path).map_or(0, Entry::size);
    }
    count > ENTRIES_MAX || bytes > BYTES_MAX
}

/// What a program sees in a directory of the image, but for sockets.
fn entries<'a>(context: &'a Context<'_>, directory: &ImagePath) -> impl Iterator<Item = ImagePath> + use<'a> {
    let directory = directory.clone();
    let names = context.tree.read_dir(&directory).into_iter();
    names
        .map(move |name| directory.join(name))
        .filter(|path| context.entry(path).is_some_and(|entry| entry.kind != Kind::Socket))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fundamental_directories_are_sorted_for_the_search() {
        assert!(FUNDAMENTAL.is_sorted());
        assert!(MAY_HOLD_THE_PROGRAM.iter().all(|path| FUNDAMENTAL.contains(path)));
    }
}
