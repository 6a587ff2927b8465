//! `/etc/ld.so.cache`, glibc's index of libraries.
//!
//! Three layouts are about (glibc's sysdeps/generic/dl-cache.h): the old one (`ld.so-1.7.0`), the old one with the new
//! one behind it, and the new one alone (`glibc-ld.so.cache1.1`). The new one is taken where it is there.

use std::collections::BTreeMap;

const OLD_MAGIC: &[u8] = b"ld.so-1.7.0\0";
const OLD_HEADER: usize = 16;
const OLD_ENTRY: usize = 12;
const NEW_MAGIC: &[u8] = b"glibc-ld.so.cache1.1";
const NEW_HEADER: usize = 48;
const NEW_ENTRY: usize = 24;

/// Paths by library name, in the file's order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LibraryCache(BTreeMap<Vec<u8>, Vec<Cached>>);

/// One line of the index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Cached {
    pub path: Vec<u8>,
    /// Only for processors with certain features.
    pub is_variant: bool,
}

impl LibraryCache {
    /// Reads the index; what is not one, or is cut off, is empty or ends early.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        if bytes.starts_with(NEW_MAGIC) {
            return Self::read_new(bytes);
        }
        if !bytes.starts_with(OLD_MAGIC) {
            return Self::default();
        }
        let count = number(bytes, OLD_MAGIC.len(), false).unwrap_or(0);
        let end = OLD_HEADER.saturating_add(count.saturating_mul(OLD_ENTRY));
        // Aligned for its 64-bit fields: 8 bytes, but 4 on i386.
        for alignment in [8, 4] {
            let start = end.checked_next_multiple_of(alignment).unwrap_or(usize::MAX);
            if let Some(new) = bytes.get(start..).filter(|rest| rest.starts_with(NEW_MAGIC)) {
                return Self::read_new(new);
            }
        }
        Self::read_old(bytes, count, end)
    }

    /// Where a library of this name may be.
    pub(crate) fn get(&self, name: &[u8]) -> &[Cached] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    fn read_new(bytes: &[u8]) -> Self {
        // 0 where it was not written down, 2 little, 3 big (glibc 2.33).
        let is_big_endian = bytes.get(28).is_some_and(|flags| flags & 3 == 3);
        let mut cache = Self::default();
        let count = number(bytes, NEW_MAGIC.len(), is_big_endian).unwrap_or(0);
        for index in 0..count {
            let start = NEW_HEADER.saturating_add(index.saturating_mul(NEW_ENTRY));
            let Some(entry) = bytes.get(start..start.saturating_add(NEW_ENTRY)) else { break };
            let is_variant = entry[16..].iter().any(|byte| *byte != 0);
            cache.add(bytes, number(entry, 4, is_big_endian), number(entry, 8, is_big_endian), is_variant);
        }
        cache
    }

    fn read_old(bytes: &[u8], count: usize, end: usize) -> Self {
        let mut cache = Self::default();
        let strings = bytes.get(end..).unwrap_or_default();
        for index in 0..count {
            let start = OLD_HEADER.saturating_add(index.saturating_mul(OLD_ENTRY));
            let Some(entry) = bytes.get(start..start.saturating_add(OLD_ENTRY)) else { break };
            cache.add(strings, number(entry, 4, false), number(entry, 8, false), false);
        }
        cache
    }

    fn add(&mut self, strings: &[u8], name: Option<usize>, path: Option<usize>, is_variant: bool) {
        let (Some(name), Some(path)) = (string(strings, name), string(strings, path)) else { return };
        if path.first() == Some(&b'/') {
            self.0.entry(name).or_default().push(Cached { path, is_variant });
        }
    }
}

fn number(bytes: &[u8], at: usize, is_big_endian: bool) -> Option<usize> {
    let bytes: [u8; 4] = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    let number = if is_big_endian { u32::from_be_bytes(bytes) } else { u32::from_le_bytes(bytes) };
    usize::try_from(number).ok()
}

fn string(bytes: &[u8], at: Option<usize>) -> Option<Vec<u8>> {
    let rest = bytes.get(at?..)?;
    let end = rest.iter().take(4096).position(|byte| *byte == 0)?;
    Some(rest[..end].to_vec()).filter(|string| !string.is_empty())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// An index in the new layout: name, path, hwcap.
    pub(crate) fn new_layout(entries: &[(&str, &str, u64)]) -> Vec<u8> {
        let mut bytes = NEW_MAGIC.to_vec();
        bytes.extend(u32::try_from(entries.len()).unwrap().to_le_bytes());
        bytes.resize(NEW_HEADER, 0);
        bytes[28] = 2;
        let mut strings = Vec::new();
        let base = NEW_HEADER + entries.len() * NEW_ENTRY;
        for (name, path, hwcap) in entries {
            bytes.extend(0x0303_u32.to_le_bytes());
            for text in [name, path] {
                bytes.extend(u32::try_from(base + strings.len()).unwrap().to_le_bytes());
                strings.extend(text.as_bytes());
                strings.push(0);
            }
            bytes.extend(0_u32.to_le_bytes());
            bytes.extend(hwcap.to_le_bytes());
        }
        bytes.extend(strings);
        bytes
    }

    fn old_layout(entries: &[(&str, &str)]) -> Vec<u8> {
        let mut bytes = OLD_MAGIC.to_vec();
        bytes.extend(u32::try_from(entries.len()).unwrap().to_le_bytes());
        let mut strings = Vec::new();
        for texts in entries {
            bytes.extend(3_u32.to_le_bytes());
            for text in [texts.0, texts.1] {
                bytes.extend(u32::try_from(strings.len()).unwrap().to_le_bytes());
                strings.extend(text.as_bytes());
                strings.push(0);
            }
        }
        bytes.extend(strings);
        bytes
    }

    fn cached(path: &str, is_variant: bool) -> Cached {
        Cached { path: path.into(), is_variant }
    }

    #[test]
    fn the_new_layout_tells_variants_apart() {
        let cache = LibraryCache::read(&new_layout(&[
            ("libx.so.1", "/usr/lib/glibc-hwcaps/x86-64-v3/libx.so.1", 1 << 62),
            ("libx.so.1", "/usr/lib/libx.so.1", 0),
        ]));
        assert_eq!(
            cache.get(b"libx.so.1"),
            [cached("/usr/lib/glibc-hwcaps/x86-64-v3/libx.so.1", true), cached("/usr/lib/libx.so.1", false)]
        );
        assert!(cache.get(b"liby.so.1").is_empty());
    }

    #[test]
    fn the_old_layout_reads_and_gives_way_to_a_new_one_behind_it() {
        let old = old_layout(&[("liba.so", "/lib/liba.so")]);
        assert_eq!(LibraryCache::read(&old).get(b"liba.so"), [cached("/lib/liba.so", false)]);
        let mut both = old_layout(&[]);
        both.resize(OLD_HEADER.next_multiple_of(8), 0);
        both.extend(new_layout(&[("libb.so", "/lib/libb.so", 0)]));
        assert_eq!(LibraryCache::read(&both).get(b"libb.so"), [cached("/lib/libb.so", false)]);
    }

    #[test]
    fn this_machines_own_index_holds_its_c_library() {
        let Ok(bytes) = std::fs::read("/etc/ld.so.cache") else { return };
        let cache = LibraryCache::read(&bytes);
        assert!(cache.get(b"libc.so.6").iter().any(|cached| cached.path.ends_with(b"/libc.so.6")));
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            magic in prop_oneof![Just(NEW_MAGIC), Just(OLD_MAGIC)],
            rest in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut bytes = magic.to_vec();
            bytes.extend(rest);
            let _ = LibraryCache::read(&bytes);
        }

        #[test]
        fn an_index_cut_off_anywhere_is_a_part_of_the_whole(length in 0_usize..200) {
            let bytes = new_layout(&[("liba.so", "/lib/liba.so", 0), ("libb.so", "/lib/libb.so", 7)]);
            let cut = LibraryCache::read(&bytes[..length.min(bytes.len())]);
            let whole = LibraryCache::read(&bytes);
            for name in [&b"liba.so"[..], b"libb.so"] {
                prop_assert!(cut.get(name).is_empty() || cut.get(name) == whole.get(name));
            }
        }
    }
}
