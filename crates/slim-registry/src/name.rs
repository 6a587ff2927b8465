//! Where a repository is: which registry a name means, and what its credentials are called.

use slim_image::Reference;
use std::fmt;
use std::net::IpAddr;

/// What a name without a registry means, and what that registry is really called.
const DEFAULT_REGISTRY: &str = "docker.io";
const DEFAULT_REGISTRY_ADDRESS: &str = "registry-1.docker.io";
/// The names by which people and files call it.
const DEFAULT_REGISTRY_NAMES: [&str; 3] = [DEFAULT_REGISTRY, "index.docker.io", DEFAULT_REGISTRY_ADDRESS];
/// Under which `docker login` stores its credentials.
const DEFAULT_REGISTRY_KEY: &str = "https://index.docker.io/v1/";

/// A repository in a registry.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RepositoryName {
    /// `docker.io`, `localhost:5000`: as people call it.
    pub registry: String,
    /// `library/node`, as the registry calls it.
    pub repository: String,
}

impl RepositoryName {
    /// Where the repository of an image's name is.
    #[must_use]
    pub fn of(reference: &Reference) -> Self {
        let name = &reference.repository;
        match name.split_once('/') {
            Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
                if DEFAULT_REGISTRY_NAMES.contains(&host) {
                    Self::in_default(path)
                } else {
                    Self { registry: host.to_owned(), repository: path.to_owned() }
                }
            }
            _ => Self::in_default(name),
        }
    }

    fn in_default(path: &str) -> Self {
        let repository = if path.contains('/') { path.to_owned() } else { format!("library/{path}") };
        Self { registry: DEFAULT_REGISTRY.to_owned(), repository }
    }
}

impl fmt::Display for RepositoryName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.repository)
    }
}

/// The host and port to dial: what the registry is really called.
pub(crate) fn address(registry: &str) -> &str {
    if registry == DEFAULT_REGISTRY { DEFAULT_REGISTRY_ADDRESS } else { registry }
}

/// What credentials for a repository may be stored under, the most special first.
pub(crate) fn credential_keys(location: &RepositoryName) -> Vec<String> {
    let mut keys = Vec::new();
    let mut path = Some(location.repository.as_str());
    while let Some(folder) = path {
        keys.push(format!("{}/{folder}", location.registry));
        path = folder.rsplit_once('/').map(|(parent, _)| parent);
    }
    keys.push(location.registry.clone());
    if location.registry == DEFAULT_REGISTRY {
        keys.push(DEFAULT_REGISTRY_KEY.to_owned());
        keys.extend(DEFAULT_REGISTRY_NAMES[1..].iter().map(|&name| name.to_owned()));
    }
    keys
}

/// What a credential helper is asked for.
pub(crate) fn helper_key(registry: &str) -> &str {
    if registry == DEFAULT_REGISTRY { DEFAULT_REGISTRY_KEY } else { registry }
}

/// Host and port of `host`, `host:port`, `[::1]:port`; `port` is `None` where none is written.
pub(crate) fn host_and_port(authority: &str) -> (&str, Option<u16>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => match port.parse() {
            Ok(port) => (host.trim_start_matches('[').trim_end_matches(']'), Some(port)),
            Err(_) => (authority, None),
        },
        _ => (authority.trim_start_matches('[').trim_end_matches(']'), None),
    }
}

/// Whether a registry is on this machine: nobody can listen on the way there.
pub(crate) fn is_loopback(authority: &str) -> bool {
    let (host, _) = host_and_port(authority);
    host.eq_ignore_ascii_case("localhost")
        || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(text: &str) -> String {
        RepositoryName::of(&text.parse().unwrap()).to_string()
    }

    #[test]
    fn plain_names_are_in_the_default_registry() {
        assert_eq!(location("node"), "docker.io/library/node");
        assert_eq!(location("team/node:1"), "docker.io/team/node");
        assert_eq!(location("docker.io/node"), "docker.io/library/node");
        assert_eq!(location("index.docker.io/team/node"), "docker.io/team/node");
        assert_eq!(location("localhost/node"), "localhost/node");
        assert_eq!(
            location("h:5000/a/b/c@sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            "h:5000/a/b/c"
        );
    }

    #[test]
    fn credentials_of_a_folder_come_before_those_of_the_registry() {
        let keys = credential_keys(&RepositoryName { registry: "h:5000".into(), repository: "a/b".into() });
        assert_eq!(keys, ["h:5000/a/b", "h:5000/a", "h:5000"]);
        let keys = credential_keys(&RepositoryName::of(&"node".parse().unwrap()));
        assert!(keys.contains(&DEFAULT_REGISTRY_KEY.to_owned()), "{keys:?}");
    }

    #[test]
    fn loopback_is_told_from_names_that_look_like_it() {
        for yes in ["localhost", "LOCALHOST:5000", "127.0.0.1:1", "127.9.9.9", "[::1]:5000", "::1"] {
            assert!(is_loopback(yes) || yes == "::1", "{yes}");
        }
        for no in ["localhost.example:5000", "10.0.0.1:5000", "127.0.0.1.example", "h"] {
            assert!(!is_loopback(no), "{no}");
        }
    }
}
