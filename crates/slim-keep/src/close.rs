//! The closure: the only way a path gets into a keep-set (design decision 6).
//!
//! Rules hand in seeds. Each is looked up in the pristine tree; what leads there is kept with it, and what the object
//! itself needs (ELF, `#!`, …) becomes further seeds, until nothing new comes. Parents and exclusions come last.

use crate::context::{Context, never_emitted};
use crate::elf::Libraries;
use crate::error::KeepError;
use crate::inspect::{File, Files};
use crate::keep_set::{KeepSet, Kept, add_reason};
use crate::note::Note;
use crate::reach::{KeptFile, Reach};
use crate::reason::Reason;
use crate::seed::{Extent, Seed};
use crate::walk::End;
use crate::{python, shebang, system};
use slim_image::path::escape;
use slim_image::{Entry, ImagePath, Kind};
use std::collections::{BTreeMap, BTreeSet};

/// Keeps the seeds and everything that they need.
///
/// # Errors
/// When the image's files cannot be read.
pub fn close(seeds: Vec<Seed>, context: &Context<'_>) -> Result<KeepSet, KeepError> {
    close_with(seeds, context, &mut Reach::nothing())
}

/// Keeps the seeds, everything that they need, and what the rules find that they can reach.
///
/// # Errors
/// When the image's files cannot be read.
pub(crate) fn close_with(
    mut seeds: Vec<Seed>,
    context: &Context<'_>,
    reach: &mut Reach<'_>,
) -> Result<KeepSet, KeepError> {
    seeds.extend(reach.begin()?);
    let mut closure = Closure {
        context,
        kept: BTreeMap::new(),
        notes: BTreeSet::new(),
        seen: BTreeSet::new(),
        pending: seeds,
        files: Files::default(),
        libraries: Libraries::default(),
        followed: BTreeSet::new(),
        is_settled: false,
        reach,
    };
    closure.pending.reverse();
    closure.plant_all()?;
    closure.is_settled = true;
    closure.pending = closure.reach.settle(&closure.kept)?;
    closure.plant_all()?;
    Ok(closure.finish())
}

struct Closure<'a, 'r> {
    context: &'a Context<'a>,
    kept: BTreeMap<ImagePath, BTreeSet<Reason>>,
    notes: BTreeSet<Note>,
    seen: BTreeSet<Seed>,
    pending: Vec<Seed>,
    files: Files,
    libraries: Libraries,
    /// Files that the rules have been shown.
    followed: BTreeSet<ImagePath>,
    /// Whether the rules have had their say.
    is_settled: bool,
    reach: &'a mut Reach<'r>,
}

impl Closure<'_, '_> {
    fn plant_all(&mut self) -> Result<(), KeepError> {
        while let Some(seed) = self.pending.pop() {
            if self.seen.insert(seed.clone()) {
                self.plant(seed)?;
            }
        }
        Ok(())
    }

    fn plant(&mut self, seed: Seed) -> Result<(), KeepError> {
        let follow = seed.extent != Extent::Link;
        let walk = if seed.observed {
            self.context.walk_observed(&seed.path, follow)
        } else {
            self.context.walk(&seed.path, follow)
        };
        let to = match &walk.end {
            End::Found(found) => found.clone(),
            _ => ImagePath::new(&seed.path),
        };
        if !seed.observed && walk.found().is_none() {
            // A rule's guess that the image does not bear out; only for a program does the way to nothing matter.
            return Ok(());
        }
        for link in &walk.links {
            self.keep(link.clone(), Reason::SymlinkOnTheWay { to: to.clone() });
        }
        // Directories above what is kept come in as its parents.
        let object = walk.found().filter(|_| seed.extent != Extent::Way);
        for (index, directory) in walk.directories.iter().enumerate() {
            let below = object.or_else(|| walk.directories[index + 1..].last());
            if !below.is_some_and(|below| below.is_within(directory)) {
                self.keep(directory.clone(), Reason::OnTheWay { to: escape(&seed.path) });
            }
        }
        if seed.extent == Extent::Way {
            return Ok(());
        }
        if let End::Found(found) = walk.end {
            self.object(&found, &seed)?;
        }
        Ok(())
    }

    fn object(&mut self, path: &ImagePath, seed: &Seed) -> Result<(), KeepError> {
        let Some(entry) = self.context.entry(path) else { return Ok(()) };
        if entry.kind == Kind::Socket {
            // A socket without its program is nothing; the directory is what the program needs.
            if let Some(parent) = path.parent() {
                self.keep(parent, Reason::OnTheWay { to: escape(&seed.path) });
            }
            return Ok(());
        }
        self.keep(path.clone(), seed.reason.clone());
        match entry.kind {
            Kind::File { .. } => self.file(path, entry, seed)?,
            Kind::Directory if seed.extent == Extent::Tree => self.tree(path, seed),
            _ => {}
        }
        Ok(())
    }

    /// Adds what a file needs.
    fn file(&mut self, path: &ImagePath, entry: &Entry, seed: &Seed) -> Result<(), KeepError> {
        self.pending.extend(python::companions(path));
        if self.context.name_services {
            self.pending.extend(system::companions(path));
        }
        let what = self.files.inspect(self.context, path)?;
        if !self.is_settled && self.followed.insert(path.clone()) {
            let file = KeptFile::new(self.context, path, entry, what.clone(), seed.run);
            self.pending.extend(self.reach.follow(&file)?);
        }
        match what {
            // The libraries of a library that an object needs were looked up for that object, as the loader does it.
            File::Elf(headers) if !matches!(seed.reason, Reason::NeededLibrary { .. }) => {
                let needs = self.libraries.needs(self.context, &mut self.files, path, &headers)?;
                self.pending.extend(needs);
            }
            File::Script(line) if seed.run && entry.mode & 0o111 != 0 => {
                self.pending.extend(shebang::interpreters(self.context, path, &line));
            }
            _ => {}
        }
        Ok(())
    }

    /// Adds everything below a directory; symlinks with what they lead to.
    fn tree(&mut self, directory: &ImagePath, seed: &Seed) {
        let mut directories = vec![directory.clone()];
        while let Some(directory) = directories.pop() {
            for name in self.context.tree.read_dir(&directory) {
                let path = directory.join(name);
                match self.context.entry(&path).map(|entry| &entry.kind) {
                    Some(Kind::Directory) => {
                        self.keep(path.clone(), seed.reason.clone());
                        directories.push(path);
                    }
                    Some(Kind::Symlink { .. }) => {
                        self.keep(path.clone(), seed.reason.clone());
                        self.pending.push(Seed {
                            path: path.as_bytes().to_vec(),
                            extent: Extent::Object,
                            ..seed.clone()
                        });
                    }
                    Some(_) => self.pending.push(Seed {
                        path: path.as_bytes().to_vec(),
                        extent: Extent::Object,
                        ..seed.clone()
                    }),
                    None => {}
                }
            }
        }
    }

    fn keep(&mut self, path: ImagePath, reason: Reason) {
        if !never_emitted(&path) {
            add_reason(self.kept.entry(path).or_default(), reason);
        }
    }

    fn finish(mut self) -> KeepSet {
        self.exclude();
        self.keep_parents();
        let names: BTreeSet<&[u8]> = self.kept.keys().map(ImagePath::file_name).collect();
        self.notes.extend(self.libraries.notes(&|name| names.contains(name)));
        self.notes.extend(self.files.notes);
        self.notes.extend(self.reach.notes());
        let entries = self.kept.into_iter().filter_map(|(path, because)| {
            let entry = self.context.entry(&path)?.clone();
            Some((path, Kept { entry, because }))
        });
        KeepSet { entries: entries.collect(), notes: self.notes.into_iter().collect() }
    }

    fn exclude(&mut self) {
        let mut used: BTreeMap<&str, (usize, ImagePath)> = BTreeMap::new();
        self.kept.retain(|path, because| {
            let Some(pattern) = self.context.exclusions.matching(path) else { return true };
            if because.iter().any(|reason| matches!(reason, Reason::Traced { .. })) {
                used.entry(pattern).or_insert_with(|| (0, path.clone())).0 += 1;
            }
            false
        });
        self.notes.extend(used.into_iter().map(|(pattern, (entries, first))| Note::UsedExcluded {
            pattern: pattern.to_owned(),
            entries,
            first,
        }));
    }

    fn keep_parents(&mut self) {
        let mut parents: BTreeMap<ImagePath, ImagePath> = BTreeMap::new();
        for path in self.kept.keys() {
            let mut above = path.parent();
            while let Some(directory) = above {
                if self.kept.contains_key(&directory) || parents.contains_key(&directory) {
                    break;
                }
                above = directory.parent();
                parents.insert(directory, path.clone());
            }
        }
        for (directory, path) in parents {
            self.keep(directory, Reason::ParentOf { path });
        }
    }
}
