//! Which path needs which permissions.

use super::names::{Piece, pieces};
use super::pattern::{DIRECTORY, NAMES, Pattern, TREE};
use super::permissions::Permissions;
use super::scope::Scope;
use crate::inputs::{Inputs, KeptKind};
use crate::paths::{as_named, resolve};
use slim_image::ImagePath;
use slim_trace::{Access, FileAccess, ProcessId, TracedPath};
use std::collections::{BTreeMap, BTreeSet};

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

/// Rules under the making.
struct Rules<'a> {
    inputs: &'a Inputs,
    rules: BTreeMap<Pattern, Permissions>,
    /// Paths that some process changes and the image does not hold.
    changed: BTreeSet<ImagePath>,
    /// Paths that the program made and the image does not hold, with what may be done with them.
    made: BTreeMap<ImagePath, Permissions>,
}

/// Every file rule of a profile, by pattern.
pub(crate) fn file_rules(scope: &Scope<'_>) -> BTreeMap<Pattern, Permissions> {
    let inputs = scope.inputs;
    let changed = changed(scope);
    let mut rules = Rules { inputs, rules: BTreeMap::new(), changed, made: BTreeMap::new() };
    let links = links(scope);
    for file in scope.files() {
        rules.add_access(file, links.get(&file.process).copied().unwrap_or_default());
    }
    // Helpers have inherited it as their output.
    for file in scope.handed_down() {
        rules.add_traced(&file.path, Permissions::CHANGE);
    }
    for process in scope.processes() {
        let run = process.executable.iter().chain(&process.invoked_as).chain(&process.interpreter);
        for path in run.chain(&process.shebang) {
            rules.add_traced(path, Permissions::PROGRAM);
        }
    }
    rules.add_made();
    rules.add_kept(scope.is_main());
    // Whoever is about to exec one was seen to run it: the exec leads into another profile, and a path cannot have two ways.
    for helper in scope.helpers.keys() {
        if let Some(permissions) = rules.rules.get_mut(&Pattern::exact(helper)) {
            permissions.run = false;
        }
    }
    rules.rules
}

/// Every path that a traced one may be looked up as: as named, and where that leads.
pub(crate) fn both(path: &TracedPath, inputs: &Inputs) -> impl Iterator<Item = ImagePath> {
    [as_named(path), resolve(path, &inputs.paths)].into_iter().flatten()
}

fn changed(scope: &Scope<'_>) -> BTreeSet<ImagePath> {
    let is_change = |access: &Access| Permissions::of(*access).changes();
    let files = scope.files().filter(|file| file.access.iter().any(is_change));
    files
        .filter_map(|file| resolve(&file.path, &scope.inputs.paths))
        .filter(|path| !scope.inputs.paths.contains_key(path))
        .collect()
}

/// What may be done with the new names of each process's links: the kernel wants no less of the file that is linked.
fn links(scope: &Scope<'_>) -> BTreeMap<ProcessId, Permissions> {
    let mut links: BTreeMap<ProcessId, Permissions> = BTreeMap::new();
    for file in scope.files().filter(|file| file.access.contains(&Access::LinkTo)) {
        *links.entry(file.process).or_default() += Permissions { link: false, ..of_file(file) };
    }
    links
}

/// What a process did with a path, all together.
fn of_file(file: &FileAccess) -> Permissions {
    // A new name of a file is no new file.
    let is_link = file.access.contains(&Access::LinkTo);
    let told = file.access.iter().filter(|access| !(is_link && **access == Access::Create));
    told.fold(Permissions::NONE, |mut sum, access| {
        sum += Permissions::of(*access);
        sum
    })
}

impl Rules<'_> {
    fn add(&mut self, pattern: Pattern, permissions: Permissions) {
        *self.rules.entry(pattern).or_default() += permissions;
    }

    /// The path as named and the path that it leads to.
    fn add_traced(&mut self, path: &TracedPath, permissions: Permissions) {
        for path in both(path, self.inputs) {
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

    /// `link`: what may be done with the new names of what its process links.
    fn add_access(&mut self, file: &FileAccess, link: Permissions) {
        if file.access.contains(&Access::List) {
            self.add_listing(file);
        }
        let mut permissions = of_file(file);
        if permissions.is_empty() {
            return;
        }
        let resolved = resolve(&file.path, &self.inputs.paths);
        match resolved.as_ref().and_then(|path| self.inputs.paths.get(path)) {
            Some(KeptKind::File { elf: true, .. }) => permissions.map = permissions.read,
            Some(_) => {}
            // What one process makes another one reads, under a name that is another one the next time.
            None => {
                if file.access.contains(&Access::LinkFrom) {
                    permissions += link;
                }
                let is_made = |path: &ImagePath| permissions.changes() || self.changed.contains(path);
                if let Some(path) = resolved.filter(is_made) {
                    *self.made.entry(path).or_default() += Permissions { run: false, ..permissions };
                    return;
                }
            }
        }
        self.add_traced(&file.path, permissions);
    }

    fn add_listing(&mut self, file: &FileAccess) {
        for path in both(&file.path, self.inputs) {
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
    /// rule a directory. Passwords are kept with the other accounts, for who may ask for them: only what asked may read.
    /// `is_main`: what is there to be run although no run of it was seen, the program that stays runs.
    fn add_kept(&mut self, is_main: bool) {
        let mut plain: BTreeMap<ImagePath, Vec<&ImagePath>> = BTreeMap::new();
        let kept = &self.inputs.paths;
        for (path, kind) in kept {
            if is_account_secret(path) {
                continue;
            }
            match kind {
                KeptKind::Directory => self.add(Pattern::exact(path).then(DIRECTORY), Permissions::READ),
                KeptKind::File { run: true, .. } if is_main => {
                    self.add(Pattern::exact(path), Permissions::PROGRAM);
                }
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

/// Hashes of passwords: shadow(5), gshadow(5) and what useradd(8) leaves of them.
fn is_account_secret(path: &ImagePath) -> bool {
    ["/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/security/opasswd"]
        .iter()
        .any(|secret| *path == ImagePath::from(*secret))
}

/// Where files lie that no program but their own may read, beside those that were kept: /etc/shadow. An engine or a volume
/// may bring them.
fn holds_secrets(directory: &ImagePath) -> bool {
    ["/etc", "/root"].iter().any(|above| directory.is_within(&(*above).into()))
        || SHARED.iter().any(|(shared, _)| *directory == ImagePath::from(*shared))
}
