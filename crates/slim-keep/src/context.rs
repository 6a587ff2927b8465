//! What every rule looks at: the pristine tree, what lay over it during the run, and the program's environment.

use crate::exclude::Exclusions;
use crate::walk::{End, Walk, walk};
use slim_image::{Config, Entry, ImagePath, ImageTree, Kind, TreeError};
use slim_trace::{Mount, MountKind};
use std::collections::BTreeMap;
use std::io::Read;

/// What engines put into a container's own file system, or make there at each start.
const OF_THE_ENGINE: [&str; 6] =
    ["/.dockerenv", "/run/.containerenv", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf", "/etc/mtab"];
/// Directories that every container has filled by its engine.
const FILLED_BY_THE_ENGINE: [&str; 3] = ["/dev", "/proc", "/sys"];
/// What Docker sets where an image sets no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the rules work on.
pub struct Context<'a> {
    pub tree: &'a dyn ImageTree,
    pub mounts: Mounts,
    pub environment: Environment,
    /// What the image says about running it, less what the user does not want kept for its sake.
    pub config: Config,
    pub exclusions: Exclusions,
    /// Whether a kept C library brings its look-up of hosts and users.
    pub name_services: bool,
}

/// What lay over the image's file system while it was watched.
#[derive(Clone, Debug, Default)]
pub struct Mounts(BTreeMap<ImagePath, MountKind>);

/// The parts of a program's environment that decide where it looks.
#[derive(Clone, Debug)]
pub struct Environment {
    /// Directories of PATH as they stand.
    pub path: Vec<String>,
    /// Directories of `LD_LIBRARY_PATH` as they stand.
    pub library_path: Vec<String>,
    /// Directories of PYTHONPATH as they stand.
    pub python_path: Vec<String>,
    /// Absolute, as WORKDIR has it.
    pub working_directory: String,
    /// HOME, where the image sets it.
    pub home: Option<String>,
    /// Every variable that the image sets; of one set twice the last value.
    pub variables: BTreeMap<String, String>,
}

impl Mounts {
    /// The mounts of a trace.
    #[must_use]
    pub fn new(mounts: &[Mount]) -> Self {
        Self(mounts.iter().map(|mount| (mount.path.clone(), mount.kind)).collect())
    }

    /// The kind of the mount that a path lies on, and where that is mounted.
    fn covering(&self, path: &ImagePath) -> Option<(&ImagePath, MountKind)> {
        let above = path.ancestors();
        std::iter::once(path)
            .chain(above.iter().rev())
            .find_map(|place| self.0.get_key_value(place))
            .map(|(place, kind)| (place, *kind))
    }

    /// Where something that is no part of the image was mounted.
    pub(crate) fn others(&self) -> impl Iterator<Item = &ImagePath> {
        self.0.iter().filter(|(_, kind)| **kind == MountKind::Other).map(|(path, _)| path)
    }
}

impl Environment {
    /// The environment that an image's configuration gives its program.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let directories = |name: &str| {
            let value = config.env_value(name).unwrap_or_default();
            value
                .split([':', ';'])
                .filter(|part| part.starts_with('/'))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let path = config.env_value("PATH").unwrap_or(DEFAULT_PATH);
        let working_directory = match config.working_dir.as_str() {
            "" => "/".to_owned(),
            absolute if absolute.starts_with('/') => absolute.to_owned(),
            relative => format!("/{relative}"),
        };
        Self {
            path: path.split(':').filter(|part| part.starts_with('/')).map(str::to_owned).collect(),
            library_path: directories("LD_LIBRARY_PATH"),
            python_path: directories("PYTHONPATH"),
            working_directory,
            home: config.env_value("HOME").filter(|home| home.starts_with('/')).map(str::to_owned),
            variables: config
                .env
                .iter()
                .filter_map(|pair| pair.split_once('='))
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        }
    }

    /// The value of a variable; one that is set to nothing counts as not set.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.variables.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// The absolute directories of a variable that lists them with colons.
    pub(crate) fn directories(&self, variable: &str) -> Vec<Vec<u8>> {
        let value = self.variables.get(variable).map(String::as_str).unwrap_or_default();
        value.split(':').filter(|part| part.starts_with('/')).map(|part| part.as_bytes().to_vec()).collect()
    }

    /// A path as the program's first process sees it.
    #[must_use]
    pub fn absolute(&self, path: &str) -> String {
        if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", self.working_directory) }
    }
}

impl<'a> Context<'a> {
    /// A context without mounts and exclusions, for the environment of this configuration.
    #[must_use]
    pub fn new(tree: &'a dyn ImageTree, config: &Config) -> Self {
        Self {
            tree,
            mounts: Mounts::default(),
            environment: Environment::new(config),
            config: config.clone(),
            exclusions: Exclusions::default(),
            name_services: true,
        }
    }

    /// Looks a path up in the pristine image.
    #[must_use]
    pub fn walk(&self, path: &[u8], follow: bool) -> Walk {
        walk(self.tree, path, follow, &never_emitted)
    }

    /// Looks a path up as a process of the watched container saw it: what lay under a mount does not count.
    #[must_use]
    pub fn walk_observed(&self, path: &[u8], follow: bool) -> Walk {
        walk(self.tree, path, follow, &|path| never_emitted(path) || self.is_hidden(path))
    }

    /// The regular file that a path leads to.
    #[must_use]
    pub fn file(&self, path: &[u8]) -> Option<ImagePath> {
        let End::Found(found) = self.walk(path, true).end else { return None };
        matches!(self.entry(&found)?.kind, Kind::File { .. }).then_some(found)
    }

    /// The entry at exactly this path.
    #[must_use]
    pub fn entry(&self, path: &ImagePath) -> Option<&'a Entry> {
        self.tree.entry(path)
    }

    /// The path by which a program of this name would be run: as it stands where it holds a slash, else through PATH.
    /// It may lead through symlinks.
    #[must_use]
    pub fn program(&self, name: &str) -> Option<String> {
        if name.is_empty() {
            return None;
        }
        if name.contains('/') {
            return Some(self.environment.absolute(name)).filter(|path| self.is_executable(path));
        }
        self.environment
            .path
            .iter()
            .map(|directory| format!("{directory}/{name}"))
            .find(|path| self.is_executable(path))
    }

    /// The beginning of a file that a path leads to, at most `most` bytes; empty where there is none.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn read(&self, path: &[u8], most: u64) -> Result<Vec<u8>, TreeError> {
        let Some(path) = self.file(path) else { return Ok(Vec::new()) };
        let mut bytes = Vec::new();
        let contents = self.tree.open(&path)?;
        contents.take(most).read_to_end(&mut bytes).map_err(|source| TreeError::Read { path, source })?;
        Ok(bytes)
    }

    fn is_executable(&self, path: &str) -> bool {
        self.file(path.as_bytes())
            .and_then(|file| self.entry(&file))
            .is_some_and(|entry| entry.mode & 0o111 != 0)
    }

    /// Whether something that is no part of the image lay over this path. The directory that it was mounted on counts
    /// as the image's: the engine needs it.
    fn is_hidden(&self, path: &ImagePath) -> bool {
        match self.mounts.covering(path) {
            Some((place, MountKind::Other)) => {
                place != path || !self.entry(path).is_some_and(Entry::is_directory)
            }
            _ => false,
        }
    }
}

/// Whether a path is the engine's business and never part of an image: see the design's decision 6.
#[must_use]
pub fn never_emitted(path: &ImagePath) -> bool {
    let bytes = path.as_bytes();
    OF_THE_ENGINE.iter().any(|file| file.as_bytes() == bytes)
        || FILLED_BY_THE_ENGINE.iter().any(|directory| {
            bytes.strip_prefix(directory.as_bytes()).is_some_and(|rest| rest.first() == Some(&b'/'))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_image::MemoryTree;

    fn mount(path: &str, kind: MountKind) -> Mount {
        Mount { path: path.into(), kind, file_system: "ext4".to_owned() }
    }

    #[test]
    fn the_innermost_mount_decides() {
        let tree = MemoryTree::new().file("/data/image/f", 0o644, "").file("/data/other", 0o644, "");
        let mut context = Context::new(&tree, &Config::default());
        context.mounts = Mounts::new(&[
            mount("/", MountKind::Root),
            mount("/data", MountKind::Other),
            mount("/data/image", MountKind::ImageVolume),
        ]);
        assert_eq!(context.walk_observed(b"/data", true).end, End::Found("/data".into()));
        assert_eq!(context.walk_observed(b"/data/other", true).end, End::Shadowed);
        assert!(!context.is_hidden(&"/data/image/f".into()));
        assert_eq!(context.walk(b"/data/other", true).end, End::Found("/data/other".into()));
    }

    #[test]
    fn a_program_is_looked_for_on_path_by_its_mode() {
        let tree = MemoryTree::new()
            .file("/first/tool", 0o644, "no program")
            .file("/second/real", 0o755, "")
            .symlink("/second/tool", "real")
            .file("/work/tool", 0o755, "");
        let config = Config {
            env: vec!["PATH=/none:/first:/second".to_owned()],
            working_dir: "/work".to_owned(),
            ..Config::default()
        };
        let context = Context::new(&tree, &config);
        assert_eq!(context.program("tool").as_deref(), Some("/second/tool"));
        assert_eq!(context.program("./tool").as_deref(), Some("/work/./tool"));
        assert_eq!(context.program("/first/tool"), None);
    }

    #[test]
    fn the_engines_files_are_never_the_images() {
        for path in ["/.dockerenv", "/etc/hosts", "/dev/null", "/proc/self", "/sys/fs"] {
            assert!(never_emitted(&path.into()), "{path}");
        }
        for path in ["/dev", "/proc", "/devices", "/etc/hosts.allow", "/etc"] {
            assert!(!never_emitted(&path.into()), "{path}");
        }
    }
}
