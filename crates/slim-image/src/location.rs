//! Where an image is, or is to go, as people write it for skopeo, podman and crane: `transport:details`.
//!
//! | written | means |
//! |---|---|
//! | `docker://NAME` | in a registry |
//! | `oci:DIRECTORY[:NAME]`, `oci:DIRECTORY@sha256:…` | in an OCI layout |
//! | `oci-archive:FILE[:NAME]` | in an OCI layout in a tar file |
//! | `docker-archive:FILE[:NAME]` | in a file that `docker save` writes |
//! | `dir:DIRECTORY` | in a directory as skopeo writes it |
//! | `docker-daemon:NAME`, `podman:NAME`, `containerd:NAME`, `embedded:NAME` | held by that engine |
//! | `/path`, `./path`, `../path` | one of the above, found out by its contents; `:NAME` may follow |
//! | anything else | a name or id: an engine's, else of a file or layout of that name, else a registry's |
//!
//! As with skopeo, the path ends at the first colon; a path with a colon in it is written without a transport.

use crate::digest::Digest;
use crate::layout::{Layout, Selector};
use crate::manifest::Packing;
use crate::packing::packing_of;
use crate::reference::Reference;
use std::fmt;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A place where an image is, or is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Location {
    /// A name or an id, without a transport.
    Plain(String),
    Registry(Reference),
    Engine {
        engine: EngineKind,
        name: String,
    },
    Stored(Stored),
    /// A path whose contents say what it is: [`Stored::recognise`].
    Path(String),
}

/// Which engine is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum EngineKind {
    Docker,
    Podman,
    Containerd,
    /// The one of this program, with a store of its own.
    Embedded,
}

/// An image in files of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    pub form: Form,
    pub path: PathBuf,
    /// Which image of several.
    pub selector: Selector,
}

/// How the files hold the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Form {
    /// A directory with `oci-layout`.
    Layout,
    /// The same in a tar file.
    OciArchive,
    /// A tar file with `manifest.json`.
    DockerArchive,
    /// A tar file with either, to be found out when it is read.
    AnyArchive,
    /// A directory with `version` and `manifest.json`.
    Directory,
}

/// Why a text is no place for an image.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("read {text:?} as the place of an image: {reason}")]
pub struct LocationError {
    text: String,
    reason: String,
}

/// First line of `version` in a directory of skopeo's.
pub(crate) const DIRECTORY_VERSION: &str = "Directory Transport Version: ";

impl FromStr for Location {
    type Err = LocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refuse = |reason: &str| LocationError { text: text.to_owned(), reason: reason.to_owned() };
        if text.is_empty() {
            return Err(refuse("it is empty"));
        }
        if is_path(text) {
            return Ok(Self::Path(text.to_owned()));
        }
        let Some((transport, rest)) = text.split_once(':') else { return Ok(Self::Plain(text.to_owned())) };
        let stored = |form| stored(form, rest).map(Self::Stored).map_err(|reason| refuse(&reason));
        match transport {
            "docker" if rest.starts_with("//") => {
                let name = &rest[2..];
                let reference = name.parse().map_err(|error| LocationError {
                    text: text.to_owned(),
                    reason: format!("failed to {error}"),
                })?;
                Ok(Self::Registry(reference))
            }
            "oci" => stored(Form::Layout),
            "oci-archive" => stored(Form::OciArchive),
            "docker-archive" => stored(Form::DockerArchive),
            "dir" if rest.is_empty() => Err(refuse("no directory follows the transport")),
            "dir" => Ok(Self::Stored(Stored {
                form: Form::Directory,
                path: rest.into(),
                selector: Selector::Only,
            })),
            "docker-daemon" => held(EngineKind::Docker, rest).map_err(|reason| refuse(&reason)),
            "podman" => held(EngineKind::Podman, rest).map_err(|reason| refuse(&reason)),
            "embedded" => held(EngineKind::Embedded, rest).map_err(|reason| refuse(&reason)),
            "containerd" => held(EngineKind::Containerd, rest).map_err(|reason| refuse(&reason)),
            "containers-storage" => Err(refuse("an image that podman holds is written podman:NAME")),
            "http" | "https" if rest.starts_with("//") => {
                Err(refuse("an image in a registry is written docker://HOST/NAME"))
            }
            _ if rest.starts_with("//") => Err(refuse("the transport is not known")),
            _ => Ok(Self::Plain(text.to_owned())),
        }
    }
}

/// Whether a word without a transport can be nothing but a path.
fn is_path(text: &str) -> bool {
    matches!(text, "." | "..") || ["/", "./", "../"].iter().any(|start| text.starts_with(start))
}

fn stored(form: Form, rest: &str) -> Result<Stored, String> {
    let (path, selector) = split(rest)?;
    if path.is_empty() {
        return Err("no path follows the transport".to_owned());
    }
    Ok(Stored { form, path: path.into(), selector })
}

/// `PATH[:NAME]` or `PATH@sha256:…`, the path without a colon.
fn split(text: &str) -> Result<(&str, Selector), String> {
    let colon = text.find(':').unwrap_or(text.len());
    if let Some(path) = text[..colon].strip_suffix("@sha256") {
        let digest: Digest = text[path.len() + 1..]
            .parse()
            .map_err(|_| "what follows the @ is no sha256 digest".to_owned())?;
        return Ok((path, Selector::Digest(digest)));
    }
    match text.split_once(':') {
        Some((_, "")) => Err("nothing follows the colon".to_owned()),
        Some((path, name)) => Ok((path, Selector::Name(name.to_owned()))),
        None => Ok((text, Selector::Only)),
    }
}

fn held(engine: EngineKind, name: &str) -> Result<Location, String> {
    let is_name = name.parse::<Reference>().is_ok() || name.parse::<Digest>().is_ok();
    if is_name {
        Ok(Location::Engine { engine, name: name.to_owned() })
    } else {
        Err("no name or id of an image follows the transport".to_owned())
    }
}

impl Stored {
    /// Finds out what lies at a path, `:NAME` behind it. `None` where there is nothing at all.
    ///
    /// # Errors
    /// When there is something, and it is no image.
    pub fn recognise(text: &str) -> Result<Option<Self>, LocationError> {
        let Some((path, selector)) = existing(text) else { return Ok(None) };
        let refuse = |reason: String| LocationError { text: text.to_owned(), reason };
        let form = match form_of(path).map_err(|error| refuse(error.to_string()))? {
            Some(form) => form,
            None if path.is_dir() => {
                return Err(refuse(
                    "the directory is neither an OCI layout (oci-layout) nor an image of skopeo's (version)"
                        .to_owned(),
                ));
            }
            None => return Err(refuse("the file is no tar archive".to_owned())),
        };
        Ok(Some(Self { form, path: path.to_owned(), selector }))
    }

    /// The name behind the path, where one was given.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        match &self.selector {
            Selector::Name(name) => Some(name),
            Selector::Only | Selector::Digest(_) => None,
        }
    }
}

/// The part of the text that is there, and the name behind it.
fn existing(text: &str) -> Option<(&Path, Selector)> {
    if Path::new(text).exists() {
        return Some((Path::new(text), Selector::Only));
    }
    let mut colons = text.match_indices([':', '@']);
    colons.find_map(|(at, mark)| {
        let path = Path::new(&text[..at]);
        let name = &text[at + 1..];
        let selector = match mark {
            ":" if !name.is_empty() => Selector::Name(name.to_owned()),
            "@" => Selector::Digest(name.parse().ok()?),
            _ => return None,
        };
        path.exists().then_some((path, selector))
    })
}

/// What a file or directory holds, as far as its beginning tells; `None` for no image.
fn form_of(path: &Path) -> std::io::Result<Option<Form>> {
    if path.is_dir() {
        if Layout::is_at(path) {
            return Ok(Some(Form::Layout));
        }
        let mut version = String::new();
        if let Ok(file) = File::open(path.join("version")) {
            let _ = file.take(256).read_to_string(&mut version);
        }
        return Ok(version.starts_with(DIRECTORY_VERSION).then_some(Form::Directory));
    }
    if !path.is_file() {
        return Ok(None);
    }
    let mut start = Vec::new();
    File::open(path)?.take(512).read_to_end(&mut start)?;
    let is_tar = start.get(257..262) == Some(b"ustar");
    let is_packed = packing_of(&start) != Packing::Plain;
    Ok((is_tar || is_packed).then_some(Form::AnyArchive))
}

impl fmt::Display for Location {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(text) | Self::Path(text) => formatter.write_str(text),
            Self::Registry(reference) => write!(formatter, "docker://{reference}"),
            Self::Engine { engine, name } => write!(formatter, "{}:{name}", engine.transport()),
            Self::Stored(stored) => stored.fmt(formatter),
        }
    }
}

impl EngineKind {
    /// How the transport is written, without the colon.
    #[must_use]
    pub fn transport(self) -> &'static str {
        match self {
            Self::Docker => "docker-daemon",
            Self::Podman => "podman",
            Self::Containerd => "containerd",
            Self::Embedded => "embedded",
        }
    }

    /// What the engine calls itself.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            other => other.transport(),
        }
    }
}

impl fmt::Display for Stored {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self.form {
            Form::Layout => "oci:",
            Form::OciArchive => "oci-archive:",
            Form::DockerArchive => "docker-archive:",
            Form::AnyArchive => "",
            Form::Directory => "dir:",
        })?;
        write!(formatter, "{}", self.path.display())?;
        match &self.selector {
            Selector::Only => Ok(()),
            Selector::Name(name) => write!(formatter, ":{name}"),
            Selector::Digest(digest) => write!(formatter, "@{digest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn at(text: &str) -> Location {
        text.parse().unwrap()
    }

    fn named(form: Form, path: &str, name: &str) -> Location {
        Location::Stored(Stored { form, path: path.into(), selector: Selector::Name(name.to_owned()) })
    }

    #[test]
    fn places_are_read_as_skopeo_reads_them() {
        let only =
            |form, path: &str| Location::Stored(Stored { form, path: path.into(), selector: Selector::Only });
        assert_eq!(at("oci:a/b"), only(Form::Layout, "a/b"));
        assert_eq!(at("oci:a/b:1"), named(Form::Layout, "a/b", "1"));
        assert_eq!(at("oci:a:docker.io/b:1"), named(Form::Layout, "a", "docker.io/b:1"));
        assert_eq!(at("oci-archive:/x.tar:v2"), named(Form::OciArchive, "/x.tar", "v2"));
        assert_eq!(at("docker-archive:x.tar:node:18"), named(Form::DockerArchive, "x.tar", "node:18"));
        assert_eq!(at("dir:/a:b"), only(Form::Directory, "/a:b"));
        assert_eq!(
            at("docker://localhost:5000/a:1"),
            Location::Registry("localhost:5000/a:1".parse().unwrap())
        );
        let engine = |engine, name: &str| Location::Engine { engine, name: name.to_owned() };
        assert_eq!(at("docker-daemon:node:18"), engine(EngineKind::Docker, "node:18"));
        assert_eq!(at("podman:localhost/a"), engine(EngineKind::Podman, "localhost/a"));
        assert_eq!(
            at("containerd:docker.io/library/a:1"),
            engine(EngineKind::Containerd, "docker.io/library/a:1")
        );
    }

    #[test]
    fn a_digest_chooses_a_manifest() {
        let digest = Digest::of("x");
        let Location::Stored(stored) = at(&format!("oci:dir@{digest}")) else { panic!() };
        assert_eq!((stored.path, stored.selector), ("dir".into(), Selector::Digest(digest)));
        assert!("oci:dir@sha256:12".parse::<Location>().is_err());
    }

    #[test]
    fn names_stay_names_and_paths_stay_paths() {
        for name in ["node", "node:18", "localhost:5000/a/b:1", "docker:dind", "sha256:12", "a/b", "x.tar"] {
            assert_eq!(at(name), Location::Plain(name.to_owned()));
        }
        for path in ["/a", "./a:1", "../a", ".", ".."] {
            assert_eq!(at(path), Location::Path(path.to_owned()));
        }
    }

    #[test]
    fn what_was_meant_is_said_where_it_can_be_guessed() {
        for (text, reason) in [
            ("", "empty"),
            ("oci:", "no path follows"),
            ("oci:a:", "nothing follows the colon"),
            ("dir:", "no directory follows"),
            ("docker://Node", "lower-case"),
            ("docker-daemon:", "no name or id"),
            ("containers-storage:x", "podman:NAME"),
            ("https://registry/x", "docker://HOST/NAME"),
            ("ftp://x", "the transport is not known"),
        ] {
            let error = text.parse::<Location>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }

    #[test]
    fn places_are_written_as_they_are_read() {
        let digest = format!("oci:a@{}", Digest::of("x"));
        for text in [
            "node:18",
            "docker://a/b:1",
            "oci:a:1",
            &digest,
            "oci-archive:a:x",
            "docker-archive:a",
            "dir:/a",
            "docker-daemon:a:1",
            "podman:a",
            "containerd:a",
            "embedded:a:1",
            "./a",
        ] {
            assert_eq!(at(text).to_string(), text);
        }
    }

    #[test]
    fn a_path_is_known_by_what_lies_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let form =
            |text: String| Stored::recognise(&text).unwrap().map(|stored| (stored.form, stored.selector));
        Layout::create(path("layout")).unwrap();
        fs::create_dir(path("dir")).unwrap();
        fs::write(path("dir/version"), "Directory Transport Version: 1.1\n").unwrap();
        let mut tar = vec![0; 1024];
        tar[257..262].copy_from_slice(b"ustar");
        fs::write(path("a:b.tar"), &tar).unwrap();
        fs::write(path("a.tar.gz"), [0x1f, 0x8b, 8]).unwrap();
        fs::write(path("text"), "hello").unwrap();
        assert_eq!(form(path("layout")), Some((Form::Layout, Selector::Only)));
        assert_eq!(form(path("layout:a/b:1")), Some((Form::Layout, Selector::Name("a/b:1".to_owned()))));
        assert_eq!(form(path("dir")), Some((Form::Directory, Selector::Only)));
        assert_eq!(form(path("a:b.tar")), Some((Form::AnyArchive, Selector::Only)));
        assert_eq!(form(path("a:b.tar:x")), Some((Form::AnyArchive, Selector::Name("x".to_owned()))));
        assert_eq!(form(path("a.tar.gz")), Some((Form::AnyArchive, Selector::Only)));
        assert_eq!(form(path("missing")), None);
        assert!(Stored::recognise(&path("text")).unwrap_err().to_string().contains("no tar archive"));
        assert!(Stored::recognise(&path("")).unwrap_err().to_string().contains("neither an OCI layout"));
    }
}
