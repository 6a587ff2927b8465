//! Which of a build's artifacts are policy, and what they are to a registry.

use crate::error::BuildError;
use slim_policy::POLICY_FILE;
use std::fs;
use std::path::Path;

/// The kind of the artifact that holds all of them.
pub const POLICY_ARTIFACT: &str = "application/vnd.docker-slim.policy.v1+json";

/// The run contract among the artifacts.
pub(crate) const CONTRACT_FILE: &str = "run-contract.json";
/// The file that the launcher of the image reads, among the artifacts.
pub(crate) const LAUNCH_FILE: &str = "launch.policy";

/// One kind of policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PolicyKind {
    /// All that was decided about system calls, with its reasons.
    Decided,
    /// Docker's seccomp profile of the container.
    Seccomp,
    /// The tighter one after the entrypoint.
    EntrypointSeccomp,
    AppArmor,
    /// With how little the image runs.
    Contract,
    /// What the launcher in the image reads.
    Launch,
}

impl PolicyKind {
    pub const ALL: [Self; 6] =
        [Self::Decided, Self::Seccomp, Self::EntrypointSeccomp, Self::AppArmor, Self::Contract, Self::Launch];

    /// How a file of this kind ends; the most specific first.
    const ENDINGS: [(&'static str, Self); 6] = [
        ("-entrypoint-seccomp.json", Self::EntrypointSeccomp),
        ("-seccomp.json", Self::Seccomp),
        ("-apparmor-profile", Self::AppArmor),
        (CONTRACT_FILE, Self::Contract),
        (POLICY_FILE, Self::Decided),
        (LAUNCH_FILE, Self::Launch),
    ];

    /// What a file of this name is; `None`: no policy.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        Self::ENDINGS.iter().find(|(ending, _)| name.ends_with(ending)).map(|(_, kind)| *kind)
    }

    /// What a blob of this type is.
    #[must_use]
    pub fn of_media_type(media_type: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.media_type() == media_type)
    }

    #[must_use]
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::Decided => "application/vnd.docker-slim.policy.decided.v1+json",
            Self::Seccomp => "application/vnd.docker-slim.seccomp.v1+json",
            Self::EntrypointSeccomp => "application/vnd.docker-slim.seccomp.entrypoint.v1+json",
            Self::AppArmor => "application/vnd.docker-slim.apparmor.v1",
            Self::Contract => "application/vnd.docker-slim.run-contract.v1+json",
            Self::Launch => "application/vnd.docker-slim.launch.v1",
        }
    }

    /// The word for it, in flags and output.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Decided => "policy",
            Self::Seccomp => "seccomp",
            Self::EntrypointSeccomp => "entrypoint-seccomp",
            Self::AppArmor => "apparmor",
            Self::Contract => "contract",
            Self::Launch => "launch",
        }
    }
}

/// A policy as it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PolicyBytes {
    pub kind: PolicyKind,
    pub name: String,
    pub bytes: Vec<u8>,
}

/// The policies in a folder of artifacts, by name.
///
/// # Errors
/// When the folder or a file of it cannot be read.
pub fn policy_files(folder: &Path) -> Result<Vec<PolicyBytes>, BuildError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| BuildError::State { action: "read", path, source }
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed(folder))? {
        let entry = entry.map_err(failed(folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if let Some(kind) = PolicyKind::of_name(&name) {
            let bytes = fs::read(entry.path()).map_err(failed(&entry.path()))?;
            files.push(PolicyBytes { kind, name, bytes });
        }
    }
    files.sort_by(|one, other| (one.kind, &one.name).cmp(&(other.kind, &other.name)));
    Ok(files)
}

/// Removes the policies of earlier builds from a folder of artifacts: whoever takes what lies there would take one for this
/// build's, which has none of that kind, or one of another name.
///
/// # Errors
/// When the folder cannot be read, or a file not be removed.
pub fn forget_policies_but(folder: &Path, names: &[String]) -> Result<(), BuildError> {
    let failed = |action: &'static str, path: &Path| {
        let path = path.to_owned();
        move |source| BuildError::State { action, path, source }
    };
    for entry in fs::read_dir(folder).map_err(failed("read", folder))? {
        let entry = entry.map_err(failed("read", folder))?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if PolicyKind::of_name(&name).is_some() && !names.contains(&name) {
            fs::remove_file(entry.path()).map_err(failed("remove", &entry.path()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_of_earlier_builds_go_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["old-seccomp.json", "launch.policy", "a-seccomp.json", "keep.json", "mine.txt"] {
            fs::write(folder.path().join(name), "x").unwrap();
        }
        forget_policies_but(folder.path(), &["a-seccomp.json".to_owned(), "keep.json".to_owned()]).unwrap();
        let mut left: Vec<_> =
            fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        left.sort();
        assert_eq!(left, ["a-seccomp.json", "keep.json", "mine.txt"]);
    }

    #[test]
    fn policies_are_known_by_their_names_and_types() {
        let folder = tempfile::tempdir().unwrap();
        let names = [
            "policy.json",
            "a-seccomp.json",
            "a-entrypoint-seccomp.json",
            "launch.policy",
            "a-apparmor-profile",
            "run-contract.json",
            "trace.json",
            "keep.json",
        ];
        names.iter().for_each(|name| fs::write(folder.path().join(name), name).unwrap());
        let kinds: Vec<PolicyKind> =
            policy_files(folder.path()).unwrap().into_iter().map(|file| file.kind).collect();
        assert_eq!(kinds, PolicyKind::ALL);
        for kind in PolicyKind::ALL {
            assert_eq!(PolicyKind::of_media_type(kind.media_type()), Some(kind));
        }
    }
}
