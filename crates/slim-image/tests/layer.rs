//! What is written to a layer is what any reader of tar streams finds in it.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod common;

use common::source;
use proptest::prelude::*;
use slim_image::layer::{LayerEntry, LayerError, write_layer, write_layer_to};
use slim_image::validate::validate;
use slim_image::{
    Config, Digest, Entry, ImagePath, ImageTree, Kind, Layer, MemoryTree, OverlayTree, SlimImage, SourceImage,
};
use std::collections::BTreeMap;
use std::io::{Cursor, Read, Write};
use std::sync::Arc;

fn all(tree: &dyn ImageTree) -> Vec<LayerEntry> {
    tree.walk().map(|(path, entry)| LayerEntry { path: path.clone(), entry: entry.clone() }).collect()
}

fn written(tree: &dyn ImageTree, entries: &[LayerEntry]) -> Vec<u8> {
    let mut bytes = Vec::new();
    write_layer_to(tree, entries, &mut bytes).unwrap();
    bytes
}

fn names(bytes: &[u8]) -> Vec<(String, tar::EntryType)> {
    let mut archive = tar::Archive::new(bytes);
    archive
        .entries()
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            (String::from_utf8_lossy(&entry.path_bytes()).into_owned(), entry.header().entry_type())
        })
        .collect()
}

fn of_arm(config: Config) -> SourceImage {
    SourceImage { architecture: "arm".to_owned(), variant: Some("v7".to_owned()), ..source(config) }
}

fn image(tree: &dyn ImageTree, created: Option<&str>) -> (SlimImage, Vec<u8>) {
    let config = Config { entrypoint: vec!["/a".to_owned()], ..Config::default() };
    let layer = write_layer(tree, &all(tree), tempfile::NamedTempFile::new().unwrap()).unwrap();
    let image = SlimImage::new(&of_arm(config.clone()), config, layer, created.map(str::to_owned));
    let mut bytes = Vec::new();
    image.write_to(&mut bytes, &[]).unwrap();
    (image, bytes)
}

#[test]
fn a_layer_read_anew_gives_the_same_archive_as_one_in_a_file() {
    let tree = MemoryTree::new()
        .file("/a", 0o4755, vec![7; 700_001])
        .hard_link("/b", "/a")
        .file("/etc/x", 0o600, "x")
        .symlink("/l", "etc/x");
    let (in_file, expected) = image(&tree, None);
    let layer = Layer::of_tree(Arc::new(tree.clone()), all(&tree)).unwrap();
    let config = Config { entrypoint: vec!["/a".to_owned()], ..Config::default() };
    let anew = SlimImage::new(&of_arm(config.clone()), config, layer, None);
    assert_eq!(anew.id(), in_file.id());
    for _ in 0..2 {
        let mut bytes = Vec::new();
        anew.write_to(&mut bytes, &[]).unwrap();
        assert!(bytes == expected, "other bytes");
    }
    assert_eq!(anew.archive_size(&[]), expected.len() as u64);
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&expected).unwrap();
    validate(file).unwrap();
}

#[test]
fn files_that_change_between_two_readings_are_told() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a"), "one").unwrap();
    let tree = OverlayTree::open(&[folder.path().to_owned()]).unwrap();
    let entries = all(&tree);
    let layer = Layer::of_tree(Arc::new(tree), entries).unwrap();
    layer.copy_to(&mut std::io::sink()).unwrap();
    std::fs::write(folder.path().join("a"), "two").unwrap();
    let error = layer.copy_to(&mut std::io::sink()).unwrap_err();
    assert_eq!(error.to_string(), "the image's files have changed since they were first read");
    std::fs::remove_file(folder.path().join("a")).unwrap();
    let error = layer.copy_to(&mut std::io::sink()).unwrap_err().to_string();
    assert!(error.starts_with("failed to read /a: No such file"), "{error}");
}

#[test]
fn the_first_name_of_an_inode_is_the_file_and_the_others_link_to_it() {
    let tree = MemoryTree::new().file("/b", 0o644, "x").hard_link("/a", "/b").hard_link("/d/c", "/b");
    let bytes = written(&tree, &all(&tree));
    let kinds: Vec<_> = names(&bytes);
    use tar::EntryType::{Directory, Link, Regular};
    let expected = [("./", Directory), ("a", Regular), ("b", Link), ("d/", Directory), ("d/c", Link)];
    assert_eq!(kinds, expected.map(|(name, kind)| (name.to_owned(), kind)));
}

#[test]
fn a_name_whose_owner_was_changed_is_a_file_of_its_own() {
    let tree = MemoryTree::new().file("/a", 0o644, "x").hard_link("/b", "/a").hard_link("/c", "/a");
    let mut entries = all(&tree);
    entries[2].entry.uid = 7;
    let bytes = written(&tree, &entries);
    let kinds: Vec<tar::EntryType> = names(&bytes).into_iter().skip(1).map(|(_, kind)| kind).collect();
    assert_eq!(kinds, [tar::EntryType::Regular, tar::EntryType::Regular, tar::EntryType::Link]);
}

#[test]
fn a_name_alone_needs_no_link() {
    let tree = MemoryTree::new().file("/a", 0o644, "x").hard_link("/b", "/a");
    let entries: Vec<LayerEntry> =
        all(&tree).into_iter().filter(|kept| kept.path != ImagePath::from("/a")).collect();
    assert_eq!(names(&written(&tree, &entries))[1], ("b".to_owned(), tar::EntryType::Regular));
}

#[test]
fn sockets_are_left_out() {
    let tree = MemoryTree::new().special("/s", 0o755, Kind::Socket).special("/f", 0o600, Kind::Fifo);
    assert_eq!(names(&written(&tree, &all(&tree))).len(), 2);
}

#[test]
fn entries_out_of_order_or_without_their_directory_are_refused() {
    let tree = MemoryTree::new().file("/a/b", 0o644, "x").file("/c", 0o644, "y");
    let mut entries = all(&tree);
    entries.swap(1, 3);
    assert!(matches!(write_layer_to(&tree, &entries, Vec::new()), Err(LayerError::NotSorted(_))));
    let orphan: Vec<LayerEntry> = all(&tree).into_iter().filter(|kept| !kept.entry.is_directory()).collect();
    assert!(matches!(write_layer_to(&tree, &orphan, Vec::new()), Err(LayerError::NoParent(_))));
}

#[test]
fn a_file_of_another_size_than_its_entry_is_refused() {
    let tree = MemoryTree::new().file("/a", 0o644, "12345");
    for size in [4, 6, 0] {
        let mut entries = all(&tree);
        entries[1].entry.kind = Kind::File { size };
        let error = write_layer_to(&tree, &entries, Vec::new()).unwrap_err();
        assert!(matches!(error, LayerError::SizeDiffers { .. }), "{error}");
    }
}

#[test]
fn the_same_tree_gives_the_same_image() {
    let tree =
        MemoryTree::new().file("/a", 0o755, vec![7; 70_000]).symlink("/b", "a").mtime("/a", 1_700_000_000);
    let ((first, bytes), (second, again)) = (image(&tree, None), image(&tree, None));
    assert_eq!(first.id(), second.id());
    assert_eq!(bytes, again);
}

#[test]
fn the_date_is_the_source_images_own_unless_one_is_given() {
    let tree = MemoryTree::new();
    let created = |bytes| validate(Cursor::new(bytes)).unwrap().config.created;
    assert_eq!(created(image(&tree, None).1).as_deref(), Some("2024-05-06T07:08:09Z"));
    assert_eq!(
        created(image(&tree, Some("1970-01-01T00:00:00Z")).1).as_deref(),
        Some("1970-01-01T00:00:00Z")
    );
}

#[test]
fn architecture_and_variant_are_the_source_images() {
    let valid = validate(Cursor::new(image(&MemoryTree::new(), None).1)).unwrap();
    assert_eq!((valid.config.architecture.as_str(), valid.config.variant.as_deref()), ("arm", Some("v7")));
}

fn component() -> impl Strategy<Value = Vec<u8>> {
    let byte = any::<u8>().prop_filter("a name's byte", |byte| *byte != 0 && *byte != b'/' && *byte != b'\n');
    let dots = |name: &Vec<u8>| name != b"." && name != b"..";
    prop_oneof![
        4 => "[a-c]{1,2}".prop_map(String::into_bytes),
        1 => proptest::collection::vec(byte, 1..120).prop_filter("a name", dots),
    ]
}

fn kind() -> impl Strategy<Value = Kind> {
    prop_oneof![
        Just(Kind::Directory),
        (0..3000_u64).prop_map(|size| Kind::File { size }),
        proptest::collection::vec(1..=255_u8, 1..300)
            .prop_filter("plain", |target| !target.contains(&b'\n'))
            .prop_map(|target| Kind::Symlink { target }),
        Just(Kind::Fifo),
        Just(Kind::CharacterDevice { major: 1, minor: 3 }),
    ]
}

prop_compose! {
    fn tree()(
        steps in proptest::collection::vec(
            (proptest::collection::vec(component(), 1..5), kind(), 0..=0o7777u32, any::<u32>(), -1000..=i64::from(u32::MAX)),
            0..25,
        )
    ) -> MemoryTree {
        let mut tree = MemoryTree::new();
        for (components, kind, mode, owner, mtime) in steps {
            let path = components.iter().fold(ImagePath::root(), |path, name| path.join(name));
            let is_free = path.ancestors().iter().all(|above| tree.entry(above).is_none_or(Entry::is_directory));
            if !is_free || tree.entry(&path).is_some() {
                continue;
            }
            tree = match kind {
                Kind::Directory => tree.dir(&path, mode),
                Kind::File { size } => tree.file(&path, mode, vec![mode as u8; size as usize]),
                Kind::Symlink { target } => tree.symlink(&path, target),
                other => tree.special(&path, mode, other),
            };
            tree = tree.owner(&path, owner, owner / 3).mtime(&path, mtime);
        }
        tree
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]
    #[test]
    fn every_tree_makes_a_valid_image_with_all_its_entries(tree in tree()) {
        let (_, bytes) = image(&tree, None);
        let valid = validate(Cursor::new(&bytes)).unwrap();
        prop_assert_eq!(valid.entries, tree.walk().count());
    }

    #[test]
    fn the_tar_crate_finds_every_entry_as_it_is_in_the_tree(tree in tree()) {
        let bytes = written(&tree, &all(&tree));
        let mut archive = tar::Archive::new(&bytes[..]);
        let mut found = BTreeMap::new();
        for entry in archive.entries().unwrap() {
            let mut entry = entry.unwrap();
            let path = ImagePath::new(entry.path_bytes());
            let target = entry.link_name_bytes().map(|target| target.into_owned());
            let mut contents = Vec::new();
            entry.read_to_end(&mut contents).unwrap();
            let header = entry.header();
            found.insert(path, (header.mode().unwrap(), header.uid().unwrap(), header.entry_type(), target, contents));
        }
        prop_assert_eq!(found.len(), tree.walk().count());
        for (path, entry) in tree.walk() {
            let (mode, uid, kind, target, contents) = &found[path];
            prop_assert_eq!((*mode, *uid), (entry.mode, u64::from(entry.uid)));
            match &entry.kind {
                Kind::Directory => prop_assert_eq!(*kind, tar::EntryType::Directory),
                Kind::File { .. } => {
                    let mut expected = Vec::new();
                    tree.open(path).unwrap().read_to_end(&mut expected).unwrap();
                    prop_assert_eq!(contents, &expected);
                }
                Kind::Symlink { target: expected } => prop_assert_eq!(target.as_ref(), Some(expected)),
                Kind::Fifo => prop_assert_eq!(*kind, tar::EntryType::Fifo),
                _ => prop_assert_eq!(*kind, tar::EntryType::Char),
            }
        }
    }
}

#[test]
fn the_digest_of_every_name_of_every_file_is_known() {
    let tree = MemoryTree::new()
        .file("/a", 0o644, "one")
        .hard_link("/b", "/a")
        .file("/d/empty", 0o600, "")
        .symlink("/l", "a");
    let layer = write_layer(&tree, &all(&tree), tempfile::NamedTempFile::new().unwrap()).unwrap();
    let expected: BTreeMap<ImagePath, Digest> = [("/a", "one"), ("/b", "one"), ("/d/empty", "")]
        .map(|(path, contents)| (path.into(), Digest::of(contents)))
        .into();
    assert_eq!(layer.contents, expected);
}
