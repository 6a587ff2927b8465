//! Traced paths, which may hold `.`, `..` and symlinks, resolved over the kept paths.

use crate::inputs::KeptKind;
use slim_image::ImagePath;
use slim_trace::TracedPath;
use std::collections::BTreeMap;

/// The kernel's own limit on symlinks in one look-up (MAXSYMLINKS).
const MOST_LINKS: usize = 40;

/// The path that the kernel ends at, with every symlink followed, the last component's too. What is not kept is taken
/// as it is named: it was made while the program ran.
pub(crate) fn resolve(path: &TracedPath, kept: &BTreeMap<ImagePath, KeptKind>) -> Option<ImagePath> {
    let mut resolved: Vec<Vec<u8>> = Vec::new();
    let mut ahead: Vec<Vec<u8>> = reversed(path.as_bytes());
    let mut links = 0;
    while let Some(component) = ahead.pop() {
        match component.as_slice() {
            b"." => continue,
            b".." => {
                resolved.pop();
                continue;
            }
            _ => resolved.push(component),
        }
        if let Some(KeptKind::Symlink { target }) = kept.get(&joined(&resolved)) {
            links += 1;
            if links > MOST_LINKS {
                return None;
            }
            if target.first() == Some(&b'/') {
                resolved.clear();
            } else {
                resolved.pop();
            }
            ahead.extend(reversed(target));
        }
    }
    Some(joined(&resolved))
}

/// The path as it was named, where that says the same without looking at the tree: without `..`.
pub(crate) fn as_named(path: &TracedPath) -> Option<ImagePath> {
    let climbs = path.as_bytes().split(|byte| *byte == b'/').any(|component| component == b"..");
    (!climbs).then(|| ImagePath::new(path.as_bytes()))
}

fn reversed(path: &[u8]) -> Vec<Vec<u8>> {
    let components = path.split(|byte| *byte == b'/').filter(|component| !component.is_empty());
    components.rev().map(<[u8]>::to_vec).collect()
}

fn joined(components: &[Vec<u8>]) -> ImagePath {
    ImagePath::new(components.join(&b'/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn link(target: &str) -> KeptKind {
        KeptKind::Symlink { target: target.into() }
    }

    #[test]
    fn follows_links_in_directories_and_at_the_end_and_stops_at_loops() {
        let kept = BTreeMap::from([
            (ImagePath::from("/lib"), link("usr/lib")),
            (ImagePath::from("/usr/lib/libz.so.1"), link("libz.so.1.2")),
            (ImagePath::from("/usr/lib/up"), link("../share")),
            (ImagePath::from("/loop"), link("/loop")),
        ]);
        let resolved = |path: &str| resolve(&TracedPath::new(path), &kept).map(|path| path.to_string());
        assert_eq!(resolved("/lib/libz.so.1").as_deref(), Some("/usr/lib/libz.so.1.2"));
        assert_eq!(resolved("/lib/up/./x/../y").as_deref(), Some("/usr/share/y"));
        assert_eq!(resolved("/lib/../etc").as_deref(), Some("/usr/etc"));
        assert_eq!(resolved("/../new").as_deref(), Some("/new"));
        assert_eq!(resolved("/loop"), None);
    }
}
