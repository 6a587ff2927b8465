//! Profiles as values: read, written, combined, compared; and compiled, with the kernel as judge.
#![allow(clippy::unwrap_used, reason = "a failure is a panic")]

use slim_launch::{BINARY, LaunchFile, Machine};
use slim_policy::{Action, Allowance, SeccompProfile, allowed_by_default, intersection, union};
use slim_trace::{Abi, Phase, Process, ProcessId, Socket, SystemCalls, Trace, TracedPath};
use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

fn read(json: &str) -> SeccompProfile {
    SeccompProfile::read(json.as_bytes(), "amd64", &BTreeSet::new()).unwrap()
}

fn profile(rules: &str) -> SeccompProfile {
    read(&format!(r#"{{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{rules}]}}"#))
}

const CLONE: &str = r#"{"names":["clone"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":2114060288,"valueTwo":0,"op":"SCMP_CMP_MASKED_EQ"}]}"#;

#[test]
fn a_profile_survives_being_written() {
    let profile = profile(&format!(
        r#"{CLONE},{{"names":["read","write"],"action":"SCMP_ACT_ALLOW","comment":"made by /a"}},
        {{"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38}},
        {{"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[{{"index":0,"value":0,"op":"SCMP_CMP_EQ"}}]}},
        {{"names":["personality"],"action":"SCMP_ACT_ALLOW","args":[{{"index":0,"value":8,"op":"SCMP_CMP_EQ"}}]}}"#
    ));
    assert_eq!(read(std::str::from_utf8(&profile.to_json()).unwrap()), profile);
    assert_eq!(profile.allows("read"), Allowance::Always);
    assert_eq!(profile.allows("mount"), Allowance::Never);
    assert_eq!(profile.allows("clone3"), Allowance::Never);
    assert_eq!(profile.refusal("clone3"), &Action::Errno(38));
    assert!(matches!(profile.allows("personality"), Allowance::When(sets) if sets.len() == 2));
    assert_eq!(profile.allowed().collect::<Vec<_>>(), ["clone", "personality", "read", "write"]);
}

#[test]
fn what_is_not_understood_is_refused() {
    let refused = |json: &str| {
        SeccompProfile::read(json.as_bytes(), "amd64", &BTreeSet::new()).unwrap_err().to_string()
    };
    assert!(refused(r#"{"defaultAction":"SCMP_ACT_ALLOW"}"#).contains("refuse by default"));
    assert!(refused(r#"{"defaultAction":"SCMP_ACT_FOO"}"#).contains("SCMP_ACT_FOO"));
    assert!(
        refused(r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_S390X"]}"#)
            .contains("amd64")
    );
    assert!(
        refused(r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":[],"archMap":[]}"#).contains("both")
    );
    assert!(refused("{}").contains("no JSON document"));
    let flags = r#"{"defaultAction":"SCMP_ACT_ERRNO","flags":["SECCOMP_FILTER_FLAG_LOG"]}"#;
    assert!(refused(flags).contains("flags"), "it would be lost");
}

#[test]
fn the_runtimes_whole_configuration_has_a_profile_within() {
    let json = r#"{"ociVersion":"1.0.2","linux":{"seccomp":{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86","SCMP_ARCH_X86_64"],"syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW"}]}}}"#;
    let profile = read(json);
    assert_eq!(profile.architectures, ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"], "the machine's own comes first");
    assert_eq!(profile.allows("read"), Allowance::Always);
}

#[test]
fn union_allows_what_one_does_and_intersection_what_both_do() {
    let allow = |names: &str| format!(r#"{{"names":[{names}],"action":"SCMP_ACT_ALLOW"}}"#);
    let enosys = r#"{"names":["statx"],"action":"SCMP_ACT_ERRNO","errnoRet":38}"#;
    let first = profile(&format!("{},{CLONE},{enosys}", allow(r#""read","open""#)));
    let second = profile(&allow(r#""read","clone","write""#));
    let wide = union(&first, &second);
    assert_eq!(wide.allowed().collect::<Vec<_>>(), ["clone", "open", "read", "write"]);
    assert_eq!(wide.allows("clone"), Allowance::Always);
    let narrow = intersection(&first, &second);
    assert_eq!(narrow.allowed().collect::<Vec<_>>(), ["clone", "read"]);
    assert_eq!(narrow.allows("clone"), first.allows("clone"));
    for combined in [&wide, &narrow] {
        assert_eq!(combined.refusal("statx"), &Action::Errno(38));
        assert!(first.difference(&first).is_empty());
    }
    // Each is between the two.
    assert!(wide.lacks_of_profile(&first).is_empty() && wide.lacks_of_profile(&second).is_empty());
    assert!(first.lacks_of_profile(&narrow).is_empty() && second.lacks_of_profile(&narrow).is_empty());
    let lacks: Vec<String> =
        first.lacks_of_profile(&second).into_iter().map(|missing| missing.call).collect();
    assert_eq!(lacks, ["clone", "write"], "clone with any arguments is more than clone without namespaces");
    let difference = first.difference(&second);
    assert_eq!(difference.added.keys().collect::<Vec<_>>(), ["write"]);
    assert_eq!(difference.removed.keys().collect::<Vec<_>>(), ["open"]);
    assert_eq!(difference.changed.keys().collect::<Vec<_>>(), ["clone"]);
    assert_eq!(difference.refused_otherwise.keys().collect::<Vec<_>>(), ["statx"]);
}

#[test]
fn comparisons_of_the_same_argument_that_differ_leave_nothing_for_both() {
    let equal = |value: u64| {
        profile(&format!(
            r#"{{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{{"index":0,"value":{value},"op":"SCMP_CMP_EQ"}}]}}"#
        ))
    };
    assert_eq!(intersection(&equal(1), &equal(2)).allows("socket"), Allowance::Never);
    assert_eq!(intersection(&equal(1), &equal(1)).allows("socket"), equal(1).allows("socket"));
}

#[test]
fn a_profile_is_checked_against_what_a_trace_shows() {
    let mut trace = Trace::empty("sha256:0");
    trace.processes.push(Process {
        parent: None,
        began: Phase::Startup,
        executable: Some(TracedPath::new("/bin/app")),
        invoked_as: None,
        interpreter: None,
        shebang: Vec::new(),
        argv: Vec::new(),
    });
    trace.system_calls.push(SystemCalls {
        process: ProcessId(0),
        phase: Phase::Exercise,
        abi: Abi::X86_64,
        calls: ["read", "socket", "write"].map(str::to_owned).into(),
        denied: [("mount".to_owned(), ["EPERM".to_owned()].into())].into(),
    });
    let socket =
        |family| Socket { process: ProcessId(0), family, socket_type: 1, protocol: 0, refused: false };
    trace.sockets = vec![socket(2)];
    let sockets = r#"{"names":["socket"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"value":40,"op":"SCMP_CMP_NE"}]}"#;
    let profile = profile(&format!(r#"{{"names":["read"],"action":"SCMP_ACT_ALLOW"}},{sockets}"#));
    let lacks = profile.lacks_of_trace(&trace);
    assert_eq!(lacks.len(), 1, "{lacks:?}");
    assert_eq!((lacks[0].call.as_str(), &lacks[0].needed[..]), ("write", &["/bin/app".to_owned()][..]));
    trace.sockets.push(socket(40));
    assert_eq!(profile.lacks_of_trace(&trace).len(), 2, "the family that the profile leaves out");
}

#[test]
fn other_binary_interfaces_and_another_end_of_all_other_calls_are_a_difference() {
    let of = |default: &str, architectures: &str| {
        read(&format!(r#"{{"defaultAction":"{default}","architectures":[{architectures}]}}"#))
    };
    let native = of("SCMP_ACT_ERRNO", r#""SCMP_ARCH_X86_64""#);
    let wider = of("SCMP_ACT_KILL_PROCESS", r#""SCMP_ARCH_X86_64","SCMP_ARCH_X86""#);
    let difference = native.difference(&wider);
    assert_eq!(difference.default, Some((Action::Errno(1), Action::KillProcess)));
    assert_eq!(difference.architectures_added, ["SCMP_ARCH_X86".to_owned()].into());
    assert!(difference.architectures_removed.is_empty() && !difference.is_empty());
    assert_eq!(native.lacks_architectures(&wider), ["SCMP_ARCH_X86".to_owned()].into());
    assert!(wider.lacks_architectures(&native).is_empty());

    let mut trace = Trace::empty("sha256:0");
    trace.system_calls.push(SystemCalls {
        process: ProcessId(0),
        phase: Phase::Exercise,
        abi: Abi::X86,
        calls: ["read".to_owned()].into(),
        denied: BTreeMap::new(),
    });
    assert_eq!(native.lacks_architectures_of_trace(&trace), ["SCMP_ARCH_X86".to_owned()].into());
    assert!(wider.lacks_architectures_of_trace(&trace).is_empty());
}

#[test]
fn a_rule_that_says_what_holds_anyway_takes_nothing_from_the_others() {
    let rules = r#"{"names":["mkdir"],"action":"SCMP_ACT_ERRNO"},
        {"names":["mkdir"],"action":"SCMP_ACT_ALLOW","args":[{"index":1,"value":511,"op":"SCMP_CMP_EQ"}]}"#;
    assert!(matches!(profile(rules).allows("mkdir"), Allowance::When(_)), "as the compiled filter has it");
}

/// Everything that Docker lets every container do, less these, and clone without namespaces.
fn usual_without(refused: &[&str]) -> SeccompProfile {
    let names: Vec<String> = syscalls()
        .into_iter()
        .filter(|name| allowed_by_default(name) && !refused.contains(&name.as_str()) && name != "clone")
        .map(|name| format!("{name:?}"))
        .collect();
    let names = names.join(",");
    profile(&format!(
        r#"{{"names":[{names}],"action":"SCMP_ACT_ALLOW"}},{CLONE},{{"names":["clone3"],"action":"SCMP_ACT_ERRNO","errnoRet":38}}"#
    ))
}

fn syscalls() -> Vec<String> {
    let list = include_str!("../src/engine_default.txt");
    list.split_whitespace().map(str::to_owned).collect()
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_kernel_keeps_what_was_compiled() {
    let folder = tempfile::tempdir().unwrap();
    let launch = folder.path().join("launch");
    std::fs::write(&launch, BINARY).unwrap();
    std::fs::set_permissions(&launch, std::fs::Permissions::from_mode(0o755)).unwrap();
    let run = |profile: &SeccompProfile, script: &str| {
        let filter = profile.compile().unwrap();
        let policy = LaunchFile { filter, set_no_new_privileges: true, ..LaunchFile::new(Machine::Amd64) };
        let file = folder.path().join("policy");
        std::fs::write(&file, policy.to_bytes().unwrap()).unwrap();
        let mut command = Command::new(&launch);
        command.arg("--policy").arg(file).args(["sh", "-c", script]).current_dir(folder.path());
        let output = command.output().unwrap();
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let usual = usual_without(&[]);
    let tight = usual_without(&["mkdir", "mkdirat", "fchmodat", "chmod"]);
    assert_eq!(run(&usual, "touch f && chmod 600 f && mkdir d"), (true, String::new()));
    for (script, what) in [("mkdir e", "cannot create"), ("chmod 644 f", "Operation not permitted")] {
        let (done, told) = run(&tight, script);
        assert!(!done && told.contains(what), "{script}: {told}");
    }
    let (done, told) = run(&usual, "unshare --user true");
    assert!(
        !done && told.contains("not permitted"),
        "unshare is not among what Docker lets everybody do: {told}"
    );
}

#[test]
fn equal_profiles_compile_to_equal_programs_and_unknown_calls_are_left_out() {
    let profile = profile(r#"{"names":["read","no_such_call"],"action":"SCMP_ACT_ALLOW"}"#);
    let program = profile.compile().unwrap();
    assert_eq!(program, profile.compile().unwrap());
    assert!(program.len() > 3);
    let notify = r#"{"names":["read"],"action":"SCMP_ACT_NOTIFY"}"#;
    assert!(self::profile(notify).compile().unwrap_err().to_string().contains("read is asked for"));
}
