//! What the tests of rules share: traces made by hand, and a tree that is a directory of this machine.
#![allow(dead_code, reason = "each test program uses a part")]

use slim_image::{Config, Contents, Entry, ImagePath, ImageTree, Kind, TreeError};
use slim_keep::{KeepSet, Kept, Reason, Settings, keep};
use slim_trace::{Access, FileAccess, Mount, MountKind, Phase, Process, ProcessId, Trace, TracedPath};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

/// A trace made step by step.
pub struct Traced(pub Trace);

/// The processes of a [`Traced`], by what was run.
impl Traced {
    pub fn new() -> Self {
        Self(Trace::empty("sha256:00"))
    }

    /// A process that runs `program`; the next `touch`es are its.
    pub fn process(mut self, program: &str) -> Self {
        self.0.processes.push(Process {
            parent: None,
            began: Phase::Startup,
            executable: Some(TracedPath::new(program)),
            invoked_as: None,
            interpreter: None,
            shebang: Vec::new(),
            argv: vec![program.to_owned()],
        });
        self
    }

    pub fn touch(self, path: &str, access: &[Access]) -> Self {
        self.touch_in(path, access, &[Phase::Startup])
    }

    pub fn touch_in(mut self, path: &str, access: &[Access], phases: &[Phase]) -> Self {
        assert!(!self.0.processes.is_empty(), "a process first");
        self.0.files.push(FileAccess {
            path: TracedPath::new(path),
            process: ProcessId(u32::try_from(self.0.processes.len() - 1).unwrap()),
            access: access.iter().copied().collect(),
            phases: phases.iter().copied().collect(),
        });
        self
    }

    pub fn open(self, path: &str) -> Self {
        self.touch(path, &[Access::Open])
    }

    pub fn list(self, path: &str) -> Self {
        self.touch(path, &[Access::Open, Access::List])
    }

    pub fn mount(mut self, path: &str, kind: MountKind) -> Self {
        self.0.mounts.push(Mount { path: path.into(), kind, file_system: "ext4".to_owned() });
        self
    }
}

/// What is kept without any flag.
pub fn kept(trace: &Traced, tree: &dyn ImageTree) -> KeepSet {
    kept_with(trace, tree, &Config::default(), &Settings::default())
}

pub fn kept_with(trace: &Traced, tree: &dyn ImageTree, config: &Config, settings: &Settings) -> KeepSet {
    let set = keep(&trace.0, tree, config, settings).unwrap();
    check(&set, tree);
    set
}

/// Every kept set has its parents, its reasons, and nothing that the tree does not have.
pub fn check(set: &KeepSet, tree: &dyn ImageTree) {
    for (path, kept) in &set.entries {
        assert_eq!(tree.entry(path), Some(&kept.entry), "{path}");
        assert!(!kept.because.is_empty(), "{path} has no reason");
        assert!(kept.entry.kind != Kind::Socket, "{path} is a socket");
        assert!(!slim_keep::never_emitted(path), "{path}");
        if let Some(parent) = path.parent() {
            assert!(
                set.entries.get(&parent).is_some_and(|kept| kept.entry.is_directory()),
                "{path} has no parent"
            );
        }
    }
}

pub fn entry<'a>(set: &'a KeepSet, path: &str) -> &'a Kept {
    set.entries.get(&ImagePath::from(path)).unwrap_or_else(|| panic!("{path} is not kept: {:#?}", paths(set)))
}

pub fn has(set: &KeepSet, path: &str) -> bool {
    set.contains(&path.into())
}

/// All paths but those that hold others.
pub fn paths(set: &KeepSet) -> Vec<String> {
    let parents: BTreeSet<ImagePath> = set.entries.keys().filter_map(ImagePath::parent).collect();
    set.entries.keys().filter(|path| !parents.contains(*path)).map(ToString::to_string).collect()
}

pub fn kinds(set: &KeepSet, path: &str) -> Vec<&'static str> {
    entry(set, path).because.iter().map(Reason::kind).collect()
}

pub fn notes(set: &KeepSet) -> Vec<String> {
    set.notes.iter().map(ToString::to_string).collect()
}

/// A directory of this machine as an image: read once, symlinks not followed.
pub struct DirectoryTree {
    root: PathBuf,
    entries: BTreeMap<ImagePath, Entry>,
}

impl DirectoryTree {
    pub fn new(root: &Path) -> Self {
        let mut tree = Self { root: root.to_owned(), entries: BTreeMap::new() };
        tree.add(&ImagePath::root());
        tree
    }

    /// Only these directories, with what lies below them, and the directories above.
    pub fn parts(root: &Path, parts: &[&str]) -> Self {
        let mut tree = Self { root: root.to_owned(), entries: BTreeMap::new() };
        for part in parts.iter().map(|part| ImagePath::from(*part)) {
            for above in part.ancestors() {
                tree.add_one(&above);
            }
            tree.add(&part);
        }
        tree
    }

    fn add(&mut self, path: &ImagePath) {
        if self.add_one(path) {
            for child in fs::read_dir(self.place(path)).unwrap() {
                self.add(&path.join(child.unwrap().file_name().as_bytes()));
            }
        }
    }

    /// Adds one path and tells whether it is a directory.
    fn add_one(&mut self, path: &ImagePath) -> bool {
        let place = self.place(path);
        let Ok(metadata) = fs::symlink_metadata(&place) else { return false };
        let kind = if metadata.is_dir() {
            Kind::Directory
        } else if metadata.is_symlink() {
            Kind::Symlink { target: fs::read_link(&place).unwrap().as_os_str().as_bytes().to_vec() }
        } else {
            Kind::File { size: metadata.len() }
        };
        let is_directory = kind == Kind::Directory;
        let entry = Entry {
            kind,
            mode: metadata.permissions().mode() & 0o7777,
            uid: metadata.uid(),
            gid: metadata.gid(),
            mtime: metadata.mtime(),
            xattrs: BTreeMap::new(),
            hard_link_group: None,
        };
        self.entries.insert(path.clone(), entry);
        is_directory
    }

    fn place(&self, path: &ImagePath) -> PathBuf {
        self.root.join(std::ffi::OsStr::from_bytes(&path.as_bytes()[1..]))
    }
}

impl ImageTree for DirectoryTree {
    fn entry(&self, path: &ImagePath) -> Option<&Entry> {
        self.entries.get(path)
    }

    fn read_dir(&self, path: &ImagePath) -> Vec<&[u8]> {
        let below = self.entries.range(path.clone()..).map(|(below, _)| below);
        let below = below.take_while(|below| below.as_bytes().starts_with(path.as_bytes()));
        below.filter(|below| below.parent().as_ref() == Some(path)).map(ImagePath::file_name).collect()
    }

    fn walk(&self) -> Box<dyn Iterator<Item = (&ImagePath, &Entry)> + '_> {
        Box::new(self.entries.iter())
    }

    fn open(&self, path: &ImagePath) -> Result<Box<dyn Contents + '_>, TreeError> {
        match fs::File::open(self.place(path)) {
            Ok(file) => Ok(Box::new(file)),
            Err(source) => Err(TreeError::Read { path: path.clone(), source }),
        }
    }
}
