//! A later Docker whose images lie in containerd's store: an image's id is its manifest's digest there, not its
//! configuration's, and its layers are no directories that Docker tells of. The API is a later one, too.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's failure is a panic; one that is skipped says why"
)]

mod common;

use common::second_engine::{Programs, SecondEngine};
use common::{Context, SERVE, repository};
use std::path::Path;
use std::process::Command;

/// Where the later programs are kept between runs. The folder must not move.
const LATER: &str = "/var/lib/docker-slim-dev/sid";

/// A Docker of a later suite with containerd's store; `None` where it cannot be had, and says so.
fn later_engine() -> Option<SecondEngine> {
    if !Path::new(LATER).join("packages.txt").exists() {
        let packages = ["sid", LATER, "docker.io", "docker-cli", "containerd", "runc"];
        let fetched = Command::new("timeout")
            .arg("300")
            .arg(repository().join("scripts/later-packages"))
            .args(packages)
            .output()
            .unwrap();
        if !fetched.status.success() {
            println!("skipped: no later Docker: {}", String::from_utf8_lossy(&fetched.stderr).trim());
            return None;
        }
    }
    // What later runtimes call is for slim-policy's tables and their tests: here it is this machine's own.
    let runtime = String::from_utf8(Command::new("which").arg("runc").output().unwrap().stdout).unwrap();
    let settings = serde_json::json!({
        "features": {"containerd-snapshotter": true},
        "runtimes": {"machine": {"path": runtime.trim()}}, "default-runtime": "machine",
        "ip6tables": false,
    });
    let engine = SecondEngine::of(Programs { root: Some(LATER.into()), settings: Some(settings) })?;
    let driver = engine.docker(&["info", "--format", "{{.Driver}} {{.DriverStatus}}"]);
    assert!(driver.contains("io.containerd.snapshotter.v1"), "{driver}");
    Some(engine)
}

#[test]
fn images_in_containerds_store_are_built_verified_and_carried_as_all_others() {
    let Some(engine) = later_engine() else { return };
    let context = Context::new();
    let files = [("/www/index.html", 0o644, "hello\n"), ("/usr/share/unused", 0o644, "never asked for\n")];
    let base = context.busybox_archive("store", &files);
    engine.docker(&["import", "--change", SERVE, "--change", "EXPOSE 8000", base.to_str().unwrap(), "fat:1"]);
    let socket = engine.socket();
    let slim = |arguments: &[&str]| context.run_slim(&[&["--host", &socket], arguments].concat());
    let before = engine.holdings();

    slim(&["build", "--http-probe", "--tag=flat:1", "fat:1"]).expect(0);
    let report: serde_json::Value =
        serde_json::from_slice(&std::fs::read(context.path("slim.report.json")).unwrap()).unwrap();
    let id = engine.docker(&["image", "inspect", "--format", "{{.Id}}", "flat:1"]);
    assert!(report.to_string().contains(&id), "the report has another id than {id}");
    slim(&["build", "--http-probe", "--layers=preserve", "--tag=kept:1", "fat:1"]).expect(0);
    slim(&["harden", "--http-probe", "fat:1"]).expect(0);

    // Out and in again, and built from there: the engine does not hold it, or by another digest.
    slim(&["copy", "docker-daemon:fat:1", "oci:layout:1"]).expect(0);
    slim(&["copy", "oci:layout:1", "docker-daemon:back:1"]).expect(0);
    slim(&["build", "--http-probe", "--tag=files:1", "oci:layout:1"]).expect(0);
    slim(&["build", "--http-probe", "--tag=again:1", "back:1"]).expect(0);

    let look = "for file in /www/index.html /usr/share/unused; do test -e $file && echo $file; done; true";
    let shown = |image: &str| engine.docker(&["run", "--rm", image, "/bin/sh", "-c", look]);
    assert_eq!(shown("back:1"), "/www/index.html\n/usr/share/unused");
    for image in ["flat:1", "kept:1", "files:1", "again:1"] {
        assert_eq!(shown(image), "/www/index.html", "{image}");
    }
    for image in ["flat:1", "kept:1", "back:1", "files:1", "again:1"] {
        engine.docker(&["rmi", image]);
    }
    assert_eq!(engine.holdings(), before);
}
