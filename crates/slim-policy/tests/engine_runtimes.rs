//! One strict profile, and every runtime of this machine: a profile made on one host starts on another.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;

use common::{calls, process};
use slim_policy::{Format, Inputs, Mode, decide};
use slim_trace::{Phase, Trace};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

const UNIFIED: &str = "/sys/fs/cgroup/unified";

/// What busybox's `true` does by itself.
fn observed() -> Vec<String> {
    let output = Command::new("strace").args(["-qq", "/bin/busybox", "true"]).output().unwrap();
    let log = String::from_utf8(output.stderr).unwrap();
    log.lines().filter_map(|line| line.split_once('(')).map(|(name, _)| name.to_owned()).collect()
}

/// A profile of that and of `more`, in the form of OCI runtimes. No runtime was seen.
fn profile(mode: Mode, more: &[&str]) -> serde_json::Value {
    let mut trace = Trace::empty("sha256:0");
    trace.architecture = "amd64".to_owned();
    trace.processes = vec![process(Some("/bin/busybox"), Phase::Startup)];
    let made = observed();
    let made: Vec<&str> = made.iter().map(String::as_str).chain(more.iter().copied()).collect();
    trace.system_calls = vec![calls(0, Phase::Startup, &made, &[])];
    let policy = decide(&trace, &Inputs { mode, ..Inputs::new("app") });
    serde_json::from_slice(&policy.written(Format::Oci, "app")).unwrap()
}

/// A command in a mount namespace without the v2 tree where crun needs it so.
fn runtime(name: &str) -> Command {
    let hybrid = Path::new(UNIFIED).join("cgroup.procs").exists();
    if name != "crun" || !hybrid {
        return Command::new(name);
    }
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", &format!("umount {UNIFIED} && exec \"$@\""), "sh", name]);
    command
}

/// A bundle whose program is busybox's `true`.
fn bundle(user: u32, no_new_privileges: bool, seccomp: serde_json::Value) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for directory in ["bin", "proc", "sys", "dev", "srv"] {
        std::fs::create_dir_all(folder.path().join("rootfs").join(directory)).unwrap();
    }
    std::fs::copy("/bin/busybox", folder.path().join("rootfs/bin/busybox")).unwrap();
    let made = Command::new("runc").arg("spec").current_dir(folder.path()).status().unwrap();
    assert!(made.success());
    let file = folder.path().join("config.json");
    let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    config["process"]["terminal"] = false.into();
    config["process"]["args"] = serde_json::json!(["/bin/busybox", "true"]);
    config["process"]["user"] = serde_json::json!({ "uid": user, "gid": user });
    config["process"]["noNewPrivileges"] = no_new_privileges.into();
    config["process"].as_object_mut().unwrap().remove("rlimits");
    config["linux"]["seccomp"] = seccomp;
    std::fs::write(&file, config.to_string()).unwrap();
    folder
}

/// The runtime's exit code and what it said.
fn run(name: &str, folder: &Path) -> (Option<i32>, String) {
    let id = format!("slimtest-policy-{name}-{}", std::process::id());
    let output = runtime(name).args(["run", &id]).current_dir(folder).output().unwrap();
    let _ = runtime(name).args(["delete", "--force", &id]).output();
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// What decides whether calls that runtimes can do without are refused or answered as by an older kernel.
const MORE: [&[&str]; 4] = [&[], &["access"], &["faccessat"], &["access", "faccessat", "faccessat2"]];

#[test]
fn one_profile_starts_under_every_runtime_in_every_mode() {
    let root = std::fs::metadata("/proc/self").is_ok_and(|own| own.uid() == 0);
    let has = |tool: &str| Command::new(tool).arg("--version").output().is_ok();
    if !root || !Path::new("/bin/busybox").exists() || !has("strace") || !has("runc") {
        println!("skipped: needs root, runc, strace and a static /bin/busybox");
        return;
    }
    for name in ["runc", "crun"] {
        if !has(name) {
            println!("skipped in part: {name} is not installed");
            continue;
        }
        for (user, no_new_privileges) in [(0, false), (0, true), (1234, false), (1234, true)] {
            let bundle = bundle(user, no_new_privileges, profile(Mode::Strict, &[]));
            let (code, told) = run(name, bundle.path());
            assert_eq!(code, Some(0), "{name}, user {user}, {no_new_privileges}: {told}");
        }
        for mode in [Mode::Strict, Mode::Balanced, Mode::Broad] {
            for more in MORE {
                let (code, told) = run(name, bundle(1234, false, profile(mode, more)).path());
                assert_eq!(code, Some(0), "{name}, {mode:?}, {more:?}: {told}");
            }
        }
        // The filter is in place: without the exec's own permission nothing starts.
        let mut narrow = profile(Mode::Strict, &[]);
        for rule in narrow["syscalls"].as_array_mut().unwrap() {
            rule["names"].as_array_mut().unwrap().retain(|call| call != "execve");
        }
        narrow["syscalls"].as_array_mut().unwrap().retain(|rule| rule["names"] != serde_json::json!([]));
        let (code, _) = run(name, bundle(0, false, narrow).path());
        assert_ne!(code, Some(0), "{name} starts without execve");
    }
}
