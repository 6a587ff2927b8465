//! Where Ruby's standard library and gems lie, and what belongs to one gem.

use super::folders;
use super::requires::Request;
use crate::context::Context;
use crate::reach::places::{because, below, directory, ending, fitting, holds, join, objects};
use crate::reason::Via;
use crate::seed::Seed;
use slim_image::{ImagePath, TreeError};
use std::collections::{BTreeMap, BTreeSet};

/// Prefixes under which Ruby is installed.
const PREFIXES: [&str; 3] = ["/usr", "/usr/local", "/opt/ruby"];
/// Directories of gems that are no part of such a prefix; `*` stands for one component.
const GEM_HOMES: [&str; 6] = [
    "/usr/local/bundle",
    "/usr/share/rubygems-integration/*",
    "/var/lib/gems/*",
    "/usr/lib/ruby/gems/*",
    "/usr/local/lib/ruby/gems/*",
    "/opt/ruby/lib/ruby/gems/*",
];
/// Folders of a gem that programs load from: code, engines' parts, and data. Tests and sources of extensions are not.
const LOADED: [&str; 14] = [
    "app",
    "assets",
    "config",
    "data",
    "dist",
    "lib",
    "locale",
    "locales",
    "public",
    "rails",
    "templates",
    "vendor",
    "views",
    "web",
];
const SPECIFICATION_MAX: u64 = 1 << 20;

/// One installed gem.
#[derive(Clone, Debug)]
struct Gem {
    /// Its folder: `…/gems/name-1.2`.
    place: ImagePath,
    /// `name-1.2`.
    full_name: Vec<u8>,
    /// What holds `gems` and `specifications`.
    home: ImagePath,
}

/// All gems of an image.
pub(super) struct Gems {
    libraries: Vec<ImagePath>,
    gems: BTreeMap<ImagePath, Gem>,
    homes: BTreeSet<ImagePath>,
    kept: BTreeSet<ImagePath>,
}

/// The folders of the standard library, those of the machine's own objects included.
pub(super) fn libraries(context: &Context<'_>) -> Vec<ImagePath> {
    let mut libraries = Vec::new();
    for prefix in PREFIXES {
        let mut tops = vec![[prefix.as_bytes(), b"/lib/ruby"].concat()];
        let machines = folders(context, &[prefix.as_bytes(), b"/lib"].concat());
        let machines = machines.iter().filter(|machine| holds(machine.file_name(), b"-linux-"));
        tops.extend(machines.map(|machine| machine.join("ruby").as_bytes().to_vec()));
        for top in &tops {
            libraries
                .extend(folders(context, top).into_iter().filter(|folder| is_version(folder.file_name())));
            for name in ["site_ruby", "vendor_ruby"] {
                let place = join(top, name.as_bytes());
                libraries.extend(directory(context, &place));
                libraries.extend(
                    folders(context, &place).into_iter().filter(|folder| is_version(folder.file_name())),
                );
            }
        }
    }
    let of_machine: Vec<ImagePath> = libraries
        .iter()
        .flat_map(|library| folders(context, library.as_bytes()))
        .filter(|folder| holds(folder.file_name(), b"-linux"))
        .collect();
    libraries.extend(of_machine);
    libraries.extend(
        context.environment.directories("RUBYLIB").iter().filter_map(|place| directory(context, place)),
    );
    libraries
}

fn is_version(name: &[u8]) -> bool {
    name.first().is_some_and(u8::is_ascii_digit)
}

impl Gems {
    pub(super) fn new(context: &Context<'_>) -> Self {
        let mut gems = Self {
            libraries: libraries(context),
            gems: BTreeMap::new(),
            homes: BTreeSet::new(),
            kept: BTreeSet::new(),
        };
        let environment = &context.environment;
        let mut homes = [environment.directories("GEM_HOME"), environment.directories("GEM_PATH")].concat();
        for home in GEM_HOMES {
            match home.strip_suffix("/*") {
                Some(top) => {
                    homes.extend(folders(context, top.as_bytes()).iter().map(|home| home.as_bytes().to_vec()))
                }
                None => homes.push(home.as_bytes().to_vec()),
            }
        }
        for bundle in environment.directories("BUNDLE_PATH") {
            let versions = folders(context, &join(&bundle, b"ruby"));
            homes.extend(versions.iter().map(|home| home.as_bytes().to_vec()));
        }
        for home in homes {
            gems.add_home(context, &home);
        }
        gems
    }

    fn add_home(&mut self, context: &Context<'_>, home: &[u8]) {
        let Some(home) = directory(context, home) else { return };
        if !self.homes.insert(home.clone()) {
            return;
        }
        for gems in ["gems", "bundler/gems"] {
            for place in folders(context, &join(home.as_bytes(), gems.as_bytes())) {
                let gem =
                    Gem { full_name: place.file_name().to_vec(), home: home.clone(), place: place.clone() };
                self.gems.insert(place, gem);
            }
        }
    }

    /// Whether a file is of the standard library or of a gem.
    pub(super) fn is_library(&self, path: &ImagePath) -> bool {
        self.libraries.iter().any(|library| path.is_within(library))
            || self.homes.iter().any(|home| path.is_within(home))
    }

    /// Everything that can be loaded of the gem that a kept file is of; `None` where it is of none.
    ///
    /// # Errors
    /// When the image's files cannot be read.
    pub(super) fn of_file(
        &mut self,
        context: &Context<'_>,
        path: &ImagePath,
    ) -> Result<Option<Vec<Seed>>, TreeError> {
        self.find_home(context, path);
        let Some(gem) = path
            .ancestors()
            .iter()
            .rev()
            .find_map(|above| self.gems.get(above))
            .cloned()
            .or_else(|| self.of_extension(path))
        else {
            return Ok(None);
        };
        if !self.kept.insert(gem.place.clone()) {
            return Ok(Some(Vec::new()));
        }
        let reason = because(Via::Ruby, path, None, &gem.full_name);
        let mut files: Vec<ImagePath> = below(context, &gem.place, 1);
        files.retain(|file| {
            matches!(ending(file.file_name()), b"rb" | b"gemspec" | b"yml" | b"yaml" | b"json")
                || file.file_name() == b"VERSION"
        });
        for folder in LOADED {
            files.extend(below(context, &gem.place.join(folder), usize::MAX));
        }
        files.retain(|file| self.is_for_this_version(file));
        let mut seeds: Vec<Seed> = objects(files, &reason).collect();
        let specification = gem.home.join("specifications").join([&gem.full_name[..], b".gemspec"].concat());
        for name in self.dependencies(context, &specification)? {
            seeds.extend(self.specifications(&name, &reason));
        }
        seeds.push(Seed::object(specification.as_bytes(), reason.clone()));
        for machine in folders(context, gem.home.join("extensions").as_bytes()) {
            for version in folders(context, machine.as_bytes()) {
                let extension = version.join(&gem.full_name);
                let mut files = below(context, &extension, usize::MAX);
                files.retain(|file| !matches!(ending(file.file_name()), b"log" | b"out"));
                seeds.extend(objects(files, &reason));
            }
        }
        Ok(Some(seeds))
    }

    /// A home that is known by its form only: `vendor/bundle/ruby/3.1.0` of an application.
    fn find_home(&mut self, context: &Context<'_>, path: &ImagePath) {
        let Some(gems) = path.ancestors().into_iter().find(|above| above.file_name() == b"gems") else {
            return;
        };
        let Some(home) = gems.parent() else { return };
        let is_home = context.entry(&home.join("specifications")).is_some();
        if is_home && !self.homes.contains(&home) {
            self.add_home(context, home.as_bytes());
        }
    }

    fn of_extension(&self, path: &ImagePath) -> Option<Gem> {
        let above = path.ancestors();
        let extensions = above.iter().position(|above| above.file_name() == b"extensions")?;
        let full_name = above.get(extensions + 3)?.file_name();
        self.gems.values().find(|gem| gem.full_name == full_name).cloned()
    }

    /// Gems that are compiled ahead hold an object for each version of Ruby.
    fn is_for_this_version(&self, file: &ImagePath) -> bool {
        let Some(folder) = file.parent().filter(|_| ending(file.file_name()) == b"so") else { return true };
        let version = folder.file_name();
        let is_one = is_version(version) && version.iter().all(|byte| byte.is_ascii_digit() || *byte == b'.');
        let own = |library: &ImagePath| {
            let name = library.file_name();
            name.starts_with(version) && matches!(name.get(version.len()), None | Some(b'.'))
        };
        !is_one
            || !self.libraries.iter().any(|library| is_version(library.file_name()))
            || self.libraries.iter().any(own)
    }

    /// The names of the gems that a specification needs at run time.
    fn dependencies(
        &self,
        context: &Context<'_>,
        specification: &ImagePath,
    ) -> Result<BTreeSet<Vec<u8>>, TreeError> {
        let text = context.read(specification.as_bytes(), SPECIFICATION_MAX)?;
        let mut names = BTreeSet::new();
        for line in text.split(|byte| *byte == b'\n') {
            if !holds(line, b"add_runtime_dependency(") && !holds(line, b"add_dependency(") {
                continue;
            }
            let name = line.split(|byte| matches!(byte, b'<' | b'>' | b'"' | b'\'')).nth(1);
            names.extend(name.map(<[u8]>::to_vec));
        }
        Ok(names)
    }

    /// RubyGems does not load a gem without the specifications of those that it needs.
    fn specifications(&self, name: &[u8], reason: &crate::reason::Reason) -> Vec<Seed> {
        let gems = self.gems.values().filter(|gem| name_of(&gem.full_name) == name);
        let files =
            gems.map(|gem| gem.home.join("specifications").join([&gem.full_name[..], b".gemspec"].concat()));
        objects(files, reason).collect()
    }

    /// The specifications of the gems that a lock file names: Bundler starts with none of them missing.
    pub(super) fn locked(&self, context: &Context<'_>, path: &ImagePath, text: &[u8]) -> Vec<Seed> {
        let mut seeds = Vec::new();
        for (number, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let Some(gem) = line.strip_prefix(b"    ").filter(|gem| !gem.starts_with(b" ")) else { continue };
            let mut words = gem.split(|byte| *byte == b' ');
            let (name, version) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
            let version: Vec<u8> =
                version.iter().copied().filter(|byte| !matches!(byte, b'(' | b')')).collect();
            if name.is_empty() || version.is_empty() || gem.contains(&b'/') {
                continue;
            }
            let reason = because(Via::Ruby, path, u32::try_from(number + 1).ok(), name);
            let file = [name, b"-", &version, b".gemspec"].concat();
            let places = self.homes.iter().map(|home| home.join("specifications").join(&file));
            seeds.extend(objects(places.filter(|place| context.entry(place).is_some()), &reason));
        }
        seeds
    }

    /// The files that a request means.
    pub(super) fn seeds(&self, context: &Context<'_>, path: &ImagePath, request: &Request) -> Vec<Seed> {
        let value = &request.value;
        let because = |name: &[u8]| because(Via::Ruby, path, Some(request.line), name);
        let Some(name) = value.whole() else {
            if !value.anchored || value.prefix.is_empty() {
                return Vec::new();
            }
            let suffix = value.rest.as_deref().unwrap_or_default();
            let files = fitting(context, &value.prefix, suffix);
            let files = files.into_iter().filter(|file| matches!(ending(file.file_name()), b"rb" | b"so"));
            return objects(files, &because(&[&value.prefix, &b"*"[..], suffix].concat())).collect();
        };
        if name.is_empty() || name.contains(&0) {
            return Vec::new();
        }
        let reason = because(name);
        if name.starts_with(b"/") {
            return objects(feature(context, name), &reason).collect();
        }
        for library in &self.libraries {
            if let Some(file) = feature(context, &join(library.as_bytes(), name)) {
                return vec![Seed::object(file, reason)];
            }
        }
        let mut seeds: Vec<Seed> = objects(self.in_gems(context, name), &reason).collect();
        if seeds.is_empty() {
            // The application's own, put on the load path by itself.
            let near = path.ancestors().into_iter().rev().take(3);
            let near = near
                .flat_map(|above| [join(above.as_bytes(), name), join(above.join("lib").as_bytes(), name)]);
            let working = join(context.environment.working_directory.as_bytes(), name);
            seeds
                .extend(objects(near.chain([working]).filter_map(|place| feature(context, &place)), &reason));
        }
        seeds
    }

    /// The newest of each gem that has a feature.
    fn in_gems(&self, context: &Context<'_>, name: &[u8]) -> Vec<Vec<u8>> {
        let mut newest: BTreeMap<&[u8], (Vec<u64>, Vec<u8>)> = BTreeMap::new();
        let mut files = Vec::new();
        for gem in self.gems.values() {
            let Some(file) = feature(context, &join(gem.place.join("lib").as_bytes(), name)) else {
                continue;
            };
            if self.kept.contains(&gem.place) {
                files.push(file);
                continue;
            }
            let (of, version) = (name_of(&gem.full_name), version_of(&gem.full_name));
            let best = newest.entry(of).or_default();
            if version >= best.0 {
                *best = (version, file);
            }
        }
        if files.is_empty() {
            files.extend(newest.into_values().map(|(_, file)| file));
        }
        files
    }
}

/// The file that a feature's path means.
fn feature(context: &Context<'_>, path: &[u8]) -> Option<Vec<u8>> {
    let named = matches!(ending(path), b"rb" | b"so" | b"ru" | b"rake").then(|| path.to_vec());
    let endings = [&b".rb"[..], b".so"].map(|ending| [path, ending].concat());
    named.into_iter().chain(endings).find(|file| context.file(file).is_some())
}

/// `net-http` of `net-http-0.4.1-x86_64-linux`.
fn name_of(full_name: &[u8]) -> &[u8] {
    let version = full_name.windows(2).position(|pair| pair[0] == b'-' && pair[1].is_ascii_digit());
    version.map_or(full_name, |at| &full_name[..at])
}

fn version_of(full_name: &[u8]) -> Vec<u64> {
    let version = full_name.get(name_of(full_name).len() + 1..).unwrap_or_default();
    let version = version.split(|byte| *byte == b'-').next().unwrap_or_default();
    let numbers = version.split(|byte| *byte == b'.');
    numbers
        .map(|number| std::str::from_utf8(number).ok().and_then(|number| number.parse().ok()).unwrap_or(0))
        .collect()
}
