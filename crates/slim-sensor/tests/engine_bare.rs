//! A container made by hand, of a control group and a changed root: no engine is needed, so this also runs where there
//! is none, in a virtual machine with another kernel.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

use slim_sensor::{Sensor, Settings};
use slim_trace::{Access, ArgumentValues, MountKind, Phase, Trace};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

fn sh(script: &str) {
    let output = Command::new("/bin/sh").args(["-ec", script]).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&text));
}

/// Where the sensor looks for control groups: the memory controller of v1 where there is one, else the v2 tree.
fn hierarchy() -> PathBuf {
    let v1 = Path::new("/sys/fs/cgroup/memory");
    if v1.join("cgroup.procs").exists() { v1.to_owned() } else { "/sys/fs/cgroup".into() }
}

/// A root folder on a mount of its own, and a control group; both go at the end.
struct Bare {
    root: tempfile::TempDir,
    group: PathBuf,
    id: String,
}

impl Bare {
    fn new(name: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["bin", "m", "m/folder"] {
            fs::create_dir(root.path().join(folder)).unwrap();
        }
        fs::copy("/bin/busybox", root.path().join("bin/busybox")).unwrap();
        fs::write(root.path().join("m/marker"), "").unwrap();
        sh(&format!("mount --bind {0} {0}", root.path().display()));
        let id = format!("slimtest-sensor-{name}-{}", std::process::id());
        Self { root, group: hierarchy().join(format!("libpod-{id}.scope")), id }
    }

    /// Runs a command as a runtime does: makes the group, enters it, changes the root, runs the program.
    fn run(&self, command: &str) -> Trace {
        let settings =
            Settings { image: "sha256:0".to_owned(), image_volumes: vec![], buffer_bytes: 4 << 20 };
        let mut observer = Sensor::arm(&self.id, settings).unwrap();
        let (group, root) = (self.group.display(), self.root.path().display());
        let runtime = format!(
            "mkdir {group}; echo $$ > {group}/cgroup.procs; exec chroot {root} /bin/busybox {command}"
        );
        let child = std::thread::spawn(move || sh(&runtime));
        observer.wait_started(Duration::from_secs(60)).unwrap();
        child.join().unwrap();
        observer.finish().unwrap()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.group);
        let _ = Command::new("umount").arg(self.root.path()).status();
    }
}

#[test]
fn a_container_made_by_hand_is_seen_from_its_first_program_on() {
    if !Path::new("/bin/busybox").exists() || slim_sensor::preflight().is_err() {
        eprintln!("skipped: needs root and /bin/busybox");
        return;
    }
    let bare = Bare::new("bare");
    let trace =
        bare.run("sh -c '/bin/busybox ls /m/folder; cd /m; /bin/busybox cat ./marker ./nothing || true'");
    let accesses = |path: &str| -> BTreeSet<Access> {
        let of_path = trace.files.iter().filter(|file| file.path.as_bytes() == path.as_bytes());
        of_path.flat_map(|file| file.access.iter().copied()).collect()
    };
    // Without a mount namespace of its own paths are those of the machine, and so is what lies above them.
    let root = bare.root.path().display();
    let paths: Vec<String> = trace.files.iter().map(|file| file.path.to_string()).collect();
    assert!(accesses(&format!("{root}/m/./marker")).contains(&Access::Open), "{paths:?}");
    assert_eq!(accesses(&format!("{root}/m/./nothing")), [Access::Missing].into(), "{paths:?}");
    assert!(accesses(&format!("{root}/m/folder")).contains(&Access::List), "{paths:?}");
    assert!(paths.iter().any(|path| path.ends_with("/bin/busybox")), "{paths:?}");
    let runtime: Vec<_> = trace.system_calls.iter().filter(|calls| calls.phase == Phase::Runtime).collect();
    assert!(runtime.iter().any(|calls| calls.calls.contains("chroot")), "{runtime:?}");
    let programs = trace.system_calls.iter().filter(|calls| calls.phase == Phase::Startup);
    assert!(programs.clone().all(|calls| !calls.calls.contains("chroot")));
    assert!(programs.clone().any(|calls| calls.calls.contains("getdents64")));
    assert!(trace.mounts.iter().any(|mount| mount.kind == MountKind::Root));
    let arguments: Vec<String> = trace.processes.iter().map(|process| process.argv.join(" ")).collect();
    assert!(arguments.contains(&"/bin/busybox cat ./marker ./nothing".to_owned()), "{arguments:?}");
}

#[test]
fn arguments_that_matter_are_told_as_values() {
    if !Path::new("/bin/busybox").exists() || slim_sensor::preflight().is_err() {
        eprintln!("skipped: needs root and /bin/busybox");
        return;
    }
    let trace = Bare::new("arguments").run("sh -c '/bin/busybox nc 127.0.0.1 9 || exit 0'");
    let values = |call: &str| {
        let of_call = trace.arguments.iter().filter(|arguments| arguments.call == call);
        of_call.map(|arguments| arguments.values.clone()).collect::<Vec<_>>()
    };
    // AF_INET, SOCK_STREAM.
    let [ArgumentValues::Only(sockets)] = &values("socket")[..] else { panic!("{:?}", trace.arguments) };
    assert!(sockets.contains(&vec![2, 1]), "{sockets:?}");
    // A static program maps nothing executable.
    for call in ["mmap", "mprotect"] {
        for values in values(call) {
            assert_eq!(values, ArgumentValues::Only([vec![0]].into()), "{call}");
        }
    }
    assert!(trace.arguments.iter().all(|arguments| !slim_trace::argued(&arguments.call).is_empty()));
}
