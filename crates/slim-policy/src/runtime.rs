//! What container runtimes call after they installed the seccomp filter and before they exec the image's program.
//!
//! The sets are data, one file a runtime and version, written by `scripts/trace-runtime`, which also says on which
//! machine. A set is only added by tracing that runtime; one that could not be traced is left out. The sets of runc, crun
//! and this program's own engine are allowed together by every profile, so that it works on hosts with another runtime than
//! the one that it was made on. What an init needs is among the first relatives of the balanced mode. youki speaks over
//! sockets after its filter is on, which is too much for every program: its calls are allowed where it was seen to make them.

use crate::system_calls::ALWAYS;
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
    /// What the runtime's own language may call at any time (memory, scheduling), seen or not, and cannot go on without:
    /// too rare and too dependent on timing for a trace to be complete.
    #[serde(default)]
    pub language_calls: BTreeSet<String>,
    /// What it may call as well and goes on without: such a call is refused, and nothing comes of it.
    #[serde(default)]
    pub survived_calls: BTreeSet<String>,
}

impl RuntimeSet {
    /// Every call that must be allowed.
    pub fn calls(&self) -> impl Iterator<Item = &str> {
        self.system_calls.keys().chain(&self.language_calls).map(String::as_str)
    }

    /// Whether every profile allows it all.
    #[must_use]
    pub fn is_in_every_profile(&self) -> bool {
        IN_EVERY_PROFILE.contains(&self.runtime.as_str())
    }
}

/// Runtimes under which every profile starts, the strict one, too.
const IN_EVERY_PROFILE: [&str; 3] = ["crun", "docker-slim", "runc"];

/// How many calls a profile holds for runtimes' sake at most.
pub const MOST_RUNTIME_CALLS: usize = 30;

const FILES: [&str; 9] = [
    include_str!("../runtimes/crun-1.21.json"),
    include_str!("../runtimes/crun-1.28.json"),
    include_str!("../runtimes/crun-1.8.1.json"),
    include_str!("../runtimes/docker-init-0.19.0.json"),
    include_str!("../runtimes/docker-slim-0.1.0.json"),
    include_str!("../runtimes/runc-1.1.15.json"),
    include_str!("../runtimes/runc-1.1.5.json"),
    include_str!("../runtimes/runc-1.3.6.json"),
    include_str!("../runtimes/youki-0.7.0.json"),
];

static SETS: LazyLock<Vec<RuntimeSet>> = LazyLock::new(|| {
    FILES
        .iter()
        .map(|file| serde_json::from_str(file).expect("the runtime sets in this repository are well formed"))
        .collect()
});

/// By call: the runtimes that need it, with their versions.
type RuntimeCalls = BTreeMap<&'static str, BTreeSet<(String, String)>>;

static CALLS: LazyLock<RuntimeCalls> = LazyLock::new(|| {
    let mut calls = RuntimeCalls::new();
    for set in SETS.iter().filter(|set| set.is_in_every_profile()) {
        let is_its_own = |call: &&str| !NEVER.contains(call) && !ALWAYS.contains(call);
        for call in set.calls().filter(is_its_own) {
            calls.entry(call).or_default().insert((set.runtime.clone(), set.runtime_version.clone()));
        }
    }
    calls
});

/// The known sets, by name and version.
#[must_use]
pub fn runtime_sets() -> &'static [RuntimeSet] {
    &SETS
}

/// What every profile allows so that a container starts under any of the known runtimes: at most
/// [`MOST_RUNTIME_CALLS`], and none of those that every program is allowed anyway.
#[must_use]
pub fn runtime_calls() -> &'static RuntimeCalls {
    &CALLS
}

/// What an init before the program (`docker run --init`) calls, each with its set.
pub(crate) fn init_calls() -> impl Iterator<Item = (&'static str, &'static RuntimeSet)> {
    let inits = SETS.iter().filter(|set| set.runtime == "docker-init");
    inits.flat_map(|set| set.calls().map(move |call| (call, set)))
}

/// Whether it is known that a runtime makes this call that every profile provides for, needed or not.
pub(crate) fn is_known_of_a_runtime(call: &str) -> bool {
    let mut sets = SETS.iter().filter(|set| set.is_in_every_profile());
    sets.any(|set| set.calls().any(|known| known == call) || set.survived_calls.contains(call))
}

/// Runtimes that profiles do not provide for, with why: a report names them, since a profile may not let a container start there.
pub const UNTRACED_RUNTIMES: [(&str, &str); 3] = [
    ("runc 1.2", "packaged for no suite of the distribution that traced; 1.1 and 1.3 are known"),
    ("youki", "it speaks over sockets under its filter: allowed where it was the runtime that was observed"),
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
    fn all_runtimes_together_need_few_calls() {
        let calls: Vec<&str> = runtime_calls().keys().copied().collect();
        assert!(calls.len() <= MOST_RUNTIME_CALLS, "{}: {calls:?}", calls.len());
    }

    #[test]
    fn runc_executes_and_drops_privileges_under_its_filter() {
        for runc in runtime_sets().iter().filter(|set| set.runtime == "runc") {
            for call in ["execve", "setuid", "setgid", "setgroups", "capset", "prctl", "fstatfs", "fstat"] {
                assert!(runc.calls().any(|known| known == call), "{} {call}", runc.runtime_version);
            }
        }
    }
}
