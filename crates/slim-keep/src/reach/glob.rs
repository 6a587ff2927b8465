//! Paths with wildcards, as a shell expands them: `*` and `?` stay within one component and do not match a leading dot.

use crate::context::Context;
use slim_image::{Entry, ImagePath, Kind};

/// Stands for any text in a path, as [`super::shell`] has it.
const UNKNOWN: char = '\0';

/// The regular files that an absolute path with wildcards leads to, at most `most`, in the order of their names. The
/// first component must be known: `/*/x` is no place.
pub(super) fn files(context: &Context<'_>, pattern: &str, most: usize) -> Vec<ImagePath> {
    if !is_pattern(pattern) {
        return context.file(pattern.as_bytes()).into_iter().collect();
    }
    let mut components = pattern.split('/').filter(|component| !component.is_empty()).peekable();
    if components.peek().is_none_or(|first| is_pattern(first)) {
        return Vec::new();
    }
    let mut places = vec![ImagePath::root()];
    while let Some(component) = components.next() {
        let is_last = components.peek().is_none();
        let mut next = Vec::new();
        for place in places {
            if !is_pattern(component) {
                let path = [place.as_bytes(), b"/", component.as_bytes()].concat();
                next.extend(context.walk(&path, true).found().cloned());
                continue;
            }
            let names =
                context.tree.read_dir(&place).into_iter().filter(|name| matches(component.as_bytes(), name));
            let found = names
                .map(|name| place.join(name))
                .filter_map(|path| context.walk(path.as_bytes(), true).found().cloned());
            next.extend(found.take(most));
        }
        next.retain(|path| {
            let entry = context.entry(path);
            if is_last {
                entry.is_some_and(|entry| matches!(entry.kind, Kind::File { .. }))
            } else {
                entry.is_some_and(Entry::is_directory)
            }
        });
        next.truncate(most);
        places = next;
    }
    places
}

fn is_pattern(text: &str) -> bool {
    text.contains(['*', '?', '[', UNKNOWN])
}

/// Whether a name matches a component with wildcards.
fn matches(pattern: &[u8], name: &[u8]) -> bool {
    if name.first() == Some(&b'.') && pattern.first() != Some(&b'.') {
        return false;
    }
    // Greedy, with one place to come back to: linear in practice, quadratic at worst.
    let (mut at, mut in_name) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while in_name < name.len() {
        match pattern.get(at) {
            Some(b'*' | 0) => {
                star = Some((at, in_name));
                at += 1;
                continue;
            }
            Some(b'[') => {
                if let Some(length) = class(&pattern[at..], name[in_name]) {
                    (at, in_name) = (at + length, in_name + 1);
                    continue;
                }
                if name[in_name] == b'[' && !pattern[at..].contains(&b']') {
                    (at, in_name) = (at + 1, in_name + 1);
                    continue;
                }
            }
            Some(b'?') => {
                (at, in_name) = (at + 1, in_name + 1);
                continue;
            }
            Some(byte) if *byte == name[in_name] => {
                (at, in_name) = (at + 1, in_name + 1);
                continue;
            }
            _ => {}
        }
        let Some((star_at, taken)) = star else { return false };
        star = Some((star_at, taken + 1));
        (at, in_name) = (star_at + 1, taken + 1);
    }
    pattern[at..].iter().all(|byte| matches!(byte, b'*' | 0))
}

/// The length of `[…]` at the beginning of a pattern, where the byte is in it.
fn class(pattern: &[u8], byte: u8) -> Option<usize> {
    let is_negated = matches!(pattern.get(1), Some(b'!' | b'^'));
    let first = if is_negated { 2 } else { 1 };
    let end = pattern.iter().skip(first + 1).position(|end| *end == b']')? + first + 1;
    let inside = &pattern[first..end];
    let mut found = false;
    let mut at = 0;
    while at < inside.len() {
        if inside.get(at + 1) == Some(&b'-') && at + 2 < inside.len() {
            found |= (inside[at]..=inside[at + 2]).contains(&byte);
            at += 3;
        } else {
            found |= inside[at] == byte;
            at += 1;
        }
    }
    (found != is_negated).then_some(end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_image::{Config, MemoryTree};

    #[test]
    fn wildcards_stay_within_a_component() {
        for (pattern, name, is_match) in [
            ("*.sh", "a.sh", true),
            ("*.sh", ".a.sh", false),
            ("[0-9]*-?.sh", "10-a.sh", true),
            ("[!0-9]*", "1", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYb", false),
            ("x[", "x[", true),
        ] {
            assert_eq!(matches(pattern.as_bytes(), name.as_bytes()), is_match, "{pattern} {name}");
        }
    }

    #[test]
    fn files_are_found_through_links_in_order() {
        let tree = MemoryTree::new()
            .file("/etc/app.d/20-b.sh", 0o644, "")
            .file("/etc/app.d/10-a.sh", 0o644, "")
            .file("/etc/app.d/inner/c.sh", 0o644, "")
            .file("/etc/app.d/readme", 0o644, "")
            .symlink("/conf", "/etc/app.d");
        let context = Context::new(&tree, &Config::default());
        assert_eq!(
            files(&context, "/conf/*.sh", 9),
            ["/etc/app.d/10-a.sh".into(), "/etc/app.d/20-b.sh".into()]
        );
        assert_eq!(files(&context, "/etc/\0.d/[12]0-?.sh", 1).len(), 1);
        assert!(files(&context, "/*/app.d/*", 9).is_empty());
    }
}
