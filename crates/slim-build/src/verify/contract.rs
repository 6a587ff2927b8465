//! The run contract is found by trying: the image is run under ever other terms, asked the same as before, and what it
//! does, says and is refused is laid beside its run under the seccomp profile alone, which was as the fat image's.
//!
//! Invariant: the terms that come out of it were seen to hold, or are what the observed container had.

use super::{Check, Conduct, Trialled, Verdict, without_ports};
use crate::behaviour::{self, Behaviour, Difference};
use crate::error::BuildError;
use crate::policy::Policies;
use crate::progress::Running;
use crate::refusals::{Refusal, refusals};
use crate::scratch::{Role, program_container};
use crate::settings::Settings;
use crate::verify::plan::Plan;
use crate::verify::trial;
use slim_engine::{ContainerSpec, Mount, MountSource};
use slim_policy::{Contract, Outcome, Peaks, Search, Signs, Terms, allowed_by_default};
use slim_report::{RefusedCallReport, TryReport};
use std::collections::BTreeSet;

/// Fields of a host configuration that the contract has its own say about.
const OURS: [&str; 8] =
    ["CapAdd", "CapDrop", "Memory", "MemorySwap", "PidsLimit", "Privileged", "ReadonlyRootfs", "Tmpfs"];
/// Differences that a try shows in the report.
const SHOWN: usize = 3;

/// A contract with how it was found.
pub struct Bound {
    pub contract: Contract,
    pub tries: Vec<TryReport>,
    /// Calls that the program was refused on the way, each once.
    pub refused: Vec<RefusedCallReport>,
}

impl Bound {
    /// The contract that a trace speaks for, where nothing is run to try it.
    #[must_use]
    pub fn presumed(policies: &Policies) -> Self {
        let contract = Contract::of(&policies.presumed, &policies.presumed.terms(), None, 0);
        Self { contract, tries: Vec::new(), refused: Vec::new() }
    }

    /// In words, for the stage's line.
    #[must_use]
    pub fn told(&self) -> String {
        let starts = self.contract.starts;
        let plural = if starts == 1 { "" } else { "s" };
        format!("{} ({starts} start{plural})", self.contract.told())
    }

    /// Calls that the program was refused on the way, for want of the seccomp profile's leave and not of a capability's.
    #[must_use]
    pub fn calls_to_allow(&self, policies: &Policies) -> BTreeSet<String> {
        let is_allowed =
            |call: &str| policies.policy.allowed.iter().any(|allowed| allowed.system_call == call);
        let refused =
            self.refused.iter().filter(|refused| refused.errors.iter().any(|error| error == "EPERM"));
        refused
            .map(|refused| refused.system_call.clone())
            .filter(|call| !is_allowed(call) && allowed_by_default(call))
            .collect()
    }
}

/// What a try came to.
struct Tried {
    outcome: Outcome,
    refused: BTreeSet<Refusal>,
    /// In a few words why it did not hold.
    why: Vec<String>,
}

impl Check<'_> {
    /// Finds the contract of an image that did, under its seccomp profile, what the fat one does. `verdict`: that run.
    ///
    /// # Errors
    /// When the engine fails.
    pub async fn contract(
        &self,
        stage: &Running<'_>,
        image: &str,
        policies: &Policies,
        verdict: &Verdict,
    ) -> Result<Bound, BuildError> {
        let Some(usual) = &verdict.behaviour else { return Ok(Bound::presumed(policies)) };
        let presumed = &policies.presumed;
        let again = self.reference.outcome().await?;
        let mut peaks = again.as_ref().map_or_else(Peaks::default, |again| again.peaks).max(usual.peaks);
        let plan = Plan { second_start: false, ..self.plan.clone() };
        let mut search = Search::new(presumed);
        let (mut tries, mut refused) = (Vec::new(), BTreeSet::new());
        while let Some(terms) = search.to_try().cloned() {
            stage.working(format!("try {}: {terms}", tries.len() + 1));
            let contract = Contract::of(presumed, &terms, Some(peaks), 0);
            let spec = self.under(image, &policies.seccomp, &contract);
            let run = self.run(&spec, &plan).await?;
            peaks = peaks.max(run.behaviour.peaks);
            let tried = self.compared(usual, again.as_ref(), run, verdict);
            tracing::debug!(%terms, held = tried.outcome.held, why = ?tried.why, "tried a contract");
            tries.push(TryReport { terms: terms.to_string(), held: tried.outcome.held, why: tried.why });
            refused.extend(tried.refused);
            search.learn(&tried.outcome);
        }
        let (terms, steps) = search.finish();
        let contract = Contract::of(presumed, &terms, Some(peaks), steps.len());
        let refused = refused.iter().map(|refusal| told(refusal, &terms)).collect();
        Ok(Bound { contract, tries, refused })
    }

    /// A container of the image under the contract.
    fn under(&self, image: &str, seccomp: &str, contract: &Contract) -> ContainerSpec {
        under(
            program_container(self.settings, image, Role::Verify),
            self.settings,
            self.plan,
            seccomp,
            contract,
        )
    }

    async fn run(&self, spec: &ContainerSpec, plan: &Plan) -> Result<Trialled, BuildError> {
        let host_commands = &self.settings.verify.commands;
        let watched = trial::run(
            self.engine,
            self.vantage,
            spec,
            plan,
            Conduct { watch: self.watch.as_ref(), host_commands },
        );
        match watched.await {
            Err(BuildError::Sensor(error)) => {
                self.story.notice_once(format!(
                    "what is refused under the run contract is not known: failed to {error}"
                ));
                trial::run(self.engine, self.vantage, spec, plan, Conduct { watch: None, host_commands })
                    .await
            }
            run => run,
        }
    }

    fn compared(
        &self,
        usual: &Behaviour,
        again: Option<&Behaviour>,
        run: Trialled,
        verdict: &Verdict,
    ) -> Tried {
        let Trialled { behaviour: slim, trace } = run;
        let plain = without_capabilities;
        let again = again.map(plain);
        let differences = behaviour::differences(&plain(self.fat), again.as_ref(), &plain(&slim));
        let complaints = slim.complaints.beyond(usual.complaints);
        let refused: BTreeSet<Refusal> = match (&verdict.trace, &trace) {
            (Some(usual), Some(run)) => refusals(usual, run),
            _ => BTreeSet::new(),
        };
        let by_want: BTreeSet<String> = refused
            .iter()
            .filter(|refusal| refusal.may_be_for_a_capability())
            .map(|refusal| refusal.system_call.clone())
            .collect();
        let held = differences.is_empty() && complaints.is_empty() && by_want.is_empty();
        let mut why: Vec<String> = differences.iter().take(SHOWN).map(Difference::to_string).collect();
        why.extend(
            refused.iter().filter(|refusal| refusal.may_be_for_a_capability()).map(ToString::to_string),
        );
        for (count, what) in [
            (complaints.not_permitted, "that something is not permitted"),
            (complaints.read_only, "of a read-only file system"),
            (complaints.no_room, "of too little memory or too few processes"),
        ] {
            if count > 0 {
                why.push(format!("the program's log tells {what} ({count} lines)"));
            }
        }
        let signs = Signs {
            refused: by_want,
            says_not_permitted: complaints.not_permitted > 0,
            says_read_only: complaints.read_only > 0,
            was_out_of_room: complaints.no_room > 0,
        };
        Tried { outcome: Outcome { held, signs }, refused, why }
    }
}

/// The container with the contract's settings. What the user's own host configuration says of the same gives way.
fn under(
    mut spec: ContainerSpec,
    settings: &Settings,
    plan: &Plan,
    seccomp: &str,
    contract: &Contract,
) -> ContainerSpec {
    spec.overrides.clone_from(&plan.slim_overrides);
    spec.overrides.host_config = settings.container.host_config.without(&OURS);
    for (path, volume) in &contract.volumes {
        if !volume.of_the_image {
            spec.overrides.mounts.push(Mount {
                source: MountSource::Volume(None),
                target: path.to_string(),
                read_only: false,
                options: Vec::new(),
            });
        }
    }
    let limit = |ceiling: slim_policy::Ceiling| i64::try_from(ceiling.limit).unwrap_or(i64::MAX);
    let security = &mut spec.security;
    security.options.push(format!("seccomp={seccomp}"));
    if contract.no_new_privileges {
        security.options.push("no-new-privileges".to_owned());
    }
    security.capabilities_dropped = vec!["ALL".to_owned()];
    security.capabilities_added = contract.capabilities.keys().cloned().collect();
    security.read_only_root = contract.read_only;
    security.tmpfs = contract.tmpfs.iter().map(|(path, tmpfs)| (path.to_string(), tmpfs.options())).collect();
    spec.limits.pids = contract.pids.map(limit);
    spec.limits.memory = contract.memory.map(limit);
    without_ports(spec)
}

/// Fewer capabilities are what is wanted: whom the processes act as still counts.
fn without_capabilities(behaviour: &Behaviour) -> Behaviour {
    let mut plain = behaviour.clone();
    plain.acts_as = std::mem::take(&mut plain.acts_as)
        .into_iter()
        .map(|credentials| slim_sensor::processes::Credentials { capabilities: 0, ..credentials })
        .collect();
    plain
}

fn told(refusal: &Refusal, terms: &Terms) -> RefusedCallReport {
    let wanted = slim_policy::capabilities_of_call(&refusal.system_call);
    RefusedCallReport {
        program: refusal.program.clone(),
        system_call: refusal.system_call.clone(),
        errors: refusal.errors.iter().cloned().collect(),
        arguments: refusal.arguments.iter().cloned().collect(),
        repaired: wanted.iter().any(|name| terms.capabilities.contains(*name)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slim_engine::HostConfigFile;

    #[test]
    fn the_users_own_host_configuration_gives_way_where_the_contract_speaks() {
        let file = r#"{"CapAdd": ["SYS_ADMIN"], "Privileged": true, "Sysctls": {"a": "1"}}"#;
        let left = HostConfigFile::parse(file).unwrap().without(&OURS);
        assert_eq!(left, HostConfigFile::parse(r#"{"Sysctls": {"a": "1"}}"#).unwrap());
    }
}
