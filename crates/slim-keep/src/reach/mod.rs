//! What the kept files can reach without having been exercised (`--keep reachable`).
//!
//! One file a rule, each a [`Rule`] in [`rules`]. The closure shows every kept regular file to every rule, once, and plants
//! the seeds that come back, so that what a rule brings in is followed in its turn. Rules read the pristine tree only and
//! run nothing of the image. One that cannot understand a file says so in a note and takes the wider choice.

mod application;
mod certificates;
mod dotnet;
mod dynamic;
mod erlang;
mod glob;
#[cfg(test)]
mod hostile;
mod java;
mod json;
mod locale;
mod named_paths;
mod node;
mod package;
mod perl;
mod php;
mod places;
mod python;
mod ruby;
mod seeds;
mod shell;
mod syntax;
mod terminal;
#[cfg(test)]
mod testing;
mod time_zone;
mod value;
mod waiting;

pub(crate) use application::count_cost;

use crate::context::Context;
use crate::inspect;
use crate::note::Note;
use crate::observed::Observed;
use crate::origin::Origin;
use crate::packages::{Ownership, Packages};
use crate::reason::{Reason, Via};
use crate::seed::{Extent, Seed};
use crate::settings::Level;
use slim_image::path::escape;
use slim_image::{Entry, ImagePath, Kind, TreeError};
use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::Read as _;
use std::rc::Rc;
use std::sync::Arc;

/// Longer files are no text that a person wrote; no rule reads them whole.
const TEXT_MAX: u64 = 8 << 20;

/// What one rule knows of reaching.
pub(crate) trait Rule {
    /// What the image's configuration and the trace alone make reachable. Called once, before any [`Rule::follow`].
    ///
    /// # Errors
    /// When the image's files cannot be read.
    fn begin(&mut self, _world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        Ok(Vec::new())
    }

    /// What a kept regular file can reach. Called once for each, in an order that depends on nothing but the arguments
    /// of [`crate::keep`].
    ///
    /// # Errors
    /// When the image's files cannot be read.
    fn follow(&mut self, file: &KeptFile<'_>, world: &World<'_>) -> Result<Vec<Seed>, TreeError>;

    /// What is kept on top of everything, once nothing more comes. Called once, after every [`Rule::follow`]; what it
    /// brings is kept with what that itself needs, and shown to no rule.
    ///
    /// # Errors
    /// When the image's files cannot be read.
    fn settle(&mut self, _kept: &Kept, _world: &World<'_>) -> Result<Vec<Seed>, TreeError> {
        Ok(Vec::new())
    }

    /// What a person should know that no kept path tells. Called once, at the end.
    fn notes(&mut self) -> Vec<Note> {
        Vec::new()
    }
}

/// What is kept so far, with the reasons.
pub(crate) type Kept = BTreeMap<ImagePath, BTreeSet<Reason>>;

/// What every rule looks at.
pub(crate) struct World<'a> {
    pub context: &'a Context<'a>,
    pub observed: &'a Observed<'a>,
    pub origin: &'a Origin,
    /// How many layers the base has, where the user says so.
    pub base_layers: Option<usize>,
    ownership: &'a Ownership,
}

impl<'a> World<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        observed: &'a Observed<'a>,
        origin: &'a Origin,
        ownership: &'a Ownership,
        base_layers: Option<usize>,
    ) -> Self {
        Self { context, observed, origin, base_layers, ownership }
    }

    /// Who owns what.
    ///
    /// # Errors
    /// When the image's files cannot be read.
    pub(crate) fn packages(&self) -> Result<Arc<Packages>, TreeError> {
        self.ownership.of(self.context.tree)
    }
}

/// Seeds of a file, or of a symlink and of what it leads to.
fn own_seeds(path: &ImagePath, entry: &Entry, reason: Reason) -> Vec<Seed> {
    let Kind::Symlink { target } = &entry.kind else { return vec![Seed::object(path, reason)] };
    let named =
        Reason::Reachable { via: Via::NamedPath, from: path.clone(), line: None, what: escape(target) };
    vec![Seed { extent: Extent::Link, ..Seed::object(path, reason) }, Seed::object(path, named)]
}

/// A regular file that is kept.
pub(crate) struct KeptFile<'a> {
    pub path: &'a ImagePath,
    pub entry: &'a Entry,
    /// By its first bytes.
    pub what: inspect::File,
    /// Whether it will be run, as far as its seed knows: a script's mode says so too.
    pub run: bool,
    context: &'a Context<'a>,
    text: OnceCell<Option<Rc<[u8]>>>,
}

impl<'a> KeptFile<'a> {
    pub(crate) fn new(
        context: &'a Context<'a>,
        path: &'a ImagePath,
        entry: &'a Entry,
        what: inspect::File,
        run: bool,
    ) -> Self {
        Self { path, entry, what, run, context, text: OnceCell::new() }
    }

    /// The whole contents, read once for all rules; `None` where the file is too large to be text.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn text(&self) -> Result<Option<Rc<[u8]>>, TreeError> {
        if let Some(text) = self.text.get() {
            return Ok(text.clone());
        }
        let text = if self.entry.size() > TEXT_MAX {
            None
        } else {
            let failed = |source| TreeError::Read { path: self.path.clone(), source };
            let mut bytes = Vec::new();
            self.context.tree.open(self.path)?.take(TEXT_MAX).read_to_end(&mut bytes).map_err(failed)?;
            Some(Rc::from(bytes))
        };
        Ok(self.text.get_or_init(|| text).clone())
    }
}

/// The rules of a level, at work.
pub(crate) struct Reach<'a> {
    world: Option<World<'a>>,
    rules: Vec<Box<dyn Rule>>,
}

impl<'a> Reach<'a> {
    /// No rules: nothing is kept but what seeds name and what must follow from them.
    pub(crate) fn nothing() -> Self {
        Self { world: None, rules: Vec::new() }
    }

    pub(crate) fn new(level: Level, world: World<'a>) -> Self {
        Self { world: Some(world), rules: rules(level) }
    }

    /// What is reachable before any file is kept.
    ///
    /// # Errors
    /// When the image's files cannot be read.
    pub(crate) fn begin(&mut self) -> Result<Vec<Seed>, TreeError> {
        self.each(|rule, world| rule.begin(world))
    }

    /// What is kept on top of everything.
    ///
    /// # Errors
    /// When the image's files cannot be read.
    pub(crate) fn settle(&mut self, kept: &Kept) -> Result<Vec<Seed>, TreeError> {
        self.each(|rule, world| rule.settle(kept, world))
    }

    /// What a kept file reaches.
    ///
    /// # Errors
    /// When the image's files cannot be read.
    pub(crate) fn follow(&mut self, file: &KeptFile<'_>) -> Result<Vec<Seed>, TreeError> {
        self.each(|rule, world| rule.follow(file, world))
    }

    pub(crate) fn notes(&mut self) -> Vec<Note> {
        self.rules.iter_mut().flat_map(|rule| rule.notes()).collect()
    }

    fn each(
        &mut self,
        ask: impl Fn(&mut dyn Rule, &World<'_>) -> Result<Vec<Seed>, TreeError>,
    ) -> Result<Vec<Seed>, TreeError> {
        let mut seeds = Vec::new();
        if let Some(world) = &self.world {
            for rule in &mut self.rules {
                seeds.append(&mut ask(rule.as_mut(), world)?);
            }
        }
        Ok(seeds)
    }
}

/// The rules of a level. A new rule is a new file and a new line here.
fn rules(level: Level) -> Vec<Box<dyn Rule>> {
    if level == Level::Observed {
        return Vec::new();
    }
    let mut rules: Vec<Box<dyn Rule>> = vec![
        Box::new(application::Application::default()),
        Box::new(dynamic::Dynamic::default()),
        Box::new(named_paths::NamedPaths::default()),
        Box::new(locale::Locale::default()),
        Box::new(time_zone::TimeZone::default()),
        Box::new(certificates::Certificates::default()),
        Box::new(terminal::Terminal),
        Box::<shell::Shell>::default(),
        Box::<python::Python>::default(),
        Box::<node::Node>::default(),
        Box::<php::Php>::default(),
        Box::<ruby::Ruby>::default(),
        Box::<perl::Perl>::default(),
        Box::<java::Java>::default(),
        Box::<dotnet::DotNet>::default(),
        Box::<erlang::Erlang>::default(),
    ];
    if level == Level::Package {
        rules.push(Box::new(package::Package));
    }
    rules
}
