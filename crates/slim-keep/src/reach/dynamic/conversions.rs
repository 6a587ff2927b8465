//! Conversion of character sets in glibc (gconv): the index names a shared object for every set that is not built in.
//!
//! Which sets a program converts is decided at run time, and all 250 converters have 8 MB. So: only where the trace shows
//! that the index was asked for, and then the sets that text comes in wherever one looks — Unicode's encodings, Latin 1
//! and 9, Windows' 1252 — and that of the environment's locale. Others come in by being seen, or by `--include-path`.

use crate::reach::places::library_directories;
use crate::reach::seeds::Asks;
use crate::reach::{Via, World};
use crate::seed::Seed;
use slim_image::{ImagePath, TreeError};
use std::collections::{BTreeMap, BTreeSet};

const INDEX: &[u8] = b"gconv-modules";
const INDEX_MAX: u64 = 1 << 20;
const INDICES_MAX: usize = 64;
/// UTF-8, UCS-4 and ASCII are part of the C library.
const COMMON: [&str; 6] = ["CP1252", "ISO-8859-1", "ISO-8859-15", "UTF-16", "UTF-32", "UTF-7"];

/// The index and the common converters, where the index was asked for.
pub(super) fn seeds(world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
    let touched = world.observed.touches.iter().filter_map(|touch| touch.object.as_ref());
    let directories: BTreeSet<ImagePath> =
        touched.filter(|path| path.file_name().starts_with(INDEX)).filter_map(ImagePath::parent).collect();
    of_directories(world, &directories)
}

/// The same for a runtime whose programs convert whatever they are given: PHP.
///
/// # Errors
/// When the image's files cannot be read.
pub(in crate::reach) fn of_runtime(world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
    let libraries = library_directories(world.context).into_iter();
    let directories = libraries.map(|library| library.join("gconv"));
    of_directories(
        world,
        &directories.filter(|place| world.context.entry(&place.join(INDEX)).is_some()).collect(),
    )
}

fn of_directories(world: &World<'_>, directories: &BTreeSet<ImagePath>) -> Result<Vec<Seed>, TreeError> {
    let mut seeds = Vec::new();
    for directory in directories {
        let index = directory.join(INDEX);
        let asks = Asks::new(Via::DynamicLibrary, &index, "");
        seeds.push(asks.object(&index));
        seeds.push(asks.object(directory.join("gconv-modules.cache").as_bytes()));
        seeds.push(asks.tree(directory.join("gconv-modules.d").as_bytes()));
        let modules = modules(world, directory)?;
        for charset in wanted(world) {
            if let Some(module) = modules.get(&simple(&charset)) {
                let path = directory.join([&module[..], b".so"].concat());
                seeds.push(Asks::new(Via::DynamicLibrary, &index, &charset).object(&path));
            }
        }
    }
    Ok(seeds)
}

/// The common character sets and those of the environment: `LANG=de_DE.ISO-8859-15@euro`.
fn wanted(world: &World<'_>) -> BTreeSet<Vec<u8>> {
    let mut wanted: BTreeSet<Vec<u8>> = COMMON.iter().map(|name| name.as_bytes().to_vec()).collect();
    let variables = &world.context.environment.variables;
    let locales = variables.iter().filter(|(name, _)| *name == "LANG" || name.starts_with("LC_"));
    wanted.extend(locales.filter_map(|(_, value)| {
        let (_, charset) = value.split_once('.')?;
        Some(charset.split('@').next()?.as_bytes().to_vec())
    }));
    wanted
}

/// The module of every character set and of its other names, these as [`simple`] has them.
fn modules(world: &World<'_>, directory: &ImagePath) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, TreeError> {
    let context = world.context;
    let more = directory.join("gconv-modules.d");
    let names = context.tree.read_dir(&more).into_iter().map(|name| more.join(name));
    let (mut modules, mut aliases) = (BTreeMap::new(), BTreeMap::new());
    for index in std::iter::once(directory.join(INDEX)).chain(names).take(INDICES_MAX) {
        for line in context.read(index.as_bytes(), INDEX_MAX)?.split(|byte| *byte == b'\n') {
            let line = line.split(|byte| *byte == b'#').next().unwrap_or_default();
            let words: Vec<&[u8]> =
                line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect();
            match words[..] {
                [b"alias", alias, name, ..] => {
                    aliases.insert(simple(alias), simple(name));
                }
                [b"module", from, b"INTERNAL", module, ..] if !module.contains(&b'/') => {
                    modules.insert(simple(from), module.to_vec());
                }
                _ => {}
            }
        }
    }
    let of_aliases: Vec<(Vec<u8>, Vec<u8>)> =
        aliases.into_iter().filter_map(|(alias, name)| Some((alias, modules.get(&name)?.clone()))).collect();
    for (alias, module) in of_aliases {
        modules.entry(alias).or_insert(module);
    }
    Ok(modules)
}

/// A character set's name without what does not tell it apart: `ISO-8859-15//` and `iso885915` are one.
fn simple(name: &[u8]) -> Vec<u8> {
    let letters = name.iter().filter(|byte| byte.is_ascii_alphanumeric());
    letters.map(u8::to_ascii_uppercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_character_set_is_the_same_however_it_is_written() {
        assert_eq!(simple(b"ISO-8859-15//"), simple(b"iso885915"));
        assert_ne!(simple(b"ISO-8859-1"), simple(b"ISO-8859-15"));
    }
}
