//! What the user says about what to keep.

use slim_image::{Entry, ImagePath};
use std::collections::BTreeMap;

/// How much is kept beyond what was seen.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// The trace, and what must follow from it.
    #[default]
    Observed,
    /// And what the kept program can reach without having been exercised: see [`crate::reach`].
    Reachable,
    /// And every file of each package of which one file is kept.
    Package,
}

/// Resolved flags.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settings {
    pub level: Level,
    /// How many of the image's layers are its base's; `None`: as the image shows it.
    pub base_layers: Option<usize>,
    /// Kept with everything below.
    pub include_path: Vec<ImagePath>,
    /// The same, under the name of another flag (`--preserve-path`): contents always come from the pristine image.
    pub preserve_path: Vec<ImagePath>,
    /// Programs and libraries, kept with all that they need.
    pub include_bin: Vec<ImagePath>,
    /// Programs by name, looked up on the image's PATH.
    pub include_exe: Vec<String>,
    /// Directories whose programs and libraries, at any depth, are kept with all that they need.
    pub include_dir_bins: Vec<ImagePath>,
    /// A shell and the commands that people use in one.
    pub include_shell: bool,
    /// WORKDIR with everything below.
    pub include_workdir: bool,
    /// Time zones.
    pub include_zoneinfo: bool,
    /// All files that tell what distribution this is, not only os-release.
    pub include_distro_info: bool,
    pub certificates: Certificates,
    /// Do not keep what HEALTHCHECK names for its own sake.
    pub without_healthcheck: bool,
    /// Do not keep the C library's look-up of hosts and users for its own sake.
    pub without_name_services: bool,
    /// Other permissions in the slim image; the path is kept.
    pub permissions: BTreeMap<ImagePath, Permissions>,
    /// Globs of paths that are taken out last; `**` goes over any number of components.
    pub exclude_pattern: Vec<String>,
}

/// Which certificates and keys are kept though nothing used them. The default: bundles.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Certificates {
    /// Files that hold all authorities.
    pub bundles: bool,
    /// Directories with one authority a file.
    pub directories: bool,
    /// Where distributions and administrators put the authorities that bundles are made from, and Java's stores.
    pub sources: bool,
    /// The system's directories of private keys.
    pub key_directories: bool,
    /// Private keys of authorities and of Let's Encrypt, too.
    pub authority_keys: bool,
}

impl Default for Certificates {
    fn default() -> Self {
        Self {
            bundles: true,
            directories: false,
            sources: false,
            key_directories: false,
            authority_keys: false,
        }
    }
}

/// Mode and owner that a path gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Permission bits; with set-user-id, set-group-id and sticky bits where `with_special` says so.
    pub mode: u32,
    pub with_special: bool,
    /// `None`: as the image has it.
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

impl Permissions {
    /// Gives them to an entry.
    pub(crate) fn apply(&self, entry: &mut Entry) {
        const SPECIAL: u32 = 0o7000;
        let special = if self.with_special { self.mode } else { entry.mode } & SPECIAL;
        entry.mode = special | (self.mode & 0o777);
        entry.uid = self.uid.unwrap_or(entry.uid);
        entry.gid = self.gid.unwrap_or(entry.gid);
    }
}
