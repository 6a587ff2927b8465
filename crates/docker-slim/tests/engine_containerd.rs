//! Images in and out of containerd: a containerd of the test's own, with nothing of Docker around it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's failure is a panic; one that is skipped says why"
)]

#[path = "common/layouts.rs"]
mod layouts;

use std::fs;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const COMES_UP_WITHIN: Duration = Duration::from_secs(60);

/// Ends with the test.
struct Containerd {
    folder: TempDir,
    daemon: Child,
}

impl Containerd {
    /// `None` where there is none; says so.
    fn start() -> Option<Self> {
        let is_here = Command::new("ctr").arg("--version").stdout(Stdio::null()).status().is_ok();
        if !is_here || !nix::unistd::geteuid().is_root() {
            println!("skipped: containerd is not installed, or this is not root");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        let config = format!(
            "version = 2\nroot = {:?}\nstate = {:?}\ndisabled_plugins = [\"io.containerd.grpc.v1.cri\"]\n\
             [grpc]\naddress = {:?}\n",
            at("root"),
            at("state"),
            at("socket")
        );
        fs::write(folder.path().join("config.toml"), config).unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let daemon = Command::new("containerd")
            .args(["--config", &at("config.toml")])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let containerd = Self { folder, daemon };
        let began = Instant::now();
        while !containerd.run("ctr", &["version"]).status.success() {
            let log = fs::read_to_string(containerd.folder.path().join("log")).unwrap();
            assert!(began.elapsed() < COMES_UP_WITHIN, "containerd does not come up: {log}");
            std::thread::sleep(Duration::from_millis(50));
        }
        Some(containerd)
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Output {
        Command::new(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .env("HOME", self.folder.path())
            .env("CONTAINERD_ADDRESS", self.folder.path().join("socket"))
            .output()
            .unwrap()
    }

    fn slim(&self, arguments: &[&str]) -> String {
        let output = self.run(env!("CARGO_BIN_EXE_docker-slim"), arguments);
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{arguments:?}: {}\n{told}", output.status);
        String::from_utf8(output.stdout).unwrap()
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        drop(Command::new("kill").arg(self.daemon.id().to_string()).status());
        drop(self.daemon.wait());
    }
}

#[test]
fn an_image_for_several_platforms_goes_in_and_out_for_this_machine_or_as_a_whole() {
    let Some(containerd) = Containerd::start() else { return };
    layouts::for_two_platforms(&containerd.folder.path().join("many"));
    containerd.slim(&["copy", "oci:many:1", "containerd:registry.local/many:1"]);
    let digest = |text: &str| {
        let copied: serde_json::Value = serde_json::from_str(text).unwrap();
        copied["digest"].as_str().unwrap().to_owned()
    };
    let copy = |to: &str, more: &[&str]| {
        let words = ["copy", "containerd:registry.local/many:1", to, "--output-format=json"];
        digest(&containerd.slim(&[&words, more].concat()))
    };
    let one = copy("oci:one:1", &[]);
    let all = copy("oci:all:1", &["--all-platforms"]);
    assert_ne!(one, all);
    assert_eq!(all, digest(&containerd.slim(&["copy", "oci:many:1", "oci:again:1", "--output-format=json"])));
}
