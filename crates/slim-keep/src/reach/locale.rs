//! Rule: the locale that the environment names, for a kept C library: its data and the messages of what is kept in its
//! language.
//!
//! glibc looks a name up as it stands and with its character set written plainly, in `/usr/lib/locale` or LOCPATH: first
//! in the one file `locale-archive`, then in a directory of that name (setlocale(3), localedef(1)). The archive may hold
//! all locales of the world, 220 MB; it is kept where it was seen in use (then the trace keeps it), or where the
//! environment names a locale that has no directory of its own and the archive is a small one, as `locale-gen` makes it.
//! C and POSIX are part of the library; C.UTF-8 is so in newer ones only, and is a locale as others are.

use super::seeds::{Asks, places};
use super::time_zone::{has_library_c, is_musl};
use super::{KeptFile, Rule, Via, World};
use crate::context::Context;
use crate::inspect::File;
use crate::note::Note;
use crate::seed::Seed;
use slim_image::{Entry, ImagePath, TreeError};
use std::collections::{BTreeMap, BTreeSet};

const LOCALES: &str = "/usr/lib/locale";
const ARCHIVE: &str = "/usr/lib/locale/locale-archive";
const ARCHIVE_MAX: u64 = 16 << 20;
const ALIASES: &str = "/usr/share/locale/locale.alias";
const MESSAGES: &str = "/usr/share/locale";

/// The rule.
#[derive(Default)]
pub(super) struct Locale {
    /// Whether the data has been kept.
    is_done: bool,
    notes: Vec<Note>,
}

impl Rule for Locale {
    fn follow(&mut self, file: &KeptFile<'_>, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        let File::Elf(headers) = &file.what else { return Ok(Vec::new()) };
        let mut seeds = Vec::new();
        if !self.is_done && has_library_c(file) {
            self.is_done = true;
            for (name, variable) in named(world.context) {
                seeds.extend(self.data(world.context, file.path, &name, &variable));
            }
        }
        if headers.is_dynamic_program() {
            seeds.extend(messages(world.context, file.path));
        }
        Ok(seeds)
    }

    fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }
}

impl Locale {
    /// The data of one locale.
    fn data(&mut self, context: &Context<'_>, library: &ImagePath, name: &str, variable: &str) -> Vec<Seed> {
        let what = format!("{variable}={name}");
        let asks = Asks::new(Via::Locale, library, &what);
        let mut seeds = vec![asks.object(ALIASES)];
        let own = if is_musl(library) { "MUSL_LOCPATH" } else { "LOCPATH" };
        let places: Vec<&str> = std::iter::once(LOCALES).chain(places(context, own)).collect();
        let mut has_directory = false;
        for place in &places {
            for variant in variants(name) {
                let path = format!("{place}/{variant}");
                has_directory |= context.walk(path.as_bytes(), true).found().is_some();
                seeds.push(asks.tree(path));
            }
        }
        let archive = context.file(ARCHIVE.as_bytes()).and_then(|path| context.entry(&path)).map(Entry::size);
        match archive.filter(|_| !has_directory) {
            Some(size) if size <= ARCHIVE_MAX => seeds.push(asks.object(ARCHIVE)),
            Some(size) => self.notes.push(Note::NotFollowed {
                path: ARCHIVE.into(),
                why: format!("it holds {} MB of locales, and {what} may be one of them", size / 1_000_000),
                instead: "it is kept only if the program was seen to open it".to_owned(),
            }),
            None => {}
        }
        seeds
    }
}

/// The locales that the environment names, each with the first variable that does, without those that are built in.
fn named(context: &Context<'_>) -> BTreeMap<String, String> {
    let mut named = BTreeMap::new();
    for (variable, value) in &context.environment.variables {
        let is_one = variable == "LANG" || variable.starts_with("LC_");
        let is_plain = !value.contains('/') && !value.starts_with('.');
        if is_one && is_plain && !matches!(value.as_str(), "" | "C" | "POSIX") {
            named.entry(value.clone()).or_insert_with(|| variable.clone());
        }
    }
    named
}

/// The names under which glibc looks for a locale, the most particular first: `de_DE.UTF-8@euro`, `de_DE.utf8@euro`,
/// `de_DE@euro`, `de_DE.UTF-8`, …, `de`.
fn variants(name: &str) -> Vec<String> {
    let (rest, modifier) = name.split_once('@').map_or((name, ""), |(rest, modifier)| (rest, modifier));
    let (rest, charset) = rest.split_once('.').map_or((rest, ""), |(rest, charset)| (rest, charset));
    let (language, territory) = rest.split_once('_').map_or((rest, ""), |(language, rest)| (language, rest));
    let plain: String = charset
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|letter| letter.to_ascii_lowercase())
        .collect();
    let part = |mark: &str, text: &str| if text.is_empty() { String::new() } else { format!("{mark}{text}") };
    let mut variants = Vec::new();
    for modifier in [modifier, ""] {
        for territory in [territory, ""] {
            for charset in [charset, plain.as_str(), ""] {
                let name =
                    [language, &part("_", territory), &part(".", charset), &part("@", modifier)].concat();
                if !variants.contains(&name) && name != "C" {
                    variants.push(name);
                }
            }
        }
    }
    variants
}

/// The messages of a program in the languages of the environment: the file named after it (gettext(3)).
fn messages(context: &Context<'_>, program: &ImagePath) -> Vec<Seed> {
    let mut languages: BTreeSet<String> = named(context)
        .keys()
        .filter(|name| !name.starts_with("C."))
        .flat_map(|name| variants(name))
        .collect();
    if !languages.is_empty() {
        let list = context.environment.value("LANGUAGE").unwrap_or_default();
        let list =
            list.split(':').filter(|name| !name.is_empty() && !name.contains('/') && !name.starts_with('.'));
        languages.extend(list.flat_map(variants));
    }
    let mut seeds = Vec::new();
    for language in languages {
        for domain in [program.file_name(), b"libc"] {
            let path = [format!("{MESSAGES}/{language}/LC_MESSAGES/").as_bytes(), domain, b".mo"].concat();
            seeds.push(Asks::new(Via::Locale, program, &language).object(path));
        }
    }
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_locale_is_looked_for_from_the_most_particular_name_on() {
        assert_eq!(
            variants("de_DE.UTF-8@euro")[..4],
            ["de_DE.UTF-8@euro", "de_DE.utf8@euro", "de_DE@euro", "de.UTF-8@euro"]
        );
        assert_eq!(variants("de_DE.UTF-8@euro").last().unwrap(), "de");
        assert_eq!(variants("C.UTF-8"), ["C.UTF-8", "C.utf8"]);
    }
}
