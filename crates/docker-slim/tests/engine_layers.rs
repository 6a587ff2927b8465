//! An image read in the engine's own layers is the image that a collector reads: entry by entry, byte by byte, and in
//! what is built of it.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's failure is a panic, and it says why it is skipped"
)]

mod common;

use common::{Context, docker, engine_is_here, image_id, run};
use slim_engine::{CollectorSpec, EndpointInputs, Engine};
use slim_image::collector::Client;
use slim_image::{Entry, ImagePath, ImageTree, Kind, OverlayTree, SourceImage};
use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Everything that layers can do to one another, in four of them; then an archive that `docker load` takes.
const LAYERS: &str = r#"
set -eu
cd "$1"
mkdir -p 0 1 2 3
cd 0
mkdir -p usr/bin usr/lib etc run srv data/deep opt/app/sub opt/gone opt/swap/inner dev proc tmp/empty
printf tool > usr/bin/tool; chmod 4755 usr/bin/tool
ln usr/bin/tool usr/bin/tool-too; ln usr/bin/tool usr/bin/tool-three
printf ping > usr/bin/ping; setcap cap_net_raw+ep usr/bin/ping
ln -s usr/lib lib; ln -s /usr/bin/tool absolute; ln -s ../nowhere srv/dangling
mkfifo -m 640 run/pipe; mknod -m 600 srv/null c 1 3; mknod -m 660 srv/loop b 7 1
printf mine > etc/hosts; printf mine > etc/resolv.conf; printf host > etc/hostname; printf root > etc/passwd
ln etc/hosts etc/hosts.linked
printf x > .dockerenv; printf x > dev/node; printf x > proc/file
printf seed > data/seed; printf deep > data/deep/file; ln data/seed data/linked; chmod 751 data; chmod 640 data/seed
ln -s deep data/link; chown 1234:5678 data data/seed; chown -h 3000000:3000001 data/link
printf old > opt/app/old; printf sub > opt/app/sub/file; printf gone > opt/gone/file
printf inner > opt/swap/inner/file; printf back > opt/back
printf odd > "srv/$(printf 'odd\377\\name')"; head -c 3000000 /dev/urandom > srv/large; : > srv/none
chmod 1777 tmp; chmod 2750 opt; chown 5:6 opt; touch -d @1000000000 usr/bin/tool etc/passwd opt/app
chmod 700 .
cd ../1
mkdir -p opt/app var
: > opt/.wh.gone; : > opt/app/.wh..wh..opq; printf new > opt/app/new
printf file > opt/swap; mkdir opt/back; printf in > opt/back/in; ln -s ../run var/run
cd ../2
mkdir -p opt/gone opt/swap usr/bin opt/app
printf again > opt/gone/again; printf returned > opt/swap/returned; printf back > opt/back
printf other > usr/bin/tool-too; printf more > opt/app/more
cd ../3
mkdir -p opt/app usr; chmod 711 opt; : > opt/.wh.never; chmod 555 usr; : > .wh.lib
mkdir lib; printf real > lib/real; : > srv-new
cd ..
config='{"architecture":"amd64","os":"linux","config":{"Cmd":["/x"],"Volumes":{"/data":{},"/var/run/state":{}}}'
config="$config,\"rootfs\":{\"type\":\"layers\",\"diff_ids\":["
layers=
comma=
for layer in 0 1 2 3; do
    tar --xattrs --xattrs-include='security.capability' --format=posix --numeric-owner -C $layer -cf $layer.tar .
    config="$config$comma\"sha256:$(sha256sum $layer.tar | cut -d' ' -f1)\""
    layers="$layers$comma\"$layer.tar\""
    comma=,
done
printf '%s]}}' "$config" > config.json
printf '[{"Config":"config.json","RepoTags":["%s"],"Layers":[%s]}]' "$2" "$layers" > manifest.json
tar -cf image.tar config.json manifest.json 0.tar 1.tar 2.tar 3.tar
"#;

fn crafted_image(context: &mut Context) -> String {
    let folder = context.path("layers");
    fs::create_dir(&folder).unwrap();
    let image = format!("slimtest-layers-{}:latest", std::process::id());
    context.remove_later(&image);
    run("bash", &["-c", LAYERS, "bash", folder.to_str().unwrap(), &image]);
    docker(&["load", "-q", "-i", folder.join("image.tar").to_str().unwrap()]);
    image
}

/// What both ways of reading give.
struct Both {
    layers: OverlayTree,
    collected: BTreeMap<ImagePath, (Entry, Option<Vec<u8>>)>,
}

fn bytes_of(tree: &dyn ImageTree, path: &ImagePath, entry: &Entry) -> Option<Vec<u8>> {
    matches!(entry.kind, Kind::File { .. }).then(|| {
        let mut bytes = Vec::new();
        tree.open(path).unwrap().read_to_end(&mut bytes).unwrap();
        bytes
    })
}

async fn collected(
    engine: &dyn Engine,
    source: &SourceImage,
) -> BTreeMap<ImagePath, (Entry, Option<Vec<u8>>)> {
    let spec = CollectorSpec {
        image: source.id.to_string(),
        binary: PathBuf::from(env!("CARGO_BIN_EXE_docker-slim")),
        file_name: ".slimtest-collector".to_owned(),
        arguments: vec!["collector".to_owned()],
        labels: BTreeMap::new(),
    };
    let collector = slim_engine::start_collector(engine, &spec).await.unwrap();
    let (id, volumes) = (collector.id.clone(), source.config.volume_paths());
    let collected = tokio::task::spawn_blocking(move || {
        let client = Client::connect(collector.output, collector.input, &volumes, None).unwrap();
        client
            .walk()
            .map(|(path, entry)| (path.clone(), (entry.clone(), bytes_of(&client, path, entry))))
            .collect()
    })
    .await;
    engine.remove(&id, true).await.unwrap();
    collected.unwrap()
}

/// `None`, with a word why, where the engine keeps its layers otherwise.
fn read_both(context: &Context, image: &str) -> Option<Both> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let inputs = EndpointInputs { docker_config_dir: context.path("none"), ..EndpointInputs::default() };
        let engine = slim_engine::connect(&inputs).await.unwrap();
        let source = engine.inspect_image(image).await.unwrap();
        let Some(directories) = engine.local_layers(&source.id.to_string()).await.unwrap() else {
            println!("skipped: the engine keeps no overlay2 layers on this machine");
            return None;
        };
        let layers = OverlayTree::open(&directories).unwrap();
        let layers = layers.seen_in_container(&source.config.volume_paths()).unwrap();
        Some(Both { layers, collected: collected(engine.as_ref(), &source).await })
    })
}

fn assert_the_same(both: &Both) {
    let listed = |paths: &mut dyn Iterator<Item = String>| paths.collect::<Vec<_>>().join("\n");
    assert_eq!(
        listed(&mut both.layers.walk().map(|(path, _)| path.to_string())),
        listed(&mut both.collected.keys().map(ToString::to_string))
    );
    let mut differences = Vec::new();
    for (path, (entry, bytes)) in &both.collected {
        let ours = both.layers.entry(path).unwrap();
        if ours != entry {
            differences.push(format!("{path}: {ours:?} instead of {entry:?}"));
        }
        if bytes_of(&both.layers, path, ours) != *bytes {
            differences.push(format!("{path}: other bytes"));
        }
    }
    assert!(differences.is_empty(), "{}", differences.join("\n"));
    let paths: Vec<ImagePath> = both
        .collected
        .iter()
        .filter(|(_, (_, bytes))| bytes.is_some())
        .map(|(path, _)| path.clone())
        .collect();
    let mut read = Vec::new();
    both.layers
        .read_each(&paths, &mut |path, contents| {
            let mut bytes = Vec::new();
            contents.read_to_end(&mut bytes).unwrap();
            assert!(both.collected[path].1 == Some(bytes), "other bytes in {path}");
            read.push(path.clone());
            Ok(())
        })
        .unwrap();
    assert_eq!(read, paths);
}

#[test]
fn layers_read_in_place_are_what_a_collector_reads() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = crafted_image(&mut context);
    let Some(both) = read_both(&context, &image) else { return };
    assert_the_same(&both);

    let entry = |path: &str| both.layers.entry(&path.into());
    assert!(entry("/.dockerenv").is_none() && entry("/etc/hosts").is_none());
    assert!(entry("/usr/bin/ping").unwrap().xattrs.contains_key("security.capability"));
    assert_eq!(entry("/usr/bin/tool").unwrap().mode, 0o4755);
    assert!(entry("/usr/bin/tool").unwrap().hard_link_group.is_some());
    assert!(entry("/run/state").unwrap().is_directory(), "a volume that the image does not hold");
    assert!(entry("/opt/app/old").is_none() && entry("/opt/app/more").is_some());
    assert!(both.collected.contains_key(&ImagePath::new(b"/srv/odd\xff\\name")));
    let layer_of = |path: &str| both.layers.layer_of(&path.into());
    let paths = ["/usr/bin/tool", "/opt/app/new", "/opt/back", "/opt", "/lib/real", "/run/state"];
    assert_eq!(paths.map(layer_of), [Some(0), Some(1), Some(2), Some(3), Some(3), None]);
}

#[test]
fn a_container_shows_directories_where_the_image_has_links_to_them() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = context.busybox_image("links", &[("/conf/real", 0o644, "x")], &["VOLUME /a/b"]);
    let linked = "FROM slimtest-links\nRUN [\"/bin/busybox\",\"sh\",\"-c\",\"rm -rf /srv; ln -s conf /srv\"]\nVOLUME /srv/in";
    let folder = context.path("linked");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("Dockerfile"), linked).unwrap();
    context.remove_later("slimtest-links-linked");
    run(
        "bash",
        &[
            "-c",
            "DOCKER_BUILDKIT=0 docker build -q -t slimtest-links-linked \"$1\"",
            "bash",
            folder.to_str().unwrap(),
        ],
    );
    for image in [image.as_str(), "slimtest-links-linked"] {
        let Some(both) = read_both(&context, image) else { return };
        assert_the_same(&both);
    }
}

/// How many collectors of an image were made since a time (seconds since the epoch), by what `docker events` tells.
fn collectors_since(since: &str, image: &str) -> usize {
    let until = run("date", &["+%s"]).parse::<u64>().unwrap() + 1;
    let events = docker(&[
        "events",
        "--since",
        since,
        "--until",
        &until.to_string(),
        "--filter",
        "type=container",
        "--filter",
        "event=create",
        "--format",
        "{{json .Actor.Attributes}}",
    ]);
    events.lines().filter(|line| line.contains(image) && line.contains("\"collector\"")).count()
}

fn build(context: &Context, image: &str, layers: &str, state: &Path) -> String {
    let state = state.to_str().unwrap();
    let output = context
        .slim(&["--state-path", state, "build", "--http-probe", image])
        .env("DOCKER_SLIM_LOCAL_LAYERS", layers)
        .output()
        .unwrap();
    common::Finished::of(output).expect(0);
    image_id(&format!("{image}.slim")).unwrap()
}

#[test]
fn no_collector_is_made_where_layers_are_at_hand_and_the_image_is_the_same() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let page = ("/www/index.html", 0o644, "<html>hello</html>");
    let changes = [common::SERVE, "EXPOSE 8000", "VOLUME /data"];
    let image = context.busybox_image("layers-build", &[page, ("/data/seed", 0o640, "seed")], &changes);
    let fat = image_id(&image).unwrap();
    let since = run("date", &["+%s"]);
    let (with, without) = (context.path("with"), context.path("without"));
    let in_place = build(&context, &image, "on", &with);
    let is_overlay = docker(&["info", "--format", "{{.Driver}}"]) == "overlay2";
    assert_eq!(collectors_since(&since, &fat), usize::from(!is_overlay));
    let collected = build(&context, &image, "off", &without);
    assert_eq!(collectors_since(&since, &fat), 1 + usize::from(!is_overlay));
    assert_eq!(in_place, collected);

    let output =
        context.slim(&["build", &image]).env("DOCKER_SLIM_LOCAL_LAYERS", "perhaps").output().unwrap();
    let finished = common::Finished::of(output);
    finished.expect(2);
    assert!(finished.stderr.contains("it is on or off"), "{}", finished.stderr);
}
