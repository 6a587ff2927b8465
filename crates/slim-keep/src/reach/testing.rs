//! What the tests of rules share.

use crate::context::Context;
use crate::observed::Observed;
use crate::reach::Reach;
use crate::reason::Reason;
use crate::seed::Seed;
use crate::settings::Level;
use slim_image::{Config, ImagePath, ImageTree, Kind, MemoryTree};
use slim_trace::Trace;
use std::collections::BTreeSet;

/// The smallest ELF file that reads as a program of x86-64: a header without program headers.
pub(crate) fn elf() -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    for (at, value) in [(16, 3_u8), (18, 62), (20, 1), (52, 64), (54, 56)] {
        bytes[at] = value;
    }
    bytes
}

/// All files and links that the rules keep of a tree from these paths on, but for `without` and symlinked directories'
/// own entries.
pub(crate) fn keep_from(tree: &MemoryTree, seeds: &[&str], without: &[&str]) -> Vec<String> {
    keep_with(tree, &Config::default(), seeds, without)
}

pub(crate) fn keep_with(tree: &MemoryTree, config: &Config, seeds: &[&str], without: &[&str]) -> Vec<String> {
    let context = Context { name_services: false, ..Context::new(tree, config) };
    let trace = Trace::empty("sha256:00");
    let observed = Observed::new(&trace, &context);
    let mut reach = Reach::new(Level::Reachable, &context, &observed);
    let seeds = seeds.iter().map(|path| Seed::program(path, Reason::WorkingDirectory)).collect();
    let set = crate::close::close_with(seeds, &context, &mut reach).unwrap();
    let without: BTreeSet<ImagePath> = without.iter().map(|path| ImagePath::from(*path)).collect();
    let kept = set.entries.keys().filter(|path| !without.contains(*path));
    let kept = kept.filter(|path| tree.entry(path).is_some_and(|entry| entry.kind != Kind::Directory));
    kept.map(ToString::to_string).collect()
}
