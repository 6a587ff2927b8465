//! What the API is told to make, out of a [`ContainerSpec`].
//!
//! Invariant: with nothing overridden the result is what `docker run -P IMAGE` makes (compared field by field in
//! `tests/engine_docker.rs`).

use crate::mounts::{Mount, MountSource};
use crate::ports::{Protocol, PublishPort, parse_key};
use crate::spec::{ContainerSpec, HealthCheck};
use bollard::models::{
    ContainerCreateBody, HealthConfig, HostConfig, HostConfigLogConfig, Mount as ApiMount, MountType,
    PortBinding, PortMap, RestartPolicy, RestartPolicyNameEnum,
};
use std::collections::{BTreeSet, HashMap};

/// The request. `exposed`: the image's own ports, where they are to be published under their own numbers.
pub(super) fn body(spec: &ContainerSpec, exposed: &BTreeSet<String>) -> ContainerCreateBody {
    let overrides = &spec.overrides;
    let mut published = overrides.publish_ports.clone();
    published.extend(same_number(exposed));
    let exposed_ports: BTreeSet<String> = published.iter().map(PublishPort::key).collect();
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        labels: Some(spec.labels.clone().into_iter().collect())
            .filter(|labels: &HashMap<_, _>| !labels.is_empty()),
        entrypoint: overrides.entrypoint.clone().map(|words| match words.is_empty() {
            // An empty list means "as the image has it"; one empty word means none (moby, `daemon/commit.go`).
            true => vec![String::new()],
            false => words,
        }),
        cmd: overrides.cmd.clone(),
        env: Some(overrides.env.clone()).filter(|env| !env.is_empty()),
        user: overrides.user.clone(),
        working_dir: overrides.workdir.clone(),
        hostname: overrides.hostname.clone(),
        exposed_ports: Some(exposed_ports.into_iter().collect()).filter(|ports: &Vec<_>| !ports.is_empty()),
        healthcheck: match spec.health_check {
            HealthCheck::Image => None,
            HealthCheck::Off => {
                Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() })
            }
        },
        attach_stdin: Some(spec.standard_input),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(spec.standard_input),
        stdin_once: Some(spec.standard_input),
        tty: Some(spec.tty),
        host_config: Some(host_config(spec, &published)),
        ..ContainerCreateBody::default()
    }
}

fn host_config(spec: &ContainerSpec, published: &[PublishPort]) -> HostConfig {
    let overrides = &spec.overrides;
    let security = &spec.security;
    let list = |items: &[String]| Some(items.to_vec()).filter(|items| !items.is_empty());
    let mut tmpfs: HashMap<String, String> = security.tmpfs.clone().into_iter().collect();
    for mount in overrides.mounts.iter().filter(|mount| mount.source == MountSource::Tmpfs) {
        let mut options = mount.options.clone();
        if mount.read_only {
            options.push("ro".to_owned());
        }
        tmpfs.insert(mount.target.clone(), options.join(","));
    }
    let binds: Vec<String> = overrides.mounts.iter().filter_map(Mount::short_form).collect();
    let mounts: Vec<ApiMount> = overrides
        .mounts
        .iter()
        .filter(|mount| mount.source == MountSource::Volume(None))
        .map(anonymous)
        .collect();
    HostConfig {
        publish_all_ports: Some(spec.publish_all),
        port_bindings: Some(bindings(published)),
        network_mode: Some(overrides.network.clone().unwrap_or_else(|| "default".to_owned())),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: Some(0),
        }),
        log_config: spec
            .log_driver
            .clone()
            .map(|driver| HostConfigLogConfig { typ: Some(driver), config: Some(HashMap::new()) }),
        // The API reads absence as 0, which forbids swapping; the command line sends -1, "the host's own".
        memory_swappiness: Some(-1),
        oom_kill_disable: Some(false),
        binds: list(&binds),
        mounts: Some(mounts).filter(|mounts| !mounts.is_empty()),
        tmpfs: Some(tmpfs).filter(|tmpfs| !tmpfs.is_empty()),
        // Absent means the engine's own setting.
        init: overrides.init.then_some(true),
        security_opt: list(&security.options),
        cap_add: list(&security.capabilities_added),
        cap_drop: list(&security.capabilities_dropped),
        readonly_rootfs: Some(security.read_only_root),
        ..empty_lists()
    }
}

/// Lists that the command line sends though they are empty; they show so in the container's inspection.
fn empty_lists() -> HostConfig {
    HostConfig {
        blkio_weight_device: Some(Vec::new()),
        blkio_device_read_bps: Some(Vec::new()),
        blkio_device_write_bps: Some(Vec::new()),
        blkio_device_read_iops: Some(Vec::new()),
        blkio_device_write_iops: Some(Vec::new()),
        devices: Some(Vec::new()),
        dns: Some(Vec::new()),
        dns_options: Some(Vec::new()),
        dns_search: Some(Vec::new()),
        ulimits: Some(Vec::new()),
        ..HostConfig::default()
    }
}

fn anonymous(mount: &Mount) -> ApiMount {
    ApiMount {
        target: Some(mount.target.clone()),
        typ: Some(MountType::VOLUME),
        read_only: Some(mount.read_only),
        ..ApiMount::default()
    }
}

/// The image's ports, each under its own number on the host.
fn same_number(exposed: &BTreeSet<String>) -> impl Iterator<Item = PublishPort> + '_ {
    exposed.iter().flat_map(|key| {
        let (ports, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
        let protocol: Protocol = protocol.parse().unwrap_or_default();
        let range = match ports.split_once('-') {
            Some((first, last)) => first.parse().ok().zip(last.parse().ok()),
            None => parse_key(key).map(|(port, _)| (port, port)),
        };
        let (first, last): (u16, u16) = range.unwrap_or((1, 0));
        (first..=last).map(move |port| PublishPort {
            container_port: port,
            protocol,
            host_ip: None,
            host_port: Some(port),
        })
    })
}

fn bindings(published: &[PublishPort]) -> PortMap {
    let mut map = PortMap::new();
    for port in published {
        let binding = PortBinding {
            host_ip: Some(port.host_ip.map(|ip| ip.to_string()).unwrap_or_default()),
            host_port: Some(port.host_port.map(|port| port.to_string()).unwrap_or_default()),
        };
        let list = map.entry(port.key()).or_default().get_or_insert_default();
        if !list.contains(&binding) {
            list.push(binding);
        }
    }
    map
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Overrides;
    use std::path::Path;

    fn with(overrides: Overrides) -> ContainerCreateBody {
        body(&ContainerSpec::published("image", overrides), &BTreeSet::new())
    }

    #[test]
    fn nothing_overridden_leaves_everything_to_the_image() {
        let body = with(Overrides::default());
        assert_eq!((body.entrypoint, body.cmd, body.env, body.user), (None, None, None, None));
        assert_eq!((body.working_dir, body.hostname, body.healthcheck), (None, None, None));
        assert_eq!(body.host_config.unwrap().publish_all_ports, Some(true));
    }

    #[test]
    fn an_empty_entrypoint_takes_the_images_away() {
        let body = with(Overrides { entrypoint: Some(Vec::new()), ..Overrides::default() });
        assert_eq!(body.entrypoint, Some(vec![String::new()]));
    }

    #[test]
    fn exposed_ports_are_published_under_their_own_numbers() {
        let spec = ContainerSpec::published(
            "image",
            Overrides { publish_exposed_ports: true, ..Overrides::default() },
        );
        let exposed = ["80/tcp", "9000-9001/tcp", "53/udp", "nonsense"].map(str::to_owned).into();
        let host = body(&spec, &exposed).host_config.unwrap();
        assert_eq!(host.publish_all_ports, Some(false));
        let mut seen: Vec<(String, String)> = host
            .port_bindings
            .unwrap()
            .into_iter()
            .map(|(key, list)| (key, list.unwrap()[0].host_port.clone().unwrap()))
            .collect();
        seen.sort();
        let wanted = [("53/udp", "53"), ("80/tcp", "80"), ("9000/tcp", "9000"), ("9001/tcp", "9001")];
        assert_eq!(seen, wanted.map(|(key, port)| (key.to_owned(), port.to_owned())));
    }

    #[test]
    fn one_container_port_may_have_several_host_ports() {
        let ports = ["8080:80", "127.0.0.1:8081:80", "8080:80"]
            .iter()
            .flat_map(|text| PublishPort::parse(text).unwrap())
            .collect();
        let body = with(Overrides { publish_ports: ports, ..Overrides::default() });
        assert_eq!(body.exposed_ports.unwrap(), ["80/tcp"]);
        let list = body.host_config.unwrap().port_bindings.unwrap()["80/tcp"].clone().unwrap();
        assert_eq!(list.len(), 2);
    }

    #[test]
    fn every_kind_of_mount_finds_its_place() {
        let mounts = ["/a:/b:ro", "/a:/c", "data:/d", "/anonymous", "type=tmpfs,target=/t,tmpfs-size=1m"]
            .iter()
            .map(|text| Mount::parse(text, Path::new("/")).unwrap())
            .collect();
        let host = with(Overrides { mounts, ..Overrides::default() }).host_config.unwrap();
        assert_eq!(host.binds.unwrap(), ["/a:/b:ro", "/a:/c", "data:/d"]);
        assert_eq!(host.mounts.unwrap()[0].target.as_deref(), Some("/anonymous"));
        assert_eq!(host.tmpfs.unwrap()["/t"], "size=1m");
    }
}
