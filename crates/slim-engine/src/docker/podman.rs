//! Where Podman's Docker-compatible API takes something else than Docker's, or tells less.
//!
//! Its inspection of an image leaves out HEALTHCHECK, SHELL and ONBUILD, and calls the version of Docker that built the image
//! one of an operating system; its history does not tell which steps left a layer. All of it stands in the image's own
//! config, a file of Podman's storage, and most of it in Podman's own API (`/libpod`), which is asked where the file is not
//! to be had. A slim image made of less would be another one than Docker's, without its health check.

use super::answers::{self, nullable};
use super::images::of_image;
use super::{DockerEngine, Result, calls};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bollard::models::ContainerCreateBody;
use serde::Deserialize;
use slim_image::archive::ImageConfig;
use slim_image::config::{Healthcheck, SourceImage};
use slim_image::digest::Digest;
use slim_image::history::HistoryEntry;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use tempfile::NamedTempFile;

/// Which engine speaks Docker's API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Docker,
    /// With the folder of its images, where it lies on this machine; whether its containers have a user's privileges alone.
    Podman {
        images: Option<PathBuf>,
        rootless: bool,
    },
}

impl Kind {
    pub(super) fn is_podman(&self) -> bool {
        matches!(self, Self::Podman { .. })
    }

    /// Whether owners in its layers' directories may be others than in the image, as far as its `/info` does not tell: that
    /// of Podman 4 names neither.
    pub(super) fn may_shift_owners(&self) -> bool {
        matches!(self, Self::Podman { rootless: true, .. })
    }
}

/// An image as Podman's own API has it.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct OwnImage {
    healthcheck: Option<Healthcheck>,
    #[serde(deserialize_with = "nullable")]
    config: OwnConfig,
    #[serde(deserialize_with = "nullable")]
    history: Vec<HistoryEntry>,
}

/// Podman's settings as its own API has them.
#[derive(Deserialize, Default)]
struct OwnInfo {
    host: Option<OwnHost>,
}

#[derive(Deserialize)]
struct OwnHost {
    security: OwnSecurity,
}

#[derive(Deserialize)]
struct OwnSecurity {
    rootless: bool,
}

impl OwnInfo {
    /// What is not told is taken for so.
    fn is_rootless(&self) -> bool {
        self.host.as_ref().is_none_or(|host| host.security.rootless)
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct OwnConfig {
    stop_signal: String,
}

impl DockerEngine {
    /// What it is that we talk to.
    pub(super) async fn kind(&self) -> Result<&Kind> {
        let ask = async || {
            let version: answers::Version = self.ask("ask the engine for its version", "/version").await?;
            if !version.is_podman() {
                return Ok(Kind::Docker);
            }
            let info: answers::Info = self.ask("ask the engine for its settings", "/info").await?;
            let images = info.is_local(self.endpoint()).then(|| info.podmans_images());
            let own: OwnInfo =
                self.ask("ask the engine for its settings", "/libpod/info").await.unwrap_or_default();
            Ok(Kind::Podman { images, rootless: own.is_rootless() })
        };
        self.kind.get_or_try_init(ask).await
    }

    /// The image with what the Docker-compatible API left out.
    pub(super) async fn complete(&self, source: SourceImage, images: Option<&Path>) -> Result<SourceImage> {
        if let Some(stored) = stored_config(images, source.id).await {
            return Ok(with_stored(source, stored));
        }
        let own = self.own_image(&source.id.to_string()).await?;
        let mut source = source;
        source.os_version = None;
        source.config.healthcheck = source.config.healthcheck.or(own.healthcheck);
        source.config.stop_signal = own.config.stop_signal;
        Ok(source)
    }

    /// The history, with the steps that left no layer told from the others.
    pub(super) async fn history_of_podman(
        &self,
        reference: &str,
        images: Option<&Path>,
    ) -> Result<Vec<HistoryEntry>> {
        let id = self.find_image(reference).await?.id;
        match stored_config(images, id).await {
            Some(stored) => Ok(stored.history),
            None => Ok(self.own_image(reference).await?.history),
        }
    }

    async fn own_image(&self, reference: &str) -> Result<OwnImage> {
        let action = || format!("inspect image {reference}");
        let path = format!("/libpod/images/{}/json", calls::encode(reference));
        self.ask_as(&action, &path).await.map_err(|error| of_image(error, reference))
    }
}

fn with_stored(source: SourceImage, stored: ImageConfig) -> SourceImage {
    SourceImage {
        config: stored.config,
        created: stored.created,
        author: stored.author.filter(|author| !author.is_empty()),
        variant: stored.variant.filter(|variant| !variant.is_empty()),
        os_version: stored.os_version.filter(|version| !version.is_empty()),
        ..source
    }
}

/// An image's own config out of Podman's storage; `None` where it is not to be had.
async fn stored_config(images: Option<&Path>, id: Digest) -> Option<ImageConfig> {
    let file = config_file(images?, id);
    let read = tokio::task::spawn_blocking(move || std::fs::read(file).ok());
    let bytes = read.await.ok().flatten().filter(|bytes| Digest::of(bytes) == id)?;
    serde_json::from_slice(&bytes).ok()
}

/// Its name is the key by which the storage knows it, in base64 (containers/storage, `makeBigDataBaseName`).
fn config_file(images: &Path, id: Digest) -> PathBuf {
    images.join(id.hex()).join(format!("={}", STANDARD.encode(id.to_string())))
}

const SECCOMP: &str = "seccomp=";

/// Whether a seccomp profile stands in the request itself. Docker takes nothing else; Podman takes a path.
pub(super) fn has_profile_inside(body: &ContainerCreateBody) -> bool {
    options(body).iter().any(|option| profile(option).is_some())
}

/// Puts the profiles of the request into files, which must live until Podman has made the container.
///
/// # Errors
/// When a file cannot be written.
pub(super) fn profiles_by_path(body: &mut ContainerCreateBody) -> io::Result<Vec<NamedTempFile>> {
    let mut files = Vec::new();
    let host_config = body.host_config.as_mut();
    for option in host_config.and_then(|config| config.security_opt.as_mut()).into_iter().flatten() {
        let Some(text) = profile(option) else { continue };
        let mut file = NamedTempFile::with_prefix("docker-slim-seccomp-")?;
        file.write_all(text.as_bytes())?;
        file.flush()?;
        *option = format!("{SECCOMP}{}", file.path().display());
        files.push(file);
    }
    Ok(files)
}

fn options(body: &ContainerCreateBody) -> &[String] {
    body.host_config.as_ref().and_then(|config| config.security_opt.as_deref()).unwrap_or_default()
}

fn profile(option: &str) -> Option<&str> {
    option.strip_prefix(SECCOMP).filter(|value| value.trim_start().starts_with('{'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bollard::models::HostConfig;

    const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","created":"2026-01-02T03:04:05Z",
        "config":{"Cmd":["a"],"Shell":["/bin/ash","-c"],"OnBuild":["RUN x"],
            "Healthcheck":{"Test":["CMD","b"],"Interval":5}},
        "docker_version":"20.10","rootfs":{"type":"layers","diff_ids":[]},
        "history":[{"created_by":"COPY"},{"created_by":"CMD","empty_layer":true}]}"#;

    #[tokio::test]
    async fn what_podman_leaves_out_is_read_from_the_images_own_config() {
        let folder = tempfile::tempdir().unwrap();
        let id = Digest::of(CONFIG.as_bytes());
        let file = config_file(folder.path(), id);
        std::fs::create_dir(file.parent().unwrap()).unwrap();
        std::fs::write(&file, CONFIG).unwrap();
        let stored = stored_config(Some(folder.path()), id).await.unwrap();
        assert!(stored.history[1].empty_layer && !stored.history[0].empty_layer);
        let told = serde_json::json!({"id": id, "reference": "x", "architecture": "amd64", "os": "linux",
            "os_version": "20.10.24+dfsg1", "size": 1, "config": {"Cmd": ["a"]}});
        let source = with_stored(serde_json::from_value(told).unwrap(), stored);
        assert_eq!(source.config.healthcheck.unwrap().test, ["CMD", "b"]);
        assert_eq!((source.config.shell.len(), source.config.on_build.len()), (2, 1));
        assert_eq!(source.os_version, None, "Docker's version is no operating system's");
        // One that was changed is another image's.
        std::fs::write(&file, CONFIG.replace("\"a\"", "\"z\"")).unwrap();
        assert_eq!(stored_config(Some(folder.path()), id).await, None);
        assert_eq!(stored_config(None, id).await, None);
    }

    #[test]
    fn whether_it_is_a_users_own_is_told_by_podmans_own_settings() {
        let of = |text: &str| serde_json::from_str::<OwnInfo>(text).unwrap_or_default().is_rootless();
        assert!(of(r#"{"host":{"security":{"rootless":true}}}"#));
        assert!(!of(r#"{"host":{"security":{"rootless":false}}}"#));
        assert!(of("{}") && of(r#"{"host":{}}"#), "nobody knows");
        assert!(Kind::Podman { images: None, rootless: true }.may_shift_owners());
        assert!(!Kind::Docker.may_shift_owners());
    }

    #[test]
    fn the_config_lies_where_podman_keeps_it() {
        let digest = format!("sha256:{}", "1e".repeat(32)).parse().unwrap();
        let file = config_file(Path::new("/s/overlay-images"), digest);
        let text = file.display().to_string();
        assert!(text.starts_with("/s/overlay-images/1e1e") && text.contains("/=c2hhMjU2OjFl"), "{text}");
    }

    fn body(options: &[&str]) -> ContainerCreateBody {
        let security_opt = Some(options.iter().map(|&option| option.to_owned()).collect());
        let host_config = Some(HostConfig { security_opt, ..HostConfig::default() });
        ContainerCreateBody { host_config, ..ContainerCreateBody::default() }
    }

    #[test]
    fn a_profile_in_the_request_becomes_a_file_and_other_options_stay() {
        let mut request =
            body(&["no-new-privileges", "seccomp={\"defaultAction\":1}", "seccomp=/etc/x.json"]);
        assert!(has_profile_inside(&request));
        let files = profiles_by_path(&mut request).unwrap();
        assert_eq!(std::fs::read_to_string(files[0].path()).unwrap(), "{\"defaultAction\":1}");
        let path = format!("seccomp={}", files[0].path().display());
        assert_eq!(options(&request), ["no-new-privileges", &path, "seccomp=/etc/x.json"]);
        assert!(!has_profile_inside(&request));
        assert!(!has_profile_inside(&body(&["seccomp=unconfined"])));
    }
}
