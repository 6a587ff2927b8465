//! The merged image as a container of it shows it.

use crate::in_container::{KERNEL, OF_THE_ENGINE, engine_directory, settle_times, touched};
use crate::listing::settle_groups;
use crate::path::ImagePath;
use crate::tree::{Entry, Kind};
use std::collections::{BTreeMap, BTreeSet};

type Entries = BTreeMap<ImagePath, Entry>;

/// Links followed in one path; the kernel follows as many.
const LINKS_MOST: usize = 40;

pub(super) fn show(entries: &mut Entries, volumes: &[ImagePath]) {
    let hidden: BTreeSet<ImagePath> = OF_THE_ENGINE.map(ImagePath::from).into();
    let kernel = KERNEL.map(ImagePath::from);
    entries.retain(|path, _| !hidden.iter().chain(&kernel).any(|hidden| path.is_within(hidden)));
    // The layer of a container, which lies over the image's, has the engine's root.
    entries.insert(ImagePath::root(), engine_directory());
    make_directory(entries, &"/etc".into());
    entries.extend(kernel.iter().map(|path| (path.clone(), engine_directory())));
    let mut volumes: BTreeSet<ImagePath> = volumes.iter().map(|volume| resolved(entries, volume)).collect();
    volumes.retain(|volume| !kernel.iter().any(|kernel| volume.is_within(kernel)));
    for volume in &volumes {
        for directory in volume.ancestors().iter().chain([volume]) {
            make_directory(entries, directory);
        }
    }
    let touched = touched(&hidden, &volumes);
    settle_times(entries, &touched);
    settle_groups(entries);
}

/// Engines make a directory where there is none, in place of whatever is there.
fn make_directory(entries: &mut Entries, path: &ImagePath) {
    if !entries.get(path).is_some_and(Entry::is_directory) {
        entries.insert(path.clone(), engine_directory());
    }
}

/// Where a path leads to inside the image: links are followed, what is not there is taken as it is written.
fn resolved(entries: &Entries, path: &ImagePath) -> ImagePath {
    let mut ahead: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
    ahead.reverse();
    let mut reached = ImagePath::root();
    let mut links = 0;
    while let Some(name) = ahead.pop() {
        if name == b".." {
            reached = reached.parent().unwrap_or_else(ImagePath::root);
            continue;
        }
        let next = reached.join(&name);
        match entries.get(&next).map(|entry| &entry.kind) {
            Some(Kind::Symlink { target }) if links < LINKS_MOST => {
                links += 1;
                if target.starts_with(b"/") {
                    reached = ImagePath::root();
                }
                let names = target.split(|byte| *byte == b'/').rev();
                ahead.extend(names.filter(|name| !name.is_empty() && *name != b".").map(<[u8]>::to_vec));
            }
            _ => reached = next,
        }
    }
    reached
}
