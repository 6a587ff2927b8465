//! Paths inside an image.
//!
//! Invariant: an [`ImagePath`] is absolute, has no empty, `.` or `..` component and no trailing slash (the root is
//! `/`). It is bytes: file names need not be UTF-8. In text (JSON, terminal) bytes that are not printable UTF-8 and
//! the backslash are written as `\xNN`, which [`unescape`] reads back without loss.

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Borrow;
use std::fmt::{self, Write as _};

/// An absolute, normalised path inside an image.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImagePath(Vec<u8>);

impl ImagePath {
    /// `/`.
    #[must_use]
    pub fn root() -> Self {
        Self(b"/".to_vec())
    }

    /// Normalises lexically: `.`, empty components and `..` are taken away (`..` at the root stays at the root). A
    /// relative path is taken from the root. Where symlinks may lie on the way, walk the tree instead.
    #[must_use]
    pub fn new(path: impl AsRef<[u8]>) -> Self {
        let mut components: Vec<&[u8]> = Vec::new();
        for component in path.as_ref().split(|byte| *byte == b'/') {
            match component {
                b"" | b"." => {}
                b".." => {
                    components.pop();
                }
                name => components.push(name),
            }
        }
        let mut bytes = Vec::with_capacity(path.as_ref().len() + 1);
        for component in components {
            bytes.push(b'/');
            bytes.extend_from_slice(component);
        }
        if bytes.is_empty() {
            bytes.push(b'/');
        }
        Self(bytes)
    }

    /// The path with one more component, which must not be empty, `.`, `..` or hold a slash.
    #[must_use]
    pub fn join(&self, name: impl AsRef<[u8]>) -> Self {
        let name = name.as_ref();
        debug_assert!(!name.is_empty() && name != b"." && name != b".." && !name.contains(&b'/'));
        let mut bytes = Vec::with_capacity(self.0.len() + name.len() + 1);
        if !self.is_root() {
            bytes.extend_from_slice(&self.0);
        }
        bytes.push(b'/');
        bytes.extend_from_slice(name);
        Self(bytes)
    }

    /// The directory that holds this path; `None` for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        if self.is_root() {
            return None;
        }
        let slash = self.0.iter().rposition(|byte| *byte == b'/').expect("an image path is absolute");
        Some(Self(if slash == 0 { b"/".to_vec() } else { self.0[..slash].to_vec() }))
    }

    /// The last component; empty for the root.
    #[must_use]
    pub fn file_name(&self) -> &[u8] {
        let slash = self.0.iter().rposition(|byte| *byte == b'/').expect("an image path is absolute");
        &self.0[slash + 1..]
    }

    /// Components from the top, without the root.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        self.0.split(|byte| *byte == b'/').filter(|component| !component.is_empty())
    }

    /// Every directory above this path, from the root down; empty for the root.
    #[must_use]
    pub fn ancestors(&self) -> Vec<Self> {
        let mut above: Vec<Self> = std::iter::successors(self.parent(), Self::parent).collect();
        above.reverse();
        above
    }

    /// Whether this is `directory` itself or lies below it.
    #[must_use]
    pub fn is_within(&self, directory: &Self) -> bool {
        directory.is_root()
            || self.0 == directory.0
            || (self.0.starts_with(&directory.0) && self.0[directory.0.len()] == b'/')
    }

    /// Whether this is `/`.
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0 == b"/"
    }

    /// The bytes, with the leading slash.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl From<&str> for ImagePath {
    fn from(path: &str) -> Self {
        Self::new(path)
    }
}

impl From<&ImagePath> for ImagePath {
    fn from(path: &ImagePath) -> Self {
        path.clone()
    }
}

/// Look-ups in sorted maps by raw bytes; order and equality of a path are those of its bytes.
impl Borrow<[u8]> for ImagePath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for ImagePath {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ImagePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&escape(&self.0))
    }
}

impl fmt::Debug for ImagePath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&escape(&self.0))
    }
}

impl Serialize for ImagePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&escape(&self.0))
    }
}

impl<'de> Deserialize<'de> for ImagePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes =
            unescape(&text).ok_or_else(|| de::Error::custom(format!("bad escape in path {text:?}")))?;
        if bytes.first() != Some(&b'/') {
            return Err(de::Error::custom(format!("path {text:?} is not absolute")));
        }
        Ok(Self::new(bytes))
    }
}

/// Bytes as text without loss: printable UTF-8 as it is, the backslash and everything else as `\xNN`.
#[must_use]
pub fn escape(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for character in chunk.valid().chars() {
            if character == '\\' || is_unprintable(character) {
                let mut buffer = [0; 4];
                escape_bytes(&mut text, character.encode_utf8(&mut buffer).as_bytes());
            } else {
                text.push(character);
            }
        }
        escape_bytes(&mut text, chunk.invalid());
    }
    text
}

/// Control characters; what some readers take for the end of a line (YAML 1.1: U+2028 and U+2029); what turns the order of
/// a line's letters on a screen around.
#[must_use]
pub fn is_unprintable(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape_bytes(text: &mut String, bytes: &[u8]) {
    for byte in bytes {
        write!(text, "\\x{byte:02x}").expect("writing to a string does not fail");
    }
}

/// The bytes that [`escape`] wrote; `None` where an escape is not `\xNN`.
#[must_use]
pub fn unescape(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        bytes.extend_from_slice(&rest.as_bytes()[..at]);
        let code = rest[at..].strip_prefix("\\x")?.get(..2)?;
        bytes.push(u8::from_str_radix(code, 16).ok()?);
        rest = &rest[at + 4..];
    }
    bytes.extend_from_slice(rest.as_bytes());
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn normalises_lexically() {
        assert_eq!(ImagePath::new("//usr/./lib/../bin/"), ImagePath::from("/usr/bin"));
        assert_eq!(ImagePath::new("/../.."), ImagePath::root());
        assert_eq!(ImagePath::new("etc"), ImagePath::from("/etc"));
    }

    #[test]
    fn within_goes_by_component_not_by_prefix() {
        assert!(ImagePath::from("/usr/lib").is_within(&ImagePath::from("/usr")));
        assert!(!ImagePath::from("/usrlocal").is_within(&ImagePath::from("/usr")));
        assert!(ImagePath::from("/x").is_within(&ImagePath::root()));
    }

    #[test]
    fn ancestors_run_from_the_root_down() {
        assert_eq!(
            ImagePath::from("/a/b/c").ancestors(),
            [ImagePath::root(), ImagePath::from("/a"), ImagePath::from("/a/b")]
        );
        assert!(ImagePath::root().ancestors().is_empty());
    }

    proptest! {
        #[test]
        fn any_bytes_survive_the_way_through_text(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(unescape(&escape(&bytes)), Some(bytes));
        }

        #[test]
        fn a_normalised_path_normalises_to_itself(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            let once = ImagePath::new(&bytes);
            prop_assert_eq!(ImagePath::new(once.as_bytes()), once);
        }
    }

    #[test]
    fn what_ends_a_line_or_turns_it_around_is_escaped() {
        for (character, escaped) in
            [('\n', "\\x0a"), ('\u{85}', "\\xc2\\x85"), ('\u{2028}', "\\xe2\\x80\\xa8")]
        {
            assert_eq!(escape(character.to_string().as_bytes()), escaped);
        }
        let turned = escape("a\u{202e}b".as_bytes());
        assert!(turned.is_ascii(), "{turned}");
        assert_eq!(unescape(&turned).unwrap(), "a\u{202e}b".as_bytes());
    }
}
