//! Flags and environment about registries → what the client and the server are told.

use super::{AttachPolicy, attach_policy, state_path};
use crate::arguments::{
    ClientArguments, CopyArguments, FetchArguments, GlobalArguments, ImportArguments, PlatformArguments,
    PullArguments, PushArguments, ServeArguments,
};
use crate::failure::Failure;
use slim_image::location::Location;
use slim_image::{Platform, Reference, Selector, Stored};
use slim_registry::client::{CredentialSources, Proxies};
use slim_registry::{ClientSettings, Platforms, Selection, ServerSettings};
use std::collections::BTreeMap;
use std::env;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

/// The exit code where there is no such image.
const NO_IMAGE: u8 = 4;

/// What `pull`, `push` and `copy` do.
#[derive(Debug)]
pub struct Copy {
    pub client: ClientSettings,
    pub from: Location,
    /// `None`: the engine that works.
    pub to: Option<Location>,
    pub selected: Selected,
    /// Whether what goes into a registry takes its policy with it.
    pub attach_policy: AttachPolicy,
}

/// Which images of an index, and what goes with them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selected {
    /// The one for this platform and no other.
    pub platform: Option<Platform>,
    /// All of them were asked for.
    pub is_all: bool,
    /// All of them where the flags do not say and the place holds several.
    pub is_whole: bool,
    /// Also what refers to them.
    pub referrers: bool,
}

impl Selected {
    /// For a place that holds several.
    pub fn selection(&self) -> Selection {
        let platforms = match &self.platform {
            Some(platform) => Platforms::Only(platform.clone()),
            None if self.is_all || self.is_whole => Platforms::All,
            None => Platforms::Usual(Platform::host()),
        };
        Selection { platforms, referrers: self.referrers }
    }

    /// For a place that holds one, and nothing that refers to it.
    ///
    /// # Errors
    /// When all are asked for.
    pub fn one(&self) -> Result<Selection, Failure> {
        if self.is_all {
            return Err(Failure::usage("bring all platforms there: it holds one image a name")
                .with_hint("oci:FOLDER, oci-archive:FILE and registries hold an index"));
        }
        if self.referrers {
            return Err(Failure::usage("bring what refers to an image there: it holds images alone")
                .with_hint("oci:FOLDER, oci-archive:FILE and registries hold both"));
        }
        Ok(Self { is_whole: false, ..self.clone() }.selection())
    }
}

/// The settings of `pull`.
///
/// # Errors
/// What is wrong with the flags.
pub fn pull(arguments: &PullArguments) -> Result<Copy, Failure> {
    let client = fetching(&arguments.fetch)?;
    Ok(Copy {
        client,
        from: Location::Registry(in_registry(&arguments.image)?),
        to: arguments.output.as_deref().map(destination).transpose()?,
        selected: selected(&arguments.platforms, false)?,
        attach_policy: AttachPolicy::Off,
    })
}

/// The settings of `push`.
///
/// # Errors
/// What is wrong with the flags.
pub fn push(arguments: &PushArguments) -> Result<Copy, Failure> {
    let from = place(&arguments.source)?;
    if let Location::Registry(_) = from {
        return Err(Failure::usage(format!("push {}: it is in a registry", arguments.source))
            .with_hint("`docker-slim copy` takes images from registry to registry"));
    }
    let to = match (&arguments.image, &from) {
        (Some(image), _) => in_registry(image)?,
        (None, Location::Plain(name) | Location::Engine { name, .. }) if !is_id(name) => in_registry(name)?,
        (None, _) => {
            return Err(Failure::usage(format!(
                "push {}: what it is to be called is not said",
                arguments.source
            ))
            .with_hint("docker-slim push SOURCE NAME[:TAG]"));
        }
    };
    let mut client = client(&arguments.client)?;
    client.chunk = chunk(arguments.chunk_size)?;
    let selected = selected(&arguments.platforms, true)?;
    let attach_policy = attach_policy(&arguments.attach_policy);
    Ok(Copy { client, from, to: Some(Location::Registry(to)), selected, attach_policy })
}

/// The settings of `copy`.
///
/// # Errors
/// What is wrong with the flags.
pub fn copy(arguments: &CopyArguments) -> Result<Copy, Failure> {
    let mut client = fetching(&arguments.fetch)?;
    client.chunk = chunk(arguments.chunk_size)?;
    Ok(Copy {
        client,
        from: plain_in_registry(place(&arguments.from)?)?,
        to: Some(plain_in_registry(destination(&arguments.to)?)?),
        selected: selected(&arguments.platforms, true)?,
        attach_policy: AttachPolicy::Off,
    })
}

/// What `store import` does.
#[derive(Debug)]
pub struct Import {
    pub client: ClientSettings,
    pub from: Location,
    pub name: Option<Reference>,
    pub selected: Selected,
}

/// The settings of `store import`. A plain name is that of a file here.
///
/// # Errors
/// What is wrong with the flags, and a file that is not there.
pub fn import(arguments: &ImportArguments) -> Result<Import, Failure> {
    let from = match place(&arguments.source)? {
        Location::Plain(text) | Location::Path(text) => {
            let found =
                Stored::recognise(&text).map_err(|error| Failure::new(error.to_string(), NO_IMAGE))?;
            Location::Stored(found.ok_or_else(|| {
                Failure::new(format!("read {text}: there is no such file"), NO_IMAGE)
                    .with_hint(format!("docker://{text} is in a registry, docker-daemon:{text} in Docker"))
            })?)
        }
        location => location,
    };
    let name = arguments.tag.as_deref().map(in_registry).transpose()?;
    let client = fetching(&arguments.fetch)?;
    Ok(Import { client, from, name, selected: selected(&arguments.platforms, false)? })
}

/// A place to write to.
fn destination(text: &str) -> Result<Location, Failure> {
    match place(text)? {
        Location::Stored(Stored { selector: Selector::Digest(_), .. }) => {
            Err(Failure::usage(format!("write to {text}: a digest follows from the image"))
                .with_hint("a name may follow behind a colon"))
        }
        location => Ok(location),
    }
}

/// Where only registries have plain names.
fn plain_in_registry(location: Location) -> Result<Location, Failure> {
    match location {
        Location::Plain(name) => in_registry(&name).map(Location::Registry),
        location => Ok(location),
    }
}

/// Ids are never pulled.
pub fn is_id(reference: &str) -> bool {
    let is_hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    reference.starts_with("sha256:") || (reference.len() >= 12 && is_hexadecimal(reference))
}

/// Where a command of this machine is, as the shell finds it.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    let mut files = env::split_paths(&path).map(|folder| folder.join(name));
    files.find(|file| {
        file.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
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

fn selected(arguments: &PlatformArguments, is_whole: bool) -> Result<Selected, Failure> {
    let platform = arguments.platform.as_deref().map(str::parse).transpose();
    let platform =
        platform.map_err(|error: slim_image::platform::PlatformError| Failure::usage(error.to_string()))?;
    Ok(Selected { platform, is_all: arguments.all_platforms, is_whole, referrers: arguments.referrers })
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

/// How the client behaves towards every registry, mirrors included.
///
/// # Errors
/// As [`client`], and a mirror that is none.
pub fn fetching(arguments: &FetchArguments) -> Result<ClientSettings, Failure> {
    Ok(ClientSettings { mirrors: mirrors(&arguments.registry_mirror)?, ..client(&arguments.client)? })
}

/// How the client behaves towards every registry.
///
/// # Errors
/// What is wrong with the flags or with the proxies of the environment.
pub fn client(arguments: &ClientArguments) -> Result<ClientSettings, Failure> {
    let environment = |name: &str| env::var(name).ok();
    Ok(ClientSettings {
        proxies: proxies(&environment)?,
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

/// As curl and engines read them; the empty value is none.
fn proxies(environment: &dyn Fn(&str) -> Option<String>) -> Result<Proxies, Failure> {
    let text = |name: &str| {
        let given = |name: &str| environment(name).filter(|value| !value.is_empty());
        given(name).or_else(|| given(&name.to_ascii_lowercase())).unwrap_or_default()
    };
    Proxies::new(&text("HTTP_PROXY"), &text("HTTPS_PROXY"), &text("NO_PROXY")).map_err(|error| {
        Failure::usage(error.to_string())
            .with_hint("HTTP_PROXY and HTTPS_PROXY are http://[USER:PASSWORD@]HOST[:PORT]")
    })
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

    fn of(words: &[&str]) -> Result<Copy, Failure> {
        match parse_with(words, &[]).unwrap().arguments.command {
            Command::Pull(arguments) => pull(&arguments),
            Command::Push(arguments) => push(&arguments),
            Command::Copy(arguments) => copy(&arguments),
            other => panic!("{other:?}"),
        }
    }

    fn pulled(words: &[&str]) -> Result<Copy, Failure> {
        of(&[&["pull", "a:1", "-o", "oci:x"], words].concat())
    }

    #[test]
    fn pull_takes_this_machines_platform_unless_another_or_all_are_asked_for() {
        let platforms = |words: &[&str]| pulled(words).unwrap().selected.selection().platforms;
        assert_eq!(platforms(&[]), Platforms::Usual(Platform::host()));
        assert_eq!(platforms(&["--platform=linux/arm64"]), Platforms::Only("linux/arm64".parse().unwrap()));
        assert_eq!(platforms(&["--all-platforms"]), Platforms::All);
        assert!(pulled(&["--platform=arm"]).is_err());
    }

    #[test]
    fn push_and_copy_take_the_whole_unless_the_place_holds_one() {
        for words in [["push", "oci:x:1", "h:5000/a:2"], ["copy", "a", "h:5000/a:2"]] {
            let selected = of(&words).unwrap().selected;
            assert_eq!(selected.selection().platforms, Platforms::All);
            assert_eq!(selected.one().unwrap().platforms, Platforms::Usual(Platform::host()));
        }
        let all = pulled(&["--all-platforms"]).unwrap().selected;
        assert!(all.one().unwrap_err().hint.unwrap().contains("oci:FOLDER"));
        let with_referrers = of(&["copy", "a", "b", "--referrers"]).unwrap().selected;
        assert!(with_referrers.selection().referrers);
        assert!(with_referrers.one().unwrap_err().message.contains("refers"), "not dropped without a word");
    }

    #[test]
    fn every_flag_of_the_client_sets_its_setting() {
        let client = |words: &[&str]| pulled(words).unwrap().client;
        assert_eq!(client(&["--parallel=9"]).parallel.get(), 9);
        assert!(client(&["--insecure-registry=h:1", "--insecure-registry", "i"]).insecure.contains("i"));
        let mirrors =
            client(&["--registry-mirror=docker.io=h:5000", "--registry-mirror=docker.io=m/x"]).mirrors;
        assert_eq!(mirrors["docker.io"], ["h:5000", "m/x"]);
        assert!(pulled(&["--registry-mirror=h"]).is_err());
        assert!(pulled(&["--auth-file=/nonexistent"]).is_err());
        assert_eq!(of(&["push", "oci:x", "a", "--chunk-size=7"]).unwrap().client.chunk, Some(7));
    }

    #[test]
    fn names_are_those_of_registries_where_nothing_else_is_said() {
        let registry = |name: &str| Location::Registry(name.parse().unwrap());
        let copied = of(&["copy", "a:1", "docker://h:5000/b"]).unwrap();
        assert_eq!((copied.from, copied.to), (registry("a:1"), Some(registry("h:5000/b"))));
        let pushed = of(&["push", "h:5000/a:1"]).unwrap();
        let plain = Location::Plain("h:5000/a:1".to_owned());
        assert_eq!((pushed.from, pushed.to), (plain, Some(registry("h:5000/a:1"))));
        assert_eq!(of(&["pull", "a"]).unwrap().to, None);
        assert_eq!(of(&["push", "podman:a:1"]).unwrap().to, Some(registry("a:1")));
    }

    #[test]
    fn places_of_another_kind_are_refused_with_what_would_do() {
        let digest = format!("oci:x@{}", slim_image::Digest::of("x"));
        for words in [
            &["pull", "oci:x"][..],
            &["push", "docker://a", "b"],
            &["push", "oci:x"],
            &["push", "0123456789abcdef"],
            &["push", "oci:x", "oci:y"],
            &["copy", "a", &digest],
        ] {
            assert_eq!(of(words).unwrap_err().exit_code, 2, "{words:?}");
        }
        assert!(of(&["push", "docker://a", "b"]).unwrap_err().hint.unwrap().contains("docker-slim copy"));
    }

    #[test]
    fn an_id_is_told_from_a_name() {
        for id in ["sha256:12", "0123456789ab", "0123456789abcdef0123"] {
            assert!(is_id(id), "{id}");
        }
        for name in ["cafe", "sample-node-app", "0123456789ab:latest", "host:5000/0123456789ab"] {
            assert!(!is_id(name), "{name}");
        }
    }

    #[test]
    fn proxies_are_read_as_curl_reads_them() {
        let read = |variables: &[(&str, &str)]| {
            proxies(&|name| {
                variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        let told = |variables: &[(&str, &str)]| format!("{:?}", read(variables).unwrap());
        assert!(told(&[("HTTPS_PROXY", "http://p.example:3128")]).contains("https: Some(p.example:3128)"));
        assert!(told(&[("https_proxy", "p.example:1"), ("HTTPS_PROXY", "")]).contains("p.example:1"));
        assert!(told(&[("no_proxy", "*")]).contains("Everybody"));
        assert_eq!(read(&[("HTTP_PROXY", "socks5://p")]).unwrap_err().exit_code, 2);
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
