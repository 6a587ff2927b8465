//! The client and bearer tokens: Debian's docker-registry, and a token service that it believes.
#![allow(clippy::unwrap_used, reason = "a failure is a panic")]

mod support;

use hyper::Method;
use slim_image::{Layout, Selector};
use slim_registry::client::{How, Progress};
use slim_registry::{Client, Platforms, RegistryError, copy, pull, push};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use support::images::{contents, layout_of};
use support::listener::Notes;
use support::real::RealRegistry;
use support::stranger::Stranger;
use support::tokens::{ISSUER, REFRESH_TOKEN, SERVICE, TokenService};
use support::{RIGHT, WRONG, client, client_with, login};

struct Setup {
    registry: RealRegistry,
    stranger: Stranger,
    service: Arc<TokenService>,
    folder: tempfile::TempDir,
    fat: Layout,
}

async fn setup(old_tokens: i64) -> Setup {
    let service = Arc::new(TokenService::new(old_tokens));
    let answering = Arc::clone(&service);
    let stranger = Stranger::start(move |asked| answering.answer(asked)).await;
    let auth = format!(
        "auth:\n  token:\n    realm: http://{}/token\n    service: {SERVICE}\n    issuer: {ISSUER}\n    \
         rootcertbundle: FOLDER/tokens.pem\n",
        stranger.address
    );
    let registry = RealRegistry::prepared(&auth, |folder| {
        std::fs::write(folder.join("tokens.pem"), &service.certificate_pem).unwrap();
    });
    let folder = tempfile::tempdir().unwrap();
    let fat = layout_of(&folder.path().join("a"), "x", &[1000, 2000, 3000]);
    Setup { registry, stranger, service, folder, fat }
}

impl Setup {
    fn name(&self, repository: &str) -> String {
        format!("{}/{repository}", self.registry.address)
    }

    fn with_login(&self, auth: &str) -> Client {
        client_with(login(self.folder.path(), &self.registry.address, auth))
    }

    async fn push(&self, client: &Client, repository: &str) -> Result<(), RegistryError> {
        let (selector, quiet) = (Selector::Name("x".into()), Arc::new(()) as Arc<dyn Progress>);
        let to = self.name(repository).parse().unwrap();
        push(client, &self.fat, &selector, &Platforms::All, &to, &quiet).await.map(|_| ())
    }

    async fn pull(&self, client: &Client, repository: &str) -> Result<(), RegistryError> {
        let back = Layout::create(self.folder.path().join(repository.replace('/', "-"))).unwrap();
        let quiet = Arc::new(()) as Arc<dyn Progress>;
        let from = self.name(repository).parse().unwrap();
        pull(client, &from, &Platforms::All, back.path(), Some("x"), &quiet).await?;
        assert_eq!(contents(&back, "x", "linux/amd64"), contents(&self.fat, "x", "linux/amd64"));
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_fetched_once_for_all_transfers_of_a_repository() {
    let setup = setup(0).await;
    let client = setup.with_login(RIGHT);
    setup.push(&client, "team/a").await.unwrap();
    assert_eq!(setup.stranger.count(&Method::GET, "/token"), 1);
    setup.pull(&client, "team/a").await.unwrap();
    assert_eq!(setup.stranger.count(&Method::GET, "/token"), 2, "one to push with, one to pull with");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_public_is_pulled_without_credentials_and_not_pushed() {
    let setup = setup(0).await;
    setup.push(&setup.with_login(RIGHT), "public/a").await.unwrap();
    setup.pull(&client(), "public/a").await.unwrap();
    let error = setup.push(&client(), "public/a").await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
    let error = setup.pull(&client(), "private/a").await.unwrap_err();
    assert!(matches!(error, RegistryError::Unauthorized { .. }), "{error}");
    let error = setup.push(&setup.with_login(WRONG), "public/a").await.unwrap_err();
    assert!(matches!(error, RegistryError::Denied { .. }), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_the_registry_finds_too_old_is_fetched_anew() {
    let setup = setup(1).await;
    setup.push(&setup.with_login(RIGHT), "a").await.unwrap();
    assert_eq!(setup.stranger.count(&Method::GET, "/token"), 2);
    assert_eq!(setup.service.old_ones.load(Ordering::SeqCst), -1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_identity_token_is_traded_for_access() {
    let setup = setup(0).await;
    let path = setup.folder.path().join("identity.json");
    let json =
        format!(r#"{{"auths": {{"{}": {{"identitytoken": "{REFRESH_TOKEN}"}}}}}}"#, setup.registry.address);
    std::fs::write(&path, json).unwrap();
    setup.push(&client_with(path), "a").await.unwrap();
    assert_eq!(setup.stranger.count(&Method::POST, "/token"), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_within_a_registry_asks_for_both_repositories_and_moves_no_blob() {
    let setup = setup(0).await;
    let client = setup.with_login(RIGHT);
    setup.push(&client, "team/a").await.unwrap();
    let notes = Notes::new();
    let progress: Arc<dyn Progress> = notes.clone();
    let (from, to) = (setup.name("team/a").parse().unwrap(), setup.name("team/b").parse().unwrap());
    copy(&client, &from, &to, &Platforms::All, &progress).await.unwrap();
    assert_eq!((notes.count(How::Mounted), notes.moved()), (4, 0));
    setup.pull(&client, "team/b").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_is_not_sent_to_a_token_service_without_tls_elsewhere() {
    let other = Stranger::start(|_| support::stranger::status(200)).await;
    let realm = format!("Bearer realm=\"http://0.0.0.0:{}/token\",service=\"x\"", other.port);
    let registry = Stranger::start(move |_| {
        support::stranger::with(support::stranger::status(401), "www-authenticate", &realm)
    })
    .await;
    let folder = tempfile::tempdir().unwrap();
    let client = client_with(login(folder.path(), &registry.address, RIGHT));
    let error = pull_from(&client, &registry.address, folder.path()).await.unwrap_err();
    assert!(error.to_string().contains("TLS"), "{error}");
    assert_eq!(other.asked().len(), 0);
}

async fn pull_from(client: &Client, address: &str, folder: &Path) -> Result<(), RegistryError> {
    let back = Layout::create(folder.join("b")).unwrap();
    let quiet = Arc::new(()) as Arc<dyn Progress>;
    let from = format!("{address}/a:1").parse().unwrap();
    pull(client, &from, &Platforms::All, back.path(), None, &quiet).await.map(|_| ())
}
