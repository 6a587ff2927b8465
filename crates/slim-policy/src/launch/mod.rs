//! What `docker-slim launch` is told: the tighter filter for the program that stays, and file rules for Landlock.
//!
//! The entrypoint of an image is often a script that makes directories, gives files to a user, becomes that user, and at
//! last execs the program that stays. What only the script and its helpers need is allowed by the container's profile for
//! as long as the container lives; a second filter, installed right before the last exec, takes it away.

mod file_rules;
mod last_exec;

pub use file_rules::file_rules;
pub use last_exec::{LastExec, NoLastExec, last_exec};
pub(crate) use last_exec::{before_last_exec, is_copy, line};

use crate::arguments::admit;
use crate::inputs::Inputs;
use crate::profile::{ProfileError, SeccompProfile};
use crate::{Allowed, Because, Policy, decide};
use last_exec::staying;
use slim_trace::{ProcessId, Trace};
use std::collections::BTreeSet;

/// The launcher makes it under the filter, and it is the last thing that it does.
const EXEC: &str = "execve";
/// The call by which it installs its filter.
const CONTROL: &str = "prctl";
/// PR_SET_SECCOMP and PR_SET_NO_NEW_PRIVS of prctl(2).
const CONTROLS: [u64; 2] = [22, 38];

/// The policy of the program that stays, and of all that it starts: what they do, without what the runtime, the entrypoint
/// and its helpers needed besides. Nothing that `outer`, the container's policy, does not allow.
#[must_use]
pub fn after_entrypoint(trace: &Trace, inputs: &Inputs, outer: &Policy) -> Policy {
    let mut policy = decide(&only(trace, &staying(trace)), inputs);
    let is_of_runtime =
        |because: &Because| matches!(because, Because::RuntimeSet { .. } | Because::RuntimeSeen);
    policy.allowed.retain(|allowed| {
        let allowed_outside = outer.allowed.iter().any(|outer| outer.system_call == allowed.system_call);
        let only_of_runtime = allowed.because.iter().all(is_of_runtime);
        allowed_outside && (allowed.system_call == EXEC || !only_of_runtime)
    });
    for allowed in &mut policy.allowed {
        if allowed.because.iter().any(|because| !is_of_runtime(because)) {
            allowed.because.retain(|because| !is_of_runtime(because));
        }
    }
    policy
}

/// Lets the launcher do its part under the container's own profile. `file_rules`: Landlock's calls are made as well.
pub fn allow_launcher(policy: &mut Policy, file_rules: bool) {
    let landlock = slim_launch::FILE_RULE_CALLS.iter().filter(|_| file_rules);
    for call in slim_launch::SYSTEM_CALLS.iter().chain(landlock) {
        policy.refused.retain(|refused| refused.system_call != *call);
        match policy.allowed.iter_mut().find(|allowed| allowed.system_call == *call) {
            Some(allowed) => {
                allowed.because.insert(Because::Launcher);
                if *call == CONTROL {
                    admit(&mut allowed.condition, call, &CONTROLS);
                }
            }
            None => policy.allowed.push(Allowed {
                system_call: (*call).to_owned(),
                because: BTreeSet::from([Because::Launcher]),
                condition: None,
            }),
        }
    }
    policy.allowed.sort_by(|one, other| one.system_call.cmp(&other.system_call));
}

/// The policy as the value that is compiled.
///
/// # Errors
/// A bug: what this crate writes, it reads.
pub fn as_profile(policy: &Policy, machine: &str) -> Result<SeccompProfile, ProfileError> {
    SeccompProfile::read(&policy.seccomp_json(), machine, &BTreeSet::new())
}

/// What was seen of these processes.
fn only(trace: &Trace, processes: &BTreeSet<ProcessId>) -> Trace {
    let mut trace = trace.clone();
    trace.files.retain(|file| processes.contains(&file.process));
    trace.system_calls.retain(|calls| processes.contains(&calls.process));
    trace.arguments.retain(|arguments| processes.contains(&arguments.process));
    trace.sockets.retain(|socket| processes.contains(&socket.process));
    trace.listening.retain(|listening| processes.contains(&listening.process));
    trace.io_uring.retain(|operation| processes.contains(&operation.process));
    trace
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{ArgumentRule, Condition};
    use crate::{Architecture, Mode};

    #[test]
    fn the_launcher_may_install_its_filter_where_the_arguments_of_prctl_are_restricted() {
        let rule = |value| vec![ArgumentRule { index: 0, mask: 0xffff_ffff, value }];
        let mut policy = Policy {
            mode: Mode::default(),
            architecture: Architecture::Amd64 { sub_x86: false, sub_x32: false },
            allowed: vec![Allowed {
                system_call: "prctl".to_owned(),
                because: BTreeSet::from([Because::RuntimeSeen]),
                condition: Some(Condition::Seen { rules: BTreeSet::from([rule(15)]) }),
            }],
            refused: Vec::new(),
            inexpressible: BTreeSet::new(),
        };
        allow_launcher(&mut policy, false);
        let prctl = policy.allowed.iter().find(|allowed| allowed.system_call == "prctl").unwrap();
        let rules = [rule(15), rule(22), rule(38)].into();
        assert_eq!(prctl.condition, Some(Condition::Seen { rules }));
    }
}
