//! Artifacts about an image: attached and read back, by the referrers API and by the tag that stands in for it.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use bytes::Bytes;
use slim_image::{Descriptor, Platform, Reference, Selector};
use slim_registry::client::{Progress, Which, referrers_tag};
use slim_registry::{Artifact, ArtifactFile, Client, Platforms, RepositoryName, attach, attached, push};
use std::collections::BTreeMap;
use std::sync::Arc;
use support::client;
use support::images::layout_of_index;
use support::own::OwnRegistry;
use support::real::RealRegistry;

const KIND: &str = "application/vnd.docker-slim.policy.v1+json";

fn artifact(text: &'static str) -> Artifact {
    let file = |name: &str, bytes: &'static str| ArtifactFile {
        name: name.to_owned(),
        media_type: format!("application/vnd.docker-slim.{name}.v1"),
        bytes: Bytes::from_static(bytes.as_bytes()),
    };
    Artifact {
        artifact_type: KIND.to_owned(),
        annotations: BTreeMap::from([("about".to_owned(), "a test".to_owned())]),
        files: vec![file("seccomp", text), file("empty", "")],
    }
}

/// An index with two images is pushed; artifacts are attached to one of them.
async fn comes_back(client: &Client, address: &str) -> (RepositoryName, Descriptor) {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout_of_index(&folder.path().join("a"), "x", &[100]);
    let progress: Arc<dyn Progress> = Arc::new(());
    let image: Reference = format!("{address}/team/a:1").parse().unwrap();
    let selector = Selector::Name("x".to_owned());
    push(client, &layout, &selector, &Platforms::All, &image, &progress).await.unwrap();
    let platform: Platform = "linux/amd64".parse().unwrap();
    let subject = layout.resolve(&selector, &platform).unwrap().descriptor;
    let get = async |platform: &str, kind: &str| {
        attached(client, &image, &platform.parse().unwrap(), kind).await.unwrap()
    };
    assert_eq!(get("linux/amd64", KIND).await, []);
    let (one, two) = (artifact("{}"), artifact("{ }"));
    let digest = attach(client, &image, &subject, &one, &progress).await.unwrap();
    assert_eq!(attach(client, &image, &subject, &one, &progress).await.unwrap(), digest);
    assert_eq!(get("linux/amd64", KIND).await, std::slice::from_ref(&one), "the same twice is there once");
    attach(client, &image, &subject, &two, &progress).await.unwrap();
    let both = get("linux/amd64", KIND).await;
    assert!(both.len() == 2 && both.contains(&one) && both.contains(&two), "{both:?}");
    assert_eq!(get("linux/arm64", KIND).await, [], "it is about one image of the index");
    assert_eq!(get("linux/amd64", "application/other").await, []);
    (RepositoryName::of(&image), subject)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_comes_back_from_our_own_registry() {
    let registry = OwnRegistry::start().await;
    let (location, subject) = comes_back(&client(), &registry.address).await;
    let tag = Which::Tag(referrers_tag(&subject.digest));
    let found = client().to_pull(location).find_manifest(&tag).await.unwrap();
    assert_eq!(found, None, "no tag stands in for the API");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_artifact_comes_back_from_a_registry_without_the_referrers_api() {
    let registry = RealRegistry::start();
    let (location, subject) = comes_back(&client(), &registry.address).await;
    let tag = Which::Tag(referrers_tag(&subject.digest));
    assert!(
        client().to_pull(location).find_manifest(&tag).await.unwrap().is_some(),
        "the tag stands in for it"
    );
}
