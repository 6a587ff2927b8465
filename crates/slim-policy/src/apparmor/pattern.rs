//! Paths as AppArmor writes them: quoted, with everything that its globs and quotes mean specially taken literally.

use slim_image::ImagePath;
use std::fmt;

/// The slash after a directory's path: AppArmor's directory rules end in one.
pub(crate) const DIRECTORY: &str = "/";
/// Every name in a directory.
pub(crate) const NAMES: &str = "*";
/// Everything below a directory.
pub(crate) const TREE: &str = "**";

/// A path pattern without its quotes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Pattern(String);

impl Pattern {
    /// Matches exactly this path.
    pub(crate) fn exact(path: &ImagePath) -> Self {
        let bytes = path.as_bytes();
        // The root's own slash comes with DIRECTORY.
        let bytes = if path.is_root() { b"" } else { bytes };
        Self(String::new()).then_exactly(bytes)
    }

    /// The same with exactly these bytes behind it.
    pub(crate) fn then_exactly(mut self, bytes: &[u8]) -> Self {
        let text = &mut self.0;
        for (index, byte) in bytes.iter().enumerate() {
            match byte {
                b'"' => text.push_str("\\\""),
                // In a class, since the parser takes a backslash before the closing quote for an escaped quote.
                b'\\' => text.push_str("[\\\\]"),
                b'*' | b'?' | b'[' | b']' | b'{' | b'}' | b'^' => text.extend(['\\', char::from(*byte)]),
                // `@{` would begin a variable.
                b'@' if bytes.get(index + 1) == Some(&b'{') => text.push_str("[@]"),
                b' '..=b'~' => text.push(char::from(*byte)),
                other => text.push_str(&format!("\\{other:03o}")),
            }
        }
        self
    }

    /// The same with a part of a pattern behind it.
    pub(crate) fn then(mut self, part: &str) -> Self {
        self.0.push_str(part);
        self
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+*".contains(&byte);
        if self.0.bytes().all(plain) {
            formatter.write_str(&self.0)
        } else {
            write!(formatter, "\"{}\"", self.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_only_what_needs_it() {
        let written = |path: &[u8]| Pattern::exact(&ImagePath::new(path)).to_string();
        assert_eq!(
            written(b"/usr/lib/x86_64-linux-gnu/libstdc++.so.6"),
            "/usr/lib/x86_64-linux-gnu/libstdc++.so.6"
        );
        assert_eq!(written(b"/a b'q \" [x]"), r#""/a b'q \" \[x\]""#);
        assert_eq!(written(b"/*?{}"), r#""/\*\?\{\}""#);
        assert_eq!(written(b"/@{PROC}"), r#""/[@]\{PROC\}""#);
        assert_eq!(written(b"/new\nline\\\xff"), r#""/new\012line[\\]\377""#);
        assert_eq!(Pattern::exact(&ImagePath::root()).then(DIRECTORY).to_string(), "/");
    }
}
