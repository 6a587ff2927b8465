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

/// The rules of each path in a profile, but those that every profile has.
fn rule_of<'a>(profile: &'a str, path: &str) -> Vec<&'a str> {
    let rules = profile.lines().map(str::trim);
    rules.filter_map(|rule| rule.strip_prefix(path)?.strip_prefix(' ')?.strip_suffix(',')).collect()
}

#[test]
fn locks_are_allowed_where_they_were_seen_and_exclusive_ones_with_writing() {
    let mut trace = Trace::empty("sha256:0");
    trace.files = vec![
        access(0, "/app/shared", &[Access::Open, Access::Lock]),
        access(0, "/app/exclusive", &[Access::Open, Access::LockExclusive]),
        access(0, "/app/plain", &[Access::Open]),
        access(0, "/run/app.lock", &[Access::Open, Access::Write, Access::Create, Access::LockExclusive]),
    ];
    // Calls by themselves say of no file that it was locked.
    trace.system_calls = vec![calls(0, Phase::Startup, &["flock", "fcntl"], &[])];
    let mut inputs = Inputs::new("app");
    for path in ["/app/shared", "/app/exclusive", "/app/plain"] {
        inputs.paths.insert(path.into(), KeptKind::File { elf: false, run: false, privileged: false });
    }
    let profile = apparmor(&trace, &inputs);
    accepted(&profile);
    assert_eq!(rule_of(&profile, "/app/shared"), ["rk"]);
    assert_eq!(rule_of(&profile, "/app/exclusive"), ["rwk"]);
    assert_eq!(rule_of(&profile, "/app/plain"), ["r"]);
    assert_eq!(rule_of(&profile, "/run/app.lock"), ["rwk"]);
}

#[test]
fn a_new_name_may_be_linked_and_what_it_is_linked_to_allows_no_less() {
    let mut trace = Trace::empty("sha256:0");
    trace.files = vec![
        access(0, "/run/old", &[Access::Open, Access::Create, Access::Write, Access::LinkFrom]),
        access(0, "/run/new", &[Access::Create, Access::LinkTo]),
        access(1, "/app/kept", &[Access::Open, Access::LinkFrom]),
        access(1, "/run/other", &[Access::Create, Access::LinkTo, Access::Remove]),
        access(2, "/run/third", &[Access::Open, Access::LinkFrom]),
        access(
            2,
            "/run/fourth",
            &[Access::LinkTo, Access::Create, Access::Open, Access::Write, Access::Lock],
        ),
        access(0, "/run/made", &[Access::Create, Access::Write]),
    ];
    let mut inputs = Inputs::new("app");
    inputs.paths.insert("/app/kept".into(), KeptKind::File { elf: false, run: false, privileged: false });
    // Made by another process.
    trace.files.push(access(3, "/run/third", &[Access::Create]));
    let profile = apparmor(&trace, &inputs);
    accepted(&profile);
    assert_eq!(rule_of(&profile, "/run/old"), ["rw"]);
    assert_eq!(rule_of(&profile, "/run/new"), ["l"]);
    assert_eq!(rule_of(&profile, "/app/kept"), ["r"], "a link makes nothing of the image writable");
    assert_eq!(rule_of(&profile, "/run/other"), ["rwl"]);
    assert_eq!(rule_of(&profile, "/run/third"), ["rwk"]);
    assert_eq!(rule_of(&profile, "/run/fourth"), ["rwkl"]);
    assert_eq!(rule_of(&profile, "/run/made"), ["rw"]);
}

/// Linux refuses every write(2) to a file that a rule with `a` alone lets be opened.
#[test]
fn what_is_only_appended_to_may_be_written() {
    let mut trace = Trace::empty("sha256:0");
    trace.files = vec![access(0, "/var/log/app.log", &[Access::Open, Access::Append])];
    let mut inputs = Inputs::new("app");
    inputs
        .paths
        .insert("/var/log/app.log".into(), KeptKind::File { elf: false, run: false, privileged: false });
    let profile = apparmor(&trace, &inputs);
    accepted(&profile);
    assert_eq!(rule_of(&profile, "/var/log/app.log"), ["rw"]);
}

/// A script that gives a directory away and becomes the server, which has a set-id program send mail.
fn with_helpers() -> (Trace, Inputs) {
    let mut trace = Trace::empty("sha256:0");
    let run = |parent: Option<u32>, path: &str| slim_trace::Process {
        parent: parent.map(ProcessId),
        argv: vec![path.to_owned()],
        ..process(Some(path), Phase::Startup)
    };
    trace.processes = vec![
        run(None, "/bin/sh"),
        run(Some(0), "/bin/sh"),
        run(Some(1), "/bin/chown"),
        run(Some(0), "/bin/server"),
        run(Some(3), "/bin/server"),
        run(Some(4), "/usr/sbin/send mail"),
    ];
    trace.system_calls = vec![
        calls(2, Phase::Startup, &["fchownat"], &[]),
        calls(3, Phase::Startup, &["setuid", "setgroups"], &[]),
        calls(5, Phase::Exercise, &["setuid"], &[]),
    ];
    trace.files = vec![
        access(2, "/data", &[Access::ChangeAttributes]),
        access(3, "/var/log/server.log", &[Access::Open, Access::Append, Access::Create]),
        // An exec is seen of the process that it was before.
        access(1, "/bin/chown", &[Access::Execute]),
        access(4, "/usr/sbin/send mail", &[Access::Execute]),
        access(5, "/var/spool/mail/1", &[Access::Open, Access::Write, Access::Create]),
        access(5, "/etc/mail.conf", &[Access::Open]),
    ];
    let socket = |process, family| Socket {
        process: ProcessId(process),
        family,
        socket_type: 1,
        protocol: 0,
        refused: false,
    };
    trace.sockets = vec![socket(3, 2), socket(5, 1)];
    let mut inputs = Inputs::new("app");
    inputs.transitions = true;
    let file = |privileged| KeptKind::File { elf: true, run: false, privileged };
    for path in ["/bin/sh", "/bin/chown", "/bin/server", "/usr/sbin/send mail"] {
        inputs.paths.insert(path.into(), file(path.contains("mail")));
    }
    inputs.paths.insert("/data".into(), KeptKind::Directory);
    inputs
        .paths
        .insert("/etc/mail.conf".into(), KeptKind::File { elf: false, run: false, privileged: false });
    let why = |name: &str| (name.to_owned(), "seen".to_owned());
    inputs.needed_capabilities = Some(["CHOWN", "SETUID", "SETGID", "DAC_OVERRIDE"].map(why).into());
    (trace, inputs)
}

/// A profile's text and those within it, by name.
fn parts(profile: &str) -> std::collections::BTreeMap<&str, String> {
    let mut parts = std::collections::BTreeMap::<&str, String>::new();
    let (mut outer, mut inner) = ("", None);
    for line in profile.lines() {
        if let Some(name) = line.trim_start().strip_prefix("profile ").and_then(|it| it.split(' ').next()) {
            if line.starts_with(' ') { inner = Some(name) } else { outer = name }
        } else if line == "  }" {
            inner = None;
        } else {
            let part = parts.entry(inner.unwrap_or(outer)).or_default();
            *part = format!("{part}{}\n", line.trim_start());
        }
    }
    parts
}

#[test]
fn helpers_with_needs_of_their_own_have_profiles_of_their_own_and_the_main_one_has_not_what_they_need() {
    let (trace, inputs) = with_helpers();
    let profile = apparmor(&trace, &inputs);
    accepted(&profile);
    let parts = parts(&profile);
    assert_eq!(parts.keys().copied().collect::<Vec<_>>(), ["app-apparmor-profile", "chown", "send-mail"]);
    let (main, chown, mail) = (&parts["app-apparmor-profile"], &parts["chown"], &parts["send-mail"]);
    for transition in ["/bin/chown Cx -> chown,", "\"/usr/sbin/send mail\" Cx -> send-mail,"] {
        assert!(main.contains(&format!("{transition}\n")), "{main}");
    }
    let has = |part: &str, rule: &str| part.lines().any(|line| line.split(" #").next() == Some(rule));
    // (rule, main, chown, mail)
    let expected = [
        ("capability chown,", [false, true, true]),
        ("capability setgid,", [true, false, true]),
        ("capability setuid,", [true, false, true]),
        // Nothing says whose it is.
        ("capability dac_override,", [true, true, true]),
        ("network inet stream,", [true, true, true]),
        ("network unix stream,", [false, false, true]),
        ("/var/spool/mail/* rw,", [false, false, true]),
        ("/data/ rw,", [false, true, false]),
        // Helpers have inherited it.
        ("/var/log/server.log rw,", [true, true, true]),
        ("/bin/server mrix,", [true, false, false]),
        ("/bin/sh mrix,", [true, false, false]),
        ("/bin/chown mrix,", [false, true, false]),
        ("/bin/chown mr,", [true, false, true]),
        ("/etc/mail.conf r,", [true, true, true]),
        ("signal (receive) peer=runc,", [true, true, true]),
        ("signal (receive, send) peer=app-apparmor-profile,", [true, true, true]),
        ("signal (receive, send) peer=app-apparmor-profile//chown,", [true, true, true]),
        ("deny /proc/kcore rwklx,", [true, true, true]),
    ];
    for (rule, wanted) in expected {
        assert_eq!([main, chown, mail].map(|part| has(part, rule)), wanted, "{rule}\n{profile}");
    }
}

#[test]
fn under_no_new_privileges_no_exec_leads_into_another_profile() {
    let (trace, inputs) = with_helpers();
    let profile = apparmor(&trace, &Inputs { transitions: false, ..inputs });
    accepted(&profile);
    let profiles = profile.lines().filter(|line| line.trim_start().starts_with("profile ")).count();
    assert!(!profile.contains("Cx") && profiles == 1, "{profile}");
    assert!(
        rule_of(&profile, "/bin/chown") == ["mrix"] && profile.contains("  capability chown, #"),
        "{profile}"
    );
}

/// Every part that a profile is to have, in one that was made of what asks for it.
#[test]
fn a_profile_has_all_its_parts_and_needs_no_file_beside_it() {
    let (mut trace, mut inputs) = server();
    trace.files.extend([
        access(1, "/run/app.pid", &[Access::Create, Access::Write]),
        access(1, "/var/log/app.log", &[Access::Append, Access::Create]),
        access(1, "/tmp/pymp-x7qk2mza/one", &[Access::Create, Access::Write, Access::LockExclusive]),
        access(1, "/tmp/pymp-x7qk2mza", &[Access::Create]),
        access(1, "/run/link", &[Access::Create, Access::LinkTo]),
    ]);
    trace.processes[1].invoked_as = Some(TracedPath::new("/usr/local/bin/entry \"point\""));
    let unix = Socket { process: ProcessId(1), family: 1, socket_type: 1, protocol: 0, refused: false };
    trace.sockets.push(unix);
    inputs.needed_capabilities = Some([("CHOWN".to_owned(), "fchown was called".to_owned())].into());
    let profile = apparmor(&trace, &inputs);
    accepted(&profile);
    let name = "registry.local-team-app-apparmor-profile";
    let parts = [
        // Paths as seen, with globs for what is called differently the next time.
        "/lib/libc.so.6 mr,",
        "/tmp/pymp-*/** rwk,",
        "/run/app.pid rw,",
        "/var/log/app.log rw,",
        "\"/var/log/app.log{.,-}*\" rw,",
        "/run/link l,",
        // The exec of the entrypoint: the runtime's into this profile, and docker-init's.
        "/usr/bin/node mrix,",
        "\"/usr/local/bin/entry \\\"point\\\"\" mrix,",
        "/{sbin/docker-init,dev/init} mrix,",
        "capability chown, # fchown was called",
        "network inet6 stream,",
        "network unix stream,",
        "unix type=stream,",
        "signal (receive) peer=unconfined,",
        "signal (receive) peer=runc,",
        "signal (receive) peer=crun,",
        &format!("signal (receive, send) peer={name},"),
        &format!("ptrace (read, readby) peer={name},"),
        "deny /proc/sysrq-trigger rwklx,",
        "deny /sys/firmware/** rwklx,",
        "/dev/{null,zero,full,random,urandom,tty,console,ptmx} rw,",
        "/dev/pts/{,*} rw,",
        "/dev/shm/{,**} rwkl,",
    ];
    for part in parts {
        assert!(profile.lines().any(|line| line.trim() == part), "no {part} in\n{profile}");
    }
    for never in
        ["mount", "include", "abstractions", "@{", "change_profile", " ux,", " Ux,", "trace,", "tracedby"]
    {
        let rules = profile.lines().filter(|line| !line.trim_start().starts_with('#'));
        assert!(
            !rules.map(|line| line.split('#').next().unwrap()).any(|line| line.contains(never)),
            "{never}"
        );
    }
    assert_eq!(profile.lines().filter(|line| line.contains("capability ")).count(), 1);
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

/// Found under enforcement: the slim image keeps them with the other accounts.
#[test]
fn hashes_of_passwords_are_read_by_who_was_seen_to_read_them_only() {
    let mut inputs = Inputs::new("app");
    for path in ["/etc/passwd", "/etc/shadow", "/etc/gshadow-"] {
        inputs.paths.insert(path.into(), KeptKind::File { elf: false, run: false, privileged: false });
    }
    let mut trace = Trace::empty("sha256:0");
    let profile = apparmor(&trace, &inputs);
    assert!(profile.contains("  /etc/passwd r,\n") && !profile.contains("shadow"), "{profile}");
    trace.files.push(access(0, "/etc/shadow", &[Access::Open]));
    let profile = apparmor(&trace, &inputs);
    assert!(profile.contains("  /etc/shadow r,\n") && !profile.contains("gshadow"), "{profile}");
}

#[test]
fn of_capabilities_that_were_tried_only_the_needed_ones_are_left_each_with_why() {
    let mut inputs = Inputs::new("app");
    let why = |name: &str, why: &str| (name.to_owned(), why.to_owned());
    inputs.needed_capabilities =
        Some([why("SETUID", "setresuid was called"), why("CHOWN", "of /a\n  capability sys_admin,")].into());
    let profile = apparmor(&Trace::empty("sha256:0"), &inputs);
    let rules: Vec<&str> = profile.lines().filter(|line| line.starts_with("  capability")).collect();
    let expected = [
        "  capability chown, # of /a?  capability sys_admin,",
        "  capability setuid, # setresuid was called",
    ];
    assert_eq!(rules, expected);
    accepted(&profile);
    inputs.needed_capabilities = Some([].into());
    assert!(!apparmor(&Trace::empty("sha256:0"), &inputs).contains("  capability"), "none is needed");
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
        Access::Append,
        Access::Create,
        Access::Remove,
        Access::Lock,
        Access::LockExclusive,
        Access::LinkFrom,
        Access::LinkTo,
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
        transitions in any::<bool>(),
    ) {
        let mut trace = Trace::empty("sha256:0");
        trace.processes = vec![process(Some("/program"), Phase::Startup)];
        for (path, accesses) in touched {
            // A process of its own for what is run, each the child of the one before.
            let mut runs = process(Some("/"), Phase::Startup);
            runs.executable = Some(TracedPath::new(path.clone()));
            runs.parent = Some(ProcessId(u32::try_from(trace.processes.len() - 1).unwrap()));
            trace.processes.push(runs);
            let mut file = access(u32::try_from(trace.processes.len() - 1).unwrap(), "/", &accesses);
            file.path = TracedPath::new(path);
            trace.files.push(file);
        }
        let mut inputs = Inputs::new(name);
        inputs.transitions = transitions;
        inputs.paths = kept.into_iter().filter(|(path, _)| !path.is_root()).collect();
        for process in &trace.processes[1..] {
            let path = ImagePath::new(process.executable.as_ref().unwrap().as_bytes());
            // `/.` is the root, which is no file.
            if !path.is_root() {
                inputs.paths.insert(path, KeptKind::File { elf: true, run: false, privileged: false });
            }
        }
        let profile = apparmor(&trace, &inputs);
        prop_assert_eq!(&profile, &apparmor(&trace, &inputs));
        prop_assert!(profile.is_ascii());
        accepted(&profile);
    }
}
