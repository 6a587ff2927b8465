//! A store of the embedded engine's for one test, and the images in it. It needs root.

use super::{Finished, run};
use slim_engine::embedded::{EmbeddedEngine, Store};
use slim_engine::{ContainerId, ContainerSpec, Engine, EngineError, ExecSpec, Overrides};
use slim_image::Digest;
use std::fs::{self, File};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;
use tempfile::TempDir;

/// Applets of busybox that the images have.
pub const APPLETS: [&str; 20] = [
    "sh", "cat", "sleep", "httpd", "ls", "id", "echo", "env", "touch", "pwd", "mkdir", "rm", "mknod", "grep",
    "hostname", "mount", "stat", "sort", "sed", "kill",
];

pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|data| data.uid() == 0)
}

/// A store in a folder of its own, and an engine over it.
pub struct Embedded {
    pub folder: TempDir,
    pub engine: EmbeddedEngine,
    pub runtime: tokio::runtime::Runtime,
}

impl Embedded {
    pub fn new() -> Self {
        assert!(is_root(), "the embedded engine needs root");
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store")).unwrap();
        let engine = EmbeddedEngine::new(store, env!("CARGO_BIN_EXE_docker-slim"));
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        Self { folder, engine, runtime }
    }

    /// One with the image `test:1`.
    pub fn with_image(config: &serde_json::Value) -> Self {
        let this = Self::new();
        this.engine.store().import(&File::open(this.archive("test:1", config)).unwrap()).unwrap();
        this
    }

    pub fn archive(&self, name: &str, config: &serde_json::Value) -> PathBuf {
        let path = self.folder.path().join(format!("{}.tar", name.replace(':', "-")));
        fs::write(&path, archive(name, &busybox_layer(), config)).unwrap();
        path
    }

    pub fn now<T>(&self, work: impl Future<Output = Result<T, EngineError>>) -> T {
        self.runtime.block_on(work).unwrap()
    }

    pub fn create(&self, overrides: Overrides) -> ContainerId {
        let spec = ContainerSpec { image: "test:1".to_owned(), overrides, ..ContainerSpec::default() };
        self.now(self.engine.create(&spec))
    }

    /// Runs a container to its end: exit code and log.
    pub fn run_spec(&self, spec: &ContainerSpec) -> (i64, String) {
        let id = self.now(self.engine.create(spec));
        self.now(self.engine.start(&id));
        let code = self.now(self.engine.wait(&id));
        let log = self.now(self.engine.logs(&id, None)).bytes;
        self.now(self.engine.remove(&id, false));
        (code, String::from_utf8(log).unwrap())
    }

    pub fn shell_with(&self, script: &str, overrides: Overrides) -> (i64, String) {
        let overrides = Overrides { entrypoint: Some(words(&["sh", "-c", script])), ..overrides };
        self.run_spec(&ContainerSpec { image: "test:1".to_owned(), overrides, ..ContainerSpec::default() })
    }

    pub fn shell(&self, script: &str) -> (i64, String) {
        self.shell_with(script, Overrides::default())
    }

    /// Waits until the program has written this.
    #[track_caller]
    pub fn wait_for_log(&self, id: &ContainerId, expected: &str) {
        let began = std::time::Instant::now();
        while self.now(self.engine.logs(id, None)).bytes != expected.as_bytes() {
            assert!(began.elapsed() < Duration::from_secs(60), "it never wrote {expected:?}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub fn execute(&self, id: &ContainerId, command: &ExecSpec) -> (i64, String) {
        let result = self.now(self.engine.exec(id, command));
        (result.exit_code, String::from_utf8([result.stdout, result.stderr].concat()).unwrap())
    }

    /// The program on this store, in the test's folder.
    pub fn slim(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_docker-slim"));
        command.arg("--store-root").arg(self.engine.store().path()).arg("--engine=embedded").args(arguments);
        command.current_dir(self.folder.path()).stdin(Stdio::null()).env_remove("DOCKER_HOST");
        command
    }

    pub fn run_slim(&self, arguments: &[&str]) -> Finished {
        Finished::of(self.slim(arguments).output().unwrap())
    }

    /// Fails the test unless no container of this store is left: neither files nor processes nor groups nor mounts.
    #[track_caller]
    pub fn expect_nothing(&self) {
        let containers = self.engine.store().path().join("containers");
        let left: Vec<String> = fs::read_dir(&containers)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert!(left.is_empty(), "left behind: {left:?}");
        let root = self.engine.store().path().display().to_string();
        assert!(!fs::read_to_string("/proc/self/mountinfo").unwrap().contains(&root), "a mount is left");
        let keepers = run("sh", &["-c", "cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\\0' ' ' || true"]);
        assert!(!keepers.contains(&format!("container-helper keep {root}")), "a keeper is left");
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        for (id, _) in self.runtime.block_on(self.engine.containers()).unwrap_or_default() {
            drop(self.runtime.block_on(self.engine.remove(&id, true)));
        }
    }
}

pub fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// A layer with busybox, two users and a web page.
pub fn busybox_layer() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |name: &str, kind: tar::EntryType, mode: u32, link: &str, contents: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1_700_000_000);
        header.set_size(contents.len() as u64);
        if !link.is_empty() {
            header.set_link_name(link).unwrap();
        }
        builder.append_data(&mut header, name, contents).unwrap();
    };
    for folder in ["bin", "etc", "www", "data", "root"] {
        add(folder, tar::EntryType::Directory, 0o755, "", b"");
    }
    add("tmp", tar::EntryType::Directory, 0o1777, "", b"");
    add("bin/busybox", tar::EntryType::Regular, 0o755, "", &fs::read("/bin/busybox").unwrap());
    for applet in APPLETS {
        add(&format!("bin/{applet}"), tar::EntryType::Symlink, 0o777, "busybox", b"");
    }
    let passwd = b"root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001:web:/www:/bin/sh\n";
    add("etc/passwd", tar::EntryType::Regular, 0o644, "", passwd);
    add("etc/group", tar::EntryType::Regular, 0o644, "", b"root:x:0:\nweb:x:1001:\nextra:x:44:web\n");
    add("www/index.html", tar::EntryType::Regular, 0o644, "", b"hello\n");
    add("www/other.html", tar::EntryType::Regular, 0o644, "", b"other\n");
    add("data/seed", tar::EntryType::Regular, 0o640, "", b"seeded\n");
    builder.into_inner().unwrap()
}

/// A docker-archive of one layer.
pub fn archive(name: &str, layer: &[u8], config: &serde_json::Value) -> Vec<u8> {
    let diff_id = Digest::of(layer);
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z", "config": config,
        "rootfs": {"type": "layers", "diff_ids": [diff_id]}, "history": [{"created_by": "a test"}],
    })
    .to_string();
    let id = format!("{}.json", Digest::of(&config).hex());
    let manifest =
        serde_json::json!([{"Config": id, "RepoTags": [name], "Layers": ["layer.tar"]}]).to_string();
    let mut builder = tar::Builder::new(Vec::new());
    for (name, contents) in
        [(id.as_str(), config.as_bytes()), ("manifest.json", manifest.as_bytes()), ("layer.tar", layer)]
    {
        let mut header = tar::Header::new_gnu();
        header.set_size(contents.len() as u64);
        header.set_mode(0o644);
        builder.append_data(&mut header, name, contents).unwrap();
    }
    builder.into_inner().unwrap()
}

pub fn web_server() -> serde_json::Value {
    serde_json::json!({
        "Cmd": ["/bin/sh", "-c", "trap 'exit 0' TERM; echo started; httpd -f -p 8000 -h /www & wait"],
        "ExposedPorts": {"8000/tcp": {}}, "Volumes": {"/data": {}},
    })
}
