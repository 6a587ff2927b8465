//! The engine's JSON, as far as it is read here, and the values made of it. Every field may be missing: engines of
//! other versions leave some out.

use crate::endpoint::Endpoint;
use crate::engine::{ContainerMount, ContainerState, EngineDescription, PublishedPort};
use crate::host;
use crate::ports::parse_key;
use serde::{Deserialize, Deserializer};
use slim_image::config::{Config, SourceImage};
use slim_image::digest::Digest;
use slim_image::history::{HistoryEntry, with_layers};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The storage drivers whose layers are directories in overlayfs's format: Docker's, and Podman's.
const OVERLAY: &str = "overlay2";
const OVERLAY_OF_PODMAN: &str = "overlay";

/// Go writes null where a list or map was never made.
pub(super) fn nullable<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Version {
    version: String,
    #[serde(deserialize_with = "nullable")]
    components: Vec<Component>,
}

impl Version {
    pub fn is_podman(&self) -> bool {
        self.components.iter().any(|component| component.name.starts_with("Podman"))
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Component {
    name: String,
    version: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Info {
    default_runtime: String,
    #[serde(deserialize_with = "nullable")]
    runc_commit: Commit,
    cgroup_driver: String,
    cgroup_version: String,
    driver: String,
    docker_root_dir: String,
    kernel_version: String,
    architecture: String,
    name: String,
    #[serde(deserialize_with = "nullable")]
    security_options: Vec<String>,
}

impl Info {
    /// Whether the engine's containers are processes of this machine's kernel.
    pub(super) fn is_local(&self, endpoint: &Endpoint) -> bool {
        let here = host::kernel_and_name();
        matches!(endpoint, Endpoint::Unix(_))
            && here.is_some_and(|(kernel, name)| kernel == self.kernel_version && name == self.name)
    }

    /// Whether files of its images lie on this machine as directories of overlayfs, with the owners that they have in
    /// the image.
    pub(super) fn has_overlay_layers(&self, endpoint: &Endpoint, is_podman: bool) -> bool {
        // `name=rootless`, `name=userns`: owners are shifted, and opaque directories marked otherwise.
        let is_shifted =
            |option: &String| option.split(',').any(|part| matches!(part, "name=rootless" | "name=userns"));
        // An `overlay` of Docker's is a driver long gone, with layers of its own kind.
        let driver = if is_podman { OVERLAY_OF_PODMAN } else { OVERLAY };
        self.driver == driver && self.is_local(endpoint) && !self.security_options.iter().any(is_shifted)
    }

    /// The file in which the engine keeps an image's config (moby's `image/fs.go`).
    pub(super) fn config_of(&self, image: &Digest) -> PathBuf {
        let folder = Path::new(&self.docker_root_dir).join("image").join(&self.driver);
        folder.join("imagedb/content/sha256").join(image.hex())
    }

    /// The folder in which Podman keeps what it knows of each image (containers/storage, `images.go`).
    pub(super) fn podmans_images(&self) -> PathBuf {
        Path::new(&self.docker_root_dir).join(format!("{}-images", self.driver))
    }
}

/// The part of an image's config that tells how it was made.
#[derive(Deserialize)]
pub(super) struct History {
    #[serde(default)]
    pub(super) history: Vec<HistoryEntry>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Commit {
    #[serde(rename = "ID")]
    id: String,
}

/// Podman has Go's names.
fn machine(architecture: String) -> String {
    match architecture.as_str() {
        "amd64" => "x86_64".to_owned(),
        "arm64" => "aarch64".to_owned(),
        _ => architecture,
    }
}

pub(super) fn description(
    version: Version,
    info: Info,
    endpoint: &Endpoint,
    api_version: &str,
) -> EngineDescription {
    let component = |wanted: &str| version.components.iter().find(|component| component.name == wanted);
    let local = info.is_local(endpoint);
    let runtime = if info.default_runtime.is_empty() { "runc".to_owned() } else { info.default_runtime };
    let runtime_version = match component(&runtime) {
        Some(component) => component.version.clone(),
        None if runtime == "runc" => info.runc_commit.id,
        None => String::new(),
    };
    let podman = version.is_podman();
    EngineDescription {
        name: if podman { "podman" } else { "docker" }.to_owned(),
        version: version.version,
        api_version: api_version.to_owned(),
        endpoint: endpoint.to_string(),
        runtime,
        runtime_version,
        cgroup_driver: info.cgroup_driver,
        // Engines too old to say it know only the first.
        cgroup_version: info.cgroup_version.parse().unwrap_or(1),
        storage_driver: info.driver,
        root_directory: info.docker_root_dir,
        kernel_version: info.kernel_version,
        architecture: machine(info.architecture),
        local,
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Container {
    image: String,
    state: State,
    config: ContainerConfig,
    host_config: HostConfig,
    network_settings: NetworkSettings,
    #[serde(deserialize_with = "nullable")]
    mounts: Vec<Mount>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct State {
    status: String,
    running: bool,
    paused: bool,
    #[serde(rename = "OOMKilled")]
    out_of_memory: bool,
    pid: i64,
    exit_code: i64,
    error: String,
    #[serde(deserialize_with = "nullable")]
    health: Option<Health>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Health {
    status: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct ContainerConfig {
    tty: bool,
    #[serde(deserialize_with = "nullable")]
    labels: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct HostConfig {
    network_mode: String,
    #[serde(deserialize_with = "nullable")]
    tmpfs: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct NetworkSettings {
    #[serde(deserialize_with = "nullable")]
    ports: BTreeMap<String, Option<Vec<Binding>>>,
    #[serde(deserialize_with = "nullable")]
    networks: BTreeMap<String, Network>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Binding {
    host_ip: String,
    host_port: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Network {
    #[serde(rename = "IPAddress")]
    ip_address: String,
    #[serde(rename = "GlobalIPv6Address")]
    global_ipv6_address: String,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct Mount {
    #[serde(rename = "Type")]
    kind: String,
    name: String,
    source: String,
    destination: String,
    #[serde(rename = "RW")]
    writable: bool,
}

impl Container {
    pub(super) fn into_state(self) -> ContainerState {
        let ports = self.published_ports();
        let mounts = self.mount_list();
        let networks = self.network_settings.networks.values();
        let mut addresses: Vec<IpAddr> = networks
            .flat_map(|network| [&network.ip_address, &network.global_ipv6_address])
            .filter_map(|address| address.parse().ok())
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        ContainerState {
            status: self.state.status,
            running: self.state.running,
            paused: self.state.paused,
            pid: u32::try_from(self.state.pid).ok().filter(|pid| *pid > 0),
            exit_code: self.state.exit_code,
            error: self.state.error,
            out_of_memory: self.state.out_of_memory,
            addresses,
            ports,
            mounts,
            health: self
                .state
                .health
                .map(|health| health.status)
                .filter(|status| !status.is_empty() && status != "none"),
            labels: self.config.labels,
            image: self.image,
            tty: self.config.tty,
            network_mode: self.host_config.network_mode,
        }
    }

    fn published_ports(&self) -> Vec<PublishedPort> {
        let mut ports = Vec::new();
        for (key, bindings) in &self.network_settings.ports {
            let Some((container_port, protocol)) = parse_key(key) else { continue };
            for binding in bindings.iter().flatten() {
                // Podman leaves the address empty for "every one".
                let host_ip = match binding.host_ip.as_str() {
                    "" => Some(IpAddr::from([0, 0, 0, 0])),
                    text => text.parse().ok(),
                };
                if let (Some(host_ip), Ok(host_port)) = (host_ip, binding.host_port.parse()) {
                    ports.push(PublishedPort { container_port, protocol, host_ip, host_port });
                }
            }
        }
        ports.sort_unstable();
        ports
    }

    fn mount_list(&self) -> Vec<ContainerMount> {
        let listed = self.mounts.iter().map(|mount| ContainerMount {
            target: mount.destination.clone(),
            source: mount.source.clone(),
            kind: mount.kind.clone(),
            name: Some(mount.name.clone()).filter(|name| !name.is_empty()),
            writable: mount.writable,
        });
        // `--tmpfs` mounts are in no list of mounts.
        let memory = self.host_config.tmpfs.iter().map(|(target, options)| ContainerMount {
            target: target.clone(),
            source: String::new(),
            kind: "tmpfs".to_owned(),
            name: None,
            writable: !options.split(',').any(|option| option == "ro"),
        });
        let mut mounts: Vec<ContainerMount> = listed.chain(memory).collect();
        mounts.sort_unstable();
        mounts
    }
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Image {
    id: String,
    #[serde(deserialize_with = "nullable")]
    repo_tags: Vec<String>,
    #[serde(deserialize_with = "nullable")]
    repo_digests: Vec<String>,
    created: Option<String>,
    author: String,
    #[serde(deserialize_with = "nullable")]
    config: Config,
    architecture: String,
    variant: String,
    os: String,
    os_version: String,
    size: u64,
    #[serde(rename = "RootFS", deserialize_with = "nullable")]
    root_fs: RootFs,
    #[serde(deserialize_with = "nullable")]
    graph_driver: GraphDriver,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct GraphDriver {
    name: String,
    #[serde(deserialize_with = "nullable")]
    data: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
struct RootFs {
    #[serde(deserialize_with = "nullable")]
    layers: Vec<String>,
}

impl Image {
    /// The directories of the image's layers on the engine's machine, the base first; `None` where it does not say, or
    /// says of some only.
    pub(super) fn layer_directories(&self) -> Option<Vec<PathBuf>> {
        let GraphDriver { name, data } = &self.graph_driver;
        if name != OVERLAY && name != OVERLAY_OF_PODMAN {
            return None;
        }
        // Topmost first, as overlayfs's own `lowerdir`; absent for an image of one layer.
        let lower = data.get("LowerDir").map_or("", String::as_str);
        let lower = lower.split(':').rev().filter(|directory| !directory.is_empty());
        let directories: Vec<PathBuf> =
            lower.chain([data.get("UpperDir")?.as_str()]).map(PathBuf::from).collect();
        (directories.len() == self.root_fs.layers.len()).then_some(directories)
    }

    /// # Errors
    /// An id or layer that is no digest.
    pub(super) fn into_source(self, reference: &str) -> Result<SourceImage, String> {
        let digest = |text: &String| text.parse::<Digest>().map_err(|error| error.to_string());
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        let mut tags = self.repo_tags;
        tags.retain(|tag| tag != "<none>:<none>");
        tags.sort_unstable();
        let mut digests = self.repo_digests;
        digests.retain(|name| name != "<none>@<none>");
        digests.sort_unstable();
        Ok(SourceImage {
            id: digest(&self.id)?,
            reference: reference.to_owned(),
            tags,
            digests,
            architecture: self.architecture,
            variant: given(self.variant),
            os: self.os,
            os_version: given(self.os_version),
            created: self.created.and_then(given),
            author: given(self.author),
            size: self.size,
            config: self.config,
            layer_diff_ids: self.root_fs.layers.iter().map(digest).collect::<Result<_, _>>()?,
        })
    }
}

/// One step of an image's making.
#[derive(Deserialize, Default)]
#[serde(rename_all = "PascalCase", default)]
pub(super) struct Step {
    created_by: String,
    comment: String,
    size: u64,
}

impl Step {
    fn into_entry(self) -> HistoryEntry {
        let given = |text: String| Some(text).filter(|text| !text.is_empty());
        HistoryEntry {
            created_by: given(self.created_by),
            comment: given(self.comment),
            ..HistoryEntry::default()
        }
    }
}

/// The steps, the oldest first; which of them left a layer is not told.
pub(super) fn history_entries(steps: Vec<Step>) -> Vec<HistoryEntry> {
    steps.into_iter().rev().map(Step::into_entry).collect()
}

/// The steps, which the engine tells newest first, with those that left a layer told from the others.
pub(super) fn history(steps: Vec<Step>, layers: usize) -> Vec<HistoryEntry> {
    let steps = steps.into_iter().rev().map(|step| {
        let size = step.size;
        (step.into_entry(), size)
    });
    with_layers(steps.collect(), layers).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::Protocol;

    #[test]
    fn nulls_and_missing_fields_read_as_nothing() {
        let container: Container = serde_json::from_str(
            r#"{"Image":"sha256:1","State":{"Status":"exited","ExitCode":3,"Health":null,"Pid":0},
                "Config":{"Labels":null},"Mounts":null,
                "NetworkSettings":{"Ports":{"80/tcp":null},"Networks":null}}"#,
        )
        .unwrap();
        let state = container.into_state();
        assert_eq!((state.exit_code, state.pid, state.running), (3, None, false));
        assert!(state.ports.is_empty() && state.addresses.is_empty() && state.health.is_none());
    }

    #[test]
    fn ports_come_sorted_with_both_address_families() {
        let container: Container = serde_json::from_str(
            r#"{"NetworkSettings":{"Ports":{
                "8080/tcp":[{"HostIp":"::","HostPort":"32769"},{"HostIp":"0.0.0.0","HostPort":"32768"}],
                "53/udp":[{"HostIp":"","HostPort":"53"}]},
                "Networks":{"bridge":{"IPAddress":"172.17.0.2","GlobalIPv6Address":""}}}}"#,
        )
        .unwrap();
        let state = container.into_state();
        let seen: Vec<_> =
            state.ports.iter().map(|port| (port.container_port, port.protocol, port.host_port)).collect();
        assert_eq!(
            seen,
            [(53, Protocol::Udp, 53), (8080, Protocol::Tcp, 32768), (8080, Protocol::Tcp, 32769)]
        );
        assert_eq!(state.addresses, ["172.17.0.2".parse::<IpAddr>().unwrap()]);
    }

    #[test]
    fn the_default_runtimes_own_version_is_told() {
        let version = |text| serde_json::from_str::<Version>(text).unwrap();
        let info = |text| serde_json::from_str::<Info>(text).unwrap();
        let endpoint = Endpoint::Unix("/x".into());
        let docker = description(
            version(r#"{"Version":"20.10","Components":[{"Name":"runc","Version":"1.1.5"}]}"#),
            info(r#"{"DefaultRuntime":"runc","CgroupVersion":"2","RuncCommit":{"ID":"abc"}}"#),
            &endpoint,
            "1.41",
        );
        assert_eq!((docker.runtime_version.as_str(), docker.cgroup_version), ("1.1.5", 2));
        let podman = description(version("{}"), info(r#"{"Architecture":"arm64"}"#), &endpoint, "1.41");
        assert_eq!(podman.architecture, "aarch64");
        let other = description(version("{}"), info(r#"{"DefaultRuntime":"crun"}"#), &endpoint, "1.41");
        assert_eq!(
            (other.runtime.as_str(), other.runtime_version.as_str(), other.local),
            ("crun", "", false)
        );
    }

    #[test]
    fn a_history_is_turned_round_and_tells_its_layers() {
        let steps = |text| serde_json::from_str::<Vec<Step>>(text).unwrap();
        let text = r#"[{"Id":"<missing>","CreatedBy":"CMD [\"a\"]","Size":0,"Tags":null,"Comment":""},
                       {"CreatedBy":"","Comment":"Imported from -","Size":5}]"#;
        let history = history(steps(text), 1);
        assert_eq!(history.iter().map(|step| step.empty_layer).collect::<Vec<_>>(), [false, true]);
        assert_eq!(history[0].comment.as_deref(), Some("Imported from -"));
        assert!(super::history(steps(text), 7).is_empty());
    }

    #[test]
    fn an_image_without_names_reads() {
        let digest = format!("sha256:{}", "ab".repeat(32));
        let image: Image = serde_json::from_str(&format!(
            r#"{{"Id":"{digest}","RepoTags":["<none>:<none>"],"RepoDigests":null,"Config":null,"Size":7,
                "Os":"linux","Architecture":"amd64","RootFS":{{"Type":"layers","Layers":["{digest}"]}}}}"#
        ))
        .unwrap();
        let source = image.into_source("x").unwrap();
        assert_eq!((source.size, source.tags.len(), source.layer_diff_ids.len()), (7, 0, 1));
        assert!(Image::default().into_source("x").is_err());
    }

    #[test]
    fn layers_are_told_from_the_base_up_and_all_or_none() {
        let image = |driver: &str| {
            let text = format!(r#"{{"RootFS":{{"Layers":["1","2","3"]}},"GraphDriver":{driver}}}"#);
            serde_json::from_str::<Image>(&text).unwrap().layer_directories()
        };
        let told =
            image(r#"{"Name":"overlay2","Data":{"LowerDir":"/l/2/diff:/l/1/diff","UpperDir":"/l/3/diff"}}"#);
        assert_eq!(told.unwrap(), ["/l/1/diff", "/l/2/diff", "/l/3/diff"].map(PathBuf::from));
        let of_podman =
            image(r#"{"Name":"overlay","Data":{"LowerDir":"/l/2/diff:/l/1/diff","UpperDir":"/l/3/diff"}}"#);
        assert_eq!(of_podman.unwrap(), ["/l/1/diff", "/l/2/diff", "/l/3/diff"].map(PathBuf::from));
        for other in [
            r#"{"Name":"overlay2","Data":{"UpperDir":"/l/3/diff"}}"#,
            r#"{"Name":"overlayfs","Data":null}"#,
            r#"{"Name":"vfs","Data":{}}"#,
            r#"{"Name":"btrfs","Data":null}"#,
            "null",
        ] {
            assert_eq!(image(other), None, "{other}");
        }
    }

    #[test]
    fn shifted_owners_another_driver_or_another_machine_are_no_local_layers() {
        let (kernel, name) = host::kernel_and_name().unwrap();
        let info = |driver: &str, name: &str, option: &str| {
            let text = serde_json::json!({
                "Driver": driver, "KernelVersion": kernel, "Name": name,
                "SecurityOptions": ["name=seccomp,profile=default", option],
            });
            serde_json::from_value::<Info>(text).unwrap()
        };
        let socket = Endpoint::Unix("/var/run/docker.sock".into());
        assert!(info("overlay2", &name, "name=cgroupns").has_overlay_layers(&socket, false));
        for (driver, host, option) in [
            ("overlay2", name.as_str(), "name=rootless"),
            ("overlay2", &name, "name=userns"),
            ("overlay2", "elsewhere", "name=cgroupns"),
            ("overlayfs", &name, "name=cgroupns"),
            ("vfs", &name, "name=cgroupns"),
        ] {
            assert!(
                !info(driver, host, option).has_overlay_layers(&socket, false),
                "{driver} {host} {option}"
            );
        }
        let of_podman =
            |driver: &str, option: &str| info(driver, &name, option).has_overlay_layers(&socket, true);
        assert!(of_podman("overlay", "name=cgroupns"));
        assert!(!of_podman("overlay", "name=rootless") && !of_podman("vfs", "name=cgroupns"));
        assert!(!info("overlay", &name, "name=cgroupns").has_overlay_layers(&socket, false));
    }
}
