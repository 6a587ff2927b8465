//! The seccomp profile of traces made by hand, and what holds for every trace.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "common/server.rs"]
mod server;

use common::{calls, process};
use proptest::prelude::*;
use serde_json::Value;
use server::server;
use slim_policy::{
    Because, Condition, EngineFilter, Errno, Inputs, MOST_RELATIVES, MOST_RUNTIME_CALLS, Mode, PossibleCalls,
    always_needed, counts, decide, runtime_calls,
};
use slim_trace::{Abi, ArgumentValues, CallArguments, Phase, ProcessId, SystemCalls, Trace};
use std::collections::{BTreeMap, BTreeSet};

/// The program's part of a profile: rules that runtime sets and fixed tables make by themselves are tested elsewhere.
fn rules_naming(profile: &str, text: &str) -> String {
    let profile: Value = serde_json::from_str(profile).unwrap();
    let rules = profile["syscalls"].as_array().unwrap();
    let matching = rules.iter().filter(|rule| rule["comment"].as_str().unwrap().contains(text));
    matching.map(|rule| format!("{rule}\n")).collect()
}

fn profile(trace: &Trace, inputs: &Inputs) -> String {
    String::from_utf8(decide(trace, inputs).seccomp_json()).unwrap()
}

fn allowed(trace: &Trace, inputs: &Inputs) -> BTreeSet<String> {
    decide(trace, inputs).allowed.into_iter().map(|allowed| allowed.system_call).collect()
}

#[test]
fn each_rule_says_which_programs_made_the_call() {
    let (trace, inputs) = server();
    insta::assert_snapshot!("server_seccomp", profile(&trace, &inputs));
}

#[test]
fn a_call_that_was_only_ever_refused_is_never_allowed_and_keeps_its_errno() {
    let (trace, inputs) = server();
    let policy = decide(&trace, &inputs);
    let refused: BTreeMap<&str, Errno> =
        policy.refused.iter().map(|refused| (refused.system_call.as_str(), refused.errno)).collect();
    assert_eq!(refused["keyctl"], Errno::Eperm);
    assert_eq!(refused["clone3"], Errno::Enosys);
    assert_eq!(refused["mbind"], Errno::Enosys, "the filter's own ENOSYS counts");
    assert!(!refused.contains_key("read"), "refused once, but made, too");
    assert!(!rules_naming(&profile(&trace, &inputs), "").contains("keyctl"), "EPERM is the default");
}

#[test]
fn nothing_that_changes_mounts_or_namespaces_is_allowed_because_of_the_runtime() {
    let (mut trace, inputs) = server();
    trace.system_calls.push(calls(0, Phase::RuntimeFiltered, &["ioprio_set"], &[]));
    let allowed = allowed(&trace, &inputs);
    for call in ["mount", "pivot_root", "setns", "umount2", "unshare"] {
        assert!(!allowed.contains(call), "{call}");
    }
    assert!(allowed.contains("ioprio_set"), "other calls of a runtime under its filter are");
    let strict = Inputs { mode: Mode::Strict, ..inputs };
    assert!(
        decide(&trace, &strict).allows("close_range").is_none(),
        "a known runtime was seen to start without it"
    );
}

#[test]
fn the_programs_own_mounts_are_allowed() {
    let (mut trace, inputs) = server();
    trace.system_calls.push(calls(1, Phase::Startup, &["mount"], &[]));
    let mount =
        decide(&trace, &inputs).allowed.into_iter().find(|allowed| allowed.system_call == "mount").unwrap();
    assert!(mount.because.iter().all(|because| matches!(because, Because::Program { .. })));
}

#[test]
fn clone_is_allowed_wherever_threads_or_processes_were_made() {
    for made in ["clone3", "fork", "vfork", "clone"] {
        let mut trace = Trace::empty("sha256:0");
        trace.processes = vec![process(Some("/app"), Phase::Startup)];
        trace.system_calls = vec![calls(0, Phase::Startup, &[made], &[])];
        let policy = decide(&trace, &Inputs::new("app"));
        let clone = policy.allowed.iter().find(|allowed| allowed.system_call == "clone").unwrap();
        let of_program =
            |because: &Because| matches!(because, Because::Program { .. } | Because::Fallback { .. });
        assert!(clone.because.iter().any(of_program), "{made}: {:?}", clone.because);
        assert_eq!(clone.condition, Some(Condition::NoNewNamespaces));
    }
}

#[test]
fn conditions_of_the_engines_filter_are_carried_over_only_from_that_filter() {
    let (mut trace, mut inputs) = server();
    let condition = |trace: &Trace, inputs: &Inputs, call: &str| {
        let policy = decide(trace, inputs);
        policy.allowed.iter().find(|allowed| allowed.system_call == call).unwrap().condition.clone()
    };
    assert_eq!(condition(&trace, &inputs, "personality"), Some(Condition::UsualPersonalities));
    assert_eq!(condition(&trace, &inputs, "socket"), Some(Condition::NoVirtualMachineSockets));
    trace.sockets[0].family = 40;
    assert_eq!(condition(&trace, &inputs, "socket"), None);
    inputs.capabilities.insert("SYS_ADMIN".to_owned());
    assert_eq!(condition(&trace, &inputs, "clone"), None);
    inputs.capabilities.clear();
    inputs.engine_filter = EngineFilter::Other;
    assert_eq!(condition(&trace, &inputs, "personality"), None);
}

#[test]
fn the_32_bit_architecture_is_listed_when_an_elf_or_a_call_asks_for_it() {
    let (mut trace, mut inputs) = server();
    let map = |trace: &Trace, inputs: &Inputs| {
        let profile: Value = serde_json::from_str(&profile(trace, inputs)).unwrap();
        profile["archMap"].to_string()
    };
    assert_eq!(map(&trace, &inputs), r#"[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":[]}]"#);
    inputs.elf_32_bit = true;
    let with_x86 = r#"[{"architecture":"SCMP_ARCH_X86_64","subArchitectures":["SCMP_ARCH_X86"]}]"#;
    assert_eq!(map(&trace, &inputs), with_x86);
    assert!(allowed(&trace, &inputs).contains("sigreturn"));
    inputs.elf_32_bit = false;
    let mut compat = calls(1, Phase::Startup, &["socketcall"], &[]);
    compat.abi = Abi::X86;
    trace.system_calls.push(compat.clone());
    assert_eq!(map(&trace, &inputs), with_x86);
    compat.abi = Abi::X32;
    *trace.system_calls.last_mut().unwrap() = compat;
    assert_eq!(map(&trace, &inputs), with_x86.replace("X86\"]", "X32\"]"));
}

#[test]
fn calls_without_a_name_are_reported_and_not_written() {
    let (trace, inputs) = server();
    assert_eq!(decide(&trace, &inputs).inexpressible, common::names(&["#1023"]));
    assert!(!profile(&trace, &inputs).contains('#'));
}

prop_compose! {
    fn any_system_calls()(
        process in 0u32..4,
        phase in prop::sample::select(vec![Phase::Runtime, Phase::RuntimeFiltered, Phase::Startup, Phase::Exercise, Phase::Shutdown]),
        abi in prop::sample::select(vec![Abi::X86_64, Abi::X86, Abi::X32]),
        calls in prop::collection::btree_set(any_call(), 0..12),
        denied in prop::collection::btree_map(any_call(), prop::collection::btree_set(prop::sample::select(vec!["EPERM".to_owned(), "ENOSYS".to_owned()]), 1..3), 0..6),
    ) -> SystemCalls {
        SystemCalls { process: ProcessId(process), phase, abi, calls, denied }
    }
}

fn any_call() -> impl Strategy<Value = String> {
    let known = [
        "accept4",
        "clone",
        "clone3",
        "close_range",
        "faccessat2",
        "fork",
        "futex",
        "mount",
        "open",
        "openat",
        "openat2",
        "personality",
        "pivot_root",
        "read",
        "setns",
        "socket",
        "statx",
        "umount2",
        "write",
        "#999",
    ];
    prop::sample::select(known.map(str::to_owned).to_vec())
}

proptest! {
    #[test]
    fn every_trace_gives_a_profile_that_the_engine_reads(
        records in prop::collection::vec(any_system_calls(), 0..8),
        elf_32_bit in any::<bool>(),
    ) {
        let mut trace = Trace::empty("sha256:0");
        trace.processes = vec![process(None, Phase::Runtime), process(Some("/a"), Phase::Startup), process(Some("/\u{1}\""), Phase::Exercise)];
        trace.system_calls = records;
        let inputs = Inputs { elf_32_bit, ..Inputs::new("app") };
        let bytes = decide(&trace, &inputs).seccomp_json();
        // The order of records is no part of what was seen.
        let mut reversed = trace.clone();
        reversed.system_calls.reverse();
        prop_assert_eq!(&bytes, &decide(&reversed, &inputs).seccomp_json());
        let profile: Value = serde_json::from_slice(&bytes).unwrap();
        prop_assert!(profile.get("architectures").is_none());
        prop_assert_eq!(profile["archMap"].as_array().unwrap().len(), 1);
        prop_assert_eq!(&profile["defaultAction"], "SCMP_ACT_ERRNO");
        let mut actions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for rule in profile["syscalls"].as_array().unwrap() {
            let names: Vec<&str> = rule["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap()).collect();
            prop_assert!(!names.is_empty() && names.windows(2).all(|pair| pair[0] < pair[1]));
            prop_assert!(!rule["comment"].as_str().unwrap().is_empty());
            for name in names {
                actions.entry(name.to_owned()).or_default().insert(rule["action"].to_string());
            }
        }
        prop_assert!(actions.values().all(|actions| actions.len() == 1), "{:?}", actions);
        // Whatever stands among the runtime's calls.
        let of_program = |call: &str| trace.system_calls.iter().any(|record| {
            !matches!(record.phase, Phase::Runtime | Phase::RuntimeFiltered) && record.calls.contains(call)
        });
        for call in ["mount", "pivot_root", "setns", "umount2"] {
            prop_assert_eq!(actions.contains_key(call) && actions[call].contains("\"SCMP_ACT_ALLOW\""), of_program(call));
        }
        for call in ["rt_sigreturn", "restart_syscall", "exit", "exit_group", "clock_gettime", "getcpu"] {
            prop_assert!(actions[call].contains("\"SCMP_ACT_ALLOW\""));
        }
    }
}

/// The program of a trace that made these calls.
fn app(made: &[&str]) -> Trace {
    let mut trace = Trace::empty("sha256:0");
    trace.architecture = "amd64".to_owned();
    trace.processes = vec![process(Some("/app"), Phase::Startup)];
    trace.system_calls = vec![calls(0, Phase::Startup, made, &[])];
    trace
}

#[test]
fn strict_is_exactly_what_was_observed_and_what_runtimes_and_every_program_need() {
    let runtime: BTreeSet<String> = runtime_calls().keys().map(ToString::to_string).collect();
    let always: BTreeSet<String> = always_needed().iter().map(ToString::to_string).collect();
    assert!(runtime.len() <= 30 && MOST_RUNTIME_CALLS == 30, "{}: {runtime:?}", runtime.len());
    assert!(runtime.is_disjoint(&always));
    for made in [&["read", "listen", "vfork", "clone3"][..], &[], &["mount", "ptrace", "statx", "open"]] {
        let mut trace = app(made);
        // What is seen of a known runtime changes nothing: it varies from run to run, and the sets have it all.
        trace.processes.push(process(None, Phase::Runtime));
        trace.system_calls.push(calls(1, Phase::Runtime, &["mount", "pivot_root"], &[]));
        trace.system_calls.push(calls(1, Phase::RuntimeFiltered, &["close_range", "getpid", "setuid"], &[]));
        let strict = allowed(&trace, &Inputs { mode: Mode::Strict, ..Inputs::new("app") });
        let observed = made.iter().map(ToString::to_string).collect();
        let expected =
            [observed, runtime.clone(), always.clone()].into_iter().flatten().collect::<BTreeSet<_>>();
        assert_eq!(strict, expected);
    }
}

#[test]
fn what_an_init_needs_is_presumed_and_what_youki_needs_is_allowed_where_it_was_seen() {
    let of = |trace: &Trace, mode| decide(trace, &Inputs { mode, ..Inputs::new("app") });
    let names = |policy: &slim_policy::Policy, name: &str| {
        let of_it =
            |because: &Because| matches!(because, Because::RuntimeSet { runtime, .. } if runtime == name);
        policy.allowed.iter().filter(|allowed| allowed.because.iter().any(of_it)).count()
    };
    let plain = app(&["read"]);
    assert_eq!(names(&of(&plain, Mode::Strict), "docker-init"), 0);
    assert!(names(&of(&plain, Mode::Balanced), "docker-init") > 10);
    assert_eq!(names(&of(&plain, Mode::Balanced), "youki"), 0);
    let mut under_youki = app(&["read"]);
    under_youki.processes.push(process(None, Phase::Runtime));
    under_youki.system_calls.push(calls(1, Phase::RuntimeFiltered, &["accept4", "execve", "sendmsg"], &[]));
    for call in ["accept4", "sendmsg"] {
        assert!(of(&plain, Mode::Strict).allows(call).is_none());
        let strict = of(&under_youki, Mode::Strict);
        assert_eq!(strict.allows(call).unwrap().because, [Because::RuntimeSeen].into(), "{call}");
    }
}

#[test]
fn each_mode_allows_what_the_one_before_does() {
    let (trace, mut inputs) = server();
    for possible in [None, Some(PossibleCalls::default())] {
        inputs.possible = possible;
        let of = |mode| allowed(&trace, &Inputs { mode, ..inputs.clone() });
        let (strict, balanced, broad) = (of(Mode::Strict), of(Mode::Balanced), of(Mode::Broad));
        assert!(strict.is_subset(&balanced) && balanced.is_subset(&broad));
        assert!(balanced.len() > strict.len() && balanced.len() - strict.len() <= MOST_RELATIVES);
        let counts = counts(&trace, &inputs);
        assert_eq!(
            (counts.strict, counts.balanced, counts.broad),
            (strict.len(), balanced.len(), broad.len())
        );
    }
}

#[test]
fn broad_is_what_the_programs_can_do_as_far_as_docker_allows_it() {
    let mut possible = PossibleCalls { is_complete: true, ..PossibleCalls::default() };
    for call in ["mount", "mbind", "quotactl", "sched_setaffinity", "ioprio_set"] {
        possible.calls.insert(call.to_owned(), format!("app → {call}"));
    }
    let inputs = Inputs { mode: Mode::Broad, possible: Some(possible), ..Inputs::new("app") };
    let policy = decide(&app(&["read"]), &inputs);
    for call in ["sched_setaffinity", "ioprio_set"] {
        let way = format!("app → {call}");
        assert_eq!(policy.allows(call).unwrap().because, [Because::Possible { way }].into());
    }
    for call in ["mount", "mbind", "quotactl", "sync"] {
        assert!(policy.allows(call).is_none(), "{call}");
    }
    let unknown = decide(&app(&["read"]), &Inputs { possible: None, ..inputs });
    assert!(unknown.allows("sync").is_some() && unknown.allows("mount").is_none());
    assert!(
        unknown.allows("ptrace").is_none(),
        "Docker allows it, and nobody knows that the program can do it"
    );
    let traces =
        decide(&app(&["ptrace"]), &Inputs { mode: Mode::Broad, possible: None, ..Inputs::new("app") });
    assert!(traces.allows("ptrace").is_some(), "it was seen to");
}

#[test]
fn what_a_libc_falls_back_to_comes_first_of_all_relatives() {
    let policy = decide(&app(&["clone3", "faccessat2"]), &Inputs::new("app"));
    for (call, of) in [("clone", "clone3"), ("faccessat", "faccessat2")] {
        let because = &policy.allows(call).unwrap().because;
        assert!(because.contains(&Because::Fallback { of: of.to_owned() }), "{because:?}");
    }
}

#[test]
fn arguments_are_restricted_to_what_was_seen_when_asked_for() {
    let mut trace = app(&["socket", "ioctl", "clone3", "openat2"]);
    let seen = |call: &str, values: ArgumentValues| CallArguments {
        process: ProcessId(0),
        phase: Phase::Startup,
        call: call.to_owned(),
        values,
    };
    trace.arguments = vec![
        seen("socket", ArgumentValues::Only([vec![1, 1], vec![2, 1]].into())),
        seen("ioctl", ArgumentValues::Any),
    ];
    let inputs = Inputs { mode: Mode::Strict, filter_arguments: true, ..Inputs::new("app") };
    let profile: Value = serde_json::from_str(&profile(&trace, &inputs)).unwrap();
    let rules = |call: &str| {
        let rules = profile["syscalls"].as_array().unwrap().iter();
        rules.filter(|rule| rule["names"] == serde_json::json!([call])).cloned().collect::<Vec<_>>()
    };
    let sockets = rules("socket");
    assert_eq!(sockets.len(), 2, "{sockets:?}");
    assert_eq!(
        sockets[1]["args"][0],
        serde_json::json!({"index": 0, "value": 0xffff_ffff_u32, "valueTwo": 2, "op": "SCMP_CMP_MASKED_EQ"})
    );
    for call in ["ioctl", "clone3", "openat2"] {
        let policy = decide(&trace, &inputs);
        assert_eq!(policy.allows(call).unwrap().condition, None, "{call}");
    }
}

#[test]
fn a_repaired_call_is_allowed_with_its_round_and_its_usual_condition() {
    let mut trace = Trace::empty("sha256:0");
    trace.processes = vec![process(Some("/app"), Phase::Startup)];
    trace.system_calls = vec![calls(0, Phase::Startup, &["read"], &[])];
    let repaired = [("personality".to_owned(), 2), ("renameat2".to_owned(), 1)].into();
    let policy = decide(&trace, &Inputs { repaired, ..Inputs::new("app") });
    let of = |call: &str| policy.allowed.iter().find(|allowed| allowed.system_call == call).unwrap();
    assert_eq!(of("renameat2").because, [Because::Repaired { round: 1 }].into());
    assert_eq!(of("personality").condition, Some(Condition::UsualPersonalities));
    assert!(policy.refused.iter().all(|refused| refused.system_call != "renameat2"));
    let profile = String::from_utf8(policy.seccomp_json()).unwrap();
    assert!(profile.contains("repaired in round 1"), "{profile}");
}
