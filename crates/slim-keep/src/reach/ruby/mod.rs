//! Rule: what a Ruby file requires, and gems: of each of which one file is kept, everything that can be loaded.
//!
//! Names are looked for as Ruby does, in the standard library and then in the folders of gems; a gem that nothing
//! requires stays out, Gemfile or not.

mod gems;
mod requires;

use self::gems::Gems;
use super::places::{because, below, directory, ending, holds, inside, join, objects};
use super::waiting::Waiting;
use super::{KeptFile, Rule, World};
use crate::context::Context;
use crate::inspect::File;
use crate::reason::Via;
use crate::seed::Seed;
use slim_image::{ImagePath, TreeError};
use std::collections::BTreeSet;

/// What Bundler and RubyGems look for in a directory and all above it.
const OF_BUNDLER: [&str; 6] =
    ["Gemfile", "Gemfile.lock", "gems.rb", "gems.locked", ".bundle/config", ".ruby-version"];
/// Conversions between encodings that are small; those of East Asian tables come with what was seen.
const CONVERSIONS: [&str; 4] = ["escape.so", "single_byte.so", "utf8_mac.so", "utf_16_32.so"];

/// The rule.
#[derive(Default)]
pub(super) struct Ruby {
    waiting: Waiting,
    gems: Option<Gems>,
    /// Directories whose Bundler files were looked for.
    bundled: BTreeSet<ImagePath>,
    encodings: bool,
}

impl Rule for Ruby {
    fn follow(&mut self, file: &KeptFile<'_>, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        let context = world.context;
        let is_runtime = is_runtime(file);
        let texts = self.waiting.hear(file, context, is_runtime, is_source(file))?;
        let mut seeds = Vec::new();
        if is_runtime && !self.encodings {
            self.encodings = true;
            seeds.extend(encodings(context, file.path));
            seeds.extend(self.bundler(context, file.path));
        }
        if self.encodings && is_object(file.path) {
            let gems = self.gems.get_or_insert_with(|| Gems::new(context));
            seeds.extend(gems.of_file(context, file.path)?.unwrap_or_default());
        }
        if self.encodings && ending(file.path.file_name()) == b"so" {
            seeds.extend(beside_object(file.path));
        }
        for (path, text) in texts {
            let gems = self.gems.get_or_insert_with(|| Gems::new(context));
            let of_gem = gems.of_file(context, &path)?;
            let is_application = of_gem.is_none() && !gems.is_library(&path);
            seeds.extend(of_gem.unwrap_or_default());
            match path.file_name() {
                b"Gemfile.lock" | b"gems.locked" => seeds.extend(gems.locked(context, &path, &text)),
                _ => {
                    for request in requires::read(&path, &text) {
                        seeds.extend(gems.seeds(context, &path, &request));
                    }
                }
            }
            if is_application {
                seeds.extend(self.bundler(context, &path));
            }
        }
        Ok(seeds)
    }
}

impl Ruby {
    fn bundler(&mut self, context: &Context<'_>, path: &ImagePath) -> Vec<Seed> {
        let reason = because(Via::Ruby, path, None, b"Bundler");
        let variables = &context.environment.variables;
        let mut files: Vec<Vec<u8>> = Vec::new();
        for above in path.ancestors().into_iter().rev() {
            if !self.bundled.insert(above.clone()) {
                break;
            }
            files.extend(OF_BUNDLER.map(|name| join(above.as_bytes(), name.as_bytes())));
        }
        if let Some(gemfile) = variables.get("BUNDLE_GEMFILE") {
            files.extend([gemfile.as_bytes().to_vec(), [gemfile.as_bytes(), b".lock"].concat()]);
        }
        if let Some(configuration) = variables.get("BUNDLE_APP_CONFIG") {
            files.push(join(configuration.as_bytes(), b"config"));
        }
        objects(files.into_iter().filter(|file| file.starts_with(b"/")), &reason).collect()
    }
}

/// Encodings are objects that Ruby opens by name when a string first has them.
fn encodings(context: &Context<'_>, runtime: &ImagePath) -> Vec<Seed> {
    let reason = because(Via::Ruby, runtime, None, b"an encoding");
    let mut files = Vec::new();
    for library in gems::libraries(context) {
        let enc = library.join("enc");
        files.extend(below(context, &enc, 1));
        files.extend(CONVERSIONS.map(|name| enc.join("trans").join(name)));
    }
    objects(files, &reason).collect()
}

/// The files in Ruby that a compiled part of the standard library requires itself: they lie in a folder of its name, and
/// the code that requires them cannot be read.
fn beside_object(object: &ImagePath) -> Vec<Seed> {
    let Some(place) = object.parent().filter(|place| holds(place.as_bytes(), b"/ruby/")) else {
        return Vec::new();
    };
    let name = object.file_name();
    let name = &name[..name.len() - b".so".len()];
    let reason = because(Via::Ruby, object, None, name);
    let version = place.file_name();
    let libraries = [
        place.clone(),
        place.parent().unwrap_or_else(ImagePath::root),
        ImagePath::from("/usr/lib/ruby").join(version),
        ImagePath::from("/usr/lib/ruby/vendor_ruby"),
    ];
    libraries.iter().map(|library| Seed::tree(library.join(name), reason.clone())).collect()
}

fn is_runtime(file: &KeptFile<'_>) -> bool {
    let name = file.path.file_name();
    (name.starts_with(b"ruby") || name.starts_with(b"libruby")) && matches!(file.what, File::Elf(_))
}

fn is_source(file: &KeptFile<'_>) -> bool {
    let name = file.path.file_name();
    match ending(name) {
        b"rb" | b"ru" | b"rake" => true,
        b"lock" | b"locked" => matches!(name, b"Gemfile.lock" | b"gems.locked"),
        _ => matches!(&file.what, File::Script(line) if holds(line, b"ruby")),
    }
}

/// Whether a file can be a gem's compiled part.
fn is_object(path: &ImagePath) -> bool {
    let within = |folder: &[u8]| holds(path.as_bytes(), folder);
    ending(path.file_name()) == b"so" && (within(b"/gems/") || within(b"/extensions/"))
}

#[cfg(test)]
mod tests;

/// The directories in a directory.
fn folders(context: &Context<'_>, place: &[u8]) -> Vec<ImagePath> {
    let Some(place) = directory(context, place) else { return Vec::new() };
    let mut folders = inside(context, &place);
    folders.retain(|folder| directory(context, folder.as_bytes()).is_some());
    folders
}
