//! What the tests of rules share.

use crate::context::Context;
use crate::observed::Observed;
use crate::origin::Origin;
use crate::reach::{Reach, World};
use crate::reason::Reason;
use crate::seed::Seed;
use crate::settings::Level;
use slim_image::{Config, ImagePath, ImageTree as _, Kind, MemoryTree};
use slim_trace::{Phase, Process, Trace, TracedPath};

/// The smallest ELF file that reads as a program of x86-64: a header without program headers.
pub(crate) fn elf() -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    for (at, value) in [(16, 3_u8), (18, 62), (20, 1), (52, 64), (54, 56)] {
        bytes[at] = value;
    }
    bytes
}

/// An image and what was seen of it.
pub(crate) struct Run<'a> {
    tree: &'a MemoryTree,
    pub config: Config,
    trace: Trace,
}

impl<'a> Run<'a> {
    pub(crate) fn new(tree: &'a MemoryTree) -> Self {
        Self { tree, config: Config::default(), trace: Trace::empty("sha256:00") }
    }

    /// A process that was run.
    pub(crate) fn process(mut self, executable: &str, argv: &[&str]) -> Self {
        self.trace.processes.push(Process {
            parent: None,
            began: Phase::Startup,
            executable: Some(TracedPath::new(executable)),
            invoked_as: None,
            interpreter: None,
            shebang: Vec::new(),
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
        });
        self
    }

    /// All files and links that the rules keep from these paths on, but for the paths themselves.
    pub(crate) fn keep(&self, seeds: &[&str]) -> Vec<String> {
        // All of it is the base's: nothing is kept as the application's own.
        let tree = self.tree.clone().of_one_layer();
        let context = Context { name_services: false, ..Context::new(&tree, &self.config) };
        let observed = Observed::new(&self.trace, &context);
        let origin = Origin::default();
        let ownership = crate::packages::Ownership::default();
        let world = World::new(&context, &observed, &origin, &ownership, Some(1));
        let mut reach = Reach::new(Level::Reachable, world);
        let planted = seeds.iter().map(|path| Seed::program(path, Reason::WorkingDirectory)).collect();
        let set = crate::close::close_with(planted, &context, &mut reach).unwrap();
        let without: Vec<ImagePath> = seeds.iter().map(|path| ImagePath::from(*path)).collect();
        let kept = set.entries.keys().filter(|path| !without.contains(*path));
        let kept =
            kept.filter(|path| self.tree.entry(path).is_some_and(|entry| entry.kind != Kind::Directory));
        kept.map(ToString::to_string).collect()
    }
}
