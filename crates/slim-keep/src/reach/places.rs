//! Small questions about names and directories that the rules of several languages ask.

use crate::context::Context;
use crate::reason::{Reason, Via};
use crate::seed::Seed;
use slim_image::path::escape;
use slim_image::{Entry, ImagePath, Kind};

/// `name` as seen from `directory`; an absolute name stands for itself.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    if name.starts_with(b"/") {
        return name.to_vec();
    }
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    [directory, b"/", name].concat()
}

/// Everything before the last slash; the root for what lies there.
pub(crate) fn directory_of(path: &[u8]) -> &[u8] {
    match path.iter().rposition(|byte| *byte == b'/') {
        None | Some(0) => b"/",
        Some(slash) => &path[..slash],
    }
}

/// What follows the last dot of a file's name; empty where there is none.
pub(crate) fn ending(name: &[u8]) -> &[u8] {
    let name = name.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    name.iter().rposition(|byte| *byte == b'.').map_or(&[], |dot| &name[dot + 1..])
}

/// Whether `part` stands anywhere in `text`.
pub(crate) fn holds(text: &[u8], part: &[u8]) -> bool {
    !part.is_empty() && text.windows(part.len()).any(|window| window == part)
}

/// The directory that a path leads to.
pub(crate) fn directory(context: &Context<'_>, path: &[u8]) -> Option<ImagePath> {
    let walk = context.walk(path, true);
    walk.found().filter(|found| context.entry(found).is_some_and(Entry::is_directory)).cloned()
}

/// The paths in a directory, sorted.
pub(crate) fn inside(context: &Context<'_>, directory: &ImagePath) -> Vec<ImagePath> {
    context.tree.read_dir(directory).into_iter().map(|name| directory.join(name)).collect()
}

/// Regular files and symlinks below a directory, at most `depth` directories deep (1: only its own), in path order.
pub(crate) fn below(context: &Context<'_>, top: &ImagePath, depth: usize) -> Vec<ImagePath> {
    let mut files = Vec::new();
    let mut ahead = vec![(top.clone(), depth)];
    while let Some((directory, depth)) = ahead.pop() {
        for path in inside(context, &directory) {
            match context.entry(&path).map(|entry| &entry.kind) {
                Some(Kind::Directory) if depth > 1 => ahead.push((path, depth - 1)),
                Some(Kind::File { .. } | Kind::Symlink { .. }) => files.push(path),
                _ => {}
            }
        }
    }
    files.sort();
    files
}

/// The regular files of one folder that a path made of these ends can mean; the suffix names no other folder.
pub(crate) fn fitting(context: &Context<'_>, prefix: &[u8], suffix: &[u8]) -> Vec<ImagePath> {
    let stem = prefix.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
    let Some(folder) = directory(context, directory_of(prefix)) else { return Vec::new() };
    let mut files = inside(context, &folder);
    files.retain(|path| {
        let name = path.file_name();
        name.len() >= stem.len() + suffix.len()
            && name.starts_with(stem)
            && name.ends_with(suffix)
            && context.file(path.as_bytes()).is_some()
    });
    files
}

/// Bytes of all regular files below a directory.
pub(crate) fn size_below(context: &Context<'_>, top: &ImagePath) -> u64 {
    let files = below(context, top, usize::MAX);
    files.iter().filter_map(|path| context.entry(path)).map(Entry::size).sum()
}

/// The directories of libraries that the loader knows without being told, as they stand in the image.
pub(crate) fn library_directories(context: &Context<'_>) -> Vec<ImagePath> {
    let mut places =
        vec![ImagePath::from("/usr/lib"), ImagePath::from("/usr/lib64"), ImagePath::from("/lib")];
    for top in ["/usr/lib", "/lib"] {
        let machines =
            directory(context, top.as_bytes()).map(|place| inside(context, &place)).unwrap_or_default();
        places.extend(machines.into_iter().filter(|place| holds(place.file_name(), b"-linux-")));
    }
    places.retain(|place| directory(context, place.as_bytes()).is_some());
    places
}

/// Files of those directories whose names begin so.
pub(crate) fn libraries(context: &Context<'_>, start: &str) -> Vec<ImagePath> {
    let places = library_directories(context);
    places.iter().flat_map(|place| fitting(context, place.join(start).as_bytes(), b"")).collect()
}

/// The reason that `from` asks for something under the name `what`.
pub(crate) fn because(via: Via, from: &ImagePath, line: Option<u32>, what: &[u8]) -> Reason {
    Reason::Reachable { via, from: from.clone(), line, what: escape(what) }
}

/// Seeds of all these objects, for one reason.
pub(crate) fn objects<P: AsRef<[u8]>>(
    paths: impl IntoIterator<Item = P>,
    reason: &Reason,
) -> impl Iterator<Item = Seed> {
    paths.into_iter().map(|path| Seed::object(path, reason.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_image::{Config, MemoryTree};

    #[test]
    fn names_are_taken_apart() {
        assert_eq!(join(b"/a", b"b"), b"/a/b");
        assert_eq!(join(b"/", b"b"), b"/b");
        assert_eq!(join(b"/a", b"/b"), b"/b");
        assert_eq!(
            [directory_of(b"/a/b"), directory_of(b"/a"), directory_of(b"a")],
            [&b"/a"[..], b"/", b"/"]
        );
        assert_eq!([ending(b"/a.b/c.tar.gz"), ending(b"/a.b/c")], [&b"gz"[..], b""]);
        assert!(holds(b"abc", b"bc") && !holds(b"abc", b"") && !holds(b"", b"a"));
    }

    #[test]
    fn a_cycle_of_links_ends() {
        let tree =
            MemoryTree::new().file("/a/b/f", 0o644, "12").symlink("/a/b/up", "..").file("/a/g", 0o644, "3");
        let context = Context::new(&tree, &Config::default());
        let names: Vec<String> = below(&context, &"/a".into(), 9).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["/a/b/f", "/a/b/up", "/a/g"]);
        assert_eq!(below(&context, &"/a".into(), 1).len(), 1);
        assert_eq!(size_below(&context, &"/a".into()), 3);
    }
}
