//! What a slim image that was run for verification still needs: paths that it looked for in vain, and system calls that
//! its profile refused.
//!
//! Invariants: paths get in as seeds of the closure, as all others do; what the user excluded never does; no call is
//! allowed that the engine's own profile does not allow every container. Equal runs give equal repairs.

use crate::error::BuildError;
use crate::policy::Policies;
use crate::verify::Verdict;
use slim_image::path::escape;
use slim_image::{Config, ImagePath, ImageTree};
use slim_keep::{KeepSet, Seed, SlimRun};
use slim_policy::allowed_by_default;
use slim_report::RoundReport;
use slim_trace::{Phase, Trace};
use std::collections::{BTreeMap, BTreeSet};

/// Everything that was repaired so far.
#[derive(Debug, Default)]
pub struct Repairs {
    pub seeds: Vec<Seed>,
    /// System calls, each with its round.
    pub calls: BTreeMap<String, u32>,
    pub rounds: Vec<RoundReport>,
}

/// What one look at a slim run found.
#[derive(Debug, Default)]
pub struct Findings {
    pub seeds: Vec<Seed>,
    pub calls: BTreeSet<String>,
    /// What was looked for and an exclude pattern takes out, with the pattern.
    pub excluded: BTreeMap<ImagePath, String>,
}

/// What the keep-set was made from.
#[derive(Clone, Copy)]
pub struct Ground<'a> {
    pub trace: &'a Trace,
    pub tree: &'a dyn ImageTree,
    pub config: &'a Config,
    pub settings: &'a slim_keep::Settings,
}

impl Repairs {
    /// What the slim image that was made of `kept` and `policies` needs besides. Nothing where it was not watched.
    ///
    /// # Errors
    /// When an exclude pattern is none.
    pub fn look(
        &self,
        ground: Ground<'_>,
        kept: &KeepSet,
        policies: &Policies,
        verdict: &Verdict,
    ) -> Result<Findings, BuildError> {
        let Some(slim) = &verdict.trace else { return Ok(Findings::default()) };
        let agrees = verdict.differences.is_empty();
        let run = SlimRun { fat: ground.trace, slim, kept, agrees };
        let missed = slim_keep::missed(run, ground.tree, ground.config, ground.settings, self.next_round())?;
        let allowed = policies.allowed_at_last();
        let calls = refused_calls(ground.trace, slim, &allowed, agrees);
        tracing::debug!(
            missed = missed.seeds.len(),
            excluded = missed.excluded.len(),
            harmless = missed.harmless,
            calls = calls.len(),
            "looked at what the slim run missed"
        );
        Ok(Findings { seeds: missed.seeds, calls, excluded: missed.excluded })
    }

    /// Takes findings in as one round of repair.
    pub fn grow(&mut self, findings: Findings, differences: usize) {
        let round = self.next_round();
        self.rounds.push(RoundReport {
            round,
            differences,
            paths: findings.seeds.iter().map(|seed| escape(&seed.path)).collect(),
            system_calls: findings.calls.iter().cloned().collect(),
        });
        self.seeds.extend(findings.seeds);
        self.calls.extend(findings.calls.into_iter().map(|call| (call, round)));
    }

    /// The number of the round that the next findings make.
    #[must_use]
    pub fn next_round(&self) -> u32 {
        u32::try_from(self.rounds.len()).map_or(u32::MAX, |rounds| rounds + 1)
    }

    /// In words, for the summary; `None` where nothing was repaired.
    #[must_use]
    pub fn told(&self) -> Option<String> {
        let paths = self.rounds.iter().map(|round| round.paths.len()).sum();
        let added = amounts(paths, self.calls.len());
        match self.rounds.len() {
            0 => None,
            1 => Some(format!("{added} added in 1 round of repair")),
            rounds => Some(format!("{added} added in {rounds} rounds of repair")),
        }
    }
}

impl Findings {
    /// Whether there is nothing to repair.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.seeds.is_empty() && self.calls.is_empty()
    }

    /// `5 paths, 1 system call`.
    #[must_use]
    pub fn told(&self) -> String {
        amounts(self.seeds.len(), self.calls.len())
    }
}

fn amounts(paths: usize, calls: usize) -> String {
    let count = |number: usize, what: &str| match number {
        0 => None,
        1 => Some(format!("1 {what}")),
        many => Some(format!("{many} {what}s")),
    };
    [count(paths, "path"), count(calls, "system call")].into_iter().flatten().collect::<Vec<_>>().join(", ")
}

/// The calls that the slim program was refused by its own profile, and the fat one never was. Calls whose callers take
/// ENOSYS for an answer and go another way count only where the program did something else for it.
fn refused_calls(fat: &Trace, slim: &Trace, allowed: &BTreeSet<&str>, agrees: bool) -> BTreeSet<String> {
    let refused_before = denied(fat);
    let is_refused_by_profile = |call: &String, errors: &BTreeSet<String>| {
        let is_to_be_done_without = agrees && !errors.contains("EPERM");
        !allowed.contains(call.as_str())
            && !refused_before.contains_key(call)
            && allowed_by_default(call)
            && !is_to_be_done_without
    };
    denied(slim)
        .into_iter()
        .filter(|(call, errors)| is_refused_by_profile(call, errors))
        .map(|(call, _)| call)
        .collect()
}

/// Every call that the program of a trace was refused, with the errors.
fn denied(trace: &Trace) -> BTreeMap<String, BTreeSet<String>> {
    let mut denied: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for record in &trace.system_calls {
        if matches!(record.phase, Phase::Runtime | Phase::RuntimeFiltered) {
            continue;
        }
        for (call, errors) in &record.denied {
            denied.entry(call.clone()).or_default().extend(errors.iter().cloned());
        }
    }
    denied
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_keep::Reason;
    use slim_trace::{Abi, Process, ProcessId, SystemCalls};

    fn trace(phase: Phase, denied: &[(&str, &str)]) -> Trace {
        let mut trace = Trace::empty("sha256:0");
        trace.processes.push(Process {
            parent: None,
            began: phase,
            executable: None,
            invoked_as: None,
            interpreter: None,
            shebang: Vec::new(),
            argv: Vec::new(),
        });
        let denied = denied.iter().map(|(call, error)| ((*call).to_owned(), [(*error).to_owned()].into()));
        trace.system_calls.push(SystemCalls {
            process: ProcessId(0),
            phase,
            abi: Abi::X86_64,
            calls: BTreeSet::new(),
            denied: denied.collect(),
        });
        trace
    }

    fn refused(fat: &[(&str, &str)], slim: &[(&str, &str)], agrees: bool) -> Vec<String> {
        let (fat, slim) = (trace(Phase::Startup, fat), trace(Phase::Exercise, slim));
        refused_calls(&fat, &slim, &["read", "kill"].into(), agrees).into_iter().collect()
    }

    #[test]
    fn a_call_that_only_the_slim_program_was_refused_is_to_be_allowed() {
        for agrees in [true, false] {
            assert_eq!(
                refused(&[], &[("sched_yield", "EPERM"), ("symlink", "EPERM")], agrees),
                ["sched_yield", "symlink"]
            );
        }
    }

    #[test]
    fn what_the_kernel_or_the_engines_profile_refuses_stays_refused() {
        assert_eq!(refused(&[], &[("kill", "EPERM")], false), [""; 0], "allowed: the kernel itself said no");
        assert_eq!(refused(&[("chroot", "EPERM")], &[("chroot", "EPERM")], false), [""; 0]);
        assert_eq!(refused(&[("symlink", "EPERM")], &[("symlink", "EPERM")], false), [""; 0]);
        for call in ["mount", "bpf", "setns", "unshare", "#999"] {
            assert_eq!(refused(&[], &[(call, "EPERM")], false), [""; 0], "{call}");
        }
        let runtime = trace(Phase::RuntimeFiltered, &[("symlink", "EPERM")]);
        assert!(refused_calls(&Trace::empty(""), &runtime, &BTreeSet::new(), false).is_empty());
    }

    #[test]
    fn a_call_that_callers_do_without_counts_only_where_the_program_did_something_else() {
        assert_eq!(refused(&[], &[("statx", "ENOSYS")], true), [""; 0]);
        assert_eq!(refused(&[], &[("statx", "ENOSYS")], false), ["statx"]);
    }

    #[test]
    fn rounds_are_counted_and_told() {
        let mut repairs = Repairs::default();
        assert_eq!((repairs.next_round(), repairs.told()), (1, None));
        let seeds = vec![Seed::object("/a", Reason::Repaired { round: 1 })];
        let findings = Findings { seeds, calls: ["statx".to_owned()].into(), ..Findings::default() };
        assert_eq!(findings.told(), "1 path, 1 system call");
        repairs.grow(findings, 2);
        assert_eq!(repairs.next_round(), 2);
        assert_eq!(repairs.calls["statx"], 1);
        assert_eq!(repairs.rounds[0].paths, ["/a"]);
        assert_eq!(repairs.told().unwrap(), "1 path, 1 system call added in 1 round of repair");
    }
}
