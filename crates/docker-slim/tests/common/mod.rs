//! What the end-to-end tests share: the program, small images made on the spot, and what the engine holds.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's failure is a panic, and it says why it is skipped"
)]

pub mod embedded;
pub mod second_engine;
pub mod served;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The repository.
pub fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// Whether the real engine can be used; says why not.
pub fn engine_is_here() -> bool {
    let root = fs::metadata("/proc/self").is_ok_and(|data| std::os::unix::fs::MetadataExt::uid(&data) == 0);
    if !root {
        println!("skipped: watching containers needs root");
        return false;
    }
    let answers = Command::new("docker").arg("version").output().is_ok_and(|output| output.status.success());
    if !answers {
        println!("skipped: no Docker Engine answers (scripts/start-docker)");
    }
    answers
}

/// Runs a command that must succeed and gives its standard output, trimmed.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).current_dir(repository()).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?} failed: {}\n{}",
        output.status,
        String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat())
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// `docker` with these arguments.
pub fn docker(arguments: &[&str]) -> String {
    run("docker", arguments)
}

/// A web server of /www on port 8000 that ends when it is told to. (As process 1 busybox httpd itself would ignore TERM
/// and take the whole grace period to stop.)
pub const SERVE: &str = r#"CMD ["/bin/sh","-c","trap 'exit 0' TERM; httpd -f -p 8000 -h /www & wait"]"#;

/// One test's own working directory (state path and report land there) and the images it made.
pub struct Context {
    pub folder: TempDir,
    images: Vec<String>,
}

impl Context {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), images: Vec::new() }
    }

    /// A path in the test's folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Makes a root file system of a busybox and these files (path, mode, contents); the archive of it.
    pub fn busybox_archive(&self, name: &str, files: &[(&str, u32, &str)]) -> PathBuf {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let root = self.path(&format!("root-{name}"));
        for folder in ["bin", "etc", "tmp"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
        fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
        for applet in ["sh", "cat", "sleep", "httpd", "nc", "ls", "find", "echo", "chown", "touch", "mkdir"] {
            symlink("busybox", root.join("bin").join(applet)).unwrap();
        }
        fs::write(root.join("etc/passwd"), "root:x:0:0::/:/bin/sh\n").unwrap();
        for (path, mode, contents) in files {
            let path = root.join(path.trim_start_matches('/'));
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, contents).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        let tar = self.path(&format!("{name}.tar"));
        run(
            "tar",
            &[
                "-C",
                root.to_str().unwrap(),
                "--numeric-owner",
                "--owner=0",
                "--group=0",
                "-cf",
                tar.to_str().unwrap(),
                ".",
            ],
        );
        tar
    }

    /// Makes an image of a busybox and these files (path, mode, contents), with Dockerfile instructions.
    pub fn busybox_image(&mut self, name: &str, files: &[(&str, u32, &str)], changes: &[&str]) -> String {
        let tar = self.busybox_archive(name, files);
        let image = format!("slimtest-{name}");
        let mut arguments = vec!["import"];
        for change in changes {
            arguments.extend(["--change", change]);
        }
        arguments.extend([tar.to_str().unwrap(), &image]);
        docker(&arguments);
        self.images.push(image.clone());
        self.images.push(format!("{image}.slim"));
        image
    }

    /// The image is removed with the context.
    pub fn remove_later(&mut self, image: &str) {
        self.images.push(image.to_owned());
    }

    /// The program, to be run in the test's folder.
    pub fn slim(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docker-slim"));
        command.args(arguments).current_dir(self.folder.path()).stdin(Stdio::null());
        command
    }

    /// Runs the program to its end.
    pub fn run_slim(&self, arguments: &[&str]) -> Finished {
        Finished::of(self.slim(arguments).output().unwrap())
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        for image in &self.images {
            let removed = Command::new("docker").args(["rmi", "-f", image]).output().unwrap();
            let reason = String::from_utf8_lossy(&removed.stderr);
            if !removed.status.success() && !reason.contains("No such image") {
                println!("{image} could not be removed: {reason}");
            }
        }
    }
}

/// A run of the program that has ended.
#[derive(Debug)]
pub struct Finished {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    pub fn of(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Fails the test unless the exit code is this one.
    #[track_caller]
    pub fn expect(&self, code: i32) -> &Self {
        assert_eq!(self.code, Some(code), "stdout:\n{}\nstderr:\n{}", self.stdout, self.stderr);
        self
    }
}

/// What an engine makes for itself when it first runs a container with the host's network, and keeps.
const OF_THE_ENGINE_ITSELF: &str = "/run/docker/netns/default";
/// An engine lets go of a removed container's mounts and control groups a little later than it says so.
const LETS_GO_WITHIN: Duration = Duration::from_secs(30);

/// Everything in the engine and the kernel that a run could leave behind.
#[derive(Debug, PartialEq, Eq)]
pub struct Holdings {
    containers: BTreeSet<String>,
    images: BTreeSet<String>,
    volumes: BTreeSet<String>,
    networks: BTreeSet<String>,
    mounts: BTreeSet<String>,
    control_groups: BTreeSet<String>,
}

impl Holdings {
    pub fn now() -> Self {
        let lines = |arguments: &[&str]| docker(arguments).lines().map(str::to_owned).collect();
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
        // The engine's and ours; what else this machine mounts meanwhile is not our business.
        let root = docker(&["info", "--format", "{{.DockerRootDir}}"]);
        let places =
            [format!("{root}/"), "/run/docker/".to_owned(), std::env::temp_dir().display().to_string()];
        Self {
            containers: lines(&["ps", "-aq", "--no-trunc"]),
            images: lines(&["images", "-aq", "--no-trunc"]),
            volumes: lines(&["volume", "ls", "-q"]),
            networks: lines(&["network", "ls", "-q"]),
            mounts: mounts
                .lines()
                .filter_map(|line| line.split(' ').nth(4))
                .filter(|place| {
                    *place != OF_THE_ENGINE_ITSELF && places.iter().any(|of| place.starts_with(of))
                })
                .map(str::to_owned)
                .collect(),
            control_groups: control_groups(),
        }
    }

    /// Fails the test unless everything is as it was.
    #[track_caller]
    pub fn expect_again(&self, when: &str) {
        let began = Instant::now();
        let mut differences = self.differences(&Self::now());
        while !differences.is_empty() && began.elapsed() < LETS_GO_WITHIN {
            std::thread::sleep(Duration::from_millis(50));
            differences = self.differences(&Self::now());
        }
        assert!(differences.is_empty(), "{when}: {}", differences.join("; "));
    }

    /// What is held now and was not, and the other way round, a phrase each. Mounts and control groups that are gone were
    /// those of a container that had just been removed.
    fn differences(&self, now: &Self) -> Vec<String> {
        let kinds = [
            ("container", &self.containers, &now.containers),
            ("image", &self.images, &now.images),
            ("volume", &self.volumes, &now.volumes),
            ("network", &self.networks, &now.networks),
            ("mount", &self.mounts, &now.mounts),
            ("control group", &self.control_groups, &now.control_groups),
        ];
        let mut found = Vec::new();
        for (kind, before, after) in kinds {
            found.extend(after.difference(before).map(|one| format!("{kind} {one} was left behind")));
            if !matches!(kind, "mount" | "control group") {
                found.extend(before.difference(after).map(|one| format!("{kind} {one} is gone")));
            }
        }
        found
    }
}

/// The groups of processes in those in which engines put one for each container. One without a process is what a
/// runtime could not remove: it runs nothing, and no program outside of the engine made it.
fn control_groups() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for hierarchy in fs::read_dir("/sys/fs/cgroup").unwrap().flatten() {
        for folder in [hierarchy.path().join("docker"), hierarchy.path().join("system.slice")] {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let processes = fs::read_to_string(entry.path().join("cgroup.procs")).unwrap_or_default();
                if !processes.is_empty() {
                    found.insert(entry.path().display().to_string());
                }
            }
        }
    }
    found
}

/// Sends a signal to a running program.
pub fn signal(child: &Child, name: &str) {
    run("kill", &["-s", name, &child.id().to_string()]);
}

/// The id of the image that a name stands for; `None` where there is none.
pub fn image_id(name: &str) -> Option<String> {
    let output = Command::new("docker").args(["image", "inspect", "-f", "{{.Id}}", name]).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

/// Every path in an image, without a leading slash, as `docker export` shows it (the engine's own files among them).
pub fn files_of(image: &str) -> BTreeSet<String> {
    let container = docker(&["create", image, "/none"]);
    let listing = run("bash", &["-c", &format!("docker export {container} | tar t")]);
    docker(&["rm", "-v", &container]);
    listing.lines().map(|line| line.trim_end_matches('/').to_owned()).collect()
}
