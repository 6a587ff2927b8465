//! Flags and environment about registries → what the client and the server are told.

use super::{AttachPolicy, attach_policy, state_path};
use crate::arguments::{
    ClientArguments, CopyArguments, GlobalArguments, PlatformArguments, PullArguments, PushArguments,
    ServeArguments,
};
use crate::failure::Failure;
use slim_image::location::{Form, Location, Stored};
use slim_image::{Platform, Reference};
use slim_registry::client::CredentialSources;
use slim_registry::{ClientSettings, Platforms, ServerSettings};
use std::collections::BTreeMap;
use std::env;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// What `pull` does.
#[derive(Debug)]
pub struct Pull {
    pub client: ClientSettings,
    pub image: Reference,
    pub platforms: Platforms,
    /// A layout, or a docker-archive.
    pub output: Stored,
}

/// What `push` does.
#[derive(Debug)]
pub struct Push {
    pub client: ClientSettings,
    /// A layout.
    pub source: Stored,
    pub image: Reference,
    pub platforms: Platforms,
    pub attach_policy: AttachPolicy,
}

/// What `copy` does.
#[derive(Debug)]
pub struct Copy {
    pub client: ClientSettings,
    pub from: Reference,
    pub to: Reference,
    pub platforms: Platforms,
}

/// The settings of `pull`.
///
/// # Errors
/// What is wrong with the flags.
pub fn pull(arguments: &PullArguments) -> Result<Pull, Failure> {
    let output = match place(&arguments.output)? {
        Location::Stored(stored) if matches!(stored.form, Form::Layout | Form::DockerArchive) => stored,
        _ => {
            return Err(Failure::usage(format!("pull into {}: it is no such place", arguments.output))
                .with_hint("--output oci:FOLDER[:NAME] or docker-archive:FILE[:NAME]"));
        }
    };
    let platforms = platforms(&arguments.platforms, Platforms::Usual(Platform::host()))?;
    if output.form == Form::DockerArchive && platforms == Platforms::All {
        return Err(Failure::usage("pull all platforms into a docker-archive: it holds one image a name")
            .with_hint("--output oci:FOLDER holds an index"));
    }
    let mut client = client(&arguments.client)?;
    client.mirrors = mirrors(&arguments.registry_mirror)?;
    Ok(Pull { client, image: in_registry(&arguments.image)?, platforms, output })
}

/// The settings of `push`.
///
/// # Errors
/// What is wrong with the flags, and a source that is no layout.
pub fn push(arguments: &PushArguments) -> Result<Push, Failure> {
    let found = match place(&arguments.source)? {
        Location::Stored(stored) => Some(stored),
        Location::Path(path) | Location::Plain(path) => Stored::recognise(&path).map_err(|error| {
            Failure::usage(error.to_string()).with_hint("push takes an OCI layout: oci:FOLDER[:NAME]")
        })?,
        Location::Registry(_) => {
            return Err(Failure::usage(format!("push {}: it is in a registry", arguments.source))
                .with_hint("`docker-slim copy` takes images from registry to registry"));
        }
        Location::Engine { .. } => None,
    };
    let source = found.filter(|stored| stored.form == Form::Layout).ok_or_else(|| {
        Failure::usage(format!("push {}: it is no OCI layout", arguments.source))
            .with_hint("push takes an OCI layout: oci:FOLDER[:NAME]")
    })?;
    let mut client = client(&arguments.client)?;
    client.chunk = chunk(arguments.chunk_size)?;
    let platforms = platforms(&arguments.platforms, Platforms::All)?;
    let attach_policy = attach_policy(&arguments.attach_policy);
    Ok(Push { client, source, image: in_registry(&arguments.image)?, platforms, attach_policy })
}

/// The settings of `copy`.
///
/// # Errors
/// What is wrong with the flags.
pub fn copy(arguments: &CopyArguments) -> Result<Copy, Failure> {
    let mut client = client(&arguments.client)?;
    client.mirrors = mirrors(&arguments.registry_mirror)?;
    client.chunk = chunk(arguments.chunk_size)?;
    Ok(Copy {
        client,
        from: in_registry(&arguments.from)?,
        to: in_registry(&arguments.to)?,
        platforms: platforms(&arguments.platforms, Platforms::All)?,
    })
}

/// The settings of `registry serve`.
pub fn serve(global: &GlobalArguments, arguments: &ServeArguments) -> ServerSettings {
    let root = arguments.root.clone().unwrap_or_else(|| state_path(global).join(".registry"));
    ServerSettings { listen: arguments.listen, root }
}

fn place(text: &str) -> Result<Location, Failure> {
    text.parse().map_err(|error: slim_image::location::LocationError| Failure::usage(error.to_string()))
}

/// A name in a registry, with or without its transport.
fn in_registry(text: &str) -> Result<Reference, Failure> {
    match place(text)? {
        Location::Registry(reference) => Ok(reference),
        Location::Plain(name) => name
            .parse()
            .map_err(|error: slim_image::reference::ReferenceError| Failure::usage(error.to_string())),
        _ => Err(Failure::usage(format!("find {text} in a registry: it is a place of another kind"))
            .with_hint("names in registries are written NAME[:TAG] or docker://NAME[:TAG]")),
    }
}

fn platforms(arguments: &PlatformArguments, usual: Platforms) -> Result<Platforms, Failure> {
    match &arguments.platform {
        Some(text) => text
            .parse()
            .map(Platforms::Only)
            .map_err(|error: slim_image::platform::PlatformError| Failure::usage(error.to_string())),
        None if arguments.all_platforms => Ok(Platforms::All),
        None => Ok(usual),
    }
}

fn chunk(bytes: Option<u64>) -> Result<Option<u64>, Failure> {
    match bytes {
        Some(0) => Err(Failure::usage("push in chunks of 0 bytes: --chunk-size is at least 1")),
        other => Ok(other),
    }
}

fn mirrors(words: &[String]) -> Result<BTreeMap<String, Vec<String>>, Failure> {
    let mut mirrors: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for word in words {
        let (registry, mirror) = word
            .split_once('=')
            .filter(|(registry, mirror)| !registry.is_empty() && !mirror.is_empty())
            .ok_or_else(|| {
                Failure::usage(format!("understand --registry-mirror={word}: it is REGISTRY=MIRROR"))
            })?;
        mirrors.entry(registry.to_owned()).or_default().push(mirror.to_owned());
    }
    Ok(mirrors)
}

pub(super) fn client(arguments: &ClientArguments) -> Result<ClientSettings, Failure> {
    let environment = |name: &str| env::var(name).ok();
    Ok(ClientSettings {
        credentials: CredentialSources {
            files: auth_files(arguments.auth_file.clone(), &environment)?,
            helper_path: env::var_os("PATH"),
        },
        insecure: arguments.insecure_registry.iter().cloned().collect(),
        certificate_folders: certificate_folders(&environment),
        parallel: NonZeroUsize::new(arguments.parallel.into()).expect("the flag is at least 1"),
        ..ClientSettings::default()
    })
}

/// Where credentials are looked for, as Podman and then Docker look for them. A file that was named must be there.
fn auth_files(
    flag: Option<PathBuf>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Vec<PathBuf>, Failure> {
    let folder = |name: &str| environment(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(named) = flag.or_else(|| folder("REGISTRY_AUTH_FILE")) {
        return match named.is_file() {
            true => Ok(vec![named]),
            false => Err(Failure::usage(format!(
                "read credentials from {}: there is no such file",
                named.display()
            ))
            .with_hint(
                "--auth-file and REGISTRY_AUTH_FILE name a file that `docker login` or `podman login` wrote",
            )),
        };
    }
    let home = folder("HOME");
    let of_session = folder("XDG_RUNTIME_DIR").map(|folder| folder.join("containers/auth.json"));
    let of_user = folder("XDG_CONFIG_HOME").or_else(|| home.as_ref().map(|home| home.join(".config")));
    let of_docker = folder("DOCKER_CONFIG").or_else(|| home.as_ref().map(|home| home.join(".docker")));
    let files = [
        of_session,
        of_user.map(|folder| folder.join("containers/auth.json")),
        of_docker.map(|folder| folder.join("config.json")),
    ];
    Ok(files.into_iter().flatten().collect())
}

/// Where Docker and Podman keep certificates of single registries.
fn certificate_folders(environment: &dyn Fn(&str) -> Option<String>) -> Vec<PathBuf> {
    let home = environment("HOME").map(|home| PathBuf::from(home).join(".config/containers/certs.d"));
    ["/etc/containers/certs.d", "/etc/docker/certs.d"].into_iter().map(PathBuf::from).chain(home).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Command;
    use crate::command_line::tests::parse_with;

    fn pulled(words: &[&str]) -> Result<Pull, Failure> {
        match parse_with(&[&["pull"], words].concat(), &[]).unwrap().arguments.command {
            Command::Pull(arguments) => pull(&arguments),
            other => panic!("{other:?}"),
        }
    }

    fn pushed(words: &[&str]) -> Result<Push, Failure> {
        match parse_with(&[&["push"], words].concat(), &[]).unwrap().arguments.command {
            Command::Push(arguments) => push(&arguments),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn pull_takes_this_machines_platform_unless_another_or_all_are_asked_for() {
        let of = |words: &[&str]| pulled(&[&["a:1", "-o", "oci:x"], words].concat()).unwrap().platforms;
        assert_eq!(of(&[]), Platforms::Usual(Platform::host()));
        assert_eq!(of(&["--platform=linux/arm64"]), Platforms::Only("linux/arm64".parse().unwrap()));
        assert_eq!(of(&["--all-platforms"]), Platforms::All);
        assert!(pulled(&["a", "-o", "oci:x", "--platform=arm"]).is_err());
    }

    #[test]
    fn every_flag_of_the_client_sets_its_setting() {
        let client = |words: &[&str]| pulled(&[&["a:1", "-o", "oci:x"], words].concat()).unwrap().client;
        assert_eq!(client(&["--parallel=9"]).parallel.get(), 9);
        assert!(client(&["--insecure-registry=h:1", "--insecure-registry", "i"]).insecure.contains("i"));
        let mirrors =
            client(&["--registry-mirror=docker.io=h:5000", "--registry-mirror=docker.io=m/x"]).mirrors;
        assert_eq!(mirrors["docker.io"], ["h:5000", "m/x"]);
        assert!(pulled(&["a", "-o", "oci:x", "--registry-mirror=h"]).is_err());
        assert!(pulled(&["a", "-o", "oci:x", "--auth-file=/nonexistent"]).is_err());
        assert_eq!(pushed_from_layout(&["--chunk-size=7"]).client.chunk, Some(7));
    }

    fn pushed_from_layout(words: &[&str]) -> Push {
        pushed(&[&["oci:x:1", "h:5000/a:2"], words].concat()).unwrap()
    }

    #[test]
    fn places_of_another_kind_are_refused_with_what_would_do() {
        for words in [["a", "-o", "dir:x"], ["a", "-o", "x"], ["oci:x", "-o", "oci:y"]] {
            assert_eq!(pulled(&words).unwrap_err().exit_code, 2, "{words:?}");
        }
        let failure = pushed(&["docker://a", "b"]).unwrap_err();
        assert!(failure.hint.unwrap().contains("docker-slim copy"));
        assert!(pushed(&["docker-archive:x", "b"]).unwrap_err().hint.unwrap().contains("oci:FOLDER"));
        assert!(pulled(&["a", "-o", "docker-archive:x", "--all-platforms"]).is_err());
        assert_eq!(pushed_from_layout(&[]).platforms, Platforms::All);
        assert_eq!(pulled(&["docker://a", "-o", "oci:x"]).unwrap().image.to_string(), "a");
    }

    #[test]
    fn credentials_are_looked_for_where_podman_and_docker_store_them() {
        let environment = |name: &str| match name {
            "HOME" => Some("/h".to_owned()),
            "XDG_RUNTIME_DIR" => Some("/run/user/1".to_owned()),
            "DOCKER_CONFIG" => Some("/d".to_owned()),
            _ => None,
        };
        let files = auth_files(None, &environment).unwrap();
        let expected =
            ["/run/user/1/containers/auth.json", "/h/.config/containers/auth.json", "/d/config.json"];
        assert_eq!(files, expected.map(PathBuf::from));
        assert!(auth_files(None, &|_| None).unwrap().is_empty());
        let named = tempfile::NamedTempFile::new().unwrap();
        let files = auth_files(Some(named.path().to_owned()), &environment).unwrap();
        assert_eq!(files, [named.path()]);
    }
}
