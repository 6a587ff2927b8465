//! A dockerd of a test's own, beside the one that the other tests use.

use super::{engine_is_here, run};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

const COMES_UP_WITHIN: Duration = Duration::from_secs(60);
const SOON: Duration = Duration::from_secs(60);

/// A dockerd of our own: on TCP, and on a socket that everybody may talk to.
pub struct SecondEngine {
    pub folder: TempDir,
    pub address: String,
    pub bridge: String,
    daemon: Option<Child>,
    programs: Programs,
}

/// Which dockerd it is.
#[derive(Default)]
pub struct Programs {
    /// The root file system that its programs are in; this machine's own where there is none.
    pub root: Option<PathBuf>,
    /// Its `daemon.json`.
    pub settings: Option<serde_json::Value>,
}

impl Programs {
    /// A program of the root file system.
    fn command(&self, name: &str) -> Command {
        let Some(root) = &self.root else { return Command::new(name) };
        let folders = ["usr/bin", "usr/sbin"].map(|folder| root.join(folder));
        let program = folders.iter().map(|folder| folder.join(name)).find(|program| program.exists());
        let mut command = Command::new(program.unwrap());
        let path = std::env::var_os("PATH").unwrap_or_default();
        let all = folders.into_iter().chain(std::env::split_paths(&path));
        command.env("PATH", std::env::join_paths(all).unwrap());
        command
    }
}

impl SecondEngine {
    /// `None` where it cannot be had; says so.
    pub fn start() -> Option<Self> {
        Self::of(Programs::default())
    }

    /// `None` where it cannot be had; says so.
    pub fn of(programs: Programs) -> Option<Self> {
        if !engine_is_here() {
            return None;
        }
        // A free port stays free long enough.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let bridge = format!("slim{port}");
        run("ip", &["link", "add", &bridge, "type", "bridge"]);
        // Not in the usual folder for such things: mounts there are what other tests take for leftovers.
        let mut engine = Self {
            folder: tempfile::Builder::new().prefix("dockerd-").tempdir_in("/var/tmp").unwrap(),
            address: format!("tcp://127.0.0.1:{port}"),
            bridge: bridge.clone(),
            daemon: None,
            programs,
        };
        // A network of its own for each, so that two tests' do not meet.
        let network = format!("10.{}.{}.1/24", 200 + port % 50, port / 256);
        run("ip", &["addr", "add", &network, "dev", &bridge]);
        run("ip", &["link", "set", &bridge, "up"]);
        fs::set_permissions(engine.folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let settings = engine.programs.settings.clone().unwrap_or_else(|| serde_json::json!({}));
        fs::write(engine.path("daemon.json"), settings.to_string()).unwrap();
        engine.come_up();
        fs::set_permissions(engine.path("socket"), fs::Permissions::from_mode(0o666)).unwrap();
        Some(engine)
    }

    /// As a service manager does: a dockerd that gives up is started again.
    pub fn come_up(&mut self) {
        let began = Instant::now();
        while !self.answers() {
            let log = fs::read_to_string(self.path("log")).unwrap_or_default();
            let last: Vec<&str> = log.lines().rev().take(20).collect();
            assert!(began.elapsed() < COMES_UP_WITHIN, "dockerd does not come up; the last first: {last:#?}");
            if self.daemon.as_mut().is_none_or(|daemon| daemon.try_wait().unwrap().is_some()) {
                self.daemon = Some(self.spawn());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Kills dockerd, and its containerd dies of that. A dockerd that finds it half dead, or dead but nobody's child any more,
    /// takes it for a living one and waits in vain for an answer: it is waited for, and forgotten.
    pub fn kill(&mut self) {
        let file = self.path("exec/containerd/containerd.pid");
        let status = format!("/proc/{}/status", fs::read_to_string(&file).unwrap().trim());
        let mut daemon = self.daemon.take().unwrap();
        daemon.kill().unwrap();
        daemon.wait().unwrap();
        let began = Instant::now();
        while fs::read_to_string(&status).is_ok_and(|status| !status.contains("State:\tZ")) {
            assert!(began.elapsed() < SOON, "dockerd's containerd lives on");
            std::thread::sleep(Duration::from_millis(50));
        }
        fs::remove_file(file).unwrap();
    }

    fn spawn(&self) -> Child {
        let log = fs::File::create(self.path("log")).unwrap();
        let flag = |name: &str, file: &str| [name.to_owned(), self.path(file).display().to_string()];
        self.programs
            .command("dockerd")
            .args(flag("--config-file", "daemon.json"))
            .args(flag("--data-root", "root"))
            .args(flag("--exec-root", "exec"))
            .args(flag("--pidfile", "pid"))
            .args(["--host", &self.address, "--host", &self.socket(), "--tls=false"])
            .args(["--bridge", &self.bridge, "--iptables=false", "--ip-masq=false"])
            .args(["--cgroup-parent", &format!("/{}", self.bridge)])
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn socket(&self) -> String {
        format!("unix://{}", self.path("socket").display())
    }

    pub fn answers(&self) -> bool {
        let asked = self.client().arg("version").output().unwrap();
        asked.status.success() && self.path("socket").exists()
    }

    fn client(&self) -> Command {
        let mut command = self.programs.command("docker");
        command.args(["--host", &self.address]);
        command
    }

    /// `docker` there with these arguments.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let output = self.client().args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "docker {arguments:?} failed: {}\n{said}", output.status);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    pub fn lines(&self, arguments: &[&str]) -> BTreeSet<String> {
        self.docker(arguments).lines().map(str::to_owned).collect()
    }

    /// Brings an image of the first engine here.
    pub fn load(&self, image: &str) {
        let copy = format!("docker save {image} | docker --host {} load", self.address);
        run("bash", &["-o", "pipefail", "-c", &copy]);
    }

    /// What it holds, images by their names; sidecars' apart, since they stay.
    pub fn holdings(&self) -> BTreeMap<&'static str, BTreeSet<String>> {
        let mut images = self.lines(&["images", "--all", "--format", "{{.Repository}}"]);
        images.remove("docker-slim.sidecar");
        BTreeMap::from([
            ("containers", self.lines(&["ps", "--all", "--quiet"])),
            ("images", images),
            ("volumes", self.lines(&["volume", "ls", "--quiet"])),
            ("networks", self.lines(&["network", "ls", "--format", "{{.Name}}"])),
        ])
    }

    pub fn holds_sidecar_image(&self) -> bool {
        !self.docker(&["images", "--quiet", "docker-slim.sidecar"]).is_empty()
    }

    /// The one container that there is of a kind, once there is one.
    pub fn container(&self, filter: &str) -> String {
        let began = Instant::now();
        loop {
            let found = self.docker(&["ps", "--quiet", "--filter", filter]);
            if !found.is_empty() {
                return found;
            }
            assert!(began.elapsed() < SOON, "no container with {filter}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for SecondEngine {
    fn drop(&mut self) {
        let ids = self.client().args(["ps", "--all", "--quiet"]).output();
        let ids = ids.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        for id in ids.lines() {
            drop(self.client().args(["rm", "--force", "--volumes", id]).output());
        }
        if let Some(mut daemon) = self.daemon.take() {
            drop(Command::new("kill").arg(daemon.id().to_string()).output());
            let began = Instant::now();
            while began.elapsed() < SOON && matches!(daemon.try_wait(), Ok(None)) {
                std::thread::sleep(Duration::from_millis(50));
            }
            drop(daemon.kill());
            drop(daemon.wait());
        }
        // A dockerd that did not come back holds no containers to remove: their keepers are left.
        let pattern = format!("^/[^ ]*/containerd-shim.* -address {}/", self.folder.path().display());
        drop(Command::new("pkill").args(["-KILL", "--full", &pattern]).output());
        drop(Command::new("ip").args(["link", "del", &self.bridge]).output());
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let below = self.folder.path().display().to_string();
        for place in mounts.lines().rev().filter_map(|line| line.split(' ').nth(4)) {
            if place.starts_with(&below) {
                drop(Command::new("umount").args(["-l", place]).output());
            }
        }
        for hierarchy in fs::read_dir("/sys/fs/cgroup").into_iter().flatten().flatten() {
            // An empty group; one that is not there is none.
            drop(fs::remove_dir(hierarchy.path().join(&self.bridge)));
        }
    }
}
