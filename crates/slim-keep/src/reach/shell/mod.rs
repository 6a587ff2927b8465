//! Rule: what shell scripts call, read and ask for. Kept scripts by their `#!` line, the files that they read in place,
//! scripts that they hand to other shells, and the shell's lines in the image's configuration.
//!
//! Programs are looked up on the image's PATH and on what scripts make of it; functions and builtins are none. Of
//! arguments, absolute paths count that lead to something, directories without what they hold; an interpreter's script
//! counts also by a relative path, from WORKDIR or where the script goes by `cd`.

mod calls;
mod script;
#[cfg(test)]
mod tests;
mod words;

pub(in crate::reach) use script::{Call, Place, Script, read};
pub(in crate::reach) use words::{UNKNOWN, Values};

use super::{KeptFile, Rule, World, glob};
use crate::context::Context;
use crate::inspect::File;
use crate::note::Note;
use crate::reason::{Reason, Via};
use crate::seed::Seed;
use slim_image::{ImagePath, TreeError};
use std::collections::BTreeSet;
use std::rc::Rc;

/// Programs that run a file of text which they are given.
const INTERPRETERS: [&str; 14] = [
    "awk", "bun", "deno", "gawk", "java", "lua", "luajit", "node", "nodejs", "perl", "php", "python", "ruby",
    "tclsh",
];
/// Their options behind which no file of their own is named.
const NO_FILE_BEHIND: [&str; 3] = ["-c", "-e", "-m"];
/// Files that a pattern in place of a command stands for.
const COMMANDS_MAX: usize = 64;

/// Follows shell scripts.
#[derive(Debug, Default)]
pub(super) struct Shell {
    read: BTreeSet<ImagePath>,
    notes: Vec<Note>,
}

impl Rule for Shell {
    fn begin(&mut self, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        let mut seeds = Vec::new();
        for (words, is_healthcheck) in command_lines(world.context) {
            let script = configured(world.context, &words)?;
            let because = |_: &Place, what: &str| {
                let word = what.to_owned();
                if is_healthcheck { Reason::Healthcheck { word } } else { Reason::Entrypoint { word } }
            };
            seeds.extend(found(world.context, &script, &because));
            seeds.extend(self.others(world.context, &script)?);
        }
        Ok(seeds)
    }

    fn follow(&mut self, file: &KeptFile<'_>, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        if !is_script(file, world.context) || self.read.contains(file.path) {
            return Ok(Vec::new());
        }
        let Some(text) = file.text()? else { return Ok(Vec::new()) };
        self.file(world.context, file.path, &text)
    }

    fn notes(&mut self) -> Vec<Note> {
        std::mem::take(&mut self.notes)
    }
}

impl Shell {
    fn file(
        &mut self,
        context: &Context<'_>,
        path: &ImagePath,
        text: &Rc<[u8]>,
    ) -> Result<Vec<Seed>, TreeError> {
        self.read.insert(path.clone());
        if text.len() > script::TEXT_MAX {
            self.notes.push(Note::NotFollowed {
                path: path.clone(),
                why: "the script is too long".to_owned(),
                instead: "what its beginning calls is kept".to_owned(),
            });
        }
        let script = read(context, Some(path), text)?;
        let because = |place: &Place, what: &str| Reason::Reachable {
            via: Via::ShellCommand,
            from: place.file.clone().unwrap_or_else(|| path.clone()),
            line: Some(place.line),
            what: what.to_owned(),
        };
        self.notes.extend(script.odd.get(path).map(|line| Note::NotFollowed {
            path: path.clone(),
            why: format!("line {line} cannot be read as shell"),
            instead: "words there that may be commands are taken for such".to_owned(),
        }));
        let mut seeds = found(context, &script, &because);
        seeds.extend(self.others(context, &script)?);
        Ok(seeds)
    }

    /// Follows what a script hands to other shells: such files need no `#!` line.
    fn others(&mut self, context: &Context<'_>, script: &Script) -> Result<Vec<Seed>, TreeError> {
        let mut seeds = Vec::new();
        let mut ahead: Vec<ImagePath> = script.scripts.keys().cloned().collect();
        while let Some(path) = ahead.pop() {
            if !self.read.insert(path.clone()) {
                continue;
            }
            let text: Rc<[u8]> = Rc::from(context.read(path.as_bytes(), script::TEXT_MAX as u64)?);
            if text.contains(&0) {
                continue;
            }
            let script = read(context, Some(&path), &text)?;
            let because = |place: &Place, what: &str| Reason::Reachable {
                via: Via::ShellCommand,
                from: place.file.clone().unwrap_or_else(|| path.clone()),
                line: Some(place.line),
                what: what.to_owned(),
            };
            seeds.extend(found(context, &script, &because));
            ahead.extend(script.scripts.into_keys());
        }
        Ok(seeds)
    }
}

/// ENTRYPOINT with CMD, CMD by itself where an entrypoint may run it, and HEALTHCHECK, which `true` stands beside.
pub(in crate::reach) fn command_lines(context: &Context<'_>) -> Vec<(Vec<String>, bool)> {
    let config = &context.config;
    let mut lines = vec![(config.command_line(), false)];
    if !config.entrypoint.is_empty() {
        lines.push((config.cmd.clone(), false));
    }
    match config.healthcheck.as_ref().map_or(&[][..], |check| &check.test) {
        [kind, words @ ..] if kind == "CMD" => lines.push((words.to_vec(), true)),
        [kind, line] if kind == "CMD-SHELL" => {
            let shell = if config.shell.is_empty() {
                vec!["/bin/sh".to_owned(), "-c".to_owned()]
            } else {
                config.shell.clone()
            };
            lines.push((shell.into_iter().chain([line.clone()]).collect(), true));
        }
        _ => {}
    }
    lines.retain(|(words, _)| !words.is_empty());
    lines
}

/// What a command line of the configuration does.
///
/// # Errors
/// When the image's files cannot be read.
pub(in crate::reach) fn configured(context: &Context<'_>, words: &[String]) -> Result<Script, TreeError> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{}'", word.replace('\'', "'\\''"))).collect();
    // As a shell's own command, so that no word of it can be a builtin.
    read(context, None, &Rc::from(format!("exec -- {}", quoted.join(" ")).into_bytes()))
}

/// Whether a kept file is a shell's, by its first line.
pub(in crate::reach) fn is_script(file: &KeptFile<'_>, context: &Context<'_>) -> bool {
    let File::Script(line) = &file.what else { return false };
    let words =
        line.split(|byte| matches!(byte, b' ' | b'\t' | b'/' | b'\r')).filter(|word| !word.is_empty());
    let is_shell = |name: &[u8]| calls::SHELLS.iter().any(|shell| shell.as_bytes() == name);
    // `/bin/sh -e`, `/usr/bin/env bash`, `/bin/busybox sh`; also a link to a shell under another name.
    let mut words = words.peekable();
    if words.by_ref().take(8).any(is_shell) {
        return true;
    }
    let interpreter = line.trim_ascii().split(|byte| matches!(byte, b' ' | b'\t')).next().unwrap_or_default();
    context.file(interpreter).is_some_and(|file| is_shell(file.file_name()))
}

/// The seeds of what a script does.
fn found(context: &Context<'_>, script: &Script, because: &dyn Fn(&Place, &str) -> Reason) -> Vec<Seed> {
    let mut seeds = BTreeSet::new();
    for (path, (place, name)) in &script.sourced {
        seeds.insert(Seed::object(path.as_bytes(), because(place, name)));
    }
    for (path, (place, name)) in script.scripts.iter().chain(&script.programs) {
        seeds.insert(Seed::program(path.as_bytes(), because(place, name)));
    }
    for (place, values) in &script.words {
        seeds.extend(named(context, values).map(|(path, word)| Seed::object(path, because(place, word))));
    }
    for call in &script.calls {
        for path in programs(context, script, &call.name) {
            seeds.insert(Seed::program(path, because(&call.place, &call.name)));
        }
        for values in &call.arguments {
            seeds.extend(
                named(context, values).map(|(path, word)| Seed::object(path, because(&call.place, word))),
            );
        }
        if let Some((path, word)) = interpreted(context, script, call) {
            seeds.insert(Seed::program(path, because(&call.place, &word)));
        }
    }
    seeds.into_iter().collect()
}

/// Where a command of this name is: at its place, or first on each PATH that the script knows.
pub(in crate::reach) fn programs(context: &Context<'_>, script: &Script, name: &str) -> Vec<String> {
    let is_executable = |path: &String| {
        let entry = context.file(path.as_bytes()).and_then(|file| context.entry(&file));
        entry.is_some_and(|entry| entry.mode & 0o111 != 0)
    };
    if name.contains(['*', '?']) && name.starts_with('/') {
        let files = glob::files(context, name, COMMANDS_MAX).into_iter().map(|file| file.to_string());
        return files.filter(is_executable).collect();
    }
    if name.starts_with('/') {
        return Some(name.to_owned()).filter(is_executable).into_iter().collect();
    }
    let below = |directories: &mut dyn Iterator<Item = &str>| -> Vec<String> {
        directories.map(|directory| format!("{directory}/{name}")).filter(is_executable).collect()
    };
    if name.contains('/') {
        return below(&mut script.directories.iter().map(String::as_str));
    }
    let mut found: BTreeSet<String> = context.program(name).into_iter().collect();
    for value in &script.paths {
        let known = &mut value.split(':').filter(|part| part.starts_with('/') && !part.contains(UNKNOWN));
        found.extend(below(known).into_iter().next());
    }
    found.into_iter().collect()
}

/// The absolute paths that a word can be and that the image has: `/etc/x`, `--config=/etc/x`.
fn named<'v>(context: &'v Context<'_>, values: &'v Values) -> impl Iterator<Item = (&'v str, &'v str)> {
    let candidates = values.iter().flat_map(|value| {
        let behind = value.split_once('=').map(|(_, behind)| behind);
        [Some(value.as_str()), behind].into_iter().flatten().map(move |path| (path, value.as_str()))
    });
    candidates.filter(move |(path, _)| {
        path.len() > 1
            && path.starts_with('/')
            && !path.contains(UNKNOWN)
            && context.walk(path.as_bytes(), true).found().is_some()
    })
}

/// The file that an interpreter is given.
pub(in crate::reach) fn interpreted(
    context: &Context<'_>,
    script: &Script,
    call: &Call,
) -> Option<(String, String)> {
    let name = call.name.rsplit('/').next().unwrap_or_default();
    let name = name.trim_end_matches(|character: char| character.is_ascii_digit() || character == '.');
    if !INTERPRETERS.contains(&name) {
        return None;
    }
    let words = call.arguments.iter().flatten();
    for word in words.take_while(|word| !NO_FILE_BEHIND.contains(&word.as_str())) {
        if word.starts_with('-') || word.contains(UNKNOWN) || word.is_empty() {
            continue;
        }
        let is_absolute = word.starts_with('/');
        let directories = script.directories.iter().filter(|_| !is_absolute);
        let below = directories.map(|directory| format!("{directory}/{word}"));
        let mut places = is_absolute.then(|| word.clone()).into_iter().chain(below);
        if let Some(path) = places.find(|path| context.file(path.as_bytes()).is_some()) {
            return Some((path, word.clone()));
        }
    }
    None
}
