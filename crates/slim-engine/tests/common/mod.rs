//! A real engine to test with, and images that hold one static program of ours. Everything made is removed on drop.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::print_stderr, reason = "says why a test is skipped")]

use slim_engine::{
    ContainerId, ContainerSpec, DockerEngine, Endpoint, Engine, Overrides, Run, host, remove_run,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;

pub const SOCKET: &str = "/var/run/docker.sock";

/// One test's engine, its images, and a folder.
pub struct Context {
    pub engine: DockerEngine,
    pub folder: TempDir,
    /// Unique on this machine.
    pub name: String,
    /// The run that this test's containers belong to.
    pub run: Run,
    images: Vec<String>,
}

impl Context {
    /// `None`, with a word why, where there is no Docker to test with.
    pub async fn new() -> Option<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let root = std::fs::metadata("/proc/self").ok().is_some_and(|own| {
            use std::os::unix::fs::MetadataExt;
            own.uid() == 0
        });
        if !root || !Path::new(SOCKET).exists() {
            eprintln!("skipped: needs root and Docker at {SOCKET}");
            return None;
        }
        let engine = DockerEngine::connect(&Endpoint::Unix(SOCKET.into())).await.expect("Docker answers");
        let id = format!("{}x{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let name = format!("slimtest-engine-{id}");
        let run = host::this_run(format!("slimtest{id}")).unwrap();
        Some(Self { engine, folder: TempDir::new().unwrap(), name, run, images: Vec::new() })
    }

    /// The static program on this machine.
    pub fn program(&self) -> PathBuf {
        let binary = self.folder.path().join("program");
        if !binary.exists() {
            let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/common/program.c");
            let status = Command::new("cc").args(["-static", "-O1", "-o"]).arg(&binary).arg(source).status();
            assert!(status.expect("cc is there").success());
        }
        binary
    }

    /// An image of the program alone, with these Dockerfile instructions.
    pub fn image(&mut self, instructions: &[&str]) -> String {
        let name = format!("{}-{}:test", self.name, self.images.len());
        let mut header = tar::Header::new_gnu();
        let contents = std::fs::read(self.program()).unwrap();
        header.set_size(contents.len() as u64);
        header.set_mode(0o755);
        let mut archive = tar::Builder::new(Vec::new());
        archive.append_data(&mut header, "program", contents.as_slice()).unwrap();
        // A layer of its own: the engine does not read one that it has already.
        let mut header = tar::Header::new_gnu();
        header.set_size(0);
        header.set_mode(0o644);
        archive.append_data(&mut header, &self.name, std::io::empty()).unwrap();
        let path = self.folder.path().join("image.tar");
        std::fs::write(&path, archive.into_inner().unwrap()).unwrap();
        let mut command = Command::new("docker");
        command.arg("import");
        let (built, imported): (Vec<&str>, Vec<&str>) =
            instructions.iter().partition(|instruction| instruction.starts_with("STOPSIGNAL"));
        for instruction in imported {
            command.args(["--change", instruction]);
        }
        let done = command.arg(&path).arg(&name).stdout(Stdio::null()).status().unwrap();
        assert!(done.success(), "docker import");
        self.images.push(name.clone());
        if built.is_empty() { name } else { self.build_on(&name, &built) }
    }

    /// What `docker import` cannot set.
    pub fn build_on(&mut self, base: &str, instructions: &[&str]) -> String {
        let name = format!("{base}-built");
        let folder = self.folder.path().join("build");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("Dockerfile"), format!("FROM {base}\n{}\n", instructions.join("\n")))
            .unwrap();
        let mut command = Command::new("docker");
        command.env("DOCKER_BUILDKIT", "0").args(["build", "-q", "-t", &name]).arg(&folder);
        let output = command.output().unwrap();
        assert!(output.status.success(), "docker build: {}", String::from_utf8_lossy(&output.stderr));
        self.images.insert(0, name.clone());
        name
    }

    /// An image with the program as its entrypoint.
    pub fn entrypoint_image(&mut self) -> String {
        self.image(&[r#"ENTRYPOINT ["/program"]"#])
    }

    /// A name whose image is removed on drop, too.
    pub fn hold(&mut self, name: &str) {
        self.images.push(name.to_owned());
    }

    /// A container of the image whose program gets these words; without a network, which most tests need not.
    pub fn spec(&self, image: &str, words: &[&str]) -> ContainerSpec {
        let overrides = Overrides {
            cmd: Some(words.iter().map(|word| (*word).to_owned()).collect()),
            network: Some("none".to_owned()),
            ..Overrides::default()
        };
        ContainerSpec { labels: self.labels(), ..ContainerSpec::published(image, overrides) }
    }

    pub fn labels(&self) -> BTreeMap<String, String> {
        self.run.labels()
    }

    /// Creates and starts.
    pub async fn run(&self, spec: &ContainerSpec) -> ContainerId {
        let id = self.engine.create(spec).await.unwrap();
        self.engine.start(&id).await.unwrap();
        id
    }

    /// Waits until the container has written the word `ready`.
    pub async fn ready(&self, id: &ContainerId) {
        for _ in 0..200 {
            if self.engine.logs(id, None).await.unwrap().bytes.starts_with(b"ready") {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("container {id} does not get ready");
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        let (engine, run) = (self.engine.clone(), self.run.clone());
        // A runtime of its own: the test's may be on its way out.
        let cleaning = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(remove_run(&engine, &run))
        });
        let errors = cleaning.join().expect("cleaning does not panic");
        for image in &self.images {
            let _ = Command::new("docker")
                .args(["rmi", "-f", image])
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status();
        }
        if !std::thread::panicking() {
            assert!(errors.is_empty(), "{errors:?}");
        }
    }
}

/// What a docker command prints.
pub fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}
