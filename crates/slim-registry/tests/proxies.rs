//! Registries that are reached through a proxy. Their names are known to it alone: without it nothing is found.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use hyper::Method;
use slim_image::{Layout, Selector};
use slim_registry::client::Proxies;
use slim_registry::{Client, ClientSettings, Platforms, RegistryError, pull, push};
use std::sync::Arc;
use support::images::{contents, layout_of};
use support::own::OwnRegistry;
use support::proxy::Proxy;
use support::settings;
use support::stranger::{Stranger, status};

/// `me:secret`.
const SECRET: &str = "Basic bWU6c2VjcmV0";

fn client(registry: &str, proxies: Proxies) -> Client {
    let insecure = [registry.to_owned()].into();
    Client::new(ClientSettings { insecure, proxies, ..settings() })
}

async fn there_and_back(client: &Client, image: &str) -> Result<(), RegistryError> {
    let folder = tempfile::tempdir().unwrap();
    let layout = layout_of(&folder.path().join("a"), "x", &[1 << 20, 10]);
    let (selector, image) = (Selector::Name("x".into()), image.parse().unwrap());
    push(client, &layout, &selector, &Platforms::All, &image, &(Arc::new(()) as _)).await?;
    let back = folder.path().join("b");
    pull(client, &image, &Platforms::All, &back, Some("x"), &(Arc::new(()) as _)).await?;
    let back = Layout::open(back).unwrap();
    assert_eq!(contents(&back, "x", "linux/amd64"), contents(&layout, "x", "linux/amd64"));
    Ok(())
}

fn port(address: &str) -> &str {
    address.rsplit_once(':').unwrap().1
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_tls_is_asked_through_the_proxy_with_whole_addresses() {
    let (registry, proxy) = (OwnRegistry::start().await, Proxy::start(Some(SECRET)).await);
    let name = format!("registry.test:{}", port(&registry.address));
    let address = format!("http://me:secret@{}", proxy.address);
    let proxies = Proxies::new(&address, &address, "").unwrap();
    there_and_back(&client(&name, proxies), &format!("{name}/a:1")).await.unwrap();
    assert!(proxy.count(&format!("PUT http://{name}/v2/a/manifests/1 ")) == 1);
    assert!(proxy.count(&format!("GET http://{name}/v2/a/blobs/")) >= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_goes_through_a_tunnel_to_the_name_that_was_meant() {
    let (registry, _) = Stranger::start_with_tls(|_| status(404)).await;
    let proxy = Proxy::start(Some(SECRET)).await;
    let name = format!("registry.test:{}", registry.port);
    let https = format!("http://me:secret@{}", proxy.address);
    let client = client(&name, Proxies::new("", &https, "").unwrap());
    let image = format!("{name}/a:1").parse().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let pulled = pull(&client, &image, &Platforms::All, folder.path(), None, &(Arc::new(()) as _)).await;
    // The registry's own answer: it was asked, by TLS.
    assert!(
        matches!(pulled, Err(RegistryError::NotFound { .. } | RegistryError::Refused { .. })),
        "{pulled:?}"
    );
    assert!(registry.count(&Method::GET, "/v2/") >= 1);
    assert_eq!(proxy.count(&format!("CONNECT {name} ")), proxy.count(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_does_not_let_us_through_is_told_and_no_password_with_it() {
    let (registry, proxy) = (OwnRegistry::start().await, Proxy::start(Some(SECRET)).await);
    let name = format!("registry.test:{}", port(&registry.address));
    let address = format!("http://me:wrong@{}", proxy.address);
    let refused = client(&name, Proxies::new("", &address, "").unwrap());
    let told = there_and_back(&refused, &format!("{name}/a:1")).await.unwrap_err().to_string();
    assert!(told.contains("proxy") && told.contains("407") && !told.contains("wrong"), "{told}");
    let gone = client(&name, Proxies::new("", "http://127.0.0.1:1", "").unwrap());
    let told = there_and_back(&gone, &format!("{name}/a:1")).await.unwrap_err().to_string();
    assert!(told.contains("the proxy 127.0.0.1:1 does not answer"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_excepted_and_this_machine_are_asked_without_a_proxy() {
    let (registry, proxy) = (OwnRegistry::start().await, Proxy::start(None).await);
    let proxies = |exceptions| Proxies::new(&proxy.address, &proxy.address, exceptions).unwrap();
    let here = registry.address.clone();
    there_and_back(&client(&here, proxies("")), &format!("{here}/a:1")).await.unwrap();
    let name = format!("registry.test:{}", port(&here));
    let excepted = there_and_back(&client(&name, proxies("x, .test")), &format!("{name}/a:1")).await;
    assert!(excepted.is_err(), "nobody else knows the name");
    assert_eq!(proxy.count(""), 0);
}
