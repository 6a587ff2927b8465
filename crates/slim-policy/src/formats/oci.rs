//! A policy as `linux.seccomp` of the OCI runtime specification. The form has no room for comments.

use crate::formats::docker::{RuleJson, action, rule_json};
use crate::formats::rules::Form;
use crate::profile::Action;
use serde::Serialize;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Profile<'a> {
    default_action: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    default_errno_ret: Option<u32>,
    architectures: &'a [String],
    syscalls: Vec<RuleJson<'a>>,
}

/// The JSON, ending in a line feed.
pub(crate) fn json(form: &Form) -> Vec<u8> {
    let profile = Profile {
        default_action: action(&form.default).0,
        default_errno_ret: match form.default {
            Action::Errno(number) => Some(number),
            _ => None,
        },
        architectures: &form.architectures,
        syscalls: form.rules.iter().map(|rule| rule_json(rule, false)).collect(),
    };
    let mut bytes = serde_json::to_vec_pretty(&profile).expect("a profile is numbers and text");
    bytes.push(b'\n');
    bytes
}
