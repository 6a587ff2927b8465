//! Rule: an Erlang application of which one file is kept, its release, and the emulator's helpers.
//!
//! Modules are loaded by name when they are first called, so an application is kept with all of `ebin` and `priv`; one
//! that was never started stays out.

use super::places::{because, below, ending, inside, objects};
use super::{KeptFile, Rule, World};
use crate::context::Context;
use crate::inspect::File;
use crate::reason::Via;
use crate::seed::Seed;
use slim_image::{Entry, ImagePath, TreeError};
use std::collections::BTreeSet;

/// Emulators for debugging and compilers are larger than the helpers beside them.
const HELPER_MAX: u64 = 1 << 20;
/// What a kept emulator starts with where no release names another.
const BOOT: [&str; 5] =
    ["no_dot_erlang.boot", "start.boot", "start_clean.boot", "start_erl.data", "start_sasl.boot"];

/// The rule.
#[derive(Default)]
pub(super) struct Erlang {
    /// Applications and emulators that are kept.
    seen: BTreeSet<ImagePath>,
}

impl Rule for Erlang {
    fn follow(&mut self, file: &KeptFile<'_>, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        let context = world.context;
        let name = file.path.file_name();
        if matches!(ending(name), b"beam" | b"app") {
            let folder =
                file.path.parent().filter(|folder| matches!(folder.file_name(), b"ebin" | b"consolidated"));
            let Some(application) = folder.and_then(|ebin| ebin.parent()) else { return Ok(Vec::new()) };
            return Ok(self.application(&application, file.path));
        }
        let is_emulator = name.starts_with(b"beam") && matches!(file.what, File::Elf(_));
        if is_emulator && let Some(bin) = file.path.parent() {
            return Ok(self.emulator(context, &bin, file.path));
        }
        Ok(Vec::new())
    }
}

impl Erlang {
    fn application(&mut self, application: &ImagePath, path: &ImagePath) -> Vec<Seed> {
        if !self.seen.insert(application.clone()) {
            return Vec::new();
        }
        let reason = because(Via::Erlang, path, None, application.file_name());
        let mut seeds: Vec<Seed> = ["ebin", "priv", "consolidated"]
            .map(|name| Seed::tree(application.join(name).as_bytes(), reason.clone()))
            .into();
        // A release holds its applications in `lib`; what it starts and how stands in `releases`.
        let root = application.parent().filter(|lib| lib.file_name() == b"lib").and_then(|lib| lib.parent());
        if let Some(root) = root
            && self.seen.insert(root.clone())
        {
            seeds.push(Seed::tree(root.join("releases").as_bytes(), reason.clone()));
            seeds.extend(objects(BOOT.map(|name| root.join("bin").join(name)), &reason));
        }
        seeds
    }

    fn emulator(&mut self, context: &Context<'_>, bin: &ImagePath, path: &ImagePath) -> Vec<Seed> {
        if !self.seen.insert(bin.clone()) {
            return Vec::new();
        }
        let reason = because(Via::Erlang, path, None, b"the emulator");
        let helpers = below(context, bin, 1).into_iter().filter(|file| {
            let is_program = |entry: &Entry| entry.mode & 0o111 != 0 && entry.size() <= HELPER_MAX;
            !is_for_building(file.file_name()) && context.entry(file).is_some_and(is_program)
        });
        let mut files: Vec<ImagePath> = helpers.collect();
        // `erts-13.1/bin` lies beside `bin`.
        if let Some(root) = bin.parent().and_then(|erts| erts.parent()) {
            files.extend(BOOT.map(|name| root.join("bin").join(name)));
            let erts = inside(context, &root.join("releases"));
            files.extend(
                erts.into_iter().filter(|file| matches!(file.file_name(), b"start_erl.data" | b"RELEASES")),
            );
        }
        objects(files, &reason).map(|seed| Seed { run: true, ..seed }).collect()
    }
}

fn is_for_building(name: &[u8]) -> bool {
    matches!(name, b"ct_run" | b"dialyzer" | b"erlc" | b"typer" | b"dyn_erl" | b"yielding_c_fun")
}

#[cfg(test)]
mod tests {
    use crate::reach::testing::{Run, elf};
    use slim_image::MemoryTree;

    #[test]
    fn an_application_is_kept_with_its_code_and_data_and_its_release() {
        let mut tree = MemoryTree::new().file("/srv/erts-13.1/bin/beam.smp", 0o755, elf());
        for path in [
            "/srv/lib/web-1.0/ebin/web.app",
            "/srv/lib/web-1.0/ebin/web_late.beam",
            "/srv/lib/web-1.0/priv/static/page.css",
            "/srv/lib/web-1.0/src/web.erl",
            "/srv/lib/unused-2/ebin/unused.beam",
            "/srv/releases/1.0/sys.config",
            "/srv/releases/1.0/consolidated/Elixir.Enumerable.beam",
        ] {
            tree = tree.file(path, 0o644, "");
        }
        tree = tree.file("/srv/erts-13.1/bin/erl_child_setup", 0o755, "helper").file(
            "/srv/erts-13.1/bin/dialyzer",
            0o755,
            "tool",
        );
        assert_eq!(
            Run::new(&tree).keep(&["/srv/lib/web-1.0/ebin/web.app", "/srv/erts-13.1/bin/beam.smp"]),
            [
                "/srv/erts-13.1/bin/erl_child_setup",
                "/srv/lib/web-1.0/ebin/web_late.beam",
                "/srv/lib/web-1.0/priv/static/page.css",
                "/srv/releases/1.0/consolidated/Elixir.Enumerable.beam",
                "/srv/releases/1.0/sys.config",
            ]
        );
    }

    #[test]
    fn files_that_only_look_so_bring_nothing() {
        let tree = MemoryTree::new().file("/srv/x.app", 0o644, "").file("/srv/ebin", 0o644, "").file(
            "/bin/beam",
            0o755,
            "",
        );
        assert!(Run::new(&tree).keep(&["/srv/x.app", "/srv/ebin", "/bin/beam"]).is_empty());
    }
}
