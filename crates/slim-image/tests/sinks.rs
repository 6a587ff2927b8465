//! Images written to files read back as what they were: by this program, by skopeo, and by a Docker Engine.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![expect(clippy::print_stderr, reason = "a test that cannot run says why")]

mod common;

use slim_image::layer::{LayerEntry, write_layer};
use slim_image::location::{Location, Stored};
use slim_image::validate::validate;
use slim_image::{
    Config, Digest, ImageTree, Kind, Layout, LocalImage, MemoryTree, PackedImage, Packing, Reference,
    Selector, SinkError, SlimImage,
};
use std::fs::{self, File};
use std::num::NonZero;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

const PACKINGS: [Packing; 3] = [Packing::Plain, Packing::Gzip, Packing::Zstd];
/// Every form that is written, as a place below a folder.
const FORMS: [&str; 4] =
    ["oci:{}/layout", "oci-archive:{}/oci.tar", "docker-archive:{}/docker.tar", "dir:{}/dir"];

fn tree() -> MemoryTree {
    MemoryTree::new()
        .file("/usr/bin/tool", 0o4755, vec![3; 3_000_000])
        .xattr(
            "/usr/bin/tool",
            "security.capability",
            [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        )
        .hard_link("/usr/bin/again", "/usr/bin/tool")
        .file("/etc/empty", 0o600, "")
        .symlink("/bin", "usr/bin")
        .special("/null", 0o666, Kind::CharacterDevice { major: 1, minor: 3 })
}

fn image(tree: &MemoryTree) -> Arc<SlimImage> {
    let entries: Vec<LayerEntry> =
        tree.walk().map(|(path, entry)| LayerEntry { path: path.clone(), entry: entry.clone() }).collect();
    let layer = write_layer(tree, &entries, tempfile::NamedTempFile::new().unwrap()).unwrap();
    let source = common::source(Config { cmd: vec!["/usr/bin/tool".to_owned()], ..Config::default() });
    Arc::new(SlimImage::new(&source, source.config.clone(), layer, None))
}

fn packed(tree: &MemoryTree, packing: Packing) -> PackedImage {
    PackedImage::new(image(tree), packing, NonZero::new(2).unwrap(), &std::env::temp_dir()).unwrap()
}

fn place(form: &str, folder: &TempDir) -> Stored {
    let text = form.replace("{}", folder.path().to_str().unwrap());
    let Ok(Location::Stored(stored)) = text.parse() else { panic!("{text}") };
    stored
}

fn named(name: &str) -> Vec<Reference> {
    vec![name.parse().unwrap()]
}

fn read(place: &Stored) -> LocalImage {
    LocalImage::open(place, None, &std::env::temp_dir()).unwrap()
}

fn skopeo(arguments: &[&str]) -> Option<String> {
    let output = match Command::new("skopeo").args(arguments).output() {
        Ok(output) => output,
        Err(error) => {
            eprintln!("skipped: skopeo: {error} (scripts/prepare-machine installs it)");
            return None;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "skopeo {arguments:?}: {said}");
    Some(String::from_utf8(output.stdout).unwrap())
}

/// Every file below a folder with its contents.
fn contents(folder: &Path) -> Vec<(String, Digest)> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.path().is_dir() {
            files.extend(contents(&entry.path()));
        } else {
            files.push((entry.path().display().to_string(), Digest::of(fs::read(entry.path()).unwrap())));
        }
    }
    files.sort();
    files
}

#[test]
fn every_form_reads_back_as_the_image_that_it_was_however_it_is_packed() {
    for packing in PACKINGS {
        let image = packed(&tree(), packing);
        for form in FORMS {
            let folder = tempfile::tempdir().unwrap();
            let place = place(form, &folder);
            image.write(&place, &named("app:2")).unwrap();
            let local = read(&place);
            assert_eq!(local.id(), image.image().id(), "{form}");
            assert_eq!(local.tree().unwrap().listing(), &tree().listing(), "{form} {packing:?}");
            if !form.starts_with("dir") {
                assert_eq!(local.names(), ["app:2"], "{form}");
            }
            let recognised = Stored::recognise(place.path.to_str().unwrap()).unwrap().unwrap();
            assert_eq!(read(&recognised).id(), image.image().id(), "{form}");
        }
    }
}

#[test]
fn the_same_image_gives_the_same_bytes() {
    for packing in PACKINGS {
        for form in FORMS {
            let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
            let written = folders.each_ref().map(|folder| {
                packed(&tree(), packing).write(&place(form, folder), &named("app:2")).unwrap();
                let strip = |(path, digest): (String, Digest)| {
                    (path.replace(folder.path().to_str().unwrap(), ""), digest)
                };
                contents(folder.path()).into_iter().map(strip).collect::<Vec<_>>()
            });
            assert_eq!(written[0], written[1], "{form} {packing:?}");
        }
    }
}

#[test]
fn a_docker_archive_is_valid() {
    let folder = tempfile::tempdir().unwrap();
    let place = place("docker-archive:{}/x.tar:other:3", &folder);
    packed(&tree(), Packing::Gzip).write(&place, &named("app:2")).unwrap();
    let valid = validate(File::open(&place.path).unwrap()).unwrap();
    assert_eq!(valid.tags, ["other:3"], "the place's name counts");
}

#[test]
fn a_layout_holds_several_images_and_a_name_moves() {
    let folder = tempfile::tempdir().unwrap();
    let (first, second) =
        (packed(&tree(), Packing::Gzip), packed(&tree().file("/x", 0o644, "x"), Packing::Gzip));
    first.write(&place("oci:{}/l:one", &folder), &named("app")).unwrap();
    second.write(&place("oci:{}/l:two", &folder), &named("app")).unwrap();
    assert_eq!(read(&place("oci:{}/l:one", &folder)).id(), first.image().id());
    assert_eq!(read(&place("oci:{}/l:two", &folder)).id(), second.image().id());
    second.write(&place("oci:{}/l:one", &folder), &named("app")).unwrap();
    assert_eq!(read(&place("oci:{}/l:one", &folder)).id(), second.image().id());
    let layout = Layout::open(folder.path().join("l")).unwrap();
    assert_eq!(layout.index().unwrap().manifests.len(), 2);
    let platform = layout.index().unwrap().manifests[0].platform.clone().unwrap();
    assert_eq!(platform.to_string(), "linux/amd64");
}

#[test]
fn a_directory_that_holds_something_else_is_left_alone() {
    for form in ["oci:{}", "dir:{}"] {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.txt"), "mine").unwrap();
        let error =
            packed(&tree(), Packing::Plain).write(&place(form, &folder), &[]).unwrap_err().to_string();
        assert!(error.contains("holds something else"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}

#[test]
fn a_directory_of_skopeos_keeps_nothing_of_the_image_before() {
    let folder = tempfile::tempdir().unwrap();
    let place = place("dir:{}/d", &folder);
    packed(&tree(), Packing::Gzip).write(&place, &[]).unwrap();
    packed(&MemoryTree::new(), Packing::Zstd).write(&place, &[]).unwrap();
    assert_eq!(fs::read_dir(&place.path).unwrap().count(), 4, "version, manifest, configuration, layer");
}

#[test]
fn what_stood_there_stays_where_writing_fails() {
    let folder = tempfile::tempdir().unwrap();
    let missing = place("oci-archive:{}/missing/x.tar", &folder);
    assert!(matches!(packed(&tree(), Packing::Gzip).write(&missing, &[]), Err(SinkError::Io { .. })));
    let digest = Stored { selector: Selector::Digest(Digest::of("x")), ..place("oci:{}/l", &folder) };
    assert!(matches!(packed(&tree(), Packing::Gzip).write(&digest, &[]), Err(SinkError::Place { .. })));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn skopeo_reads_what_is_written() {
    for packing in PACKINGS {
        let image = packed(&tree(), packing);
        let config: serde_json::Value = serde_json::from_slice(image.image().config_json()).unwrap();
        for form in FORMS {
            let folder = tempfile::tempdir().unwrap();
            let place = place(form, &folder);
            image.write(&place, &named("app:2")).unwrap();
            // Where one name is in it, none must be given.
            let text = place.to_string();
            let Some(said) = skopeo(&["inspect", "--config", "--raw", &text]) else { return };
            assert_eq!(serde_json::from_str::<serde_json::Value>(&said).unwrap(), config, "{text}");
            // Checks every blob, and unpacks those that are packed.
            let copy = format!("dir:{}/copy", folder.path().display());
            skopeo(&["copy", "--quiet", "--dest-decompress", &text, &copy]).unwrap();
            let Ok(Location::Stored(copied)) = copy.parse() else { panic!() };
            assert_eq!(read(&copied).tree().unwrap().listing(), &tree().listing(), "{text} {packing:?}");
        }
    }
}

#[test]
fn what_skopeo_writes_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let ours = place("docker-archive:{}/ours.tar", &folder);
    packed(&tree(), Packing::Plain).write(&ours, &named("app:2")).unwrap();
    for form in
        ["oci:{}/layout:x", "oci-archive:{}/oci.tar:x", "docker-archive:{}/docker.tar:app:3", "dir:{}/dir"]
    {
        let place = place(form, &folder);
        let Some(_) = skopeo(&["copy", "--quiet", &ours.to_string(), &place.to_string()]) else { return };
        let local = read(&place);
        assert_eq!(local.tree().unwrap().listing(), &tree().listing(), "{place}");
        assert_eq!(local.config().config.cmd, ["/usr/bin/tool"], "{place}");
    }
}

#[test]
fn a_docker_engine_loads_what_is_written() {
    let is_there = Command::new("docker").arg("version").output().is_ok_and(|output| output.status.success());
    if !is_there {
        eprintln!("skipped: no Docker Engine answers");
        return;
    }
    let docker = |arguments: &[&str]| {
        let output = Command::new("docker").args(arguments).output().unwrap();
        assert!(output.status.success(), "docker {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    // No other test's image has these files.
    let own = tree().file("/own", 0o644, format!("{}", std::process::id()));
    for packing in PACKINGS {
        let folder = tempfile::tempdir().unwrap();
        let name = format!("slimtest-sink-{}:{packing:?}", std::process::id()).replace("Plain", "p");
        let direct = place("docker-archive:{}/x.tar", &folder);
        let image = packed(&own, packing);
        image.write(&direct, &named(&name)).unwrap();
        // A layout reaches an engine through the archive that is made of it.
        let layout = place("oci:{}/layout", &folder);
        image.write(&layout, &[]).unwrap();
        let again = folder.path().join("again.tar");
        read(&layout).write_archive(File::create(&again).unwrap(), &named(&name)).unwrap();
        for file in [&direct.path, &again] {
            docker(&["load", "--quiet", "--input", file.to_str().unwrap()]);
            let id = docker(&["inspect", "--format", "{{.Id}}", &name]);
            docker(&["rmi", "--force", &name]);
            assert_eq!(id, image.image().id().to_string(), "{packing:?}");
        }
    }
}
