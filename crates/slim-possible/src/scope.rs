//! Which files' symbols an import may mean. The loader takes the first file of the program's scope, breadth first, that
//! defines the name in the version asked for (ld.so(8), glibc's `elf/dl-lookup.c`). Which one is first is not known here:
//! of a library there may be variants for other processors, LD_PRELOAD puts one before all, and what was opened at run time
//! may be in everybody's scope. So all that define it count.

use crate::elf::Import;
use crate::facts::Facts;
use slim_image::ImagePath;
use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};

/// The files of one program.
pub(crate) struct Scope {
    pub program: Vec<ImagePath>,
    /// By file that was opened at run time: it and what it needs.
    pub opened: BTreeMap<ImagePath, Vec<ImagePath>>,
}

/// What a file needs, file by file.
pub(crate) type Needs<'a> = BTreeMap<&'a ImagePath, &'a [ImagePath]>;

impl Scope {
    pub fn new(program: &ImagePath, opened: &[&ImagePath], needs: &Needs<'_>) -> Self {
        let opened = opened.iter().map(|path| ((*path).clone(), breadth_first(path, needs))).collect();
        Self { program: breadth_first(program, needs), opened }
    }

    /// Every file that is loaded, each once: the program's first.
    pub fn files(&self) -> Vec<&ImagePath> {
        let mut seen = BTreeSet::new();
        self.program.iter().chain(self.opened.values().flatten()).filter(|path| seen.insert(*path)).collect()
    }

    /// Where an import of a file may lead: each file with the index of its export.
    pub fn find<'a>(
        &'a self,
        file: &ImagePath,
        import: &Import,
        facts: &BTreeMap<&ImagePath, Facts>,
    ) -> Vec<(&'a ImagePath, usize)> {
        let own = self.opened.values().filter(|files| files.contains(file)).flatten();
        let mut seen = HashSet::new();
        let mut found = Vec::new();
        for path in self.program.iter().chain(own) {
            if let Some(facts) = facts.get(path).filter(|_| seen.insert(path)) {
                found.extend(defined(facts, import).into_iter().map(|export| (path, export)));
            }
        }
        found
    }
}

/// The exports that a file has for an import: more than one where no version is asked for.
fn defined(facts: &Facts, import: &Import) -> Vec<usize> {
    let fits = facts.named(&import.name).filter(|export| {
        match (&import.version, &facts.exports[*export].version) {
            (Some(wanted), Some(has)) => wanted == has,
            // A library without versions has every version.
            _ => true,
        }
    });
    fits.collect()
}

fn breadth_first(start: &ImagePath, needs: &Needs<'_>) -> Vec<ImagePath> {
    let mut seen = HashSet::from([start]);
    let mut order = Vec::new();
    let mut open = VecDeque::from([start]);
    while let Some(path) = open.pop_front() {
        order.push(path.clone());
        for needed in needs.get(path).copied().unwrap_or_default() {
            if seen.insert(needed) {
                open.push_back(needed);
            }
        }
    }
    order
}
