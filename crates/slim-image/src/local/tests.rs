//! Claims about images in files. Whatever the form, what is read is the same.

use super::*;
use crate::archive::SlimImage;
use crate::config::{Config, SourceImage};
use crate::layer::{Layer, LayerEntry, write_layer};
use crate::location::Location;
use crate::manifest::{Index, media};
use crate::memory::MemoryTree;
use crate::packing::Scratch;
use crate::tree::{ImageTree, Kind, TreeError};
use proptest::prelude::*;
use std::fs;
use std::io::Cursor;

fn tree() -> MemoryTree {
    MemoryTree::new()
        .file("/usr/bin/tool", 0o4755, vec![3; 70_000])
        .xattr("/usr/bin/tool", "security.capability", b"\x01\n\x00\xff")
        .hard_link("/usr/bin/again", "/usr/bin/tool")
        .symlink("/bin", "usr/bin")
        .special("/null", 0o666, Kind::CharacterDevice { major: 1, minor: 3 })
}

fn source(platform: &str) -> SourceImage {
    let platform: Platform = platform.parse().unwrap();
    SourceImage {
        id: Digest::of("fat"),
        reference: "fat".to_owned(),
        tags: vec![],
        digests: vec![],
        architecture: platform.architecture,
        variant: platform.variant,
        os: platform.os,
        os_version: None,
        created: Some("2024-01-01T00:00:00Z".to_owned()),
        author: None,
        size: 5,
        config: Config { cmd: vec!["/usr/bin/tool".to_owned()], ..Config::default() },
        layer_diff_ids: vec![],
    }
}

fn layer(tree: &MemoryTree) -> Layer {
    let entries: Vec<LayerEntry> =
        tree.walk().map(|(path, entry)| LayerEntry { path: path.clone(), entry: entry.clone() }).collect();
    write_layer(tree, &entries, tempfile::NamedTempFile::new().unwrap()).unwrap()
}

/// An image of that tree, for that platform.
fn image(tree: &MemoryTree, platform: &str) -> SlimImage {
    let source = source(platform);
    SlimImage::new(&source, source.config.clone(), layer(tree), None)
}

fn packed(packing: Packing, bytes: &[u8]) -> Vec<u8> {
    match packing {
        Packing::Plain => bytes.to_vec(),
        Packing::Zstd => zstd::encode_all(bytes, 3).unwrap(),
        Packing::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(bytes).unwrap();
            encoder.finish().unwrap()
        }
    }
}

fn layer_bytes(image: &SlimImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.layers()[0].copy_to(&mut bytes).unwrap();
    bytes
}

/// Puts an image into a layout, its layer packed, and gives the manifest.
fn put(layout: &Layout, image: &SlimImage, packing: Packing, name: Option<&str>) -> Descriptor {
    let layer = layout.put_blob(packing.media_type(), &packed(packing, &layer_bytes(image))).unwrap();
    let config = layout.put_blob(media::CONFIG, image.config_json()).unwrap();
    let manifest = manifest(config, vec![layer]);
    let mut descriptor = layout.put_blob(media::MANIFEST, &serde_json::to_vec(&manifest).unwrap()).unwrap();
    if let Some(name) = name {
        descriptor.annotations.insert(annotation::REF_NAME.to_owned(), name.to_owned());
    }
    layout.put(descriptor.clone()).unwrap();
    descriptor
}

fn manifest(config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
    Manifest {
        schema_version: 2,
        media_type: Some(media::MANIFEST.to_owned()),
        artifact_type: None,
        config,
        layers,
        subject: None,
        annotations: Default::default(),
    }
}

fn fresh() -> (tempfile::TempDir, Layout) {
    let folder = tempfile::tempdir().unwrap();
    let layout = Layout::create(folder.path().join("layout")).unwrap();
    (folder, layout)
}

fn open(text: &str, platform: Option<&str>) -> Result<LocalImage, LocalError> {
    let stored = match text.parse::<Location>().unwrap() {
        Location::Stored(stored) => stored,
        Location::Path(path) => Stored::recognise(&path).unwrap().unwrap(),
        other => panic!("{other:?}"),
    };
    let platform = platform.map(|platform| platform.parse().unwrap());
    LocalImage::open(&stored, platform.as_ref(), &std::env::temp_dir())
}

fn opened(layout: &Layout) -> LocalImage {
    open(&format!("oci:{}", layout.path().display()), None).unwrap()
}

fn loaded(image: &LocalImage) -> Vec<u8> {
    let mut bytes = Vec::new();
    image.write_archive(&mut bytes, &["x:1".parse().unwrap()]).unwrap();
    bytes
}

/// The tar file of these files.
fn tar(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, contents) in files {
        write_file(&mut bytes, name, contents.len() as u64, &mut &contents[..]).unwrap();
    }
    tape::finish(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_layout_gives_the_tree_however_its_layers_are_packed() {
    let image = image(&tree(), "linux/amd64");
    for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
        let (_folder, layout) = fresh();
        let descriptor = put(&layout, &image, packing, Some("docker.io/library/app:2"));
        let local = opened(&layout);
        assert_eq!((local.id(), local.manifest_digest()), (image.id(), Some(&descriptor.digest)));
        assert_eq!(local.names(), ["app:2"]);
        let read = local.tree().unwrap();
        assert_eq!(read.listing(), &tree().listing(), "{packing:?}");
        assert_eq!(read.source().config, source("linux/amd64").config);
        let mut plain = Vec::new();
        local.layer(0).unwrap().read_to_end(&mut plain).unwrap();
        assert_eq!(plain, layer_bytes(&image));
    }
}

#[test]
fn what_is_written_for_an_engine_reads_back_as_the_image_that_it_was() {
    let image = image(&tree(), "linux/amd64");
    for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
        let (folder, layout) = fresh();
        put(&layout, &image, packing, None);
        let file = folder.path().join("image.tar");
        fs::write(&file, loaded(&opened(&layout))).unwrap();
        let local = open(&format!("docker-archive:{}", file.display()), None).unwrap();
        assert_eq!((local.id(), local.names()), (image.id(), &["x:1".to_owned()][..]));
        assert_eq!(local.tree().unwrap().listing(), &tree().listing(), "{packing:?}");
    }
}

#[test]
fn a_docker_archive_of_ours_is_the_same_image_and_no_layout() {
    let image = image(&tree(), "linux/amd64");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("image.tar");
    image.write_docker_archive(fs::File::create(&file).unwrap(), &["app:2".parse().unwrap()]).unwrap();
    let local = open(&file.display().to_string(), None).unwrap();
    assert_eq!((local.id(), local.names()), (image.id(), &["app:2".to_owned()][..]));
    assert_eq!(local.tree().unwrap().listing(), &tree().listing());
    assert!(open(&format!("oci-archive:{}", file.display()), None).is_err());
}

#[test]
fn our_own_archive_is_read_as_either_form_and_packed_too() {
    let image = image(&tree(), "linux/amd64");
    let folder = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    image.write_to(&mut bytes, &["app:2".parse().unwrap()]).unwrap();
    for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
        let file = folder.path().join(format!("{packing:?}.tar"));
        fs::write(&file, packed(packing, &bytes)).unwrap();
        for place in ["", "oci-archive:", "docker-archive:"] {
            let text = format!("{place}{}", file.display());
            let local = open(&text, None).unwrap();
            assert_eq!(local.id(), image.id(), "{text}");
            assert_eq!(local.names(), ["app:2"], "{text}");
            assert_eq!(local.tree().unwrap().listing(), &tree().listing(), "{text}");
        }
        let named = open(&format!("docker-archive:{}:app:2", file.display()), None).unwrap();
        assert_eq!(named.id(), image.id());
        let error = open(&format!("docker-archive:{}:app:3", file.display()), None).unwrap_err().to_string();
        assert!(error.starts_with("find app:3 in the image archive: it has app:2"), "{error}");
        let error = open(&format!("oci-archive:{}:3", file.display()), None).unwrap_err().to_string();
        assert!(error.starts_with("find 3 in the image archive: it has 2"), "{error}");
    }
}

#[test]
fn the_image_of_a_platform_is_read_and_no_other() {
    let (_folder, layout) = fresh();
    let (amd, arm) = (image(&tree(), "linux/amd64"), image(&tree(), "linux/arm64"));
    let mut manifests = Vec::new();
    for (image, platform) in [(&amd, "linux/amd64"), (&arm, "linux/arm64")] {
        let descriptor = put(&layout, image, Packing::Gzip, None);
        manifests.push(Descriptor { platform: Some(platform.parse().unwrap()), ..descriptor });
    }
    layout.take(&Selector::Only).unwrap();
    let index = serde_json::to_vec(&Index { manifests, ..Index::empty() }).unwrap();
    layout.put(layout.put_blob(media::INDEX, &index).unwrap()).unwrap();
    let place = format!("oci:{}", layout.path().display());
    assert_eq!(open(&place, Some("linux/arm64")).unwrap().id(), arm.id());
    assert_eq!(open(&place, Some("linux/amd64")).unwrap().id(), amd.id());
    assert!(open(&place, Some("linux/s390x")).unwrap_err().to_string().contains("no image for linux/s390x"));
    let (_folder, layout) = fresh();
    put(&layout, &arm, Packing::Plain, None);
    let place = format!("oci:{}", layout.path().display());
    assert_eq!(open(&place, None).unwrap().id(), arm.id(), "the only one is meant");
    let error = open(&place, Some("linux/amd64")).unwrap_err().to_string();
    assert!(error.contains("it is for linux/arm64, not for linux/amd64"), "{error}");
}

#[test]
fn a_directory_of_skopeos_is_read() {
    let image = image(&tree(), "linux/amd64");
    let folder = tempfile::tempdir().unwrap();
    let layer = packed(Packing::Gzip, &layer_bytes(&image));
    let config = Descriptor::of(media::DOCKER_CONFIG, image.config_json());
    let described = Descriptor::of(media::DOCKER_LAYER_GZIP, &layer);
    let write = |name: &str, bytes: &[u8]| fs::write(folder.path().join(name), bytes).unwrap();
    write("version", b"Directory Transport Version: 1.1\n");
    write(&config.digest.hex(), image.config_json());
    write(&described.digest.hex(), &layer);
    write("manifest.json", &serde_json::to_vec(&manifest(config.clone(), vec![described])).unwrap());
    let local = open(&format!("dir:{}", folder.path().display()), None).unwrap();
    assert_eq!(local.id(), image.id());
    assert_eq!(local.tree().unwrap().listing(), &tree().listing());
    write(&config.digest.hex(), b"{}");
    let error = open(&format!("{}", folder.path().display()), None).unwrap_err().to_string();
    assert!(error.contains("the configuration is not sha256:"), "{error}");
}

#[test]
fn a_layer_that_is_not_what_it_should_be_is_an_error_wherever_it_is_read() {
    let image = image(&tree(), "linux/amd64");
    for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
        let (_folder, layout) = fresh();
        put(&layout, &image, packing, None);
        let local = opened(&layout);
        let layer = packed(packing, &layer_bytes(&image));
        let path = layout.blob_path(&Digest::of(&layer));
        for at in [600, layer.len() / 2, layer.len() - 5] {
            let at = at.min(layer.len() - 1);
            let mut damaged = layer.clone();
            damaged[at] ^= 0x40;
            fs::write(&path, &damaged).unwrap();
            assert!(local.tree().is_err(), "{packing:?} {at}");
            assert!(local.write_archive(io::sink(), &[]).is_err(), "{packing:?} {at}");
        }
        fs::write(&path, &layer[..layer.len() - 1]).unwrap();
        let place = format!("oci:{}", layout.path().display());
        let error = open(&place, None).unwrap_err().to_string();
        assert!(error.contains("its descriptor says"), "{error}");
        assert!(local.tree().is_err(), "opened before it was cut off");
    }
}

#[test]
fn a_layer_with_another_diff_id_is_refused() {
    let (good, other) =
        (image(&tree(), "linux/amd64"), image(&tree().file("/more", 0o644, "x"), "linux/amd64"));
    for packing in [Packing::Plain, Packing::Gzip] {
        let (_folder, layout) = fresh();
        let layer = layout.put_blob(packing.media_type(), &packed(packing, &layer_bytes(&other))).unwrap();
        let config = layout.put_blob(media::CONFIG, good.config_json()).unwrap();
        let bytes = serde_json::to_vec(&manifest(config, vec![layer])).unwrap();
        layout.put(layout.put_blob(media::MANIFEST, &bytes).unwrap()).unwrap();
        let error = opened(&layout).tree().unwrap_err().to_string();
        assert!(error.contains("layer 0") && error.contains("its diff id should be"), "{error}");
    }
}

#[test]
fn bombs_end_at_the_limit_with_the_disk_not_full() {
    let zeros = MemoryTree::new().file("/zeros", 0o644, vec![0; 16 << 20]);
    let image = image(&zeros, "linux/amd64");
    for packing in [Packing::Gzip, Packing::Zstd] {
        let (_folder, layout) = fresh();
        put(&layout, &image, packing, None);
        let stored = Stored { form: Form::Layout, path: layout.path().to_owned(), selector: Selector::Only };
        let scratch = Scratch { folder: std::env::temp_dir(), limit: 1 << 20 };
        let error = LocalImage::open(&stored, None, scratch).unwrap().tree().unwrap_err().to_string();
        assert!(error.contains("more than 1048576 bytes"), "{error}");
        assert!(opened(&layout).tree().is_ok());
    }
}

#[test]
fn names_that_lead_out_of_an_archive_are_refused() {
    let config = image(&tree(), "linux/amd64").config_json().to_vec();
    let manifest = |layer: &str, config: &str| {
        serde_json::to_vec(&serde_json::json!([{"Config": config, "RepoTags": null, "Layers": [layer]}]))
            .unwrap()
    };
    let read = |files: &[(&str, &[u8])]| {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("x.tar");
        fs::write(&file, tar(files)).unwrap();
        open(&file.display().to_string(), None).unwrap_err().to_string()
    };
    for name in ["../../../../etc/passwd", "/etc/passwd"] {
        let error = read(&[("manifest.json", &manifest(name, "c.json")), ("c.json", &config)]);
        assert!(error.contains("has no") && error.contains("etc/passwd"), "{error}");
        let error = read(&[("manifest.json", &manifest("l.tar", name)), ("l.tar", b"")]);
        assert!(error.contains("has no") && error.contains("etc/passwd"), "{error}");
        let error = read(&[("manifest.json", &manifest("l.tar", "c.json")), (name, b"")]);
        assert!(error.contains("is absolute") || error.contains("leads out"), "{error}");
    }
}

#[test]
fn layers_and_their_diff_ids_must_be_as_many() {
    let config = image(&tree(), "linux/amd64").config_json().to_vec();
    let folder = tempfile::tempdir().unwrap();
    let manifest = br#"[{"Config": "c.json", "RepoTags": null, "Layers": []}]"#;
    let file = folder.path().join("x.tar");
    fs::write(&file, tar(&[("manifest.json", manifest), ("c.json", &config)])).unwrap();
    let error = open(&file.display().to_string(), None).unwrap_err().to_string();
    assert!(error.contains("0 layers, its configuration names 1"), "{error}");
}

#[test]
fn foreign_layers_are_refused_before_anything_is_read() {
    let (_folder, layout) = fresh();
    let image = image(&tree(), "linux/amd64");
    let config = layout.put_blob(media::CONFIG, image.config_json()).unwrap();
    let foreign = Descriptor::of("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", b"x");
    let bytes = serde_json::to_vec(&manifest(config, vec![foreign])).unwrap();
    layout.put(layout.put_blob(media::MANIFEST, &bytes).unwrap()).unwrap();
    let error = open(&format!("oci:{}", layout.path().display()), None).unwrap_err().to_string();
    assert!(error.contains("is a foreign one"), "{error}");
}

#[test]
fn what_is_written_for_an_engine_is_valid_in_itself() {
    // Digests and names as the reader of every engine checks them.
    let (_folder, layout) = fresh();
    let image = image(&tree(), "linux/amd64");
    put(&layout, &image, Packing::Zstd, None);
    let bytes = loaded(&opened(&layout));
    let shelf = Shelf::scan(&mut Cursor::new(&bytes)).unwrap();
    let (found, config, id) = shelf.one_image(&mut Cursor::new(&bytes)).unwrap();
    assert_eq!((id, found.tags), (*image.id(), vec!["x:1".to_owned()]));
    let place = shelf.place(&found.layers[0]).unwrap();
    let layer = &bytes[usize::try_from(place.offset).unwrap()..][..usize::try_from(place.size).unwrap()];
    assert_eq!(config.rootfs.diff_ids, [Digest::of(layer)]);
}

#[test]
fn files_that_are_missing_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let error = open(&format!("docker-archive:{}/x.tar", folder.path().display()), None).unwrap_err();
    assert!(error.to_string().contains("/x.tar: No such file"), "{error}");
    let tree = opened(&{
        let layout = Layout::create(folder.path().join("l")).unwrap();
        put(&layout, &image(&tree(), "linux/amd64"), Packing::Plain, None);
        layout
    });
    assert!(matches!(tree.tree().unwrap().open(&"/none".into()), Err(TreeError::NotFound(_))));
}

/// Reads everything that can be read of what lies there.
fn read_all(text: &str) {
    let Ok(Some(stored)) = Stored::recognise(text) else { return };
    let scratch = Scratch { folder: std::env::temp_dir(), limit: 8 << 20 };
    let Ok(local) = LocalImage::open(&stored, None, scratch) else { return };
    let written = local.write_archive(io::sink(), &[]);
    if let Ok(tree) = local.tree() {
        for (path, _) in tree.walk().filter(|(_, entry)| matches!(entry.kind, Kind::File { .. })) {
            let _ = tree.open(path).map(|mut contents| io::copy(&mut contents, &mut io::sink()));
        }
        assert!(written.is_ok(), "what gives a tree can be written");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn archives_of_strangers_give_errors_never_panics(
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in proptest::option::of(any::<prop::sample::Index>()),
        is_packed: bool,
    ) {
        let image = image(&MemoryTree::new().file("/a/b", 0o644, "text").hard_link("/c", "/a/b"), "linux/amd64");
        let mut bytes = Vec::new();
        image.write_to(&mut bytes, &["app:2".parse().unwrap()]).unwrap();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(end) = end {
            bytes.truncate(end.index(bytes.len()) + 1);
        }
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), packed(if is_packed { Packing::Gzip } else { Packing::Plain }, &bytes)).unwrap();
        read_all(file.path().to_str().unwrap());
    }

    #[test]
    fn layouts_of_strangers_give_errors_never_panics(
        changes in proptest::collection::vec((0..4_usize, any::<prop::sample::Index>(), any::<u8>()), 1..6),
        packing in prop_oneof![Just(Packing::Plain), Just(Packing::Gzip), Just(Packing::Zstd)],
    ) {
        let image = image(&MemoryTree::new().file("/a/b", 0o644, "text"), "linux/amd64");
        let (_folder, layout) = fresh();
        let manifest = put(&layout, &image, packing, Some("1"));
        let layer = Digest::of(packed(packing, &layer_bytes(&image)));
        let files = [
            layout.path().join("index.json"),
            layout.path().join("oci-layout"),
            layout.blob_path(&manifest.digest),
            layout.blob_path(&layer),
        ];
        for (file, at, byte) in changes {
            let mut bytes = fs::read(&files[file]).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            fs::write(&files[file], bytes).unwrap();
        }
        read_all(layout.path().to_str().unwrap());
    }

    #[test]
    fn documents_of_strangers_give_errors_never_panics(
        text in "[\\{\\}\\[\\]:,\"a-z0-9]{0,60}", announced in proptest::option::of("[a-z/+;. ]{0,20}"),
    ) {
        let _ = Document::read(text.as_bytes(), announced.as_deref());
        let _ = text.parse::<Location>();
        let _ = text.parse::<Platform>();
    }
}
