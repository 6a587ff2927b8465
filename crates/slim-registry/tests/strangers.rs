//! The client and servers that do not do what registries should.
#![allow(clippy::unwrap_used, reason = "a failure is a panic")]

mod support;

use hyper::Method;
use slim_image::manifest::media;
use slim_image::{Descriptor, Digest, Layout};
use slim_registry::client::Progress;
use slim_registry::{Client, ClientSettings, Platforms, RegistryError, RepositoryName, Transferred, pull};
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use support::images::{leftovers, manifest, noise};
use support::stranger::{Answer, Asked, Stranger, body, status, with};
use support::wire::Wire;
use support::{RIGHT, client, client_with, login, settings};

/// An image with one layer, as a registry would hold it.
struct Image {
    manifest: Vec<u8>,
    config: Vec<u8>,
    layer: Vec<u8>,
}

impl Image {
    fn new(size: usize) -> Self {
        Self::of(media::LAYER_GZIP, size)
    }

    fn of(layer_type: &str, size: usize) -> Self {
        let (config, layer) = (b"{\"os\":\"linux\",\"architecture\":\"amd64\"}".to_vec(), noise(5, size));
        let manifest =
            manifest(Descriptor::of(media::CONFIG, &config), vec![Descriptor::of(layer_type, &layer)], None);
        Self { manifest: serde_json::to_vec(&manifest).unwrap(), config, layer }
    }

    /// What a registry would answer; `None` for what it does not have.
    fn answer(&self, asked: &Asked) -> Option<Answer> {
        let name = asked.path.rsplit('/').next()?;
        if asked.path == "/v2/" {
            return Some(status(200));
        }
        if asked.path.contains("/manifests/") {
            return Some(body(200, media::MANIFEST, self.manifest.clone()));
        }
        [&self.config, &self.layer]
            .into_iter()
            .find(|blob| Digest::of(blob).to_string() == name)
            .map(|blob| body(200, "application/octet-stream", blob.clone()))
    }

    fn is_layer(&self, asked: &Asked) -> bool {
        asked.path.ends_with(&Digest::of(&self.layer).hex())
    }
}

/// A registry for who is logged in, which sends whoever asks for a layer to another server.
async fn with_layers_at(storage: &Stranger, image: Arc<Image>) -> Stranger {
    let elsewhere = format!("http://{}/signed", storage.address);
    Stranger::start(move |asked| match &asked.authorization {
        None => with(status(401), "www-authenticate", "Basic realm=\"x\""),
        Some(_) if image.is_layer(asked) => with(status(307), "location", &elsewhere),
        Some(_) => image.answer(asked).unwrap(),
    })
    .await
}

async fn pull_into(client: &Client, address: &str, folder: &Path) -> Result<Transferred, RegistryError> {
    let quiet = Arc::new(()) as Arc<dyn Progress>;
    let from = format!("{address}/a:1").parse().unwrap();
    let back = Layout::create(folder).unwrap();
    let pulled = pull(client, &from, &Platforms::All, back.path(), Some("x"), &quiet).await;
    if pulled.is_ok() {
        support::images::contents(&back, "x", "linux/amd64");
        assert_eq!(leftovers(&back), [""; 0]);
    }
    pulled
}

#[tokio::test]
async fn a_busy_registry_is_asked_again() {
    let image = Image::new(1000);
    let count = AtomicU32::new(0);
    let registry = Stranger::start(move |asked| match count.fetch_add(1, Ordering::SeqCst) % 3 {
        0 => with(status(429), "retry-after", "0"),
        1 => status(503),
        _ => image.answer(asked).unwrap(),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    pull_into(&client(), &registry.address, folder.path()).await.unwrap();
    assert_eq!(registry.asked().len(), 4 * 3);
}

#[tokio::test]
async fn a_registry_that_stays_busy_is_given_up_and_told() {
    let registry = Stranger::start(|asked| match asked.path.as_str() {
        "/v2/" => status(200),
        _ => body(429, "", r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"slowly"}]}"#),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let error = pull_into(&client(), &registry.address, folder.path()).await.unwrap_err();
    assert!(error.to_string().contains("TOOMANYREQUESTS: slowly"), "{error}");
    assert!(error.hint().unwrap().contains("log in"));
    assert_eq!(registry.count(&Method::GET, "/manifests/1"), 6);
}

#[tokio::test]
async fn our_proof_does_not_follow_a_redirect_to_another_server() {
    let image = Arc::new(Image::new(1000));
    let behind = Arc::clone(&image);
    let storage = Stranger::start(move |_| body(200, "", behind.layer.clone())).await;
    let registry = with_layers_at(&storage, image).await;
    let folder = tempfile::tempdir().unwrap();
    let client = client_with(login(folder.path(), &registry.address, RIGHT));
    pull_into(&client, &registry.address, &folder.path().join("b")).await.unwrap();
    assert_eq!(registry.asked().last().unwrap().authorization, Some(format!("Basic {RIGHT}")));
    assert_eq!(storage.asked().len(), 1);
    assert_eq!(storage.asked()[0].authorization, None);
}

#[tokio::test]
async fn our_password_is_not_for_the_token_service_that_another_server_names() {
    let image = Arc::new(Image::new(1000));
    let storage = Stranger::start(|asked| {
        let realm = format!("Bearer realm=\"http://{}/token\"", asked.host);
        with(status(401), "www-authenticate", &realm)
    })
    .await;
    let registry = with_layers_at(&storage, image).await;
    let folder = tempfile::tempdir().unwrap();
    let client = client_with(login(folder.path(), &registry.address, RIGHT));
    pull_into(&client, &registry.address, &folder.path().join("b")).await.unwrap_err();
    let told = storage.asked();
    assert!(!told.is_empty() && told.iter().all(|asked| asked.authorization.is_none()), "{told:?}");
}

#[tokio::test]
async fn our_proof_does_not_follow_the_rest_of_a_list_to_another_server() {
    let elsewhere = Stranger::start(|_| body(200, "application/json", r#"{"tags":["b"]}"#)).await;
    let rest = format!("<http://{}/v2/a/tags/list?last=a>; rel=\"next\"", elsewhere.address);
    let registry = Stranger::start(move |asked| match (&asked.authorization, asked.path.as_str()) {
        (None, _) => with(status(401), "www-authenticate", "Basic realm=\"x\""),
        (Some(_), "/v2/") => status(200),
        (Some(_), _) => with(body(200, "application/json", r#"{"tags":["a"]}"#), "link", &rest),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let client = client_with(login(folder.path(), &registry.address, RIGHT));
    let location = RepositoryName::of(&format!("{}/a", registry.address).parse().unwrap());
    assert_eq!(client.to_pull(location).tags().await.unwrap(), ["a", "b"]);
    assert_eq!(registry.asked().last().unwrap().authorization, Some(format!("Basic {RIGHT}")));
    assert_eq!(elsewhere.asked()[0].authorization, None);
}

#[tokio::test]
async fn a_busy_token_service_is_asked_again() {
    let image = Image::new(1000);
    let count = AtomicU32::new(0);
    let service = Stranger::start(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => status(503),
        _ => body(200, "application/json", r#"{"token":"t","expires_in":300}"#),
    })
    .await;
    let challenge = format!("Bearer realm=\"http://{}/token\"", service.address);
    let registry = Stranger::start(move |asked| match asked.authorization.as_deref() {
        Some("Bearer t") => image.answer(asked).unwrap(),
        _ => with(status(401), "www-authenticate", &challenge),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    pull_into(&client(), &registry.address, folder.path()).await.unwrap();
}

#[tokio::test]
async fn a_redirect_to_a_place_without_tls_is_refused() {
    let image = Image::new(1000);
    let registry = Stranger::start(move |asked| match image.is_layer(asked) {
        true => with(status(307), "location", "http://0.0.0.0:1/signed"),
        false => image.answer(asked).unwrap(),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let error = pull_into(&client(), &registry.address, folder.path()).await.unwrap_err();
    assert!(error.to_string().contains("not TLS"), "{error}");
}

#[tokio::test]
async fn a_registry_elsewhere_is_not_used_without_tls_unless_it_is_named_insecure() {
    let image = Image::new(1000);
    let registry = Stranger::start(move |asked| image.answer(asked).unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    // This machine, by an address that is no loopback one.
    let elsewhere = format!("0.0.0.0:{}", registry.port);
    let error = pull_into(&client(), &elsewhere, folder.path()).await.unwrap_err();
    assert!(matches!(error, RegistryError::Unreachable { .. }), "{error}");
    assert!(error.hint().unwrap().contains("--insecure-registry"), "{error}");
    assert_eq!(registry.asked().len(), 0);
    let insecure = Client::new(ClientSettings { insecure: [elsewhere.clone()].into(), ..settings() });
    pull_into(&insecure, &elsewhere, folder.path()).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_believed_where_its_file_is_there_or_the_registry_is_named_insecure() {
    let image = Image::new(1000);
    let (registry, certificate) = Stranger::start_with_tls(move |asked| image.answer(asked).unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let address = format!("localhost:{}", registry.port);
    let error = pull_into(&client(), &address, &folder.path().join("b")).await.unwrap_err();
    assert!(error.hint().unwrap().contains("--insecure-registry"), "{error}");
    assert_eq!(registry.asked().len(), 0);
    let own = folder.path().join("certs.d").join(&address);
    std::fs::create_dir_all(&own).unwrap();
    std::fs::write(own.join("ca.crt"), certificate).unwrap();
    let trusting = ClientSettings { certificate_folders: vec![folder.path().join("certs.d")], ..settings() };
    pull_into(&Client::new(trusting), &address, &folder.path().join("b")).await.unwrap();
    let insecure = ClientSettings { insecure: BTreeSet::from([address.clone()]), ..settings() };
    pull_into(&Client::new(insecure), &address, &folder.path().join("c")).await.unwrap();
}

#[tokio::test]
async fn a_registry_that_knows_no_ranges_costs_time_and_not_the_blob() {
    let image = Image::new(1 << 20);
    let registry = Stranger::start(move |asked| image.answer(asked).unwrap()).await;
    let wire = Wire::breaking_downloads(&registry.address, 2, 1 << 19).await;
    let folder = tempfile::tempdir().unwrap();
    pull_into(&client(), &wire.address, folder.path()).await.unwrap();
    assert_eq!(wire.broken(), 2);
}

#[tokio::test]
async fn a_blob_of_another_length_than_announced_is_refused() {
    for (length, why) in [(1001, "longer than the 1000 bytes"), (999, "after 999 of 1000 bytes")] {
        let image = Image::new(1000);
        let registry = Stranger::start(move |asked| match image.is_layer(asked) {
            true => body(200, "", noise(5, length)),
            false => image.answer(asked).unwrap(),
        })
        .await;
        let folder = tempfile::tempdir().unwrap();
        let error = pull_into(&client(), &registry.address, folder.path()).await.unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
    }
}

#[tokio::test]
async fn a_manifest_that_is_not_what_it_was_announced_as_is_refused() {
    let image = Image::new(10);
    let told = Digest::of("something else").to_string();
    let registry =
        Stranger::start(move |asked| with(image.answer(asked).unwrap(), "docker-content-digest", &told))
            .await;
    let folder = tempfile::tempdir().unwrap();
    let error = pull_into(&client(), &registry.address, folder.path()).await.unwrap_err();
    assert!(matches!(error, RegistryError::WrongDigest { .. }), "{error}");
}

#[tokio::test]
async fn schema_1_and_foreign_layers_are_refused_by_name() {
    let old = r#"{"schemaVersion": 1, "name": "a", "fsLayers": []}"#;
    let registry = Stranger::start(move |asked| match asked.path.as_str() {
        "/v2/" => status(200),
        _ => body(200, "application/vnd.docker.distribution.manifest.v1+prettyjws", old),
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let error = pull_into(&client(), &registry.address, folder.path()).await.unwrap_err();
    assert!(error.to_string().contains("schema 1"), "{error}");
    assert_eq!(error.exit_code(), 4);
    let image = Image::of("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip", 10);
    let registry = Stranger::start(move |asked| image.answer(asked).unwrap()).await;
    let error = pull_into(&client(), &registry.address, folder.path()).await.unwrap_err();
    assert!(error.to_string().contains("foreign"), "{error}");
    assert_eq!(registry.asked().iter().filter(|asked| asked.path.contains("/blobs/")).count(), 0);
}

#[tokio::test]
async fn what_is_no_registry_is_told_as_such() {
    let website = Stranger::start(|_| body(404, "text/html", "<html>")).await;
    let folder = tempfile::tempdir().unwrap();
    let error = pull_into(&client(), &website.address, folder.path()).await.unwrap_err();
    assert!(error.to_string().contains("404"), "{error}");
    assert_eq!(error.exit_code(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_pulls_into_one_layout_fetch_each_blob_once() {
    let image = Image::new(1 << 20);
    let layer = Digest::of(&image.layer).to_string();
    let registry = Stranger::start(move |asked| image.answer(asked).unwrap()).await;
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (client(), client());
    let (first, second) = tokio::join!(
        pull_into(&one, &registry.address, folder.path()),
        pull_into(&other, &registry.address, folder.path())
    );
    assert_eq!(first.unwrap().descriptor, second.unwrap().descriptor);
    assert_eq!(registry.count(&Method::GET, &layer), 1);
}
