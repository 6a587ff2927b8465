//! Rule: what a JavaScript file requires or imports, and what Node.js looks for beside it.
//!
//! Files are followed once the image is known to run them: a kept Node.js, whichever of both comes first. From there the
//! graph is that of the text ([`requests`], with names put together as [`evaluation`] can) and of Node's own algorithms
//! ([`resolver`]); that a package.json lists a dependency is no reason to keep it. A name that is computed widens to the
//! folder that its constant beginning names; one of which nothing is known widens to the file's own folder in the
//! application, and to nothing in a package, where it is mostly a name that the application hands in.

mod addons;
mod evaluation;
mod requests;
mod resolver;

use self::addons::Platform;
use self::requests::{Ask, Loader, Request};
use self::resolver::{Found, Resolver, package_root};
use super::places::{because, below, directory, directory_of, ending, inside, join, objects, size_below};
use super::value::Value;
use super::{KeptFile, Rule, World};
use crate::context::Context;
use crate::inspect::File;
use crate::note::Note;
use crate::reason::Via;
use crate::seed::Seed;
use slim_image::{Entry, ImagePath, Kind, TreeError};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

/// Larger texts are made by bundlers: their plain requests are enough, a syntax tree is thirty times the text.
const PARSED_MAX: usize = 3 << 20;
/// Longer files are no text.
const TEXT_MAX: u64 = 8 << 20;
/// Directories that a package serves or lists are kept whole up to this size.
const DIRECTORY_MAX: u64 = 8 << 20;
/// Programs that run JavaScript files with Node's look-up of modules.
const RUNTIMES: [&str; 5] = ["bun", "deno", "electron", "node", "nodejs"];

/// The rule.
#[derive(Default)]
pub(super) struct Node {
    /// That of the runtime, once one is kept.
    platform: Option<Platform>,
    /// Files kept before a runtime was.
    waiting: Vec<ImagePath>,
    resolver: Resolver,
    /// Roots of packages of which a file is kept.
    packages: BTreeSet<ImagePath>,
    /// What is not followed, by file.
    notes: BTreeMap<ImagePath, (String, &'static str)>,
}

impl Rule for Node {
    fn follow(&mut self, file: &KeptFile<'_>, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        if self.platform.is_none() && is_runtime(file) {
            let platform = Platform::of(file);
            self.platform = Some(platform);
            let mut seeds = Vec::new();
            for path in std::mem::take(&mut self.waiting) {
                let text = world.context.read(path.as_bytes(), TEXT_MAX)?;
                seeds.extend(self.source(&path, &text, platform, world.context)?);
            }
            return Ok(seeds);
        }
        if !is_source(file) {
            return Ok(Vec::new());
        }
        let Some(platform) = self.platform else {
            self.waiting.push(file.path.clone());
            return Ok(Vec::new());
        };
        let text = if ending(file.path.file_name()) == b"node" { None } else { file.text()? };
        self.source(file.path, &text.unwrap_or_else(|| Rc::from([])), platform, world.context)
    }

    fn notes(&mut self) -> Vec<Note> {
        let notes = std::mem::take(&mut self.notes).into_iter();
        notes
            .map(|(path, (why, instead))| Note::NotFollowed { path, why, instead: instead.to_owned() })
            .collect()
    }
}

impl Node {
    fn source(
        &mut self,
        path: &ImagePath,
        text: &[u8],
        platform: Platform,
        context: &Context<'_>,
    ) -> Result<Vec<Seed>, TreeError> {
        let mut seeds = self.beside(path, platform, context)?;
        if ending(path.file_name()) == b"node" {
            return Ok(seeds);
        }
        let working_directory = &context.environment.working_directory;
        let requests =
            if text.len() > PARSED_MAX { None } else { requests::requests(path, text, working_directory) };
        let requests = requests.unwrap_or_else(|| {
            let why = "it is too large to be parsed".to_owned();
            self.notes.insert(
                path.clone(),
                (why, "only names that stand plainly in require and import are followed"),
            );
            requests::plain_requests(text)
        });
        for Request { line, ask } in requests {
            match ask {
                Ask::Module(loader, value) => {
                    seeds.extend(self.module(path, line, loader, &value, platform, context)?);
                }
                Ask::Name(name) => {
                    let found = self.resolver.resolve(context, &name, path, Loader::Require)?;
                    seeds.extend(found_seeds(&found, path, line, &name));
                }
                Ask::File(value) => seeds.extend(files(context, path, line, &value)),
                Ask::Directory(value) => seeds.extend(whole_directory(context, path, line, &value)),
            }
        }
        Ok(seeds)
    }

    fn module(
        &mut self,
        path: &ImagePath,
        line: u32,
        loader: Loader,
        value: &Value,
        platform: Platform,
        context: &Context<'_>,
    ) -> Result<Vec<Seed>, TreeError> {
        let Some(suffix) = &value.rest else {
            let name = &value.prefix;
            let mut seeds = Vec::new();
            if addons::is_loader(name) {
                let root = package_root(path).or_else(|| nearest_manifest(context, path));
                seeds = root.map(|root| addons::built(context, &root, platform, path)).unwrap_or_default();
            }
            let found = self.resolver.resolve(context, name, path, loader)?;
            seeds.extend(found_seeds(&found, path, line, name));
            return Ok(seeds);
        };
        if !value.prefix.is_empty() {
            let found = self.resolver.resolve_all(context, (&value.prefix, suffix), path, loader)?;
            return Ok(
                found_seeds(&found, path, line, &[&value.prefix, &b"*"[..], suffix].concat()).collect()
            );
        }
        if package_root(path).is_some() {
            return Ok(Vec::new());
        }
        let why = format!("line {line} computes the name of a module");
        self.notes.entry(path.clone()).or_insert((why, "the modules in its folder are kept"));
        let found = self.resolver.resolve_all(context, (b"./", suffix), path, loader)?;
        Ok(found_seeds(&found, path, line, b"*").collect())
    }

    /// Every package.json up to the package's root (the nearest tells what kind of module it is), and once for each
    /// package its builds for this platform.
    fn beside(
        &mut self,
        path: &ImagePath,
        platform: Platform,
        context: &Context<'_>,
    ) -> Result<Vec<Seed>, TreeError> {
        let root = package_root(path);
        let reason = because(Via::NodeCompanion, path, None, b"package.json");
        let mut seeds = Vec::new();
        for above in path.ancestors().iter().rev() {
            if root.as_ref().is_some_and(|root| !above.is_within(root)) {
                break;
            }
            let manifest = above.join("package.json");
            if context.entry(&manifest).is_some() {
                seeds.push(Seed::object(manifest.as_bytes(), reason.clone()));
            }
        }
        let root = root.or_else(|| nearest_manifest(context, path));
        if let Some(root) = root.filter(|root| !self.packages.contains(root)) {
            seeds.extend(addons::platform_packages(context, &mut self.resolver, &root, platform)?);
            self.packages.insert(root);
        }
        if matches!(path.file_name(), b".pnp.cjs" | b".pnp.js") {
            seeds.extend(plug_and_play(path));
        }
        Ok(seeds)
    }
}

/// What Yarn's Plug'n'Play takes packages from: archives that its loader reads.
fn plug_and_play(loader: &ImagePath) -> Vec<Seed> {
    let directory = directory_of(loader.as_bytes());
    let reason = because(Via::NodeCompanion, loader, None, b"Plug'n'Play");
    let names = [".pnp.data.json", ".pnp.loader.mjs", ".yarn/cache", ".yarn/unplugged"];
    names.map(|name| Seed::tree(join(directory, name.as_bytes()), reason.clone())).into()
}

fn found_seeds<'f>(
    found: &'f Found,
    path: &ImagePath,
    line: u32,
    name: &[u8],
) -> impl Iterator<Item = Seed> + use<'f> {
    let import = because(Via::NodeImport, path, Some(line), name);
    let beside = because(Via::NodeCompanion, path, Some(line), name);
    let files = found.files.iter().map(move |file| Seed::object(file, import.clone()));
    files.chain(found.manifests.iter().map(move |manifest| Seed::object(manifest, beside.clone())))
}

/// The files that a path in the text means: as it stands, from the working directory, from the file's folder.
fn files(context: &Context<'_>, path: &ImagePath, line: u32, value: &Value) -> Vec<Seed> {
    let folder = directory_of(path.as_bytes());
    let reason = |name: &[u8]| because(Via::NodeImport, path, Some(line), name);
    let Some(suffix) = &value.rest else {
        let working = context.environment.working_directory.as_bytes();
        let places = BTreeSet::from([join(working, &value.prefix), join(folder, &value.prefix)]);
        let places: Vec<Vec<u8>> = places
            .into_iter()
            .flat_map(|place| [place.clone(), [&place[..], b".js"].concat()])
            .filter(|place| context.file(place).is_some())
            .collect();
        return objects(places, &reason(&value.prefix)).collect();
    };
    // A computed file beside a package's code, as a language's texts; the application's own are not this rule's.
    let Some(root) = package_root(path).filter(|_| value.anchored) else { return Vec::new() };
    let (within, stem) = (directory_of(&value.prefix), value.prefix.rsplit(|byte| *byte == b'/').next());
    let Some(real) = directory(context, within) else { return Vec::new() };
    if !real.is_within(&root) || (real == root && ending(suffix).is_empty()) {
        return Vec::new();
    }
    let mut inside = inside(context, &real);
    inside.retain(|file| {
        let name = file.file_name();
        name.starts_with(stem.unwrap_or_default())
            && name.ends_with(suffix.rsplit(|byte| *byte == b'/').next().unwrap_or_default())
            && matches!(context.entry(file).map(|entry| &entry.kind), Some(Kind::File { .. }))
    });
    if inside.iter().filter_map(|file| context.entry(file)).map(Entry::size).sum::<u64>() > DIRECTORY_MAX {
        return Vec::new();
    }
    objects(inside, &reason(&[&value.prefix, &b"*"[..], suffix].concat())).collect()
}

/// A directory of a package that is served, listed or holds its views, unless it holds the package itself.
fn whole_directory(context: &Context<'_>, path: &ImagePath, line: u32, value: &Value) -> Vec<Seed> {
    let Some(root) = package_root(path) else { return Vec::new() };
    let Some(real) = directory(context, &value.prefix) else { return Vec::new() };
    let holds_code = real == root || path.parent().is_some_and(|parent| parent == real);
    if !real.is_within(&root) || (!holds_code && size_below(context, &real) > DIRECTORY_MAX) {
        return Vec::new();
    }
    let reason = because(Via::NodeCompanion, path, Some(line), &value.prefix);
    if holds_code {
        // Its own files only: what is listed is loaded by name.
        let own = below(context, &real, 1).into_iter();
        let own = own
            .filter(|file| matches!(ending(file.file_name()), b"js" | b"cjs" | b"mjs" | b"json" | b"node"));
        return objects(own, &reason).collect();
    }
    vec![Seed::tree(&value.prefix, reason)]
}

/// The nearest directory with a package.json above a file.
fn nearest_manifest(context: &Context<'_>, path: &ImagePath) -> Option<ImagePath> {
    let mut above = path.ancestors().into_iter().rev();
    above.find(|directory| context.entry(&directory.join("package.json")).is_some())
}

fn is_runtime(file: &KeptFile<'_>) -> bool {
    let name = file.path.file_name();
    let is_named =
        RUNTIMES.iter().any(|runtime| runtime.as_bytes() == name) || name.starts_with(b"libnode.so");
    is_named && matches!(file.what, File::Elf(_))
}

fn is_source(file: &KeptFile<'_>) -> bool {
    match ending(file.path.file_name()) {
        b"js" | b"cjs" | b"mjs" | b"jsx" | b"node" => true,
        b"ts" | b"mts" | b"cts" | b"tsx" => !file.path.file_name().ends_with(b".d.ts"),
        _ => matches!(&file.what, File::Script(line) if line.windows(4).any(|word| word == b"node")),
    }
}

#[cfg(test)]
mod tests;
