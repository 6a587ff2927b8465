//! The name of an image as people write it: `repository[:tag][@digest]`.

use crate::digest::Digest;
use std::fmt;
use std::str::FromStr;

/// A parsed image name. The repository may begin with a registry host and port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// `node`, `library/node`, `localhost:5000/team/node`.
    pub repository: String,
    /// Without the colon.
    pub tag: Option<String>,
    pub digest: Option<Digest>,
}

/// Why a text is no image name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read {text:?} as an image name: {reason}")]
pub struct ReferenceError {
    text: String,
    reason: &'static str,
}

impl Reference {
    /// The name of the slim image: the repository with `.slim` behind it, and the same tag.
    #[must_use]
    pub fn slim_name(&self) -> Self {
        Self { repository: format!("{}.slim", self.repository), tag: self.tag.clone(), digest: None }
    }

    /// Whether it is a name that [`Reference::slim_name`] gives.
    #[must_use]
    pub fn is_slim_name(&self) -> bool {
        self.repository.ends_with(".slim")
    }

    /// What artifacts of this image are called: the repository with slashes and colons as dashes, without the tag and
    /// without the folder in which Podman puts what comes from no registry.
    #[must_use]
    pub fn file_stem(&self) -> String {
        self.repository.strip_prefix("localhost/").unwrap_or(&self.repository).replace(['/', ':'], "-")
    }

    /// The name with the registry and folder that engines mean where none is written, as containerd stores it.
    #[must_use]
    pub fn canonical(&self) -> String {
        let has_host = self
            .repository
            .split_once('/')
            .is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost");
        let full = self.with_tag().to_string();
        match (has_host, self.repository.contains('/')) {
            (true, _) => full,
            (false, true) => format!("docker.io/{full}"),
            (false, false) => format!("docker.io/library/{full}"),
        }
    }

    /// The name without the registry and folder that engines mean where none is written.
    #[must_use]
    pub fn familiar(&self) -> Self {
        let short = self.repository.strip_prefix("docker.io/");
        let repository = short.map(|short| short.strip_prefix("library/").unwrap_or(short));
        Self { repository: repository.unwrap_or(&self.repository).to_owned(), ..self.clone() }
    }

    /// The name with `:latest` where neither tag nor digest is given: what engines list.
    #[must_use]
    pub fn with_tag(&self) -> Self {
        let mut full = self.clone();
        if full.tag.is_none() && full.digest.is_none() {
            full.tag = Some("latest".to_owned());
        }
        full
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |reason| ReferenceError { text: text.to_owned(), reason };
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => {
                let digest = digest.parse().map_err(|_| refuse("what follows the @ is no sha256 digest"))?;
                (rest, Some(digest))
            }
            None => (text, None),
        };
        // A colon before the last slash belongs to the registry's port.
        let last = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (repository, tag) = match rest[last..].find(':') {
            Some(colon) => (&rest[..last + colon], Some(&rest[last + colon + 1..])),
            None => (rest, None),
        };
        check_repository(repository).map_err(refuse)?;
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(refuse(
                "the tag may hold up to 128 letters, digits, _, . and -, the first no . or -",
            ));
        }
        Ok(Self { repository: repository.to_owned(), tag: tag.map(str::to_owned), digest })
    }
}

fn check_repository(repository: &str) -> Result<(), &'static str> {
    if repository.is_empty() {
        return Err("it names no repository");
    }
    if repository.len() > 255 {
        return Err("the repository has more than 255 characters");
    }
    let (host, path) = match repository.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (Some(host), path),
        _ => (None, repository),
    };
    if host.is_some_and(|host| !is_host(host)) {
        return Err("the registry's host or port is not valid");
    }
    if !path.split('/').all(is_component) {
        return Err("the repository may hold lower-case letters and digits, with . _ or - between them");
    }
    Ok(())
}

fn is_host(host: &str) -> bool {
    let (name, port) = host.split_once(':').map_or((host, None), |(name, port)| (name, Some(port)));
    let label = |label: &str| {
        !label.is_empty()
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    name.split('.').all(label) && port.is_none_or(|port| port.parse::<u16>().is_ok())
}

/// `[a-z0-9]+` with one `.`, one or two `_`, or any number of `-` between: the distribution project's grammar.
fn is_component(component: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let ends_well = |byte: Option<&u8>| byte.is_some_and(|byte| is_word(*byte));
    ends_well(bytes.first())
        && ends_well(bytes.last())
        && bytes.split(|byte| is_word(*byte)).all(|between| {
            matches!(between, b"" | b"." | b"_" | b"__") || between.iter().all(|byte| *byte == b'-')
        })
}

fn is_tag(tag: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(is_word)
        && tag.bytes().all(|byte| is_word(byte) || byte == b'.' || byte == b'-')
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Reference {
        text.parse().unwrap()
    }

    #[test]
    fn the_slim_name_keeps_the_tag() {
        for (fat, slim) in [
            ("sample-node-app", "sample-node-app.slim"),
            ("a/b:1.2", "a/b.slim:1.2"),
            ("localhost:5000/a", "localhost:5000/a.slim"),
            ("localhost:5000/a:x", "localhost:5000/a.slim:x"),
        ] {
            assert_eq!(parse(fat).slim_name().to_string(), slim);
            assert_eq!(parse(slim).to_string(), slim);
        }
    }

    #[test]
    fn a_digest_is_not_carried_over_to_the_slim_image() {
        let text = format!("a:1@{}", Digest::of("x"));
        assert_eq!(parse(&text).to_string(), text);
        assert_eq!(parse(&text).slim_name().to_string(), "a.slim:1");
    }

    #[test]
    fn artifacts_are_named_after_the_repository() {
        assert_eq!(parse("localhost:5000/team/node:18").file_stem(), "localhost-5000-team-node");
        assert_eq!(parse("localhost/app:1").file_stem(), "app");
    }

    #[test]
    fn latest_is_what_no_tag_means() {
        assert_eq!(parse("a").with_tag().to_string(), "a:latest");
        assert_eq!(parse("a:1").with_tag().to_string(), "a:1");
    }

    #[test]
    fn the_canonical_name_has_a_registry() {
        assert_eq!(parse("a").canonical(), "docker.io/library/a:latest");
        assert_eq!(parse("a/b:1").canonical(), "docker.io/a/b:1");
        assert_eq!(parse("localhost/b").canonical(), "localhost/b:latest");
    }

    #[test]
    fn the_familiar_name_has_no_registry_that_goes_without_saying() {
        for (full, short) in [
            ("docker.io/library/a:1", "a:1"),
            ("docker.io/a/b", "a/b"),
            ("localhost/library/a", "localhost/library/a"),
            ("library/a", "library/a"),
        ] {
            assert_eq!(parse(full).familiar().to_string(), short);
        }
    }

    #[test]
    fn a_host_may_have_capitals_a_repository_not() {
        assert!("Registry.Example:443/a".parse::<Reference>().is_ok());
        assert!("Node".parse::<Reference>().is_err());
    }

    #[test]
    fn odd_names_are_refused() {
        for text in [
            "",
            ":tag",
            "a:",
            "a:-x",
            "a//b",
            "/a",
            "a/",
            "a..b",
            "a___b",
            "-a",
            "a_",
            "a@sha256:12",
            "a b",
            "ä",
            "host:99999/a",
            "-x.y/a",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
        assert!("a--b/c__d/e.f".parse::<Reference>().is_ok());
    }
}
