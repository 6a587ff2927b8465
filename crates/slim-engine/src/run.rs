//! Whose things are whose: everything made in an engine carries the labels of its run, and is found by them.
//!
//! Invariant: a leftover is swept only if its run is certainly dead: of this boot, of this pid name space, and its
//! process gone or another one under the same number. Everything else belongs to somebody.

use crate::engine::{Candidate, CandidateKind, Engine};
use crate::error::EngineError;
use crate::host;
use std::collections::BTreeMap;

/// The run's id. Every label below is there with it.
pub const LABEL_RUN: &str = "docker-slim.run.id";
const LABEL_BOOT: &str = "docker-slim.run.boot";
const LABEL_NAMESPACE: &str = "docker-slim.run.pid-namespace";
const LABEL_PID: &str = "docker-slim.run.pid";
const LABEL_START: &str = "docker-slim.run.start";

/// First component of every temporary image name.
pub const TEMPORARY_REPOSITORY: &str = "docker-slim.temporary";

/// One run of the program.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// Unique among all runs; lower-case letters and digits.
    pub id: String,
    /// The boot during which it runs: `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
    /// Inode number of the pid name space in which `pid` has its meaning.
    pub pid_namespace: u64,
    pub pid: u32,
    /// When the process started, in clock ticks since boot.
    pub start_time: u64,
}

impl Run {
    /// The labels of everything that this run makes.
    #[must_use]
    pub fn labels(&self) -> BTreeMap<String, String> {
        [
            (LABEL_RUN, self.id.clone()),
            (LABEL_BOOT, self.boot_id.clone()),
            (LABEL_NAMESPACE, self.pid_namespace.to_string()),
            (LABEL_PID, self.pid.to_string()),
            (LABEL_START, self.start_time.to_string()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect()
    }

    /// Reads them back; `None` where one is missing or no number.
    #[must_use]
    pub fn from_labels(labels: &BTreeMap<String, String>) -> Option<Self> {
        Some(Self {
            id: labels.get(LABEL_RUN)?.clone(),
            boot_id: labels.get(LABEL_BOOT)?.clone(),
            pid_namespace: labels.get(LABEL_NAMESPACE)?.parse().ok()?,
            pid: labels.get(LABEL_PID)?.parse().ok()?,
            start_time: labels.get(LABEL_START)?.parse().ok()?,
        })
    }

    /// A name for an image that must not stay under it. It says whose it is, since the image itself carries no label
    /// of ours (its digest would change with every run). `tag`: letters and digits.
    #[must_use]
    pub fn temporary_reference(&self, tag: &str) -> String {
        format!(
            "{TEMPORARY_REPOSITORY}/{}/{}/{}/{}/{}:{tag}",
            self.boot_id, self.pid_namespace, self.pid, self.start_time, self.id
        )
    }

    /// The labels that a temporary name stands for; `None` for any other name.
    #[must_use]
    pub(crate) fn labels_of_reference(reference: &str) -> Option<BTreeMap<String, String>> {
        let path = reference.strip_prefix(TEMPORARY_REPOSITORY)?.strip_prefix('/')?;
        let (path, _tag) = path.rsplit_once(':')?;
        match path.split('/').collect::<Vec<_>>().as_slice() {
            [boot_id, pid_namespace, pid, start_time, id] => Some(
                Self {
                    id: (*id).to_owned(),
                    boot_id: (*boot_id).to_owned(),
                    pid_namespace: pid_namespace.parse().ok()?,
                    pid: pid.parse().ok()?,
                    start_time: start_time.parse().ok()?,
                }
                .labels(),
            ),
            _ => None,
        }
    }
}

/// What a sweep did.
#[derive(Debug, Default)]
pub struct Sweep {
    /// What was removed: kind and id.
    pub removed: Vec<(CandidateKind, String)>,
    pub errors: Vec<EngineError>,
}

/// Removes what dead runs of this machine left behind. Collects errors and goes on.
pub async fn sweep(engine: &dyn Engine, this: &Run) -> Sweep {
    remove_where(engine, |run| is_dead(run, this, host::start_time)).await
}

/// Removes everything that a run made, by its labels: also what was made but never came back. Collects errors and
/// goes on.
pub async fn remove_run(engine: &dyn Engine, run: &Run) -> Vec<EngineError> {
    remove_where(engine, |other| other == run).await.errors
}

async fn remove_where(engine: &dyn Engine, chosen: impl Fn(&Run) -> bool + Send) -> Sweep {
    let mut sweep = Sweep::default();
    let mut candidates = match engine.sweep_candidates().await {
        Ok(candidates) => candidates,
        Err(error) => {
            sweep.errors.push(error);
            return sweep;
        }
    };
    candidates.retain(|candidate| Run::from_labels(&candidate.labels).is_some_and(|run| chosen(&run)));
    candidates.sort();
    for Candidate { kind, id, labels } in candidates {
        let candidate = Candidate { kind, id, labels };
        match engine.remove_candidate(&candidate).await {
            Ok(()) => sweep.removed.push((candidate.kind, candidate.id)),
            Err(error) => {
                let gone = error.is_engine_gone();
                sweep.errors.push(error);
                if gone {
                    break;
                }
            }
        }
    }
    sweep
}

/// Whether a run is certainly over.
fn is_dead(run: &Run, this: &Run, start_time_of: impl Fn(u32) -> Option<u64>) -> bool {
    run.boot_id == this.boot_id
        && run.pid_namespace == this.pid_namespace
        && start_time_of(run.pid) != Some(run.start_time)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> Run {
        Run {
            id: "a1".into(),
            boot_id: "5e1f-00".into(),
            pid_namespace: 4026531836,
            pid: 42,
            start_time: 1000,
        }
    }

    #[test]
    fn labels_and_temporary_names_say_the_same() {
        assert_eq!(Run::from_labels(&run().labels()), Some(run()));
        let reference = run().temporary_reference("slim");
        assert_eq!(Run::labels_of_reference(&reference), Some(run().labels()));
        assert_eq!(Run::labels_of_reference("nginx:latest"), None);
        assert_eq!(Run::labels_of_reference("docker-slim.temporary/x:y"), None);
    }

    #[test]
    fn incomplete_labels_are_nobodys() {
        for key in run().labels().keys() {
            let mut labels = run().labels();
            labels.remove(key);
            assert_eq!(Run::from_labels(&labels), None, "{key}");
        }
    }

    #[test]
    fn only_the_certainly_dead_are_dead() {
        let this = run();
        assert!(is_dead(&run(), &this, |_| None), "process gone");
        assert!(is_dead(&run(), &this, |_| Some(2000)), "number used again");
        assert!(!is_dead(&run(), &this, |_| Some(1000)), "lives");
        let other_boot = Run { boot_id: "other".into(), ..run() };
        assert!(!is_dead(&other_boot, &this, |_| None), "another machine, or another boot");
        let other_namespace = Run { pid_namespace: 7, ..run() };
        assert!(!is_dead(&other_namespace, &this, |_| None), "its process cannot be seen from here");
    }
}
