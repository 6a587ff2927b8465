//! A policy as `linux.seccomp` of the OCI runtime specification. The form has no room for comments.

use crate::formats::docker::{RuleJson, architectures, rule_json};
use crate::formats::rules::rules;
use crate::policy::Policy;
use serde::Serialize;

/// EPERM.
const DEFAULT_ERRNO: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: &'static str,
    default_errno_ret: u32,
    architectures: Vec<&'static str>,
    syscalls: Vec<RuleJson>,
}

/// The JSON, ending in a line feed.
pub(crate) fn json(policy: &Policy) -> Vec<u8> {
    let (architecture, more) = architectures(policy.architecture);
    let profile = Profile {
        default_action: "SCMP_ACT_ERRNO",
        default_errno_ret: DEFAULT_ERRNO,
        architectures: std::iter::once(architecture).chain(more).collect(),
        syscalls: rules(policy).into_iter().map(|rule| rule_json(rule, false)).collect(),
    };
    let mut bytes = serde_json::to_vec_pretty(&profile).expect("a profile is numbers and text");
    bytes.push(b'\n');
    bytes
}
