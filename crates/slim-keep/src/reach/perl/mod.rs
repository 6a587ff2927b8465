//! Rule: what a Perl file uses and requires, and the objects and split functions of its modules.
//!
//! A name is looked for in all directories that a Perl of the image can have compiled in, in those that the environment
//! and `use lib` add, and in those where a kept module lies under its own name. What is found in several is kept in all:
//! their order is the program's to change.

mod scan;

use self::scan::Ask;
use super::places::{because, below, directory, directory_of, ending, fitting, holds, join, objects};
use super::waiting::Waiting;
use super::{KeptFile, Rule, World};
use crate::context::Context;
use crate::inspect::File;
use crate::reason::{Reason, Via};
use crate::seed::Seed;
use slim_image::{ImagePath, TreeError};
use std::collections::{BTreeMap, BTreeSet};

/// Directories of modules, as distributions and the official images have them; `*` is one component, a version or
/// machine.
const PLACES: [&str; 21] = [
    "/etc/perl",
    "/usr/lib/*/perl-base",
    "/usr/lib/*/perl/*",
    "/usr/lib/*/perl5/*",
    "/usr/lib/perl5/core_perl",
    "/usr/lib/perl5/site_perl",
    "/usr/lib/perl5/vendor_perl",
    "/usr/lib64/perl5",
    "/usr/lib64/perl5/vendor_perl",
    "/usr/local/lib/*/perl/*",
    "/usr/local/lib/perl5/*",
    "/usr/local/lib/perl5/*/*",
    "/usr/local/lib/perl5/site_perl/*",
    "/usr/local/lib/perl5/site_perl/*/*",
    "/usr/local/lib/site_perl",
    "/usr/local/share/perl/*",
    "/usr/local/share/perl5",
    "/usr/share/perl/*",
    "/usr/share/perl5",
    "/usr/share/perl5/core_perl",
    "/usr/share/perl5/vendor_perl",
];

/// The rule.
#[derive(Default)]
pub(super) struct Perl {
    waiting: Waiting,
    /// Directories of modules; empty until the first file is followed.
    places: BTreeSet<ImagePath>,
    /// What was asked for so far, by its path below such a directory: a directory that turns up later may have it.
    asked: BTreeMap<Vec<u8>, Reason>,
}

impl Rule for Perl {
    fn follow(&mut self, file: &KeptFile<'_>, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        let context = world.context;
        let mut seeds = Vec::new();
        for (path, text) in self.waiting.hear(file, context, is_runtime(file), is_source(file))? {
            if self.places.is_empty() {
                for place in PLACES {
                    self.places.extend(expand(context, place));
                }
                for place in context.environment.directories("PERL5LIB") {
                    self.places.extend(directory(context, &place));
                }
            }
            for (line, ask) in scan::read(&text) {
                match ask {
                    Ask::Module(name) => {
                        let module = [&path_of(&name)[..], b".pm"].concat();
                        seeds.extend(self.find(
                            context,
                            &module,
                            because(Via::Perl, &path, Some(line), &name),
                        ));
                    }
                    Ask::File(name) => {
                        let reason = because(Via::Perl, &path, Some(line), &name);
                        let near =
                            [directory_of(path.as_bytes()), context.environment.working_directory.as_bytes()];
                        let near = near.map(|place| join(place, &name));
                        seeds.extend(objects(
                            near.iter().filter(|file| context.file(file).is_some()),
                            &reason,
                        ));
                        seeds.extend(self.find(context, &name, reason));
                    }
                    Ask::Folder(prefix, suffix) => {
                        let reason =
                            because(Via::Perl, &path, Some(line), &[&prefix[..], b"*", &suffix].concat());
                        let places = self.places.iter().map(|place| join(place.as_bytes(), &prefix));
                        let files = places.flat_map(|prefix| fitting(context, &prefix, &suffix));
                        seeds.extend(objects(files, &reason));
                    }
                    Ask::Directory(name) => {
                        for place in added(context, &path, &name) {
                            seeds.extend(self.learn(context, place));
                        }
                    }
                    Ask::Package(name) => {
                        let module = [&b"/"[..], &path_of(&name), b".pm"].concat();
                        if let Some(place) = path.as_bytes().strip_suffix(&module[..]) {
                            seeds.extend(self.learn(context, ImagePath::new(place)));
                            seeds.extend(self.parts(context, &path, &name));
                        }
                    }
                }
            }
        }
        Ok(seeds)
    }
}

impl Perl {
    fn find(&mut self, context: &Context<'_>, name: &[u8], reason: Reason) -> Vec<Seed> {
        let seeds = self.places.iter().flat_map(|place| found(context, place, name, &reason)).collect();
        self.asked.entry(name.to_vec()).or_insert(reason);
        seeds
    }

    fn learn(&mut self, context: &Context<'_>, place: ImagePath) -> Vec<Seed> {
        if place.is_root() || self.places.contains(&place) {
            return Vec::new();
        }
        let asked = self.asked.iter();
        let seeds = asked.filter_map(|(name, reason)| found(context, &place, name, reason)).collect();
        self.places.insert(place);
        seeds
    }

    /// A module's object, and functions that were split from it.
    fn parts(&self, context: &Context<'_>, path: &ImagePath, name: &[u8]) -> Vec<Seed> {
        let reason = because(Via::Perl, path, None, name);
        let folder = [&b"auto/"[..], &path_of(name)].concat();
        let mut seeds = Vec::new();
        for place in &self.places {
            let Some(folder) = directory(context, &join(place.as_bytes(), &folder)) else { continue };
            let mut files = below(context, &folder, 1);
            files.retain(|file| matches!(ending(file.file_name()), b"so" | b"al" | b"ix" | b"bs"));
            seeds.extend(objects(files, &reason));
        }
        seeds
    }
}

fn found(context: &Context<'_>, place: &ImagePath, name: &[u8], reason: &Reason) -> Option<Seed> {
    let file = join(place.as_bytes(), name);
    context.file(&file).map(|_| Seed::object(file, reason.clone()))
}

/// The directories that `use lib` may mean: as it stands, from the working directory, from the script's own.
fn added(context: &Context<'_>, path: &ImagePath, name: &[u8]) -> BTreeSet<ImagePath> {
    let own = directory_of(path.as_bytes());
    let relative = if name.starts_with(b"$") {
        // `$FindBin::Bin/…` and its like.
        let slash = name.iter().position(|byte| *byte == b'/').unwrap_or(name.len());
        &name[slash..]
    } else {
        name
    };
    let mut places = vec![[own, b"/", relative].concat()];
    if relative.len() == name.len() {
        places.push(join(context.environment.working_directory.as_bytes(), name));
    }
    places.iter().filter_map(|place| directory(context, place)).collect()
}

/// The directories that a pattern means, as Perl names them: a version without its last number is a symlink.
fn expand(context: &Context<'_>, pattern: &str) -> Vec<ImagePath> {
    let mut found = vec![ImagePath::root()];
    for component in pattern.split('/').filter(|component| !component.is_empty()) {
        let next = found.iter().flat_map(|place| match (component, directory(context, place.as_bytes())) {
            (_, None) => Vec::new(),
            ("*", Some(real)) => {
                context.tree.read_dir(&real).into_iter().map(|name| place.join(name)).collect()
            }
            (name, Some(_)) => vec![place.join(name)],
        });
        found = next.collect();
    }
    found.retain(|place| directory(context, place.as_bytes()).is_some());
    found
}

/// `Some/Module` of `Some::Module`; the old `Some'Module` is the same.
fn path_of(name: &[u8]) -> Vec<u8> {
    let parts: Vec<&[u8]> =
        name.split(|byte| matches!(byte, b':' | b'\'')).filter(|part| !part.is_empty()).collect();
    parts.join(&b'/')
}

fn is_runtime(file: &KeptFile<'_>) -> bool {
    let name = file.path.file_name();
    (name.starts_with(b"perl") || name.starts_with(b"libperl.so")) && matches!(file.what, File::Elf(_))
}

fn is_source(file: &KeptFile<'_>) -> bool {
    match ending(file.path.file_name()) {
        b"pm" | b"pl" | b"psgi" | b"al" => true,
        _ => matches!(&file.what, File::Script(line) if holds(line, b"perl")),
    }
}

#[cfg(test)]
mod tests {
    use crate::reach::testing::{Run, elf};
    use slim_image::MemoryTree;

    fn kept(runtime: &str, files: &[(&str, &str)]) -> Vec<String> {
        let tree = MemoryTree::new().file(runtime, 0o755, elf());
        let tree = files.iter().fold(tree, |tree, (path, text)| tree.file(*path, 0o644, text));
        Run::new(&tree).keep(&["/app/run.pl", runtime])
    }

    #[test]
    fn modules_are_kept_with_their_objects_and_split_functions() {
        let machine = "/usr/lib/x86_64-linux-gnu/perl/5.36.0";
        let files = [
            ("/app/run.pl".to_owned(), "use POSIX; sub later { require Late::Part } use Absent;"),
            (format!("{machine}/POSIX.pm"), "package POSIX; use Fcntl; XSLoader::load();"),
            (format!("{machine}/Fcntl.pm"), "package Fcntl;"),
            (format!("{machine}/Socket.pm"), "package Socket;"),
            (format!("{machine}/auto/POSIX/POSIX.so"), ""),
            (format!("{machine}/auto/POSIX/autosplit.ix"), ""),
            (format!("{machine}/auto/POSIX/tmpnam.al"), ""),
            (format!("{machine}/auto/Fcntl/Fcntl.so"), ""),
            (format!("{machine}/auto/Socket/Socket.so"), ""),
            (
                "/usr/share/perl5/Late/Part.pm".to_owned(),
                "package Late::Part; do 'late/table.pl'; require \"Late/On/$system.pm\";",
            ),
            ("/usr/share/perl5/late/table.pl".to_owned(), ""),
            ("/usr/share/perl5/Late/On/Unix.pm".to_owned(), ""),
            ("/usr/share/perl5/Unused.pm".to_owned(), "package Unused;"),
        ];
        let files: Vec<(&str, &str)> = files.iter().map(|(path, text)| (path.as_str(), *text)).collect();
        assert_eq!(
            kept("/usr/bin/perl", &files),
            [
                format!("{machine}/Fcntl.pm"),
                format!("{machine}/POSIX.pm"),
                format!("{machine}/auto/Fcntl/Fcntl.so"),
                format!("{machine}/auto/POSIX/POSIX.so"),
                format!("{machine}/auto/POSIX/autosplit.ix"),
                format!("{machine}/auto/POSIX/tmpnam.al"),
                "/usr/share/perl5/Late/On/Unix.pm".to_owned(),
                "/usr/share/perl5/Late/Part.pm".to_owned(),
                "/usr/share/perl5/late/table.pl".to_owned(),
            ]
        );
        assert!(kept("/usr/bin/other", &files).is_empty());
    }

    #[test]
    fn directories_of_modules_are_learnt_from_use_lib_and_from_modules() {
        let files = [
            (
                "/app/run.pl",
                "use Later; use lib \"$FindBin::Bin/lib\"; use lib '../shared'; require 'near.pl';",
            ),
            ("/app/near.pl", ""),
            ("/app/lib/Later.pm", "package Later; use parent 'Base';"),
            ("/shared/Base.pm", "package Base;"),
            ("/shared/Other.pm", "package Other;"),
        ];
        assert_eq!(
            kept("/usr/lib/x86_64-linux-gnu/libperl.so.5.36", &files),
            ["/app/lib/Later.pm", "/app/near.pl", "/shared/Base.pm"]
        );
    }
}
