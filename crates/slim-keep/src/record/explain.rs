//! Why a path is in the slim image, or why not and what would bring it in, out of the files that a build left.
//!
//! Invariant: a chain of reasons ends, also where reasons point at one another.

use super::{KeepFile, KeptPath, RemovedFile, RemovedPath};
use crate::exclude::Exclusions;
use crate::reason::Reason;
use crate::settings::Level;
use crate::walk::{Walk, walk};
use serde::Serialize;
use slim_image::{Contents, Entry, ImagePath, ImageTree, Kind, Listing, ListingBuilder, TreeError};
use std::collections::{BTreeMap, VecDeque};

/// So many names are shown for one that is not known.
const NAMES_SHOWN: usize = 5;
/// Names that look alike are at least this near.
const NEAR: f64 = 0.85;

/// What a build left.
#[derive(Clone, Debug)]
pub struct Recorded {
    pub keep: KeepFile,
    /// `None` where the file is not there.
    pub removed: Option<RemovedFile>,
}

/// What is known of a path that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Explained {
    /// Where the links on the way lead, or the path itself.
    pub path: ImagePath,
    /// The links on the way.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub links: Vec<ImagePath>,
    #[serde(flatten)]
    pub answer: Answer,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "answer", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Answer {
    Kept {
        what: Box<KeptPath>,
        /// From the path to a root; never empty.
        chain: Vec<Step>,
        /// Its reasons that are not in the chain.
        also: Vec<Reason>,
        /// Paths below it that were not kept, and their bytes.
        removed_below: usize,
        removed_bytes_below: u64,
    },
    Removed {
        what: Box<RemovedPath>,
        /// Paths below it, and their bytes.
        removed_below: usize,
        removed_bytes_below: u64,
        /// The `--exclude-pattern` that took it away.
        #[serde(skip_serializing_if = "Option::is_none")]
        excluded_by: Option<String>,
        /// Flags that would bring it in, with what they do.
        brought_in_by: Vec<(String, String)>,
    },
    /// The fat image has no such path, or it cannot be told.
    Unknown {
        /// Whether what was removed is known.
        complete: bool,
        /// Names that the fat image has.
        near: Vec<ImagePath>,
    },
}

/// A path with the reason by which the chain goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    pub path: ImagePath,
    pub reason: Reason,
    /// The reason as a sentence.
    pub told: String,
}

impl Recorded {
    /// The image's paths, to look names up in as its programs do.
    #[must_use]
    pub fn tree(&self) -> RecordedTree {
        let mut builder = ListingBuilder::new();
        for (path, kept) in &self.keep.entries {
            builder.insert(path.clone(), kept.entry.clone());
        }
        for (path, removed) in self.removed.iter().flat_map(|removed| &removed.entries) {
            builder.insert(path.clone(), plain(removed.kind.clone()));
        }
        // Of a file that was cut by hand only the whole part can be looked up: none.
        RecordedTree { listing: builder.finish().ok() }
    }

    /// Explains one path, written as a program would name it. `tree`: [`Recorded::tree`].
    #[must_use]
    pub fn explain(&self, path: &[u8], tree: &RecordedTree) -> Explained {
        let exact = ImagePath::new(path);
        if self.knows(&exact) {
            return Explained { links: Vec::new(), answer: self.answer(&exact, tree), path: exact };
        }
        let looked_up = look_up(tree, path, true);
        let path = looked_up.found().cloned().unwrap_or(exact);
        Explained { answer: self.answer(&path, tree), links: looked_up.links, path }
    }

    fn knows(&self, path: &ImagePath) -> bool {
        self.keep.entries.contains_key(path)
            || self.removed.as_ref().is_some_and(|removed| removed.entries.contains_key(path))
    }

    fn answer(&self, path: &ImagePath, tree: &RecordedTree) -> Answer {
        let below = || self.removed.as_ref().map(|removed| removed.below(path)).unwrap_or_default();
        if let Some(kept) = self.keep.entries.get(path) {
            let chain = self.chain(path, kept, tree);
            let used = chain.first().map(|step| &step.reason);
            let also = kept.because.iter().filter(|reason| Some(*reason) != used).cloned().collect();
            let (removed_below, removed_bytes_below) = below();
            return Answer::Kept {
                what: Box::new(kept.clone()),
                chain,
                also,
                removed_below,
                removed_bytes_below,
            };
        }
        if let Some(removed) = self.removed.as_ref().and_then(|removed| removed.entries.get(path)) {
            let (removed_below, removed_bytes_below) = below();
            return Answer::Removed {
                what: Box::new(removed.clone()),
                removed_below,
                removed_bytes_below,
                excluded_by: self.excluded_by(path),
                brought_in_by: self.brought_in_by(path, removed),
            };
        }
        Answer::Unknown { complete: self.removed.is_some(), near: near(path, tree) }
    }

    /// The shortest way from a path over reasons to one that needs no other path.
    fn chain(&self, path: &ImagePath, kept: &KeptPath, tree: &RecordedTree) -> Vec<Step> {
        let step = |path: &ImagePath, reason: &Reason| Step {
            path: path.clone(),
            reason: reason.clone(),
            told: reason.to_string(),
        };
        // How each path was come to: from which one, for which reason of that one.
        let mut came: BTreeMap<ImagePath, Option<(ImagePath, &Reason)>> = BTreeMap::new();
        came.insert(path.clone(), None);
        let mut waiting = VecDeque::from([(path.clone(), kept)]);
        while let Some((current, kept)) = waiting.pop_front() {
            let next = |reason: &Reason| reason.kept_for().and_then(|name| self.kept_at(&name, tree));
            if let Some(last) = kept.because.iter().find(|reason| next(reason).is_none()) {
                let mut steps = vec![step(&current, last)];
                let mut at = &current;
                while let Some(Some((from, reason))) = came.get(at) {
                    steps.push(step(from, reason));
                    at = from;
                }
                steps.reverse();
                return steps;
            }
            for reason in &kept.because {
                let Some((path, kept)) = next(reason) else { continue };
                if !came.contains_key(&path) {
                    came.insert(path.clone(), Some((current.clone(), reason)));
                    waiting.push_back((path, kept));
                }
            }
        }
        // Reasons that all point at one another: a program that was seen to run, and nothing else.
        kept.because.first().map(|reason| step(path, reason)).into_iter().collect()
    }

    /// The kept path that a name leads to.
    fn kept_at(&self, name: &[u8], tree: &RecordedTree) -> Option<(ImagePath, &KeptPath)> {
        let exact = ImagePath::new(name);
        if let Some(kept) = self.keep.entries.get(&exact) {
            return Some((exact, kept));
        }
        let found = look_up(tree, name, true).found().cloned()?;
        let kept = self.keep.entries.get(&found)?;
        Some((found, kept))
    }

    fn excluded_by(&self, path: &ImagePath) -> Option<String> {
        let exclusions = Exclusions::new(&self.keep.exclude_patterns).ok()?;
        exclusions.matching(path).map(str::to_owned)
    }

    fn brought_in_by(&self, path: &ImagePath, removed: &RemovedPath) -> Vec<(String, String)> {
        let mut ways = Vec::new();
        let mut way = |flag: String, what: &str| ways.push((flag, what.to_owned()));
        let is_file = matches!(removed.kind, Kind::File { .. } | Kind::Symlink { .. });
        let folder = path.parent().unwrap_or_else(ImagePath::root);
        if is_file && matches!(folder.file_name(), b"bin" | b"sbin") {
            let name = slim_image::path::escape(path.file_name());
            way(format!("--include-exe {name}"), "keeps the program with all that it needs");
        } else if is_file && path.file_name().windows(3).any(|part| part == b".so") {
            way(format!("--include-bin {path}"), "keeps the library with all that it needs");
        }
        let what =
            if removed.kind == Kind::Directory { "keeps it with all below it" } else { "keeps it alone" };
        way(format!("--include-path {path}"), what);
        if let Some(package) = removed.owner.package.as_ref().filter(|_| self.keep.level < Level::Package) {
            let of_package = |kept: &&KeptPath| kept.owner.package.as_ref() == Some(package);
            let kept = self.keep.entries.values().filter(of_package).count();
            if kept > 0 {
                let what = format!(
                    "keeps all of each package that something is kept of, but documentation; of {package} {kept} paths are kept"
                );
                way("--keep package".to_owned(), &what);
            }
        }
        ways
    }
}

fn look_up(tree: &RecordedTree, path: &[u8], follow: bool) -> Walk {
    walk(tree, path, follow, &|_| false)
}

fn plain(kind: Kind) -> Entry {
    Entry { kind, mode: 0, uid: 0, gid: 0, mtime: 0, xattrs: BTreeMap::new(), hard_link_group: None }
}

/// The same file name elsewhere, or else names that look alike.
fn near(path: &ImagePath, tree: &RecordedTree) -> Vec<ImagePath> {
    let paths = || tree.walk().map(|(path, _)| path);
    let same: Vec<ImagePath> =
        paths().filter(|known| known.file_name() == path.file_name()).take(NAMES_SHOWN).cloned().collect();
    if !same.is_empty() {
        return same;
    }
    let wanted = path.to_string();
    let mut alike: Vec<(f64, &ImagePath)> = paths()
        .map(|known| (strsim::jaro_winkler(&wanted, &known.to_string()), known))
        .filter(|(likeness, _)| *likeness > NEAR)
        .collect();
    alike.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| one.1.cmp(other.1)));
    alike.into_iter().take(NAMES_SHOWN).map(|(_, known)| known.clone()).collect()
}

/// The fat image's paths without contents.
#[derive(Clone, Debug)]
pub struct RecordedTree {
    listing: Option<Listing>,
}

impl ImageTree for RecordedTree {
    fn entry(&self, path: &ImagePath) -> Option<&Entry> {
        self.listing.as_ref()?.get(path)
    }

    fn read_dir(&self, path: &ImagePath) -> Vec<&[u8]> {
        self.listing.as_ref().map(|listing| listing.read_dir(path)).unwrap_or_default()
    }

    fn walk(&self) -> Box<dyn Iterator<Item = (&ImagePath, &Entry)> + '_> {
        Box::new(self.listing.iter().flat_map(Listing::iter))
    }

    fn open(&self, path: &ImagePath) -> Result<Box<dyn Contents + '_>, TreeError> {
        Err(TreeError::NotAFile(path.clone()))
    }
}
