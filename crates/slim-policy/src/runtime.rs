//! What container runtimes call after they installed the seccomp filter and before they exec the image's program.
//!
//! The sets are data, one file a runtime and version, written by `scripts/trace-runtime`, which also says on which
//! machine. A set is only added by tracing that runtime; one that could not be traced is left out. All sets are allowed
//! together, so that a profile works on hosts with another runtime than the one that it was made on.

use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// The calls of one runtime in one version.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub struct RuntimeSet {
    /// Version of the file format: 1.
    pub version: u32,
    /// `runc`, `docker-init`.
    pub runtime: String,
    pub runtime_version: String,
    /// The program that wrote the file.
    pub generator: String,
    /// Where and how it was traced; for readers.
    pub provenance: serde_json::Value,
    /// Each call with the ways of starting a container in which it was seen.
    pub system_calls: BTreeMap<String, BTreeSet<String>>,
    /// What the runtime's own language may call at any time (memory, scheduling), seen or not: too rare and too dependent
    /// on timing for a trace to be complete.
    #[serde(default)]
    pub language_calls: BTreeSet<String>,
}

impl RuntimeSet {
    /// Every call of the set.
    pub fn calls(&self) -> impl Iterator<Item = &str> {
        self.system_calls.keys().chain(&self.language_calls).map(String::as_str)
    }
}

const FILES: [&str; 2] =
    [include_str!("../runtimes/docker-init-0.19.0.json"), include_str!("../runtimes/runc-1.1.5.json")];

static SETS: LazyLock<Vec<RuntimeSet>> = LazyLock::new(|| {
    FILES
        .iter()
        .map(|file| serde_json::from_str(file).expect("the runtime sets in this repository are well formed"))
        .collect()
});

/// The known sets, by name and version.
#[must_use]
pub fn runtime_sets() -> &'static [RuntimeSet] {
    &SETS
}

/// Runtimes of which there is no set, with why: a report names them, since a profile may not let a container start there.
pub const UNTRACED_RUNTIMES: [(&str, &str); 4] = [
    ("crun", "1.8.1, what Debian 12 has, refuses the hybrid cgroup layout of the machine that traced"),
    ("runc 1.2 and later", "not packaged for the machine that traced"),
    ("youki", "not packaged for the machine that traced"),
    ("gVisor", "it applies a seccomp profile inside its own kernel, where there is nothing to trace"),
];

/// What no runtime calls under its filter, whatever a trace says: with these a program could leave its file system.
pub(crate) const NEVER: [&str; 4] = ["mount", "pivot_root", "setns", "umount2"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn every_set_in_the_folder_is_embedded_and_named_after_what_it_holds() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("runtimes");
        let mut on_disk: Vec<String> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        on_disk.sort();
        let embedded: Vec<String> = runtime_sets()
            .iter()
            .map(|set| format!("{}-{}.json", set.runtime, set.runtime_version))
            .collect();
        assert_eq!(embedded, on_disk);
    }

    #[test]
    fn no_set_holds_what_changes_mounts_or_namespaces() {
        for set in runtime_sets() {
            assert_eq!(set.version, 1);
            assert!(set.calls().count() > 5, "{} is hardly complete", set.runtime);
            for call in set.calls() {
                assert!(!NEVER.contains(&call), "{} calls {call}", set.runtime);
                assert!(
                    !call.starts_with("unshare") && !call.starts_with("mount"),
                    "{} calls {call}",
                    set.runtime
                );
            }
        }
    }

    #[test]
    fn runc_executes_and_drops_privileges_under_its_filter() {
        let runc = runtime_sets().iter().find(|set| set.runtime == "runc").unwrap();
        for call in ["execve", "setuid", "setgid", "setgroups", "capset", "prctl", "fstatfs", "fstat"] {
            assert!(runc.calls().any(|known| known == call), "{call}");
        }
    }
}
