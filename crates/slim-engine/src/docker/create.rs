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
use serde_json::{Map, Value};
use std::collections::{BTreeSet, HashMap};

/// The request. `exposed`: the image's own ports, where they are to be published under their own numbers.
pub(super) fn body(spec: &ContainerSpec, exposed: &BTreeSet<String>) -> ContainerCreateBody {
    let overrides = &spec.overrides;
    let mut published = overrides.publish_ports.clone();
    published.extend(same_number(exposed));
    let mut exposed_ports: BTreeSet<String> = published.iter().map(PublishPort::key).collect();
    exposed_ports.extend(overrides.exposed_ports.iter().cloned());
    let mut labels: HashMap<String, String> = overrides.labels.clone().into_iter().collect();
    labels.extend(spec.labels.clone());
    ContainerCreateBody {
        image: Some(spec.image.clone()),
        labels: Some(labels).filter(|labels| !labels.is_empty()),
        volumes: Some(overrides.volumes.iter().cloned().collect())
            .filter(|volumes: &Vec<String>| !volumes.is_empty()),
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
        healthcheck: health_check(&spec.health_check),
        attach_stdin: Some(spec.standard_input),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(spec.standard_input),
        stdin_once: Some(spec.standard_input),
        tty: Some(spec.tty),
        host_config: Some(with_file(spec, &published)),
        ..ContainerCreateBody::default()
    }
}

/// What is not set is the image's.
fn health_check(wanted: &HealthCheck) -> Option<HealthConfig> {
    let given = |number: i64| Some(number).filter(|number| *number > 0);
    match wanted {
        HealthCheck::Image => None,
        HealthCheck::Off => {
            Some(HealthConfig { test: Some(vec!["NONE".to_owned()]), ..HealthConfig::default() })
        }
        HealthCheck::With(check) => Some(HealthConfig {
            test: Some(check.test.clone()).filter(|test| !test.is_empty()),
            interval: given(check.interval),
            timeout: given(check.timeout),
            retries: given(check.retries),
            start_period: given(check.start_period),
            start_interval: given(check.start_interval),
        }),
    }
}

/// The host configuration on top of the user's file of one: what the user's flags or this program set goes before the
/// file, the file before what is merely the usual; lists and maps are joined.
fn with_file(spec: &ContainerSpec, published: &[PublishPort]) -> HostConfig {
    let ours = host_config(spec, published);
    let file = &spec.overrides.host_config.0;
    if file.is_empty() {
        return ours;
    }
    let as_map = |config: &HostConfig| match serde_json::to_value(config) {
        Ok(Value::Object(fields)) => fields,
        _ => Map::new(),
    };
    let usual = as_map(&host_config(&ContainerSpec::default(), &[]));
    let mut fields = as_map(&ours);
    for (name, value) in file.iter().filter(|(_, value)| !value.is_null()) {
        match (fields.get_mut(name), value) {
            (Some(Value::Array(list)), Value::Array(more)) => {
                // Of two seccomp profiles the engine would take the last.
                let has_profile = list.iter().any(is_seccomp);
                let is_known = |item: &Value| list.contains(item) || (has_profile && is_seccomp(item));
                let new: Vec<Value> = more.iter().filter(|item| !is_known(item)).cloned().collect();
                list.extend(new);
            }
            (Some(Value::Object(map)), Value::Object(more)) if usual.get(name).is_none_or(is_empty) => {
                for (key, value) in more {
                    map.entry(key).or_insert_with(|| value.clone());
                }
            }
            (Some(set), _) if usual.get(name) != Some(set) && name != PUBLISH_ALL => {}
            _ => {
                fields.insert(name.clone(), value.clone());
            }
        }
    }
    // Both sides were read from this type: the join has its shape.
    serde_json::from_value(Value::Object(fields)).unwrap_or(ours)
}

/// Ports are published by us whether the user asks for it or not; a file may still say otherwise.
const PUBLISH_ALL: &str = "PublishAllPorts";

fn is_seccomp(option: &Value) -> bool {
    option.as_str().is_some_and(|text| text.starts_with("seccomp=") || text.starts_with("seccomp:"))
}

fn is_empty(value: &Value) -> bool {
    value.as_object().is_some_and(Map::is_empty)
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
        links: list(&overrides.links),
        extra_hosts: list(&overrides.extra_hosts),
        dns: Some(overrides.dns.clone()),
        dns_search: Some(overrides.dns_search.clone()),
        runtime: overrides.runtime.clone(),
        sysctls: Some(overrides.sysctls.clone().into_iter().collect())
            .filter(|settings: &HashMap<_, _>| !settings.is_empty()),
        shm_size: overrides.shm_size,
        security_opt: list(&security.options),
        cap_add: list(&security.capabilities_added),
        cap_drop: list(&security.capabilities_dropped),
        readonly_rootfs: Some(security.read_only_root),
        memory: spec.limits.memory,
        // The same for memory and swap together: without it as much again may be swapped.
        memory_swap: spec.limits.memory,
        nano_cpus: spec.limits.nano_cpus,
        pids_limit: spec.limits.pids,
        auto_remove: spec.remove_at_end.then_some(true),
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
        dns_options: Some(Vec::new()),
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
    fn every_other_setting_finds_its_place() {
        let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
        let pair = |key: &str, value: &str| [(key.to_owned(), value.to_owned())];
        let mut spec = ContainerSpec::published(
            "image",
            Overrides {
                exposed_ports: ["9000/tcp".to_owned()].into(),
                volumes: ["/data".to_owned()].into(),
                labels: [("a", "1"), ("ours", "theirs")]
                    .map(|(key, value)| (key.to_owned(), value.to_owned()))
                    .into(),
                links: texts(&["db:database"]),
                extra_hosts: texts(&["db:10.0.0.1"]),
                dns: texts(&["10.0.0.2"]),
                dns_search: texts(&["example.com"]),
                runtime: Some("crun".to_owned()),
                sysctls: pair("net.core.somaxconn", "1024").into(),
                shm_size: Some(1 << 20),
                ..Overrides::default()
            },
        );
        spec.labels = pair("ours", "1").into();
        let body = body(&spec, &BTreeSet::new());
        assert_eq!(
            (body.exposed_ports.unwrap(), body.volumes.unwrap()),
            (texts(&["9000/tcp"]), texts(&["/data"]))
        );
        let labels = body.labels.unwrap();
        assert_eq!((labels["a"].as_str(), labels["ours"].as_str()), ("1", "1"), "our own labels stay ours");
        let host = body.host_config.unwrap();
        assert_eq!(host.links.unwrap(), ["db:database"]);
        assert_eq!(host.extra_hosts.unwrap(), ["db:10.0.0.1"]);
        assert_eq!(
            (host.dns.unwrap(), host.dns_search.unwrap()),
            (texts(&["10.0.0.2"]), texts(&["example.com"]))
        );
        assert_eq!(host.runtime.as_deref(), Some("crun"));
        assert_eq!(host.sysctls.unwrap()["net.core.somaxconn"], "1024");
        assert_eq!(host.shm_size, Some(1 << 20));
    }

    #[test]
    fn a_container_has_one_seccomp_profile_ours_before_the_files() {
        let file = r#"{"SecurityOpt": ["seccomp=unconfined", "label=disable"]}"#;
        let host_config = crate::spec::HostConfigFile::parse(file).unwrap();
        let mut spec = ContainerSpec {
            overrides: Overrides { host_config, ..Overrides::default() },
            ..ContainerSpec::default()
        };
        let options = |spec: &ContainerSpec| with_file(spec, &[]).security_opt.unwrap();
        assert_eq!(options(&spec), ["seccomp=unconfined", "label=disable"]);
        spec.security.options.push("seccomp={}".to_owned());
        assert_eq!(options(&spec), ["seccomp={}", "label=disable"]);
    }

    #[test]
    fn a_file_of_host_settings_yields_to_flags_and_goes_before_what_is_usual() {
        let file = crate::spec::HostConfigFile::parse(
            r#"{"Memory": 1000000, "MemorySwappiness": 60, "NetworkMode": "host", "ShmSize": 5,
                "Binds": ["/x:/y"], "Sysctls": {"a": "1", "b": "2"}, "CapAdd": ["NET_ADMIN"], "Privileged": true}"#,
        )
        .unwrap();
        let host = with(Overrides {
            host_config: file,
            network: Some("mine".to_owned()),
            sysctls: [("a".to_owned(), "flag".to_owned())].into(),
            mounts: vec![Mount::parse("/a:/b", Path::new("/")).unwrap()],
            ..Overrides::default()
        })
        .host_config
        .unwrap();
        assert_eq!(
            (host.memory, host.memory_swappiness, host.shm_size),
            (Some(1_000_000), Some(60), Some(5))
        );
        assert_eq!(host.network_mode.as_deref(), Some("mine"));
        assert_eq!(host.binds.unwrap(), ["/a:/b", "/x:/y"]);
        let sysctls = host.sysctls.unwrap();
        assert_eq!((sysctls["a"].as_str(), sysctls["b"].as_str()), ("flag", "2"));
        assert_eq!((host.cap_add.unwrap(), host.privileged), (vec!["NET_ADMIN".to_owned()], Some(true)));
        assert_eq!(host.publish_all_ports, Some(true));
        for (text, expected) in [
            ("[]", "invalid type"),
            (r#"{"Memroy": 1}"#, "\"Memroy\""),
            (r#"{"Memory": "x"}"#, "invalid type"),
        ] {
            let error = crate::spec::HostConfigFile::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
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
