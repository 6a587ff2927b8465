//! Which file Node.js takes for a specifier: both of its algorithms, as its documentation has them ("Modules: CommonJS
//! modules, all together" and "Modules: ECMAScript modules, resolution algorithm").
//!
//! Paths that come out are as Node.js looks them up, symlinks not resolved: the closure keeps the links on the way and
//! shows the rule the file that they lead to, from whose real place the next look-up begins, as in Node.js. Where
//! versions differ, or a loader on top of Node.js takes more than it does, what any of them takes comes out.

use super::requests::Loader;
use crate::context::Context;
use crate::reach::json::Json;
use crate::reach::places::{directory, directory_of, ending, join};
use slim_image::{ImagePath, TreeError};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// `builtinModules` of Node.js 20 to 24; those with `node:` need no list.
const BUILT_IN: [&str; 69] = [
    "_http_agent",
    "_http_client",
    "_http_common",
    "_http_incoming",
    "_http_outgoing",
    "_http_server",
    "_stream_duplex",
    "_stream_passthrough",
    "_stream_readable",
    "_stream_transform",
    "_stream_wrap",
    "_stream_writable",
    "_tls_common",
    "_tls_wrap",
    "assert",
    "assert/strict",
    "async_hooks",
    "buffer",
    "child_process",
    "cluster",
    "console",
    "constants",
    "crypto",
    "dgram",
    "diagnostics_channel",
    "dns",
    "dns/promises",
    "domain",
    "events",
    "fs",
    "fs/promises",
    "http",
    "http2",
    "https",
    "inspector",
    "inspector/promises",
    "module",
    "net",
    "os",
    "path",
    "path/posix",
    "path/win32",
    "perf_hooks",
    "process",
    "punycode",
    "querystring",
    "readline",
    "readline/promises",
    "repl",
    "stream",
    "stream/consumers",
    "stream/promises",
    "stream/web",
    "string_decoder",
    "sys",
    "timers",
    "timers/promises",
    "tls",
    "trace_events",
    "tty",
    "url",
    "util",
    "util/types",
    "v8",
    "vm",
    "wasi",
    "worker_threads",
    "zlib",
    "zlib/iter",
];
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
/// Fewer constant letters than this say nothing about the name of a package.
const NAME_PREFIX_MIN: usize = 3;

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

    fn import_of_package(&mut self, specifier: &[u8], hops: u32) -> Result<bool, TreeError> {
        let Some((scope, manifest)) = self.scope()? else { return Ok(false) };
        let Some(imports) = manifest.get("imports") else { return Ok(false) };
        let Some((target, matched)) = matching(imports.table(), specifier) else { return Ok(false) };
        self.target(&scope, target, &matched, hops, true)
    }

    fn exports(&mut self, package: &[u8], exports: &Json, rest: &[u8], hops: u32) -> Result<bool, TreeError> {
        let has_paths = exports.table().iter().any(|(key, _)| key.starts_with('.'));
        let subpath = [b".", rest].concat();
        if has_paths {
            let Some((target, matched)) = matching(exports.table(), &subpath) else { return Ok(false) };
            return self.target(package, target, &matched, hops, false);
        }
        Ok(rest.is_empty() && self.target(package, exports, b"", hops, false)?)
    }

    /// What a target of `exports` or `imports` leads to. Conditions that only some versions or settings know are gone
    /// through as well as what follows them. Nested no deeper than JSON may be.
    fn target(
        &mut self,
        package: &[u8],
        target: &Json,
        matched: &[u8],
        hops: u32,
        is_import: bool,
    ) -> Result<bool, TreeError> {
        let Some(left) = self.targets.checked_sub(1) else { return Ok(false) };
        self.targets = left;
        match target {
            Json::Nothing | Json::Yes => Ok(false),
            Json::Text(text) => {
                let path = replace_star(text.as_bytes(), matched);
                if path.starts_with(b"./") {
                    return self.file(&join(package, &path));
                }
                Ok(is_import && !path.starts_with(b"#") && self.specifier(&path, hops + 1)?)
            }
            Json::List(targets) => {
                for target in targets {
                    if self.target(package, target, matched, hops, is_import)? {
                        return Ok(true);
                    }
                }
                Ok(false)
            }
            Json::Table(conditions) => {
                let mut is_found = false;
                for (condition, target) in conditions {
                    let weight = weigh(condition, self.loader);
                    if weight == Weight::Never {
                        continue;
                    }
                    is_found |= self.target(package, target, matched, hops, is_import)?;
                    if is_found && weight == Weight::Always {
                        break;
                    }
                }
                Ok(is_found)
            }
        }
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

    fn widened(&mut self, prefix: &[u8], suffix: &[u8]) -> Result<(), TreeError> {
        let Some(slash) = prefix.iter().rposition(|byte| *byte == b'/') else {
            return self.packages_named(b"", prefix, suffix);
        };
        let (folder, stem) = (&prefix[..slash], &prefix[slash + 1..]);
        let folder = if is_path(prefix) {
            join(directory_of(self.from.as_bytes()), if folder.is_empty() { b"/" } else { folder })
        } else {
            let (name, rest) = package_name(folder);
            if name.is_empty() {
                return self.packages_named(folder, stem, suffix);
            }
            let places = self.places();
            let package = places.iter().map(|place| join(place, name));
            let Some(package) = package.into_iter().find(|path| directory(self.context, path).is_some())
            else {
                return Ok(());
            };
            [&package[..], rest].concat()
        };
        let Some(real) = directory(self.context, &folder) else { return Ok(()) };
        // A package that goes up from its own place would widen to all others.
        let leaves = is_path(prefix) && package_root(self.from).is_some_and(|root| !real.is_within(&root));
        if real.is_root() || real.file_name() == b"node_modules" || leaves {
            return Ok(());
        }
        for name in self.context.tree.read_dir(&real) {
            if name.starts_with(stem) {
                self.member(&join(&folder, name), suffix)?;
            }
        }
        Ok(())
    }

    /// One of a widened folder's, if it can be what is asked for.
    fn member(&mut self, path: &[u8], suffix: &[u8]) -> Result<bool, TreeError> {
        if directory(self.context, path).is_some() {
            let is_whole = suffix.is_empty() || suffix.starts_with(b"/");
            return Ok(is_whole && self.file_or_directory(&[path, suffix].concat())?);
        }
        let known = matches!(ending(path), b"js" | b"cjs" | b"mjs" | b"json" | b"node" | b"wasm")
            || (self.is_typed()
                && matches!(ending(path), b"ts" | b"tsx" | b"mts" | b"cts")
                && !path.ends_with(b".d.ts"));
        let stem = &path[..path.len() - ending(path).len()];
        let stem_fits = || known && stem.strip_suffix(b".").is_some_and(|stem| stem.ends_with(suffix));
        // A suffix with an ending of its own is the whole ending.
        let fits = path.ends_with(suffix) || (ending(suffix).is_empty() && stem_fits());
        Ok(fits && (known || !suffix.is_empty()) && self.file(path)?)
    }

    /// Packages of a search directory (or of one scope in it) whose names begin and end so.
    fn packages_named(&mut self, scope: &[u8], stem: &[u8], suffix: &[u8]) -> Result<(), TreeError> {
        if stem.len() < NAME_PREFIX_MIN && scope.is_empty() {
            return Ok(());
        }
        let end = suffix.iter().position(|byte| *byte == b'/').unwrap_or(suffix.len());
        for place in self.places() {
            let Some(folder) = directory(self.context, &join(&place, scope)) else { continue };
            for name in self.context.tree.read_dir(&folder) {
                if name.starts_with(stem) && name.ends_with(&suffix[..end]) {
                    let package = join(&join(&place, scope), name);
                    self.package(&package, &suffix[end..], 0)?;
                }
            }
        }
        Ok(())
    }
}

/// Whether a name is that of a module which Node.js has within itself.
fn is_built_in(specifier: &[u8]) -> bool {
    specifier.starts_with(b"node:")
        || BUILT_IN.binary_search_by(|name| name.as_bytes().cmp(specifier)).is_ok()
}

fn is_path(specifier: &[u8]) -> bool {
    matches!(specifier, b"." | b"..")
        || [&b"./"[..], b"../", b"/"].iter().any(|start| specifier.starts_with(start))
}

/// The package's name and what follows it: empty, or with its slash. An empty name where there is none.
fn package_name(specifier: &[u8]) -> (&[u8], &[u8]) {
    let mut slashes = specifier.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| at);
    let end = if specifier.starts_with(b"@") {
        match slashes.next() {
            Some(slash) if slash + 1 < specifier.len() => slashes.next().unwrap_or(specifier.len()),
            _ => 0,
        }
    } else {
        slashes.next().unwrap_or(specifier.len())
    };
    specifier.split_at(end)
}

/// The directory of the package that a path lies in; `None` for what is in no search directory.
pub(super) fn package_root(path: &ImagePath) -> Option<ImagePath> {
    let bytes = path.as_bytes();
    let within = |name: &[u8]| {
        let at = bytes.windows(name.len()).rposition(|window| window == name)?;
        Some(at + name.len())
    };
    let start = within(b"/node_modules/").or_else(|| {
        let start = within(b"/nodejs/")?;
        (bytes.starts_with(b"/usr/share/nodejs/") || bytes.starts_with(b"/usr/lib/")).then_some(start)
    })?;
    let (name, rest) = package_name(&bytes[start..]);
    (!name.is_empty() && !rest.is_empty()).then(|| ImagePath::new(&bytes[..start + name.len()]))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Weight {
    Never,
    /// Some versions or settings know it.
    Sometimes,
    Always,
}

fn weigh(condition: &str, loader: Loader) -> Weight {
    match (condition, loader) {
        ("require", Loader::Require) | ("import", Loader::Import) => Weight::Always,
        ("node" | "default" | "node-addons", _) => Weight::Always,
        ("module-sync" | "production", _) => Weight::Sometimes,
        _ => Weight::Never,
    }
}

/// The target of the best key for a name, and what its star stands for.
fn matching<'j>(table: &'j [(String, Json)], name: &[u8]) -> Option<(&'j Json, Vec<u8>)> {
    if let Some((_, target)) =
        table.iter().rev().find(|(key, _)| key.as_bytes() == name && !key.contains('*'))
    {
        return Some((target, Vec::new()));
    }
    let mut best: Option<(usize, &Json, Vec<u8>)> = None;
    for (key, target) in table {
        let key = key.as_bytes();
        let (start, end) = match key.iter().position(|byte| *byte == b'*') {
            Some(star) => (&key[..star], &key[star + 1..]),
            // A folder, as versions before 17 had it.
            None if key.ends_with(b"/") => (key, &[][..]),
            None => continue,
        };
        let fits = name.len() > start.len() + end.len() && name.starts_with(start) && name.ends_with(end);
        if fits && best.as_ref().is_none_or(|(length, ..)| start.len() > *length) {
            best = Some((start.len(), target, name[start.len()..name.len() - end.len()].to_vec()));
        }
    }
    best.map(|(_, target, matched)| (target, matched))
}

fn replace_star(target: &[u8], matched: &[u8]) -> Vec<u8> {
    if target.ends_with(b"/") {
        return [target, matched].concat();
    }
    let parts: Vec<&[u8]> = target.split(|byte| *byte == b'*').collect();
    parts.join(matched)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_image::{Config, MemoryTree};

    fn tree(files: &[(&str, &str)]) -> MemoryTree {
        files.iter().fold(MemoryTree::new(), |tree, (path, text)| tree.file(*path, 0o644, text))
    }

    fn show(found: &Found) -> Vec<String> {
        found.files.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect()
    }

    fn resolve(tree: &MemoryTree, from: &str, specifier: &str, loader: Loader) -> Vec<String> {
        let context = Context::new(tree, &Config::default());
        let found = Resolver::default().resolve(&context, specifier.as_bytes(), &from.into(), loader);
        show(&found.unwrap())
    }

    fn require(tree: &MemoryTree, specifier: &str) -> Vec<String> {
        resolve(tree, "/app/main.js", specifier, Loader::Require)
    }

    fn import(tree: &MemoryTree, specifier: &str) -> Vec<String> {
        resolve(tree, "/app/main.js", specifier, Loader::Import)
    }

    #[test]
    fn the_built_in_modules_are_sorted_for_the_search() {
        assert!(BUILT_IN.is_sorted());
    }

    #[test]
    fn files_directories_and_packages_are_found_as_commonjs_has_it() {
        let tree = tree(&[
            ("/app/a.js", ""),
            ("/app/a.json", ""),
            ("/app/b/index.json", ""),
            ("/app/c/package.json", r#"{"main": "lib"}"#),
            ("/app/c/lib/index.js", ""),
            ("/app/node_modules/d/package.json", r#"{"main": "./dist/d"}"#),
            ("/app/node_modules/d/dist/d.js", ""),
            ("/app/node_modules/d/sub/package.json", r#"{"main": "../dist/e.js"}"#),
            ("/app/node_modules/d/dist/e.js", ""),
            ("/node_modules/@s/f/index.js", ""),
            ("/app/node_modules/fs/index.js", ""),
            ("/app/node_modules/punycode/index.js", ""),
            ("/app/node_modules/.generated/client/index.js", ""),
            ("/usr/share/nodejs/g/index.js", ""),
            ("/usr/lib/x86_64-linux-gnu/nodejs/h/build/h.node", ""),
            ("/usr/lib/x86_64-linux-gnu/nodejs/h/package.json", r#"{"main": "build/h.node"}"#),
        ]);
        for (specifier, path) in [
            ("./a", "/app/./a.js"),
            ("./a.json", "/app/./a.json"),
            ("/app/a", "/app/a.js"),
            ("./b", "/app/./b/index.json"),
            ("./c", "/app/./c/lib/index.js"),
            ("d", "/app/node_modules/d/./dist/d.js"),
            ("d/sub", "/app/node_modules/d/sub/../dist/e.js"),
            ("d/dist/e", "/app/node_modules/d/dist/e.js"),
            ("@s/f", "/node_modules/@s/f/index.js"),
            ("punycode/", "/app/node_modules/punycode/index.js"),
            (".generated/client", "/app/node_modules/.generated/client/index.js"),
            ("g", "/usr/share/nodejs/g/index.js"),
            ("h", "/usr/lib/x86_64-linux-gnu/nodejs/h/build/h.node"),
        ] {
            let found: Vec<ImagePath> = require(&tree, specifier).iter().map(ImagePath::new).collect();
            assert_eq!(found, [ImagePath::from(path)], "{specifier}");
        }
        for specifier in ["fs", "node:fs", "node:unknown", "absent", "./absent", "@s", "", "https://x/y.js"] {
            assert!(require(&tree, specifier).is_empty(), "{specifier}");
        }
        let context = Context::new(&tree, &Config::default());
        let found =
            Resolver::default().resolve(&context, b"d/sub", &"/app/main.js".into(), Loader::Require).unwrap();
        assert_eq!(found.manifests, BTreeSet::from([b"/app/node_modules/d/sub/package.json".to_vec()]));
    }

    #[test]
    fn exports_decide_by_the_first_condition_that_holds() {
        let manifest = r#"{"name": "p", "main": "./main.js", "exports": {
            ".": {"browser": "./b.js", "module-sync": "./s.mjs", "import": {"types": "./t.d.ts", "default": "./i.mjs"},
                  "require": ["bad", "./r.cjs"], "default": "./x.js"},
            "./wide/*": "./lib/*.js", "./wide/private/*": null, "./old/": "./old/", "./only": {"import": "./i.mjs"}}}"#;
        let files = [
            "b.js",
            "i.mjs",
            "r.cjs",
            "x.js",
            "s.mjs",
            "main.js",
            "lib/a.js",
            "lib/private/a.js",
            "old/o.js",
        ];
        let mut tree = tree(&[("/app/node_modules/p/package.json", manifest)]);
        for file in files {
            tree = tree.file(format!("/app/node_modules/p/{file}").as_str(), 0o644, "");
        }
        let clean = |found: Vec<String>| -> Vec<String> {
            found.iter().map(|path| path.replace("/app/node_modules/p/./", "")).collect()
        };
        assert_eq!(clean(require(&tree, "p")), ["r.cjs", "s.mjs"]);
        assert_eq!(clean(import(&tree, "p")), ["i.mjs", "s.mjs"]);
        assert_eq!(clean(require(&tree, "p/wide/a")), ["lib/a.js"]);
        assert_eq!(clean(require(&tree, "p/old/o.js")), ["old/o.js"]);
        assert_eq!(clean(import(&tree, "p/only")), ["i.mjs"]);
        for closed in ["p/wide/private/a", "p/only", "p/main.js", "p/lib/a.js"] {
            assert!(require(&tree, closed).is_empty(), "{closed}");
        }
        let own = resolve(&tree, "/app/node_modules/p/lib/a.js", "p/wide/a", Loader::Require);
        assert_eq!(clean(own), ["lib/a.js"]);
    }

    #[test]
    fn imports_of_a_package_lead_to_its_files_and_to_others() {
        let tree = tree(&[
            (
                "/app/package.json",
                r##"{"imports": {"#db": {"node": "pg", "default": "./none.js"}, "#in/*": "./in/*.js", "#loop": "#loop"}}"##,
            ),
            ("/app/in/a.js", ""),
            ("/app/node_modules/pg/index.js", ""),
        ]);
        assert_eq!(import(&tree, "#db"), ["/app/node_modules/pg/index.js"]);
        assert_eq!(import(&tree, "#in/a"), ["/app/./in/a.js"]);
        assert!(import(&tree, "#loop").is_empty() && import(&tree, "#none").is_empty());
    }

    #[test]
    fn a_computed_name_widens_to_its_folder_and_no_further() {
        let tree = tree(&[
            ("/app/node_modules/p/lib/main.js", ""),
            ("/app/node_modules/p/lib/plugins/a.js", ""),
            ("/app/node_modules/p/lib/plugins/a.js.map", ""),
            ("/app/node_modules/p/lib/plugins/b.json", ""),
            ("/app/node_modules/p/lib/plugins/c/index.js", ""),
            ("/app/node_modules/p/lib/plugins/deep/d/e.js", ""),
            ("/app/node_modules/other/index.js", ""),
            ("/app/node_modules/store-a/index.js", ""),
            ("/app/node_modules/store-a/lib/x.js", ""),
        ]);
        let context = Context::new(&tree, &Config::default());
        let widened = |prefix: &str, suffix: &str| {
            let from = "/app/node_modules/p/lib/main.js".into();
            let ends = (prefix.as_bytes(), suffix.as_bytes());
            let found = Resolver::default().resolve_all(&context, ends, &from, Loader::Require).unwrap();
            let mut names: Vec<String> =
                show(&found).iter().map(|path| ImagePath::new(path).to_string()).collect();
            names.iter_mut().for_each(|name| *name = name.replace("/app/node_modules/", ""));
            names
        };
        assert_eq!(
            widened("./plugins/", ""),
            ["p/lib/plugins/a.js", "p/lib/plugins/b.json", "p/lib/plugins/c/index.js"]
        );
        assert_eq!(widened("./plugins/", ".js"), ["p/lib/plugins/a.js"]);
        assert_eq!(widened("./plugins/", "/index.js"), ["p/lib/plugins/c/index.js"]);
        assert_eq!(widened("./plugins/b", ""), ["p/lib/plugins/b.json"]);
        assert_eq!(widened("p/lib/plugins/a", ""), ["p/lib/plugins/a.js"]);
        assert_eq!(widened("store-", ""), ["store-a/index.js"]);
        for outside in ["../../", "../../../", "/", "", "s"] {
            assert!(widened(outside, "").is_empty(), "{outside}");
        }
    }

    #[test]
    fn the_root_of_a_package_is_below_the_last_search_directory() {
        for (path, root) in [
            ("/a/node_modules/b/c.js", Some("/a/node_modules/b")),
            ("/a/node_modules/b/node_modules/@s/c/d.js", Some("/a/node_modules/b/node_modules/@s/c")),
            (
                "/a/node_modules/.pnpm/b@1/node_modules/b/c.js",
                Some("/a/node_modules/.pnpm/b@1/node_modules/b"),
            ),
            ("/usr/share/nodejs/b/c.js", Some("/usr/share/nodejs/b")),
            ("/usr/lib/x86_64-linux-gnu/nodejs/b/c.node", Some("/usr/lib/x86_64-linux-gnu/nodejs/b")),
            ("/srv/nodejs/b/c.js", None),
            ("/a/node_modules/b", None),
        ] {
            assert_eq!(package_root(&path.into()), root.map(ImagePath::from), "{path}");
        }
    }
}
