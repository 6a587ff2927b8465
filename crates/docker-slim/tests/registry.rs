//! `pull`, `push`, `copy` and `registry serve`: the program against itself, with no engine anywhere.
#![allow(clippy::unwrap_used, reason = "a failure is a panic")]

use serde_json::Value;
use slim_image::local::LocalImage;
use slim_image::location::{Form, Stored};
use slim_image::manifest::media;
use slim_image::{Descriptor, Index, Layout, Platform, Selector};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use tempfile::TempDir;

const PROGRAM: &str = env!("CARGO_BIN_EXE_docker-slim");

/// A folder that is home and working directory, so that no file of the machine's owner has a say.
fn slim(folder: &TempDir, arguments: &[&str]) -> Output {
    Command::new(PROGRAM)
        .args(arguments)
        .current_dir(folder.path())
        .env_clear()
        .env("HOME", folder.path())
        .output()
        .unwrap()
}

fn done(folder: &TempDir, arguments: &[&str]) -> String {
    let output = slim(folder, arguments);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {}\n{told}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// The exit code, and what was told.
fn refused(folder: &TempDir, arguments: &[&str]) -> (i32, String) {
    let output = slim(folder, arguments);
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// `docker-slim registry serve` on a port of its own.
struct Served {
    child: Child,
    address: String,
    notice: String,
}

impl Served {
    fn start(folder: &TempDir, listen: &str) -> Self {
        let notices = folder.path().join("notices");
        let mut child = Command::new(PROGRAM)
            .args(["registry", "serve", "--root", "served", "--output-format=json", "--listen", listen])
            .current_dir(folder.path())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&notices).unwrap())
            .spawn()
            .unwrap();
        let mut text = String::new();
        let mut lines = BufReader::new(child.stdout.take().unwrap());
        while lines.read_line(&mut text).unwrap() > 0 && !text.ends_with("}\n") {}
        let document: Value = serde_json::from_str(&text).unwrap();
        let address = document["address"].as_str().unwrap().to_owned();
        Self { child, address, notice: std::fs::read_to_string(notices).unwrap() }
    }

    fn stop(mut self) -> Option<i32> {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
        self.child.wait().unwrap().code()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A layout `a` with an index called `1` for this machine's platform and another.
fn layout(folder: &TempDir) -> Layout {
    let layout = Layout::create(folder.path().join("a")).unwrap();
    let other = Platform::new("linux", "s390x");
    let manifests = [Platform::host(), other].map(|platform| image(&layout, platform)).to_vec();
    let index = serde_json::to_vec(&Index { manifests, ..Index::empty() }).unwrap();
    let mut descriptor = layout.put_blob(media::INDEX, &index).unwrap();
    let name = slim_image::manifest::annotation::REF_NAME.to_owned();
    descriptor.annotations.insert(name, "1".to_owned());
    layout.put(descriptor).unwrap();
    layout
}

/// An image with one empty layer.
fn image(layout: &Layout, platform: Platform) -> Descriptor {
    let layer = layout.put_blob(media::LAYER, &[0; 1024]).unwrap();
    let config = serde_json::json!({
        "os": platform.os, "architecture": platform.architecture, "config": {"Cmd": ["/x"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
    });
    let config = layout.put_blob(media::CONFIG, config.to_string().as_bytes()).unwrap();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media::MANIFEST, "config": config, "layers": [layer],
    });
    let manifest = layout.put_blob(media::MANIFEST, manifest.to_string().as_bytes()).unwrap();
    Descriptor { platform: Some(platform), ..manifest }
}

fn open(path: &Path, form: Form) -> LocalImage {
    let stored = Stored { form, path: path.to_owned(), selector: Selector::Only };
    LocalImage::open(&stored, None, &std::env::temp_dir()).unwrap()
}

#[test]
fn an_image_goes_round_without_an_engine() {
    let folder = tempfile::tempdir().unwrap();
    layout(&folder);
    let served = Served::start(&folder, "127.0.0.1:0");
    assert_eq!(served.notice, "", "nothing to say of a registry on loopback");
    let (first, second) = (format!("{}/team/a:1", served.address), format!("{}/b:2", served.address));
    let pushed = done(&folder, &["push", "oci:a:1", &first]);
    assert!(pushed.starts_with(&format!("oci:a:1 → {first}: ")), "{pushed}");
    let copied: Value =
        serde_json::from_str(&done(&folder, &["copy", &first, &second, "--output-format=json"])).unwrap();
    assert_eq!((&copied["manifests"], &copied["moved_bytes"]), (&3.into(), &0.into()), "{copied}");
    done(&folder, &["pull", &format!("docker://{second}"), "--output", "oci:b"]);
    let pulled = open(&folder.path().join("b"), Form::Layout);
    assert_eq!((pulled.platform(), pulled.names()), (Platform::host(), &[second.clone()][..]));
    done(&folder, &["pull", &second, "-o", "oci:all:x", "--all-platforms"]);
    let all = Layout::open(folder.path().join("all")).unwrap();
    assert_eq!(all.index().unwrap().manifests[0].digest.to_string(), copied["digest"]);
    done(&folder, &["pull", &second, "-o", "docker-archive:c.tar:c:3"]);
    let archive = open(&folder.path().join("c.tar"), Form::DockerArchive);
    assert_eq!((archive.id(), archive.names()), (pulled.id(), &["c:3".to_owned()][..]));
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(served.stop(), Some(0));
}

#[test]
fn what_cannot_be_done_has_its_exit_code_and_a_hint() {
    let folder = tempfile::tempdir().unwrap();
    layout(&folder);
    let served = Served::start(&folder, "127.0.0.1:0");
    let missing = format!("{}/a:1", served.address);
    let (code, told) = refused(&folder, &["pull", &missing, "-o", "oci:b"]);
    assert!(code == 4 && told.contains(&missing), "{code} {told}");
    assert!(!folder.path().join("b").exists(), "nothing is made for an image that is not there");
    let address = served.address.clone();
    assert_eq!(served.stop(), Some(0));
    let (code, told) = refused(&folder, &["push", "oci:a:1", &format!("{address}/a:1")]);
    assert!(code == 3 && told.contains("hint: "), "{code} {told}");
    let (code, told) = refused(&folder, &["push", "oci:a:2", &format!("{address}/a:1")]);
    assert!(code == 4 && told.contains("it has 1"), "{code} {told}");
    let (code, told) = refused(&folder, &["push", "oci:none", &format!("{address}/a:1")]);
    assert!(code == 4 && told.contains("none"), "{code} {told}");
    let (code, told) = refused(&folder, &["pull", "a", "-o", "dir:x"]);
    assert!(code == 2 && told.contains("hint: --output oci:FOLDER"), "{code} {told}");
}

#[test]
fn a_registry_that_others_reach_says_so_and_a_folder_is_served_once() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(&folder, "0.0.0.0:0");
    assert!(served.notice.contains("can read, write and delete"), "{}", served.notice);
    let (code, told) =
        refused(&folder, &["registry", "serve", "--root", "served", "--listen", "127.0.0.1:0"]);
    assert!(code == 2 && told.contains("another process serves it"), "{code} {told}");
    let (code, told) = refused(&folder, &["registry", "serve", "--root", "new", "--listen", &served.address]);
    assert!(code == 2 && told.contains("hint: --listen"), "{code} {told}");
}

#[test]
fn a_pull_is_ended_by_ctrl_c() {
    let folder = tempfile::tempdir().unwrap();
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let image = format!("{}/a:1", silent.local_addr().unwrap());
    let mut child = Command::new(PROGRAM)
        .args(["pull", &image, "-o", "oci:b"])
        .current_dir(folder.path())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _connection = silent.accept().unwrap();
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
}
