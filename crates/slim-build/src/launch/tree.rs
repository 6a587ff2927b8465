//! An image's tree with the launcher's files laid over it, for reading contents.

use slim_image::tree::Contents;
use slim_image::{Entry, ImagePath, ImageTree, TreeError};
use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::ops::Deref;
use std::sync::Arc;

/// Contents of files that were made, of one that was moved, and of all others. Its listing is the tree's own: what a layer
/// holds is said by its entries.
pub(super) struct LaunchTree<T> {
    tree: T,
    /// The new path and the old one.
    moved: Option<(ImagePath, ImagePath)>,
    made: BTreeMap<ImagePath, Arc<[u8]>>,
}

impl<T> LaunchTree<T> {
    pub(super) fn new(
        tree: T,
        moved: Option<(ImagePath, ImagePath)>,
        made: BTreeMap<ImagePath, Arc<[u8]>>,
    ) -> Self {
        Self { tree, moved, made }
    }

    fn original<'a>(&'a self, path: &'a ImagePath) -> &'a ImagePath {
        match &self.moved {
            Some((new, old)) if new == path => old,
            _ => path,
        }
    }
}

impl<T> ImageTree for LaunchTree<T>
where
    T: Deref + Sync,
    T::Target: ImageTree,
{
    fn entry(&self, path: &ImagePath) -> Option<&Entry> {
        self.tree.entry(self.original(path))
    }

    fn read_dir(&self, path: &ImagePath) -> Vec<&[u8]> {
        self.tree.read_dir(path)
    }

    fn walk(&self) -> Box<dyn Iterator<Item = (&ImagePath, &Entry)> + '_> {
        self.tree.walk()
    }

    fn open(&self, path: &ImagePath) -> Result<Box<dyn Contents + '_>, TreeError> {
        match self.made.get(path) {
            Some(bytes) => Ok(Box::new(Cursor::new(bytes.as_ref()))),
            None => self.tree.open(self.original(path)),
        }
    }

    /// As few questions to the tree as there are made files between its own.
    fn read_each(
        &self,
        paths: &[ImagePath],
        each: &mut dyn FnMut(&ImagePath, &mut dyn Read) -> Result<(), TreeError>,
    ) -> Result<(), TreeError> {
        for run in paths.chunk_by(|one, other| self.made.contains_key(one) == self.made.contains_key(other)) {
            if run.first().is_some_and(|path| self.made.contains_key(path)) {
                for path in run {
                    each(path, &mut self.open(path)?)?;
                }
                continue;
            }
            let originals: Vec<ImagePath> = run.iter().map(|path| self.original(path).clone()).collect();
            let mut at = run.iter();
            self.tree.read_each(&originals, &mut |original, contents| {
                // The tree reads in the order given.
                each(at.next().unwrap_or(original), contents)
            })?;
        }
        Ok(())
    }
}
