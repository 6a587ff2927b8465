//! JSON → profile: Docker's form (moby's `profiles/seccomp`) and the runtime specification's, which is a part of it.

use super::{Action, Argument, Operator, Rule, SeccompProfile};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

const EPERM: u32 = 1;

/// Why a profile is not understood.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    #[error("it is no JSON document of that kind ({0})")]
    Json(#[from] serde_json::Error),
    #[error("it has both architectures and archMap")]
    TwoKindsOfArchitectures,
    #[error("it has no rules for {0}")]
    OtherMachine(String),
    #[error("it allows what it does not name: only profiles that refuse by default are understood")]
    AllowsByDefault,
    #[error("the action {0} is not known")]
    Action(String),
    #[error("the comparison {0} is not known")]
    Comparison(String),
}

/// Of the runtime specification `flags`, `listenerPath` and `listenerMetadata` are missing on purpose: a filter that is
/// combined or compiled without them would not be the one that was written.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    default_action: String,
    default_errno_ret: Option<u32>,
    /// Names the number in `defaultErrnoRet`.
    #[serde(rename = "defaultErrno")]
    _default_errno: Option<String>,
    architectures: Option<Vec<String>>,
    arch_map: Option<Vec<MappedArchitecture>>,
    syscalls: Option<Vec<WrittenRule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct MappedArchitecture {
    architecture: String,
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenRule {
    name: Option<String>,
    names: Option<Vec<String>>,
    action: String,
    errno_ret: Option<u32>,
    /// Names the number in `errnoRet`.
    #[serde(rename = "errno")]
    _errno: Option<String>,
    args: Option<Vec<WrittenArgument>>,
    comment: Option<String>,
    includes: Option<Filter>,
    excludes: Option<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WrittenArgument {
    index: u32,
    value: u64,
    #[serde(default)]
    value_two: u64,
    op: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    caps: Option<Vec<String>>,
    arches: Option<Vec<String>>,
    min_kernel: Option<String>,
}

impl SeccompProfile {
    /// Reads a profile for a machine in OCI terms (`amd64`, `arm64`) and a container without capabilities beyond those
    /// named (with `CAP_`).
    ///
    /// # Errors
    /// What is not understood.
    pub fn read(json: &[u8], machine: &str, capabilities: &BTreeSet<String>) -> Result<Self, ProfileError> {
        let mut value: serde_json::Value = serde_json::from_slice(json)?;
        // The runtime's whole configuration has the profile within.
        if let Some(within) = value.get_mut("linux").and_then(|linux| linux.get_mut("seccomp")) {
            value = within.take();
        }
        let document: Document = serde_json::from_value(value)?;
        let architectures = architectures(document.architectures, document.arch_map, machine)?;
        let default = action(&document.default_action, document.default_errno_ret)?;
        if default.lets_pass() {
            return Err(ProfileError::AllowsByDefault);
        }
        let mut calls: BTreeMap<String, Vec<Rule>> = BTreeMap::new();
        for written in document.syscalls.into_iter().flatten() {
            if !written.applies(machine, capabilities) {
                continue;
            }
            let action = action(&written.action, written.errno_ret)?;
            let comment = written.comment.filter(|comment| !comment.is_empty());
            let sets = argument_sets(written.args.unwrap_or_default())?;
            for name in written.name.into_iter().chain(written.names.into_iter().flatten()) {
                let rules = calls.entry(name).or_default();
                for arguments in &sets {
                    let rule = Rule {
                        action: action.clone(),
                        arguments: arguments.clone(),
                        comment: comment.clone(),
                    };
                    if !rules.contains(&rule) {
                        rules.push(rule);
                    }
                }
            }
        }
        Ok(Self { architectures, default, calls })
    }
}

fn architectures(
    listed: Option<Vec<String>>,
    mapped: Option<Vec<MappedArchitecture>>,
    machine: &str,
) -> Result<Vec<String>, ProfileError> {
    let native = native(machine);
    match (listed, mapped) {
        (Some(_), Some(_)) => Err(ProfileError::TwoKindsOfArchitectures),
        (Some(listed), None) if listed.iter().any(|name| name == native) => {
            let others = listed.into_iter().filter(|name| name != native);
            Ok(std::iter::once(native.to_owned()).chain(others).collect())
        }
        (Some(listed), None) if listed.is_empty() => Ok(vec![native.to_owned()]),
        (None, None) => Ok(vec![native.to_owned()]),
        (None, Some(mapped)) => match mapped.into_iter().find(|mapped| mapped.architecture == native) {
            Some(found) => {
                let below = found.sub_architectures.into_iter().flatten();
                Ok(std::iter::once(found.architecture).chain(below).collect())
            }
            None => Err(ProfileError::OtherMachine(machine.to_owned())),
        },
        (Some(_), None) => Err(ProfileError::OtherMachine(machine.to_owned())),
    }
}

pub(super) fn native(machine: &str) -> &'static str {
    if machine == "arm64" { "SCMP_ARCH_AARCH64" } else { "SCMP_ARCH_X86_64" }
}

fn action(name: &str, errno: Option<u32>) -> Result<Action, ProfileError> {
    Ok(match name {
        "SCMP_ACT_ALLOW" => Action::Allow,
        "SCMP_ACT_LOG" => Action::Log,
        "SCMP_ACT_ERRNO" => Action::Errno(errno.unwrap_or(EPERM)),
        "SCMP_ACT_NOTIFY" => Action::Notify,
        "SCMP_ACT_TRAP" => Action::Trap,
        "SCMP_ACT_KILL" | "SCMP_ACT_KILL_THREAD" => Action::KillThread,
        "SCMP_ACT_KILL_PROCESS" => Action::KillProcess,
        other => return Err(ProfileError::Action(other.to_owned())),
    })
}

/// What a rule's comparisons mean to runc: all must hold, but where two speak of the same argument each is a rule of its
/// own (`libcontainer/seccomp`).
fn argument_sets(written: Vec<WrittenArgument>) -> Result<Vec<BTreeSet<Argument>>, ProfileError> {
    let arguments: Vec<Argument> = written.iter().map(argument).collect::<Result<_, _>>()?;
    let indices: BTreeSet<u32> = arguments.iter().map(|argument| argument.index).collect();
    if indices.len() == arguments.len() {
        return Ok(vec![arguments.into_iter().collect()]);
    }
    Ok(arguments.into_iter().map(|argument| BTreeSet::from([argument])).collect())
}

fn argument(written: &WrittenArgument) -> Result<Argument, ProfileError> {
    let operator = match written.op.as_str() {
        "SCMP_CMP_NE" => Operator::NotEqual,
        "SCMP_CMP_LT" => Operator::Less,
        "SCMP_CMP_LE" => Operator::LessOrEqual,
        "SCMP_CMP_EQ" => Operator::Equal,
        "SCMP_CMP_GE" => Operator::GreaterOrEqual,
        "SCMP_CMP_GT" => Operator::Greater,
        "SCMP_CMP_MASKED_EQ" => Operator::MaskedEqual,
        other => return Err(ProfileError::Comparison(other.to_owned())),
    };
    let second = if operator == Operator::MaskedEqual { written.value_two } else { 0 };
    Ok(Argument { index: written.index, operator, value: written.value, second })
}

impl WrittenRule {
    fn applies(&self, machine: &str, capabilities: &BTreeSet<String>) -> bool {
        // Docker names machines as Go does, and x86 by its variants.
        let is_here = |name: &String| match machine {
            "amd64" => matches!(name.as_str(), "amd64" | "x32" | "x86"),
            other => name == other,
        };
        let included = self.includes.as_ref().is_none_or(|filter| {
            let arches = filter.arches.as_deref().unwrap_or_default();
            filter.caps.iter().flatten().all(|name| capabilities.contains(name))
                && (arches.is_empty() || arches.iter().any(is_here))
        });
        // Every kernel on which this program runs is newer than the newest that profiles ask for (4.8).
        let excluded = self.excludes.as_ref().is_some_and(|filter| {
            filter.caps.iter().flatten().any(|name| capabilities.contains(name))
                || filter.arches.iter().flatten().any(is_here)
                || filter.min_kernel.is_some()
        });
        included && !excluded
    }
}
