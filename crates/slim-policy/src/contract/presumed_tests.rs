//! What traces of small programs speak for.

use super::*;
use crate::contract::{Contract, Forms, Root};
use slim_trace::{
    Abi, Access, FileAccess, Listening, Mount, MountKind, Phase, Process, ProcessId, SystemCalls, TracedPath,
};

fn trace(written: &[&str], calls: &[&str]) -> Trace {
    let mut trace = Trace::empty("sha256:0");
    trace.processes.push(Process {
        parent: None,
        began: Phase::Startup,
        executable: Some(TracedPath::new("/bin/su")),
        invoked_as: None,
        interpreter: None,
        shebang: Vec::new(),
        argv: Vec::new(),
    });
    trace.files = written
        .iter()
        .map(|path| FileAccess {
            path: TracedPath::new(*path),
            process: ProcessId(0),
            access: BTreeSet::from([Access::Create]),
            phases: BTreeSet::from([Phase::Startup]),
        })
        .collect();
    trace.system_calls.push(SystemCalls {
        process: ProcessId(0),
        phase: Phase::Startup,
        abi: Abi::X86_64,
        calls: calls.iter().map(|call| (*call).to_owned()).collect(),
        denied: BTreeMap::new(),
    });
    trace
}

fn root() -> Ground {
    Ground { starts_as_root: true, ..Ground::default() }
}

fn options(trace: &Trace, inputs: &Inputs, ground: &Ground) -> Vec<String> {
    let presumed = presume(trace, inputs, ground);
    Forms::options(&Contract::of(&presumed, &presumed.terms(), None, 0))
}

#[test]
fn a_program_that_writes_temporary_files_only_has_a_read_only_root() {
    let mut inputs = Inputs::new("app");
    inputs.user = Some("1234".to_owned());
    inputs.paths.insert("/var/cache/nginx".into(), KeptKind::Directory);
    inputs.paths.insert("/var/run".into(), KeptKind::Symlink { target: b"/run".into() });
    let owner = Owner { user: 33, group: 34, mode: 0o750 };
    let ground = Ground { owners: [("/var/cache/nginx".into(), owner)].into(), ..Ground::default() };
    assert_eq!(
        options(&trace(&["/tmp/a", "/var/run/x.pid", "/var/cache/nginx/1"], &[]), &inputs, &ground),
        [
            "--user=1234",
            "--cap-drop=ALL",
            "--security-opt=no-new-privileges",
            "--read-only",
            "--tmpfs=/run:mode=1777,uid=0,gid=0",
            "--tmpfs=/tmp:mode=1777,uid=0,gid=0",
            "--tmpfs=/var/cache/nginx:mode=0750,uid=33,gid=34",
        ]
    );
}

#[test]
fn what_is_written_elsewhere_gets_a_volume_and_a_tmpfs_hides_nothing() {
    let mut trace = trace(&["/data/base", "/etc/app/x.conf", "/tmp/held/x", "/srv/app/base.db", "/new"], &[]);
    trace.mounts.push(Mount {
        path: "/data".into(),
        kind: MountKind::ImageVolume,
        file_system: "ext4".into(),
    });
    let mut inputs = Inputs::new("app");
    for directory in ["/tmp", "/etc", "/etc/app", "/srv", "/srv/app"] {
        inputs.paths.insert(directory.into(), KeptKind::Directory);
    }
    for file in ["/tmp/kept", "/srv/app/program.py"] {
        inputs.paths.insert(file.into(), KeptKind::File { elf: false, run: false, privileged: false });
    }
    let ground = Ground { volumes: ["/data".into()].into(), ..root() };
    let presumed = presume(&trace, &inputs, &ground);
    let volumes = |root: Root| {
        let terms = Terms { root, ..presumed.terms() };
        let contract = Contract::of(&presumed, &terms, None, 0);
        contract.volumes.keys().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(volumes(Root::ReadOnly), ["/data", "/srv/app", "/tmp"]);
    assert_eq!(volumes(Root::ReadOnlyWithMore), ["/data", "/etc/app", "/srv/app", "/tmp"]);
    assert_eq!(volumes(Root::Writable), ["/data"]);
    let refused = Contract::of(&presumed, &presumed.terms(), None, 0).refused_writes;
    assert_eq!(refused.iter().map(ToString::to_string).collect::<Vec<_>>(), ["/etc/app/x.conf", "/new"]);
}

#[test]
fn a_set_id_program_that_was_run_needs_new_privileges() {
    let mut inputs = Inputs::new("app");
    let privileged = KeptKind::File { elf: true, run: false, privileged: true };
    inputs.paths.insert("/bin".into(), KeptKind::Symlink { target: b"usr/bin".into() });
    inputs.paths.insert("/usr/bin/su".into(), privileged);
    assert!(!presume(&trace(&[], &[]), &inputs, &Ground::default()).terms().no_new_privileges);
    assert!(presume(&trace(&[], &[]), &Inputs::new("app"), &root()).terms().no_new_privileges);
}

#[test]
fn a_file_capability_counts_where_its_program_was_run() {
    let mut inputs = Inputs::new("app");
    let privileged = KeptKind::File { elf: true, run: false, privileged: true };
    inputs.paths.insert("/bin/su".into(), privileged);
    let names = BTreeSet::from(["CHOWN".to_owned()]);
    let ground = Ground {
        file_capabilities: [
            ("/bin/su".into(), names.clone()),
            ("/bin/other".into(), ["KILL".to_owned()].into()),
        ]
        .into(),
        ..Ground::default()
    };
    assert_eq!(presume(&trace(&[], &[]), &inputs, &ground).certain(), names);
}

#[test]
fn calls_speak_for_capabilities_of_root_only() {
    let calls = ["chown", "setuid", "setgroups", "prctl", "utimensat"];
    let of = |ground: &Ground| presume(&trace(&[], &calls), &Inputs::new("app"), ground).evidence;
    let names: Vec<String> = of(&root()).into_keys().collect();
    assert_eq!(names, ["CHOWN", "FOWNER", "SETGID", "SETUID"]);
    assert!(of(&root())["SETUID"].certain && !of(&root())["CHOWN"].certain);
    assert!(of(&Ground::default()).is_empty(), "another user has none to begin with");
}

#[test]
fn what_its_mode_keeps_for_another_user_takes_a_privilege_of_root() {
    let mut inputs = Inputs::new("app");
    inputs.paths.insert("/var/spool".into(), KeptKind::Directory);
    let of = |owner: Owner| {
        let ground = Ground { owners: [("/var/spool".into(), owner)].into(), ..root() };
        presume(&trace(&["/var/spool/new"], &[]), &inputs, &ground).evidence.contains_key("DAC_OVERRIDE")
    };
    assert!(of(Owner { user: 33, group: 33, mode: 0o755 }), "root is nobody's owner here");
    assert!(
        !of(Owner { user: 0, group: 33, mode: 0o755 }) && !of(Owner { user: 33, group: 33, mode: 0o777 })
    );
    assert!(!of(Owner { user: 33, group: 0, mode: 0o775 }), "root's group may");
}

#[test]
fn a_port_below_1024_wants_its_capability_on_other_engines() {
    let mut trace = trace(&[], &[]);
    for (port, address) in [(80, "0.0.0.0"), (9000, "127.0.0.1"), (40000, "::")] {
        trace.listening.push(Listening {
            process: ProcessId(0),
            transport: Transport::Tcp,
            address: address.parse().unwrap(),
            port,
        });
    }
    let presumed = presume(&trace, &Inputs::new("app"), &Ground::default());
    assert!(presumed.certain().contains("NET_BIND_SERVICE"));
    assert_eq!(presumed.ports.iter().map(ToString::to_string).collect::<Vec<_>>(), ["80/tcp"]);
}

#[test]
fn every_form_says_the_same_and_quotes_what_it_is_given() {
    let mut inputs = Inputs::new("app");
    inputs.user = Some("33:34".to_owned());
    inputs.paths.insert("/srv/a b$c".into(), KeptKind::Directory);
    let mut trace = trace(&["/tmp/a", "/srv/a b$c/x"], &[]);
    trace.listening.push(Listening {
        process: ProcessId(0),
        transport: Transport::Tcp,
        address: "::".parse().unwrap(),
        port: 8000,
    });
    let presumed = presume(&trace, &inputs, &Ground::default());
    let peaks = crate::contract::Peaks { pids: Some(9), memory: Some(50 << 20) };
    let contract = Contract::of(&presumed, &presumed.terms(), Some(peaks), 1);
    let forms = Forms {
        contract: &contract,
        image: "shop/app:1",
        name: "app",
        seccomp: "app-seccomp.json",
        apparmor: "docker-slim-app",
        apparmor_file: "app-apparmor-profile",
    };
    insta::assert_snapshot!("docker_run", forms.docker_run());
    insta::assert_snapshot!("compose", forms.compose());
    insta::assert_snapshot!("kubernetes", forms.kubernetes());
    insta::assert_snapshot!("quadlet", forms.quadlet());
}
