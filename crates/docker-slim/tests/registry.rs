//! `pull`, `push`, `copy` and `registry serve`: the program against itself, with no engine anywhere.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a failure is a panic, and it says why it is skipped"
)]

mod common;
#[path = "common/layouts.rs"]
mod layouts;

use common::served::Served;
use serde_json::Value;
use slim_image::local::LocalImage;
use slim_image::location::{Form, Stored};
use slim_image::manifest::media;
use slim_image::{Layout, Platform, Selector};
use std::path::Path;
use std::process::{Command, Output, Stdio};
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

/// A layout `a` with an index called `1` for this machine's platform and another.
fn layout(folder: &TempDir) -> Layout {
    layouts::for_two_platforms(&folder.path().join("a"))
}

fn open(path: &Path, form: Form) -> LocalImage {
    let stored = Stored { form, path: path.to_owned(), selector: Selector::Only };
    LocalImage::open(&stored, None, &std::env::temp_dir()).unwrap()
}

#[test]
fn an_image_goes_round_without_an_engine() {
    let folder = tempfile::tempdir().unwrap();
    layout(&folder);
    let served = Served::start(folder.path(), "127.0.0.1:0");
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
    let served = Served::start(folder.path(), "127.0.0.1:0");
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
    let (code, told) = refused(&folder, &["pull", "a", "-o", "x"]);
    assert!(code == 2 && told.contains("hint: oci:DIRECTORY"), "{code} {told}");
    let (code, told) = refused(&folder, &["copy", "containerd:a:1", "oci:x"]);
    assert!(code == 3 && told.contains("ctr, is not in PATH"), "{code} {told}");
}

#[test]
fn a_registry_that_others_reach_says_so_and_a_folder_is_served_once() {
    let folder = tempfile::tempdir().unwrap();
    let served = Served::start(folder.path(), "0.0.0.0:0");
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

fn digest(document: &str) -> String {
    serde_json::from_str::<Value>(document).unwrap()["digest"].as_str().unwrap().to_owned()
}

/// Copies and gives the digest of what is there now.
fn copied(folder: &TempDir, words: &[&str]) -> String {
    digest(&done(folder, &[words, &["--output-format=json"]].concat()))
}

#[test]
fn an_image_goes_through_every_form_of_files_and_stays_the_same() {
    let folder = tempfile::tempdir().unwrap();
    layout(&folder);
    let served = Served::start(folder.path(), "127.0.0.1:0");
    let at = |name: &str| format!("docker://{}/{name}", served.address);
    let index = copied(&folder, &["copy", "oci:a:1", &at("a:1")]);
    // Whole indexes, where the place holds them.
    assert_eq!(copied(&folder, &["pull", &at("a:1"), "--all-platforms", "-o", "oci-archive:a.tar:1"]), index);
    assert_eq!(copied(&folder, &["copy", "oci-archive:a.tar:1", &at("b:1")]), index);
    assert_eq!(copied(&folder, &["push", "./a.tar", &at("c:1")]), index);
    assert_eq!(copied(&folder, &["copy", "oci:a:1", "oci:again:x"]), index);
    let (code, told) = refused(&folder, &["pull", &at("a:1"), "--all-platforms", "-o", "dir:all"]);
    assert!(code == 2 && told.contains("it holds one image"), "{code} {told}");
    // One of them, its manifest as it was.
    let one = copied(&folder, &["pull", &at("a:1"), "-o", "dir:one"]);
    assert_eq!(copied(&folder, &["push", "dir:one", &at("d:1")]), one);
    assert_eq!(copied(&folder, &["copy", "oci:a:1", "dir:two"]), one);
    done(&folder, &["copy", "dir:one", "docker-archive:one.tar:one:1"]);
    done(&folder, &["push", "docker-archive:one.tar", &at("e:1")]);
    done(&folder, &["pull", &at("e:1"), "-o", "oci:e"]);
    let (kept, packed) = (open(&folder.path().join("one.tar"), Form::DockerArchive), folder.path().join("e"));
    assert_eq!(open(&packed, Form::Layout).id(), kept.id());
    let manifest =
        Layout::open(&packed).unwrap().resolve(&Selector::Only, &Platform::host()).unwrap().manifest;
    assert_eq!(
        manifest.layers[0].media_type,
        media::LAYER_GZIP,
        "an archive's layers are packed for a registry"
    );
    let names = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = names.filter(|name| name.to_string_lossy().starts_with('.')).collect();
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn skopeo_reads_the_files_that_we_write() {
    if Command::new("skopeo").arg("--version").output().is_err() {
        println!("skipped: skopeo is not here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    layout(&folder);
    done(&folder, &["copy", "oci:a:1", "oci-archive:a.tar:1"]);
    done(&folder, &["copy", "oci:a:1", "dir:one"]);
    done(&folder, &["copy", "oci:a:1", "docker-archive:one.tar:one:1"]);
    for place in ["oci-archive:a.tar:1", "dir:one", "docker-archive:one.tar"] {
        let mut skopeo = Command::new("skopeo");
        skopeo.args(["inspect", "--config", "--raw", place]).current_dir(folder.path());
        let output = skopeo.output().unwrap();
        assert!(output.status.success(), "{place}: {}", String::from_utf8_lossy(&output.stderr));
        let config: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(config["config"]["Cmd"][0], "/x", "{place}");
    }
}

#[test]
fn the_embedded_engines_store_is_a_place_like_others() {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: the embedded engine needs root");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    layout(&folder);
    let served = Served::start(folder.path(), "127.0.0.1:0");
    let at = |name: &str| format!("docker://{}/{name}", served.address);
    copied(&folder, &["copy", "oci:a:1", &at("a:1")]);
    let with_store = ["--store-root", "store", "--engine=embedded"];
    let stored = |words: &[&str]| done(&folder, &[words, &with_store].concat());
    let one = digest(&stored(&["pull", &at("a:1"), "--output-format=json"]));
    // As it came, to the last byte.
    assert_eq!(
        digest(&stored(&["push", &format!("{}/a:1", served.address), &at("b:1"), "--output-format=json"])),
        one
    );
    stored(&["copy", "oci:a:1", "embedded:other.slim:2"]);
    let imported = stored(&["store", "import", "oci:a:1", "--tag=imported:3"]);
    assert!(imported.contains("imported:3"), "{imported}");
    stored(&["copy", "embedded:imported:3", "docker-archive:x.tar"]);
    assert_eq!(open(&folder.path().join("x.tar"), Form::DockerArchive).names(), ["imported:3"]);
    let listed: Value = serde_json::from_str(&stored(&["images", "--output-format=json"])).unwrap();
    let [image] = &listed.as_array().unwrap()[..] else { panic!("{listed}") };
    let name = format!("{}/a:1", served.address);
    assert_eq!(
        image["names"],
        serde_json::json!([name, "imported:3", "other.slim:2"]),
        "one image, three names"
    );
    assert_eq!((&image["engine"], &image["slim"]), (&"embedded".into(), &true.into()));
    // The same image with another manifest is still one image by its id.
    let again = stored(&["store", "import", "x.tar", "--tag=again:4"]);
    assert!(again.contains("again:4"), "{again}");
    stored(&["store", "rm", &name, "imported:3", "other.slim:2", "again:4"]);
    assert_eq!(stored(&["images"]), "");
    assert_eq!(std::fs::read_dir(folder.path().join("store/layers")).unwrap().count(), 0);
}

#[test]
fn proxies_are_those_of_the_environment() {
    let folder = tempfile::tempdir().unwrap();
    let pull = |variable: &str| {
        let mut command = Command::new(PROGRAM);
        command.args(["pull", "registry.test/a:1", "-o", "oci:b"]).current_dir(folder.path()).env_clear();
        let output = command.env(variable, "http://me:secret@127.0.0.1:1").output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for variable in ["HTTPS_PROXY", "https_proxy"] {
        let (code, told) = pull(variable);
        assert!(code == Some(3) && told.contains("the proxy 127.0.0.1:1 does not answer"), "{code:?} {told}");
        assert!(!told.contains("secret"), "{told}");
    }
}
