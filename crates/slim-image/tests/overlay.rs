//! Layers as overlay2 leaves them, put over one another: rule by rule, and laid beside what the kernel makes of them.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]
#![expect(clippy::print_stdout, reason = "says why a test is skipped")]

mod common;

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev, mknodat, setxattr};
use slim_image::preserve::{SharedTree, preserve};
use slim_image::{
    Config, ImagePath, ImageTree, Kind, LayerEntry, OverlayError, OverlayTree, SavedTree, SlimImage,
    TreeError, validate,
};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use tempfile::TempDir;

/// The layers of one image, the base first.
struct Layers {
    folder: TempDir,
    count: usize,
}

/// A layer's directory.
struct Layer(PathBuf);

impl Layers {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap(), count: 0 }
    }

    /// One more layer on top.
    fn add(&mut self) -> Layer {
        let layer = Layer(self.folder.path().join(self.count.to_string()));
        fs::create_dir(&layer.0).unwrap();
        self.count += 1;
        layer
    }

    fn directories(&self) -> Vec<PathBuf> {
        (0..self.count).map(|layer| self.folder.path().join(layer.to_string())).collect()
    }

    fn tree(&self) -> OverlayTree {
        OverlayTree::open(&self.directories()).unwrap()
    }

    /// Every path but the root; directories end in a slash.
    fn paths(&self) -> Vec<String> {
        paths(&self.tree())
    }
}

impl Layer {
    fn at(&self, path: &str) -> PathBuf {
        let path = self.0.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    fn file(&self, path: &str, text: &str) -> &Self {
        fs::write(self.at(path), text).unwrap();
        self
    }

    fn dir(&self, path: &str, mode: u32) -> &Self {
        let path = self.at(path);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        self
    }

    fn whiteout(&self, path: &str) -> &Self {
        mknodat(CWD, self.at(path), FileType::CharacterDevice, Mode::empty(), makedev(0, 0)).unwrap();
        self
    }

    fn mark(&self, path: &str, attribute: &str, value: &str) -> &Self {
        let name = format!("trusted.overlay.{attribute}");
        setxattr(self.0.join(path), name, value.as_bytes(), XattrFlags::empty()).unwrap();
        self
    }
}

fn paths(tree: &OverlayTree) -> Vec<String> {
    tree.walk()
        .filter(|(path, _)| !path.is_root())
        .map(|(path, entry)| format!("{path}{}", if entry.is_directory() { "/" } else { "" }))
        .collect()
}

fn read(tree: &dyn ImageTree, path: &ImagePath) -> Vec<u8> {
    let mut bytes = Vec::new();
    tree.open(path).unwrap().read_to_end(&mut bytes).unwrap();
    bytes
}

/// Whether whiteouts and attributes of overlayfs can be made; says why not.
fn can_mark() -> bool {
    let layer = Layer(tempfile::tempdir().unwrap().keep());
    let device = mknodat(CWD, layer.at("x"), FileType::CharacterDevice, Mode::empty(), makedev(0, 0));
    let attribute = setxattr(&layer.0, "trusted.overlay.opaque", b"y", XattrFlags::empty());
    fs::remove_dir_all(&layer.0).unwrap();
    if device.is_err() || attribute.is_err() {
        println!("skipped: overlayfs's devices and attributes can be made by root only");
        return false;
    }
    true
}

#[test]
fn a_layer_replaces_what_is_below_and_tells_what_is_its_own() {
    let mut layers = Layers::new();
    layers.add().file("etc/base", "base").file("etc/both", "old").dir("etc", 0o700);
    layers.add().file("etc/both", "newer").file("etc/top", "top").dir("etc", 0o751);
    let tree = layers.tree();
    assert_eq!(paths(&tree), ["/etc/", "/etc/base", "/etc/both", "/etc/top"]);
    assert_eq!(read(&tree, &"/etc/both".into()), b"newer");
    assert_eq!(tree.entry(&"/etc".into()).unwrap().mode, 0o751);
    let layer_of = |path: &str| tree.layer_of(&path.into());
    assert_eq!(["/etc/base", "/etc/both", "/etc/top", "/etc"].map(layer_of), [0, 1, 1, 1].map(Some));
    assert_eq!(layer_of("/none"), None);
}

#[test]
fn a_file_replaces_a_directory_and_a_directory_a_file_and_nothing_comes_back() {
    let mut layers = Layers::new();
    layers.add().file("a/old", "old").file("b", "file");
    layers.add().file("a", "file").file("b/new", "new");
    layers.add().file("a/newest", "newest");
    assert_eq!(layers.paths(), ["/a/", "/a/newest", "/b/", "/b/new"]);
}

#[test]
fn links_of_an_image_are_listed_and_never_followed() {
    let mut layers = Layers::new();
    let (base, outside) = (layers.add(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("secret"), "secret").unwrap();
    base.file("bin/tool", "tool");
    symlink("/etc/passwd", base.at("leak")).unwrap();
    symlink(outside.path(), base.at("out")).unwrap();
    let tree = layers.tree();
    assert_eq!(paths(&tree), ["/bin/", "/bin/tool", "/leak", "/out"]);
    assert!(matches!(tree.open(&"/leak".into()), Err(TreeError::NotAFile(_))));
    assert!(matches!(tree.open(&"/out/secret".into()), Err(TreeError::NotFound(_))));
    // Also where they are planted after the listing was made.
    fs::rename(base.0.join("bin"), base.0.join("was")).unwrap();
    symlink(outside.path(), base.0.join("bin")).unwrap();
    fs::write(outside.path().join("tool"), "evil").unwrap();
    let Err(TreeError::Read { path, source }) = tree.open(&"/bin/tool".into()).map(drop) else { panic!() };
    assert_eq!((path, source.raw_os_error()), ("/bin/tool".into(), Some(libc::ELOOP)));
    fs::remove_file(base.0.join("bin")).unwrap();
    fs::rename(base.0.join("was"), base.0.join("bin")).unwrap();
    fs::remove_file(base.0.join("bin/tool")).unwrap();
    symlink("/etc/passwd", base.0.join("bin/tool")).unwrap();
    assert!(tree.open(&"/bin/tool".into()).is_err());
}

#[test]
fn names_of_one_inode_are_a_group_within_their_layer() {
    let mut layers = Layers::new();
    let base = layers.add();
    base.file("a", "1").file("single", "1");
    for name in ["b", "c"] {
        fs::hard_link(base.0.join("a"), base.0.join(name)).unwrap();
    }
    fs::hard_link(base.0.join("single"), base.0.join("covered")).unwrap();
    layers.add().file("b", "2").file("covered", "2");
    let tree = layers.tree();
    let group = |path: &str| tree.entry(&path.into()).unwrap().hard_link_group;
    assert_eq!(["a", "c"].map(group), [Some(1); 2]);
    assert_eq!(["b", "single", "covered"].map(group), [None; 3], "other names are not in the image");
}

#[test]
fn odd_names_and_attributes_come_as_they_are() {
    let mut layers = Layers::new();
    let base = layers.add();
    fs::write(base.0.join(OsStr::from_bytes(b"odd\xff\n")), "odd").unwrap();
    base.file("tool", "elf");
    fs::set_permissions(base.0.join("tool"), PermissionsExt::from_mode(0o4751)).unwrap();
    let has_attributes = setxattr(base.0.join("tool"), "user.a", b"\xff\n", XattrFlags::empty()).is_ok();
    let tree = layers.tree();
    assert_eq!(read(&tree, &ImagePath::new(b"/odd\xff\n")), b"odd");
    let tool = tree.entry(&"/tool".into()).unwrap();
    let on_disk = fs::metadata(base.0.join("tool")).unwrap();
    assert_eq!((tool.mode, tool.size(), tool.mtime), (0o4751, 3, on_disk.mtime()));
    assert_eq!((tool.uid, tool.gid), (on_disk.uid(), on_disk.gid()));
    assert_eq!(tool.xattrs.get("user.a"), has_attributes.then_some(&b"\xff\n".to_vec()));
}

#[test]
fn a_layer_that_is_not_there_is_named() {
    let mut layers = Layers::new();
    layers.add();
    let missing = layers.folder.path().join("none");
    let error = OverlayTree::open(&[layers.directories().remove(0), missing.clone()]).unwrap_err();
    assert!(matches!(&error, OverlayError::Layer { directory, .. } if *directory == missing), "{error}");
}

#[test]
fn a_whiteout_hides_what_is_below_it_and_what_is_above_stays() {
    if !can_mark() {
        return;
    }
    let mut layers = Layers::new();
    layers.add().file("usr/share/doc/a", "a").file("usr/bin/tool", "tool").file("file", "file");
    layers.add().whiteout("usr/share").whiteout("file").whiteout("never-there");
    assert_eq!(layers.paths(), ["/usr/", "/usr/bin/", "/usr/bin/tool"]);
    layers.add().file("usr/share/new", "new").file("file", "again");
    let tree = layers.tree();
    assert_eq!(
        paths(&tree),
        ["/file", "/usr/", "/usr/bin/", "/usr/bin/tool", "/usr/share/", "/usr/share/new"]
    );
    assert_eq!(tree.layer_of(&"/usr/share".into()), Some(2));
    assert_eq!(read(&tree, &"/file".into()), b"again");
}

#[test]
fn an_opaque_directory_hides_what_is_below_it_and_not_what_is_above() {
    if !can_mark() {
        return;
    }
    let mut layers = Layers::new();
    layers.add().file("var/lib/db/old", "old").file("var/log/x", "x");
    layers.add().file("var/lib/db/new", "new").mark("var/lib/db", "opaque", "y");
    layers.add().file("var/lib/db/newest", "newest").mark("var/lib/db", "origin", "anything");
    let tree = layers.tree();
    assert_eq!(
        paths(&tree),
        [
            "/var/",
            "/var/lib/",
            "/var/lib/db/",
            "/var/lib/db/new",
            "/var/lib/db/newest",
            "/var/log/",
            "/var/log/x"
        ]
    );
    assert!(
        tree.walk().all(|(_, entry)| entry.xattrs.is_empty()),
        "overlayfs's own say nothing of the image"
    );
}

#[test]
fn what_would_send_the_reader_elsewhere_is_refused_by_name() {
    if !can_mark() {
        return;
    }
    for (path, attribute, value) in
        [("a", "redirect", "/b"), ("a/f", "metacopy", ""), ("a", "opaque", "x"), ("a/f", "whiteout", "y")]
    {
        let mut layers = Layers::new();
        layers.add().file("a/f", "").mark(path, attribute, value);
        layers.add().dir("a", 0o755);
        let error = OverlayTree::open(&layers.directories()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("read /{path} of layer 0: its attribute trusted.overlay.{attribute} is not understood")
        );
    }
}

#[test]
fn a_container_shows_its_own_files_and_directories_in_place_of_the_images() {
    let mut layers = Layers::new();
    let base = layers.add();
    base.dir("", 0o700)
        .file("etc/hosts", "mine")
        .file("etc/passwd", "root")
        .file("dev/null", "")
        .file("app/x", "x");
    symlink("../srv/data", base.at("app/data")).unwrap();
    fs::hard_link(base.0.join("etc/hosts"), base.0.join("etc/hosts.old")).unwrap();
    base.dir("srv", 0o711).file(".dockerenv", "").file("run/.containerenv", "");
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    fs::File::open(base.0.join("etc/passwd")).unwrap().set_modified(long_ago).unwrap();
    fs::File::open(base.0.join("etc/hosts.old")).unwrap().set_modified(long_ago).unwrap();
    let tree = layers.tree().seen_in_container(&["/app/data/deep".into(), "/dev/shm".into()]).unwrap();
    assert_eq!(
        paths(&tree),
        [
            "/app/",
            "/app/data",
            "/app/x",
            "/dev/",
            "/etc/",
            "/etc/hosts.old",
            "/etc/passwd",
            "/proc/",
            "/run/",
            "/srv/",
            "/srv/data/",
            "/srv/data/deep/",
            "/sys/"
        ]
    );
    assert_eq!(tree.entry(&"/".into()).unwrap().mode, 0o755);
    assert_eq!(tree.entry(&"/srv".into()).unwrap().mode, 0o711);
    assert_eq!(tree.entry(&"/etc".into()).unwrap().mtime, 1_000_000);
    assert_eq!(tree.entry(&"/etc/hosts.old".into()).unwrap().hard_link_group, None);
    assert_eq!(tree.layer_of(&"/etc/passwd".into()), Some(0));
    assert_eq!(tree.layer_of(&"/srv/data/deep".into()), None);
}

/// One change that a layer makes.
#[derive(Clone, Debug)]
enum Change {
    File(String),
    Directory(u32),
    Opaque,
    Whiteout,
    Symlink(String),
    HardLink(String),
}

fn change() -> impl Strategy<Value = (String, Change)> {
    let path = "[abc](/[abc]){0,2}";
    let change = prop_oneof![
        3 => "[xyz]{0,3}".prop_map(Change::File),
        3 => prop_oneof![Just(0o700), Just(0o755), Just(0o1777)].prop_map(Change::Directory),
        1 => Just(Change::Opaque),
        2 => Just(Change::Whiteout),
        1 => path.prop_map(Change::Symlink),
        1 => path.prop_map(Change::HardLink),
    ];
    (path, change)
}

/// Makes the change where the layer has room for it.
fn make(layer: &Layer, path: &str, change: &Change) {
    let host = layer.0.join(path);
    let is_free = fs::symlink_metadata(&host).is_err();
    let parents: Vec<&Path> = host.ancestors().skip(1).take_while(|above| *above != layer.0).collect();
    let fits = parents.iter().all(|above| fs::symlink_metadata(above).map_or(true, |above| above.is_dir()));
    if !fits || !(is_free || matches!(change, Change::Opaque)) {
        return;
    }
    match change {
        Change::File(text) => drop(layer.file(path, text)),
        Change::Directory(mode) => drop(layer.dir(path, *mode)),
        Change::Opaque if host.is_dir() && !host.is_symlink() => drop(layer.mark(path, "opaque", "y")),
        Change::Opaque if is_free => drop(layer.dir(path, 0o750).mark(path, "opaque", "y")),
        Change::Opaque => {}
        Change::Whiteout => drop(layer.whiteout(path)),
        Change::Symlink(target) => symlink(target, layer.at(path)).unwrap(),
        Change::HardLink(target) => {
            let target = layer.0.join(target);
            if fs::symlink_metadata(&target).is_ok_and(|metadata| metadata.is_file()) {
                fs::hard_link(target, layer.at(path)).unwrap();
            }
        }
    }
}

/// A path's kind, mode, time, and contents or target.
type Told = BTreeMap<ImagePath, (&'static str, u32, i64, Vec<u8>)>;

fn told_by_us(tree: &dyn ImageTree) -> Told {
    tree.walk()
        .map(|(path, entry)| {
            let (kind, bytes) = match &entry.kind {
                Kind::Directory => ("directory", Vec::new()),
                Kind::File { .. } => ("file", read(tree, path)),
                Kind::Symlink { target } => ("symlink", target.clone()),
                other => panic!("{path}: {other:?}"),
            };
            (path.clone(), (kind, entry.mode, entry.mtime, bytes))
        })
        .collect()
}

/// What the kernel shows, in a mount namespace of its own; `None` where it does not mount for us.
fn told_by_the_kernel(directories: &[PathBuf], mounted: &Path) -> Option<Told> {
    let lower: Vec<&str> = directories.iter().rev().map(|path| path.to_str().unwrap()).collect();
    let script = r#"mount -t overlay overlay -o "lowerdir=$1" "$2" && tar -C "$2" --format=posix -cf - ."#;
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh", &lower.join(":")])
        .arg(mounted)
        .output()
        .ok()?;
    let mut told = Told::new();
    let mut archive = tar::Archive::new(&output.stdout[..]);
    for entry in archive.entries().ok()? {
        let mut entry = entry.unwrap();
        let path = ImagePath::new(&*entry.path_bytes());
        let header = entry.header().clone();
        let link = entry.link_name_bytes().map(|link| link.to_vec()).unwrap_or_default();
        let (kind, bytes) = match header.entry_type() {
            tar::EntryType::Directory => ("directory", Vec::new()),
            tar::EntryType::Symlink => ("symlink", link),
            tar::EntryType::Link => ("file", told[&ImagePath::new(link)].3.clone()),
            _ => {
                let mut bytes = Vec::new();
                entry.read_to_end(&mut bytes).unwrap();
                ("file", bytes)
            }
        };
        told.insert(path, (kind, header.mode().unwrap(), header.mtime().unwrap() as i64, bytes));
    }
    (!told.is_empty()).then_some(told)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_layers_are_what_the_kernel_makes_of_them(
        changes in proptest::collection::vec(proptest::collection::vec(change(), 0..12), 2..5)
    ) {
        if !can_mark() {
            return Ok(());
        }
        let mut layers = Layers::new();
        for (number, changes) in changes.iter().enumerate() {
            let layer = layers.add();
            changes.iter().for_each(|(path, change)| make(&layer, path, change));
            if number % 2 == 1 {
                layer.mark("", "opaque", "y");
            }
        }
        let mounted = layers.folder.path().join("mounted");
        fs::create_dir(&mounted).unwrap();
        let Some(kernels) = told_by_the_kernel(&layers.directories(), &mounted) else {
            println!("skipped: the kernel mounts no overlay for us");
            return Ok(());
        };
        prop_assert_eq!(told_by_us(&layers.tree()), kernels);
    }

    #[test]
    fn any_layers_filtered_one_by_one_are_the_kept_part_of_the_image(
        changes in proptest::collection::vec(proptest::collection::vec(change(), 0..12), 1..5),
        keeps in proptest::collection::vec(proptest::bool::weighted(0.8), 1..20),
        shared in 0..5_usize,
    ) {
        if !can_mark() {
            return Ok(());
        }
        let mut layers = Layers::new();
        for changes in &changes {
            let layer = layers.add();
            changes.iter().for_each(|(path, change)| make(&layer, path, change));
        }
        let merged = Arc::new(layers.tree());
        let alone = merged.layers().unwrap().into_iter().map(|layer| Arc::new(layer) as SharedTree);
        let alone: Vec<SharedTree> = alone.collect();
        let mut kept: Vec<LayerEntry> = Vec::new();
        for ((path, entry), keep) in merged.walk().zip(keeps.iter().cycle()) {
            let parent = path.parent();
            let is_within = parent.as_ref().is_none_or(|parent| kept.iter().any(|kept| kept.path == *parent));
            if path.is_root() || (*keep && is_within) {
                kept.push(LayerEntry { path: path.clone(), entry: entry.clone() });
            }
        }
        let mut expected = told_by_us(merged.as_ref());
        expected.retain(|path, _| kept.iter().any(|kept| kept.path == *path));
        let merged: SharedTree = merged;
        let preserved = preserve(&merged, &alone, &kept, shared, &[]).unwrap();
        let source = common::source(Config { cmd: vec!["x".to_owned()], ..Config::default() });
        let config = source.config.clone();
        let image = SlimImage::of_layers(&source, config, preserved.layers, preserved.history, None);
        let mut file = tempfile::tempfile().unwrap();
        image.write_to(&mut file, &["x".parse().unwrap()]).unwrap();
        validate(&file).unwrap();
        let saved = SavedTree::open(file, &std::env::temp_dir()).unwrap();
        prop_assert_eq!(told_by_us(&saved), expected);
    }
}
