//! The client against Debian's docker-registry.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use slim_image::{Layout, Selector};
use slim_registry::client::{How, Progress, Which};
use slim_registry::{Client, Platforms, RegistryError, RepositoryName, Transferred, copy, pull, push};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use support::images::{contents, layout_of, layout_of_index, leftovers, noise, referrer};
use support::listener::Notes;
use support::real::RealRegistry;
use support::wire::Wire;
use support::{RIGHT, WRONG, client, client_with, login, settings};

const MEGABYTE: usize = 1 << 20;

fn amd64() -> Platforms {
    Platforms::Usual("linux/amd64".parse().unwrap())
}

async fn push_named(
    client: &Client,
    layout: &Layout,
    name: &str,
    to: &str,
    notes: &Arc<Notes>,
) -> Result<Transferred, RegistryError> {
    let selector = Selector::Name(name.to_owned());
    let progress: Arc<dyn Progress> = notes.clone();
    push(client, layout, &selector, &Platforms::All, &to.parse().unwrap(), &progress).await
}

async fn pull_named(
    client: &Client,
    from: &str,
    platforms: &Platforms,
    layout: &Layout,
    notes: &Arc<Notes>,
) -> Result<Transferred, RegistryError> {
    let progress: Arc<dyn Progress> = notes.clone();
    pull(client, &from.parse().unwrap(), platforms, layout.path(), Some("x"), &progress).await
}

fn new_layout(folder: &Path, name: &str) -> Layout {
    Layout::create(folder.join(name)).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_pushed_is_pulled_again_to_the_last_byte() {
    let (registry, folder) = (RealRegistry::start(), tempfile::tempdir().unwrap());
    let fat = layout_of(&folder.path().join("a"), "x", &[3 * MEGABYTE, 0, 17]);
    let name = format!("{}/team/a:1", registry.address);
    let notes = Notes::new();
    push_named(&client(), &fat, "x", &name, &notes).await.unwrap();
    assert_eq!((notes.count(How::Moved), notes.moved()), (4, 3 * MEGABYTE as u64 + 17 + config_size(&fat)));
    let back = new_layout(folder.path(), "b");
    let notes = Notes::new();
    let pulled = pull_named(&client(), &name, &amd64(), &back, &notes).await.unwrap();
    assert_eq!(contents(&back, "x", "linux/amd64"), contents(&fat, "x", "linux/amd64"));
    assert_eq!((pulled.manifests, pulled.blobs, notes.count(How::Moved)), (1, 4, 4));
    assert_eq!(notes.planned(), notes.moved());
    assert_eq!(leftovers(&back), [""; 0]);
    let notes = Notes::new();
    pull_named(&client(), &name, &amd64(), &back, &notes).await.unwrap();
    assert_eq!((notes.count(How::AlreadyThere), notes.moved()), (4, 0), "the second time nothing moves");
    push_named(&client(), &fat, "x", &name, &notes).await.unwrap();
    assert_eq!((notes.count(How::AlreadyThere), notes.moved()), (4, 0), "nor to the registry");
}

fn config_size(layout: &Layout) -> u64 {
    let resolved = layout.resolve(&Selector::Name("x".into()), &"linux/amd64".parse().unwrap()).unwrap();
    resolved.manifest.config.size
}

#[tokio::test(flavor = "multi_thread")]
async fn of_an_index_one_platform_is_pulled_or_all() {
    let (registry, folder) = (RealRegistry::start(), tempfile::tempdir().unwrap());
    let fat = layout_of_index(&folder.path().join("a"), "x", &[1000, 2000]);
    let name = format!("{}/a:1", registry.address);
    let pushed = push_named(&client(), &fat, "x", &name, &Notes::new()).await.unwrap();
    assert_eq!((pushed.manifests, pushed.blobs), (3, 6));
    let arm = new_layout(folder.path(), "arm");
    let only = Platforms::Only("linux/arm64/v8".parse().unwrap());
    let pulled = pull_named(&client(), &name, &only, &arm, &Notes::new()).await.unwrap();
    assert_eq!((pulled.manifests, pulled.blobs), (1, 3));
    assert_eq!(contents(&arm, "x", "linux/arm64"), contents(&fat, "x", "linux/arm64"));
    let all = new_layout(folder.path(), "all");
    let pulled = pull_named(&client(), &name, &Platforms::All, &all, &Notes::new()).await.unwrap();
    assert_eq!(pulled.descriptor.digest, pushed.descriptor.digest, "the index is the same to the last byte");
    for platform in ["linux/amd64", "linux/arm64"] {
        assert_eq!(contents(&all, "x", platform), contents(&fat, "x", platform));
    }
    let none = Platforms::Usual("linux/s390x".parse().unwrap());
    let error = pull_named(&client(), &name, &none, &all, &Notes::new()).await.unwrap_err();
    assert!(error.to_string().contains("linux/amd64, linux/arm64"), "{error}");
    assert_eq!((error.exit_code(), error.hint().is_some()), (4, true));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_image_without_an_index_is_refused_only_where_another_platform_was_asked_for() {
    let (registry, folder) = (RealRegistry::start(), tempfile::tempdir().unwrap());
    let fat = layout_of(&folder.path().join("a"), "x", &[10]);
    let name = format!("{}/a:1", registry.address);
    push_named(&client(), &fat, "x", &name, &Notes::new()).await.unwrap();
    let back = new_layout(folder.path(), "b");
    let arm = "linux/arm64".parse().unwrap();
    let error = pull_named(&client(), &name, &Platforms::Only(arm), &back, &Notes::new()).await.unwrap_err();
    assert!(error.to_string().contains("linux/amd64"), "{error}");
    let arm = "linux/arm64".parse().unwrap();
    pull_named(&client(), &name, &Platforms::Usual(arm), &back, &Notes::new()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_within_a_registry_moves_no_blob() {
    let (registry, folder) = (RealRegistry::start(), tempfile::tempdir().unwrap());
    let fat = layout_of_index(&folder.path().join("a"), "x", &[1000, 2000]);
    let from = format!("{}/a:1", registry.address);
    let pushed = push_named(&client(), &fat, "x", &from, &Notes::new()).await.unwrap();
    let to = format!("{}/other/b:2", registry.address);
    let notes = Notes::new();
    let progress: Arc<dyn Progress> = notes.clone();
    let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
    let copied = copy(&client(), &from, &to, &Platforms::All, &progress).await.unwrap();
    assert_eq!((notes.count(How::Mounted), notes.moved()), (6, 0));
    assert_eq!(copied.descriptor.digest, pushed.descriptor.digest);
    let repository = client().to_pull(RepositoryName::of(&to));
    let found = repository.find_manifest(&Which::Tag("2".into())).await.unwrap();
    assert_eq!(found, Some(pushed.descriptor.digest));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_between_registries_is_the_same_to_the_last_byte() {
    let (one, other) = (RealRegistry::start(), RealRegistry::with_password());
    let folder = tempfile::tempdir().unwrap();
    let fat = layout_of_index(&folder.path().join("a"), "x", &[MEGABYTE, 2000]);
    let from = format!("{}/a:1", one.address);
    push_named(&client(), &fat, "x", &from, &Notes::new()).await.unwrap();
    let to = format!("{}/b:2", other.address);
    let client = client_with(login(folder.path(), &other.address, RIGHT));
    let notes = Notes::new();
    let progress: Arc<dyn Progress> = notes.clone();
    copy(&client, &from.parse().unwrap(), &to.parse().unwrap(), &Platforms::All, &progress).await.unwrap();
    assert_eq!(notes.count(How::Moved), 6);
    let back = new_layout(folder.path(), "b");
    pull_named(&client, &to, &Platforms::All, &back, &Notes::new()).await.unwrap();
    for platform in ["linux/amd64", "linux/arm64"] {
        assert_eq!(contents(&back, "x", platform), contents(&fat, "x", platform));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_opens_what_is_closed_without_it() {
    let (registry, folder) = (RealRegistry::with_password(), tempfile::tempdir().unwrap());
    let fat = layout_of(&folder.path().join("a"), "x", &[1000]);
    let name = format!("{}/a:1", registry.address);
    let error = push_named(&client(), &fat, "x", &name, &Notes::new()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
    assert!(error.hint().unwrap().contains("docker login"));
    let wrong = client_with(login(folder.path(), &registry.address, WRONG));
    let error = push_named(&wrong, &fat, "x", &name, &Notes::new()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
    let right = client_with(login(folder.path(), &registry.address, RIGHT));
    push_named(&right, &fat, "x", &name, &Notes::new()).await.unwrap();
    let back = new_layout(folder.path(), "b");
    pull_named(&right, &name, &amd64(), &back, &Notes::new()).await.unwrap();
    assert_eq!(contents(&back, "x", "linux/amd64"), contents(&fat, "x", "linux/amd64"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_goes_on_where_the_connection_broke() {
    const SIZE: u64 = 4 * MEGABYTE as u64;
    let (registry, folder) = (RealRegistry::start(), tempfile::tempdir().unwrap());
    let fat = layout_of(&folder.path().join("a"), "x", &[4 * MEGABYTE]);
    push_named(&client(), &fat, "x", &format!("{}/a:1", registry.address), &Notes::new()).await.unwrap();
    let wire = Wire::breaking_downloads(&registry.address, 3, SIZE / 4).await;
    let back = new_layout(folder.path(), "b");
    let notes = Notes::new();
    pull_named(&client(), &format!("{}/a:1", wire.address), &amd64(), &back, &notes).await.unwrap();
    assert_eq!(contents(&back, "x", "linux/amd64"), contents(&fat, "x", "linux/amd64"));
    assert_eq!(wire.broken(), 3);
    // Whatever broke, no byte of the layer came to us twice: the rest is heads and manifests.
    assert_eq!(notes.moved(), SIZE + config_size(&fat));
    assert!(wire.down() < SIZE + SIZE / 4, "{} bytes for {SIZE}", wire.down());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_that_was_given_up_goes_on_in_the_next_run() {
    const SIZE: u64 = 4 * MEGABYTE as u64;
    let (registry, folder) = (RealRegistry::start(), tempfile::tempdir().unwrap());
    let fat = layout_of(&folder.path().join("a"), "x", &[4 * MEGABYTE]);
    let name = format!("{}/a:1", registry.address);
    push_named(&client(), &fat, "x", &name, &Notes::new()).await.unwrap();
    let wire = Wire::breaking_downloads(&registry.address, 1, SIZE / 2).await;
    let mut impatient = settings();
    impatient.retry.attempts = 1;
    let back = new_layout(folder.path(), "b");
    let through = format!("{}/a:1", wire.address);
    let error =
        pull_named(&Client::new(impatient), &through, &amd64(), &back, &Notes::new()).await.unwrap_err();
    assert!(matches!(error, RegistryError::WentAway { .. }), "{error}");
    assert_eq!((error.exit_code(), leftovers(&back).len()), (3, 1));
    let notes = Notes::new();
    pull_named(&client(), &name, &amd64(), &back, &notes).await.unwrap();
    assert_eq!(contents(&back, "x", "linux/amd64"), contents(&fat, "x", "linux/amd64"));
    assert!(notes.already() >= SIZE / 4 && notes.moved() <= SIZE - SIZE / 4, "{}", notes.moved());
    assert_eq!(leftovers(&back), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_earlier_run_left_is_thrown_away_where_it_was_wrong() {
    let (registry, folder) = (RealRegistry::start(), tempfile::tempdir().unwrap());
    let fat = layout_of(&folder.path().join("a"), "x", &[MEGABYTE]);
    let name = format!("{}/a:1", registry.address);
    push_named(&client(), &fat, "x", &name, &Notes::new()).await.unwrap();
    let back = new_layout(folder.path(), "b");
    let layer = fat.blobs().unwrap().into_iter().find(|(_, size)| *size == MEGABYTE as u64).unwrap().0;
    fs::write(back.path().join(format!(".partial-{}", layer.hex())), noise(99, 5000)).unwrap();
    pull_named(&client(), &name, &amd64(), &back, &Notes::new()).await.unwrap();
    assert_eq!(contents(&back, "x", "linux/amd64"), contents(&fat, "x", "linux/amd64"));
    assert_eq!(leftovers(&back), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blob_that_is_not_what_its_digest_says_is_left_under_no_name() {
    let (registry, folder) = (RealRegistry::start(), tempfile::tempdir().unwrap());
    let fat = layout_of(&folder.path().join("a"), "x", &[MEGABYTE]);
    let name = format!("{}/a:1", registry.address);
    push_named(&client(), &fat, "x", &name, &Notes::new()).await.unwrap();
    let layer = fat.blobs().unwrap().into_iter().find(|(_, size)| *size == MEGABYTE as u64).unwrap().0;
    let mut bytes = fs::read(registry.blob_file(&layer)).unwrap();
    bytes[MEGABYTE / 2] ^= 1;
    fs::write(registry.blob_file(&layer), bytes).unwrap();
    let back = new_layout(folder.path(), "b");
    let error = pull_named(&client(), &name, &amd64(), &back, &Notes::new()).await.unwrap_err();
    assert!(matches!(&error, RegistryError::WrongDigest { wanted, .. } if *wanted == layer), "{error}");
    assert!(!back.blob_path(&layer).exists());
    // Another blob that was on its way when this one failed may be there in part; this one is not.
    assert!(!leftovers(&back).contains(&format!(".partial-{}", layer.hex())));
    assert!(back.index().unwrap().manifests.is_empty(), "no name for an image that is not whole");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_survives_connections_that_break() {
    const SIZE: u64 = 4 * MEGABYTE as u64;
    let (registry, folder) = (RealRegistry::start(), tempfile::tempdir().unwrap());
    let fat = layout_of(&folder.path().join("a"), "x", &[4 * MEGABYTE]);
    let wire = Wire::breaking_uploads(&registry.address, 2, SIZE / 3).await;
    let through = format!("{}/a:1", wire.address);
    push_named(&client(), &fat, "x", &through, &Notes::new()).await.unwrap();
    assert_eq!(wire.broken(), 2);
    let back = new_layout(folder.path(), "b");
    let name = format!("{}/a:1", registry.address);
    pull_named(&client(), &name, &amd64(), &back, &Notes::new()).await.unwrap();
    assert_eq!(contents(&back, "x", "linux/amd64"), contents(&fat, "x", "linux/amd64"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_in_chunks_arrives_whole() {
    let (registry, folder) = (RealRegistry::start(), tempfile::tempdir().unwrap());
    let fat = layout_of(&folder.path().join("a"), "x", &[MEGABYTE, 3 * 100_000]);
    let mut chunked = settings();
    chunked.chunk = Some(100_000);
    let name = format!("{}/a:1", registry.address);
    push_named(&Client::new(chunked), &fat, "x", &name, &Notes::new()).await.unwrap();
    let back = new_layout(folder.path(), "b");
    pull_named(&client(), &name, &amd64(), &back, &Notes::new()).await.unwrap();
    assert_eq!(contents(&back, "x", "linux/amd64"), contents(&fat, "x", "linux/amd64"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_told_by_name() {
    let registry = RealRegistry::start();
    let folder = tempfile::tempdir().unwrap();
    let back = new_layout(folder.path(), "b");
    let name = format!("{}/a:1", registry.address);
    let error = pull_named(&client(), &name, &amd64(), &back, &Notes::new()).await.unwrap_err();
    assert!(error.is_not_found() && error.to_string().contains(&name), "{error}");
    assert_eq!(error.exit_code(), 4);
    let gone = format!("127.0.0.1:{}/a:1", support::wire::free_port());
    let error = pull_named(&client(), &gone, &amd64(), &back, &Notes::new()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
    assert_eq!(error.exit_code(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn every_tag_is_listed() {
    let (registry, folder) = (RealRegistry::start(), tempfile::tempdir().unwrap());
    let fat = layout_of(&folder.path().join("a"), "x", &[10]);
    for tag in ["c", "a", "b"] {
        push_named(&client(), &fat, "x", &format!("{}/a:{tag}", registry.address), &Notes::new())
            .await
            .unwrap();
    }
    let location = RepositoryName::of(&format!("{}/a", registry.address).parse().unwrap());
    let mut tags = client().to_pull(location).tags().await.unwrap();
    tags.sort();
    assert_eq!(tags, ["a", "b", "c"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn referrers_are_kept_under_a_tag_where_the_registry_does_not_know_them() {
    let (registry, folder) = (RealRegistry::start(), tempfile::tempdir().unwrap());
    let fat = layout_of(&folder.path().join("a"), "x", &[10]);
    let name = format!("{}/a:1", registry.address);
    let pushed = push_named(&client(), &fat, "x", &name, &Notes::new()).await.unwrap();
    let location = RepositoryName::of(&name.parse().unwrap());
    let (to, from) = (client().to_push(location.clone()), client().to_pull(location));
    let subject =
        slim_image::Descriptor { platform: None, annotations: Default::default(), ..pushed.descriptor };
    assert_eq!(from.referrers(&subject.digest, None).await.unwrap(), []);
    let empty = fat.put_blob(slim_image::manifest::media::EMPTY, b"{}").unwrap();
    let source = slim_registry::client::BlobSource::Layout(fat.clone());
    let quiet: Arc<dyn Progress> = Arc::new(());
    to.push_blob(&empty, &source, &quiet).await.unwrap();
    let mut digests = Vec::new();
    for kind in ["application/x-signature", "application/x-sbom"] {
        let bytes = referrer(&fat, &subject, kind);
        let digest = slim_image::Digest::of(&bytes);
        let media_type = slim_image::manifest::media::MANIFEST;
        to.push_manifest(&Which::Digest(digest), media_type, &bytes).await.unwrap();
        digests.push(digest);
    }
    let all = from.referrers(&subject.digest, None).await.unwrap();
    assert_eq!(all.iter().map(|found| found.digest).collect::<Vec<_>>(), digests);
    assert_eq!(all[0].annotations["about"], "a test");
    let one = from.referrers(&subject.digest, Some("application/x-sbom")).await.unwrap();
    assert_eq!(one.iter().map(|found| found.digest).collect::<Vec<_>>(), digests[1..]);
    let tags = from.tags().await.unwrap();
    assert!(tags.contains(&format!("sha256-{}", subject.digest.hex())), "{tags:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mirror_is_asked_first_and_passed_over_where_it_has_nothing() {
    let (registry, mirror) = (RealRegistry::start(), RealRegistry::start());
    let folder = tempfile::tempdir().unwrap();
    let fat = layout_of(&folder.path().join("a"), "x", &[10]);
    let name = format!("{}/a:1", registry.address);
    push_named(&client(), &fat, "x", &name, &Notes::new()).await.unwrap();
    let mut mirrored = settings();
    mirrored.mirrors = [(registry.address.clone(), vec![format!("{}/folder", mirror.address)])].into();
    let mirrored = Client::new(mirrored);
    let (back, notes) = (new_layout(folder.path(), "b"), Notes::new());
    let pulled = pull_named(&mirrored, &name, &amd64(), &back, &notes).await.unwrap();
    assert_eq!(pulled.from.unwrap().registry, registry.address);
    assert!(notes.notices()[0].contains(&mirror.address), "{:?}", notes.notices());
    push_named(&client(), &fat, "x", &format!("{}/folder/a:1", mirror.address), &Notes::new()).await.unwrap();
    let pulled = pull_named(&mirrored, &name, &amd64(), &back, &Notes::new()).await.unwrap();
    assert_eq!(pulled.from.unwrap().to_string(), format!("{}/folder/a", mirror.address));
}
