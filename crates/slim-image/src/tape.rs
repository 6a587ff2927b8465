//! Tar streams as images need them: bytes for names, extended attributes, large owners, hard links.
//!
//! Written here rather than with the `tar` crate because that one reads extension records line by line, which breaks
//! file capabilities (binary, a newline among them), and because what is written must depend on nothing but the
//! member. The format is POSIX.1-2017 pax (ustar with extension records), `SCHILY.xattr.` for extended attributes.

mod read;
mod write;

pub(crate) use read::Scanner;
pub use read::TapeError;
pub(crate) use write::{finish, pad, write_header};

use std::collections::BTreeMap;

/// The unit in which a tar stream is laid out.
pub(crate) const BLOCK: usize = 512;
/// Prefix of the records that carry extended attributes.
const XATTR: &[u8] = b"SCHILY.xattr.";

/// One member of a tar stream without its contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// As stored: layers have relative names.
    pub name: Vec<u8>,
    pub kind: MemberKind,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub mtime: i64,
    /// Bytes of contents that follow; 0 for everything but files.
    pub size: u64,
    /// Target of symbolic and hard links.
    pub link: Vec<u8>,
    pub major: u32,
    pub minor: u32,
    pub xattrs: BTreeMap<String, Vec<u8>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum MemberKind {
    File,
    HardLink,
    Symlink,
    CharacterDevice,
    BlockDevice,
    Directory,
    Fifo,
}

impl Member {
    /// A member with nothing but a name and a kind.
    pub(crate) fn new(name: impl AsRef<[u8]>, kind: MemberKind, mode: u32) -> Self {
        Self {
            name: name.as_ref().to_vec(),
            kind,
            mode,
            uid: 0,
            gid: 0,
            mtime: 0,
            size: 0,
            link: Vec::new(),
            major: 0,
            minor: 0,
            xattrs: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::{Read, Write};

    fn any_kind() -> impl Strategy<Value = MemberKind> {
        prop_oneof![
            Just(MemberKind::File),
            Just(MemberKind::HardLink),
            Just(MemberKind::Symlink),
            Just(MemberKind::CharacterDevice),
            Just(MemberKind::BlockDevice),
            Just(MemberKind::Directory),
            Just(MemberKind::Fifo),
        ]
    }

    fn name() -> impl Strategy<Value = Vec<u8>> {
        let byte = any::<u8>().prop_filter("a name's byte", |byte| *byte != 0 && *byte != b'/');
        prop_oneof![
            proptest::collection::vec(byte.clone(), 1..20),
            proptest::collection::vec(byte, 90..400),
            "[a-z]{95,105}".prop_map(String::into_bytes),
        ]
    }

    prop_compose! {
        fn member()(
            kind in any_kind(), name in name(), link in name(), mode in 0..=0o7777u32, uid: u32, gid: u32,
            mtime in prop_oneof![any::<i32>().prop_map(i64::from), any::<i64>(), 0..=2_000_000_000i64],
            contents in proptest::collection::vec(any::<u8>(), 0..1500),
            numbers in (0..=4095u32, 0..=0xF_FFFFu32),
            xattrs in proptest::collection::btree_map("(user|security)\\.[a-z.]{1,12}", proptest::collection::vec(any::<u8>(), 1..80), 0..3),
        ) -> (Member, Vec<u8>) {
            let mut member = Member::new(name, kind, mode);
            (member.uid, member.gid, member.mtime, member.xattrs) = (uid, gid, mtime, xattrs);
            if matches!(kind, MemberKind::HardLink | MemberKind::Symlink) {
                member.link = link;
            }
            if matches!(kind, MemberKind::CharacterDevice | MemberKind::BlockDevice) {
                (member.major, member.minor) = numbers;
            }
            if kind == MemberKind::Directory {
                member.name.push(b'/');
            }
            let contents = if kind == MemberKind::File { contents } else { Vec::new() };
            member.size = contents.len() as u64;
            (member, contents)
        }
    }

    fn written(members: &[(Member, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (member, contents) in members {
            write_header(&mut bytes, member).unwrap();
            bytes.write_all(contents).unwrap();
            pad(&mut bytes, member.size).unwrap();
        }
        finish(&mut bytes).unwrap();
        bytes
    }

    fn scanned(bytes: &[u8]) -> Result<Vec<(Member, Vec<u8>)>, TapeError> {
        let mut scanner = Scanner::new(bytes);
        let mut members = Vec::new();
        while let Some(member) = scanner.next()? {
            let mut contents = Vec::new();
            scanner.contents().read_to_end(&mut contents)?;
            members.push((member, contents));
        }
        Ok(members)
    }

    proptest! {
        #[test]
        fn members_come_back_as_they_were_written(members in proptest::collection::vec(member(), 0..6)) {
            prop_assert_eq!(scanned(&written(&members)).unwrap(), members);
        }

        #[test]
        fn the_tar_crate_reads_what_is_written(members in proptest::collection::vec(member(), 0..6)) {
            // Its reader takes extension records apart at newlines.
            let plain = |bytes: &[u8]| !bytes.contains(&b'\n');
            let members: Vec<_> = members
                .into_iter()
                .filter(|(member, _)| plain(&member.name) && plain(&member.link) && member.mtime >= 0)
                .map(|(mut member, contents)| {
                    member.xattrs.retain(|_, value| plain(value));
                    (member, contents)
                })
                .collect();
            let bytes = written(&members);
            let mut archive = tar::Archive::new(&bytes[..]);
            let mut found = 0;
            for (entry, (member, contents)) in archive.entries().unwrap().zip(&members) {
                let mut entry = entry.unwrap();
                prop_assert_eq!(&*entry.path_bytes(), &member.name[..]);
                if !member.link.is_empty() {
                    prop_assert_eq!(&*entry.link_name_bytes().unwrap(), &member.link[..]);
                }
                prop_assert_eq!(entry.header().uid().unwrap(), u64::from(member.uid));
                let mut read = Vec::new();
                entry.read_to_end(&mut read).unwrap();
                prop_assert_eq!(&read, contents);
                found += 1;
            }
            prop_assert_eq!(found, members.len());
        }

        #[test]
        fn bytes_from_strangers_give_errors_never_panics(
            members in proptest::collection::vec(member(), 1..4),
            changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            end in any::<prop::sample::Index>(),
        ) {
            let mut bytes = written(&members);
            for (at, byte) in changes {
                let at = at.index(bytes.len());
                bytes[at] = byte;
            }
            bytes.truncate(end.index(bytes.len()) + 1);
            let _ = scanned(&bytes);
        }
    }

    #[test]
    fn a_stream_that_ends_in_a_file_is_refused() {
        let mut member = Member::new("a", MemberKind::File, 0o644);
        member.size = 600;
        let bytes = written(&[(member, vec![7; 600])]);
        assert!(matches!(scanned(&bytes[..1000]), Err(TapeError::Io(_))));
    }

    #[test]
    fn an_extension_larger_than_the_limit_is_refused_before_it_is_read() {
        let mut header = Vec::new();
        let mut member = Member::new("PaxHeaders/a", MemberKind::File, 0o644);
        member.size = 1 << 32;
        write_header(&mut header, &member).unwrap();
        header[156] = b'x';
        let sum: u32 =
            (0..BLOCK).map(|at| if (148..156).contains(&at) { 32 } else { u32::from(header[at]) }).sum();
        header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        assert!(matches!(scanned(&header), Err(TapeError::ExtensionTooLong { size, .. }) if size == 1 << 32));
    }
}
