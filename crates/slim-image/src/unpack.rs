//! A layer's tar stream → a directory in overlayfs's own format, as [`crate::OverlayTree`] and the kernel read it.
//!
//! The stream comes from strangers. Invariants: nothing outside of the directory is ever written, linked or followed,
//! whatever names and links say; what comes out is bounded by [`Limits`]; no attribute of overlayfs's own comes in; a
//! stream that is not the layer it is said to be is an error, and whoever asked for it throws the directory away.

use crate::digest::Digest;
use crate::hashing::Hashing;
use crate::listing::is_of_the_image;
use crate::meaning::{self, Meaning, Meter};
use crate::owners::Owners;
use crate::packing::{UNPACKED_LIMIT, too_large, unpack};
use crate::path::{ImagePath, escape};
use crate::remove::remove_tree;
use crate::tape::{Member, MemberKind, Scanner, TapeError};
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// How overlayfs marks a directory that hides what lies below it; the second where it is mounted without privilege.
const OPAQUE_ATTRIBUTES: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];

/// The time of directories that a layer does not name: the clock's would be another one with each import.
const UNNAMED: i64 = 0;

/// How much may come out of one layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the unpacked stream.
    pub bytes: u64,
    /// Files, directories, links and whiteouts.
    pub entries: u64,
}

impl Default for Limits {
    /// More than any image that is meant well: 64 GiB and eight million entries.
    fn default() -> Self {
        Self { bytes: UNPACKED_LIMIT, entries: 8_000_000 }
    }
}

/// Why a layer was not unpacked. The message is a fragment that fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum UnpackError {
    #[error("unpack the layer: {0}")]
    Tape(#[from] TapeError),
    #[error("unpack the layer: {0}")]
    Io(#[from] io::Error),
    #[error("unpack {name:?} of the layer: {reason}")]
    Member { name: String, reason: String },
    #[error("unpack the layer: {}", too_large(*.limit))]
    TooLarge { limit: u64 },
    #[error("unpack the layer: it holds more than {limit}")]
    TooMany { limit: String },
    #[error("unpack the layer: its contents are {found}, not {expected}")]
    Digest { expected: Digest, found: Digest },
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Unpacked {
    /// Bytes of all files, each contents once.
    pub size: u64,
    /// Files, directories, links and whiteouts.
    pub entries: u64,
    /// Owners that we may not give files to: in a user namespace that does not map them.
    pub owners: Owners,
    /// Device nodes that we may not make: in any user namespace but the first.
    pub devices: u64,
}

/// Unpacks a layer, packed or not, into an empty directory, and checks that its plain stream has the digest `diff_id`.
/// What takes root is noted instead where we are not: owners ([`Owners`] says where they are looked for) and devices.
///
/// # Errors
/// See [`UnpackError`]; the directory then holds part of it.
pub fn unpack_layer(
    layer: impl Read + Send,
    diff_id: &Digest,
    directory: &Path,
    limits: Limits,
) -> Result<Unpacked, UnpackError> {
    let root = open_directory(rustix::fs::CWD, directory.as_os_str().as_bytes())?;
    let mut unpacking = Unpacking { root, times: Vec::new(), done: Unpacked::default(), limits };
    let root = unpacking.root.try_clone()?;
    unpacking.time_later(&root, b".", UNNAMED)?;
    let found = unpacking.stream(unpack(layer, u64::MAX)?)?;
    if found != *diff_id {
        return Err(UnpackError::Digest { expected: *diff_id, found });
    }
    unpacking.set_times()?;
    Ok(unpacking.done)
}

/// Ends with an error behind so many bytes.
struct Bounded<R> {
    input: R,
    left: u64,
}

/// What the error is known by on its way through the layers of readers.
#[derive(Debug, thiserror::Error)]
#[error("too many bytes")]
struct TooManyBytes;

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.left = self.left.checked_sub(read as u64).ok_or_else(|| io::Error::other(TooManyBytes))?;
        Ok(read)
    }
}

fn is_too_many(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<TooManyBytes>())
}

struct Unpacking {
    root: OwnedFd,
    /// Of directories, by name and inode: what is put into them changes theirs, so they come last.
    times: Vec<(Vec<u8>, u64, i64)>,
    done: Unpacked,
    limits: Limits,
}

impl Unpacking {
    /// Unpacks everything; the digest of the plain stream.
    fn stream(&mut self, plain: impl Read) -> Result<Digest, UnpackError> {
        let bounded = Bounded { input: plain, left: self.limits.bytes };
        let mut scanner = Scanner::new(Hashing::new(bounded));
        let unpacked = self.members(&mut scanner).and_then(|()| {
            // Whatever stands behind the end belongs to what the digest is of.
            let mut rest = scanner.into_inner();
            let mut buffer = vec![0; 64 << 10];
            while rest.read(&mut buffer)? > 0 {}
            Ok(rest.finish().1)
        });
        unpacked.map_err(|error| match error {
            UnpackError::Tape(TapeError::Io(inner)) | UnpackError::Io(inner) if is_too_many(&inner) => {
                UnpackError::TooLarge { limit: self.limits.bytes }
            }
            other => other,
        })
    }

    fn members(&mut self, scanner: &mut Scanner<impl Read>) -> Result<(), UnpackError> {
        let mut meter = Meter::default();
        while let Some(member) = scanner.next()? {
            meter.count(&member, self.limits.entries).map_err(|limit| UnpackError::TooMany { limit })?;
            self.done.entries = meter.entries;
            let refuse = |reason: String| UnpackError::Member { name: escape(&member.name), reason };
            let meaning = meaning::of(&member).map_err(|reason| refuse(reason.to_owned()))?;
            self.member(&member, &meaning, &mut scanner.contents()).map_err(|error| match error {
                error if is_too_many(&error) => UnpackError::Io(error),
                error => refuse(error.to_string()),
            })?;
        }
        Ok(())
    }

    fn member(&mut self, member: &Member, meaning: &Meaning<'_>, contents: &mut dyn Read) -> io::Result<()> {
        match meaning {
            Meaning::Nothing => Ok(()),
            Meaning::Root => {
                let root = self.root.try_clone()?;
                self.directory_attributes(member, &root)
            }
            Meaning::Opaque(parents) => set_opaque(&self.parent(parents)?),
            Meaning::Hidden(parents, hidden) => whiteout(&self.parent(parents)?, hidden),
            Meaning::Entry(parents, name) => {
                let parent = self.parent(parents)?;
                if member.kind != MemberKind::Directory {
                    return self.entry(member, &parent, name, contents);
                }
                self.make_directory(&parent, name, kind_at(&parent, name)?, &member.name)?;
                self.directory_attributes(member, &open_directory(&parent, name)?)
            }
        }
    }

    fn entry(
        &mut self,
        member: &Member,
        parent: &OwnedFd,
        name: &[u8],
        contents: &mut dyn Read,
    ) -> io::Result<()> {
        let there = kind_at(parent, name)?;
        // A hard link to itself would otherwise take its own target away.
        let target = if member.kind == MemberKind::HardLink { Some(self.link_target(member)?) } else { None };
        if there.is_some() && !target.as_ref().is_some_and(|target| same_file(target, parent, name)) {
            self.remove(parent, name)?;
        }
        let name = OsStr::from_bytes(name);
        match member.kind {
            MemberKind::File => return self.file(member, parent, name, contents),
            MemberKind::HardLink => {
                let (folder, from) = target.ok_or_else(|| invalid("it links to nothing"))?;
                if !self.done.owners.is_empty()
                    && let Some((uid, gid)) = self.done.owners.of(&self.place(&folder, &from)?)
                {
                    let place = self.place(parent, name.as_bytes())?;
                    self.done.owners.note(place, uid, gid);
                }
                return match rustix::fs::linkat(
                    folder,
                    OsStr::from_bytes(&from),
                    parent,
                    name,
                    AtFlags::empty(),
                ) {
                    Err(Errno::EXIST) => Ok(()),
                    linked => Ok(linked?),
                };
            }
            MemberKind::Symlink => rustix::fs::symlinkat(OsStr::from_bytes(&member.link), parent, name)?,
            MemberKind::Fifo => make_node(parent, name, FileType::Fifo, 0)?,
            MemberKind::CharacterDevice | MemberKind::BlockDevice => {
                let kind = if member.kind == MemberKind::BlockDevice {
                    FileType::BlockDevice
                } else {
                    FileType::CharacterDevice
                };
                match make_node(parent, name, kind, device(member)) {
                    Err(error) if error.raw_os_error() == Some(Errno::PERM.raw_os_error()) => {
                        self.done.devices += 1;
                        return Ok(());
                    }
                    made => made?,
                }
            }
            MemberKind::Directory => {}
        }
        let owned = rustix::fs::chownat(
            parent,
            name,
            Some(uid(member)),
            Some(gid(member)),
            AtFlags::SYMLINK_NOFOLLOW,
        );
        self.owned(owned, member, parent, name.as_bytes())?;
        if member.kind != MemberKind::Symlink {
            // Nothing but us writes here: the name is what was just made.
            rustix::fs::chmodat(parent, name, mode(member), AtFlags::empty())?;
        }
        Ok(rustix::fs::utimensat(parent, name, &times(member.mtime), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    fn file(
        &mut self,
        member: &Member,
        parent: &OwnedFd,
        name: &OsStr,
        contents: &mut dyn Read,
    ) -> io::Result<()> {
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file = File::from(rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o600))?);
        let copied = io::copy(contents, &mut file)?;
        if copied != member.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.done.size += copied;
        // A change of owner takes set-id bits and file capabilities away: they come after it.
        let owned = rustix::fs::fchown(&file, Some(uid(member)), Some(gid(member)));
        self.owned(owned, member, parent, name.as_bytes())?;
        set_attributes(&file, member)?;
        rustix::fs::fchmod(&file, mode(member))?;
        Ok(rustix::fs::futimens(&file, &times(member.mtime))?)
    }

    /// Notes the owner of what may not be given to it.
    fn owned(
        &mut self,
        owned: rustix::io::Result<()>,
        member: &Member,
        parent: &OwnedFd,
        name: &[u8],
    ) -> io::Result<()> {
        match owned {
            // chown(2) in a user namespace that does not map the owner, or one without any privilege.
            Err(Errno::INVAL | Errno::PERM) => {
                let place = self.place(parent, name)?;
                self.done.owners.note(place, member.uid, member.gid);
                Ok(())
            }
            owned => Ok(owned?),
        }
    }

    /// The path of a name in a directory of the layer, without links.
    fn place(&self, parent: &OwnedFd, name: &[u8]) -> io::Result<ImagePath> {
        use std::os::fd::AsRawFd;
        let at = |folder: &OwnedFd| {
            rustix::fs::readlink(format!("/proc/self/fd/{}", folder.as_raw_fd()), Vec::new())
        };
        let (root, parent) = (at(&self.root)?.into_bytes(), at(parent)?.into_bytes());
        let below = parent.strip_prefix(&*root).ok_or_else(|| invalid("it lies outside of the layer"))?;
        Ok(ImagePath::new([below, b"/", name].concat()))
    }

    fn directory_attributes(&mut self, member: &Member, directory: &OwnedFd) -> io::Result<()> {
        let owned = rustix::fs::fchown(directory, Some(uid(member)), Some(gid(member)));
        self.owned(owned, member, directory, b"")?;
        set_attributes(directory, member)?;
        rustix::fs::fchmod(directory, mode(member))?;
        self.time_later(directory, &member.name, member.mtime)
    }

    fn time_later(&mut self, directory: &OwnedFd, name: &[u8], mtime: i64) -> io::Result<()> {
        self.times.push((name.to_vec(), rustix::fs::fstat(directory)?.st_ino, mtime));
        Ok(())
    }

    /// The directory that an entry goes into, made where the layer does not name it.
    fn parent(&mut self, components: &[&[u8]]) -> io::Result<OwnedFd> {
        let mut folder = self.root.try_clone()?;
        for (index, component) in components.iter().enumerate() {
            let there = kind_at(&folder, component)?;
            folder = match there {
                Some(Found::Directory) => open_directory(&folder, component)?,
                Some(Found::Symlink) => self.open_below(&components[..=index].join(&b'/'))?,
                _ => {
                    let path = components[..=index].join(&b'/');
                    self.make_directory(&folder, component, there, &path)?;
                    open_directory(&folder, component)?
                }
            };
        }
        Ok(folder)
    }

    /// Makes a directory where there is none; `path` is its name in the layer. What hid a name in lower layers goes on hiding
    /// what is below it.
    fn make_directory(
        &mut self,
        parent: &OwnedFd,
        name: &[u8],
        there: Option<Found>,
        path: &[u8],
    ) -> io::Result<()> {
        if there == Some(Found::Directory) {
            return Ok(());
        }
        if there.is_some() {
            self.remove(parent, name)?;
        }
        rustix::fs::mkdirat(parent, OsStr::from_bytes(name), Mode::from_raw_mode(0o755))?;
        let made = open_directory(parent, name)?;
        rustix::fs::fchmod(&made, Mode::from_raw_mode(0o755))?;
        self.time_later(&made, path, UNNAMED)?;
        if there == Some(Found::Whiteout) {
            set_opaque(&made)?;
        }
        Ok(())
    }

    fn remove(&mut self, parent: &OwnedFd, name: &[u8]) -> io::Result<()> {
        let place = (!self.done.owners.is_empty()).then(|| self.place(parent, name)).transpose()?;
        remove_tree(parent, name)?;
        if let Some(gone) = place {
            self.done.owners.forget(&gone);
        }
        Ok(())
    }

    /// Opens a directory as a process would that has the layer as its root.
    fn open_below(&self, path: &[u8]) -> io::Result<OwnedFd> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        Ok(rustix::fs::openat2(&self.root, OsStr::from_bytes(path), flags, Mode::empty(), resolve)?)
    }

    /// The folder and the name of what a hard link leads to.
    fn link_target(&self, member: &Member) -> io::Result<(OwnedFd, Vec<u8>)> {
        let dangling =
            || invalid(format!("it is a hard link to {}, which is not there", escape(&member.link)));
        let components = meaning::components(&member.link).map_err(invalid)?;
        let (name, parents) = components.split_last().ok_or_else(dangling)?;
        let folder = if parents.is_empty() {
            self.root.try_clone()?
        } else {
            self.open_below(&parents.join(&b'/')).map_err(|_| dangling())?
        };
        match kind_at(&folder, name)? {
            Some(Found::Other | Found::Symlink) => Ok((folder, name.to_vec())),
            Some(Found::Directory) => Err(invalid("it is a hard link to a directory")),
            Some(Found::Whiteout) | None => Err(dangling()),
        }
    }

    fn set_times(&self) -> io::Result<()> {
        for (path, inode, mtime) in &self.times {
            // A later member may have put something else in its place, a link for one.
            if let Ok(directory) = self.open_below(path)
                && rustix::fs::fstat(&directory)?.st_ino == *inode
            {
                rustix::fs::futimens(&directory, &times(*mtime))?;
            }
        }
        Ok(())
    }
}

/// What lies under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Directory,
    Symlink,
    Whiteout,
    Other,
}

fn kind_at(folder: &OwnedFd, name: &[u8]) -> io::Result<Option<Found>> {
    let stat = match rustix::fs::statat(folder, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(None),
        stat => stat?,
    };
    Ok(Some(match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => Found::Directory,
        FileType::Symlink => Found::Symlink,
        FileType::CharacterDevice if stat.st_rdev == 0 => Found::Whiteout,
        _ => Found::Other,
    }))
}

fn whiteout(parent: &OwnedFd, hidden: &[u8]) -> io::Result<()> {
    match kind_at(parent, hidden)? {
        // What is hidden lies in lower layers, wherever in the stream the whiteout stands.
        Some(Found::Directory) => set_opaque(&open_directory(parent, hidden)?),
        Some(_) => Ok(()),
        None => make_node(parent, OsStr::from_bytes(hidden), FileType::CharacterDevice, 0),
    }
}

fn set_opaque(directory: &OwnedFd) -> io::Result<()> {
    let [first, second] = OPAQUE_ATTRIBUTES;
    match rustix::fs::fsetxattr(directory, first, b"y", XattrFlags::empty()) {
        Err(Errno::PERM) => Ok(rustix::fs::fsetxattr(directory, second, b"y", XattrFlags::empty())?),
        set => Ok(set?),
    }
}

fn set_attributes(file: impl AsFd, member: &Member) -> io::Result<()> {
    for (name, value) in member.xattrs.iter().filter(|(name, _)| is_of_the_image(name)) {
        rustix::fs::fsetxattr(&file, name.as_str(), value, XattrFlags::empty())
            .map_err(|error| io::Error::other(format!("its attribute {name}: {}", io::Error::from(error))))?;
    }
    Ok(())
}

fn make_node(parent: &OwnedFd, name: &OsStr, kind: FileType, device: u64) -> io::Result<()> {
    Ok(rustix::fs::mknodat(parent, name, kind, Mode::from_raw_mode(0o600), device)?)
}

fn open_directory(folder: impl AsFd, name: &[u8]) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(folder, OsStr::from_bytes(name), flags, Mode::empty())?)
}

fn same_file((folder, from): &(OwnedFd, Vec<u8>), parent: &OwnedFd, name: &[u8]) -> bool {
    let stat = |folder: &OwnedFd, name: &[u8]| {
        rustix::fs::statat(folder, OsStr::from_bytes(name), AtFlags::SYMLINK_NOFOLLOW)
            .map(|stat| (stat.st_dev, stat.st_ino))
    };
    matches!((stat(folder, from), stat(parent, name)), (Ok(one), Ok(other)) if one == other)
}

fn invalid(reason: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason.into())
}

fn uid(member: &Member) -> Uid {
    Uid::from_raw(member.uid)
}

fn gid(member: &Member) -> Gid {
    Gid::from_raw(member.gid)
}

fn mode(member: &Member) -> Mode {
    Mode::from_raw_mode(member.mode & 0o7777)
}

fn device(member: &Member) -> u64 {
    rustix::fs::makedev(member.major, member.minor)
}

fn times(seconds: i64) -> Timestamps {
    let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
    Timestamps { last_access: time, last_modification: time }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tape;
    use std::fs;
    use std::os::unix::fs::{MetadataExt, symlink};

    /// A member that belongs to whoever runs the test.
    fn member(name: &str, kind: MemberKind) -> Member {
        let mut member = Member::new(name, kind, 0o644);
        (member.uid, member.gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        member.mtime = 1_000_000;
        member
    }

    fn file(name: &str, contents: &str) -> (Member, Vec<u8>) {
        let member = Member { size: contents.len() as u64, ..member(name, MemberKind::File) };
        (member, contents.as_bytes().to_vec())
    }

    fn link(name: &str, kind: MemberKind, target: &str) -> (Member, Vec<u8>) {
        (Member { link: target.into(), ..member(name, kind) }, Vec::new())
    }

    fn directory(name: &str) -> (Member, Vec<u8>) {
        (Member { mode: 0o750, ..member(name, MemberKind::Directory) }, Vec::new())
    }

    fn layer(members: &[(Member, Vec<u8>)]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (member, contents) in members {
            tape::write_header(&mut bytes, member).unwrap();
            bytes.extend_from_slice(contents);
            tape::pad(&mut bytes, member.size).unwrap();
        }
        tape::finish(&mut bytes).unwrap();
        bytes
    }

    /// A folder for the layer with a neighbour that nothing may touch.
    struct Place {
        around: tempfile::TempDir,
    }

    impl Place {
        fn new() -> Self {
            let around = tempfile::tempdir().unwrap();
            fs::create_dir(around.path().join("layer")).unwrap();
            fs::create_dir(around.path().join("outside")).unwrap();
            fs::write(around.path().join("outside/file"), "untouched").unwrap();
            Self { around }
        }

        fn layer(&self) -> std::path::PathBuf {
            self.around.path().join("layer")
        }

        fn unpack(&self, bytes: &[u8]) -> Result<Unpacked, UnpackError> {
            unpack_layer(bytes, &Digest::of(bytes), &self.layer(), Limits::default())
        }

        fn refused(&self, members: &[(Member, Vec<u8>)]) -> String {
            let error = self.unpack(&layer(members)).unwrap_err().to_string();
            self.untouched();
            error
        }

        fn untouched(&self) {
            let outside = self.around.path().join("outside");
            let names: Vec<_> =
                fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(names, ["file"]);
            assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "untouched");
            assert_eq!(fs::metadata(outside.join("file")).unwrap().nlink(), 1);
        }
    }

    #[test]
    fn a_layer_comes_out_as_it_went_in() {
        let place = Place::new();
        let members = [
            directory("etc/"),
            file("etc/one", "text"),
            link("etc/two", MemberKind::HardLink, "etc/one"),
            link("lib", MemberKind::Symlink, "usr/lib"),
            file("implied/path/file", "x"),
        ];
        let unpacked = place.unpack(&layer(&members)).unwrap();
        assert_eq!(unpacked, Unpacked { size: 5, entries: 5, ..Unpacked::default() });
        let at = |name: &str| fs::symlink_metadata(place.layer().join(name)).unwrap();
        assert_eq!((at("etc").mode() & 0o7777, at("etc").mtime()), (0o750, 1_000_000));
        assert_eq!((at("etc/one").ino(), at("etc/one").nlink()), (at("etc/two").ino(), 2));
        assert_eq!(fs::read_link(place.layer().join("lib")).unwrap(), Path::new("usr/lib"));
        assert_eq!(at("implied").mode() & 0o7777, 0o755);
    }

    #[test]
    fn a_packed_layer_is_the_same() {
        use std::io::Write;
        let plain = layer(&[file("a", "text")]);
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&plain).unwrap();
        let place = Place::new();
        let packed = packed.finish().unwrap();
        unpack_layer(packed.as_slice(), &Digest::of(&plain), &place.layer(), Limits::default()).unwrap();
        assert_eq!(fs::read_to_string(place.layer().join("a")).unwrap(), "text");
    }

    #[test]
    fn names_that_lead_out_are_refused_and_absolute_ones_stay_in() {
        for name in ["../outside/new", "a/../../outside/new", "..", "a/.."] {
            let error = Place::new().refused(&[file(name, "x")]);
            assert!(error.contains("leads out"), "{name}: {error}");
        }
        let place = Place::new();
        let absolute = format!("{}/outside/file", place.around.path().display());
        place.unpack(&layer(&[file(&absolute, "x")])).unwrap();
        place.untouched();
        assert!(place.layer().join(absolute.trim_start_matches('/')).is_file());
    }

    #[test]
    fn a_link_out_of_the_layer_is_kept_and_never_followed() {
        for target in ["../outside", "/", "..", "a/../../outside", "self", "/proc/self/root"] {
            let place = Place::new();
            let members = [
                link("self", MemberKind::Symlink, target),
                file("self/file", "changed"),
                file("self/outside/file", "changed"),
            ];
            // Whether that is possible at all depends on where the link leads inside of the layer.
            drop(place.unpack(&layer(&members)));
            place.untouched();
        }
        let place = Place::new();
        let to_file = format!("{}/outside/file", place.around.path().display());
        // The file takes the link's place.
        place.unpack(&layer(&[link("a", MemberKind::Symlink, &to_file), file("a", "new")])).unwrap();
        place.untouched();
        assert_eq!(fs::read_to_string(place.layer().join("a")).unwrap(), "new");
        assert!(fs::symlink_metadata(place.layer().join("a")).unwrap().is_file());
    }

    #[test]
    fn a_hard_link_leads_to_nothing_outside() {
        let place = Place::new();
        let outside = format!("{}/outside/file", place.around.path().display());
        for target in ["../outside/file", "/etc/passwd", &outside, "none"] {
            place.refused(&[link("a", MemberKind::HardLink, target)]);
        }
        let through =
            [link("out", MemberKind::Symlink, "../outside"), link("a", MemberKind::HardLink, "out/file")];
        place.refused(&through);
        // A link to a link is one to the link itself.
        symlink(&outside, place.layer().join("there")).unwrap();
        place.unpack(&layer(&[link("b", MemberKind::HardLink, "there")])).unwrap();
        place.untouched();
        assert!(
            place.refused(&[directory("d/"), link("a", MemberKind::HardLink, "d")]).contains("directory")
        );
    }

    #[test]
    fn of_duplicates_the_last_one_stays() {
        let place = Place::new();
        let members = [
            directory("a/"),
            file("a/b", "below"),
            file("a", "now a file"),
            file("c", "first"),
            file("c", "second"),
            link("c", MemberKind::HardLink, "c"),
        ];
        place.unpack(&layer(&members)).unwrap();
        assert_eq!(fs::read_to_string(place.layer().join("a")).unwrap(), "now a file");
        assert_eq!(fs::read_to_string(place.layer().join("c")).unwrap(), "second");
    }

    #[test]
    fn a_bomb_ends_at_its_limit() {
        let bytes = layer(&[file("a", &"x".repeat(100_000))]);
        let place = Place::new();
        let limits = Limits { bytes: 50_000, ..Limits::default() };
        let error = unpack_layer(bytes.as_slice(), &Digest::of(&bytes), &place.layer(), limits).unwrap_err();
        assert!(matches!(error, UnpackError::TooLarge { .. }), "{error}");
        let limits = Limits { entries: 2, ..Limits::default() };
        let many = layer(&[file("a", ""), file("b", ""), file("c", "")]);
        let error = unpack_layer(many.as_slice(), &Digest::of(&many), &place.layer(), limits).unwrap_err();
        assert!(error.to_string().contains("more than 2 entries"), "{error}");
    }

    #[test]
    fn what_is_cut_short_or_another_layer_is_refused() {
        let bytes = layer(&[file("a", &"x".repeat(5000))]);
        let cut = &bytes[..3000];
        assert!(unpack_layer(cut, &Digest::of(cut), &Place::new().layer(), Limits::default()).is_err());
        let other = Digest::of("another");
        let error =
            unpack_layer(bytes.as_slice(), &other, &Place::new().layer(), Limits::default()).unwrap_err();
        assert!(matches!(error, UnpackError::Digest { .. }), "{error}");
        // Bytes behind the end count, too.
        let longer = [bytes.as_slice(), b"more"].concat();
        let found =
            unpack_layer(longer.as_slice(), &Digest::of(&bytes), &Place::new().layer(), Limits::default());
        assert!(matches!(found.unwrap_err(), UnpackError::Digest { .. }));
    }

    #[test]
    fn owners_that_mean_nobody_are_refused() {
        let nobody = Member { uid: u32::MAX, ..member("a", MemberKind::File) };
        assert!(Place::new().refused(&[(nobody, Vec::new())]).contains("means none"));
    }

    #[test]
    fn the_root_is_a_directory_whatever_a_layer_says() {
        assert!(Place::new().refused(&[link("./", MemberKind::Symlink, "../outside")]).contains("the root"));
    }
}
