//! Which file Node.js takes for a specifier: both of its algorithms, as its documentation has them ("Modules: CommonJS
//! modules, all together" and "Modules: ECMAScript modules, resolution algorithm").
//!
//! Paths that come out are as Node.js looks them up, symlinks not resolved: the closure keeps the links on the way and
//! shows the rule the file that they lead to, from whose real place the next look-up begins, as in Node.js. Where
//! versions differ, or a loader on top of Node.js takes more than it does, what any of them takes comes out.

mod names;
mod targets;
#[cfg(test)]
mod tests;
mod widening;

pub(super) use self::names::package_root;

use self::names::{is_built_in, is_path, package_name};
use crate::context::Context;
use crate::reach::json::Json;
use crate::reach::node::requests::Loader;
use crate::reach::places::{directory, directory_of, ending, join};
use slim_image::{ImagePath, TreeError};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// What a name without ending may stand for.
const ENDINGS: [&str; 3] = [".js", ".json", ".node"];
/// The same for files that are compiled as they are loaded.
const TYPED_ENDINGS: [&str; 4] = [".ts", ".tsx", ".mts", ".cts"];
/// Where Debian's node looks behind node_modules; `*` stands for the machine's library directory.
const GLOBAL: [&str; 3] = ["/usr/share/nodejs", "/usr/lib/nodejs", "/usr/local/lib/node"];
/// A package.json is larger only by mistake.
const MANIFEST_MAX: u64 = 4 << 20;
/// Targets of one `exports` that are looked at.
const TARGETS_MAX: u32 = 10_000;
/// Imports that lead to imports.
const HOPS_MAX: u32 = 8;

/// What was found, and the manifests that decided.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    pub files: BTreeSet<Vec<u8>>,
    pub manifests: BTreeSet<Vec<u8>>,
}

/// Looks modules up in one image.
#[derive(Default)]
pub(super) struct Resolver {
    manifests: BTreeMap<Vec<u8>, Option<Rc<Json>>>,
    global: Option<Rc<[Vec<u8>]>>,
}

/// A package's directory and its manifest.
type Scope = (Vec<u8>, Rc<Json>);

/// One look-up.
struct LookUp<'a> {
    context: &'a Context<'a>,
    resolver: &'a mut Resolver,
    /// The real path of the asking file.
    from: &'a ImagePath,
    loader: Loader,
    found: Found,
    targets: u32,
}

impl Resolver {
    /// The files that a specifier stands for in the file `from`; empty for built-in modules and what is not there.
    ///
    /// # Errors
    /// When the image's files cannot be read.
    pub(super) fn resolve(
        &mut self,
        context: &Context<'_>,
        specifier: &[u8],
        from: &ImagePath,
        loader: Loader,
    ) -> Result<Found, TreeError> {
        let mut look_up = LookUp::new(context, self, from, loader);
        look_up.specifier(specifier, 0)?;
        Ok(look_up.found)
    }

    /// The files that a specifier with these ends can stand for, one folder wide.
    ///
    /// # Errors
    /// When the image's files cannot be read.
    pub(super) fn resolve_all(
        &mut self,
        context: &Context<'_>,
        (prefix, suffix): (&[u8], &[u8]),
        from: &ImagePath,
        loader: Loader,
    ) -> Result<Found, TreeError> {
        let mut look_up = LookUp::new(context, self, from, loader);
        look_up.widened(prefix, suffix)?;
        Ok(look_up.found)
    }

    /// The package.json in a directory; `None` where there is none that can be read as one.
    ///
    /// # Errors
    /// When the image's files cannot be read.
    pub(super) fn manifest(
        &mut self,
        context: &Context<'_>,
        directory: &[u8],
    ) -> Result<Option<Rc<Json>>, TreeError> {
        if let Some(known) = self.manifests.get(directory) {
            return Ok(known.clone());
        }
        let path = join(directory, b"package.json");
        let manifest = match context.file(&path) {
            Some(_) => Json::read(&context.read(&path, MANIFEST_MAX)?).map(Rc::new),
            None => None,
        };
        self.manifests.insert(directory.to_vec(), manifest.clone());
        Ok(manifest)
    }

    /// Where a package of this name is found from the package at `root`: as it is looked up, and its real place.
    pub(super) fn package_directory(
        &mut self,
        context: &Context<'_>,
        name: &[u8],
        root: &ImagePath,
    ) -> Option<(Vec<u8>, ImagePath)> {
        let from = root.join("package.json");
        let places = LookUp::new(context, self, &from, Loader::Require).places();
        places.into_iter().find_map(|place| {
            let place = join(&place, name);
            directory(context, &place).map(|real| (place, real))
        })
    }

    fn global(&mut self, context: &Context<'_>) -> Rc<[Vec<u8>]> {
        let found = self.global.get_or_insert_with(|| {
            let environment = &context.environment;
            let mut places: Vec<Vec<u8>> = environment.directories("NODE_PATH");
            if let Some(home) = &environment.home {
                places.extend(
                    [".node_modules", ".node_libraries"].map(|name| join(home.as_bytes(), name.as_bytes())),
                );
            }
            places.extend(GLOBAL.map(|place| place.as_bytes().to_vec()));
            for machine in
                directory(context, b"/usr/lib").map(|lib| context.tree.read_dir(&lib)).unwrap_or_default()
            {
                if machine.windows(7).any(|part| part == b"-linux-") {
                    places.push([b"/usr/lib/", machine, b"/nodejs"].concat());
                }
            }
            places.retain(|place| directory(context, place).is_some());
            places.into()
        });
        Rc::clone(found)
    }
}

impl<'a> LookUp<'a> {
    fn new(
        context: &'a Context<'a>,
        resolver: &'a mut Resolver,
        from: &'a ImagePath,
        loader: Loader,
    ) -> Self {
        Self { context, resolver, from, loader, found: Found::default(), targets: TARGETS_MAX }
    }

    fn specifier(&mut self, specifier: &[u8], hops: u32) -> Result<bool, TreeError> {
        if hops > HOPS_MAX || specifier.is_empty() || specifier.contains(&0) || is_built_in(specifier) {
            return Ok(false);
        }
        if let Some(path) = specifier.strip_prefix(b"file://") {
            return self.file(path);
        }
        if specifier.starts_with(b"#") {
            return self.import_of_package(specifier, hops);
        }
        if is_path(specifier) {
            let path = join(directory_of(self.from.as_bytes()), specifier);
            if self.file_or_directory(&path)? {
                return Ok(true);
            }
            // In an import it is a URL, and what follows the path is the loader's.
            let end = path.iter().position(|byte| matches!(byte, b'?' | b'#')).unwrap_or(path.len());
            return Ok(end < path.len() && self.file(&path[..end])?);
        }
        self.bare(specifier, hops)
    }

    /// A name that begins with a package's.
    fn bare(&mut self, specifier: &[u8], hops: u32) -> Result<bool, TreeError> {
        let (name, rest) = package_name(specifier);
        if name.is_empty() || specifier.contains(&b':') {
            return Ok(false);
        }
        if let Some((scope, manifest)) = self.scope()?
            && manifest.get("name").and_then(Json::text).map(str::as_bytes) == Some(name)
            && let Some(exports) = manifest.get("exports")
            && self.exports(&scope, exports, rest, hops)?
        {
            return Ok(true);
        }
        for place in self.places() {
            if self.package(&join(&place, name), rest, hops)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Where packages are looked for, in order.
    fn places(&mut self) -> Vec<Vec<u8>> {
        let mut places = Vec::new();
        let mut above = self.from.parent();
        while let Some(directory) = above {
            if directory.file_name() != b"node_modules" {
                places.push(join(directory.as_bytes(), b"node_modules"));
            }
            above = directory.parent();
        }
        places.extend(self.resolver.global(self.context).iter().cloned());
        places
    }

    /// `rest` is empty or begins with a slash.
    fn package(&mut self, package: &[u8], rest: &[u8], hops: u32) -> Result<bool, TreeError> {
        if directory(self.context, package).is_none() {
            // A single file in a search directory, as old add-ons are installed.
            return Ok(rest.is_empty() && self.file_with_ending(package));
        }
        let manifest = self.resolver.manifest(self.context, package)?;
        if let Some(exports) = manifest.as_ref().and_then(|manifest| manifest.get("exports"))
            && *exports != Json::Nothing
        {
            let is_found = self.exports(package, exports, rest, hops)?;
            if is_found {
                self.found.manifests.insert(join(package, b"package.json"));
            }
            return Ok(is_found);
        }
        self.file_or_directory(&[package, rest].concat())
    }

    /// The package that the asking file belongs to: the nearest package.json.
    fn scope(&mut self) -> Result<Option<Scope>, TreeError> {
        for directory in self.from.ancestors().into_iter().rev() {
            if directory.file_name() == b"node_modules" {
                break;
            }
            if let Some(manifest) = self.resolver.manifest(self.context, directory.as_bytes())? {
                return Ok(Some((directory.as_bytes().to_vec(), manifest)));
            }
        }
        Ok(None)
    }

    /// Exactly this file.
    fn file(&mut self, path: &[u8]) -> Result<bool, TreeError> {
        if self.context.file(path).is_some() {
            self.found.files.insert(path.to_vec());
            return Ok(true);
        }
        Ok(self.is_typed() && self.typed(path))
    }

    /// The file, the file with one of the endings, or the directory as a module.
    fn file_or_directory(&mut self, path: &[u8]) -> Result<bool, TreeError> {
        let asks_directory = path.ends_with(b"/") || path.ends_with(b"/.") || path.ends_with(b"/..");
        if !asks_directory && self.file_with_ending(path) {
            return Ok(true);
        }
        if directory(self.context, path).is_none() {
            return Ok(false);
        }
        let manifest = self.resolver.manifest(self.context, path)?;
        if let Some(main) = manifest.as_ref().and_then(|manifest| manifest.get("main")).and_then(Json::text)
            && !main.is_empty()
        {
            let main = [path, b"/", main.as_bytes()].concat();
            if self.file_with_ending(&main) || self.index(&main) {
                self.found.manifests.insert(join(path, b"package.json"));
                return Ok(true);
            }
        }
        if self.index(path) {
            if manifest.is_some() {
                self.found.manifests.insert(join(path, b"package.json"));
            }
            return Ok(true);
        }
        Ok(false)
    }

    fn index(&mut self, directory: &[u8]) -> bool {
        self.with_ending(&join(directory, b"index"))
    }

    fn file_with_ending(&mut self, path: &[u8]) -> bool {
        if self.context.file(path).is_some() {
            self.found.files.insert(path.to_vec());
            return true;
        }
        self.with_ending(path) || (self.is_typed() && self.typed(path))
    }

    fn with_ending(&mut self, path: &[u8]) -> bool {
        let typed = if self.is_typed() { &TYPED_ENDINGS[..] } else { &[] };
        let found = ENDINGS.iter().chain(typed).find_map(|ending| {
            let path = [path, ending.as_bytes()].concat();
            self.context.file(&path).map(|_| path)
        });
        self.take(found)
    }

    fn take(&mut self, found: Option<Vec<u8>>) -> bool {
        let is_found = found.is_some();
        self.found.files.extend(found);
        is_found
    }

    fn is_typed(&self) -> bool {
        matches!(ending(self.from.as_bytes()), b"ts" | b"tsx" | b"mts" | b"cts")
    }

    /// `./x.js` in a typed file means `./x.ts`.
    fn typed(&mut self, path: &[u8]) -> bool {
        let stem =
            [&b".js"[..], b".mjs", b".cjs", b".jsx"].iter().find_map(|ending| path.strip_suffix(*ending));
        let Some(stem) = stem else { return false };
        let found = TYPED_ENDINGS.iter().map(|ending| [stem, ending.as_bytes()].concat());
        let found = found.into_iter().find(|path| self.context.file(path).is_some());
        self.take(found)
    }
}
