//! One layer's stream in memory: what [`crate::unpack`] would make of it on a disk, and nothing of other layers.
//!
//! Invariant: whatever is refused there is refused here, and what comes of a stream is the same: where links lead, what a
//! later member replaces, what is hidden. A test unpacks layers of every kind and compares.

use super::{ENTRY_LIMIT, entry_of};
use crate::meaning::{self, Meaning, Meter};
use crate::path::{ImagePath, escape};
use crate::tape::{Member, MemberKind, Scanner, TapeError};
use crate::tree::{Entry, Kind};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read};
use std::ops::Bound;

/// As many links as the kernel follows before it is ELOOP.
const LINK_LIMIT: usize = 40;

/// A layer by itself.
#[derive(Debug, Default)]
pub(super) struct LoneLayer {
    pub nodes: BTreeMap<ImagePath, Node>,
    /// Directories that hide what lower layers hold in them.
    pub opaque: BTreeSet<ImagePath>,
    /// What it says of the root.
    pub root: Option<Entry>,
}

/// What lies under a path of a layer.
#[derive(Clone, Debug)]
pub(super) enum Node {
    /// Nothing, and what lower layers hold is not seen.
    Whiteout,
    /// A directory that the layer does not name.
    Implied,
    /// An entry, and where in the stream its contents lie.
    Entry(Entry, u64),
}

/// Why a layer is not read.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoneError {
    #[error(transparent)]
    Tape(#[from] TapeError),
    #[error("{0}")]
    Other(String),
}

impl Node {
    fn is_directory(&self) -> bool {
        match self {
            Self::Whiteout => false,
            Self::Implied => true,
            Self::Entry(entry, _) => entry.is_directory(),
        }
    }

    fn link(&self) -> Option<&[u8]> {
        match self {
            Self::Entry(Entry { kind: Kind::Symlink { target }, .. }, _) => Some(target),
            _ => None,
        }
    }
}

impl LoneLayer {
    /// Reads a plain stream to its end; `groups` counts the inodes with several names.
    pub(super) fn read(input: impl Read, groups: &mut u64) -> Result<Self, LoneError> {
        let mut layer = Self::default();
        let mut meter = Meter::default();
        let mut scanner = Scanner::new(input);
        while let Some(member) = scanner.next()? {
            meter
                .count(&member, ENTRY_LIMIT)
                .map_err(|limit| LoneError::Other(format!("it holds more than {limit}")))?;
            let name = member.name.clone();
            let refuse = |reason: &str| LoneError::Other(format!("{}: {reason}", escape(&name)));
            layer.member(member, scanner.position(), groups).map_err(|reason| refuse(&reason))?;
        }
        io::copy(&mut scanner.into_inner(), &mut io::sink())
            .map_err(|error| LoneError::Other(error.to_string()))?;
        Ok(layer)
    }

    fn member(&mut self, member: Member, offset: u64, groups: &mut u64) -> Result<(), String> {
        match meaning::of(&member)? {
            Meaning::Nothing => {}
            Meaning::Root => self.root = Some(entry_of(member)),
            Meaning::Opaque(parents) => {
                let folder = self.parent(&parents)?;
                self.opaque.insert(folder);
            }
            Meaning::Hidden(parents, hidden) => {
                let path = self.parent(&parents)?.join(hidden);
                match self.nodes.get(&path) {
                    None => drop(self.nodes.insert(path, Node::Whiteout)),
                    Some(there) if there.is_directory() => drop(self.opaque.insert(path)),
                    // What lies here hides what lies below.
                    Some(_) => {}
                }
            }
            Meaning::Entry(parents, name) => {
                let path = self.parent(&parents)?.join(name);
                match member.kind {
                    MemberKind::Directory => {
                        self.make_directory(&path);
                        self.nodes.insert(path, Node::Entry(entry_of(member), offset));
                    }
                    MemberKind::HardLink => self.link(&member, path, groups)?,
                    _ => {
                        self.remove(&path);
                        self.nodes.insert(path, Node::Entry(entry_of(member), offset));
                    }
                }
            }
        }
        Ok(())
    }

    /// The directory that an entry goes into, made where the layer does not name it.
    fn parent(&mut self, components: &[&[u8]]) -> Result<ImagePath, String> {
        let mut folder = ImagePath::root();
        for component in components {
            let path = folder.join(component);
            folder = if self.nodes.get(&path).is_some_and(|there| there.link().is_some()) {
                self.resolve(&path).ok_or_else(|| {
                    format!("{path} on its way is a link that leads to no directory of the layer")
                })?
            } else {
                self.make_directory(&path);
                path
            };
        }
        Ok(folder)
    }

    fn make_directory(&mut self, path: &ImagePath) {
        let is_hidden = match self.nodes.get(path) {
            Some(there) if there.is_directory() => return,
            there => matches!(there, Some(Node::Whiteout)),
        };
        self.remove(path);
        self.nodes.insert(path.clone(), Node::Implied);
        if is_hidden {
            self.opaque.insert(path.clone());
        }
    }

    /// A directory as a process would find it that has the layer as its root.
    fn resolve(&self, path: &ImagePath) -> Option<ImagePath> {
        let mut ahead: Vec<Vec<u8>> = path.components().map(<[u8]>::to_vec).collect();
        ahead.reverse();
        let (mut at, mut links) = (ImagePath::root(), 0);
        while let Some(name) = ahead.pop() {
            match &name[..] {
                b"" | b"." => continue,
                b".." => at = at.parent().unwrap_or(at),
                name => {
                    let next = at.join(name);
                    let node = self.nodes.get(&next)?;
                    if let Some(target) = node.link() {
                        links += 1;
                        if links > LINK_LIMIT {
                            return None;
                        }
                        if target.starts_with(b"/") {
                            at = ImagePath::root();
                        }
                        ahead.extend(target.split(|byte| *byte == b'/').rev().map(<[u8]>::to_vec));
                    } else if node.is_directory() {
                        at = next;
                    } else {
                        return None;
                    }
                }
            }
        }
        Some(at)
    }

    fn link(&mut self, member: &Member, path: ImagePath, groups: &mut u64) -> Result<(), String> {
        let dangling = || format!("it is a hard link to {}, which is not there", escape(&member.link));
        let components = meaning::components(&member.link)?;
        let (name, parents) = components.split_last().ok_or_else(dangling)?;
        let mut folder = ImagePath::root();
        for parent in parents {
            folder = folder.join(parent);
        }
        let target = self.resolve(&folder).ok_or_else(dangling)?.join(name);
        match self.nodes.get_mut(&target) {
            None | Some(Node::Whiteout) => return Err(dangling()),
            Some(there) if there.is_directory() => {
                return Err("it is a hard link to a directory".to_owned());
            }
            Some(Node::Entry(entry, _)) if matches!(entry.kind, Kind::File { .. }) => {
                entry.hard_link_group.get_or_insert_with(|| {
                    *groups += 1;
                    *groups
                });
            }
            Some(_) => {}
        }
        // A link to itself would otherwise take its own target away.
        if path != target {
            self.remove(&path);
        }
        let node = self.nodes.get(&target).cloned().ok_or_else(dangling)?;
        self.nodes.insert(path, node);
        Ok(())
    }

    /// Takes away what lies under a path with everything below it.
    fn remove(&mut self, path: &ImagePath) {
        if self.nodes.remove(path).is_none_or(|there| !there.is_directory()) {
            return;
        }
        self.opaque.retain(|directory| !directory.is_within(path));
        for below in paths_below(&self.nodes, path) {
            self.nodes.remove(&below);
        }
    }
}

/// Every path of a map below a directory.
pub(super) fn paths_below<V>(map: &BTreeMap<ImagePath, V>, directory: &ImagePath) -> Vec<ImagePath> {
    let mut prefix = directory.as_bytes().to_vec();
    if !directory.is_root() {
        prefix.push(b'/');
    }
    map.range::<[u8], _>((Bound::Excluded(&prefix[..]), Bound::Unbounded))
        .map(|(path, _)| path)
        .take_while(|path| path.as_bytes().starts_with(&prefix))
        .cloned()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::Merged;
    use crate::digest::Digest;
    use crate::listing::Listing;
    use crate::overlay::OverlayTree;
    use crate::shelf::{Part, Place};
    use crate::tape::{self, Member, MemberKind};
    use crate::tree::{Entry, Kind};
    use crate::unpack::{Limits, unpack_layer};
    use proptest::prelude::*;
    use std::io::Write;
    use std::path::PathBuf;
    use std::sync::Arc;

    /// Few names, so that members meet: parents that are links, marks, names that lead out.
    const NAMES: [&str; 14] = [
        "a",
        "b",
        "c",
        "a/b",
        "a/b/c",
        "b/a",
        "c/a",
        "c/b/a",
        ".wh.a",
        "a/.wh.b",
        ".wh.c",
        "a/.wh..wh..opq",
        ".wh..wh..opq",
        "a/../b",
    ];
    const TARGETS: [&str; 9] = ["a", "b", "/", ".", "..", "a/b", "../../b", "/c/a", "none"];

    fn member() -> impl Strategy<Value = Vec<u8>> {
        let kinds = [
            MemberKind::File,
            MemberKind::File,
            MemberKind::Directory,
            MemberKind::Directory,
            MemberKind::Symlink,
            MemberKind::HardLink,
            MemberKind::Fifo,
        ];
        let of = (
            prop::sample::select(&NAMES[..]),
            prop::sample::select(kinds.to_vec()),
            prop::sample::select(&TARGETS[..]),
            0_u8..9,
        );
        of.prop_map(|(name, kind, target, text)| {
            let mut member = Member::new(name, kind, 0o600 + u32::from(text));
            (member.uid, member.gid) =
                (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
            member.mtime = i64::from(text);
            let contents = if kind == MemberKind::File { vec![text; usize::from(text)] } else { Vec::new() };
            member.size = contents.len() as u64;
            if matches!(kind, MemberKind::Symlink | MemberKind::HardLink) {
                member.link = target.into();
            }
            let mut bytes = Vec::new();
            tape::write_header(&mut bytes, &member).unwrap();
            bytes.extend_from_slice(&contents);
            tape::pad(&mut bytes, member.size).unwrap();
            bytes
        })
    }

    fn in_memory(layers: &[Vec<u8>]) -> Result<Listing, String> {
        let mut merged = Merged::default();
        for (number, bytes) in layers.iter().enumerate() {
            let mut file = tempfile::tempfile().unwrap();
            file.write_all(bytes).unwrap();
            let part = Part::new(Arc::new(file), Place { offset: 0, size: bytes.len() as u64 });
            merged.apply(number, &part, None).map_err(|error| error.to_string())?;
        }
        Ok(merged.finish().map_err(|error| error.to_string())?.0)
    }

    fn on_a_disk(layers: &[Vec<u8>]) -> Result<Listing, String> {
        let folder = tempfile::tempdir().unwrap();
        let mut directories: Vec<PathBuf> = Vec::new();
        for (number, bytes) in layers.iter().enumerate() {
            let directory = folder.path().join(number.to_string());
            std::fs::create_dir(&directory).unwrap();
            unpack_layer(&bytes[..], &Digest::of(bytes), &directory, Limits::default())
                .map_err(|error| error.to_string())?;
            directories.push(directory);
        }
        Ok(OverlayTree::open(&directories).unwrap().listing().clone())
    }

    /// What can be compared: directories that a layer does not name have the lower one's owner and mode in memory, while a
    /// layer on a disk knows no lower one.
    fn shown(listing: Listing) -> Vec<(String, Entry)> {
        let plain = |entry: &Entry| match entry.kind {
            Kind::Directory => Entry { mode: 0, uid: 0, gid: 0, mtime: 0, ..entry.clone() },
            _ => entry.clone(),
        };
        listing.iter().map(|(path, entry)| (path.to_string(), plain(entry))).collect()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn what_is_read_of_layers_is_what_they_unpack_to(
            layers in prop::collection::vec(prop::collection::vec(member(), 1..7), 1..4)
        ) {
            let layers: Vec<Vec<u8>> = layers
                .into_iter()
                .map(|members| {
                    let mut bytes = members.concat();
                    tape::finish(&mut bytes).unwrap();
                    bytes
                })
                .collect();
            match (in_memory(&layers), on_a_disk(&layers)) {
                (Ok(memory), Ok(disk)) => prop_assert_eq!(shown(memory), shown(disk)),
                (memory, disk) => {
                    let (memory, disk) = (memory.map(|_| ()), disk.map(|_| ()));
                    prop_assert_eq!(memory.is_ok(), disk.is_ok(), "{:?} {:?}", memory, disk);
                }
            }
        }
    }
}
