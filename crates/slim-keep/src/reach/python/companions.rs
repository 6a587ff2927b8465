//! What Python and its packages look for beside modules: compiled files, the metadata of distributions, data in packages,
//! bundled libraries, codecs, time zones.

use super::search::Search;
use super::{companion, is_directory, top_level};
use crate::context::Context;
use crate::note::Note;
use crate::seed::Seed;
use slim_image::{ImagePath, Kind, TreeError};
use std::collections::{BTreeMap, BTreeSet};

/// Data beside one package's modules, and in each directory there, that is kept without being asked for.
const DATA_MAX: u64 = 4 << 20;
/// Endings of files in packages that no running program reads.
const NOT_DATA: [&str; 24] = [
    "a", "c", "cc", "cpp", "f", "f90", "h", "hpp", "o", "pc", "po", "pot", "pxd", "pxi", "py", "pyc", "pyi",
    "pyo", "pyx", "rst", "md", "map", "typed", "orig",
];
/// What `importlib.metadata` and `pkg_resources` read of a distribution.
const METADATA: [&str; 7] =
    ["METADATA", "PKG-INFO", "RECORD", "WHEEL", "entry_points.txt", "requires.txt", "top_level.txt"];
/// Codecs that are looked up by names which come from outside: what mail, web, archives and consoles use. Others are kept
/// where the application names them.
const CODECS: [&str; 21] = [
    "aliases",
    "ascii",
    "base64_codec",
    "charmap",
    "cp1252",
    "cp437",
    "hex_codec",
    "idna",
    "iso8859_1",
    "iso8859_15",
    "latin_1",
    "punycode",
    "quopri_codec",
    "raw_unicode_escape",
    "unicode_escape",
    "utf_16",
    "utf_16_be",
    "utf_16_le",
    "utf_32",
    "utf_8",
    "utf_8_sig",
];
/// Bytes of a distribution's list that are read.
const LIST_MAX: u64 = 1 << 20;
const ZONES: &str = "/usr/share/zoneinfo";

/// Metadata by what can be imported.
type Distributions = BTreeMap<String, BTreeSet<ImagePath>>;

/// What was brought so far.
#[derive(Debug, Default)]
pub(super) struct Companions {
    directories: BTreeSet<ImagePath>,
    /// For each directory of packages, metadata by name and, where that did not tell all, by list.
    distributions: BTreeMap<ImagePath, (Distributions, Option<Distributions>)>,
    top_levels: BTreeSet<(ImagePath, String)>,
    /// What the distributions of a module that can be imported say they need.
    requires: BTreeMap<(ImagePath, String), Option<BTreeSet<String>>>,
    pub notes: BTreeSet<Note>,
}

/// Whether a directory of a package is none of its parts that run.
pub(super) fn is_left_out(name: &[u8]) -> bool {
    name == b"__pycache__" || is_of_tests(name)
}

/// Whether a directory holds tests, by custom.
pub(super) fn is_of_tests(name: &[u8]) -> bool {
    matches!(name, b"test" | b"tests")
}

impl Companions {
    /// The compiled files of a module, for the interpreters in use: Python would make them again at every start.
    pub(super) fn compiled(&self, context: &Context<'_>, search: &Search, file: &ImagePath) -> Vec<Seed> {
        let Some(stem) = file.file_name().strip_suffix(b".py") else { return Vec::new() };
        let Some(cache) = file.parent().map(|directory| directory.join("__pycache__")) else {
            return Vec::new();
        };
        let of_it = search.interpreter_of(file);
        let interpreters = of_it.into_iter().chain(search.interpreters.iter().filter(|_| of_it.is_none()));
        let names = interpreters.map(|interpreter| {
            let tag = format!(".cpython-{}.pyc", interpreter.version.replace('.', ""));
            [stem, tag.as_bytes()].concat()
        });
        let there = names.filter(|name| search.has(context, &cache, name));
        there
            .map(|name| Seed::object(cache.join(name).as_bytes(), companion(file, "its compiled form")))
            .collect()
    }

    /// What belongs to a kept module.
    ///
    /// # Errors
    /// When the image's files cannot be read.
    pub(super) fn of(
        &mut self,
        context: &Context<'_>,
        search: &Search,
        file: &ImagePath,
    ) -> Result<Vec<Seed>, TreeError> {
        let mut seeds = Vec::new();
        if let Some(packages) = search.packages_of(file).cloned() {
            self.distribution(context, search, &packages, file, &mut seeds)?;
            let directory = file.parent().filter(|directory| *directory != packages);
            if let Some(directory) = directory.filter(|directory| self.directories.insert(directory.clone()))
            {
                self.data(context, search, file, &directory, &mut seeds);
            }
        }
        let components: Vec<&[u8]> = file.components().collect();
        match components.as_slice() {
            [.., b"encodings", b"__init__.py"] if search.is_standard(file) => {
                let directory = file.parent().unwrap_or_else(ImagePath::root);
                let codecs = CODECS.iter().map(|codec| directory.join(format!("{codec}.py")));
                for codec in codecs.filter(|codec| context.entry(codec).is_some()) {
                    seeds.push(Seed::object(codec.as_bytes(), companion(file, "a codec")));
                    seeds.extend(self.compiled(context, search, &codec));
                }
            }
            // It imports a file whose name tells the platform.
            [.., b"sysconfig.py"] | [.., b"sysconfig", b"__init__.py"] if search.is_standard(file) => {
                let library = search.interpreter_of(file).map(|interpreter| interpreter.library.clone());
                if let Some(library) = library {
                    let names = search.listing(context, &library);
                    let settings = names.iter().filter(|name| name.starts_with(b"_sysconfigdata_"));
                    seeds.extend(settings.map(|name| {
                        Seed::object(library.join(name).as_bytes(), companion(file, "how Python was built"))
                    }));
                }
            }
            [.., b"zoneinfo" | b"pytz", b"__init__.py"] | [.., b"dateutil", b"tz", b"__init__.py"] => {
                zones(context, search, file, &mut seeds);
            }
            _ => {}
        }
        Ok(seeds)
    }

    /// Whether the distribution of one package says that it needs that of another, without condition. Where one of them
    /// has no metadata, nothing is said, and it counts as needed.
    ///
    /// # Errors
    /// When the image's files cannot be read.
    pub(super) fn needs(
        &mut self,
        context: &Context<'_>,
        search: &Search,
        from: &(ImagePath, String),
        to: &(ImagePath, String),
    ) -> Result<bool, TreeError> {
        let names: BTreeSet<String> = self
            .metadata(context, search, to)?
            .iter()
            .map(|metadata| normalised(name_of(&String::from_utf8_lossy(metadata.file_name()))))
            .collect();
        if !self.requires.contains_key(from) {
            let mut required: Option<BTreeSet<String>> = None;
            for metadata in self.metadata(context, search, from)? {
                required.get_or_insert_default().extend(requirements(context, &metadata)?);
            }
            self.requires.insert(from.clone(), required);
        }
        let required = self.requires.get(from).and_then(Option::as_ref);
        Ok(names.is_empty() || required.is_none_or(|required| !required.is_disjoint(&names)))
    }

    /// The metadata of the distributions that a module which can be imported came with.
    fn metadata(
        &mut self,
        context: &Context<'_>,
        search: &Search,
        (packages, top): &(ImagePath, String),
    ) -> Result<BTreeSet<ImagePath>, TreeError> {
        let top = normalised(top);
        let known = self.distributions.entry(packages.clone());
        let (by_name, lists) = known.or_insert_with(|| (by_name(context, search, packages), None));
        if let Some(metadata) = by_name.get(&top) {
            return Ok(metadata.clone());
        }
        if lists.is_none() {
            *lists = Some(by_lists(context, search, packages)?);
        }
        Ok(lists.as_ref().and_then(|lists| lists.get(&top)).cloned().unwrap_or_default())
    }

    /// Files of a package that are no modules: its own, and those in directories that are no packages.
    fn data(
        &mut self,
        context: &Context<'_>,
        search: &Search,
        file: &ImagePath,
        directory: &ImagePath,
        seeds: &mut Vec<Seed>,
    ) {
        let mut places = vec![(directory.clone(), false)];
        for name in context.tree.read_dir(directory) {
            let path = directory.join(name);
            if is_directory(context, &path)
                && !is_left_out(name)
                && !search.has(context, &path, b"__init__.py")
            {
                places.push((path, true));
            }
        }
        for (place, with_below) in places {
            let mut files = Vec::new();
            let mut size = 0;
            let mut ahead = vec![place.clone()];
            while let Some(directory) = ahead.pop() {
                for name in context.tree.read_dir(&directory) {
                    let path = directory.join(name);
                    match context.entry(&path).map(|entry| &entry.kind) {
                        Some(Kind::File { size: bytes }) if is_data(name) => {
                            size += bytes;
                            files.push(path);
                        }
                        Some(Kind::Symlink { .. }) if is_data(name) => files.push(path),
                        Some(Kind::Directory)
                            if with_below
                                && !is_left_out(name)
                                && !context.tree.read_dir(&path).contains(&b"__init__.py".as_slice()) =>
                        {
                            ahead.push(path);
                        }
                        _ => {}
                    }
                }
            }
            if size > DATA_MAX {
                self.notes.insert(Note::NotFollowed {
                    path: place,
                    why: "there is much data beside Python modules".to_owned(),
                    instead: "what was used of it is kept".to_owned(),
                });
                continue;
            }
            let data = files.iter().map(|path| Seed::object(path.as_bytes(), companion(file, "data")));
            seeds.extend(data);
        }
    }

    /// The metadata and bundled libraries of the distribution that a module came with.
    fn distribution(
        &mut self,
        context: &Context<'_>,
        search: &Search,
        packages: &ImagePath,
        file: &ImagePath,
        seeds: &mut Vec<Seed>,
    ) -> Result<(), TreeError> {
        let Some(top) = top_level(packages, file) else { return Ok(()) };
        if !self.top_levels.insert((packages.clone(), top.clone())) {
            return Ok(());
        }
        let mut names = vec![normalised(&top)];
        for metadata in self.metadata(context, search, &(packages.clone(), top))? {
            names.push(normalised(name_of(&String::from_utf8_lossy(metadata.file_name()))));
            if !is_directory(context, &metadata) {
                seeds.push(Seed::object(metadata.as_bytes(), companion(file, "its distribution")));
                continue;
            }
            for name in
                METADATA.iter().map(|name| metadata.join(name)).filter(|path| context.entry(path).is_some())
            {
                seeds.push(Seed::object(name.as_bytes(), companion(file, "its distribution")));
            }
        }
        let bundled = search.listing(context, packages);
        let bundled = bundled.iter().filter(|name| {
            let text = String::from_utf8_lossy(name);
            text.strip_suffix(".libs").is_some_and(|name| names.contains(&normalised(name)))
        });
        for name in bundled {
            seeds.push(Seed::tree(packages.join(name).as_bytes(), companion(file, "its bundled libraries")));
        }
        Ok(())
    }
}

/// Metadata by the name of its distribution, as it mostly is imported, too.
fn by_name(context: &Context<'_>, search: &Search, packages: &ImagePath) -> Distributions {
    let mut found = Distributions::new();
    for metadata in all_metadata(context, search, packages) {
        let name = normalised(name_of(&String::from_utf8_lossy(metadata.file_name())));
        found.entry(name).or_default().insert(metadata);
    }
    found
}

/// Metadata by what can be imported of it, as its lists tell.
fn by_lists(
    context: &Context<'_>,
    search: &Search,
    packages: &ImagePath,
) -> Result<Distributions, TreeError> {
    let mut found = Distributions::new();
    for metadata in all_metadata(context, search, packages) {
        let text = context.read(metadata.join("top_level.txt").as_bytes(), LIST_MAX)?;
        let mut tops: BTreeSet<String> =
            String::from_utf8_lossy(&text).lines().map(|line| normalised(line.trim())).collect();
        if text.is_empty() {
            let record = context.read(metadata.join("RECORD").as_bytes(), LIST_MAX)?;
            let lines = String::from_utf8_lossy(&record);
            tops.extend(lines.lines().filter_map(|line| line.split(['/', ',', '.']).next()).map(normalised));
        }
        for top in tops {
            found.entry(top).or_default().insert(metadata.clone());
        }
    }
    Ok(found)
}

fn all_metadata(context: &Context<'_>, search: &Search, packages: &ImagePath) -> Vec<ImagePath> {
    let names = search.listing(context, packages);
    let is_metadata = |name: &&Vec<u8>| name.ends_with(b".dist-info") || name.ends_with(b".egg-info");
    names.iter().filter(is_metadata).map(|name| packages.join(name)).collect()
}

/// The names of distributions that a distribution needs whatever is asked of it.
fn requirements(context: &Context<'_>, metadata: &ImagePath) -> Result<BTreeSet<String>, TreeError> {
    let mut names = BTreeSet::new();
    let mut add = |text: &str| {
        let is_of_name =
            |character: char| character.is_ascii_alphanumeric() || matches!(character, '.' | '_' | '-');
        let name: String = text.trim().chars().take_while(|character| is_of_name(*character)).collect();
        names.insert(normalised(&name));
    };
    for name in ["METADATA", "PKG-INFO"] {
        let text = context.read(metadata.join(name).as_bytes(), LIST_MAX)?;
        for line in String::from_utf8_lossy(&text).lines() {
            let needed = line.strip_prefix("Requires-Dist:");
            // `; extra == "x"`, `; sys_platform == 'win32'`, `; platform_system == "Windows"`
            let is_for_others = |needed: &str| {
                let when = needed.split_once(';').map(|(_, when)| when.to_lowercase()).unwrap_or_default();
                let when = when.replace([' ', '"', '\''], "");
                when.contains("extra==") || when.contains("==win")
            };
            needed.filter(|needed| !is_for_others(needed)).into_iter().for_each(&mut add);
        }
    }
    let text = context.read(metadata.join("requires.txt").as_bytes(), LIST_MAX)?;
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().take_while(|line| !line.starts_with('[')).filter(|line| !line.is_empty()).for_each(add);
    Ok(names)
}

/// `ruamel.yaml` of `ruamel.yaml-0.18.dist-info`.
fn name_of(metadata: &str) -> &str {
    let name = metadata.trim_end_matches(".dist-info").trim_end_matches(".egg-info");
    name.split('-').next().unwrap_or(name)
}

fn normalised(name: &str) -> String {
    name.to_lowercase().replace(['-', '.'], "_")
}

fn is_data(name: &[u8]) -> bool {
    let Ok(name) = std::str::from_utf8(name) else { return true };
    if let Some(library) = name.strip_suffix(".so") {
        return library.starts_with("lib") && !library.contains('.');
    }
    name.rsplit_once('.').is_none_or(|(_, ending)| !NOT_DATA.contains(&ending))
}

/// What time zones are read from: the system's, less the copies that count leap seconds, or the package's.
fn zones(context: &Context<'_>, search: &Search, file: &ImagePath, seeds: &mut Vec<Seed>) {
    let path = search.path_of(context, file);
    let packages = search.interpreters.iter().flat_map(|interpreter| interpreter.packages.clone());
    let path: Vec<ImagePath> = path.into_iter().chain(packages).chain(search.roots.iter().cloned()).collect();
    let package = search.find(context, &path, &["tzdata".to_owned()]);
    seeds.extend(
        package
            .directories
            .iter()
            .map(|directory| Seed::tree(directory.as_bytes(), companion(file, "time zones"))),
    );
    for name in search
        .listing(context, &ZONES.into())
        .iter()
        .filter(|name| !matches!(name.as_slice(), b"posix" | b"right"))
    {
        let path = ImagePath::from(ZONES).join(name);
        seeds.push(Seed::tree(path.as_bytes(), companion(file, "time zones")));
    }
}
