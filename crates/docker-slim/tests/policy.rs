//! `policy …`, `launch` and `push --attach-policy`: the program as a user has it, with no engine anywhere.
#![allow(clippy::unwrap_used, reason = "a failure is a panic")]

use serde_json::{Value, json};
use slim_image::manifest::{annotation, media};
use slim_image::{Layout, Platform};
use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_docker-slim");

fn slim(folder: &TempDir, arguments: &[&str]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).current_dir(folder.path()).env_clear().env("HOME", folder.path());
    command.env("PATH", "/usr/bin:/bin").output().unwrap()
}

#[track_caller]
fn ends(folder: &TempDir, code: i32, arguments: &[&str]) -> String {
    let output = slim(folder, arguments);
    let told = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {told}");
    told
}

fn profile(allowed: &[&str]) -> String {
    let rule = json!({ "names": allowed, "action": "SCMP_ACT_ALLOW", "comment": "made by /app" });
    json!({ "defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule] }).to_string()
}

fn folder_with(files: &[(&str, String)]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

#[test]
fn profiles_are_shown_compared_combined_and_checked() {
    let (a, b) = (profile(&["read", "write", "mkdir"]), profile(&["read", "open"]));
    let folder = folder_with(&[("a.json", a), ("b.json", b)]);
    let shown = ends(&folder, 0, &["policy", "show", "a.json"]);
    assert!(shown.contains("3 system calls allowed") && shown.contains("  mkdir  made by /app"), "{shown}");
    let differs = ends(&folder, 8, &["policy", "diff", "a.json", "b.json", "--exit-code"]);
    assert!(differs.starts_with("+ open  made by /app\n- mkdir  made by /app\n- write"), "{differs}");
    ends(&folder, 0, &["policy", "diff", "a.json", "a.json", "--exit-code"]);
    let told = ends(&folder, 0, &["policy", "merge", "a.json", "b.json", "-o", "union.json"]);
    assert_eq!(told, "2 profiles in union.json: 4 system calls allowed\n");
    let both: Value = serde_json::from_str(&ends(
        &folder,
        0,
        &["policy", "merge", "a.json", "b.json", "--rule=intersection"],
    ))
    .unwrap();
    assert_eq!(both["syscalls"][0]["names"], json!(["read"]));
    assert_eq!(
        ends(&folder, 0, &["policy", "check", "union.json", "a.json"]),
        "union.json allows what a.json needs\n"
    );
    let missing = ends(&folder, 7, &["policy", "check", "b.json", "a.json"]);
    assert!(
        missing.starts_with("mkdir  made by /app\nwrite") && missing.contains("does not allow 2"),
        "{missing}"
    );
    assert_eq!(
        ends(&folder, 0, &["policy", "show", "a.json", "--print=seccomp"]),
        profile(&["read", "write", "mkdir"])
    );
    let unit = ends(&folder, 0, &["policy", "show", "a.json", "--format=systemd"]);
    assert!(unit.contains("# made by /app\nSystemCallFilter=mkdir read write"), "{unit}");
    let oci: Value =
        serde_json::from_str(&ends(&folder, 0, &["policy", "show", "a.json", "--format=oci"])).unwrap();
    assert_eq!(oci["syscalls"][0]["names"], json!(["mkdir", "read", "write"]));
    let absent = ends(&folder, 4, &["policy", "show", "a.json", "--after-entrypoint"]);
    assert!(absent.contains("there is none"), "{absent}");
}

#[test]
fn what_is_no_policy_is_told_with_what_would_be() {
    let folder = folder_with(&[("text", "no profile".to_owned())]);
    assert!(
        ends(&folder, 2, &["policy", "show", "text"])
            .contains("neither a seccomp profile, a policy nor a trace")
    );
    assert!(ends(&folder, 2, &["policy", "show", "./none"]).contains("hint: a seccomp profile, a folder"));
    assert!(ends(&folder, 4, &["policy", "show", "."]).contains("has none"));
    let trace = String::from_utf8(slim_trace::Trace::empty("sha256:0").to_json()).unwrap();
    let folder = folder_with(&[("trace.json", trace), ("a.json", profile(&["read"]))]);
    assert!(ends(&folder, 2, &["policy", "show", "trace.json"]).contains("it is a trace"));
    ends(&folder, 0, &["policy", "check", "a.json", "trace.json"]);
}

#[cfg(target_arch = "x86_64")]
#[test]
fn a_compiled_profile_holds_under_launch() {
    let default = include_str!("../../slim-engine/src/embedded/seccomp_default.json");
    let mut strict: Value = serde_json::from_str(default).unwrap();
    for rule in strict["syscalls"].as_array_mut().unwrap() {
        if let Some(names) = rule["names"].as_array_mut() {
            names.retain(|name| name != "mkdir" && name != "mkdirat");
        }
    }
    let folder = folder_with(&[("strict.json", strict.to_string())]);
    let told = ends(&folder, 0, &["policy", "compile", "strict.json", "-o", "p"]);
    assert!(told.starts_with("p: ") && told.ends_with(" instructions\n"), "{told}");
    ends(&folder, 0, &["launch", "--policy", "p", "--", "sh", "-c", "touch f"]);
    let refused = ends(&folder, 1, &["launch", "--policy=p", "mkdir", "d"]);
    assert!(refused.contains("Operation not permitted") && !folder.path().join("d").exists(), "{refused}");
    assert!(ends(&folder, 0, &["launch", "--policy=p", "--check"]).contains("set by the launcher"));
    ends(&folder, 125, &["launch", "--policy=none", "true"]);
    ends(&folder, 127, &["launch", "--policy=p", "no-such-program"]);
    assert!(ends(&folder, 2, &["launch"]).contains("hint: "));
    ends(&folder, 0, &["launch", "--install", "launch"]);
    let own = Command::new(folder.path().join("launch")).arg("--version").output().unwrap();
    assert_eq!(String::from_utf8(own.stdout).unwrap(), "docker-slim launch, policy version 1\n");
}

struct Served {
    child: Child,
    address: String,
}

impl Served {
    fn start(folder: &TempDir) -> Self {
        let mut child = Command::new(PROGRAM)
            .args([
                "registry",
                "serve",
                "--root",
                "served",
                "--output-format=json",
                "--listen",
                "127.0.0.1:0",
            ])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut text = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        while lines.read_line(&mut text).unwrap() > 0 && !text.ends_with("}\n") {}
        let document: Value = serde_json::from_str(&text).unwrap();
        Self { child, address: document["address"].as_str().unwrap().to_owned() }
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A layout `a` with an image called `1`; gives the image's id.
fn layout(folder: &TempDir) -> slim_image::Digest {
    let layout = Layout::create(folder.path().join("a")).unwrap();
    let layer = layout.put_blob(media::LAYER, &[0; 1024]).unwrap();
    let platform = Platform::host();
    let config = json!({
        "os": platform.os, "architecture": platform.architecture, "config": {"Cmd": ["/x"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
    });
    let config = layout.put_blob(media::CONFIG, config.to_string().as_bytes()).unwrap();
    let manifest =
        json!({ "schemaVersion": 2, "mediaType": media::MANIFEST, "config": config, "layers": [layer] });
    let mut manifest = layout.put_blob(media::MANIFEST, manifest.to_string().as_bytes()).unwrap();
    manifest.annotations.insert(annotation::REF_NAME.to_owned(), "1".to_owned());
    layout.put(manifest).unwrap();
    config.digest
}

#[test]
fn a_policy_goes_with_its_image_into_a_registry_and_is_read_from_there() {
    let folder = tempfile::tempdir().unwrap();
    let id = layout(&folder);
    let served = Served::start(&folder);
    let image = format!("{}/team/a:1", served.address);
    let remote = format!("docker://{image}");
    let told = ends(&folder, 0, &["push", "oci:a:1", &image]);
    assert!(!told.contains("attached"), "nothing was built here: {told}");
    assert!(ends(&folder, 4, &["policy", "show", &remote]).contains("docker-slim push attaches it"));

    // What a build leaves: the newest build of this image is found by its id.
    let artifacts = folder.path().join(".images").join(id.hex()).join("artifacts");
    fs::create_dir_all(&artifacts).unwrap();
    let names = slim_keep::ImageNames { id, names: vec!["app".to_owned()] };
    let made = slim_keep::Made::of(names);
    let keep =
        slim_keep::KeepFile::new(&slim_keep::KeepSet::default(), &made, &slim_image::MemoryTree::new(), &());
    fs::write(artifacts.join("keep.json"), keep.to_json()).unwrap();
    fs::write(artifacts.join("app-seccomp.json"), profile(&["read"])).unwrap();
    fs::write(artifacts.join("app-apparmor-profile"), "profile app {}\n").unwrap();
    let told = ends(&folder, 0, &["push", "oci:a:1", &image]);
    assert!(told.contains("\n1 policy attached\n"), "{told}");
    let shown = ends(&folder, 0, &["policy", "show", &remote]);
    assert!(
        shown.contains("app-apparmor-profile, 15 bytes") && shown.contains("  read  made by /app"),
        "{shown}"
    );
    assert_eq!(ends(&folder, 0, &["policy", "show", &remote, "--print=apparmor"]), "profile app {}\n");
    let absent = ends(&folder, 4, &["policy", "show", &remote, "--print=launch"]);
    assert!(absent.contains("it has seccomp, apparmor"), "{absent}");
    ends(&folder, 0, &["policy", "diff", &remote, "app", "--exit-code"]);

    // A later one holds, also where its bytes sort before.
    fs::create_dir(folder.path().join("later")).unwrap();
    for number in 0..3 {
        let allowed = profile(&["read", ["write", "open", "close"][number]]);
        fs::write(folder.path().join("later/app-seccomp.json"), allowed).unwrap();
        ends(&folder, 0, &["push", "oci:a:1", &image, "--attach-policy=later"]);
        ends(&folder, 0, &["policy", "diff", &remote, "later", "--exit-code"]);
    }
    ends(&folder, 0, &["push", "oci:a:1", &image, "--attach-policy=off"]);
    ends(&folder, 0, &["policy", "diff", &remote, "later", "--exit-code"]);

    // It is read in every place where a policy is named.
    fs::write(folder.path().join("own.json"), profile(&["read", "mkdir"])).unwrap();
    let missing = ends(&folder, 7, &["policy", "check", &remote, "own.json"]);
    assert!(missing.starts_with("mkdir  made by /app\n"), "{missing}");
    let missing = ends(&folder, 7, &["policy", "check", "own.json", &remote]);
    assert!(missing.starts_with("close  made by /app\n"), "{missing}");
    ends(&folder, 0, &["policy", "merge", &remote, "own.json", "-o", "union.json"]);
    for part in [&*remote, "own.json"] {
        ends(&folder, 0, &["policy", "check", "union.json", part]);
    }
    let both = ends(&folder, 0, &["policy", "merge", "own.json", &remote, "--rule=intersection"]);
    let both: Value = serde_json::from_str(&both).unwrap();
    assert_eq!(both["syscalls"][0]["names"], json!(["read"]));
    let none = format!("docker://{}/team/none:1", served.address);
    ends(&folder, 4, &["policy", "check", &none, "own.json"]);
    assert!(
        ends(&folder, 2, &["push", "oci:a:1", &image, "--attach-policy=a"]).contains("no file there is one")
    );
}
