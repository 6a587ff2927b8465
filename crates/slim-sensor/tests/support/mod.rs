//! A real Docker Engine, a real kernel: images made here, containers watched by the sensor.
#![allow(dead_code, reason = "each test binary uses its own part")]

use slim_sensor::{Observer, Sensor, Settings, Started};
use slim_trace::{Access, FileAccess, Phase, SystemCalls, Trace};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

pub const BUFFER_BYTES: u32 = 8 << 20;
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// Whether real containers can be watched here; says why not.
pub fn ready() -> bool {
    let is_root =
        std::fs::metadata("/proc/self").is_ok_and(|data| std::os::unix::fs::MetadataExt::uid(&data) == 0);
    if !is_root || !Path::new("/var/run/docker.sock").exists() {
        eprintln!("skipped: needs root and a Docker Engine at /var/run/docker.sock");
        return false;
    }
    if let Err(error) = slim_sensor::preflight() {
        eprintln!("skipped: failed to {error}");
        return false;
    }
    true
}

/// Runs a command that must succeed; its standard output without the last newline.
pub fn run(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}{}",
        String::from_utf8_lossy(&output.stderr),
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

pub fn docker(arguments: &[&str]) -> String {
    run("docker", arguments)
}

/// An image of a folder, removed at the end.
pub struct Image {
    pub name: String,
    pub folder: tempfile::TempDir,
}

impl Image {
    /// With `/bin/busybox`, `/bin/sh` and the folders of any image.
    pub fn new(test: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let image = Self { name: format!("slimtest-sensor-{test}-{}", std::process::id()), folder };
        for name in ["bin", "etc", "m", "tmp", "run", "proc", "dev", "sys"] {
            std::fs::create_dir(image.path(name)).unwrap();
        }
        std::fs::copy("/bin/busybox", image.path("bin/busybox")).unwrap();
        for link in ["sh", "sleep", "cat", "ls", "stat"] {
            std::os::unix::fs::symlink("busybox", image.path("bin").join(link)).unwrap();
        }
        image
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub fn file(&self, path: &str, content: &str) -> &Self {
        std::fs::write(self.path(path), content).unwrap();
        self
    }

    pub fn executable(&self, path: &str, content: &str) -> &Self {
        use std::os::unix::fs::PermissionsExt;
        self.file(path, content);
        std::fs::set_permissions(self.path(path), std::fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    /// Compiles a fixture into the image as a static program; `false` where the compiler cannot.
    pub fn compiled(&self, path: &str, fixture: &str, flags: &[&str]) -> bool {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(fixture);
        let output = Command::new("cc")
            .args(["-static", "-no-pie", "-O1", "-Wall", "-Werror", "-pthread"])
            .args(flags)
            .arg(&source)
            .arg("-o")
            .arg(self.path(path))
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success() || !flags.is_empty(), "cc {fixture}: {text}");
        output.status.success()
    }

    /// Hands it to the engine, with Dockerfile instructions.
    pub fn import(&self, changes: &[&str]) -> &Self {
        let archive = tempfile::NamedTempFile::new().unwrap();
        let archive = archive.path().to_str().unwrap();
        run("tar", &["-C", self.folder.path().to_str().unwrap(), "-cf", archive, "."]);
        let mut arguments = vec!["import"];
        for change in changes {
            arguments.extend(["--change", change]);
        }
        arguments.extend([archive, &self.name]);
        docker(&arguments);
        self
    }

    /// Creates a container, with options for `docker create` before the image and a command behind it.
    pub fn create(&self, options: &[&str], command: &[&str]) -> Container {
        let mut arguments = vec!["create"];
        arguments.extend(options);
        arguments.push(&self.name);
        arguments.extend(command);
        Container { id: docker(&arguments) }
    }

    /// Watches one run from beginning to end.
    pub fn watch(&self, options: &[&str], command: &[&str]) -> Trace {
        let container = self.create(options, command);
        let observer = container.start();
        container.wait();
        observer.finish().unwrap()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rmi", "-f", &self.name]).output();
    }
}

/// A container, removed at the end.
pub struct Container {
    pub id: String,
}

impl Container {
    pub fn arm(&self, buffer_bytes: u32, volumes: &[&str]) -> Box<dyn Observer> {
        let settings = Settings {
            image: "sha256:0".to_owned(),
            image_volumes: volumes.iter().map(|path| (*path).into()).collect(),
            buffer_bytes,
        };
        Sensor::arm(&self.id, settings).unwrap()
    }

    /// Arms, starts, and waits for the first program.
    pub fn start(&self) -> Box<dyn Observer> {
        self.start_with_volumes(&[])
    }

    pub fn start_with_volumes(&self, volumes: &[&str]) -> Box<dyn Observer> {
        let mut observer = self.arm(BUFFER_BYTES, volumes);
        docker(&["start", &self.id]);
        let Started { pid } = observer.wait_started(START_TIMEOUT).unwrap();
        assert!(pid > 1);
        observer
    }

    /// Waits for its end; its exit code.
    pub fn wait(&self) -> String {
        docker(&["wait", &self.id])
    }

    pub fn logs(&self) -> String {
        docker(&["logs", &self.id])
    }

    pub fn exec(&self, command: &[&str]) -> String {
        docker(&[&["exec", &self.id], command].concat())
    }

    pub fn stop(&self) {
        docker(&["kill", &self.id]);
        self.wait();
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-fv", &self.id]).output();
    }
}

/// Everything that any process did with a path.
pub fn accesses(trace: &Trace, path: impl AsRef<[u8]>) -> BTreeSet<Access> {
    of_path(trace, path.as_ref()).flat_map(|file| file.access.iter().copied()).collect()
}

pub fn of_path<'a>(trace: &'a Trace, path: &'a [u8]) -> impl Iterator<Item = &'a FileAccess> {
    trace.files.iter().filter(move |file| file.path.as_bytes() == path)
}

pub fn has(trace: &Trace, path: &str, access: Access) -> bool {
    accesses(trace, path).contains(&access)
}

/// The calls of the container's own programs.
pub fn calls(trace: &Trace) -> BTreeSet<String> {
    programs_calls(trace).flat_map(|calls| calls.calls.iter().cloned()).collect()
}

pub fn programs_calls(trace: &Trace) -> impl Iterator<Item = &SystemCalls> {
    trace.system_calls.iter().filter(|calls| !matches!(calls.phase, Phase::Runtime | Phase::RuntimeFiltered))
}

/// The calls in one phase.
pub fn calls_in(trace: &Trace, phase: Phase) -> BTreeSet<String> {
    trace
        .system_calls
        .iter()
        .filter(|calls| calls.phase == phase)
        .flat_map(|calls| calls.calls.iter().cloned())
        .collect()
}

/// All paths, as text.
pub fn paths(trace: &Trace) -> BTreeSet<String> {
    trace.files.iter().map(|file| file.path.to_string()).collect()
}
