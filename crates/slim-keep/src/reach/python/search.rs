//! Where modules are looked for, and which files a dotted name leads to.
//!
//! The search path of a run is not in its trace. It is put together from the directories that modules were taken from,
//! PYTHONPATH, WORKDIR, and for each interpreter its library, extension and package directories with what their `.pth`
//! files add. Names are matched against listings only; nothing but `.pth` files and `pyvenv.cfg` is read.

use crate::context::Context;
use crate::observed::Observed;
use crate::python;
use slim_image::{Entry, ImagePath, TreeError};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Bytes of a `.pth` file or `pyvenv.cfg` that are read.
const SMALL: u64 = 64 << 10;
/// Parts of a name that are followed.
const PARTS_MAX: usize = 32;

/// An interpreter's own directories.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Interpreter {
    /// `…/lib/python3.11`, as it is found without symlinks.
    pub library: ImagePath,
    /// `3.11`.
    pub version: String,
    /// site-packages and dist-packages, with what `.pth` files add.
    pub packages: Vec<ImagePath>,
}

/// What a name leads to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// The module with the packages above it, the outermost first.
    pub files: Vec<ImagePath>,
    /// How many parts of the name are modules.
    pub depth: usize,
    /// The directories that the whole name is, where it is a package.
    pub directories: Vec<ImagePath>,
}

/// All search paths of an image.
#[derive(Debug, Default)]
pub(super) struct Search {
    pub interpreters: Vec<Interpreter>,
    /// PYTHONPATH, WORKDIR, and where the application's modules were taken from.
    pub roots: Vec<ImagePath>,
    /// Modules that `.pth` files import into every process.
    pub hooks: BTreeSet<String>,
    listings: RefCell<BTreeMap<ImagePath, Rc<BTreeSet<Vec<u8>>>>>,
}

impl Search {
    /// # Errors
    /// When the image's files cannot be read.
    pub(super) fn new(context: &Context<'_>, observed: &Observed<'_>) -> Result<Self, TreeError> {
        let mut search = Self::default();
        let mut libraries: BTreeSet<ImagePath> =
            observed.imported_from.iter().filter_map(library_above).collect();
        libraries.retain(|library| search.has(context, library, b"os.py"));
        if libraries.is_empty() {
            libraries = search.on_path(context)?;
        }
        let environments: BTreeSet<ImagePath> =
            observed.imported_from.iter().filter_map(packages_above).collect();
        for library in libraries {
            search.interpreter(context, library, &environments)?;
        }
        let working_directory = std::iter::once(&context.environment.working_directory);
        let configured = context.environment.python_path.iter().chain(working_directory);
        let configured: Vec<ImagePath> =
            configured.filter_map(|path| context.walk(path.as_bytes(), true).found().cloned()).collect();
        let taken =
            observed.imported_from.iter().filter(|directory| search.interpreter_of(directory).is_none());
        let taken: Vec<ImagePath> = taken.filter_map(|directory| search.top(context, directory)).collect();
        for root in configured.into_iter().chain(taken) {
            if !root.is_root() && !search.roots.contains(&root) {
                // What distributions were put into is told by its listing.
                search.listing(context, &root);
                search.roots.push(root);
            }
        }
        Ok(search)
    }

    /// The libraries of the interpreters on PATH, through `pyvenv.cfg` where they are a virtual environment's.
    fn on_path(&self, context: &Context<'_>) -> Result<BTreeSet<ImagePath>, TreeError> {
        let mut libraries = BTreeSet::new();
        for directory in &context.environment.path {
            let Some(directory) = context.walk(directory.as_bytes(), true).found().cloned() else { continue };
            let Some(prefix) = directory.parent() else { continue };
            let mut prefixes = vec![prefix.clone()];
            let settings = context.read(prefix.join("pyvenv.cfg").as_bytes(), SMALL)?;
            for line in settings.split(|byte| *byte == b'\n') {
                let mut pair = line.splitn(2, |byte| *byte == b'=').map(<[u8]>::trim_ascii);
                if pair.next() == Some(b"home")
                    && let Some(home) = pair.next().filter(|home| home.first() == Some(&b'/'))
                {
                    prefixes.extend(ImagePath::new(home).parent());
                }
            }
            for above in prefixes.iter().flat_map(|prefix| [prefix.join("lib"), prefix.join("lib64")]) {
                let names = self.listing(context, &above);
                let named =
                    names.iter().filter(|name| version_of(name).is_some()).map(|name| above.join(name));
                for library in named.filter(|library| self.has(context, library, b"os.py")) {
                    libraries.extend(context.walk(library.as_bytes(), true).found().cloned());
                }
            }
        }
        Ok(libraries)
    }

    fn interpreter(
        &mut self,
        context: &Context<'_>,
        library: ImagePath,
        environments: &BTreeSet<ImagePath>,
    ) -> Result<(), TreeError> {
        let Some(version) = version_of(library.file_name()) else { return Ok(()) };
        let named = format!("python{version}");
        // Environments that something was loaded from, and those on PATH.
        let on_path = context.environment.path.iter().map(|directory| ImagePath::new(directory).parent());
        let on_path = on_path.flatten().filter(|prefix| context.entry(&prefix.join("pyvenv.cfg")).is_some());
        let on_path = on_path.map(|prefix| prefix.join("lib").join(&named).join("site-packages"));
        let environments: BTreeSet<ImagePath> = environments.iter().cloned().chain(on_path).collect();
        let mut packages: Vec<ImagePath> = environments.iter().cloned().collect();
        let mut is_isolated = false;
        for environment in &environments {
            let settings = [environment.as_bytes(), b"/../../../pyvenv.cfg"].concat();
            let settings = context.read(&settings, SMALL)?.to_ascii_lowercase();
            let mut lines = settings.split(|byte| *byte == b'\n').map(|line| line.trim_ascii());
            is_isolated |= lines
                .any(|line| line.starts_with(b"include-system-site-packages") && line.ends_with(b"false"));
        }
        if !is_isolated {
            packages.extend([library.join("site-packages"), library.join("dist-packages")]);
            packages.extend(library.parent().map(|lib| lib.join("python3").join("dist-packages")));
            // Debian's interpreter also looks here; other prefixes are other interpreters'.
            if library.is_within(&"/usr/lib".into()) {
                packages.push(ImagePath::new(format!("/usr/local/lib/{named}/dist-packages")));
            }
        }
        let mut known: Vec<ImagePath> = Vec::new();
        for directory in packages {
            let found = context.walk(directory.as_bytes(), true).found().cloned();
            if let Some(found) = found.filter(|found| !known.contains(found)) {
                known.push(found.clone());
                for added in self.path_files(context, &found)? {
                    if !known.contains(&added) {
                        known.push(added);
                    }
                }
            }
        }
        self.interpreters.push(Interpreter { library, version, packages: known });
        Ok(())
    }

    /// The directories that `.pth` and `.egg-link` files add.
    fn path_files(
        &mut self,
        context: &Context<'_>,
        directory: &ImagePath,
    ) -> Result<Vec<ImagePath>, TreeError> {
        let mut added = Vec::new();
        for name in self.listing(context, directory).iter() {
            if !name.ends_with(b".pth") && !name.ends_with(b".egg-link") {
                continue;
            }
            let text = context.read(directory.join(name).as_bytes(), SMALL)?;
            for line in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii) {
                if line.starts_with(b"import ") || line.starts_with(b"import\t") {
                    let words = line.split(|byte| !byte.is_ascii_alphanumeric() && *byte != b'_');
                    self.hooks.extend(words.skip(1).map(|word| String::from_utf8_lossy(word).into_owned()));
                    continue;
                }
                if line.is_empty() || line.starts_with(b"#") || line == b"." {
                    continue;
                }
                let path =
                    if line[0] == b'/' { line.to_vec() } else { [directory.as_bytes(), b"/", line].concat() };
                let found = context.walk(&path, true).found().cloned();
                added.extend(found.filter(|path| context.entry(path).is_some_and(Entry::is_directory)));
            }
        }
        Ok(added)
    }

    /// The interpreter whose library or packages a path lies in.
    pub(super) fn interpreter_of(&self, path: &ImagePath) -> Option<&Interpreter> {
        self.interpreters.iter().find(|interpreter| {
            path.is_within(&interpreter.library)
                || interpreter.packages.iter().any(|packages| path.is_within(packages))
        })
    }

    /// Whether a file is of the standard library.
    pub(super) fn is_standard(&self, path: &ImagePath) -> bool {
        self.interpreters.iter().any(|interpreter| path.is_within(&interpreter.library))
            && self.packages_of(path).is_none()
    }

    /// The directory of packages that a file lies in: an interpreter's, or any root into which distributions were put.
    pub(super) fn packages_of(&self, path: &ImagePath) -> Option<&ImagePath> {
        let of_interpreters = self.interpreters.iter().flat_map(|interpreter| &interpreter.packages);
        let of_roots = self.roots.iter().filter(|root| {
            self.listings
                .borrow()
                .get(*root)
                .is_some_and(|names| names.iter().any(|name| name.ends_with(b".dist-info")))
        });
        of_interpreters
            .chain(of_roots)
            .filter(|packages| path.is_within(packages))
            .max_by_key(|packages| packages.as_bytes().len())
    }

    /// The directories that an import in a file is looked for in, in order.
    pub(super) fn path_of(&self, context: &Context<'_>, file: &ImagePath) -> Vec<ImagePath> {
        let mut path = Vec::new();
        let library = |interpreter: &Interpreter| {
            [interpreter.library.clone(), interpreter.library.join("lib-dynload")]
        };
        if self.is_standard(file) {
            return self.interpreter_of(file).map(library).into_iter().flatten().collect();
        }
        match self.packages_of(file) {
            Some(packages) => path.push(packages.clone()),
            None => path.extend(file.parent().and_then(|directory| self.top(context, &directory))),
        }
        path.extend(self.roots.iter().cloned());
        let of_it = self.interpreter_of(file);
        let interpreters = of_it.into_iter().chain(self.interpreters.iter().filter(|_| of_it.is_none()));
        for interpreter in interpreters {
            path.extend(library(interpreter));
            path.extend(interpreter.packages.iter().cloned());
        }
        let mut seen = BTreeSet::new();
        path.retain(|directory| seen.insert(directory.clone()));
        path
    }

    /// The directory on the search path that a package's directory lies in: the first above without `__init__.py`.
    pub(super) fn top(&self, context: &Context<'_>, directory: &ImagePath) -> Option<ImagePath> {
        let mut top = directory.clone();
        while self.has(context, &top, b"__init__.py") {
            top = top.parent()?;
        }
        Some(top)
    }

    /// Looks a dotted name up below directories.
    pub(super) fn find(&self, context: &Context<'_>, path: &[ImagePath], parts: &[String]) -> Found {
        let mut found = Found::default();
        let mut directories = path.to_vec();
        for part in parts.iter().take(PARTS_MAX) {
            let is_odd = part.is_empty() || part.contains(['/', '\0']) || part == "." || part == "..";
            let mut namespaces = Vec::new();
            let mut module = None;
            for directory in directories.iter().filter(|_| !is_odd) {
                let names = self.listing(context, directory);
                if names.contains(part.as_bytes()) {
                    let package = directory.join(part);
                    if let Some(file) = self.module_in(context, &package, "__init__") {
                        module = Some((file, Some(package)));
                        break;
                    }
                    if context
                        .walk(package.as_bytes(), true)
                        .found()
                        .is_some_and(|found| context.entry(found).is_some_and(Entry::is_directory))
                    {
                        namespaces.push(package);
                    }
                }
                if let Some(file) = self.module_in(context, directory, part) {
                    module = Some((file, None));
                    break;
                }
            }
            match module {
                Some((file, package)) => {
                    found.files.push(file);
                    directories = package.into_iter().collect();
                }
                None if namespaces.is_empty() => {
                    found.directories.clear();
                    return found;
                }
                None => directories = namespaces,
            }
            found.depth += 1;
            found.directories.clone_from(&directories);
        }
        found
    }

    /// The file of a module in a directory: an extension for an interpreter in use, source, or compiled source.
    fn module_in(&self, context: &Context<'_>, directory: &ImagePath, name: &str) -> Option<ImagePath> {
        let names = self.listing(context, directory);
        let start = [name.as_bytes(), b"."].concat();
        let candidates = names.range(start.clone()..).take_while(|candidate| candidate.starts_with(&start));
        let ranked = candidates.filter_map(|candidate| {
            let rank = match &candidate[start.len()..] {
                b"py" => 1,
                b"pyc" => 2,
                ending if self.is_extension(ending) => 0,
                _ => return None,
            };
            Some((rank, candidate))
        });
        let (_, file) = ranked.min()?;
        Some(directory.join(file)).filter(|path| context.file(path.as_bytes()).is_some())
    }

    /// Whether a file with this ending (without the dot) is a compiled module for an interpreter in use.
    pub(super) fn is_extension(&self, ending: &[u8]) -> bool {
        let Some(tag) = ending.strip_suffix(b"so") else { return false };
        if tag.is_empty() || tag == b"abi3." {
            return true;
        }
        self.interpreters.iter().any(|interpreter| {
            let tagged = format!("cpython-{}", interpreter.version.replace('.', ""));
            tag.strip_prefix(tagged.as_bytes())
                .is_some_and(|rest| !rest.first().is_some_and(u8::is_ascii_digit))
        })
    }

    pub(super) fn has(&self, context: &Context<'_>, directory: &ImagePath, name: &[u8]) -> bool {
        self.listing(context, directory).contains(name)
    }

    /// The names in a directory, links followed.
    pub(super) fn listing(&self, context: &Context<'_>, directory: &ImagePath) -> Rc<BTreeSet<Vec<u8>>> {
        if let Some(names) = self.listings.borrow().get(directory) {
            return names.clone();
        }
        let found = context.walk(directory.as_bytes(), true).found().cloned();
        let names =
            found.map(|found| context.tree.read_dir(&found).into_iter().map(<[u8]>::to_vec).collect());
        let names: Rc<BTreeSet<Vec<u8>>> = Rc::new(names.unwrap_or_default());
        self.listings.borrow_mut().insert(directory.clone(), names.clone());
        names
    }
}

/// `3.11` of `python3.11`.
fn version_of(name: &[u8]) -> Option<String> {
    let version = std::str::from_utf8(name.strip_prefix(b"python")?).ok()?;
    let (major, minor) = version.split_once('.')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    (is_number(major) && is_number(minor)).then(|| version.to_owned())
}

/// The interpreter's library that a directory lies in, unless it is one of packages.
fn library_above(directory: &ImagePath) -> Option<ImagePath> {
    let above = directory.ancestors();
    let mut path = above.iter().chain(std::iter::once(directory));
    path.rfind(|path| version_of(path.file_name()).is_some()).cloned()
}

/// The directory of packages that a directory lies in.
fn packages_above(directory: &ImagePath) -> Option<ImagePath> {
    let above = directory.ancestors();
    let mut path = above.iter().chain(std::iter::once(directory));
    path.rfind(|path| matches!(path.file_name(), b"site-packages" | b"dist-packages")).cloned()
}

/// The source files of the modules that Python processes loaded.
pub(super) fn loaded(observed: &Observed<'_>) -> BTreeSet<ImagePath> {
    let of_python = observed.touches.iter().filter(|touch| {
        observed.program(touch.access.process).is_python
            && touch.access.access.contains(&slim_trace::Access::Open)
    });
    let modules = of_python.filter_map(|touch| touch.object.as_ref());
    modules
        .filter(|path| python::is_module(path.file_name()))
        .flat_map(|path| {
            let source = python::companions(path).map(|seed| ImagePath::new(seed.path));
            [Some(path.clone()), source].into_iter().flatten()
        })
        .collect()
}
