//! Podman through its Docker-compatible API: a service of the test's own, with its own storage.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's failure is a panic; one that is skipped says why"
)]

mod common;

use common::{Context, run};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Podman asks for more open files than a machine without CAP_SYS_RESOURCE may give; crun, which it takes where it is
/// installed, refuses control groups of both versions together.
const CONFIGURATION: &str = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
    [engine]\nruntime = \"runc\"\n";
/// A service that has nothing to set up is there in part of a second.
const COMES_UP_WITHIN: Duration = Duration::from_secs(60);

/// A running `podman system service`.
struct Podman {
    folder: PathBuf,
    service: Option<Child>,
}

impl Podman {
    /// `None` where there is no Podman here; says so.
    fn start(folder: &Path) -> Option<Self> {
        let is_here = Command::new("podman").arg("--version").output().is_ok_and(|run| run.status.success());
        if !is_here || !nix::unistd::geteuid().is_root() {
            println!("skipped: needs root and podman");
            return None;
        }
        fs::write(folder.join("containers.conf"), CONFIGURATION).unwrap();
        let mut podman = Self { folder: folder.to_owned(), service: None };
        let socket = podman.socket();
        podman.service = Some(
            podman
                .command(&["system", "service", "--time", "0", &socket])
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        let began = Instant::now();
        while !folder.join("podman.sock").exists() {
            assert!(began.elapsed() < COMES_UP_WITHIN, "podman's service does not come up");
            std::thread::sleep(Duration::from_millis(20));
        }
        Some(podman)
    }

    fn socket(&self) -> String {
        format!("unix://{}/podman.sock", self.folder.display())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command
            .env("CONTAINERS_CONF", self.folder.join("containers.conf"))
            .args(["--root".as_ref(), self.folder.join("root").as_os_str()])
            .args(["--runroot".as_ref(), self.folder.join("run").as_os_str()])
            .args(["--cgroup-manager", "cgroupfs"])
            .args(arguments);
        command
    }

    fn run(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).stdin(Stdio::null()).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if let Some(mut service) = self.service.take() {
            drop(service.kill());
            drop(service.wait());
        }
        // Podman mounts its storage on itself.
        drop(Command::new("umount").args(["-R", "-l"]).arg(self.folder.join("root/overlay")).output());
    }
}

#[test]
fn podman_that_does_not_answer_is_named_with_what_to_do() {
    let context = Context::new();
    let nowhere = format!("unix://{}", context.path("none.sock").display());
    let refused =
        context.slim(&["build", "--engine", "podman", "app"]).env("CONTAINER_HOST", nowhere).output();
    let refused = common::Finished::of(refused.unwrap());
    refused.expect(3);
    assert!(refused.stderr.contains("podman system service"), "{}", refused.stderr);
}

#[test]
fn an_image_of_podmans_is_slimmed_verified_under_its_profile_and_named() {
    let context = Context::new();
    let Some(podman) = Podman::start(context.folder.path()) else { return };
    let page = ("/www/index.html", 0o644, "<html>hello</html>");
    let tar = context.busybox_archive("podman", &[page, ("/usr/share/unused", 0o644, "x")]);
    let changes = ["--change", common::SERVE, "--change", "EXPOSE 8000"];
    let import =
        [&["import"][..], &changes, &[tar.to_str().unwrap(), "localhost/slimtest-imported"]].concat();
    podman.run(&import);
    // What Podman's Docker-compatible API leaves out: neither is in an image of OCI's format.
    let recipe = "FROM localhost/slimtest-imported\n\
        HEALTHCHECK --interval=1h CMD [\"/bin/cat\",\"/www/index.html\"]\n\
        SHELL [\"/bin/busybox\",\"sh\",\"-c\"]\n";
    let folder = context.path("recipe");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("Dockerfile"), recipe).unwrap();
    let folder = folder.display().to_string();
    podman.run(&["build", "--quiet", "--format", "docker", "--tag", "localhost/slimtest-podman", &folder]);

    let built = context
        .slim(&["build", "--engine", "podman", "slimtest-podman"])
        .env("CONTAINER_HOST", podman.socket())
        .output();
    let built = common::Finished::of(built.unwrap());
    built.expect(0);
    assert!(built.stdout.contains("verification: same answers to 1 request"), "{}", built.stdout);
    assert!(built.stderr.contains("podman"), "the engine is named: {}", built.stderr);
    let names = podman.run(&["images", "--format", "{{.Repository}}"]);
    assert!(names.lines().any(|name| name == "localhost/slimtest-podman.slim"), "{names}");
    assert_eq!(podman.run(&["ps", "--all", "--quiet"]), "", "no container is left");
    assert!(built.stdout.contains("same health"), "{}", built.stdout);
    let slim = podman.run(&[
        "image",
        "inspect",
        "--format",
        "{{json .HealthCheck}}",
        "localhost/slimtest-podman.slim",
    ]);
    assert!(slim.contains("/bin/cat"), "the slim image has its health check: {slim}");
    let images = fs::read_dir(context.path(".images")).unwrap().next().unwrap().unwrap().path();
    let keep = fs::read_to_string(images.join("artifacts/keep.json")).unwrap();
    let keep: serde_json::Value = serde_json::from_str(&keep).unwrap();
    let layers: Vec<&serde_json::Value> =
        keep["entries"].as_object().unwrap().values().map(|entry| &entry["layer"]).collect();
    assert!(layers.iter().any(|layer| layer.is_u64()), "layers are told: {layers:?}");

    let profile = fs::read_dir(context.path(".images")).unwrap().next().unwrap().unwrap().path();
    let profile = profile.join("artifacts/slimtest-podman-seccomp.json");
    let option = format!("seccomp={}", profile.display());
    let slim = "localhost/slimtest-podman.slim";
    podman.run(&["run", "--detach", "--name", "slim", "--security-opt", &option, slim]);
    let address = podman.run(&["inspect", "--format", "{{.NetworkSettings.IPAddress}}", "slim"]);
    let answer = run(
        "curl",
        &[
            "--silent",
            "--retry",
            "20",
            "--retry-connrefused",
            "--retry-delay",
            "1",
            &format!("http://{address}:8000/"),
        ],
    );
    podman.run(&["rm", "--force", "--time", "1", "slim"]);
    assert_eq!(answer, "<html>hello</html>");
}
