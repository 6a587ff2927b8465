//! Rule: what Python files import, from the modules that a run loaded and the application's own.
//!
//! How far it goes:
//! - application and packages: every import, at any depth; in the application also strings that name modules
//!   (`"app.settings"`, `"app.main:create_app()"`), in the image's configuration and shell scripts as well. From one
//!   distribution to another only where its metadata says that it needs it, or where the other is in use anyway: optional
//!   imports of whatever happens to be installed would lead everywhere;
//! - the standard library: what its modules import when they are imported. Imports inside functions count within one
//!   package (`multiprocessing`), and in modules that the run loaded, unless the function is there for running the module
//!   as a script. Measured with json, http.server, sqlite3, ssl, logging and multiprocessing loaded, this doubles the
//!   6.7 MB of library files; every import in functions would nearly triple them;
//! - a package with a kept module that imports by names which only a run knows is kept whole, tests aside. The standard
//!   library never is;
//! - what a compiled module imports cannot be read: one that the run did not load brings the modules beside it.
//!
//! Beside modules: see [`companions`].

mod companions;
mod imports;
mod search;
#[cfg(test)]
mod tests;

use self::companions::Companions;
use self::imports::{Asked, Import, Place, asked, is_name};
use self::search::{Found, Search};
use super::{KeptFile, Rule, World, shell};
use crate::context::Context;
use crate::inspect::File;
use crate::note::Note;
use crate::python;
use crate::reason::{Reason, Via};
use crate::seed::Seed;
use slim_image::{Entry, ImagePath, Kind, TreeError};
use std::collections::{BTreeMap, BTreeSet};

/// A larger package is not kept whole.
const WHOLE_MAX: u64 = 32 << 20;
/// A longer file is data.
const TEXT_MAX: usize = 2 << 20;
/// Reasons that one module gets.
const REASONS_MAX: usize = 2;

/// Follows Python's imports.
#[derive(Debug, Default)]
pub(super) struct Python {
    search: Search,
    companions: Companions,
    /// Files that the run loaded.
    loaded: BTreeSet<ImagePath>,
    /// Packages of distributions that are in use, with the directory that they lie in.
    in_use: BTreeSet<(ImagePath, String)>,
    /// What counts as soon as another distribution is in use.
    deferred: BTreeMap<(ImagePath, String), Vec<(Found, Reason)>>,
    /// How often a module was reached.
    reached: BTreeMap<ImagePath, usize>,
    /// Packages that are kept whole.
    whole: BTreeSet<ImagePath>,
    /// Files that are kept for their package's sake alone.
    of_whole: BTreeSet<ImagePath>,
    notes: BTreeSet<Note>,
}

impl Rule for Python {
    fn begin(&mut self, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        let context = world.context;
        self.search = Search::new(context, world.observed)?;
        self.loaded = search::loaded(world.observed);
        self.in_use = self.loaded.iter().filter_map(|file| self.package(file)).collect();
        let mut seeds = Vec::new();
        let because = |word: &str, _: u32| Reason::Entrypoint { word: word.to_owned() };
        for (words, _) in shell::command_lines(context) {
            let script = shell::configured(context, &words)?;
            self.calls(context, &script, &because, &mut seeds);
        }
        let path = self.outside(&[]);
        for value in context.config.env.iter().filter_map(|pair| pair.split_once('=')).map(|(_, value)| value)
        {
            self.name(context, &path, value, &because, 0, &mut seeds);
        }
        Ok(seeds)
    }

    fn follow(&mut self, file: &KeptFile<'_>, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        let context = world.context;
        let mut seeds = Vec::new();
        if is_python(file) {
            if is_test(file.path) && !self.loaded.contains(file.path) && !self.reached.contains_key(file.path)
            {
                // Kept with the application, but the program does not run it.
                return Ok(seeds);
            }
            match file.text()?.filter(|text| text.len() <= TEXT_MAX) {
                Some(text) => self.module(context, file.path, &text, &mut seeds)?,
                None => drop(self.notes.insert(Note::NotFollowed {
                    path: file.path.clone(),
                    why: "the file is too long".to_owned(),
                    instead: "what was seen of it is kept".to_owned(),
                })),
            }
            self.beside(context, file.path, &mut seeds)?;
        } else if file.path.file_name().ends_with(b".so") {
            if self.search.packages_of(file.path).is_some() {
                self.compiled(context, file.path, &mut seeds);
                self.beside(context, file.path, &mut seeds)?;
            }
        } else if shell::is_script(file, context)
            && let Some(text) = file.text()?
        {
            let script = shell::read(context, Some(file.path), &text)?;
            let because = |word: &str, line: u32| imported(file.path, line, word);
            self.calls(context, &script, &because, &mut seeds);
        }
        Ok(seeds)
    }

    fn notes(&mut self) -> Vec<Note> {
        self.notes.append(&mut self.companions.notes);
        std::mem::take(&mut self.notes).into_iter().collect()
    }
}

/// Why something is kept: for this word at this line.
type Because<'b> = &'b dyn Fn(&str, u32) -> Reason;

impl Python {
    /// Follows one source file.
    fn module(
        &mut self,
        context: &Context<'_>,
        file: &ImagePath,
        text: &[u8],
        seeds: &mut Vec<Seed>,
    ) -> Result<(), TreeError> {
        let asked = asked(text);
        let path = self.search.path_of(context, file);
        let is_standard = self.search.is_standard(file);
        let packages = self.search.packages_of(file).cloned();
        // What `.pth` files import runs in every process, whatever the application is.
        let is_hook = packages
            .as_ref()
            .and_then(|packages| top_level(packages, file))
            .is_some_and(|top| self.search.hooks.contains(top.split('.').next().unwrap_or_default()));
        let because = |word: &str, line: u32| imported(file, line, word);
        for import in &asked.imports {
            if (is_standard || is_hook) && !self.counts(context, file, import) {
                continue;
            }
            let (start, what) = origin(file, import, &path);
            let found = self.search.find(context, &start, &import.module);
            let directories = if import.module.is_empty() { start } else { found.directories.clone() };
            self.import(context, file, &found, because(&what, import.line), seeds)?;
            for name in &import.names {
                let names = if name == "*" { self.all(context, &found)? } else { vec![name.clone()] };
                for name in names {
                    let found = self.search.find(context, &directories, std::slice::from_ref(&name));
                    let what = [what.trim_end_matches('.'), name.as_str()].join(".");
                    self.import(context, file, &found, because(&what, import.line), seeds)?;
                }
            }
        }
        self.packages_above(context, file, seeds);
        if !is_standard && packages.is_none() {
            self.strings(context, &path, &asked, &because, seeds);
        }
        if let Some(line) = asked.unknown.filter(|_| !is_hook)
            && let Some(packages) = packages
        {
            self.whole(context, &packages, file, line, seeds);
        }
        Ok(())
    }

    /// Whether an import in a module of the standard library counts.
    fn counts(&self, context: &Context<'_>, file: &ImagePath, import: &Import) -> bool {
        match import.place {
            Place::Module => true,
            Place::Running => false,
            Place::Function => {
                let top = file.parent().and_then(|directory| self.search.top(context, &directory));
                let own = top.and_then(|top| top_level(&top, file));
                import.level > 0
                    || import.module.first() == own.as_ref()
                    || (self.loaded.contains(file) && self.search.is_standard(file))
            }
        }
    }

    /// The packages that a module is in are imported before it.
    fn packages_above(&mut self, context: &Context<'_>, file: &ImagePath, seeds: &mut Vec<Seed>) {
        let mut directory = file.parent();
        while let Some(package) =
            directory.filter(|package| self.search.has(context, package, b"__init__.py"))
        {
            let path = package.join("__init__.py");
            if path != *file {
                let found = Found { files: vec![path], ..Found::default() };
                self.keep(context, &found, &imported(file, 1, "the package that it is in"), seeds);
            }
            directory = package.parent();
        }
    }

    /// The names that `from package import *` takes.
    fn all(&self, context: &Context<'_>, found: &Found) -> Result<Vec<String>, TreeError> {
        match found.files.last().filter(|_| !found.directories.is_empty()) {
            Some(package) => Ok(asked(&context.read(package.as_bytes(), 1 << 20)?).all),
            None => Ok(Vec::new()),
        }
    }

    /// Strings of the application that name modules or codecs.
    fn strings(
        &mut self,
        context: &Context<'_>,
        path: &[ImagePath],
        asked: &Asked,
        because: Because<'_>,
        seeds: &mut Vec<Seed>,
    ) {
        for (name, line) in &asked.names {
            self.name(context, path, name, because, *line, seeds);
            if !name.contains(['.', ':']) {
                let codec = vec!["encodings".to_owned(), name.to_lowercase().replace('-', "_")];
                let found = self.search.find(context, path, &codec);
                if found.depth == 2 {
                    self.keep(context, &found, &because(name, *line), seeds);
                }
            }
        }
    }

    /// A word that may name a module: of several parts; or a package of the application.
    fn name(
        &mut self,
        context: &Context<'_>,
        path: &[ImagePath],
        word: &str,
        because: Because<'_>,
        line: u32,
        seeds: &mut Vec<Seed>,
    ) {
        if !is_name(word) {
            return;
        }
        let module = word.split([':', '(']).next().unwrap_or_default();
        let parts: Vec<String> = module.split('.').map(str::to_owned).collect();
        let found = self.search.find(context, path, &parts);
        let Some(first) = found.files.first() else { return };
        let is_application = !self.search.is_standard(first) && self.search.packages_of(first).is_none();
        let is_whole = found.depth == parts.len();
        let counts = if word.contains(':') {
            is_whole && (is_application || parts.len() > 1)
        } else if parts.len() == 1 {
            is_application && !found.directories.is_empty()
        } else {
            found.depth >= 2 || (is_application && found.depth + 1 >= parts.len())
        };
        if counts {
            self.keep(context, &found, &because(word, line), seeds);
        }
    }

    /// Commands that name modules: `python3 -m app`, `gunicorn app.main:create_app()`, `celery -A app worker`.
    fn calls(
        &mut self,
        context: &Context<'_>,
        script: &shell::Script,
        because: Because<'_>,
        seeds: &mut Vec<Seed>,
    ) {
        let directories: Vec<ImagePath> = script.directories.iter().map(ImagePath::new).collect();
        let path = self.outside(&directories);
        for call in &script.calls {
            let line = call.place.line;
            let words: Vec<&String> =
                call.arguments.iter().flatten().filter(|word| !word.contains(shell::UNKNOWN)).collect();
            if python::is_interpreter(call.name.as_bytes()) {
                let behind = |option: &str| {
                    let at = words.iter().position(|word| *word == option)?;
                    words.get(at + 1).copied()
                };
                if let Some(module) = behind("-m") {
                    let parts: Vec<String> = module.split('.').map(str::to_owned).collect();
                    let found = self.search.find(context, &path, &parts);
                    let main = self.search.find(context, &found.directories, &["__main__".to_owned()]);
                    self.keep(context, &found, &because(module, line), seeds);
                    self.keep(context, &main, &because(module, line), seeds);
                }
                for import in behind("-c").map(|code| asked(code.as_bytes()).imports).into_iter().flatten() {
                    let found = self.search.find(context, &path, &import.module);
                    self.keep(context, &found, &because(&import.module.join("."), line), seeds);
                    for name in &import.names {
                        let module =
                            self.search.find(context, &found.directories, std::slice::from_ref(name));
                        self.keep(context, &module, &because(name, line), seeds);
                    }
                }
            }
            for word in words {
                let word = word.split_once('=').map_or(word.as_str(), |(_, value)| value);
                self.name(context, &path, word, because, line, seeds);
            }
        }
    }

    /// The search path of a program that is started in one of these directories.
    fn outside(&self, directories: &[ImagePath]) -> Vec<ImagePath> {
        let mut path: Vec<ImagePath> = directories.iter().chain(&self.search.roots).cloned().collect();
        for interpreter in &self.search.interpreters {
            path.extend([interpreter.library.clone(), interpreter.library.join("lib-dynload")]);
            path.extend(interpreter.packages.iter().cloned());
        }
        path
    }

    /// Keeps what a file imports, unless that is another distribution's that nothing else needs.
    fn import(
        &mut self,
        context: &Context<'_>,
        file: &ImagePath,
        found: &Found,
        reason: Reason,
        seeds: &mut Vec<Seed>,
    ) -> Result<(), TreeError> {
        let to = found.files.last().and_then(|module| self.package(module));
        if let (Some(from), Some(to)) = (self.package(file), to)
            && from != to
            && !self.in_use.contains(&to)
            && !self.companions.needs(context, &self.search, &from, &to)?
        {
            self.deferred.entry(to).or_default().push((found.clone(), reason));
            return Ok(());
        }
        self.keep(context, found, &reason, seeds);
        Ok(())
    }

    /// The first part of the name of a module that lies in a directory of packages.
    fn package(&self, file: &ImagePath) -> Option<(ImagePath, String)> {
        let packages = self.search.packages_of(file)?;
        Some((packages.clone(), top_level(packages, file)?))
    }

    fn keep(&mut self, context: &Context<'_>, found: &Found, reason: &Reason, seeds: &mut Vec<Seed>) {
        let mut ahead = vec![(found.clone(), reason.clone())];
        while let Some((found, reason)) = ahead.pop() {
            for file in &found.files {
                let times = self.reached.entry(file.clone()).or_default();
                *times += 1;
                if *times > REASONS_MAX {
                    continue;
                }
                seeds.push(Seed::object(file.as_bytes(), reason.clone()));
                seeds.extend(self.companions.compiled(context, &self.search, file));
                if let Some(package) = self.package(file) {
                    ahead.extend(self.deferred.remove(&package).unwrap_or_default());
                    self.in_use.insert(package);
                }
            }
        }
    }

    /// Keeps a package whole: all its modules, tests aside.
    fn whole(
        &mut self,
        context: &Context<'_>,
        packages: &ImagePath,
        file: &ImagePath,
        line: u32,
        seeds: &mut Vec<Seed>,
    ) {
        let below: Vec<ImagePath> =
            file.ancestors().into_iter().filter(|above| above.is_within(packages)).collect();
        let package = below.into_iter().find(|above| self.search.has(context, above, b"__init__.py"));
        let Some(package) = package.filter(|package| !self.whole.contains(package)) else { return };
        self.whole.insert(package.clone());
        let modules = self.modules_below(context, &package);
        if modules.iter().map(|(_, size)| size).sum::<u64>() > WHOLE_MAX {
            self.notes.insert(Note::NotFollowed {
                path: package,
                why: format!("{file}:{line} imports names that only a run knows, and the package is large"),
                instead: "what is imported by name is kept".to_owned(),
            });
            return;
        }
        for (module, _) in modules {
            seeds.push(Seed::object(module.as_bytes(), imported(file, line, "a name that only a run knows")));
            self.of_whole.insert(module);
        }
    }

    fn modules_below(&self, context: &Context<'_>, package: &ImagePath) -> Vec<(ImagePath, u64)> {
        let mut modules = Vec::new();
        let mut directories = vec![package.clone()];
        while let Some(directory) = directories.pop() {
            for name in context.tree.read_dir(&directory) {
                let path = directory.join(name);
                match context.entry(&path).map(|entry| &entry.kind) {
                    Some(Kind::Directory) if !companions::is_left_out(name) => directories.push(path),
                    Some(Kind::File { size }) if self.is_module(name) => modules.push((path, *size)),
                    _ => {}
                }
            }
        }
        modules
    }

    fn is_module(&self, name: &[u8]) -> bool {
        let ending = name.iter().position(|byte| *byte == b'.').map(|dot| &name[dot + 1..]);
        ending.is_some_and(|ending| ending == b"py" || self.search.is_extension(ending))
    }

    /// A compiled module that was not loaded brings what lies beside it.
    fn compiled(&mut self, context: &Context<'_>, file: &ImagePath, seeds: &mut Vec<Seed>) {
        let Some(directory) =
            file.parent().filter(|directory| self.search.has(context, directory, b"__init__.py"))
        else {
            return;
        };
        if self.loaded.contains(file) || self.of_whole.contains(file) || !self.is_module(file.file_name()) {
            return;
        }
        let beside = context.tree.read_dir(&directory).into_iter().filter(|name| self.is_module(name));
        let beside: Vec<ImagePath> = beside.map(|name| directory.join(name)).collect();
        let found = Found { files: beside, ..Found::default() };
        self.keep(context, &found, &companion(file, "a module beside it"), seeds);
    }

    fn beside(
        &mut self,
        context: &Context<'_>,
        file: &ImagePath,
        seeds: &mut Vec<Seed>,
    ) -> Result<(), TreeError> {
        if !self.of_whole.contains(file) || self.loaded.contains(file) {
            seeds.extend(self.companions.compiled(context, &self.search, file));
        }
        seeds.extend(self.companions.of(context, &self.search, file)?);
        Ok(())
    }
}

/// Where an import begins to look, and its name as a person reads it.
fn origin(file: &ImagePath, import: &Import, path: &[ImagePath]) -> (Vec<ImagePath>, String) {
    let what = format!("{}{}", ".".repeat(import.level), import.module.join("."));
    if import.level == 0 {
        return (path.to_vec(), what);
    }
    let above = file.ancestors();
    let at = above.len().checked_sub(import.level);
    (at.and_then(|at| above.get(at)).cloned().into_iter().collect(), what)
}

/// The first part of a module's name.
fn top_level(packages: &ImagePath, file: &ImagePath) -> Option<String> {
    let depth = packages.components().count();
    let name = file.components().nth(depth)?;
    let name = String::from_utf8_lossy(name);
    name.split('.').next().map(str::to_owned)
}

fn is_python(file: &KeptFile<'_>) -> bool {
    if file.path.file_name().ends_with(b".py") {
        return true;
    }
    let File::Script(line) = &file.what else { return false };
    line.split(|byte| matches!(byte, b' ' | b'\t' | b'/')).any(python::is_interpreter)
}

/// Whether a file holds tests, by custom.
fn is_test(file: &ImagePath) -> bool {
    let name = file.file_name();
    let is_named = name.starts_with(b"test_") || name.ends_with(b"_test.py") || name == b"conftest.py";
    is_named || file.components().any(companions::is_of_tests)
}

fn imported(from: &ImagePath, line: u32, what: &str) -> Reason {
    Reason::Reachable { via: Via::PythonImport, from: from.clone(), line: Some(line), what: what.to_owned() }
}

fn companion(from: &ImagePath, what: &str) -> Reason {
    Reason::Reachable { via: Via::PythonCompanion, from: from.clone(), line: None, what: what.to_owned() }
}

fn is_directory(context: &Context<'_>, path: &ImagePath) -> bool {
    context.entry(path).is_some_and(Entry::is_directory)
}
