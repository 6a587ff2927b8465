//! What a member of a layer's stream stands for, and what no member may say.
//!
//! Both readers of layers ask here, [`crate::unpack`] for a disk and [`crate::saved`] for memory. Invariant: a name that one
//! of them refuses is refused by the other, so that what is read of an image is what runs.

use crate::tape::{Member, MemberKind};

const WHITEOUT: &[u8] = b".wh.";
const OPAQUE: &[u8] = b".wh..wh..opq";
/// What aufs keeps for itself begins with this.
const OF_AUFS: &[u8] = b".wh..wh.";
/// NAME_MAX and PATH_MAX of limits.h, the latter without the zero byte behind it.
const NAME_LIMIT: usize = 255;
const PATH_LIMIT: usize = 4095;
/// What the kernel's device numbers have room for: of larger ones it would take the lower bits (`new_decode_dev`).
const MAJOR_LIMIT: u32 = 0xfff;
const MINOR_LIMIT: u32 = 0xf_ffff;
/// Bytes of names, links and attributes of one layer together: all of it is in memory at some time.
const TEXT_LIMIT: u64 = 1 << 30;

/// What a member stands for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Meaning<'a> {
    /// The root directory itself.
    Root,
    /// An entry, by the directories on the way and its own name.
    Entry(Vec<&'a [u8]>, &'a [u8]),
    /// A name that lower layers' entries are not seen under.
    Hidden(Vec<&'a [u8]>, &'a [u8]),
    /// A directory of which nothing is seen that lower layers hold in it.
    Opaque(Vec<&'a [u8]>),
    /// What a storage driver has left behind.
    Nothing,
}

/// What a member stands for.
///
/// # Errors
/// Why there can be no such member.
pub(crate) fn of(member: &Member) -> Result<Meaning<'_>, &'static str> {
    check(member)?;
    let mut path = components(&member.name)?;
    let Some(name) = path.pop() else {
        return match member.kind {
            MemberKind::Directory => Ok(Meaning::Root),
            _ => Err("it stands for the root, which is a directory"),
        };
    };
    if path.iter().any(|folder| folder.starts_with(OF_AUFS)) {
        return Ok(Meaning::Nothing);
    }
    if path.iter().any(|folder| folder.starts_with(WHITEOUT)) {
        return Err("it lies in what marks a name as hidden");
    }
    if name == OPAQUE {
        return Ok(Meaning::Opaque(path));
    }
    if name.starts_with(OF_AUFS) {
        return Ok(Meaning::Nothing);
    }
    match name.strip_prefix(WHITEOUT) {
        Some(b"" | b"." | b"..") => Err("it hides nothing that can be hidden"),
        Some(hidden) => Ok(Meaning::Hidden(path, hidden)),
        None => Ok(Meaning::Entry(path, name)),
    }
}

/// The parts of a name, or of a hard link's target. Absolute ones are taken as from the root, as engines do.
///
/// # Errors
/// When it leads out, or no file system takes it.
pub(crate) fn components(name: &[u8]) -> Result<Vec<&[u8]>, &'static str> {
    if name.len() > PATH_LIMIT {
        return Err("its name is longer than any path");
    }
    let components: Vec<&[u8]> = name
        .split(|byte| *byte == b'/')
        .filter(|component| !component.is_empty() && *component != b".")
        .collect();
    if components.contains(&&b".."[..]) {
        return Err("its name leads out of the layer");
    }
    if components.iter().any(|component| component.len() > NAME_LIMIT) {
        return Err("a part of its name is longer than 255 bytes");
    }
    Ok(components)
}

fn check(member: &Member) -> Result<(), &'static str> {
    if member.uid == u32::MAX || member.gid == u32::MAX {
        return Err("its owner or group is 4294967295, which means none");
    }
    match member.kind {
        MemberKind::Symlink if member.link.is_empty() => Err("it is a link to nothing"),
        MemberKind::Symlink if member.link.len() > PATH_LIMIT => Err("its target is longer than any path"),
        MemberKind::CharacterDevice | MemberKind::BlockDevice
            if member.major > MAJOR_LIMIT || member.minor > MINOR_LIMIT =>
        {
            Err("there is no device of that number")
        }
        MemberKind::CharacterDevice if (member.major, member.minor) == (0, 0) => {
            Err("a character device 0/0 would hide files of lower layers")
        }
        _ => Ok(()),
    }
}

/// Counts what members say of themselves.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Meter {
    pub(crate) entries: u64,
    text: u64,
}

impl Meter {
    /// Counts one more.
    ///
    /// # Errors
    /// What there is too much of: `entries` is how many there may be.
    pub(crate) fn count(&mut self, member: &Member, entries: u64) -> Result<(), String> {
        self.entries += 1;
        let attributes: usize = member.xattrs.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.text += (member.name.len() + member.link.len() + attributes) as u64;
        if self.entries > entries {
            return Err(format!("{entries} entries"));
        }
        if self.text > TEXT_LIMIT {
            return Err(format!("{TEXT_LIMIT} bytes of names and attributes"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(name: &str) -> Member {
        Member::new(name, MemberKind::File, 0o644)
    }

    #[test]
    fn marks_are_told_from_entries() {
        let (a, etc) = (&b"a"[..], &b"etc"[..]);
        assert_eq!(of(&file("./etc//a")), Ok(Meaning::Entry(vec![etc], a)));
        assert_eq!(of(&file("/etc/.wh.a")), Ok(Meaning::Hidden(vec![etc], a)));
        assert_eq!(of(&file("etc/.wh..wh..opq")), Ok(Meaning::Opaque(vec![etc])));
        assert_eq!(of(&file(".wh..wh..opq")), Ok(Meaning::Opaque(vec![])));
        for left in [".wh..wh.plnk", ".wh..wh.plnk/1.2", "etc/.wh..wh.x"] {
            assert_eq!(of(&file(left)), Ok(Meaning::Nothing), "{left}");
        }
        for none in [".wh.", "a/.wh..", ".wh...", ".wh.a/b", "a/../b", "", "/", "."] {
            assert!(of(&file(none)).is_err(), "{none}");
        }
    }

    #[test]
    fn names_are_as_long_as_file_systems_take_them() {
        assert!(of(&file(&"a".repeat(255))).is_ok());
        assert!(of(&file(&"a".repeat(256))).is_err());
        let deep = |length: usize| "a/".repeat(length / 2) + "b";
        assert!(of(&file(&deep(4094))).is_ok());
        assert!(of(&file(&deep(4096))).is_err());
    }

    #[test]
    fn texts_are_counted() {
        let mut meter = Meter::default();
        let long = Member { xattrs: [("user.a".to_owned(), vec![0; 1 << 20])].into(), ..file("a") };
        let counted = (0..2000).take_while(|_| meter.count(&long, 5000).is_ok()).count();
        assert_eq!(counted, 1023);
        assert_eq!(Meter::default().count(&long, 0), Err("0 entries".to_owned()));
    }
}
