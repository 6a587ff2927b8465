//! The run contract: with how little the image runs. What a trace lets presume of it, and how it is found by trying.
//!
//! Invariants: every part carries why it is there; equal input gives equal bytes. What is tried never allows more than
//! the observed container had, and [`Terms::loosest`] is what it had.

mod ceiling;
mod evidence;
mod forms;
mod places;
mod presumed;
mod search;

pub use ceiling::{Ceiling, Peaks};
pub use evidence::{Evidence, capabilities_of_call};
pub(crate) use evidence::{asked_by_ports, asked_by_sockets};
pub use forms::Forms;
pub use places::{Places, Root, Tmpfs, Volume};
pub use presumed::{Ground, Owner, Presumed, Published, presume};
pub use search::{Outcome, Search, Signs, Step, Terms};

use serde::Serialize;
use slim_image::ImagePath;
use std::collections::{BTreeMap, BTreeSet};

/// The version of `run-contract.json` that this code writes.
pub const VERSION: u32 = 1;

/// With how little the image runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Contract {
    /// Whom the program begins as: what the image or the caller named; `None`: root.
    pub user: Option<String>,
    /// Capabilities that it is to have, each with why; all others are dropped.
    pub capabilities: BTreeMap<String, String>,
    pub no_new_privileges: bool,
    /// Programs that were run and raise privileges: for want of them `no_new_privileges` would hold.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub privileged_programs: BTreeSet<ImagePath>,
    pub read_only: bool,
    /// Where the program writes what nobody expects to find again.
    pub tmpfs: BTreeMap<ImagePath, Tmpfs>,
    /// Where it writes besides.
    pub volumes: BTreeMap<ImagePath, Volume>,
    /// What it would write on the root as well, and does without.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub refused_writes: BTreeSet<ImagePath>,
    /// Processes and threads.
    pub pids: Option<Ceiling>,
    /// Bytes.
    pub memory: Option<Ceiling>,
    pub ports: BTreeSet<Published>,
    /// How often a container was started to find it; 0: it is presumed from the trace.
    pub starts: usize,
}

impl Contract {
    /// The contract of these terms. `starts`: in how many they were found.
    #[must_use]
    pub fn of(presumed: &Presumed, terms: &Terms, peaks: Option<Peaks>, starts: usize) -> Self {
        let because = |name: &String| (name.clone(), presumed.why(name));
        let places = presumed.places.under(terms.root);
        let ceilings = peaks.filter(|_| terms.ceilings);
        Self {
            user: presumed.user.clone(),
            capabilities: terms.capabilities.iter().map(because).collect(),
            no_new_privileges: terms.no_new_privileges,
            privileged_programs: presumed.privileged_programs.clone(),
            read_only: terms.root.is_read_only(),
            tmpfs: places
                .tmpfs
                .into_iter()
                .map(|(path, tmpfs)| (path, Tmpfs { exec: tmpfs.exec || terms.exec_tmpfs, ..tmpfs }))
                .collect(),
            volumes: places.volumes,
            refused_writes: places.refused,
            pids: ceilings.and_then(|peaks| peaks.pids).map(Ceiling::of_pids),
            memory: ceilings.and_then(|peaks| peaks.memory).map(Ceiling::of_memory),
            ports: presumed.ports.clone(),
            starts,
        }
    }

    /// In words, for the summary.
    #[must_use]
    pub fn told(&self) -> String {
        let mut parts = vec![match self.capabilities.len() {
            0 => "no capabilities".to_owned(),
            _ => self.capabilities.keys().cloned().collect::<Vec<_>>().join(" "),
        }];
        parts.push(
            if self.no_new_privileges { "no new privileges" } else { "privileges may be raised" }.to_owned(),
        );
        let written = self.tmpfs.keys().chain(self.volumes.keys()).map(ToString::to_string);
        let written: Vec<String> = written.collect();
        parts.push(match (self.read_only, written.is_empty()) {
            (true, true) => "a read-only root".to_owned(),
            (true, false) => format!("a read-only root but for {}", written.join(" ")),
            (false, _) => "a writable root".to_owned(),
        });
        if let Some(pids) = self.pids {
            parts.push(format!("{} processes (peak {})", pids.limit, pids.peak));
        }
        if let Some(memory) = self.memory {
            parts.push(format!("{} MiB (peak {})", memory.limit >> 20, (memory.peak >> 20).max(1)));
        }
        parts.join(", ")
    }
}
