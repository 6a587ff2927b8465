//! A real Docker Engine loads what is written here, and a real container shows what was put in.
//!
//! The collector that reads the container is this test program itself: it is static, and is copied in.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![expect(clippy::print_stderr, reason = "a test that cannot run says why")]

mod common;

use common::source;
use slim_image::collector::{Client, ServeOptions, serve};
use slim_image::layer::{LayerEntry, write_layer};
use slim_image::validate::validate;
use slim_image::{Config, Digest, Entry, ImagePath, ImageTree, Kind, MemoryTree, Reference, SlimImage};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Cursor, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Version 2 of the attribute: `cap_net_bind_service=ep`.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Whether the tests can run here; says why not.
fn engine_is_there() -> bool {
    let is_root = fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0);
    let is_there =
        is_root && Path::new("/var/run/docker.sock").exists() && Path::new("/bin/busybox").exists();
    if !is_there {
        eprintln!("skipped: needs root, /var/run/docker.sock and a static /bin/busybox");
    }
    is_there
}

fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    text
}

/// An image in the engine; goes with the value.
struct Loaded(String);

impl Loaded {
    fn new(archive: &[u8], name: &str) -> Self {
        let mut load = Command::new("docker")
            .args(["load", "-q"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        load.stdin.take().unwrap().write_all(archive).unwrap();
        assert!(load.wait().unwrap().success());
        Self(name.to_owned())
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rmi", "-f", &self.0]).output();
    }
}

/// A container; goes with the value, its anonymous volumes too.
struct Container(String);

impl Drop for Container {
    fn drop(&mut self) {
        let _ = Command::new("docker").args(["rm", "-f", "-v", &self.0]).output();
    }
}

fn archive(tree: &dyn ImageTree, config: &Config, name: &str) -> (Digest, Vec<u8>) {
    let entries: Vec<LayerEntry> =
        tree.walk().map(|(path, entry)| LayerEntry { path: path.clone(), entry: entry.clone() }).collect();
    let layer = write_layer(tree, &entries, tempfile::NamedTempFile::new().unwrap()).unwrap();
    let image = SlimImage::new(&source(config.clone()), config.clone(), layer, None);
    let mut bytes = Vec::new();
    image.write_to(&mut bytes, &[name.parse::<Reference>().unwrap()]).unwrap();
    let valid = validate(Cursor::new(&bytes)).unwrap();
    assert_eq!(valid.id, *image.id());
    (valid.id, bytes)
}

/// Starts this program as the collector in a container of the image. Its output is stderr: the test harness has
/// stdout.
fn collect(image: &str, volumes: &[ImagePath]) -> (Container, Client, Child) {
    let id = docker(&[
        "create",
        "-i",
        "--log-driver",
        "none",
        "--network",
        "none",
        "--no-healthcheck",
        "--user",
        "0:0",
        "--entrypoint",
        "/slimtest-collector",
        image,
        "--exact",
        "serve_in_a_container",
        "--ignored",
        "--nocapture",
    ]);
    let container = Container(id.clone());
    let own = std::env::current_exe().unwrap();
    docker(&["cp", own.to_str().unwrap(), &format!("{id}:/slimtest-collector")]);
    let mut running = Command::new("docker")
        .args(["start", "-ai", &id])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (output, input) = (running.stderr.take().unwrap(), running.stdin.take().unwrap());
    let client = Client::connect(output, input, volumes, None).unwrap();
    (container, client, running)
}

#[test]
#[ignore = "is no test: the collector's side, started in a container by the tests here"]
fn serve_in_a_container() {
    serve(std::io::stdin().lock(), std::io::stderr(), &ServeOptions::container()).unwrap();
}

fn odd_tree() -> MemoryTree {
    let long = format!("/srv/{}/{}", "d".repeat(120), "f".repeat(200));
    let old = 1_234_567_890;
    MemoryTree::new()
        .file("/bin/busybox", 0o755, fs::read("/bin/busybox").unwrap())
        .hard_link("/bin/sh", "/bin/busybox")
        .hard_link("/usr/sbin/again", "/bin/busybox")
        .mtime("/bin/sh", old)
        .file("/usr/bin/suid", 0o6755, "not run")
        .owner("/usr/bin/suid", 3_000_000, 2_097_152)
        .file("/usr/bin/capable", 0o755, "not run")
        .xattr("/usr/bin/capable", "security.capability", CAPABILITY)
        .file(ImagePath::new(b"/srv/caf\xe9\n"), 0o640, "latin-1")
        .mtime(ImagePath::new(b"/srv/caf\xe9\n"), old)
        .file("/srv/grüße", 0o644, "utf-8")
        .file(long.as_str(), 0o600, "long")
        .symlink("/srv/link", "x".repeat(180))
        .owner("/srv/link", 12, 3_000_001)
        .mtime("/srv/link", old)
        .symlink("/lib64", "usr/lib")
        .file("/usr/lib/libx.so", 0o644, vec![0x5a; 300_000])
        .dir("/tmp", 0o1777)
        .mtime("/tmp", old)
        .dir("/srv/sgid", 0o2750)
        .owner("/srv/sgid", 65_534, 65_534)
        .special("/srv/null", 0o666, Kind::CharacterDevice { major: 1, minor: 3 })
        .special("/srv/fifo", 0o620, Kind::Fifo)
        .file("/var/data/seed", 0o604, "seeded")
        .mtime("/var/data/seed", old)
        .file("/before-epoch", 0o644, "")
        .mtime("/before-epoch", -100)
}

/// Every group as the set of its names: numbers differ between sources.
fn groups<'a>(entries: impl Iterator<Item = (&'a ImagePath, &'a Entry)>) -> BTreeSet<BTreeSet<ImagePath>> {
    let mut groups: BTreeMap<u64, BTreeSet<ImagePath>> = BTreeMap::new();
    for (path, entry) in entries {
        if let Some(group) = entry.hard_link_group {
            groups.entry(group).or_default().insert(path.clone());
        }
    }
    groups.into_values().collect()
}

fn without_group(entry: &Entry) -> Entry {
    Entry { hard_link_group: None, ..entry.clone() }
}

#[test]
fn what_is_put_in_an_image_is_what_its_container_shows() {
    if !engine_is_there() {
        return;
    }
    let name = "slimtest-image-odd:1";
    let tree = odd_tree();
    let config = Config { cmd: vec!["/bin/sh".to_owned()], ..Config::default() };
    let (_, bytes) = archive(&tree, &config, name);
    let _image = Loaded::new(&bytes, name);
    let (_container, client, mut running) = collect(name, &[]);

    // The engine makes these, and touches the root to do so.
    let of_the_engine = ["/dev", "/etc", "/proc", "/sys"].map(ImagePath::from);
    let found: BTreeSet<&ImagePath> = client.walk().map(|(path, _)| path).collect();
    let expected: BTreeSet<&ImagePath> = tree.walk().map(|(path, _)| path).chain(&of_the_engine).collect();
    assert_eq!(found, expected);
    for (path, entry) in tree.walk().filter(|(path, _)| !path.is_root()) {
        // The engine sets times before the epoch to the epoch.
        let expected = Entry { mtime: entry.mtime.max(0), ..without_group(entry) };
        assert_eq!(client.entry(path).map(without_group), Some(expected), "{path}");
    }
    assert_eq!(groups(client.walk()), groups(tree.walk()));

    let files: Vec<ImagePath> = tree
        .walk()
        .filter(|(_, entry)| matches!(entry.kind, Kind::File { .. }))
        .map(|(path, _)| path.clone())
        .collect();
    let mut compared = 0;
    client
        .read_each(&files, &mut |path, contents| {
            let (mut found, mut expected) = (Vec::new(), Vec::new());
            contents.read_to_end(&mut found).unwrap();
            tree.open(path)?.read_to_end(&mut expected).unwrap();
            assert_eq!(found, expected, "{path}");
            compared += 1;
            Ok(())
        })
        .unwrap();
    assert_eq!(compared, files.len());
    client.finish().unwrap();
    assert!(running.wait().unwrap().success());
}

#[test]
fn two_containers_of_an_image_give_the_same_image() {
    if !engine_is_there() {
        return;
    }
    let name = "slimtest-image-again:1";
    let tree = odd_tree();
    let config = Config { cmd: vec!["/bin/sh".to_owned()], ..Config::default() };
    let (_, bytes) = archive(&tree, &config, name);
    let _image = Loaded::new(&bytes, name);
    let digest = || {
        let (_container, client, mut running) = collect(name, &[]);
        let (id, _) = archive(&client, &config, name);
        client.finish().unwrap();
        running.wait().unwrap();
        id
    };
    let first = digest();
    // Times that containers get when they are made have whole seconds.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    assert_eq!(digest(), first);
}

#[test]
fn what_the_image_holds_under_a_volume_is_listed_and_other_mounts_are_not() {
    if !engine_is_there() {
        return;
    }
    let name = "slimtest-image-volume:1";
    let config = Config {
        cmd: vec!["/bin/sh".to_owned()],
        volumes: BTreeSet::from(["/var/data".to_owned(), "/not/there".to_owned()]),
        ..Config::default()
    };
    let (_, bytes) = archive(&odd_tree(), &config, name);
    let _image = Loaded::new(&bytes, name);
    let (_container, client, _running) = collect(name, &config.volume_paths());
    let seed = client.entry(&"/var/data/seed".into()).unwrap();
    assert_eq!((seed.mode, seed.mtime), (0o604, 1_234_567_890));
    assert!(client.entry(&"/not/there".into()).is_some_and(Entry::is_directory));

    // Not told of the volumes, the collector takes them for mounts like any other.
    let (_container, client, _running) = collect(name, &[]);
    assert_eq!(client.entry(&"/var/data".into()), None);
    assert_eq!(client.read_dir(&"/dev".into()), Vec::<&[u8]>::new());
    assert_eq!(client.read_dir(&"/proc".into()), Vec::<&[u8]>::new());
    assert_eq!(client.entry(&"/etc/hosts".into()), None);
    assert_eq!(client.entry(&"/.dockerenv".into()), None);
    assert_eq!(client.entry(&"/slimtest-collector".into()), None);
}

fn full_config() -> Config {
    serde_json::from_str(
        r#"{"User":"1000:1000","ExposedPorts":{"8000/tcp":{}},"Env":["PATH=/bin","B=2"],"Cmd":["echo \"$B\"; id -u"],
        "Entrypoint":["/bin/sh","-c"],"Volumes":{"/var/data":{}},"WorkingDir":"/srv","Labels":{"k":"v"},
        "StopSignal":"SIGQUIT","Shell":["/bin/sh","-c"],"OnBuild":["RUN true"],
        "Healthcheck":{"Test":["CMD","/bin/true"],"Interval":30000000000,"Retries":2}}"#,
    )
    .unwrap()
}

#[test]
fn a_loaded_image_has_the_whole_config_and_runs() {
    if !engine_is_there() {
        return;
    }
    let name = "slimtest-image-config:1";
    let config = full_config();
    let (id, bytes) = archive(&odd_tree(), &config, name);
    let (again, bytes_again) = archive(&odd_tree(), &config, name);
    assert_eq!((id, &bytes), (again, &bytes_again), "the same image twice");
    let _image = Loaded::new(&bytes, name);

    assert_eq!(docker(&["inspect", "--format", "{{.Id}}", name]), id.to_string());
    let inspected: Config =
        serde_json::from_str(&docker(&["inspect", "--format", "{{json .Config}}", name])).unwrap();
    assert_eq!(inspected, config);
    let created = docker(&["inspect", "--format", "{{.Created}} {{.Author}} {{.Architecture}}", name]);
    assert_eq!(created, "2024-05-06T07:08:09Z someone amd64");
    assert_eq!(docker(&["run", "--rm", "--network", "none", name]), "2\n1000");
}

#[test]
fn the_history_reads_like_a_dockerfile_backwards() {
    if !engine_is_there() {
        return;
    }
    let name = "slimtest-image-history:1";
    let (_, bytes) = archive(&odd_tree(), &full_config(), name);
    let _image = Loaded::new(&bytes, name);
    let history = docker(&["history", "--no-trunc", "--format", "{{.CreatedBy}}", name]);
    let instructions: Vec<&str> = history.lines().map(|line| line.split(' ').next().unwrap()).collect();
    assert_eq!(
        instructions,
        [
            "CMD",
            "ENTRYPOINT",
            "SHELL",
            "ONBUILD",
            "HEALTHCHECK",
            "STOPSIGNAL",
            "EXPOSE",
            "USER",
            "VOLUME",
            "LABEL",
            "ENV",
            "ENV",
            "WORKDIR",
            "COPY",
        ]
    );
    let sizes = docker(&["history", "--no-trunc", "--format", "{{.Size}}", name]);
    assert_eq!(sizes.lines().filter(|size| *size != "0B").count(), 1, "one content layer: {sizes}");
}
