//! Looking a path up in an image as the kernel would, component by component.
//!
//! Invariant: every symlink met is reported, also where the look-up fails behind it; no look-up leaves the image's root
//! or goes on for ever (at most 40 links, as Linux has it).

use slim_image::{ImagePath, ImageTree, Kind};

/// Links followed before a look-up fails, Linux's MAXSYMLINKS.
const LINKS_MAX: usize = 40;

/// What a look-up met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Walk {
    /// Symlinks that were followed, in order.
    pub links: Vec<ImagePath>,
    /// Directories that were entered, in order, without the root. `/a/../b` needs `/a`.
    pub directories: Vec<ImagePath>,
    pub end: End,
}

/// How a look-up ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// At this object: never a symlink, unless the last link was not to be followed.
    Found(ImagePath),
    /// The image has no such path (ENOENT, ENOTDIR).
    Missing,
    /// More links than the kernel follows (ELOOP).
    Loop,
    /// Something that is no part of the image lies over it: a mount, or a file of the engine's.
    Shadowed,
}

impl Walk {
    /// What was found, if anything.
    #[must_use]
    pub fn found(&self) -> Option<&ImagePath> {
        if let End::Found(path) = &self.end { Some(path) } else { None }
    }
}

/// Looks `path` up. It is taken from the root and may hold `.`, `..`, symlinks and doubled slashes. The last symlink is
/// followed where `follow` says so, or a slash stands behind it. `shadowed` tells what does not count.
pub fn walk(tree: &dyn ImageTree, path: &[u8], follow: bool, shadowed: &dyn Fn(&ImagePath) -> bool) -> Walk {
    let mut steps = Walk { links: Vec::new(), directories: Vec::new(), end: End::Missing };
    let mut pending: Vec<Vec<u8>> = Vec::new();
    push_components(&mut pending, path);
    let mut current = ImagePath::root();
    while let Some(component) = pending.pop() {
        if !tree.entry(&current).is_some_and(slim_image::Entry::is_directory) {
            return steps;
        }
        match &component[..] {
            b"." => continue,
            b".." => {
                current = current.parent().unwrap_or_else(ImagePath::root);
                continue;
            }
            _ => {}
        }
        let next = current.join(&component);
        if shadowed(&next) {
            steps.end = End::Shadowed;
            return steps;
        }
        match tree.entry(&next).map(|entry| &entry.kind) {
            None => return steps,
            Some(Kind::Symlink { .. }) if pending.is_empty() && !follow => current = next,
            Some(Kind::Symlink { target }) => {
                steps.links.push(next);
                if steps.links.len() > LINKS_MAX {
                    steps.end = End::Loop;
                    return steps;
                }
                if target.is_empty() {
                    return steps;
                }
                if target[0] == b'/' {
                    current = ImagePath::root();
                }
                push_components(&mut pending, target);
            }
            Some(Kind::Directory) => {
                steps.directories.push(next.clone());
                current = next;
            }
            Some(_) => current = next,
        }
    }
    steps.end = End::Found(current);
    steps
}

/// Puts the components of `path` on the stack, the first on top; a trailing slash counts as `.`, since it asks for a
/// directory.
fn push_components(pending: &mut Vec<Vec<u8>>, path: &[u8]) {
    if path.last() == Some(&b'/') {
        pending.push(b".".to_vec());
    }
    for component in path.rsplit(|byte| *byte == b'/').filter(|component| !component.is_empty()) {
        pending.push(component.to_vec());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use slim_image::MemoryTree;

    fn look_up(tree: &MemoryTree, path: &str) -> Walk {
        walk(tree, path.as_bytes(), true, &|_| false)
    }

    fn found(path: &str) -> End {
        End::Found(path.into())
    }

    fn paths(paths: &[&str]) -> Vec<ImagePath> {
        paths.iter().map(|path| ImagePath::from(*path)).collect()
    }

    #[test]
    fn every_symlink_on_the_way_is_reported() {
        let tree = MemoryTree::new()
            .file("/data/real/f", 0o644, "x")
            .symlink("/data/alias", "/data/second")
            .symlink("/data/second", "real")
            .symlink("/data/real/name", "./f");
        let walk = look_up(&tree, "/data/alias/name");
        assert_eq!(walk.end, found("/data/real/f"));
        assert_eq!(walk.links, paths(&["/data/alias", "/data/second", "/data/real/name"]));
    }

    #[test]
    fn two_dots_behind_a_symlink_leave_its_target_not_its_place() {
        let tree = MemoryTree::new()
            .file("/other/f", 0o644, "x")
            .dir("/other/deep", 0o755)
            .symlink("/link", "other/deep");
        let walk = look_up(&tree, "/link/../f");
        assert_eq!(walk.end, found("/other/f"));
        assert_eq!(walk.directories, paths(&["/other", "/other/deep"]));
    }

    #[test]
    fn two_dots_never_leave_the_root() {
        let tree = MemoryTree::new().file("/f", 0o644, "x").symlink("/out", "../../../f");
        assert_eq!(look_up(&tree, "/../../f").end, found("/f"));
        assert_eq!(look_up(&tree, "/out").end, found("/f"));
    }

    #[test]
    fn links_before_a_failure_are_reported() {
        let tree = MemoryTree::new().dir("/d", 0o755).symlink("/l", "d").symlink("/d/dangling", "none");
        let walk = look_up(&tree, "/l/dangling");
        assert_eq!(walk.end, End::Missing);
        assert_eq!(walk.links, paths(&["/l", "/d/dangling"]));
        assert_eq!(walk.directories, paths(&["/d"]));
    }

    #[test]
    fn a_last_symlink_is_followed_only_when_asked_or_with_a_slash_behind_it() {
        let tree = MemoryTree::new().dir("/d", 0o755).symlink("/l", "d");
        let not_followed = walk(&tree, b"/l", false, &|_| false);
        assert_eq!((not_followed.end, not_followed.links), (found("/l"), Vec::new()));
        assert_eq!(walk(&tree, b"/l/", false, &|_| false).end, found("/d"));
    }

    #[test]
    fn a_file_has_nothing_below_it() {
        let tree = MemoryTree::new().file("/f", 0o644, "x");
        for path in ["/f/x", "/f/", "/f/.", "/f/.."] {
            assert_eq!(look_up(&tree, path).end, End::Missing, "{path}");
        }
    }

    #[test]
    fn a_shadow_ends_the_look_up_and_two_dots_before_it_do_not() {
        let tree =
            MemoryTree::new().file("/mount/f", 0o644, "x").file("/g", 0o644, "x").symlink("/l", "/mount");
        let shadow =
            |path: &ImagePath| path.is_within(&"/mount".into()) && *path != ImagePath::from("/mount");
        let walked = walk(&tree, b"/l/f", true, &shadow);
        assert_eq!((walked.end, walked.links), (End::Shadowed, paths(&["/l"])));
        assert_eq!(walk(&tree, b"/mount/../g", true, &shadow).end, found("/g"));
    }

    #[test]
    fn a_loop_ends_after_forty_links() {
        let tree = MemoryTree::new().symlink("/a", "b").symlink("/b", "a");
        assert_eq!(look_up(&tree, "/a").end, End::Loop);
    }

    fn is_link(tree: &MemoryTree, path: &ImagePath) -> bool {
        tree.entry(path).is_some_and(|entry| matches!(entry.kind, Kind::Symlink { .. }))
    }

    fn any_tree() -> impl Strategy<Value = MemoryTree> {
        let name = "[ab]";
        let path = proptest::collection::vec(name, 1..4).prop_map(|names| format!("/{}", names.join("/")));
        let target = "(/|\\.\\./|\\./)?[ab](/[ab]|/\\.\\.){0,3}/?";
        proptest::collection::vec((path, proptest::option::of(target), any::<bool>()), 0..24).prop_map(
            |entries| {
                let mut tree = MemoryTree::new();
                for (path, target, directory) in entries {
                    let path = ImagePath::new(path);
                    let blocked = path
                        .ancestors()
                        .iter()
                        .any(|above| tree.entry(above).is_some_and(|entry| !entry.is_directory()));
                    if blocked || tree.entry(&path).is_some() {
                        continue;
                    }
                    tree = match target {
                        Some(target) => tree.symlink(path, target),
                        None if directory => tree.dir(path, 0o755),
                        None => tree.file(path, 0o644, "x"),
                    };
                }
                tree
            },
        )
    }

    proptest! {
        #[test]
        fn no_look_up_hangs_or_reports_what_is_not_there(
            tree in any_tree(), path in "(/[ab.]{1,2}){0,6}/?", follow in any::<bool>()
        ) {
            let walk = walk(&tree, path.as_bytes(), follow, &|_| false);
            prop_assert!(walk.links.len() <= LINKS_MAX + 1);
            for link in &walk.links {
                prop_assert!(is_link(&tree, link));
            }
            for directory in &walk.directories {
                prop_assert!(tree.entry(directory).unwrap().is_directory());
            }
            if let End::Found(found) = &walk.end {
                prop_assert!(tree.entry(found).is_some());
                let parents = found.ancestors();
                prop_assert!(parents.iter().all(|parent| tree.entry(parent).unwrap().is_directory()));
                prop_assert!(!follow || !is_link(&tree, found));
            }
        }
    }
}
