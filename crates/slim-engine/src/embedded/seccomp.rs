//! Seccomp profiles as Docker takes them → rules as the runtime specification has them.

use libcontainer::oci_spec::runtime::{
    Arch, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscallBuilder,
};
use serde::Deserialize;
use std::collections::BTreeSet;

/// Docker's own profile. Source: moby's `profiles/seccomp/default.json`, for kernels since 4.8.
pub(super) const DEFAULT: &str = include_str!("seccomp_default.json");

/// Docker's form of a profile (moby's `profiles/seccomp`): the runtime's with rules for some capabilities and machines.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: LinuxSeccompAction,
    #[serde(default)]
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<Arch>>,
    #[serde(default)]
    arch_map: Option<Vec<ArchitectureRule>>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ArchitectureRule {
    architecture: Arch,
    #[serde(default)]
    sub_architectures: Option<Vec<Arch>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: LinuxSeccompAction,
    #[serde(default)]
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<Argument>>,
    #[serde(default)]
    includes: Option<Filter>,
    #[serde(default)]
    excludes: Option<Filter>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Argument {
    index: usize,
    value: u64,
    #[serde(default)]
    value_two: Option<u64>,
    op: LinuxSeccompOperator,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Filter {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

/// Whether this engine understands a seccomp profile (Docker's format) for a container with these capabilities (without
/// `CAP_`).
///
/// # Errors
/// What is wrong with it.
pub fn check_seccomp(json: &str, capabilities: &[String]) -> Result<(), String> {
    compile(json, capabilities).map(drop)
}

/// Understands a profile for a container with these capabilities (without `CAP_`) on this machine.
///
/// # Errors
/// What is wrong with it.
pub(super) fn compile(json: &str, capabilities: &[String]) -> Result<LinuxSeccomp, String> {
    let profile: Profile = serde_json::from_str(json)
        .map_err(|error| format!("the seccomp profile is not understood: {error}"))?;
    let has: BTreeSet<String> = capabilities.iter().map(|name| format!("CAP_{name}")).collect();
    if profile.architectures.is_some() && profile.arch_map.is_some() {
        return Err("the seccomp profile has both architectures and archMap".to_owned());
    }
    let native = if cfg!(target_arch = "aarch64") { Arch::ScmpArchAarch64 } else { Arch::ScmpArchX86_64 };
    let mapped = profile.arch_map.iter().flatten().find(|rule| rule.architecture == native);
    let architectures = match (profile.architectures, mapped) {
        (Some(list), _) => list,
        (None, Some(rule)) => {
            std::iter::once(native).chain(rule.sub_architectures.iter().flatten().copied()).collect()
        }
        (None, None) => vec![native],
    };
    let mut rules = Vec::new();
    for rule in profile.syscalls.into_iter().flatten().filter(|rule| rule.applies(&has)) {
        let names: Vec<String> = rule.name.into_iter().chain(rule.names.into_iter().flatten()).collect();
        let redundant = rule.action == profile.default_action && rule.errno_ret == profile.default_errno_ret;
        if names.is_empty() || redundant {
            continue;
        }
        let mut built = LinuxSyscallBuilder::default().names(names).action(rule.action);
        if let Some(errno) = rule.errno_ret {
            built = built.errno_ret(errno);
        }
        let arguments = rule.args.unwrap_or_default();
        if !arguments.is_empty() {
            built = built.args(arguments.iter().map(Argument::compile).collect::<Result<Vec<_>, _>>()?);
        }
        rules.push(built.build().map_err(|error| error.to_string())?);
    }
    let mut built = LinuxSeccompBuilder::default()
        .default_action(profile.default_action)
        .architectures(architectures)
        .syscalls(rules);
    if let Some(errno) = profile.default_errno_ret {
        built = built.default_errno_ret(errno);
    }
    built.build().map_err(|error| error.to_string())
}

impl Rule {
    fn applies(&self, has: &BTreeSet<String>) -> bool {
        let holds_all = |filter: &Filter| filter.caps.iter().flatten().all(|name| has.contains(name));
        let on_machine = |filter: &Filter| {
            filter
                .arches
                .as_ref()
                .is_none_or(|list| list.is_empty() || list.iter().any(|name| is_native(name)))
        };
        // Every kernel on which this program runs is newer than the newest that profiles ask for (4.8).
        let kernel = |filter: &Filter| filter.min_kernel.is_some();
        let included = self.includes.as_ref().is_none_or(|filter| holds_all(filter) && on_machine(filter));
        let excluded = self.excludes.as_ref().is_some_and(|filter| {
            filter.caps.iter().flatten().any(|name| has.contains(name))
                || filter.arches.iter().flatten().any(|name| is_native(name))
                || kernel(filter)
        });
        included && !excluded
    }
}

/// Docker names machines as Go does, and x86 by its variants.
fn is_native(name: &str) -> bool {
    if cfg!(target_arch = "aarch64") { name == "arm64" } else { matches!(name, "amd64" | "x32" | "x86") }
}

impl Argument {
    fn compile(&self) -> Result<LinuxSeccompArg, String> {
        LinuxSeccompArgBuilder::default()
            .index(self.index)
            .value(self.value)
            .value_two(self.value_two.unwrap_or(0))
            .op(self.op)
            .build()
            .map_err(|error| error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(profile: &LinuxSeccomp, action: LinuxSeccompAction) -> BTreeSet<String> {
        let rules = profile.syscalls().iter().flatten().filter(|rule| rule.action() == action);
        rules.flat_map(|rule| rule.names().clone()).collect()
    }

    #[test]
    fn dockers_profile_refuses_mounts_and_tells_clone3_to_fall_back() {
        let profile = compile(DEFAULT, &["CHOWN".to_owned()]).unwrap();
        let allowed = names(&profile, LinuxSeccompAction::ScmpActAllow);
        assert!(allowed.contains("openat") && allowed.contains("clone") && allowed.contains("socket"));
        for call in ["mount", "bpf", "unshare", "chroot", "keyctl", "clone3"] {
            assert!(!allowed.contains(call), "{call}");
        }
        assert!(names(&profile, LinuxSeccompAction::ScmpActErrno).contains("clone3"));
    }

    #[test]
    fn a_capability_brings_its_calls() {
        let profile = compile(DEFAULT, &["SYS_ADMIN".to_owned()]).unwrap();
        let allowed = names(&profile, LinuxSeccompAction::ScmpActAllow);
        assert!(allowed.contains("mount") && allowed.contains("clone3"));
        let clone =
            profile.syscalls().iter().flatten().filter(|rule| rule.names().contains(&"clone".to_owned()));
        assert!(clone.into_iter().all(|rule| rule.args().is_none()));
    }

    #[test]
    fn a_masked_comparison_has_its_mask_first() {
        let profile = compile(DEFAULT, &[]).unwrap();
        let rules = profile.syscalls().clone().unwrap();
        let clone = rules.iter().find(|rule| rule.names().contains(&"clone".to_owned())).unwrap();
        let argument = &clone.args().clone().unwrap()[0];
        assert_eq!((argument.value(), argument.value_two()), (0x7E02_0000, Some(0)));
    }

    #[test]
    fn what_is_no_profile_is_refused() {
        assert!(compile("{}", &[]).unwrap_err().contains("not understood"));
        let both = r#"{"defaultAction":"SCMP_ACT_ALLOW","architectures":[],"archMap":[]}"#;
        assert!(compile(both, &[]).unwrap_err().contains("both"));
    }
}
