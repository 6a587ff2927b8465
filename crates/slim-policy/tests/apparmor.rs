//! The AppArmor profile of traces made by hand, and through AppArmor's own parser.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "helpers of tests")]

mod common;
#[path = "common/server.rs"]
mod server;

use common::{calls, process};
use proptest::prelude::*;
use server::{access, server};
use slim_image::ImagePath;
use slim_policy::{Inputs, KeptKind, apparmor, profile_name};
use slim_trace::{Access, Phase, ProcessId, Socket, Trace, TracedPath};
use std::io::Write;
use std::process::{Command, Stdio};

/// What `apparmor_parser` says of a profile; `None` where it is not installed.
fn parse(profile: &str, options: &[&str]) -> Option<Result<String, String>> {
    let mut child = Command::new("apparmor_parser")
        .args(["-Q", "-K"])
        .args(options)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .inspect_err(|error| println!("skipped: apparmor_parser: {error}"))
        .ok()?;
    child.stdin.take().unwrap().write_all(profile.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    Some(if output.status.success() { Ok(text) } else { Err(text) })
}

fn accepted(profile: &str) -> bool {
    match parse(profile, &[]) {
        Some(Err(why)) => panic!("{why}\n{profile}"),
        parsed => parsed.is_some(),
    }
}

#[test]
fn each_path_has_the_permissions_that_were_seen() {
    let (trace, inputs) = server();
    let profile = apparmor(&trace, &inputs);
    accepted(&profile);
    insta::assert_snapshot!("server_apparmor", profile);
}

#[test]
fn temporary_files_that_others_read_leave_no_random_names_in_the_profile() {
    let profile = |name: &str| {
        let mut trace = Trace::empty("sha256:0");
        for (reader, accesses) in [(0, &[Access::Open, Access::Create][..]), (1, &[Access::Open])] {
            trace.files.push(access(reader, &format!("/tmp/tmp.{name}"), accesses));
        }
        apparmor(&trace, &Inputs::new("app"))
    };
    let one = profile("9aiwv9EBTa");
    accepted(&one);
    assert!(one.contains("  /tmp/tmp.* rw,\n"), "{one}");
    assert_eq!(one, profile("JSBbtRNSKv"));
}

#[test]
fn a_trace_without_anything_gives_a_profile_that_parses() {
    accepted(&apparmor(&Trace::empty("sha256:0"), &Inputs::new("")));
}

#[test]
fn every_family_and_type_of_socket_parses() {
    let mut trace = Trace::empty("sha256:0");
    for family in 0..64 {
        for socket_type in 0..12 {
            trace.sockets.push(Socket {
                process: ProcessId(0),
                family,
                socket_type,
                protocol: 0,
                refused: false,
            });
        }
    }
    let profile = apparmor(&trace, &Inputs::new("app"));
    assert!(profile.contains("network netlink raw,"));
    accepted(&profile);
}

#[test]
fn nobody_may_mount_and_only_who_traced_may_trace() {
    let (mut trace, inputs) = server();
    let before = apparmor(&trace, &inputs);
    assert!(before.contains("  ptrace (read, readby) peer="), "{before}");
    trace.system_calls.push(calls(1, Phase::Startup, &["mount", "ptrace"], &[]));
    let profile = apparmor(&trace, &inputs);
    assert!(!profile.contains("mount,"), "{profile}");
    assert!(profile.contains("  ptrace (read, readby, trace, tracedby) peer="), "{profile}");
    accepted(&profile);
}

#[test]
fn what_is_made_in_shared_directories_is_allowed_as_it_was_built_and_in_own_ones_by_any_name() {
    let mut trace = Trace::empty("sha256:0");
    for path in ["/tmp/pymp-x7qk2mza/listener", "/run/app.pid", "/var/log/app.log", "/data/temp-12.rdb"] {
        trace.files.push(access(0, path, &[Access::Create, Access::Write]));
    }
    trace.files.push(access(0, "/tmp/pymp-x7qk2mza", &[Access::Create]));
    let profile = apparmor(&trace, &Inputs::new("app"));
    accepted(&profile);
    let expected = [
        "/tmp/pymp-*/** rw",
        "/tmp/pymp-* rw",
        "/run/app.pid rw",
        "/var/log/app.log rw",
        "\"/var/log/app.log{.,-}*\" rw",
        "/data/* rw",
    ];
    for rule in expected {
        assert!(profile.contains(&format!("  {rule},\n")), "no {rule} in {profile}");
    }
    assert!(!profile.contains("  /run/* rw") && !profile.contains("  /tmp/* rw"), "{profile}");
}

/// Found under enforcement: eight kept files of /etc had let the program read /etc/shadow.
#[test]
fn many_kept_files_are_one_rule_in_a_directory_of_the_programs_own_only() {
    let mut inputs = Inputs::new("app");
    for number in 0..20 {
        for directory in ["/etc", "/srv/data"] {
            let path = ImagePath::from(format!("{directory}/{number}").as_str());
            inputs.paths.insert(path, KeptKind::File { elf: false, run: false, privileged: false });
        }
    }
    let profile = apparmor(&Trace::empty("sha256:0"), &inputs);
    assert!(profile.contains("  /srv/data/* r,\n") && profile.contains("  /etc/7 r,\n"), "{profile}");
    assert!(!profile.contains("  /etc/* r,"), "{profile}");
    accepted(&profile);
}

#[test]
fn names_of_profiles_hold_no_slash_or_space() {
    assert_eq!(profile_name("registry.local:5000/team/app"), "registry.local-5000-team-app-apparmor-profile");
    assert_eq!(profile_name("/"), "image-apparmor-profile");
}

#[test]
fn odd_characters_in_a_path_are_matched_literally() {
    let odd = b"/odd*?[x]{a,b}^@{HOME}\\\"'#! \t\n\x01\xc3\xa4\xff";
    let mut inputs = Inputs::new("app");
    let path = ImagePath::new(odd);
    inputs.paths.insert(path, KeptKind::File { elf: false, run: false, privileged: false });
    let profile = apparmor(&Trace::empty("sha256:0"), &inputs);
    let rule = profile.lines().find(|line| line.contains("/odd")).unwrap();
    let Some(parsed) = parse(&format!("profile odd {{\n{rule}\n}}\n"), &["-D", "dfa-states"]) else { return };
    // The parser prints its automaton one arrow a line: `    a 0x61 -> {3}`. One path alone is one chain.
    let arrows = parsed.unwrap();
    let arrows = arrows.lines().filter_map(|line| line.split_once(" -> {")?.0.rsplit_once("0x"));
    let read: Vec<u8> = arrows.map(|(_, byte)| u8::from_str_radix(byte, 16).unwrap()).collect();
    assert_eq!(read, odd);
}

fn any_path() -> impl Strategy<Value = Vec<u8>> {
    let odd = prop::sample::select(b"*?[]{}^,\"'\\@#$!()<>|&; ~\n\t\x01\x7f\x80\xff=+-:%".to_vec());
    let byte = prop_oneof![1u8..=255, odd, prop::sample::select(b"ab.".to_vec())];
    let name = prop::collection::vec(byte.prop_filter("a name has no slash", |byte| *byte != b'/'), 1..8);
    prop::collection::vec(name, 1..4).prop_map(|names| {
        let mut path = Vec::new();
        for name in names {
            path.push(b'/');
            path.extend(name);
        }
        path
    })
}

fn any_access() -> impl Strategy<Value = Access> {
    prop::sample::select(vec![
        Access::Open,
        Access::Execute,
        Access::List,
        Access::Bind,
        Access::Write,
        Access::Create,
        Access::Remove,
        Access::Missing,
    ])
}

fn any_kind() -> impl Strategy<Value = KeptKind> {
    prop_oneof![
        Just(KeptKind::Directory),
        Just(KeptKind::Special),
        any_path().prop_map(|target| KeptKind::Symlink { target }),
        (any::<bool>(), any::<bool>()).prop_map(|(elf, run)| KeptKind::File { elf, run, privileged: false }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]
    #[test]
    fn whatever_paths_are_called_the_profile_parses(
        kept in prop::collection::btree_map(any_path().prop_map(ImagePath::new), any_kind(), 0..12),
        touched in prop::collection::vec((any_path(), prop::collection::vec(any_access(), 1..3)), 0..12),
        name in ".{0,12}",
    ) {
        let mut trace = Trace::empty("sha256:0");
        trace.processes = vec![process(Some("/program"), Phase::Startup)];
        trace.system_calls = vec![calls(0, Phase::Startup, &["flock", "link"], &[])];
        for (path, accesses) in touched {
            let mut file = access(0, "/", &accesses);
            file.path = TracedPath::new(path);
            trace.files.push(file);
        }
        let mut inputs = Inputs::new(name);
        inputs.paths = kept.into_iter().filter(|(path, _)| !path.is_root()).collect();
        let profile = apparmor(&trace, &inputs);
        prop_assert_eq!(&profile, &apparmor(&trace, &inputs));
        prop_assert!(profile.is_ascii());
        accepted(&profile);
    }
}
