//! The client: one value for all registries, repositories in them, and what is done with those.

mod answer;
mod auth;
mod blob;
mod challenge;
pub mod credentials;
mod manifests;
mod progress;
mod proxy;
mod referrers;
mod repository;
mod send;
mod transport;
mod upload;

pub use blob::BlobReader;
pub use credentials::{CredentialSources, Credentials};
pub use manifests::{Fetched, Which};
pub use progress::{Event, How, Progress};
pub use proxy::{Proxies, ProxyError};
pub use referrers::referrers_tag;
pub use repository::Repository;
pub use upload::{BlobSource, Pushed};

use crate::error::RegistryError;
use crate::name::{self, RepositoryName};
use auth::{Access, Auth};
use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Mutex;
use transport::Transport;
use url::Url;

/// How often and how soon something is tried again. Every success starts the count anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often at most, the first time included.
    pub attempts: u32,
    /// The first pause; each further one is twice as long.
    pub first_pause: Duration,
    /// No pause is longer, whatever the registry asks for.
    pub longest_pause: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self { attempts: 6, first_pause: Duration::from_millis(250), longest_pause: Duration::from_secs(30) }
    }
}

impl Retry {
    /// The pause after this many failures in a row, one at least.
    #[must_use]
    pub fn pause(&self, failures: u32) -> Duration {
        let doubled = self.first_pause.saturating_mul(1 << failures.saturating_sub(1).min(16));
        doubled.min(self.longest_pause)
    }
}

/// Everything that a client is told.
#[derive(Clone, Debug)]
pub struct ClientSettings {
    pub credentials: CredentialSources,
    /// Registries (`host` or `host:port`) that may be used without TLS, or with a certificate that is not checked.
    /// Those on this machine may be used without TLS always.
    pub insecure: BTreeSet<String>,
    /// Where to look first for what is in a registry: `host[:port][/folder]`, by registry. Pulls only.
    pub mirrors: BTreeMap<String, Vec<String>>,
    /// Folders with one folder a registry, whose `*.crt` files are believed for it (`/etc/docker/certs.d`).
    pub certificate_folders: Vec<PathBuf>,
    /// What lies on the way to registries of other machines.
    pub proxies: Proxies,
    pub retry: Retry,
    /// How many blobs travel at the same time.
    pub parallel: NonZeroUsize,
    /// Push blobs in chunks of so many bytes; `None`: in one piece.
    pub chunk: Option<u64>,
}

impl Default for ClientSettings {
    fn default() -> Self {
        Self {
            credentials: CredentialSources::default(),
            insecure: BTreeSet::new(),
            mirrors: BTreeMap::new(),
            certificate_folders: Vec::new(),
            proxies: Proxies::default(),
            retry: Retry::default(),
            parallel: NonZeroUsize::new(4).expect("four is not zero"),
            chunk: None,
        }
    }
}

/// Talks to registries. Cheap to clone; connections and tokens are shared.
#[derive(Clone)]
pub struct Client {
    inner: Arc<Inner>,
}

struct Inner {
    settings: ClientSettings,
    transport: Transport,
    auth: Auth,
    /// The address of each registry that has answered: `https://host:port/`.
    bases: Mutex<BTreeMap<String, Url>>,
}

impl Client {
    #[must_use]
    pub fn new(settings: ClientSettings) -> Self {
        let transport = Transport::new(
            settings.insecure.clone(),
            settings.certificate_folders.clone(),
            settings.proxies.clone(),
        );
        let auth = Auth::new(transport.clone(), settings.credentials.clone());
        Self { inner: Arc::new(Inner { settings, transport, auth, bases: Mutex::default() }) }
    }

    #[must_use]
    pub fn settings(&self) -> &ClientSettings {
        &self.inner.settings
    }

    /// A repository to read from.
    #[must_use]
    pub fn to_pull(&self, location: RepositoryName) -> Repository {
        Repository::new(self.clone(), location, Access::Pull)
    }

    /// A repository to write to.
    #[must_use]
    pub fn to_push(&self, location: RepositoryName) -> Repository {
        Repository::new(self.clone(), location, Access::Push)
    }

    /// Where a repository may be read from, in the order in which they are tried: its mirrors, then itself.
    #[must_use]
    pub fn places(&self, location: &RepositoryName) -> Vec<RepositoryName> {
        let mirrors = self.settings().mirrors.get(&location.registry).map_or(&[][..], Vec::as_slice);
        let mirrored = |mirror: &String| {
            let (registry, folder) = mirror.split_once('/').unwrap_or((mirror, ""));
            let repository = match folder.trim_matches('/') {
                "" => location.repository.clone(),
                folder => format!("{folder}/{}", location.repository),
            };
            RepositoryName { registry: registry.to_owned(), repository }
        };
        mirrors.iter().map(mirrored).chain([location.clone()]).collect()
    }

    /// Whether this registry, or a service of it, may be spoken to without TLS.
    fn allows_plain(&self, authority: &str) -> bool {
        name::is_loopback(authority) || self.settings().insecure.contains(authority)
    }

    /// Makes sure that a registry answers, and that it is one.
    ///
    /// # Errors
    /// Nothing answers there, or something that is no registry.
    pub async fn ping(&self, registry: &str) -> Result<(), RegistryError> {
        self.base(registry).await.map(|_| ())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let retry = Retry {
            attempts: 9,
            first_pause: Duration::from_millis(100),
            longest_pause: Duration::from_millis(350),
        };
        let pauses: Vec<u128> = (1..=4).map(|failures| retry.pause(failures).as_millis()).collect();
        assert_eq!(pauses, [100, 200, 350, 350]);
        assert_eq!(retry.pause(u32::MAX).as_millis(), 350);
    }

    #[test]
    fn mirrors_come_first_and_only_for_their_registry() {
        let mirrors = [("docker.io".to_owned(), vec!["h:5000".to_owned(), "m.example/hub/".to_owned()])];
        let client = Client::new(ClientSettings { mirrors: mirrors.into(), ..ClientSettings::default() });
        let places = |image: &str| -> Vec<String> {
            let location = RepositoryName::of(&image.parse().unwrap());
            client.places(&location).iter().map(ToString::to_string).collect()
        };
        assert_eq!(
            places("node"),
            ["h:5000/library/node", "m.example/hub/library/node", "docker.io/library/node"]
        );
        assert_eq!(places("quay.example/a"), ["quay.example/a"]);
    }
}
