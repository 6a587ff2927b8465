//! Rule: what a PHP file includes, the packages of Composer that it uses, and what php.ini configures.
//!
//! Classes are loaded by name when they are first used, so a package of which one file is kept is kept with all the
//! folders that its autoloader looks in; from there, the packages that it declares to need and names in its text.

mod composer;
mod includes;
mod ini;

use self::composer::Composer;
use super::dynamic::conversions;
use super::places::ending;
use super::time_zone;
use super::waiting::Waiting;
use super::{KeptFile, Rule, World};
use crate::inspect::File;
use crate::seed::Seed;
use slim_image::TreeError;

/// The rule.
#[derive(Default)]
pub(super) struct Php {
    waiting: Waiting,
    composer: Composer,
    /// Whether what every program in PHP may ask for is kept already.
    has_data: bool,
}

impl Rule for Php {
    fn follow(&mut self, file: &KeptFile<'_>, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        let is_runtime = is_runtime(file);
        let texts = self.waiting.hear(file, world.context, is_runtime, is_source(file))?;
        let mut seeds = Vec::new();
        if is_runtime {
            seeds.extend(ini::of_runtime(world.context, file.path));
            if !std::mem::replace(&mut self.has_data, true) {
                // Debian's PHP has no zones of its own; iconv converts with the C library's tables.
                seeds.extend(time_zone::all(world.context, file.path));
                seeds.extend(conversions::of_runtime(world)?);
            }
        }
        for (path, text) in texts {
            if ending(path.file_name()) == b"ini" {
                seeds.extend(ini::seeds(world.context, &path, &text));
                continue;
            }
            let found = includes::read(&path, &text);
            seeds.extend(includes::seeds(world.context, &path, &found));
            seeds.extend(self.composer.follow(world.context, &path, &found.names)?);
        }
        Ok(seeds)
    }
}

fn is_runtime(file: &KeptFile<'_>) -> bool {
    let name = file.path.file_name();
    let is_named = [&b"php"[..], b"libphp", b"frankenphp"].iter().any(|start| name.starts_with(start));
    is_named && matches!(file.what, File::Elf(_)) && !file.path.as_bytes().ends_with(b".node")
}

fn is_source(file: &KeptFile<'_>) -> bool {
    match ending(file.path.file_name()) {
        b"php" | b"inc" | b"phtml" => true,
        b"ini" => file.path.components().any(|name| name.starts_with(b"php")),
        _ => matches!(&file.what, File::Script(line) if line.windows(3).any(|word| word == b"php")),
    }
}

#[cfg(test)]
mod tests;
