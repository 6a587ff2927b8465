//! Images that lie in files are made slim as those that an engine holds, what comes of it goes where it was asked for, and
//! the engine keeps nothing of the fat one.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's failure is a panic, and it says why it is skipped"
)]

mod common;

use common::{Context, Holdings, SERVE, docker, engine_is_here, image_id, run};
use slim_image::location::{Location, Stored};
use slim_image::{Digest, ImageTree, LocalImage};
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

fn stored(place: &str, folder: &Path) -> LocalImage {
    let Ok(Location::Stored(stored)) = place.parse::<Location>() else { panic!("{place}") };
    let path = folder.join(&stored.path);
    LocalImage::open(&Stored { path, ..stored }, None, &std::env::temp_dir()).unwrap()
}

/// A layer's members as tar shows them.
fn listing(image: &LocalImage, layer: usize) -> String {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    std::io::copy(&mut image.layer(layer).unwrap(), &mut file).unwrap();
    run("tar", &["--full-time", "-tvf", file.path().to_str().unwrap()])
}

fn id(image: Option<String>) -> Digest {
    image.unwrap().parse().unwrap()
}

#[test]
fn an_archive_is_made_slim_and_nothing_of_it_stays_in_the_engine() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let files = [("/www/index.html", 0o644, "hello"), ("/usr/share/unused", 0o644, "never read")];
    let fat = context.busybox_image("sources-archive", &files, &[SERVE, "EXPOSE 8000"]);
    docker(&["save", "--output", context.path("fat.tar").to_str().unwrap(), &fat]);
    docker(&["rmi", &fat]);
    let before = Holdings::now();
    let slim = format!("{fat}.slim");
    let outputs = ["oci:layout:v1", "oci-archive:oci.tar", "docker-archive:docker.tar", "dir:dir"];
    let mut words = vec!["build", "--state-path", "state", "docker-archive:fat.tar"];
    words.extend(outputs.iter().flat_map(|place| ["--output", place]));
    let built = context.run_slim(&words);
    built.expect(0);
    assert!(built.stdout.contains(&format!("{fat}:latest ")), "the archive's name: {}", built.stdout);
    assert!(built.stdout.contains("written to: oci:layout:v1, oci-archive:oci.tar"), "{}", built.stdout);
    let slim_id = id(image_id(&format!("{slim}:latest")));
    for place in outputs {
        let image = stored(place, context.folder.path());
        assert_eq!(*image.id(), slim_id, "{place}");
        let tree = image.tree().unwrap();
        assert!(tree.entry(&"/www/index.html".into()).is_some(), "{place}");
        assert!(tree.entry(&"/usr/share/unused".into()).is_none(), "{place}");
    }
    // The layout is a source, too: what is slim already stays what it is, byte for byte.
    let again = context.run_slim(&[
        "build",
        "--state-path",
        "state",
        "--tag",
        "slimtest-sources-again",
        "./layout:v1",
    ]);
    context.remove_later("slimtest-sources-again");
    again.expect(0);
    docker(&["rmi", "slimtest-sources-again", &format!("{slim}:latest")]);
    before.expect_again("after two builds from files");
}

#[test]
fn an_image_that_the_engine_holds_anyway_stays_there() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let fat =
        context.busybox_image("sources-held", &[("/www/index.html", 0o644, "held")], &[SERVE, "EXPOSE 8000"]);
    docker(&["save", "--output", context.path("fat.tar").to_str().unwrap(), &fat]);
    let of_files = ["build", "--state-path", "state", "--tag", "slimtest-sources-held.slim:files", "fat.tar"];
    context.remove_later("slimtest-sources-held.slim:files");
    context.run_slim(&of_files).expect(0);
    context.run_slim(&["build", "--state-path", "state", &fat]).expect(0);
    let tags = docker(&["inspect", "--format", "{{.RepoTags}}", &fat]);
    assert_eq!(tags, format!("[{fat}:latest]"));
    assert_eq!(
        image_id("slimtest-sources-held.slim:files"),
        image_id(&format!("{fat}.slim")),
        "wherever it was read"
    );
}

#[test]
fn what_cannot_be_read_or_written_is_told_and_leaves_nothing() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let fat =
        context.busybox_image("sources-bad", &[("/www/index.html", 0o644, "bad")], &[SERVE, "EXPOSE 8000"]);
    docker(&["save", "--output", context.path("fat.tar").to_str().unwrap(), &fat]);
    docker(&["rmi", &fat]);
    let before = Holdings::now();
    let bytes = fs::read(context.path("fat.tar")).unwrap();
    fs::write(context.path("cut.tar"), &bytes[..bytes.len() / 2]).unwrap();
    let cut = context.run_slim(&["build", "./cut.tar"]);
    assert!(cut.expect(4).stderr.contains("cut.tar"), "{}", cut.stderr);
    let elsewhere = context.run_slim(&["build", "fat.tar", "--platform", "linux/s390x"]);
    assert!(elsewhere.expect(4).stderr.contains("not for linux/s390x"), "{}", elsewhere.stderr);
    fs::create_dir(context.path("taken")).unwrap();
    fs::write(context.path("taken/thesis.txt"), "mine").unwrap();
    let taken = context.run_slim(&["build", "fat.tar", "--output", "oci:taken", "--verify=off"]);
    assert!(taken.expect(2).stderr.contains("holds something else"), "{}", taken.stderr);
    assert_eq!(image_id(&format!("{fat}.slim")), None, "nothing was tagged");
    before.expect_again("after builds that failed");
}

#[test]
fn what_a_killed_run_brought_into_the_engine_is_swept_by_the_next() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let fat = context.busybox_image(
        "sources-killed",
        &[("/www/index.html", 0o644, "killed")],
        &[SERVE, "EXPOSE 8000"],
    );
    docker(&["save", "--output", context.path("fat.tar").to_str().unwrap(), &fat]);
    docker(&["rmi", &fat]);
    let before = Holdings::now();
    let mut killed =
        context.slim(&["build", "fat.tar"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let pid = format!("/{}/", killed.id());
    let is_brought = || {
        let names = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        names.lines().any(|name| {
            name.starts_with("docker-slim.temporary/") && name.contains(&pid) && name.ends_with(":fat")
        })
    };
    while !is_brought() {
        assert_eq!(killed.try_wait().unwrap(), None, "it ended before it was killed");
        std::thread::sleep(Duration::from_millis(20));
    }
    killed.kill().unwrap();
    killed.wait().unwrap();
    assert!(is_brought());
    // Any command with an engine sweeps, whatever becomes of it.
    context.run_slim(&["build", "--pull=false", "slimtest-sources-none"]).expect(4);
    before.expect_again("after a run that was killed, and another");
}

/// An image of a base and one layer over it, made by hand: `docker import` makes one layer, and builders are not everywhere.
fn two_layers(context: &mut Context, base: &Path, name: &str, files: &[(&str, &str)]) -> String {
    let folder = context.path(&format!("two-{name}"));
    let own = folder.join("own");
    for (path, contents) in files {
        let path = own.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, contents).unwrap();
    }
    let tar =
        "tar --numeric-owner --owner=0 --group=0 --mtime=@1700000000 -C \"$1/own\" -cf \"$1/own.tar\" .";
    run("bash", &["-c", tar, "bash", folder.to_str().unwrap()]);
    fs::copy(base, folder.join("base.tar")).unwrap();
    let diff_ids = ["base.tar", "own.tar"].map(|layer| Digest::of(fs::read(folder.join(layer)).unwrap()));
    let command = ["/bin/sh", "-c", "trap 'exit 0' TERM; httpd -f -p 8000 -h /www & wait"];
    let config = serde_json::json!({
        "architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z",
        "config": {"Cmd": command, "ExposedPorts": {"8000/tcp": {}}},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [
            {"created_by": "/bin/sh -c #(nop) ADD file:base in /"},
            {"created_by": "/bin/sh -c #(nop) CMD [\"/bin/sh\"]", "empty_layer": true},
            {"created_by": "COPY own /"},
        ],
    });
    let image = format!("slimtest-two-{name}:latest");
    let manifest =
        serde_json::json!([{"Config": "c.json", "RepoTags": [image], "Layers": ["base.tar", "own.tar"]}]);
    fs::write(folder.join("c.json"), config.to_string()).unwrap();
    fs::write(folder.join("manifest.json"), manifest.to_string()).unwrap();
    let tar = "cd \"$1\" && tar -cf image.tar c.json manifest.json base.tar own.tar";
    run("bash", &["-c", tar, "bash", folder.to_str().unwrap()]);
    context.remove_later(&image);
    context.remove_later(&image.replace(":latest", ".slim"));
    folder.join("image.tar").to_str().unwrap().to_owned()
}

#[test]
fn slim_images_of_one_base_share_its_layer_and_do_what_flat_ones_do() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let base = context.busybox_image("sources-base", &[("/usr/share/unused", 0o644, "never read")], &[]);
    docker(&["rmi", &base]);
    let base = context.path("sources-base.tar");
    let one = two_layers(&mut context, &base, "one", &[("/www/index.html", "one")]);
    let two = [("/www/index.html", "two"), ("/etc/passwd", "root:x:0:0::/:/bin/sh\nmore:x:1:1::/:/bin/sh\n")];
    let two = two_layers(&mut context, &base, "two", &two);
    let mut layers = Vec::new();
    for (name, archive) in [("one", one), ("two", two)] {
        let kept =
            ["--include-path", "/etc/passwd", "--layers", "preserve", "--output", &format!("oci:{name}")];
        context.run_slim(&[&["build", "--state-path", "state", &archive], &kept[..]].concat()).expect(0);
        let image = stored(&format!("oci:{name}"), context.folder.path());
        assert_eq!(
            image.config().history[0].created_by.as_deref(),
            Some("/bin/sh -c #(nop) ADD file:base in /")
        );
        layers.push((listing(&image, 0), image.config().rootfs.diff_ids.clone()));
        let flat = ["--include-path", "/etc/passwd", "--output", &format!("oci:{name}-flat")];
        context.run_slim(&[&["build", "--state-path", "state", &archive], &flat[..]].concat()).expect(0);
        let flat = stored(&format!("oci:{name}-flat"), context.folder.path());
        assert_eq!(flat.layer_count(), 1);
        let (flat, preserved) = (flat.tree().unwrap(), image.tree().unwrap());
        assert!(preserved.entry(&"/usr/share/unused".into()).is_none());
        assert_eq!(preserved.listing(), flat.listing(), "{name}: the same files, whatever the layers");
    }
    let [(one, of_one), (two, of_two)] = &layers[..] else { panic!() };
    assert_eq!(one, two, "the base's layer, of which the same is kept");
    assert_eq!(of_one[0], of_two[0]);
    assert_ne!(of_one[1], of_two[1]);
}

#[test]
fn layers_that_are_no_directories_of_this_machine_are_kept_just_so() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let fat =
        context.busybox_image("sources-far", &[("/www/index.html", 0o644, "far")], &[SERVE, "EXPOSE 8000"]);
    let ids = ["on", "off"].map(|local| {
        let mut command: Command = context.slim(&["build", "--layers=preserve", "--verify=off", &fat]);
        let built = command.env("DOCKER_SLIM_LOCAL_LAYERS", local).output().unwrap();
        common::Finished::of(built).expect(0);
        image_id(&format!("{fat}.slim")).unwrap()
    });
    context.remove_later(&format!("{fat}.slim"));
    assert_eq!(ids[0], ids[1]);
}
