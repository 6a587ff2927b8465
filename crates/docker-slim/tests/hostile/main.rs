//! Archives of strangers and the embedded engine's store: whatever they hold, and whichever way they come (docker-archive, OCI
//! archive, layout, registry), nothing outside is touched, what is refused leaves nothing behind, and what comes in is the same
//! for every reader. As root, and as root of a user namespace.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's failure is a panic; one that is skipped says why"
)]

mod archive;
mod tricks;

use archive::{Image, Tar};
use slim_engine::embedded::Store;
use slim_image::location::{Form, Stored};
use slim_image::pack::pack;
use slim_image::packing::Scratch;
use slim_image::{Digest, ImageTree, Kind, Layout, LocalImage, OverlayTree, Packing, Selector};
use slim_registry::client::Progress;
use slim_registry::{
    Client, ClientSettings, From, Platforms, Selection, Server, ServerSettings, To, transfer,
};
use std::fs::{self, File};
use std::num::NonZero;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;
use tricks::{After, tricks};

/// Nobody: no such user is known here.
const USER: u32 = 61_234;
/// Set in the process that does the same again in a user namespace.
const INNER: &str = "HOSTILE_INNER";

/// A folder with a neighbour that nothing may touch, and a store.
struct Place {
    around: TempDir,
}

impl Place {
    fn new() -> Self {
        let around = tempfile::tempdir().unwrap();
        fs::create_dir(around.path().join("outside")).unwrap();
        fs::write(around.path().join("outside/file"), "untouched").unwrap();
        Self { around }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.around.path().join(name)
    }

    fn outside(&self) -> String {
        self.path("outside/file").display().to_string()
    }

    fn store(&self, name: &str) -> Store {
        Store::open(&self.path(name)).unwrap()
    }

    fn written(&self, name: &str, bytes: &[u8]) -> PathBuf {
        fs::write(self.path(name), bytes).unwrap();
        self.path(name)
    }

    fn import(&self, store: &Store, archive: &[u8]) -> Result<(), String> {
        let file = File::open(self.written("import.tar", archive)).unwrap();
        store.import(&file).map(drop).map_err(|error| error.to_string())
    }

    fn untouched(&self) {
        let outside = self.path("outside");
        let names: Vec<_> = fs::read_dir(&outside).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(names, ["file"]);
        assert_eq!(fs::read_to_string(outside.join("file")).unwrap(), "untouched");
        assert_eq!(fs::metadata(outside.join("file")).unwrap().nlink(), 1);
    }
}

/// What a refused image leaves: nothing that the next one who tidies up would not take away.
fn nothing_came_in(store: &Store) {
    assert_eq!(store.images().unwrap(), []);
    let layers =
        || fs::read_dir(store.path().join("layers")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(layers().all(|name| !name.as_encoded_bytes().starts_with(b".")), "half a layer stays");
    store.prune().unwrap();
    assert_eq!(layers().count(), 0);
    let blobs = fs::read_dir(store.path().join("images/blobs/sha256")).unwrap().count();
    let left: Vec<_> = fs::read_dir(store.path().join("images"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.as_encoded_bytes().starts_with(b"."))
        .collect();
    assert_eq!((blobs, left.len()), (0, 0), "{left:?}");
}

/// The one image of a store as its containers see it.
fn unpacked(store: &Store, layers: &[Vec<u8>]) -> OverlayTree {
    let folder = |layer: &Vec<u8>| store.path().join("layers").join(Digest::of(layer).hex()).join("diff");
    OverlayTree::open(&layers.iter().map(folder).collect::<Vec<_>>()).unwrap()
}

/// Every path but the root with what it is.
fn shown(tree: &dyn ImageTree) -> Vec<String> {
    let told = |(path, entry): (&slim_image::ImagePath, &slim_image::Entry)| match &entry.kind {
        Kind::File { .. } => {
            let mut text = String::new();
            tree.open(path).unwrap().read_to_string(&mut text).unwrap();
            format!("{path}={text}")
        }
        Kind::Symlink { target } => format!("{path}>{}", String::from_utf8_lossy(target)),
        _ => path.to_string(),
    };
    tree.walk().filter(|(path, _)| !path.is_root()).map(told).collect()
}

/// Our own registry, within the test.
struct Registry {
    runtime: tokio::runtime::Runtime,
    address: String,
    _folder: TempDir,
}

impl Registry {
    fn start() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let settings =
            ServerSettings { listen: "127.0.0.1:0".parse().unwrap(), root: folder.path().join("root") };
        let server = runtime.block_on(Server::bind(&settings)).unwrap();
        let address = server.address().to_string();
        runtime.spawn(server.run(std::future::pending()));
        Self { runtime, address, _folder: folder }
    }

    fn moved(&self, from: From<'_>, to: To<'_>) -> Result<slim_image::Descriptor, String> {
        let progress = Arc::new(()) as Arc<dyn Progress>;
        let selection = Selection { platforms: Platforms::All, referrers: false };
        let client = Client::new(ClientSettings::default());
        let moved = self.runtime.block_on(transfer(&client, from, to, &selection, &progress));
        moved.map(|moved| moved.descriptor).map_err(|error| error.to_string())
    }

    fn bring_into_store(&self, from: From<'_>, store: &Store) -> Result<(), String> {
        let receiving = store.receive().unwrap();
        let to = receiving.layout().clone();
        let descriptor = self.moved(from, To::Blobs(&to))?;
        let name = "trick:1".parse().unwrap();
        receiving.finish(descriptor, Some(&name)).map(drop).map_err(|error| error.to_string())
    }
}

fn open(form: Form, path: &Path) -> Result<LocalImage, String> {
    let stored = Stored { form, path: path.to_owned(), selector: Selector::Only };
    LocalImage::open(&stored, None, path.parent().unwrap()).map_err(|error| error.to_string())
}

/// A way into a store.
type Bring<'a> = dyn Fn(&Store) -> Result<(), String> + 'a;

/// Brings an image into stores by every way, and reads it in every form.
fn by_every_way(
    place: &Place,
    registry: &Registry,
    image: &Image,
) -> Vec<(&'static str, Result<Vec<String>, String>)> {
    let mut outcomes = Vec::new();
    let (docker, oci) = (image.docker_archive(), image.oci_archive());
    image.write_layout(&place.path("layout"));
    image.write_directory(&place.path("directory"));
    let layout = Layout::open(place.path("layout")).unwrap();
    let name = format!("{}/trick:1", registry.address).parse().unwrap();
    let ways: [(&str, &Bring<'_>); 4] = [
        ("docker-archive", &|store| place.import(store, &docker)),
        ("oci-archive", &|store| place.import(store, &oci)),
        ("layout", &|store| registry.bring_into_store(From::Layout(&layout, &Selector::Only), store)),
        ("registry", &|store| {
            registry.moved(From::Layout(&layout, &Selector::Only), To::Registry(&name))?;
            registry.bring_into_store(From::Registry(&name), store)
        }),
    ];
    for (way, bring) in ways {
        let store = place.store(&format!("store of {way}"));
        let came = bring(&store).map(|()| shown(&unpacked(&store, &image.layers)));
        if came.is_err() {
            nothing_came_in(&store);
        }
        outcomes.push((way, came));
    }
    let forms = [
        ("read docker-archive", Form::DockerArchive, place.written("docker.tar", &docker)),
        ("read oci-archive", Form::OciArchive, place.written("oci.tar", &oci)),
        ("read layout", Form::Layout, place.path("layout")),
        ("read directory", Form::Directory, place.path("directory")),
    ];
    for (way, form, path) in forms {
        let tree = open(form, &path).and_then(|image| image.tree().map_err(|error| error.to_string()));
        outcomes.push((way, tree.map(|tree| shown(&tree))));
    }
    outcomes
}

#[test]
fn no_trick_of_a_layer_works_whichever_way_it_comes() {
    let registry = Registry::start();
    let neighbour = Place::new();
    for trick in tricks(&neighbour.outside()) {
        let place = Place::new();
        let image = Image::of(trick.layers);
        for (way, outcome) in by_every_way(&place, &registry, &image) {
            let told = format!("{}, by way of {way}: {outcome:?}", trick.name);
            match (&trick.after, outcome) {
                (After::Refused(why), Err(error)) => assert!(error.contains(why), "{told}"),
                (After::Shows(paths), Ok(found)) => assert_eq!(found, *paths, "{told}"),
                _ => panic!("{told}"),
            }
        }
        place.untouched();
        neighbour.untouched();
    }
}

/// Who gives files to nobody else, and makes no devices, is safe from the same tricks.
#[test]
fn no_trick_works_on_a_user() {
    if std::env::var_os(INNER).is_some() {
        return;
    }
    let Some(mut command) = in_user_namespace() else { return };
    let tests = ["no_trick_of_a_layer_works_whichever_way_it_comes", "a_bomb_ends_at_the_limit_that_was_set"];
    let output =
        command.arg(std::env::current_exe().unwrap()).args(["--exact"]).args(tests).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains("2 passed"), "{said}");
}

/// A command that begins as root of a user namespace with one user; `None` where there are none, and says so.
fn in_user_namespace() -> Option<Command> {
    let unshare = ["unshare", "--user", "--map-root-user"];
    let user = USER.to_string();
    let words: Vec<&str> = if is_root() {
        ["setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"].into_iter().chain(unshare).collect()
    } else {
        unshare.to_vec()
    };
    let command = || {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).env(INNER, "1").env_remove("TMPDIR").current_dir("/").stdin(Stdio::null());
        command
    };
    let works = command().arg("true").output().is_ok_and(|output| output.status.success());
    if !works {
        println!("skipped: this kernel gives users no namespaces of their own");
    }
    works.then(command)
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

#[test]
fn a_bomb_ends_at_the_limit_that_was_set() {
    const MEGABYTE: usize = 1 << 20;
    let zeros = Tar::default().file("zeros", vec![0; 8 * MEGABYTE]).end();
    let half = Tar::default().file("half", vec![1; 600 << 10]).end();
    let other_half = Tar::default().file("other", vec![2; 600 << 10]).end();
    let ids = |layers: &[&Vec<u8>]| layers.iter().map(Digest::of).collect::<Vec<_>>();
    let bombs = [
        ("plain", Image::of(vec![zeros.clone()])),
        ("gzip", Image::packed(vec![gzip(&zeros)], &ids(&[&zeros]))),
        ("zstd", Image::packed(vec![packed(Packing::Zstd, &zeros)], &ids(&[&zeros]))),
        ("members of gzip", Image::packed(vec![gzip_members(&zeros)], &ids(&[&zeros]))),
        (
            "two that are too much together",
            Image::packed(vec![gzip(&half), gzip(&other_half)], &ids(&[&half, &other_half])),
        ),
    ];
    for (name, image) in bombs {
        let place = Place::new();
        for (limit, is_enough) in [(MEGABYTE, false), (16 * MEGABYTE, true)] {
            let limit = limit as u64;
            let store = place.store(&format!("store-{limit}")).with_unpack_limit(limit);
            let came = place.import(&store, &image.docker_archive());
            let stored =
                Stored { form: Form::AnyArchive, path: place.path("import.tar"), selector: Selector::Only };
            let scratch = Scratch { folder: place.path(""), limit };
            let read = LocalImage::open(&stored, None, scratch).unwrap();
            // What is not packed takes no room that it does not have already.
            let is_packed = name != "plain";
            let read = if is_packed {
                read.tree().map(drop).map_err(|error| error.to_string())
            } else {
                came.clone()
            };
            if is_enough {
                assert_eq!((came, read), (Ok(()), Ok(())), "{name}");
                continue;
            }
            for error in [came.unwrap_err(), read.unwrap_err()] {
                let expected = format!("unpacks to more than {limit} bytes; --unpack-limit allows more");
                assert!(error.contains(&expected), "{name}: {error}");
            }
            nothing_came_in(&store);
        }
    }
    let place = Place::new();
    let path = place.written("image.tar.gz", &gzip(&vec![0; 8 * MEGABYTE]));
    let stored = Stored { form: Form::AnyArchive, path, selector: Selector::Only };
    let scratch = Scratch { folder: place.path(""), limit: 1 << 20 };
    let error = LocalImage::open(&stored, None, scratch).unwrap_err().to_string();
    assert!(error.contains("--unpack-limit"), "{error}");
}

fn packed(packing: Packing, bytes: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    pack(packing, NonZero::<usize>::MIN, &mut output, |output| output.write_all(bytes)).unwrap();
    output
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    packed(Packing::Gzip, bytes)
}

/// One stream in many pieces, each with a header of its own.
fn gzip_members(bytes: &[u8]) -> Vec<u8> {
    bytes.chunks(100_000).flat_map(gzip).collect()
}

#[test]
fn no_trick_of_an_archive_works() {
    let layer = Tar::default().file("a", "x").end();
    let image = Image::of(vec![layer.clone()]);
    let config = &image.config;
    let manifest = |config: &str, layers: &[&str]| {
        serde_json::json!([{"Config": config, "RepoTags": ["../../etc/cron.d/x:1"], "Layers": layers}])
            .to_string()
    };
    let docker =
        |manifest: String| Tar::default().file("manifest.json", manifest).file("config.json", config);
    let good = || docker(manifest("config.json", &["l.tar"]));
    let twice = [layer.clone(), b"more".to_vec()].concat();
    for (name, tar, why) in [
        ("layers outside", docker(manifest("config.json", &["../../outside/file"])), "it has no"),
        ("an absolute layer", docker(manifest("config.json", &["/etc/shadow"])), "it has no"),
        (
            "a configuration outside",
            docker(manifest("/etc/passwd", &["l.tar"])).file("l.tar", &layer),
            "it has no",
        ),
        ("a layer that is a link out", good().symlink("l.tar", "../../outside/file"), "links out"),
        ("a layer that is an absolute link", good().symlink("l.tar", "/etc/shadow"), "links out"),
        ("a layer that is a hard link out", good().hard_link("l.tar", "/etc/shadow"), "is absolute"),
        ("a layer that is a link to itself", good().symlink("l.tar", "l.tar"), "it has no"),
        ("links in a circle", good().symlink("l.tar", "m").symlink("m", "l.tar"), "it has no"),
        ("a layer that is a device", good().device("l.tar", b'4', (8, 0)), "neither file nor directory"),
        ("a name that climbs out", good().file("../l.tar", &layer), "leads out"),
        ("a name twice", good().file("l.tar", &layer).file("./l.tar", &twice), "there twice"),
        (
            "another layer than is named",
            good().file("l.tar", Tar::default().file("b", "").end()),
            "not sha256:",
        ),
        ("a layer with more behind its end", good().file("l.tar", &twice), "not sha256:"),
        ("more diff ids than layers", docker(manifest("config.json", &[])), "layers"),
        (
            "a thousand layers",
            docker(manifest("config.json", &["l.tar"; 1000])).file("l.tar", &layer),
            "no engine takes",
        ),
        ("no image at all", Tar::default().file("manifest.json", "[]"), ""),
        ("an index that is no index", Tar::default().file("index.json", "[1]"), ""),
        ("documents nested without end", Tar::default().file("manifest.json", "[".repeat(100_000)), ""),
        (
            "members without end",
            (0..50_001).fold(good(), |tar, number| tar.file(format!("{number}"), "")),
            "members",
        ),
    ] {
        let place = Place::new();
        let store = place.store("store");
        let error = place.import(&store, &tar.clone().end()).unwrap_err();
        assert!(error.contains(why), "{name}: {error}");
        nothing_came_in(&store);
        let read = open(Form::AnyArchive, &place.path("import.tar"));
        let read = read.and_then(|image| image.tree().map(drop).map_err(|error| error.to_string()));
        assert!(read.is_err(), "{name} can be read");
        place.untouched();
    }
    let place = Place::new();
    let store = place.store("store");
    place.import(&store, &good().file("l.tar", &layer).end()).unwrap();
    assert_eq!(store.images().unwrap()[0].names, [""; 0], "what is no name of an image is none");
}

/// A folder that a stranger packed: links in it would have us read, or write, what is not in it.
#[test]
fn no_link_in_a_folder_leads_out_of_it() {
    let layer = Tar::default().file("a", "x").end();
    let image = Image::of(vec![layer.clone()]);
    let registry = Registry::start();
    let in_blobs = |bytes: &[u8]| format!("blobs/sha256/{}", Digest::of(bytes).hex());
    let names = [in_blobs(&layer), in_blobs(&image.config), "index.json".into(), "oci-layout".into()];
    for (number, name) in names.into_iter().enumerate() {
        let place = Place::new();
        image.write_layout(&place.path("layout"));
        let link = place.path("layout").join(&name);
        // The same bytes, so that no digest gives it away.
        fs::rename(&link, place.path("moved")).unwrap();
        symlink(place.path("moved"), &link).unwrap();
        let read = open(Form::Layout, &place.path("layout")).unwrap_err();
        assert!(read.contains("leads out of"), "{name}: {read}");
        let Ok(layout) = Layout::open(place.path("layout")) else { continue };
        let store = place.store("store");
        let from = From::Layout(&layout, &Selector::Only);
        assert!(registry.bring_into_store(from, &store).unwrap_err().contains("leads out of"), "{name}");
        nothing_came_in(&store);
        let elsewhere = format!("{}/links-{number}:1", registry.address).parse().unwrap();
        assert!(
            registry.moved(from, To::Registry(&elsewhere)).unwrap_err().contains("leads out of"),
            "{name}"
        );
    }
    for name in [Digest::of(&layer).hex(), Digest::of(&image.config).hex(), "manifest.json".into()] {
        let place = Place::new();
        image.write_directory(&place.path("directory"));
        let link = place.path("directory").join(&name);
        fs::rename(&link, place.path("moved")).unwrap();
        symlink("../moved", &link).unwrap();
        let read = open(Form::Directory, &place.path("directory")).unwrap_err();
        assert!(read.contains("leads out of"), "{name}: {read}");
        let layout = Layout::create(place.path("layout")).unwrap();
        let taken = layout.take_directory(&place.path("directory")).unwrap_err().to_string();
        assert!(taken.contains("leads out of"), "{name}: {taken}");
    }
}

#[test]
fn nothing_is_written_through_links_of_a_folder() {
    let image = Image::of(vec![Tar::default().file("a", "x").end()]);
    let registry = Registry::start();
    let place = Place::new();
    image.write_layout(&place.path("source"));
    let source = Layout::open(place.path("source")).unwrap();
    let name = format!("{}/links:2", registry.address).parse().unwrap();
    registry.moved(From::Layout(&source, &Selector::Only), To::Registry(&name)).unwrap();
    let to = |folder| To::Layout { folder, name: None, full: None };

    let target = place.path("partial");
    let layout = Layout::create(&target).unwrap();
    for layer in &image.layers {
        symlink(place.path("outside/file"), layout.partial_path(&Digest::of(layer))).unwrap();
    }
    registry.moved(From::Registry(&name), to(&target)).unwrap_err();
    place.untouched();

    let target = place.path("blobs");
    drop(Layout::create(&target).unwrap());
    fs::remove_dir(target.join("blobs/sha256")).unwrap();
    symlink(place.path("outside"), target.join("blobs/sha256")).unwrap();
    let error = registry.moved(From::Registry(&name), to(&target)).unwrap_err();
    assert!(error.contains("link that leads elsewhere"), "{error}");
    place.untouched();
}

#[test]
fn blobs_that_are_not_what_they_are_named_come_in_nowhere() {
    let layer = Tar::default().file("a", "x".repeat(3000)).end();
    let image = Image::of(vec![layer.clone()]);
    let registry = Registry::start();
    type Change = fn(&mut Vec<u8>);
    let changes: [(&str, Change); 4] = [
        ("cut off", |bytes| bytes.truncate(bytes.len() / 2)),
        ("longer", |bytes| bytes.push(0)),
        ("another", |bytes| bytes[600] ^= 1),
        ("empty", Vec::clear),
    ];
    for (name, change) in changes {
        let place = Place::new();
        let blob = format!("blobs/sha256/{}", Digest::of(&layer).hex());
        let mut files = image.layout_files();
        files.iter_mut().filter(|(name, _)| *name == blob).for_each(|(_, bytes)| change(bytes));
        let archive = files.iter().fold(Tar::default(), |tar, (name, bytes)| tar.file(name, bytes)).end();
        image.write_layout(&place.path("layout"));
        image.write_directory(&place.path("directory"));
        for copy in [place.path("layout").join(&blob), place.path("directory").join(Digest::of(&layer).hex())]
        {
            let mut bytes = fs::read(&copy).unwrap();
            change(&mut bytes);
            fs::write(&copy, bytes).unwrap();
        }
        let store = place.store("store");
        place.import(&store, &archive).unwrap_err();
        nothing_came_in(&store);
        let layout = Layout::open(place.path("layout")).unwrap();
        registry.bring_into_store(From::Layout(&layout, &Selector::Only), &store).unwrap_err();
        nothing_came_in(&store);
        for (form, path) in [
            (Form::OciArchive, place.path("import.tar")),
            (Form::Layout, place.path("layout")),
            (Form::Directory, place.path("directory")),
        ] {
            let read = open(form, &path);
            let read = read.and_then(|image| image.tree().map(drop).map_err(|error| error.to_string()));
            assert!(read.is_err(), "{name}: {form:?}");
        }
    }
}

/// Nobody can make an index with its own digest, but one that claims it, and many within one another.
#[test]
fn an_index_does_not_lead_in_circles() {
    let index_type = "application/vnd.oci.image.index.v1+json";
    let index = |digest: &str, size: usize| {
        serde_json::json!({"schemaVersion": 2, "manifests": [{
            "mediaType": index_type, "digest": digest, "size": size,
            "platform": {"os": "linux", "architecture": "amd64"},
        }]})
        .to_string()
    };
    let place = Place::new();
    let layout = place.path("layout");
    fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    let claimed = Digest::of("anything").to_string();
    let own = index(&claimed, 0);
    let own = index(&claimed, own.len() + 2);
    fs::write(layout.join("blobs/sha256").join(&claimed[7..]), &own).unwrap();
    fs::write(layout.join("index.json"), &own).unwrap();
    let error = open(Form::Layout, &layout).unwrap_err();
    assert!(error.contains("digest should be"), "{error}");
    let mut last = index(&claimed, 1);
    for _ in 0..20 {
        fs::write(layout.join("blobs/sha256").join(Digest::of(&last).hex()), &last).unwrap();
        last = index(&Digest::of(&last).to_string(), last.len());
    }
    fs::write(layout.join("index.json"), &last).unwrap();
    let error = open(Form::Layout, &layout).unwrap_err();
    assert!(error.contains("index within"), "{error}");
}

/// Directories in one another, deeper than a process can hold open: what comes in can be taken away again.
#[test]
fn what_is_deep_comes_in_and_goes() {
    let deep = "d/".repeat(2000);
    let link = "d/".repeat(45);
    let tar = Tar::default().file(format!("{deep}x"), "x");
    let deeper = (0..30).fold(Tar::default().symlink("l0", "."), |tar, number| {
        tar.file(format!("l{number}/{link}x"), "")
            .symlink(&format!("l{}", number + 1), &format!("l{number}/{link}"))
    });
    for tar in [tar, deeper] {
        let place = Place::new();
        let store = place.store("store");
        place.import(&store, &Image::of(vec![tar.clone().end()]).docker_archive()).unwrap();
        store.remove("trick:1").unwrap();
        nothing_came_in(&store);
        let broken = tar.hard_link("a", "none").end();
        place.import(&store, &Image::of(vec![broken]).docker_archive()).unwrap_err();
        nothing_came_in(&store);
    }
}

/// Set-id programs of strangers lie in the store: whoever has an account here must not get at them.
#[test]
fn no_user_of_this_machine_runs_what_lies_in_the_store() {
    if !is_root() || std::env::var_os(INNER).is_some() {
        println!("skipped: it takes root to become another user");
        return;
    }
    let place = Place::new();
    fs::set_permissions(place.around.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::create_dir(place.path("store")).unwrap();
    fs::set_permissions(place.path("store"), fs::Permissions::from_mode(0o755)).unwrap();
    let store = place.store("store");
    let layer = Tar::default().directory("bin").file_with("bin/become", 0o6755, "#!/bin/sh\n").end();
    place.import(&store, &Image::of(vec![layer.clone()]).docker_archive()).unwrap();
    let program = store.path().join("layers").join(Digest::of(&layer).hex()).join("diff/bin/become");
    assert_eq!(fs::metadata(&program).unwrap().mode() & 0o7777, 0o6755, "containers have it as it is");
    let user = USER.to_string();
    let tried = Command::new("setpriv")
        .args(["--reuid", &user, "--regid", &user, "--clear-groups", "--"])
        .arg(&program)
        .output()
        .unwrap();
    assert!(!tried.status.success());
    let said = String::from_utf8_lossy(&tried.stderr);
    assert!(said.contains("Permission denied"), "{said}");
    assert_eq!(fs::metadata(store.path().join("layers")).unwrap().mode() & 0o777, 0o700);
}

#[test]
fn a_folder_of_others_does_not_become_a_store() {
    let place = Place::new();
    fs::set_permissions(place.path("outside"), fs::Permissions::from_mode(0o755)).unwrap();
    let error = Store::open(&place.path("outside")).unwrap_err().to_string();
    assert!(error.contains("holds something else") && error.contains("--store-root"), "{error}");
    assert_eq!(fs::metadata(place.path("outside")).unwrap().mode() & 0o777, 0o755);
    place.untouched();
}
