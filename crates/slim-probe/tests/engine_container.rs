//! Real containers on the real Docker Engine. Needs root and its socket; says so otherwise.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests, which say why they are skipped"
)]

mod common;

use common::{lines, quick};
use slim_probe::{CancelFlag, Target, compare, replay};
use std::net::IpAddr;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const SOCKET: &str = "/var/run/docker.sock";
const BUSYBOX: &str = "/bin/busybox";
/// Tells the test binary, run again as another user, whom to probe: `PID ADDRESS`.
const INNER: &str = "SLIM_PROBE_TEST_INNER";

fn engine_is_here() -> bool {
    let here = Path::new(SOCKET).exists() && Path::new(BUSYBOX).exists() && nix::unistd::geteuid().is_root();
    if !here {
        println!("skipped: needs root, {SOCKET} and {BUSYBOX}");
    }
    here
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// An image, containers and a network that go with it.
struct Context {
    name: String,
    containers: Vec<String>,
    networks: Vec<String>,
}

impl Context {
    fn new(name: &str) -> Self {
        let name = format!("slimtest-probe-{name}-{}", std::process::id());
        let folder = tempfile::tempdir().unwrap();
        let path = |inner: &str| folder.path().join(inner);
        std::fs::create_dir_all(path("bin")).unwrap();
        std::fs::create_dir_all(path("www")).unwrap();
        std::fs::copy(BUSYBOX, path("bin/busybox")).unwrap();
        std::fs::write(path("www/index.html"), "<a href=/more.html>more</a>").unwrap();
        std::fs::write(path("www/more.html"), "more").unwrap();
        let mut tar = Command::new("tar")
            .args(["-C", folder.path().to_str().unwrap(), "-c", "."])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let import = Command::new("docker")
            .args(["import", "-", &name])
            .stdin(tar.stdout.take().unwrap())
            .stdout(Stdio::null())
            .status();
        assert!(tar.wait().unwrap().success() && import.unwrap().success());
        Self { name, containers: Vec::new(), networks: Vec::new() }
    }

    /// Starts busybox's web server, listening as told, and gives pid and address.
    fn start(&mut self, listen: &str, options: &[&str]) -> (i32, Option<IpAddr>) {
        let command = [self.name.as_str(), BUSYBOX, "httpd", "-f", "-p", listen, "-h", "/www"];
        let id = docker(&[&["run", "-d"], options, &command].concat());
        let format = "{{.State.Pid}} {{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
        let shown = docker(&["inspect", "-f", format, &id]);
        self.containers.push(id);
        let (pid, address) = shown.split_once(' ').unwrap_or((&shown, ""));
        (pid.parse().unwrap(), address.parse().ok())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let quietly = |arguments: &[&str]| drop(Command::new("docker").args(arguments).output());
        self.containers.iter().for_each(|id| quietly(&["rm", "-f", id]));
        self.networks.iter().for_each(|id| quietly(&["network", "rm", id]));
        quietly(&["rmi", "-f", &self.name]);
    }
}

fn target((pid, address): (i32, Option<IpAddr>), ports: &[u16]) -> Target {
    Target { pid: Some(pid), reach: None, address, ports: ports.to_vec() }
}

#[test]
fn a_program_bound_to_the_containers_loopback_is_probed_without_a_published_port() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new("loopback");
    let container = context.start("127.0.0.1:8000", &["--network", "none"]);
    let outcome = common::probe(&quick(), &target(container, &[]));
    assert_eq!(lines(&outcome), ["200 GET /", "200 GET /more.html"]);
    assert_eq!(outcome.fallback, None);
}

#[test]
fn on_a_users_network_dockers_resolver_is_left_alone() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new("resolver");
    let network = context.name.clone();
    docker(&["network", "create", &network]);
    context.networks.push(network.clone());
    let container = context.start("80", &["--network", &network]);
    let outcome = common::probe(&quick(), &target(container, &[]));
    assert_eq!(outcome.ports.len(), 1, "{}", outcome.ports_tried());
    assert_eq!(lines(&outcome), ["200 GET /", "200 GET /more.html"]);
}

#[test]
fn a_recording_of_one_container_is_replayed_on_another_and_compared() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new("replay");
    let fat = context.start("8000", &[]);
    let recording = common::probe(&quick(), &target(fat, &[8000])).recording;
    let other = context.start("8000", &[]);
    let again = |other| {
        replay(&recording, &quick(), &target(other, &[8000]), &mut |_| {}, &CancelFlag::default(), &|| true)
            .unwrap()
    };
    assert_eq!(compare(&recording, None, &again(other)), []);
    docker(&["exec", &context.containers[1], BUSYBOX, "rm", "/www/more.html"]);
    let told: Vec<String> =
        compare(&recording, None, &again(other)).iter().map(ToString::to_string).collect();
    assert_eq!(told, ["GET http://localhost:8000/more.html: status 404 instead of 200"]);
}

#[test]
fn without_the_right_to_enter_the_namespace_the_containers_address_is_dialled_and_the_outcome_says_why() {
    if let Ok(inner) = std::env::var(INNER) {
        return as_nobody(&inner);
    }
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new("fallback");
    let (pid, address) = context.start("8000", &[]);
    // Another user may run a copy of this very test, but not enter a namespace.
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let copy = folder.path().join("test");
    std::fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
    let name =
        "without_the_right_to_enter_the_namespace_the_containers_address_is_dialled_and_the_outcome_says_why";
    let output = Command::new(&copy)
        .args(["--exact", name, "--nocapture"])
        .env(INNER, format!("{pid} {}", address.unwrap()))
        .current_dir("/")
        .uid(65534)
        .gid(65534)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("probed as another user"), "{said}");
}

/// The same test, in the process of a user without rights.
fn as_nobody(inner: &str) {
    let (pid, address) = inner.split_once(' ').unwrap();
    let target =
        Target { pid: pid.parse().ok(), reach: None, address: address.parse().ok(), ports: Vec::new() };
    let settings = slim_probe::HttpSettings { listen_timeout: Duration::from_secs(5), ..quick() };
    let outcome = common::probe(&settings, &target);
    assert_eq!(lines(&outcome), ["200 GET /", "200 GET /more.html"]);
    let reason = outcome.fallback.unwrap();
    assert!(reason.starts_with(&format!("enter the network namespace of process {pid}: ")), "{reason}");
    println!("probed as another user");
}
