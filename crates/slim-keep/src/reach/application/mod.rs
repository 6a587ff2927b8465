//! Rule: the application's own files, the reason that the image exists, are kept whether they were touched or not:
//! configuration, templates, static assets, migrations, plug-ins, data.
//!
//! They are what no package owns and what did not come with the base's layers ([`Base`]), less version control, caches
//! and build leftovers ([`leftovers`]), less the system's own trees ([`places`]). What pip, npm, gem or Composer installed
//! is no application, also inside the application's folder: the rules of their languages bring in what is imported. A
//! package's configuration file counts once a later layer has changed it.
//!
//! Where nobody knows which layers are the base's, the rule narrows to WORKDIR, the folders of what the command line
//! names, and folders that the program read from, and only outside of the system's trees.
//!
//! Size is no reason to leave a file out: a data file of 700 MB that this run did not read may be what the next one
//! reads. The note says what the rule cost, so that a person who knows better can exclude it.

mod leftovers;
mod places;

use super::{KeptFile, Rule, World, own_seeds};
use crate::base::Base;
use crate::keep_set::KeepSet;
use crate::note::Note;
use crate::packages::{PackageId, Packages, Unread};
use crate::reason::{Reason, Via};
use crate::seed::Seed;
use places::Places;
use slim_image::{Entry, ImagePath, Kind, TreeError};
use std::collections::{BTreeMap, BTreeSet};

#[derive(Default)]
pub(crate) struct Application {
    base: Option<Base>,
    folders: BTreeSet<ImagePath>,
    unread: Vec<Unread>,
}

impl Rule for Application {
    fn begin(&mut self, world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        let packages = world.packages()?;
        let packages = packages.as_ref();
        let base = Base::find(world.context.tree, world.origin, world.base_layers);
        let places = Places::find(world.context, world.observed, base.layers().is_none());
        let files = Files {
            world,
            packages,
            places: &places,
            base: base.layers(),
            installed: installed(world, packages),
        };
        let seeds = world.context.tree.walk().flat_map(|(path, entry)| files.seeds(path, entry)).collect();
        if base.layers().is_none() {
            self.folders = places.opened;
        }
        self.base = Some(base);
        self.unread = packages.unread().to_vec();
        Ok(seeds)
    }

    fn follow(&mut self, _: &KeptFile<'_>, _: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        Ok(Vec::new())
    }

    fn notes(&mut self) -> Vec<Note> {
        let unread = std::mem::take(&mut self.unread).into_iter();
        let unread = unread.map(|unread| Note::PackagesUnread { record: unread.record, why: unread.why });
        let base = self.base.take().map(|base| Note::Application {
            base,
            folders: std::mem::take(&mut self.folders).into_iter().collect(),
            files: 0,
            bytes: 0,
        });
        unread.chain(base).collect()
    }
}

/// Puts into the rule's note what it cost: what nothing but this rule keeps, the bytes of each inode once.
pub(crate) fn count_cost(set: &mut KeepSet) {
    let is_rules = |reason: &Reason| matches!(reason, Reason::Reachable { via: Via::Application, .. });
    let (mut count, mut sum, mut inodes) = (0, 0, BTreeSet::new());
    for kept in set.entries.values() {
        let other_names = kept.entry.hard_link_group;
        if !kept.entry.is_directory() && kept.because.iter().all(is_rules) {
            count += 1;
            if other_names.is_none_or(|group| inodes.insert(group)) {
                sum += kept.entry.size();
            }
        }
    }
    for note in &mut set.notes {
        if let Note::Application { files, bytes, .. } = note {
            (*files, *bytes) = (count, sum);
        }
    }
}

/// The layer that each package was installed in: the lowest that holds a file of its. A later `chown -R` lifts some of
/// them, never all; an upgrade lifts all.
fn installed(world: &World<'_>, packages: &Packages) -> BTreeMap<PackageId, usize> {
    let layer = |package: PackageId| {
        let files = packages.files(package).filter(|path| !packages.is_configuration(path));
        let files = files.filter(|path| world.context.entry(path).is_some_and(|entry| !entry.is_directory()));
        files.filter_map(|path| world.context.tree.layer_of(path)).min()
    };
    packages.iter().filter_map(|(package, _)| Some((package, layer(package)?))).collect()
}

/// What decides about one file.
struct Files<'a> {
    world: &'a World<'a>,
    packages: &'a Packages,
    places: &'a Places,
    /// The application's first layer, where it is known.
    base: Option<usize>,
    installed: BTreeMap<PackageId, usize>,
}

/// Whether the application is likely to run a file of its own: an executable in a folder of programs. Scripts elsewhere
/// (`tools/`, `scripts/`) are as often those of its developers, and would bring shells and what they call.
fn is_command(path: &ImagePath, entry: &Entry) -> bool {
    let is_of_programs =
        path.parent().is_some_and(|parent| matches!(parent.file_name(), b"bin" | b"libexec" | b"sbin"));
    is_of_programs && entry.mode & 0o111 != 0
}

impl Files<'_> {
    fn seeds(&self, path: &ImagePath, entry: &Entry) -> Vec<Seed> {
        let Some(from) = self.application(path, entry) else { return Vec::new() };
        let reason = Reason::Reachable { via: Via::Application, from, line: None, what: String::new() };
        let is_command = is_command(path, entry);
        own_seeds(path, entry, reason).into_iter().map(|seed| Seed { run: is_command, ..seed }).collect()
    }

    /// The folder that makes a file the application's, or itself; `None` where it is none of its files.
    fn application(&self, path: &ImagePath, entry: &Entry) -> Option<ImagePath> {
        if !matches!(entry.kind, Kind::File { .. } | Kind::Symlink { .. }) || !self.is_above_base(path) {
            return None;
        }
        let from = self.places.of(path)?;
        let is_left_out = leftovers::is_left_over(self.world.context.tree, path)
            || self.is_a_packages(path)
            || self.is_compiled_without_source(path)
            || self.is_a_maintainers_link(path, entry);
        (!is_left_out).then_some(from)
    }

    fn is_above_base(&self, path: &ImagePath) -> bool {
        let layer = || self.world.context.tree.layer_of(path);
        self.base.is_none_or(|base| layer().is_some_and(|layer| layer >= base))
    }

    fn is_a_packages(&self, path: &ImagePath) -> bool {
        let Some(owner) = self.packages.owner_id(path) else { return false };
        let is_changed = || {
            let layer = self.world.context.tree.layer_of(path);
            layer.zip(self.installed.get(&owner)).is_some_and(|(layer, installed)| layer > *installed)
        };
        !(self.base.is_some() && self.packages.is_configuration(path) && is_changed())
    }

    /// Python takes no compiled file from `__pycache__` without its source.
    fn is_compiled_without_source(&self, path: &ImagePath) -> bool {
        let is_cached = path.parent().is_some_and(|folder| folder.file_name() == b"__pycache__");
        let source = || crate::python::companions(path).map(|seed| ImagePath::new(seed.path));
        is_cached && source().is_none_or(|source| self.world.context.entry(&source).is_none())
    }

    /// In /etc, packages' scripts make links to packages' files (`alternatives`, `sites-enabled`, certificates by hash):
    /// they are no more the application's than what they lead to.
    fn is_a_maintainers_link(&self, path: &ImagePath, entry: &Entry) -> bool {
        if !matches!(entry.kind, Kind::Symlink { .. }) || !path.is_within(&"/etc".into()) {
            return false;
        }
        let walk = self.world.context.walk(path.as_bytes(), true);
        walk.found()
            .is_none_or(|found| self.packages.owner_id(found).is_some() || self.places.of(found).is_none())
    }
}
