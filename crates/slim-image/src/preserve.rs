//! Slim images that keep the fat one's layers: each layer holds what is kept of it, so that slim images of one base still
//! share its layers.
//!
//! A layer of the base depends on nothing but the base's own layer and the kept paths: every version of a kept path that it
//! holds stays as it is there, also where a layer above replaces it. Layers above the base hold what the image shows of
//! them. What the image is to show otherwise than its layers do (directories that engines make, owners and modes that flags
//! set) lies in a layer of its own on top.
//!
//! Whiteouts are not needed: whatever a lower layer keeps is a path of the image, and so a layer above that replaces it
//! holds its last version. Invariant: the layers over one another are the kept entries, no more and no less.

use crate::history::{self, HistoryEntry};
use crate::layer::{Layer, LayerEntry, LayerError};
use crate::path::ImagePath;
use crate::tree::{Entry, ImageTree};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A tree that may be read from any thread.
pub type SharedTree = Arc<dyn ImageTree + Send + Sync>;

/// The layers of an image and their history.
#[derive(Debug)]
pub struct Preserved {
    /// Those that hold anything, the base first.
    pub layers: Vec<Layer>,
    /// The fat image's steps; those whose layers hold nothing leave none.
    pub history: Vec<HistoryEntry>,
}

/// Filters each layer. `merged` is the image, `layers` are its layers each by itself, the base first; `kept` says what is
/// kept, sorted, with the metadata that it shall have; the first `shared` layers are the base's.
///
/// # Errors
/// When a file cannot be read.
pub fn preserve(
    merged: &SharedTree,
    layers: &[SharedTree],
    kept: &[LayerEntry],
    shared: usize,
    history: &[HistoryEntry],
) -> Result<Preserved, LayerError> {
    let mut made = Vec::with_capacity(layers.len() + 1);
    for (number, layer) in layers.iter().enumerate() {
        let entries = filtered(merged.as_ref(), layer.as_ref(), number, kept, number < shared);
        made.push(layer_of(layer, entries)?);
    }
    let on_top = otherwise(merged.as_ref(), layers, kept);
    let top = layer_of(merged, on_top)?;
    let holds: Vec<bool> = made.iter().map(Option::is_some).collect();
    Ok(Preserved {
        history: steps(history, &holds, top.is_some()),
        layers: made.into_iter().chain([top]).flatten().collect(),
    })
}

fn layer_of(tree: &SharedTree, entries: Vec<LayerEntry>) -> Result<Option<Layer>, LayerError> {
    if entries.is_empty() { Ok(None) } else { Layer::of_tree(Arc::clone(tree), entries).map(Some) }
}

/// What is kept of a layer.
fn filtered(
    merged: &dyn ImageTree,
    layer: &dyn ImageTree,
    number: usize,
    kept: &[LayerEntry],
    is_shared: bool,
) -> Vec<LayerEntry> {
    let own = |path: &ImagePath| layer.entry(path).map(|entry| (path.clone(), entry.clone()));
    let mut entries: BTreeMap<ImagePath, Entry> = kept
        .iter()
        .filter(|kept| is_shared || merged.layer_of(&kept.path) == Some(number))
        .filter_map(|kept| own(&kept.path))
        .collect();
    with_parents(&mut entries, |path| own(path).map(|(_, entry)| entry));
    only_below_directories(entries)
}

/// What the image shows otherwise than its layers.
fn otherwise(merged: &dyn ImageTree, layers: &[SharedTree], kept: &[LayerEntry]) -> Vec<LayerEntry> {
    let shown: BTreeMap<&ImagePath, &Entry> = kept.iter().map(|kept| (&kept.path, &kept.entry)).collect();
    let is_otherwise = |kept: &&LayerEntry| {
        let layer = merged.layer_of(&kept.path).and_then(|number| layers.get(number));
        let own = layer.and_then(|layer| layer.entry(&kept.path));
        own.is_none_or(|own| {
            Entry { hard_link_group: kept.entry.hard_link_group, ..own.clone() } != kept.entry
        })
    };
    let mut entries: BTreeMap<ImagePath, Entry> =
        kept.iter().filter(is_otherwise).map(|kept| (kept.path.clone(), kept.entry.clone())).collect();
    with_parents(&mut entries, |path| shown.get(path).map(|entry| (*entry).clone()));
    entries.into_iter().map(|(path, entry)| LayerEntry { path, entry }).collect()
}

/// An engine that finds no directory above an entry makes one of its own over the image's.
fn with_parents(entries: &mut BTreeMap<ImagePath, Entry>, entry: impl Fn(&ImagePath) -> Option<Entry>) {
    let parents: BTreeSet<ImagePath> = entries.keys().flat_map(ImagePath::ancestors).collect();
    for path in parents {
        if !entries.contains_key(&path)
            && let Some(entry) = entry(&path)
        {
            entries.insert(path, entry);
        }
    }
}

/// A shared layer may hold a file where the image has a directory.
fn only_below_directories(entries: BTreeMap<ImagePath, Entry>) -> Vec<LayerEntry> {
    let mut kept: BTreeMap<ImagePath, Entry> = BTreeMap::new();
    for (path, entry) in entries {
        if path.parent().is_none_or(|parent| kept.get(&parent).is_some_and(Entry::is_directory)) {
            kept.insert(path, entry);
        }
    }
    kept.into_iter().map(|(path, entry)| LayerEntry { path, entry }).collect()
}

/// The fat image's steps, as far as they are known; one a layer where they are not.
fn steps(history: &[HistoryEntry], holds: &[bool], has_top: bool) -> Vec<HistoryEntry> {
    let is_known = history.iter().filter(|step| !step.empty_layer).count() == holds.len();
    let unknown = |number: usize| HistoryEntry {
        created_by: Some(format!("layer {} of {}", number + 1, holds.len())),
        ..HistoryEntry::default()
    };
    let mut steps: Vec<HistoryEntry> =
        if is_known { history.to_vec() } else { (0..holds.len()).map(unknown).collect() };
    let mut left = holds.iter();
    for step in steps.iter_mut().filter(|step| !step.empty_layer) {
        step.empty_layer = !left.next().copied().unwrap_or_default();
    }
    if has_top {
        steps.push(HistoryEntry {
            created_by: Some("COPY directories of containers and changed files in /".to_owned()),
            comment: Some(history::COMMENT.to_owned()),
            ..HistoryEntry::default()
        });
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::archive::SlimImage;
    use crate::memory::MemoryTree;
    use crate::saved::SavedTree;
    use crate::validate::validate;
    use std::io::Read as _;

    fn tree(tree: MemoryTree) -> SharedTree {
        Arc::new(tree)
    }

    fn entries_of(tree: &dyn ImageTree, paths: &[&str]) -> Vec<LayerEntry> {
        let of = |path: &&str| LayerEntry {
            path: (*path).into(),
            entry: tree.entry(&(*path).into()).unwrap().clone(),
        };
        paths.iter().map(of).collect()
    }

    fn base() -> MemoryTree {
        MemoryTree::new().file("/etc/passwd", 0o644, "root").file("/lib/libc", 0o755, "libc").file(
            "/lib/unused",
            0o644,
            "x",
        )
    }

    /// The merged image of a base and an application over it, as the fat image's source says it.
    fn app(own: MemoryTree) -> (SharedTree, Vec<SharedTree>) {
        let mut merged = base();
        for (path, _) in base().walk() {
            merged = merged.layer(path.clone(), 0);
        }
        for (path, entry) in own.walk() {
            if entry.is_directory() {
                merged = merged.dir(path.clone(), entry.mode);
            } else {
                let mut bytes = Vec::new();
                own.open(path).unwrap().read_to_end(&mut bytes).unwrap();
                merged = merged.file(path.clone(), entry.mode, bytes);
            }
            merged = merged.layer(path.clone(), 1);
        }
        (tree(merged), vec![tree(base()), tree(own)])
    }

    fn preserved(app: &(SharedTree, Vec<SharedTree>), paths: &[&str], shared: usize) -> Preserved {
        preserve(&app.0, &app.1, &entries_of(app.0.as_ref(), paths), shared, &[]).unwrap()
    }

    #[test]
    fn images_of_one_base_share_its_layer_whatever_they_put_over_it() {
        let one = app(MemoryTree::new().file("/app/one", 0o755, "1"));
        let other = app(MemoryTree::new()
            .file("/app/other", 0o755, "2")
            .file("/etc/passwd", 0o600, "root and app")
            .dir("/etc", 0o700));
        let base = ["/", "/etc", "/etc/passwd", "/lib", "/lib/libc"];
        let one = preserved(&one, &[&["/", "/app", "/app/one"], &base[1..]].concat(), 1);
        let other = preserved(&other, &[&["/", "/app", "/app/other"], &base[1..]].concat(), 1);
        assert_eq!((one.layers.len(), other.layers.len()), (2, 2));
        assert_eq!(one.layers[0].diff_id, other.layers[0].diff_id);
        assert_ne!(one.layers[1].diff_id, other.layers[1].diff_id);
    }

    #[test]
    fn the_layers_over_one_another_are_the_kept_entries() {
        let own = MemoryTree::new().file("/app/one", 0o755, "1").file("/etc/passwd", 0o600, "root and app");
        let image = app(own);
        let paths = ["/", "/app", "/app/one", "/etc", "/etc/passwd", "/lib", "/lib/libc"];
        let mut kept = entries_of(image.0.as_ref(), &paths);
        kept[2].entry.uid = 1000;
        for shared in 0..=2 {
            let Preserved { layers, history } = preserve(&image.0, &image.1, &kept, shared, &[]).unwrap();
            let source = crate::archive::tests::source();
            let slim = SlimImage::of_layers(&source, source.config.clone(), layers, history, None);
            let mut file = tempfile::tempfile().unwrap();
            slim.write_to(&mut file, &["x".parse().unwrap()]).unwrap();
            validate(&file).unwrap();
            let saved = SavedTree::open(file, &std::env::temp_dir()).unwrap();
            assert_eq!(entries_of(&saved, &paths), kept, "{shared}");
            assert_eq!(saved.listing().len(), kept.len(), "{shared}");
        }
    }

    #[test]
    fn layers_that_are_alike_are_written_once() {
        let twice = || Layer::of_tree(tree(base()), entries_of(&base(), &["/", "/lib"])).unwrap();
        let step = |text: &str| HistoryEntry { created_by: Some(text.to_owned()), ..HistoryEntry::default() };
        let source = crate::archive::tests::source();
        let layers = vec![twice(), twice()];
        let slim =
            SlimImage::of_layers(&source, source.config.clone(), layers, vec![step("a"), step("b")], None);
        let mut bytes = Vec::new();
        slim.write_to(&mut bytes, &[]).unwrap();
        assert_eq!(bytes.len() as u64, slim.archive_size(&[]));
        assert_eq!(validate(std::io::Cursor::new(&bytes)).unwrap().config.rootfs.diff_ids.len(), 2);
    }

    #[test]
    fn what_is_replaced_above_the_base_is_not_kept_twice() {
        let other = app(MemoryTree::new().file("/etc/passwd", 0o600, "root and app"));
        let kept = ["/", "/etc", "/etc/passwd"];
        assert_eq!(preserved(&other, &kept, 0).layers.len(), 1, "the lower one has nothing to show");
        assert_eq!(preserved(&other, &kept, 1).layers.len(), 2);
    }

    #[test]
    fn a_layer_of_which_nothing_is_kept_leaves_a_step_without_a_layer() {
        let one = app(MemoryTree::new().file("/app/one", 0o755, "1"));
        let kept = entries_of(one.0.as_ref(), &["/", "/lib", "/lib/libc"]);
        let step = |text: &str, empty_layer| HistoryEntry {
            created_by: Some(text.to_owned()),
            empty_layer,
            ..HistoryEntry::default()
        };
        let history = [step("ADD base", false), step("CMD x", true), step("COPY app", false)];
        let preserved = preserve(&one.0, &one.1, &kept, 2, &history).unwrap();
        let empty: Vec<bool> = preserved.history.iter().map(|step| step.empty_layer).collect();
        assert_eq!(preserved.history[0].created_by.as_deref(), Some("ADD base"));
        // The root is the application's, too.
        assert_eq!((preserved.layers.len(), empty), (2, vec![false, true, false]));
        let only_app =
            preserve(&one.0, &one.1, &entries_of(one.0.as_ref(), &["/", "/app", "/app/one"]), 0, &history)
                .unwrap();
        let empty: Vec<bool> = only_app.history.iter().map(|step| step.empty_layer).collect();
        assert_eq!((only_app.layers.len(), empty), (1, vec![true, true, false]));
    }

    #[test]
    fn what_no_layer_shows_like_that_lies_on_top() {
        let one = app(MemoryTree::new().file("/app/one", 0o755, "1"));
        let mut kept = entries_of(one.0.as_ref(), &["/", "/app", "/app/one", "/lib", "/lib/libc"]);
        let flat = preserved(&one, &["/", "/app", "/app/one", "/lib", "/lib/libc"], 1);
        kept[4].entry.uid = 1000;
        let changed = preserve(&one.0, &one.1, &kept, 1, &[]).unwrap();
        assert_eq!(changed.layers.len(), 3);
        assert_eq!(changed.layers[0].diff_id, flat.layers[0].diff_id, "the base stays as it is");
        assert_eq!(changed.history.len(), 3);
        assert_eq!(changed.history[1].created_by.as_deref(), Some("layer 2 of 2"));
    }
}
