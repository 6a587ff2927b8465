//! The trace of a small server.

use crate::common::{calls, process};
use slim_policy::{Inputs, KeptKind};
use slim_trace::{Access, FileAccess, Mount, MountKind, Phase, ProcessId, Socket, Trace, TracedPath};
use std::collections::BTreeSet;

pub fn access(process: u32, path: &str, access: &[Access]) -> FileAccess {
    FileAccess {
        path: TracedPath::new(path),
        process: ProcessId(process),
        access: access.iter().copied().collect(),
        phases: BTreeSet::from([Phase::Startup]),
    }
}

fn file(elf: bool) -> KeptKind {
    KeptKind::File { elf, run: false, privileged: false }
}

/// A small server: node, and a shell that its health check runs.
pub fn server() -> (Trace, Inputs) {
    let mut trace = Trace::empty("sha256:0");
    trace.architecture = "amd64".to_owned();
    trace.processes = vec![
        process(None, Phase::Runtime),
        process(Some("/usr/bin/node"), Phase::Startup),
        process(Some("/bin/sh"), Phase::Exercise),
    ];
    trace.processes[1].interpreter = Some(TracedPath::new("/lib64/ld-linux-x86-64.so.2"));
    trace.system_calls = vec![
        calls(0, Phase::Runtime, &["mount", "pivot_root", "setns", "umount2", "unshare"], &[]),
        calls(0, Phase::RuntimeFiltered, &["execve", "setuid", "mount", "close_range"], &[]),
        calls(
            1,
            Phase::Startup,
            &["clone", "epoll_pwait", "execve", "flock", "linkat", "personality", "read", "socket", "#1023"],
            &[("clone3", "ENOSYS"), ("keyctl", "EPERM"), ("mbind", "EPERM"), ("read", "EPERM")],
        ),
        calls(1, Phase::Exercise, &["accept4", "read", "write"], &[]),
        calls(2, Phase::Exercise, &["execve", "faccessat2", "read", "write"], &[("mbind", "ENOSYS")]),
    ];
    trace.files = vec![
        access(1, "/lib/libc.so.6", &[Access::Open]),
        access(1, "/app", &[Access::ChangeDirectory, Access::List]),
        access(1, "/app/server.js", &[Access::Open, Access::Stat]),
        access(1, "/app/cache/7.tmp", &[Access::Open, Access::Write, Access::Create]),
        access(1, "/app/spool/day", &[Access::Create]),
        access(1, "/app/spool/day/one", &[Access::Write, Access::Create]),
        access(1, "/etc/app/generated.conf", &[Access::Create, Access::Write]),
        access(1, "/run/app.sock", &[Access::Bind]),
        access(1, "/missing", &[Access::Missing]),
        access(2, "/app/a b'q \" [x].txt", &[Access::Open]),
    ];
    trace.sockets = vec![
        Socket { process: ProcessId(1), family: 10, socket_type: 1, protocol: 6, refused: false },
        Socket { process: ProcessId(1), family: 16, socket_type: 3, protocol: 0, refused: false },
        Socket { process: ProcessId(1), family: 17, socket_type: 3, protocol: 0, refused: true },
    ];
    trace.mounts = vec![
        Mount { path: "/".into(), kind: MountKind::Root, file_system: "overlay".into() },
        Mount { path: "/proc".into(), kind: MountKind::Other, file_system: "proc".into() },
        Mount { path: "/etc/hosts".into(), kind: MountKind::Other, file_system: "ext4".into() },
        Mount { path: "/data".into(), kind: MountKind::ImageVolume, file_system: "ext4".into() },
    ];
    let mut inputs = Inputs::new("registry.local/team/app");
    let kept = [
        ("/", KeptKind::Directory),
        ("/app", KeptKind::Directory),
        ("/app/cache", KeptKind::Directory),
        ("/app/spool", KeptKind::Directory),
        ("/app/server.js", file(false)),
        ("/app/a b'q \" [x].txt", file(false)),
        ("/bin", KeptKind::Symlink { target: b"usr/bin".into() }),
        ("/lib", KeptKind::Symlink { target: b"usr/lib".into() }),
        ("/usr/bin/node", file(true)),
        ("/usr/bin/sh", file(true)),
        ("/usr/bin/asked-for", KeptKind::File { elf: false, run: true, privileged: false }),
        ("/usr/lib/libc.so.6", file(true)),
    ];
    inputs.paths = kept.into_iter().map(|(path, kind)| (path.into(), kind)).collect();
    for number in 0..9 {
        inputs.paths.insert(format!("/usr/share/zoneinfo/{number}").as_str().into(), file(false));
    }
    (trace, inputs)
}
