//! How differences are told.

use super::output::{counted, print};
use crate::arguments::{DifferenceArguments, GlobalArguments};
use crate::failure::Failure;
use serde::Serialize;
use slim_image::difference::{Aspect, Changed, TreeDifference};
use slim_image::{Entry, Kind};
use slim_keep::{KeepDifference, Reason};
use slim_report::human;
use slim_trace::{Access, Sides, TraceDifference};
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt::Display;

/// `--exit-code`, and there is a difference.
const DIFFERENT: u8 = 8;

/// Prints a difference and gives the exit code that was asked for.
pub fn tell(
    global: &GlobalArguments,
    shown: DifferenceArguments,
    text: impl FnOnce() -> String,
    document: &impl Serialize,
    is_empty: bool,
) -> Result<(), Failure> {
    print(global, text, document);
    if shown.exit_code && !is_empty { Err(Failure::silent(DIFFERENT)) } else { Ok(()) }
}

/// Lines of two trees' difference, and the totals.
pub fn of_trees(difference: &TreeDifference, top: usize) -> String {
    let mut lines = Vec::new();
    let side = |sign: &str, entries: &std::collections::BTreeMap<slim_image::ImagePath, Entry>| {
        let line = |path: &slim_image::ImagePath, entry: &Entry| {
            (entry.size(), format!("{sign} {path}{}", described(entry)))
        };
        biggest(entries.iter().map(|(path, entry)| line(path, entry)).collect(), top)
    };
    lines.extend(side("+", &difference.added));
    lines.extend(side("-", &difference.removed));
    let changed = difference.changed.iter().map(|(path, changed)| {
        (changed.before.size().max(changed.after.size()), format!("~ {path}  {}", changes(changed)))
    });
    lines.extend(biggest(changed.collect(), top));
    let size = |entries: &std::collections::BTreeMap<slim_image::ImagePath, Entry>| {
        human(slim_image::listing::total_size(entries.values()))
    };
    lines.push(format!(
        "{} added ({}), {} removed ({}), {} changed; {} → {}",
        counted(difference.added.len(), "path"),
        size(&difference.added),
        difference.removed.len(),
        size(&difference.removed),
        difference.changed.len(),
        human(difference.bytes_before),
        human(difference.bytes_after),
    ));
    lines.join("\n")
}

/// The same of two keep files, with the reasons.
pub fn of_keep_files(difference: &KeepDifference, top: usize) -> String {
    let mut lines = Vec::new();
    for (path, reasons) in &difference.reasons {
        let told = |sign: &str, reasons: &[Reason]| {
            reasons.iter().map(|reason| format!("    {sign} {reason}")).collect::<Vec<_>>()
        };
        let all = [told("-", &reasons.removed), told("+", &reasons.added)].concat();
        lines.push(format!("? {path}  other reasons\n{}", all.join("\n")));
    }
    let mut lines = first(lines, top);
    lines.push(of_trees(&difference.tree, top));
    lines.push(format!("{} kept for other reasons", counted(difference.reasons.len(), "path")));
    lines.join("\n")
}

/// The same of two traces.
pub fn of_traces(difference: &TraceDifference, top: usize) -> String {
    let mut lines = Vec::new();
    lines.extend(sides("ran", &difference.programs, top));
    lines.extend(sides("listened on", &difference.listening, top));
    lines.extend(sides("called", &difference.system_calls, top));
    lines.extend(sides("was refused", &difference.refused_calls, top));
    for (sign, paths) in [("+", &difference.added), ("-", &difference.removed)] {
        let paths = paths.iter().map(|(path, access)| format!("{sign} {path}  {}", words(access)));
        lines.extend(first(paths.collect(), top));
    }
    let changed = difference.changed.iter().map(|(path, sides)| {
        let parts =
            [("+", &sides.added), ("-", &sides.removed)].into_iter().filter(|(_, access)| !access.is_empty());
        let parts: Vec<String> = parts.map(|(sign, access)| format!("{sign}{}", words(access))).collect();
        format!("~ {path}  {}", parts.join("  "))
    });
    lines.extend(first(changed.collect(), top));
    lines.push(format!(
        "{} touched in the second only, {} in the first only, {} in another way; system calls: {} more, {} less",
        counted(difference.added.len(), "path"),
        difference.removed.len(),
        difference.changed.len(),
        difference.system_calls.added.len(),
        difference.system_calls.removed.len(),
    ));
    lines.join("\n")
}

fn sides<T: Ord + Display>(what: &str, sides: &Sides<T>, top: usize) -> Vec<String> {
    let lines = |sign: &str, side: &BTreeSet<T>| {
        first(side.iter().map(|item| format!("{sign} {what} {item}")).collect(), top)
    };
    [lines("+", &sides.added), lines("-", &sides.removed)].concat()
}

fn words(access: &BTreeSet<Access>) -> String {
    let words = access.iter().map(|access| {
        let value = serde_json::to_value(access).expect("an access is written as a word");
        value.as_str().unwrap_or_default().to_owned()
    });
    words.collect::<Vec<_>>().join(",")
}

/// The biggest of them, in the order of their paths where they are equal.
fn biggest(mut lines: Vec<(u64, String)>, top: usize) -> Vec<String> {
    lines.sort_by_key(|(bytes, _)| Reverse(*bytes));
    first(lines.into_iter().map(|(_, line)| line).collect(), top)
}

fn first(mut lines: Vec<String>, top: usize) -> Vec<String> {
    let all = lines.len();
    if top > 0 && all > top {
        lines.truncate(top);
        lines.push(format!("… and {} more (--top 0 shows all)", all - top));
    }
    lines
}

/// `  1.2 MB`, `/` behind a directory, where a link leads.
fn described(entry: &Entry) -> String {
    match &entry.kind {
        Kind::Directory => "/".to_owned(),
        Kind::File { size } => format!("  {}", human(*size)),
        Kind::Symlink { target } => format!(" → {}", slim_image::path::escape(target)),
        _ => "  (special)".to_owned(),
    }
}

fn changes(changed: &Changed) -> String {
    let (before, after) = (&changed.before, &changed.after);
    let told = changed.aspects.iter().map(|aspect| match aspect {
        Aspect::Kind => format!("{} became {}", kind_word(&before.kind), kind_word(&after.kind)),
        Aspect::Contents if before.size() == after.size() => "contents, of the same size".to_owned(),
        Aspect::Contents => format!("contents, {} → {}", human(before.size()), human(after.size())),
        Aspect::Target => format!("target{} instead of{}", described(after), described(before)),
        Aspect::Device => "device number".to_owned(),
        Aspect::Mode => format!("mode {:04o} → {:04o}", before.mode, after.mode),
        Aspect::Owner => format!("owner {}:{} → {}:{}", before.uid, before.gid, after.uid, after.gid),
        Aspect::Attributes => "extended attributes".to_owned(),
    });
    told.collect::<Vec<_>>().join("; ")
}

fn kind_word(kind: &Kind) -> &'static str {
    match kind {
        Kind::Directory => "a directory",
        Kind::File { .. } => "a file",
        Kind::Symlink { .. } => "a symlink",
        Kind::CharacterDevice { .. } | Kind::BlockDevice { .. } => "a device",
        Kind::Fifo => "a fifo",
        Kind::Socket => "a socket",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_image::{MemoryTree, difference};

    #[test]
    fn the_biggest_come_first_and_the_totals_last() {
        let before = MemoryTree::new().file("/a", 0o644, "one").symlink("/l", "a").file("/gone", 0o644, "12");
        let after = MemoryTree::new()
            .file("/a", 0o4755, "two")
            .symlink("/l", "b")
            .file("/n/small", 0o644, "1")
            .file("/n/big", 0o644, "12345");
        let difference = difference::compare(&before, &after).unwrap();
        insta::assert_snapshot!(of_trees(&difference, 2), @"
        + /n/big  5 B
        + /n/small  1 B
        … and 1 more (--top 0 shows all)
        - /gone  2 B
        ~ /a  contents, of the same size; mode 0644 → 4755
        ~ /l  target → b instead of → a
        3 paths added (6 B), 1 removed (2 B), 2 changed; 5 B → 9 B
        ");
    }
}
