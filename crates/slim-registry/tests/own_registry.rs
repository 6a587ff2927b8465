//! Our client, and skopeo, against our own registry.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests panic, and say why they are skipped")]

mod support;

use hyper::{Method, StatusCode};
use slim_image::manifest::media;
use slim_image::{Descriptor, Digest, Layout, Selector};
use slim_registry::client::{BlobSource, How, Progress, Which};
use slim_registry::{Client, From, Platforms, RepositoryName, Selection, To, copy, pull, push, transfer};
use std::process::Command;
use std::sync::Arc;
use support::images::{
    contents, layout_of, layout_of_index, layout_of_packed_index, leftovers, noise, referrer,
};
use support::listener::Notes;
use support::own::{OwnRegistry, files};
use support::wire::Wire;
use support::{client, settings};

const MEGABYTE: usize = 1 << 20;

async fn push_all(client: &Client, layout: &Layout, to: &str) -> (Descriptor, Arc<Notes>) {
    let notes = Notes::new();
    let progress: Arc<dyn Progress> = notes.clone();
    let selector = Selector::Name("x".into());
    let pushed =
        push(client, layout, &selector, &Platforms::All, &to.parse().unwrap(), &progress).await.unwrap();
    (pushed.descriptor, notes)
}

async fn pull_all(client: &Client, from: &str, layout: &Layout) -> Arc<Notes> {
    let notes = Notes::new();
    let progress: Arc<dyn Progress> = notes.clone();
    pull(client, &from.parse().unwrap(), &Platforms::All, layout.path(), Some("x"), &progress).await.unwrap();
    notes
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_comes_back_to_the_last_byte_and_is_copied_without_moving() {
    let (registry, folder) = (OwnRegistry::start().await, tempfile::tempdir().unwrap());
    let fat = layout_of_index(&folder.path().join("a"), "x", &[MEGABYTE, 10]);
    let from = format!("{}/team/a:1", registry.address);
    push_all(&client(), &fat, &from).await;
    let to = format!("{}/b:2", registry.address);
    let notes = Notes::new();
    let progress: Arc<dyn Progress> = notes.clone();
    copy(&client(), &from.parse().unwrap(), &to.parse().unwrap(), &Platforms::All, &progress).await.unwrap();
    assert_eq!((notes.count(How::Mounted), notes.moved()), (6, 0));
    let back = Layout::create(folder.path().join("b")).unwrap();
    pull_all(&client(), &to, &back).await;
    for platform in ["linux/amd64", "linux/arm64"] {
        assert_eq!(contents(&back, "x", platform), contents(&fat, "x", platform));
    }
    assert_eq!(leftovers(&back), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_goes_on_where_the_connection_broke() {
    const SIZE: u64 = 4 * MEGABYTE as u64;
    let (registry, folder) = (OwnRegistry::start().await, tempfile::tempdir().unwrap());
    let fat = layout_of(&folder.path().join("a"), "x", &[4 * MEGABYTE]);
    let wire = Wire::breaking_uploads(&registry.address, 3, SIZE / 4).await;
    push_all(&client(), &fat, &format!("{}/a:1", wire.address)).await;
    assert_eq!(wire.broken(), 3);
    // What was on its way when the connection broke is sent again, and nothing else.
    assert!(wire.up() < SIZE + SIZE / 4, "{} bytes for {SIZE}", wire.up());
    let back = Layout::create(folder.path().join("b")).unwrap();
    pull_all(&client(), &format!("{}/a:1", registry.address), &back).await;
    assert_eq!(contents(&back, "x", "linux/amd64"), contents(&fat, "x", "linux/amd64"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_where_the_connection_broke() {
    const SIZE: u64 = 4 * MEGABYTE as u64;
    let (registry, folder) = (OwnRegistry::start().await, tempfile::tempdir().unwrap());
    let fat = layout_of(&folder.path().join("a"), "x", &[4 * MEGABYTE]);
    push_all(&client(), &fat, &format!("{}/a:1", registry.address)).await;
    let wire = Wire::breaking_downloads(&registry.address, 3, SIZE / 4).await;
    let back = Layout::create(folder.path().join("b")).unwrap();
    let notes = pull_all(&client(), &format!("{}/a:1", wire.address), &back).await;
    assert_eq!(wire.broken(), 3);
    assert!(wire.down() < SIZE + SIZE / 4 && notes.moved() < SIZE + 1000, "{} bytes for {SIZE}", wire.down());
    assert_eq!(contents(&back, "x", "linux/amd64"), contents(&fat, "x", "linux/amd64"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_goes_on_where_either_connection_broke() {
    const SIZE: u64 = 4 * MEGABYTE as u64;
    let (one, other) = (OwnRegistry::start().await, OwnRegistry::start().await);
    let folder = tempfile::tempdir().unwrap();
    let fat = layout_of(&folder.path().join("a"), "x", &[4 * MEGABYTE]);
    push_all(&client(), &fat, &format!("{}/a:1", one.address)).await;
    let down = Wire::breaking_downloads(&one.address, 2, SIZE / 3).await;
    let up = Wire::breaking_uploads(&other.address, 2, SIZE / 3).await;
    let quiet: Arc<dyn Progress> = Arc::new(());
    let (from, to) = (format!("{}/a:1", down.address), format!("{}/b:1", up.address));
    copy(&client(), &from.parse().unwrap(), &to.parse().unwrap(), &Platforms::All, &quiet).await.unwrap();
    assert_eq!((down.broken(), up.broken()), (2, 2));
    let back = Layout::create(folder.path().join("b")).unwrap();
    pull_all(&client(), &format!("{}/b:1", other.address), &back).await;
    assert_eq!(contents(&back, "x", "linux/amd64"), contents(&fat, "x", "linux/amd64"));
}

#[tokio::test(flavor = "multi_thread")]
async fn chunks_arrive_in_order() {
    let (registry, folder) = (OwnRegistry::start().await, tempfile::tempdir().unwrap());
    let fat = layout_of(&folder.path().join("a"), "x", &[MEGABYTE, 300_000]);
    let mut chunked = settings();
    chunked.chunk = Some(100_000);
    push_all(&Client::new(chunked), &fat, &format!("{}/a:1", registry.address)).await;
    let back = Layout::create(folder.path().join("b")).unwrap();
    pull_all(&client(), &format!("{}/a:1", registry.address), &back).await;
    assert_eq!(contents(&back, "x", "linux/amd64"), contents(&fat, "x", "linux/amd64"));
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_and_pages_of_tags_go_through_the_api() {
    let (registry, folder) = (OwnRegistry::start().await, tempfile::tempdir().unwrap());
    let fat = layout_of(&folder.path().join("a"), "x", &[10]);
    for tag in ["c", "a", "b"] {
        push_all(&client(), &fat, &format!("{}/a:{tag}", registry.address)).await;
    }
    let name = format!("{}/a:a", registry.address);
    let location = RepositoryName::of(&name.parse().unwrap());
    let (to, from) = (client().to_push(location.clone()), client().to_pull(location));
    assert_eq!(from.tags().await.unwrap(), ["a", "b", "c"]);
    let subject = from.manifest(&Which::Tag("a".into())).await.unwrap().descriptor;
    let bytes = referrer(&fat, &subject, "application/x-sbom");
    let empty = fat.put_blob(media::EMPTY, b"{}").unwrap();
    let quiet: Arc<dyn Progress> = Arc::new(());
    to.push_blob(&empty, &BlobSource::Layout(fat.clone()), &quiet).await.unwrap();
    let digest = to.push_manifest(&Which::Digest(Digest::of(&bytes)), media::MANIFEST, &bytes).await.unwrap();
    let found = from.referrers(&subject.digest, Some("application/x-sbom")).await.unwrap();
    assert_eq!(found.iter().map(|found| found.digest).collect::<Vec<_>>(), [digest]);
    assert_eq!(from.referrers(&subject.digest, Some("application/other")).await.unwrap(), []);
    assert_eq!(from.tags().await.unwrap(), ["a", "b", "c"], "no tag stands in for the list");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_is_there_after_a_kill_and_an_upload_goes_on() {
    let (registry, folder) = (OwnRegistry::start().await, tempfile::tempdir().unwrap());
    let fat = layout_of(&folder.path().join("a"), "x", &[MEGABYTE]);
    push_all(&client(), &fat, &format!("{}/a:1", registry.address)).await;
    let upload = registry.begin("a").await;
    let blob = noise(7, 1000);
    registry.ask(Method::PATCH, &upload, &[], blob[..600].to_vec()).await;
    let registry = registry.kill_and_start().await;
    assert_eq!(registry.get(&upload).await.header("range"), "0-599");
    let path = format!("{upload}?digest={}", Digest::of(&blob));
    let ended = registry.ask(Method::PUT, &path, &[("content-range", "600-999")], blob[600..].to_vec()).await;
    assert_eq!(ended.status, StatusCode::CREATED);
    let back = Layout::create(folder.path().join("b")).unwrap();
    pull_all(&client(), &format!("{}/a:1", registry.address), &back).await;
    assert_eq!(contents(&back, "x", "linux/amd64"), contents(&fat, "x", "linux/amd64"));
    assert_eq!(files(&registry.root().join("incoming")).len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn skopeo_takes_what_we_gave_and_gives_what_we_take() {
    if Command::new("skopeo").arg("--version").output().is_err() {
        println!("skipped: skopeo is not installed (this distribution may not have it)");
        return;
    }
    let (registry, folder) = (OwnRegistry::start().await, tempfile::tempdir().unwrap());
    let fat = layout_of_packed_index(&folder.path().join("a"), "x");
    push_all(&client(), &fat, &format!("{}/a:1", registry.address)).await;
    let skopeo = |arguments: &[&str]| {
        let output = Command::new("skopeo").args(arguments).output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let (ours, theirs) =
        (format!("docker://{}/a:1", registry.address), format!("docker://{}/b:2", registry.address));
    let insecure =
        ["copy", "--all", "--insecure-policy", "--src-tls-verify=false", "--dest-tls-verify=false"];
    skopeo(&[&insecure[..], &[&ours, &theirs]].concat());
    let taken = folder.path().join("c");
    let target = format!("oci:{}:x", taken.display());
    skopeo(&[&insecure[..], &[&theirs, &target]].concat());
    let back = Layout::create(folder.path().join("b")).unwrap();
    pull_all(&client(), &format!("{}/b:2", registry.address), &back).await;
    for layout in [back, Layout::open(taken).unwrap()] {
        for platform in ["linux/amd64", "linux/arm64"] {
            assert_eq!(contents(&layout, "x", platform), contents(&fat, "x", platform));
        }
    }
    skopeo(&["delete", "--tls-verify=false", &theirs]);
    let gone = client().to_pull(RepositoryName::of(&format!("{}/b", registry.address).parse().unwrap()));
    assert_eq!(gone.find_manifest(&Which::Tag("2".into())).await.unwrap(), None);
}

/// An image in a registry with a list of contents, and a signature of that list.
async fn with_referrers(address: &str, folder: &std::path::Path) -> (String, Vec<Digest>) {
    let layout = layout_of_index(&folder.join("subject"), "x", &[10]);
    let image = format!("{address}/a:1");
    let (pushed, _) = push_all(&client(), &layout, &image).await;
    let repository = client().to_push(RepositoryName::of(&image.parse().unwrap()));
    let mut subject = pushed;
    let mut digests = Vec::new();
    for kind in ["application/x.contents", "application/x.signature"] {
        let bytes = referrer(&layout, &subject, kind);
        for blob in [Descriptor::of(media::EMPTY, b"{}")] {
            let source = BlobSource::Bytes(bytes::Bytes::from_static(b"{}"));
            repository.push_blob(&blob, &source, &(Arc::new(()) as _)).await.unwrap();
        }
        let digest = Digest::of(&bytes);
        repository.push_manifest(&Which::Digest(digest), media::MANIFEST, &bytes).await.unwrap();
        subject = Descriptor::new(media::MANIFEST, digest, bytes.len() as u64);
        digests.push(digest);
    }
    (image, digests)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_refers_to_an_image_comes_along_where_it_is_asked_for_through_layouts_too() {
    let (one, other) = (OwnRegistry::start().await, OwnRegistry::start().await);
    let folder = tempfile::tempdir().unwrap();
    let (image, referrers) = with_referrers(&one.address, folder.path()).await;
    let from = image.parse().unwrap();
    let progress: Arc<dyn Progress> = Arc::new(());
    let all = |referrers| Selection { platforms: Platforms::All, referrers };
    let layout = folder.path().join("layout");
    let to = To::Layout { folder: &layout, name: Some("1"), full: None };
    let kept = transfer(&client(), From::Registry(&from), to, &all(true), &progress).await.unwrap();
    assert_eq!((kept.manifests, kept.referrers), (3, 2));
    let layout = Layout::open(layout).unwrap();
    // What refers to it is no image that could be meant.
    let only = From::Layout(&layout, &Selector::Only);
    let (bare, whole) = (format!("{}/bare:1", other.address), format!("{}/whole:1", other.address));
    for (name, referrers) in [(&bare, false), (&whole, true)] {
        let to = name.parse().unwrap();
        transfer(&client(), only, To::Registry(&to), &all(referrers), &progress).await.unwrap();
    }
    let copied = format!("{}/copied:1", one.address).parse().unwrap();
    let to = To::Registry(&copied);
    let copy = transfer(&client(), From::Registry(&from), to, &all(true), &progress).await.unwrap();
    assert_eq!(copy.referrers, 2);
    let referring = async |image: &str, subject: &Digest| {
        let repository = client().to_pull(RepositoryName::of(&image.parse().unwrap()));
        let found = repository.referrers(subject, None).await.unwrap();
        found.iter().map(|descriptor| descriptor.digest).collect::<Vec<_>>()
    };
    let root = kept.descriptor.digest;
    for image in [whole, copied.to_string()] {
        assert_eq!(referring(&image, &root).await, referrers[..1]);
        assert_eq!(referring(&image, &referrers[0]).await, referrers[1..]);
    }
    assert_eq!(referring(&bare, &root).await, []);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_goes_from_layout_to_layout() {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout_of_index(&folder.path().join("a"), "x", &[MEGABYTE]);
    let notes = Notes::new();
    let progress: Arc<dyn Progress> = notes.clone();
    let (selector, path) = (Selector::Name("x".into()), folder.path().join("b"));
    let to = To::Layout { folder: &path, name: Some("y"), full: None };
    let selection = Selection { platforms: Platforms::Only("linux/arm64".parse().unwrap()), referrers: true };
    transfer(&client(), From::Layout(&layout, &selector), to, &selection, &progress).await.unwrap();
    let back = Layout::open(path).unwrap();
    assert_eq!(contents(&back, "y", "linux/arm64"), contents(&layout, "x", "linux/arm64"));
    assert_eq!((notes.count(How::Moved), back.blobs().unwrap().len()), (2, 3));
}
