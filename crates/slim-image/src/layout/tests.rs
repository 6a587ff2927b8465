//! Claims about layouts on disk.

use super::*;
use crate::manifest::{Manifest, annotation, media};

fn fresh() -> (tempfile::TempDir, Layout) {
    let directory = tempfile::tempdir().unwrap();
    let layout = Layout::create(directory.path().join("layout")).unwrap();
    (directory, layout)
}

fn named(descriptor: Descriptor, name: &str) -> Descriptor {
    let annotations = [(annotation::REF_NAME.to_owned(), name.to_owned())].into();
    Descriptor { annotations, ..descriptor }
}

fn on(descriptor: Descriptor, platform: &str) -> Descriptor {
    Descriptor { platform: Some(platform.parse().unwrap()), ..descriptor }
}

/// An image of one layer with that text, in the layout.
fn image(layout: &Layout, text: &str) -> Descriptor {
    let layer = layout.put_blob(media::LAYER, text.as_bytes()).unwrap();
    let config = layout.put_blob(media::CONFIG, b"{}").unwrap();
    let manifest = Manifest {
        schema_version: 2,
        media_type: Some(media::MANIFEST.to_owned()),
        artifact_type: None,
        config,
        layers: vec![layer],
        subject: None,
        annotations: Default::default(),
    };
    layout.put_blob(media::MANIFEST, &json(&manifest)).unwrap()
}

fn index_of(layout: &Layout, manifests: Vec<Descriptor>) -> Descriptor {
    layout.put_blob(media::INDEX, &json(&Index { manifests, ..Index::empty() })).unwrap()
}

fn resolved(layout: &Layout, selector: &Selector, platform: &str) -> Result<Digest, LayoutError> {
    layout.resolve(selector, &platform.parse().unwrap()).map(|found| found.descriptor.digest)
}

fn name(text: &str) -> Selector {
    Selector::Name(text.to_owned())
}

fn read(layout: &Layout, descriptor: &Descriptor) -> Result<Vec<u8>, LayoutError> {
    layout.read_blob(descriptor, 1 << 20)
}

fn incoming(layout: &Layout) -> usize {
    let is_incoming = |entry: &fs::DirEntry| entry.file_name().to_string_lossy().starts_with(INCOMING);
    fs::read_dir(layout.path()).unwrap().map(Result::unwrap).filter(is_incoming).count()
}

#[test]
fn a_new_layout_is_empty_and_opens() {
    let (_directory, layout) = fresh();
    let again = Layout::open(layout.path()).unwrap();
    assert_eq!(again.index().unwrap(), Index::empty());
    assert_eq!(Layout::create(layout.path()).unwrap(), layout, "made once, opened afterwards");
    let error = layout.resolve(&Selector::Only, &Platform::host()).unwrap_err();
    assert!(error.to_string().ends_with("it has no image"), "{error}");
}

#[test]
fn a_directory_with_something_else_in_it_becomes_no_layout() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("thesis.txt"), "").unwrap();
    let error = Layout::create(directory.path()).unwrap_err();
    assert!(error.to_string().contains("holds something else"), "{error}");
    assert!(Layout::open(directory.path()).unwrap_err().to_string().contains("has no file oci-layout"));
}

#[test]
fn another_version_is_named() {
    let (_directory, layout) = fresh();
    fs::write(layout.path().join(MARKER), r#"{"imageLayoutVersion":"2.0.0"}"#).unwrap();
    let error = Layout::open(layout.path()).unwrap_err().to_string();
    assert!(error.contains(r#"its version is "2.0.0", 1.0.0 is needed"#), "{error}");
}

#[test]
fn a_blob_is_there_once_it_is_committed() {
    let (_directory, layout) = fresh();
    let mut writer = layout.begin_blob().unwrap();
    writer.write_all(b"hello").unwrap();
    assert_eq!(layout.blobs().unwrap(), []);
    let (digest, size) = writer.commit(None).unwrap();
    assert_eq!((digest, size), (Digest::of("hello"), 5));
    assert_eq!(layout.blobs().unwrap(), [(digest, 5)]);
    assert_eq!(read(&layout, &Descriptor::new("x", digest, 5)).unwrap(), b"hello");
    assert!(layout.remove_blob(&digest).unwrap() && !layout.remove_blob(&digest).unwrap());
}

#[test]
fn a_blob_that_is_not_what_was_expected_never_appears() {
    let (_directory, layout) = fresh();
    let expected = Descriptor::of("x", b"hello");
    let mut writer = layout.begin_blob().unwrap();
    writer.write_all(b"hallo").unwrap();
    let error = writer.commit(Some(&expected)).unwrap_err();
    assert!(matches!(error, LayoutError::OtherBlob { length: 5, .. }), "{error}");
    drop(layout.begin_blob().unwrap());
    assert_eq!((layout.blobs().unwrap().len(), incoming(&layout)), (0, 0));
}

#[test]
fn a_blob_that_is_there_stays_the_same_file() {
    use std::os::unix::fs::MetadataExt;
    let (_directory, layout) = fresh();
    let first = layout.put_blob("x", b"hello").unwrap();
    let inode = || fs::metadata(layout.blob_path(&first.digest)).unwrap().ino();
    let before = inode();
    let mut writer = layout.begin_blob().unwrap();
    writer.write_all(b"hello").unwrap();
    writer.commit(Some(&first)).unwrap();
    assert_eq!(inode(), before);
}

#[test]
fn damaged_blobs_are_errors_of_the_reader() {
    let (_directory, layout) = fresh();
    let blob = layout.put_blob("x", b"hello").unwrap();
    for (bytes, reason) in
        [(&b"hallo"[..], "its digest should be"), (b"hell", "it has 4 bytes"), (b"hello!", "it has 6 bytes")]
    {
        fs::write(layout.blob_path(&blob.digest), bytes).unwrap();
        let error = read(&layout, &blob).unwrap_err().to_string();
        assert!(error.contains(reason), "{error}");
    }
    let mut more = Verifying::new(&b"hello!"[..], blob.digest, 5);
    assert!(io::copy(&mut more, &mut io::sink()).unwrap_err().to_string().contains("more bytes"));
    let mut fewer = Verifying::new(&b"hell"[..], blob.digest, 5);
    assert_eq!(io::copy(&mut fewer, &mut io::sink()).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    let mut exact = Verifying::new(&b"hello"[..], blob.digest, 5);
    let mut bytes = [0; 5];
    exact.read_exact(&mut bytes).unwrap();
    assert_eq!(exact.read(&mut bytes).unwrap(), 0);
    let empty = Verifying::new(&b""[..], Digest::of("x"), 0).read(&mut bytes);
    assert!(empty.is_err(), "an empty blob has a digest too");
}

#[test]
fn what_is_no_regular_file_is_not_read() {
    let (_directory, layout) = fresh();
    let blob = Descriptor::of("x", b"");
    let path = layout.blob_path(&blob.digest);
    let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    assert!(read(&layout, &blob).unwrap_err().to_string().contains("no regular file"));
}

#[test]
fn a_blob_larger_than_the_limit_is_refused_before_it_is_read() {
    let (_directory, layout) = fresh();
    let claimed = Descriptor::new(media::MANIFEST, Digest::of("x"), 1 << 40);
    layout.put(claimed).unwrap();
    let error = layout.resolve(&Selector::Only, &Platform::host()).unwrap_err();
    assert!(matches!(error, LayoutError::TooLarge { .. }), "{error}");
}

#[test]
fn a_name_moves_to_what_is_put_last() {
    let (_directory, layout) = fresh();
    let (a, b) = (image(&layout, "a"), image(&layout, "b"));
    layout.put(named(a.clone(), "one")).unwrap();
    layout.put(named(a.clone(), "two")).unwrap();
    assert_eq!(resolved(&layout, &Selector::Only, "linux/amd64").unwrap(), a.digest, "two names, one image");
    layout.put(named(b.clone(), "one")).unwrap();
    assert_eq!(resolved(&layout, &name("one"), "linux/amd64").unwrap(), b.digest);
    assert_eq!(resolved(&layout, &name("two"), "linux/amd64").unwrap(), a.digest);
    let error = resolved(&layout, &Selector::Only, "linux/amd64").unwrap_err().to_string();
    assert!(error.contains("it has one, two; name one of them"), "{error}");
    let error = resolved(&layout, &name("three"), "linux/amd64").unwrap_err().to_string();
    assert!(error.contains("find three in") && error.contains("it has one, two"), "{error}");
    assert_eq!(layout.take(&name("one")).unwrap().len(), 1);
    assert_eq!(layout.take(&Selector::Digest(a.digest)).unwrap().len(), 1);
    assert_eq!(layout.index().unwrap(), Index::empty());
    assert_eq!(read(&layout, &b).unwrap().len() as u64, b.size, "blobs stay");
}

#[test]
fn a_platform_is_found_through_indexes_within_indexes() {
    let (_directory, layout) = fresh();
    let (amd, arm) = (image(&layout, "amd"), image(&layout, "arm"));
    let inner = index_of(&layout, vec![on(amd.clone(), "linux/amd64"), on(arm.clone(), "linux/arm64")]);
    let outer = index_of(&layout, vec![inner.clone()]);
    layout.put(named(outer, "1")).unwrap();
    assert_eq!(resolved(&layout, &name("1"), "linux/arm64").unwrap(), arm.digest);
    assert_eq!(resolved(&layout, &Selector::Only, "linux/amd64").unwrap(), amd.digest);
    assert_eq!(resolved(&layout, &Selector::Digest(arm.digest), "linux/amd64").unwrap(), arm.digest);
    assert_eq!(resolved(&layout, &Selector::Digest(inner.digest), "linux/arm64").unwrap(), arm.digest);
    let error = resolved(&layout, &name("1"), "linux/s390x").unwrap_err().to_string();
    assert!(error.ends_with("it has no image for linux/s390x; it has linux/amd64, linux/arm64"), "{error}");
}

#[test]
fn indexes_within_indexes_have_an_end() {
    let (_directory, layout) = fresh();
    let mut at = image(&layout, "x");
    for _ in 0..5 {
        at = index_of(&layout, vec![at]);
    }
    layout.put(at).unwrap();
    let error = resolved(&layout, &Selector::Only, "linux/amd64").unwrap_err().to_string();
    assert!(error.contains("an index within 4 others"), "{error}");
}

#[test]
fn platforms_may_stand_side_by_side_in_the_layout() {
    let (_directory, layout) = fresh();
    let (amd, arm) = (image(&layout, "amd"), image(&layout, "arm"));
    layout.put(on(amd, "linux/amd64")).unwrap();
    layout.put(on(arm.clone(), "linux/arm64")).unwrap();
    assert_eq!(resolved(&layout, &Selector::Only, "linux/arm64").unwrap(), arm.digest);
}

#[test]
fn digests_that_lead_elsewhere_are_no_digests() {
    let (_directory, layout) = fresh();
    for digest in ["sha256:../../../../etc/passwd", "../x", "sha512:00"] {
        let index = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{}","digest":"{digest}","size":1}}]}}"#,
            media::MANIFEST
        );
        fs::write(layout.path().join(INDEX), index).unwrap();
        assert!(matches!(layout.index(), Err(LayoutError::Document { .. })), "{digest}");
    }
}

#[test]
fn what_a_dead_process_was_writing_is_swept_and_what_a_living_one_writes_is_not() {
    let (_directory, layout) = fresh();
    fs::write(layout.path().join(".incoming-dead"), "half").unwrap();
    let mut living = layout.begin_blob().unwrap();
    living.write_all(b"hello").unwrap();
    layout.put(image(&layout, "x")).unwrap();
    assert_eq!(incoming(&layout), 1);
    living.commit(Some(&Descriptor::of("x", b"hello"))).unwrap();
    assert_eq!(incoming(&layout), 0);
}

#[test]
fn writers_at_once_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path().join("new/layout");
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let root = &root;
            scope.spawn(move || {
                for number in 0..10 {
                    let layout = Layout::create(root).unwrap();
                    let text = format!("{writer}-{number}");
                    layout.put(named(image(&layout, &text), &text)).unwrap();
                }
            });
        }
    });
    let layout = Layout::open(root).unwrap();
    assert_eq!(layout.index().unwrap().manifests.len(), 80);
    assert!(resolved(&layout, &name("7-9"), "linux/amd64").is_ok());
}

#[test]
fn other_tools_fields_survive_an_edit() {
    let (_directory, layout) = fresh();
    let text = r#"{"schemaVersion":2,"manifests":[],"annotations":{"a":"b"},"x-own":[1]}"#;
    fs::write(layout.path().join(INDEX), text).unwrap();
    layout.put(image(&layout, "x")).unwrap();
    let index = layout.index().unwrap();
    assert_eq!((index.annotations.len(), index.unknown.len(), index.manifests.len()), (1, 1, 1));
}
