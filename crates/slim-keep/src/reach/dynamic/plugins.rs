//! Plug-ins: a program that opened one shared object from a directory of its own may open another one from there next
//! time — a picture in another format, an SQL extension.
//!
//! A directory of plug-ins is one from which a process opened a shared object that no opened ELF file needs by name, and
//! that is neither a directory of the loader's nor one of a language or family with a rule of its own. Three ways lead to
//! an object in it. The program listed the directory: then the rule about listings has kept what lies there. Text names
//! the object — a configuration file (`load_module modules/ngx_foo.so;`), an argument, a variable: then a configuration
//! that does not name a sibling does not load it, and the sibling stays out. Or the program made the name up, from what it
//! was asked for: then its siblings are kept, up to a size and but for those that need much that the program did not open.

use super::{Loader, World, directory_of};
use crate::inspect::{File, Files};
use crate::listing;
use crate::note::Note;
use crate::observed::{Touch, counts};
use crate::reach::Via;
use crate::reach::seeds::Asks;
use crate::seed::Seed;
use memchr::memmem;
use slim_image::{self as image, ImagePath, Kind, TreeError};
use slim_trace::Access;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};

/// More than this, with what it needs, is not kept for having one object of a directory seen.
const BYTES_MAX: u64 = 24 << 20;
/// Nor is one object that needs more than this: PostgreSQL's compiler of queries brings 130 MB of LLVM, and a program
/// made for plug-ins does without those that are not there.
const BYTES_EACH_MAX: u64 = 8 << 20;
/// Letters of a name that is no common word.
const PARTICULAR_MIN: usize = 10;
/// Texts that may name an object: longer ones are no configuration, and of many the first are enough.
const TEXT_MAX: u64 = 256 << 10;
const TEXTS_MAX: usize = 200;
/// The loader's directories as they are everywhere; those for one machine are told by their name.
const OF_THE_LOADER: [&str; 9] = [
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/usr/lib",
    "/usr/lib32",
    "/usr/lib64",
    "/usr/local/lib",
    "/usr/local/lib64",
];
/// Components of directories whose objects belong to a language or to another rule.
const OF_OTHER_RULES: [&[u8]; 20] = [
    b"dist-packages",
    b"dotnet",
    b"ebin",
    b"erlang",
    b"gconv",
    b"gems",
    b"glibc-hwcaps",
    b"jvm",
    b"krb5",
    b"lib-dynload",
    b"node_modules",
    b"ossl-modules",
    b"perl",
    b"perl5",
    b"php",
    b"ruby",
    b"sasl2",
    b"security",
    b"site-packages",
    b"site_ruby",
];

/// The siblings of objects that were opened under names made up by the program.
pub(super) fn seeds(
    world: &World<'_>,
    loader: &mut Loader,
    notes: &mut Vec<Note>,
) -> Result<Vec<Seed>, TreeError> {
    let candidates = candidates(world);
    if candidates.is_empty() {
        return Ok(Vec::new());
    }
    let needed = needed(world, &mut loader.files)?;
    let mut texts: BTreeMap<&str, Vec<Vec<u8>>> = BTreeMap::new();
    let mut seeds = Vec::new();
    let mut decided = BTreeSet::new();
    for (object, programs) in candidates {
        let Some(directory) = object.parent() else { continue };
        let is_plugin = !needed.contains(object.file_name())
            && matches!(loader.files.inspect(world.context, &object)?, File::Elf(headers) if !headers.is_dynamic_program());
        if !is_plugin || decided.contains(&directory) {
            continue;
        }
        let mut is_named = false;
        for program in programs {
            let texts = match texts.entry(program) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(place) => place.insert(texts_of(world, program)?),
            };
            is_named |= texts.iter().any(|text| names(text, object.file_name()));
        }
        if !is_named {
            siblings(world, loader, &object, &mut seeds, notes)?;
            decided.insert(directory);
        }
    }
    Ok(seeds)
}

/// Shared objects in directories that may be of plug-ins, and the programs that opened them, of which there may be many
/// processes.
fn candidates<'w>(world: &'w World<'_>) -> BTreeMap<ImagePath, BTreeSet<&'w str>> {
    let mut candidates: BTreeMap<ImagePath, BTreeSet<&str>> = BTreeMap::new();
    for touch in world.observed.touches.iter().filter(|touch| is_opened(touch)) {
        let Some(object) = touch.object.as_ref().filter(|object| is_shared_object(object.file_name())) else {
            continue;
        };
        if object.parent().is_some_and(|directory| may_hold_plugins(world, &directory)) {
            candidates
                .entry(object.clone())
                .or_default()
                .insert(&world.observed.program(touch.access.process).name);
        }
    }
    candidates
}

fn is_opened(touch: &Touch<'_>) -> bool {
    touch.access.access.contains(&Access::Open) && touch.access.phases.iter().any(|phase| counts(*phase))
}

/// `foo.so`, `libfoo.so.1`; not `foo.cpython-311-x86_64-linux-gnu.so` and `foo.abi3.so`, which are Python's.
fn is_shared_object(name: &[u8]) -> bool {
    let is_pythons = memmem::find(name, b".cpython-").is_some() || name.ends_with(b".abi3.so");
    (name.ends_with(b".so") || memmem::find(name, b".so.").is_some()) && !is_pythons
}

fn may_hold_plugins(world: &World<'_>, directory: &ImagePath) -> bool {
    let context = world.context;
    let components = || directory.as_bytes().split(|byte| *byte == b'/');
    let is_the_loaders = OF_THE_LOADER.iter().any(|place| place.as_bytes() == directory.as_bytes())
        || directory.parent().is_some_and(|parent| {
            let name = directory.file_name();
            matches!(parent.as_bytes(), b"/lib" | b"/usr/lib" | b"/usr/local/lib")
                && (memmem::find(name, b"-linux-").is_some() || name.ends_with(b"-linux"))
        })
        || context.environment.library_path.iter().any(|place| place.as_bytes() == directory.as_bytes());
    let is_of_another_rule = components().any(|component| {
        OF_OTHER_RULES.binary_search(&component).is_ok()
            || component.starts_with(b"engines-")
            || component.ends_with(b".libs")
    });
    let is_a_python_package = context.entry(&directory.join("__init__.py")).is_some();
    !is_the_loaders
        && !is_of_another_rule
        && !is_a_python_package
        && !listing::is_fundamental(context, directory)
}

/// The names that opened ELF files need: what has one of them was loaded with another file, not opened by name.
fn needed(world: &World<'_>, files: &mut Files) -> Result<BTreeSet<Vec<u8>>, TreeError> {
    let mut needed = BTreeSet::new();
    let opened = world.observed.touches.iter().filter(|touch| is_use(touch));
    let objects: BTreeSet<&ImagePath> = opened.filter_map(|touch| touch.object.as_ref()).collect();
    for object in objects {
        let is_program = world.context.entry(object).is_some_and(|entry| entry.mode & 0o111 != 0);
        if !is_program && !is_shared_object(object.file_name()) {
            continue;
        }
        if let File::Elf(headers) = files.inspect(world.context, object)? {
            needed.extend(headers.needed.iter().chain(&headers.wanted).map(|name| base(name).to_vec()));
        }
    }
    // A name is often a symlink to the file.
    let links = world.observed.touches.iter().filter_map(|touch| {
        let name = touch.access.path.as_bytes();
        let object = touch.object.as_ref()?;
        needed.contains(base(name)).then(|| object.file_name().to_vec())
    });
    let links: Vec<Vec<u8>> = links.collect();
    needed.extend(links);
    Ok(needed)
}

fn is_use(touch: &Touch<'_>) -> bool {
    touch.access.access.iter().any(|access| matches!(access, Access::Open | Access::Execute))
}

fn base(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// What the processes of a program were told in text: their arguments, the environment, and the files that they opened
/// and that may be configuration.
fn texts_of(world: &World<'_>, program: &str) -> Result<Vec<Vec<u8>>, TreeError> {
    let context = world.context;
    let processes = world.observed.programs.iter().filter(|process| process.name == program);
    let told: BTreeSet<&String> = processes
        .flat_map(|process| &process.arguments)
        .chain(context.environment.variables.values())
        .collect();
    let mut texts: Vec<Vec<u8>> = told.into_iter().map(|text| text.as_bytes().to_vec()).collect();
    let of_program = |touch: &&Touch<'_>| world.observed.program(touch.access.process).name == program;
    let opened = world.observed.touches.iter().filter(of_program).filter(|touch| is_opened(touch));
    let paths: BTreeSet<&ImagePath> = opened.filter_map(|touch| touch.object.as_ref()).collect();
    for path in paths.into_iter().filter(|path| may_be_configuration(world, path)).take(TEXTS_MAX) {
        texts.push(context.read(path.as_bytes(), TEXT_MAX)?);
    }
    Ok(texts)
}

fn may_be_configuration(world: &World<'_>, path: &ImagePath) -> bool {
    let Some(image::Entry { kind: Kind::File { size }, mode, .. }) = world.context.entry(path) else {
        return false;
    };
    (1..=TEXT_MAX).contains(size) && mode & 0o111 == 0 && !is_shared_object(path.file_name())
}

/// Whether a text names an object: `plugin_load = "auth_socket.so"` or, where that is no word of its own right as `png`
/// in a list of types, without the ending: `shared_preload_libraries = pg_stat_statements`.
fn names(text: &[u8], object: &[u8]) -> bool {
    let end = memmem::find(object, b".so").unwrap_or(object.len());
    let stem = &object[..end];
    let is_particular = stem.len() >= PARTICULAR_MIN || stem.contains(&b'_') || stem.contains(&b'-');
    let name = if is_particular { stem } else { object };
    let goes_on = |byte: Option<&u8>| byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
    !name.is_empty()
        && memmem::find_iter(text, name).any(|at| {
            !goes_on(at.checked_sub(1).and_then(|before| text.get(before)))
                && !goes_on(text.get(at + name.len()))
        })
}

/// Adds the shared objects beside one that was opened, and libtool's `.la` files, which its loader reads first.
fn siblings(
    world: &World<'_>,
    loader: &mut Loader,
    object: &ImagePath,
    seeds: &mut Vec<Seed>,
    notes: &mut Vec<Note>,
) -> Result<(), TreeError> {
    let context = world.context;
    let directory = directory_of(object);
    let names = context.tree.read_dir(&directory).into_iter();
    let names = names.filter(|name| is_shared_object(name) || name.ends_with(b".la"));
    let paths: Vec<ImagePath> = names.map(|name| directory.join(name)).collect();
    let mut note = |why, instead: &str| {
        notes.push(Note::NotFollowed { path: object.clone(), why, instead: instead.to_owned() });
    };
    // What lies there tells of the worst case without a file being read.
    let own: u64 = paths.iter().filter_map(|path| context.entry(path)).map(image::Entry::size).sum();
    if own > BYTES_MAX {
        note(
            format!("{directory} holds {} MB of plug-ins", own / 1_000_000),
            "only those that were seen are kept",
        );
        return Ok(());
    }
    let mut needs = Needs::of(world, loader);
    let (mut light, mut heavy, mut all) = (Vec::new(), Vec::new(), BTreeSet::new());
    for path in paths {
        let files = needs.files(&path)?;
        if needs.bytes(&files) > BYTES_EACH_MAX {
            heavy.push(path);
        } else {
            all.extend(files);
            light.push(path);
        }
    }
    let bytes = needs.bytes(&all);
    if bytes > BYTES_MAX {
        let why = format!("the plug-ins in {directory} need {} MB", bytes / 1_000_000);
        note(why, "only those that were seen are kept");
        return Ok(());
    }
    if let Some(first) = heavy.first() {
        let why = format!("{first} or other plug-ins beside it need much more than they are");
        note(why, "these are kept only where they are seen");
    }
    let asks = Asks::new(Via::DynamicLibrary, object, "a plug-in of the same directory");
    seeds.extend(light.iter().map(|path| asks.object(path)));
    Ok(())
}

/// What plug-ins bring with them that the program did not open.
struct Needs<'w, 'a> {
    world: &'w World<'a>,
    loader: &'w mut Loader,
    opened: BTreeSet<&'w ImagePath>,
    /// Files that a file needs by name.
    known: BTreeMap<ImagePath, Vec<ImagePath>>,
}

impl<'w, 'a> Needs<'w, 'a> {
    fn of(world: &'w World<'a>, loader: &'w mut Loader) -> Self {
        let opened = world.observed.touches.iter().filter(|touch| is_opened(touch));
        let opened = opened.filter_map(|touch| touch.object.as_ref()).collect();
        Self { world, loader, opened, known: BTreeMap::new() }
    }

    /// A file and all that it needs, less what was opened.
    fn files(&mut self, path: &ImagePath) -> Result<BTreeSet<ImagePath>, TreeError> {
        let mut files = BTreeSet::new();
        let mut ahead: Vec<ImagePath> = self.world.context.file(path.as_bytes()).into_iter().collect();
        while let Some(file) = ahead.pop() {
            if self.opened.contains(&file) || !files.insert(file.clone()) {
                continue;
            }
            if !self.known.contains_key(&file) {
                let needed = self.needed(&file)?;
                self.known.insert(file.clone(), needed);
            }
            ahead.extend(self.known.get(&file).into_iter().flatten().cloned());
        }
        Ok(files)
    }

    fn needed(&mut self, file: &ImagePath) -> Result<Vec<ImagePath>, TreeError> {
        let context = self.world.context;
        let File::Elf(headers) = self.loader.files.inspect(context, file)? else { return Ok(Vec::new()) };
        let mut needed = Vec::new();
        for soname in &headers.needed {
            let places =
                self.loader.libraries.locate(context, &mut self.loader.files, (file, &headers), soname)?;
            needed.extend(places.iter().filter_map(|place| context.file(place)));
        }
        Ok(needed)
    }

    fn bytes(&self, files: &BTreeSet<ImagePath>) -> u64 {
        files.iter().filter_map(|file| self.world.context.entry(file)).map(image::Entry::size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_components_are_sorted_for_the_search() {
        assert!(OF_OTHER_RULES.is_sorted());
    }

    #[test]
    fn a_text_names_an_object_as_a_word() {
        let object = b"ngx_http_echo_module.so";
        assert!(names(b"load_module modules/ngx_http_echo_module.so;", object));
        assert!(names(b"x = ngx_http_echo_module\n", object));
        assert!(!names(b"image/png png", b"png.so") && names(b"coders/png.so", b"png.so"));
        assert!(!names(b"my_ngx_http_echo_module", object));
        assert!(!names(b"ngx_http_echo_module_too", object));
    }

    #[test]
    fn extension_modules_of_python_are_no_plugins() {
        assert!(is_shared_object(b"png.so") && is_shared_object(b"libx.so.1"));
        assert!(!is_shared_object(b"_x.cpython-311-x86_64-linux-gnu.so") && !is_shared_object(b"_y.abi3.so"));
        assert!(!is_shared_object(b"x.sort"));
    }
}
