//! Which path needs which permissions.

use super::names::{Piece, pieces};
use super::pattern::{DIRECTORY, NAMES, Pattern, TREE};
use crate::inputs::{Inputs, KeptKind};
use crate::paths::{as_named, resolve};
use slim_image::ImagePath;
use slim_trace::{Access, FileAccess, ProcessId, Trace};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::AddAssign;

/// So many files in one directory that may only be read are written as one rule, where the directory is no shared one.
const MANY_FILES: usize = 8;

/// Directories that are not one program's: what was made there is allowed by its own name, less what is another in it the
/// next time, never as any name. `true`: everything below, too.
const SHARED: [(&str, bool); 24] = [
    ("/", false),
    ("/bin", true),
    ("/boot", true),
    ("/dev", true),
    ("/etc", true),
    ("/home", false),
    ("/lib", true),
    ("/lib32", true),
    ("/lib64", true),
    ("/opt", false),
    ("/proc", true),
    ("/sbin", true),
    ("/sys", true),
    ("/usr", true),
    ("/run", false),
    ("/run/lock", false),
    ("/srv", false),
    ("/tmp", false),
    ("/var", false),
    ("/var/cache", false),
    ("/var/lib", false),
    ("/var/log", false),
    ("/var/run", false),
    ("/var/tmp", false),
];

/// What may be done with a path.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Permissions {
    read: bool,
    write: bool,
    map: bool,
    run: bool,
    lock: bool,
    link: bool,
}

impl Permissions {
    const NONE: Self = Self { read: false, write: false, map: false, run: false, lock: false, link: false };
    const READ: Self = Self { read: true, ..Self::NONE };
    const LIBRARY: Self = Self { map: true, ..Self::READ };
    const PROGRAM: Self = Self { run: true, ..Self::LIBRARY };
    const CHANGE: Self = Self { write: true, ..Self::READ };

    pub(crate) fn is_empty(self) -> bool {
        self == Self::NONE
    }
}

impl AddAssign for Permissions {
    fn add_assign(&mut self, other: Self) {
        self.read |= other.read;
        self.write |= other.write;
        self.map |= other.map;
        self.run |= other.run;
        self.lock |= other.lock;
        self.link |= other.link;
    }
}

impl fmt::Display for Permissions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let letters = [
            (self.map, "m"),
            (self.read, "r"),
            (self.write, "w"),
            (self.lock, "k"),
            (self.link, "l"),
            (self.run, "ix"),
        ];
        letters.iter().filter(|(has, _)| *has).try_for_each(|(_, letter)| formatter.write_str(letter))
    }
}

/// Rules under the making.
struct Rules<'a> {
    inputs: &'a Inputs,
    rules: BTreeMap<Pattern, Permissions>,
    /// Paths that some process changes and the image does not hold.
    changed: BTreeSet<ImagePath>,
    /// Paths that the program made and the image does not hold, with what may be done with them.
    made: BTreeMap<ImagePath, Permissions>,
}

/// Every file rule, by pattern.
pub(crate) fn file_rules(trace: &Trace, inputs: &Inputs) -> BTreeMap<Pattern, Permissions> {
    let callers = Callers::of(trace);
    let changed = changed(trace, inputs);
    let mut rules = Rules { inputs, rules: BTreeMap::new(), changed, made: BTreeMap::new() };
    for file in &trace.files {
        rules.add_access(file, &callers);
    }
    for process in &trace.processes {
        let run = process.executable.iter().chain(&process.invoked_as).chain(&process.interpreter);
        for path in run.chain(&process.shebang) {
            rules.add_traced(path, Permissions::PROGRAM);
        }
    }
    rules.add_made();
    rules.add_kept();
    rules.rules
}

fn changed(trace: &Trace, inputs: &Inputs) -> BTreeSet<ImagePath> {
    let is_change = |access: &Access| permissions_of(*access).write;
    let files = trace.files.iter().filter(|file| file.access.iter().any(is_change));
    files
        .filter_map(|file| resolve(&file.path, &inputs.paths))
        .filter(|path| !inputs.paths.contains_key(path))
        .collect()
}

/// What a way of touching a path needs; listing is another path's matter (its slash at the end).
fn permissions_of(access: Access) -> Permissions {
    match access {
        Access::Open => Permissions::READ,
        Access::Execute => Permissions::PROGRAM,
        Access::Write
        | Access::Create
        | Access::Bind
        | Access::Connect
        | Access::ChangeAttributes
        | Access::RenameFrom
        | Access::RenameTo
        | Access::Remove => Permissions::CHANGE,
        // Looking a path up, asking for its attributes and reading a link are not mediated.
        Access::List
        | Access::Stat
        | Access::ReadLink
        | Access::ChangeDirectory
        | Access::Mount
        | Access::Missing => Permissions::NONE,
    }
}

/// Which processes call what locks and links.
struct Callers {
    lock_any: BTreeSet<ProcessId>,
    lock_written: BTreeSet<ProcessId>,
    link: BTreeSet<ProcessId>,
}

impl Callers {
    fn of(trace: &Trace) -> Self {
        let of = |names: &[&str]| -> BTreeSet<ProcessId> {
            let calls = trace.system_calls.iter();
            calls
                .filter(|record| names.iter().any(|name| record.calls.contains(*name)))
                .map(|record| record.process)
                .collect()
        };
        // fcntl is called for much else than locks, so that it counts for files that are written only.
        Self {
            lock_any: of(&["flock"]),
            lock_written: of(&["fcntl", "fcntl64"]),
            link: of(&["link", "linkat"]),
        }
    }
}

impl Rules<'_> {
    fn add(&mut self, pattern: Pattern, permissions: Permissions) {
        *self.rules.entry(pattern).or_default() += permissions;
    }

    /// The path as named and the path that it leads to.
    fn add_traced(&mut self, path: &slim_trace::TracedPath, permissions: Permissions) {
        for path in [as_named(path), resolve(path, &self.inputs.paths)].into_iter().flatten() {
            self.add_path(&path, permissions);
        }
    }

    /// A path by itself, with a slash behind where it is a directory.
    fn add_path(&mut self, path: &ImagePath, permissions: Permissions) {
        let pattern = Pattern::exact(path);
        let directory = path.is_root() || self.inputs.paths.get(path) == Some(&KeptKind::Directory);
        if !directory {
            self.add(pattern, permissions);
            return;
        }
        let listing = Permissions { read: permissions.read, write: permissions.write, ..Permissions::NONE };
        self.add(pattern.then(DIRECTORY), listing);
    }

    fn add_access(&mut self, file: &FileAccess, callers: &Callers) {
        let mut permissions = Permissions::NONE;
        for access in &file.access {
            permissions += permissions_of(*access);
            if *access == Access::List {
                self.add_listing(file);
            }
        }
        if permissions.is_empty() {
            return;
        }
        permissions.lock = callers.lock_any.contains(&file.process)
            || (permissions.write && callers.lock_written.contains(&file.process));
        permissions.link = file.access.contains(&Access::Create) && callers.link.contains(&file.process);
        let resolved = resolve(&file.path, &self.inputs.paths);
        match resolved.as_ref().and_then(|path| self.inputs.paths.get(path)) {
            // Mapped, not locked: locks are for data.
            Some(KeptKind::File { elf: true, .. }) => {
                (permissions.map, permissions.lock) = (permissions.read, false)
            }
            Some(_) => {}
            // What one process makes another one reads, under a name that is another one the next time.
            None => {
                if let Some(path) = resolved.filter(|path| permissions.write || self.changed.contains(path)) {
                    *self.made.entry(path).or_default() += Permissions { run: false, ..permissions };
                    return;
                }
            }
        }
        self.add_traced(&file.path, permissions);
    }

    fn add_listing(&mut self, file: &FileAccess) {
        for path in [as_named(&file.path), resolve(&file.path, &self.inputs.paths)].into_iter().flatten() {
            self.add(Pattern::exact(&path).then(DIRECTORY), Permissions::READ);
        }
    }

    /// What a program makes is called differently the next time (process ids, dates, random names): any name in a
    /// directory of its own may be made, in others one that is built as what was seen; with everything below what was
    /// made itself.
    fn add_made(&mut self) {
        let made = std::mem::take(&mut self.made);
        for (path, permissions) in &made {
            let top = path.ancestors().into_iter().find(|above| made.contains_key(above));
            let deep = top.is_some();
            let top = top.unwrap_or_else(|| path.clone());
            let Some(directory) = top.parent() else { continue };
            let within = Pattern::exact(&directory).then(DIRECTORY);
            let patterns = if is_shared(&directory) {
                like(within, &directory, &top)
            } else if deep {
                self.add(within.then(TREE), *permissions);
                continue;
            } else {
                vec![within.then(NAMES)]
            };
            for pattern in patterns {
                if deep {
                    self.add(pattern.then(DIRECTORY).then(TREE), *permissions);
                } else {
                    self.add(pattern.clone(), *permissions);
                    self.add(pattern.then(DIRECTORY), Permissions::CHANGE);
                }
            }
        }
    }

    /// What the image holds may be read: it was kept because it is needed. Many files that may only be read are one
    /// rule a directory.
    fn add_kept(&mut self) {
        let mut plain: BTreeMap<ImagePath, Vec<&ImagePath>> = BTreeMap::new();
        let kept = &self.inputs.paths;
        for (path, kind) in kept {
            match kind {
                KeptKind::Directory => self.add(Pattern::exact(path).then(DIRECTORY), Permissions::READ),
                KeptKind::File { run: true, .. } => self.add(Pattern::exact(path), Permissions::PROGRAM),
                KeptKind::File { elf: true, .. } => self.add(Pattern::exact(path), Permissions::LIBRARY),
                KeptKind::File { .. }
                    if self
                        .rules
                        .get(&Pattern::exact(path))
                        .is_none_or(|known| *known == Permissions::READ) =>
                {
                    plain.entry(path.parent().unwrap_or_else(ImagePath::root)).or_default().push(path);
                }
                KeptKind::File { .. } => self.add(Pattern::exact(path), Permissions::READ),
                KeptKind::Special => self.add(Pattern::exact(path), Permissions::CHANGE),
                // A link is read with its directory, and never matched by itself.
                KeptKind::Symlink { .. } => {}
            }
        }
        for (directory, files) in plain {
            if files.len() < MANY_FILES || holds_secrets(&directory) {
                files.iter().for_each(|path| self.add(Pattern::exact(path), Permissions::READ));
                continue;
            }
            for path in &files {
                self.rules.remove(&Pattern::exact(path));
            }
            self.add(Pattern::exact(&directory).then(DIRECTORY).then(NAMES), Permissions::READ);
        }
    }
}

/// The names built as this one is, and what a log is called when it is rotated.
fn like(within: Pattern, directory: &ImagePath, path: &ImagePath) -> Vec<Pattern> {
    let name = path.as_bytes().rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let pattern = pieces(directory, name).into_iter().fold(within, |pattern, piece| match piece {
        Piece::Fixed(text) => pattern.then_exactly(&text),
        Piece::Any => pattern.then(NAMES),
    });
    if name.ends_with(b".log") {
        vec![pattern.clone().then("{.,-}").then(NAMES), pattern]
    } else {
        vec![pattern]
    }
}

fn is_shared(directory: &ImagePath) -> bool {
    SHARED.iter().any(|(shared, below)| {
        let shared = ImagePath::from(*shared);
        *directory == shared || (*below && directory.is_within(&shared))
    })
}

/// Where files lie that no program but their own may read, beside those that were kept: /etc/shadow. An engine or a volume
/// may bring them.
fn holds_secrets(directory: &ImagePath) -> bool {
    ["/etc", "/root"].iter().any(|above| directory.is_within(&(*above).into()))
        || SHARED.iter().any(|(shared, _)| *directory == ImagePath::from(*shared))
}
