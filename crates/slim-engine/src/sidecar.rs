//! Runs the sidecar: our own static binary in a container of its own, `FROM scratch`, beside the containers that it watches.
//!
//! Its image is loaded once for each binary and stays, under a name that says which; [`prune_sidecars`] takes it away. The
//! container is made, attached to and started like any of ours, carries the run's labels, and has no more than it needs:
//! the machine's processes and control groups to look at, the capabilities to watch, no network, no log, a root that cannot
//! be written.

use crate::engine::{ContainerId, Engine};
use crate::error::EngineError;
use crate::spec::{ContainerSpec, HealthCheck, HostConfigFile, Overrides, Security};
use crate::streams::Attached;
use serde_json::json;
use slim_image::Digest;
use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;

/// First component of the names of sidecars' images.
pub const SIDECAR_REPOSITORY: &str = "docker-slim.sidecar";
/// On the image: the version of this program.
const LABEL_VERSION: &str = "docker-slim.sidecar.version";
/// Podman's word for names without a registry.
const PODMANS_OWN: &str = "localhost/";
const PROGRAM: &str = "docker-slim";
/// What watching takes (capabilities(7)) …
const CAPABILITIES: [&str; 4] = ["SYS_ADMIN", "SYS_PTRACE", "KILL", "DAC_READ_SEARCH"];
/// … and what came out of SYS_ADMIN later: engines before 2021 do not know the names, and SYS_ADMIN is enough.
const NEWER: [&str; 2] = ["BPF", "PERFMON"];

/// What to run.
#[derive(Clone, Debug)]
pub struct SidecarSpec {
    /// The static binary on this machine.
    pub binary: PathBuf,
    /// Its version.
    pub version: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The run's labels.
    pub labels: BTreeMap<String, String>,
}

/// A sidecar at work.
pub struct RunningSidecar {
    pub id: ContainerId,
    pub attached: Attached,
    /// The image's name, where it was not there before.
    pub loaded: Option<String>,
}

/// Makes and starts a sidecar, with its image where that is not there. Whoever has it removes its container; until then,
/// here, every failure removes it.
///
/// # Errors
/// Those of the engine's verbs, and a binary that cannot be read.
pub async fn start_sidecar(engine: &dyn Engine, spec: &SidecarSpec) -> Result<RunningSidecar, EngineError> {
    let contents = tokio::fs::read(&spec.binary)
        .await
        .map_err(|source| EngineError::File { path: spec.binary.clone(), source })?;
    let name = format!("{SIDECAR_REPOSITORY}:{}-{}", spec.version, Digest::of(&contents).short());
    let is_new = !engine.image_exists(&name).await?;
    if is_new {
        let archive = archive(&contents, &name, &spec.version)
            .map_err(|source| EngineError::File { path: spec.binary.clone(), source })?;
        engine.load_image(Box::new(io::Cursor::new(archive))).await?;
    }
    let (id, attached) = match start(engine, &container_spec(spec, &name, true)).await {
        Err(error) if is_about_capabilities(&error) => {
            tracing::debug!(%error, "the engine does not know the newer capabilities");
            start(engine, &container_spec(spec, &name, false)).await?
        }
        started => started?,
    };
    Ok(RunningSidecar { id, attached, loaded: is_new.then_some(name) })
}

/// Takes away every name of a sidecar's image, and with it the image. The names that went.
///
/// # Errors
/// When one is in use, or the engine fails.
pub async fn prune_sidecars(engine: &dyn Engine) -> Result<Vec<String>, EngineError> {
    let mut names = engine.image_names().await?;
    names.retain(|name| is_sidecar(name));
    for name in &names {
        engine.untag(name).await?;
    }
    Ok(names)
}

fn is_sidecar(name: &str) -> bool {
    let name = name.strip_prefix(PODMANS_OWN).unwrap_or(name);
    name.strip_prefix(SIDECAR_REPOSITORY).is_some_and(|rest| rest.starts_with(':'))
}

async fn start(engine: &dyn Engine, spec: &ContainerSpec) -> Result<(ContainerId, Attached), EngineError> {
    let id = engine.create(spec).await?;
    let started = async {
        let attached = engine.attach(&id).await?;
        engine.start(&id).await?;
        Ok(attached)
    };
    match started.await {
        Ok(attached) => Ok((id, attached)),
        Err(error) => {
            if let Err(second) = engine.remove(&id, true).await {
                tracing::warn!(%id, error = %second, "sidecar left behind");
            }
            Err(error)
        }
    }
}

/// `invalid CapAdd: unknown capability: "CAP_BPF"` when it is made; runtimes say it when it is started.
fn is_about_capabilities(error: &EngineError) -> bool {
    match error {
        EngineError::CreateFailed { reason, .. } | EngineError::StartFailed { reason, .. } => {
            let reason = reason.to_ascii_lowercase();
            reason.contains("capab") || reason.contains("cap_")
        }
        _ => false,
    }
}

fn container_spec(spec: &SidecarSpec, image: &str, newer: bool) -> ContainerSpec {
    let newer = if newer { &NEWER[..] } else { &[] };
    let mut host_config = serde_json::Map::new();
    for (name, value) in [("PidMode", "host"), ("CgroupnsMode", "host")] {
        host_config.insert(name.to_owned(), json!(value));
    }
    ContainerSpec {
        image: image.to_owned(),
        labels: spec.labels.clone(),
        overrides: Overrides {
            cmd: Some(spec.arguments.clone()),
            user: Some("0:0".to_owned()),
            network: Some("none".to_owned()),
            host_config: HostConfigFile(host_config),
            ..Overrides::default()
        },
        security: Security {
            // Profiles of these would keep it from looking at other containers; engines without them take no notice.
            options: vec!["apparmor=unconfined".to_owned(), "label=disable".to_owned()],
            capabilities_added: CAPABILITIES.iter().chain(newer).map(ToString::to_string).collect(),
            capabilities_dropped: vec!["ALL".to_owned()],
            read_only_root: true,
            ..Security::default()
        },
        health_check: HealthCheck::Off,
        log_driver: Some("none".to_owned()),
        standard_input: true,
        ..ContainerSpec::default()
    }
}

/// A docker-archive of one image with one layer with one file.
fn archive(binary: &[u8], name: &str, version: &str) -> io::Result<Vec<u8>> {
    let layer = tar_of(&[(PROGRAM, binary, 0o755)])?;
    let layer_digest = Digest::of(&layer);
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": { "Entrypoint": [format!("/{PROGRAM}")], "Labels": { LABEL_VERSION: version } },
        "rootfs": { "type": "layers", "diff_ids": [layer_digest.to_string()] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "docker-slim" }],
    });
    let config = serde_json::to_vec(&config)?;
    let config_name = format!("{}.json", Digest::of(&config).hex());
    let layer_name = format!("{}/layer.tar", layer_digest.hex());
    let manifest = json!([{ "Config": config_name, "RepoTags": [name], "Layers": [layer_name] }]);
    tar_of(&[
        (&config_name, &config, 0o644),
        (&layer_name, &layer, 0o644),
        ("manifest.json", &serde_json::to_vec(&manifest)?, 0o644),
    ])
}

fn tar_of(files: &[(&str, &[u8], u32)]) -> io::Result<Vec<u8>> {
    let length: usize = files.iter().map(|(_, contents, _)| contents.len() + 1024).sum();
    let mut builder = tar::Builder::new(Vec::with_capacity(length + 4096));
    for (path, contents, mode) in files {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Regular);
        header.set_mode(*mode);
        header.set_size(contents.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        builder.append_data(&mut header, path, *contents)?;
    }
    builder.into_inner()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_sidecars_are_taken_away() {
        assert!(is_sidecar("docker-slim.sidecar:0.1.0-abc") && is_sidecar("localhost/docker-slim.sidecar:1"));
        for other in ["docker-slim.sidecars:1", "docker-slim.sidecar", "x/docker-slim.sidecar:1", "app:1"] {
            assert!(!is_sidecar(other), "{other}");
        }
    }

    #[test]
    fn the_same_binary_is_the_same_image() {
        let of = |binary: &[u8]| archive(binary, "docker-slim.sidecar:1", "1").unwrap();
        assert_eq!(of(b"one"), of(b"one"));
        assert_ne!(of(b"one"), of(b"two"));
        let mut archive = tar::Archive::new(io::Cursor::new(of(b"one")));
        let names: Vec<String> = archive
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().display().to_string())
            .collect();
        assert_eq!(names.last().map(String::as_str), Some("manifest.json"));
        assert_eq!(names.len(), 3);
    }

    #[test]
    fn capabilities_that_an_old_engine_does_not_know_are_left_out() {
        let refused = EngineError::CreateFailed {
            image: "x".into(),
            reason: r#"invalid CapAdd: unknown capability: "CAP_BPF""#.into(),
        };
        assert!(is_about_capabilities(&refused));
        let other = EngineError::CreateFailed { image: "x".into(), reason: "no space left".into() };
        assert!(!is_about_capabilities(&other));
        let spec = SidecarSpec {
            binary: "/b".into(),
            version: "1".into(),
            arguments: vec!["sidecar".into()],
            labels: BTreeMap::new(),
        };
        let added = |newer| container_spec(&spec, "x", newer).security.capabilities_added;
        assert_eq!(added(true).len(), 6);
        assert_eq!(added(false), CAPABILITIES);
    }
}
