//! A [`ContainerSpec`] and an image → the container's record. What this engine does not do is refused here, by name.

use super::health::Check;
use super::program::{DEFAULT_CAPABILITIES, all_capabilities, is_capability};
use super::record::{Network, Record, RecordedLimits, RecordedMount, RecordedPort, RecordedSource, VERSION};
use super::store::StoredImage;
use super::{apparmor, bridge, seccomp};
use crate::mounts::{Mount, MountSource};
use crate::ports::{Protocol, PublishPort, parse_key};
use crate::spec::{ContainerSpec, HealthCheck, Overrides, Security};
use slim_image::Digest;
use slim_image::config::Healthcheck;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

/// Docker's own, where an image has none.
const PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The engine's own id for a container without a name has so many digits in its host name.
const HOST_NAME_DIGITS: usize = 12;

/// Settles everything that does not need the image's files.
///
/// # Errors
/// What is not understood, or not done by this engine.
pub(super) fn settle(spec: &ContainerSpec, image: &StoredImage, id: &str) -> Result<Record, String> {
    refuse_unknown(spec)?;
    let (overrides, config) = (&spec.overrides, &image.config.config);
    let network = network(overrides.network.as_deref())?;
    let Settled { capabilities, no_new_privileges, seccomp, apparmor, unmasked } = security(&spec.security)?;
    let hostname = match (&overrides.hostname, network) {
        (Some(name), _) => name.clone(),
        (None, Network::Own | Network::Bridge) => id[..HOST_NAME_DIGITS].to_owned(),
        (None, Network::Host) => crate::host::kernel_and_name().map_or_else(String::new, |(_, name)| name),
    };
    let mut labels = config.labels.clone();
    labels.extend(overrides.labels.clone());
    labels.extend(spec.labels.clone());
    Ok(Record {
        version: VERSION,
        id: id.to_owned(),
        name: spec.name.clone(),
        labels,
        image: image.id,
        layers: image.config.rootfs.diff_ids.clone(),
        argv: command_line(overrides, &config.entrypoint, &config.cmd)?,
        env: environment(&hostname, &config.env, &overrides.env),
        user: overrides.user.clone().unwrap_or_else(|| config.user.clone()),
        working_directory: working_directory(overrides.workdir.as_deref().unwrap_or(&config.working_dir))?,
        mounts: mounts(id, overrides, &config.volumes)?,
        tmpfs: tmpfs(overrides, &spec.security),
        ports: if network != Network::Host { ports(spec, &config.exposed_ports)? } else { Vec::new() },
        hostname,
        network,
        read_only_root: spec.security.read_only_root,
        capabilities,
        seccomp,
        no_new_privileges,
        unmasked,
        stop_signal: config.stop_signal_name().to_owned(),
        shm_size: overrides.shm_size.unwrap_or(0),
        sysctls: overrides.sysctls.clone(),
        extra_hosts: overrides.extra_hosts.clone(),
        dns: overrides.dns.clone(),
        dns_search: overrides.dns_search.clone(),
        keeps_log: spec.log_driver.as_deref() != Some("none"),
        tty: spec.tty,
        standard_input: spec.standard_input,
        removes_itself: spec.remove_at_end,
        apparmor,
        limits: RecordedLimits {
            memory: spec.limits.memory,
            nano_cpus: spec.limits.nano_cpus,
            pids: spec.limits.pids,
        },
        health: match &spec.health_check {
            HealthCheck::Image => Check::of(config, &Healthcheck::default()),
            HealthCheck::With(changes) => Check::of(config, changes),
            HealthCheck::Off => None,
        },
    })
}

fn refuse_unknown(spec: &ContainerSpec) -> Result<(), String> {
    let overrides = &spec.overrides;
    let not_done = [
        (!overrides.links.is_empty(), "link containers (--link)"),
        (overrides.init, "run an init before the program (--init)"),
        (!overrides.host_config.is_empty(), "take a file of Docker's host settings"),
        (overrides.runtime.is_some(), "run containers with another runtime"),
        (
            overrides.extra_hosts.iter().any(|host| host.ends_with(":host-gateway")),
            "reach the host from a container's own network (host-gateway); --network host does",
        ),
        (
            spec.log_driver.as_deref().is_some_and(|driver| driver != "none"),
            "write logs through a log driver",
        ),
    ];
    match not_done.iter().find(|(is_asked_for, _)| *is_asked_for) {
        Some((_, what)) => Err(format!("the embedded engine does not {what}")),
        None => Ok(()),
    }
}

fn network(name: Option<&str>) -> Result<Network, String> {
    match name {
        None | Some("default" | "none") => Ok(Network::Own),
        Some("host") => Ok(Network::Host),
        Some("bridge") => bridge::missing().map_or(Ok(Network::Bridge), Err),
        Some(other) => Err(format!(
            "the embedded engine has no network {other:?}: it knows none (the default), a network of the container's own \
             with nothing but loopback; bridge, the same with a way out; and host"
        )),
    }
}

/// As moby joins the two: an entrypoint of its own takes the image's CMD away.
fn command_line(overrides: &Overrides, entrypoint: &[String], cmd: &[String]) -> Result<Vec<String>, String> {
    let own_cmd = overrides.cmd.clone();
    let argv: Vec<String> = match &overrides.entrypoint {
        Some(words) => words.iter().cloned().chain(own_cmd.unwrap_or_default()).collect(),
        None => entrypoint.iter().cloned().chain(own_cmd.unwrap_or_else(|| cmd.to_vec())).collect(),
    };
    if argv.is_empty() { Err("No command specified".to_owned()) } else { Ok(argv) }
}

/// As moby: PATH and HOSTNAME before, then the image's, then the user's; of a name the last value, at the first's place.
fn environment(hostname: &str, image: &[String], own: &[String]) -> Vec<String> {
    let name_of = |pair: &str| pair.split('=').next().unwrap_or_default().to_owned();
    let mut all = vec![PATH.to_owned(), format!("HOSTNAME={hostname}")];
    for pair in image.iter().chain(own) {
        match all.iter_mut().find(|known| name_of(known) == name_of(pair)) {
            Some(known) => known.clone_from(pair),
            None => all.push(pair.clone()),
        }
    }
    // A name without a value takes the variable away.
    all.retain(|pair| pair.contains('='));
    all
}

fn working_directory(path: &str) -> Result<String, String> {
    match path {
        "" => Ok("/".to_owned()),
        _ if path.starts_with('/') => Ok(path.to_owned()),
        _ => Err(format!("the working directory {path:?} is no absolute path")),
    }
}

fn mounts(
    id: &str,
    overrides: &Overrides,
    image_volumes: &BTreeSet<String>,
) -> Result<Vec<RecordedMount>, String> {
    let mut mounts: BTreeMap<String, RecordedMount> = BTreeMap::new();
    let place = |target: &str| format!("/{}", target.trim_matches('/'));
    for mount in &overrides.mounts {
        let Mount { source, target, read_only, options } = mount;
        let unknown =
            options.iter().find(|option| !matches!(option.as_str(), "z" | "Z" | "rprivate" | "private"));
        let source = match source {
            MountSource::Tmpfs => continue,
            _ if unknown.is_some() => {
                return Err(format!(
                    "the embedded engine does not know the mount option {:?}",
                    unknown.cloned().unwrap_or_default()
                ));
            }
            MountSource::Bind(path) if !path.exists() => {
                return Err(format!("bind source path does not exist: {}", path.display()));
            }
            MountSource::Bind(path) => RecordedSource::Bind(path.clone()),
            MountSource::Volume(Some(name)) if !is_volume_name(name) => {
                return Err(format!(
                    "{name:?} is no name of a volume: letters, digits, _, . and - after the first"
                ));
            }
            MountSource::Volume(Some(name)) => RecordedSource::Named(name.clone()),
            MountSource::Volume(None) => RecordedSource::Anonymous(String::new()),
        };
        let target = place(target);
        mounts.insert(target.clone(), RecordedMount { target, source, read_only: *read_only });
    }
    let tmpfs: BTreeSet<String> = overrides
        .mounts
        .iter()
        .filter(|mount| mount.source == MountSource::Tmpfs)
        .map(|mount| place(&mount.target))
        .collect();
    for target in image_volumes.iter().chain(&overrides.volumes).map(|target| place(target)) {
        if target != "/" && !tmpfs.contains(&target) {
            let source = RecordedSource::Anonymous(String::new());
            mounts.entry(target.clone()).or_insert(RecordedMount { target, source, read_only: false });
        }
    }
    let named = |mut mount: RecordedMount| {
        if let RecordedSource::Anonymous(name) = &mut mount.source {
            // As other engines call them, by which the sensor tells them from volumes that the user gave.
            *name = Digest::of(format!("{id} {}", mount.target)).hex();
        }
        mount
    };
    Ok(mounts.into_values().map(named).collect())
}

pub(super) fn is_volume_name(name: &str) -> bool {
    let is_word = |character: char| character.is_ascii_alphanumeric();
    name.starts_with(is_word) && name.chars().all(|character| is_word(character) || "_.-".contains(character))
}

fn tmpfs(overrides: &Overrides, security: &Security) -> BTreeMap<String, String> {
    let mut tmpfs = security.tmpfs.clone();
    for mount in overrides.mounts.iter().filter(|mount| mount.source == MountSource::Tmpfs) {
        let mut options = mount.options.clone();
        if mount.read_only {
            options.push("ro".to_owned());
        }
        tmpfs.insert(mount.target.clone(), options.join(","));
    }
    tmpfs
}

fn ports(spec: &ContainerSpec, image_ports: &BTreeSet<String>) -> Result<Vec<RecordedPort>, String> {
    if let Some(port) = spec.overrides.publish_ports.iter().find(|port| port.protocol == Protocol::Sctp) {
        return Err(format!("the embedded engine publishes TCP and UDP ports, not {}", port.key()));
    }
    let mut ports: Vec<RecordedPort> = spec.overrides.publish_ports.iter().map(RecordedPort::of).collect();
    let exposed: BTreeSet<(u16, Protocol)> = image_ports
        .iter()
        .chain(&spec.overrides.exposed_ports)
        .filter_map(|key| parse_key(key))
        .filter(|(_, protocol)| *protocol != Protocol::Sctp)
        .collect();
    let own_number = spec.overrides.publish_exposed_ports;
    for (container_port, protocol) in exposed {
        let is_there =
            ports.iter().any(|port| port.container_port == container_port && port.protocol == protocol);
        if (own_number || spec.publish_all) && !is_there {
            let host_port = own_number.then_some(container_port);
            let port = PublishPort { container_port, protocol, host_ip: None::<IpAddr>, host_port };
            ports.push(RecordedPort::of(&port));
        }
    }
    Ok(ports)
}

/// What a container may do.
struct Settled {
    capabilities: Vec<String>,
    no_new_privileges: bool,
    seccomp: Option<String>,
    apparmor: Option<String>,
    unmasked: bool,
}

fn security(security: &Security) -> Result<Settled, String> {
    let mut seccomp = Some(seccomp::DEFAULT.to_owned());
    let (mut no_new_privileges, mut unmasked, mut apparmor) = (false, false, None);
    for option in &security.options {
        match option.split_once(['=', ':']).unwrap_or((option, "")) {
            ("seccomp", "unconfined") => seccomp = None,
            ("seccomp", profile) => seccomp = Some(profile.to_owned()),
            ("no-new-privileges", "" | "true") => no_new_privileges = true,
            ("no-new-privileges", "false") => no_new_privileges = false,
            ("systempaths", "unconfined") => unmasked = true,
            ("apparmor", "unconfined") => apparmor = None,
            ("apparmor", profile) => match apparmor::missing() {
                None => apparmor = Some(profile.to_owned()),
                Some(reason) => {
                    return Err(format!("the AppArmor profile {profile:?} cannot be applied: {reason}"));
                }
            },
            ("label", _) => {}
            _ => return Err(format!("the embedded engine does not do --security-opt {option}")),
        }
    }
    let mut capabilities: BTreeSet<String> =
        DEFAULT_CAPABILITIES.iter().map(|name| (*name).to_owned()).collect();
    for (names, adds) in [(&security.capabilities_dropped, false), (&security.capabilities_added, true)] {
        for name in names {
            let upper = name.to_ascii_uppercase();
            match upper.strip_prefix("CAP_").unwrap_or(&upper) {
                "ALL" if adds => capabilities = all_capabilities().into_iter().collect(),
                "ALL" => capabilities.clear(),
                short if !is_capability(short) => return Err(format!("there is no capability {name}")),
                short if adds => drop(capabilities.insert(short.to_owned())),
                short => drop(capabilities.remove(short)),
            }
        }
    }
    let capabilities: Vec<String> = capabilities.into_iter().collect();
    if let Some(profile) = &seccomp {
        seccomp::compile(profile, &capabilities)?;
    }
    Ok(Settled { capabilities, no_new_privileges, seccomp, apparmor, unmasked })
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use slim_image::archive::{ImageConfig, RootFs};
    use slim_image::{Config, Descriptor};
    use std::path::Path;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    fn image(config: &str) -> StoredImage {
        let config: Config = serde_json::from_str(config).unwrap();
        StoredImage {
            id: Digest::of("id"),
            names: Vec::new(),
            created: None,
            size: 0,
            manifest: Descriptor::of("x", b""),
            config: ImageConfig {
                architecture: "amd64".to_owned(),
                variant: None,
                os: "linux".to_owned(),
                os_version: None,
                created: None,
                author: None,
                config,
                rootfs: RootFs { kind: "layers".to_owned(), diff_ids: Vec::new() },
                history: Vec::new(),
            },
            layers: Vec::new(),
        }
    }

    /// A container of an image that says nothing but its command.
    pub(in crate::embedded) fn record() -> Record {
        settle(&ContainerSpec::default(), &image(r#"{"Cmd":["sh"]}"#), ID).unwrap()
    }

    fn with(overrides: Overrides, config: &str) -> Result<Record, String> {
        settle(&ContainerSpec { overrides, ..ContainerSpec::default() }, &image(config), ID)
    }

    #[test]
    fn nothing_overridden_is_what_docker_runs() {
        let record = with(
            Overrides::default(),
            r#"{"Entrypoint":["node"],"Cmd":["a.js"],"Env":["A=1","PATH=/bin","A=2"],"User":"node","WorkingDir":"/srv",
                "StopSignal":"SIGQUIT","Volumes":{"/data/":{}},"Labels":{"a":"b"}}"#,
        )
        .unwrap();
        assert_eq!(record.argv, ["node", "a.js"]);
        assert_eq!(record.env, ["PATH=/bin", "HOSTNAME=0123456789ab", "A=2"]);
        assert_eq!(
            (&*record.user, &*record.working_directory, &*record.stop_signal),
            ("node", "/srv", "SIGQUIT")
        );
        assert_eq!(record.mounts.len(), 1);
        assert_eq!((&*record.mounts[0].target, record.network), ("/data", Network::Own));
        assert_eq!(record.capabilities.len(), 14);
        assert!(record.seccomp.unwrap().contains("SCMP_ACT_ERRNO") && !record.no_new_privileges);
    }

    #[test]
    fn an_entrypoint_takes_the_images_command_away() {
        let config = r#"{"Entrypoint":["a"],"Cmd":["b"]}"#;
        let words = |entrypoint: Option<&[&str]>, cmd: Option<&[&str]>| {
            let list = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
            let overrides =
                Overrides { entrypoint: entrypoint.map(list), cmd: cmd.map(list), ..Overrides::default() };
            with(overrides, config).map(|record| record.argv)
        };
        assert_eq!(words(Some(&["x"]), None).unwrap(), ["x"]);
        assert_eq!(words(None, Some(&["y"])).unwrap(), ["a", "y"]);
        assert_eq!(words(Some(&[]), Some(&["y"])).unwrap(), ["y"]);
        assert_eq!(words(Some(&[]), None).unwrap_err(), "No command specified");
    }

    #[test]
    fn what_the_user_mounts_goes_before_the_images_volumes() {
        let mounts = ["/etc:/data:ro", "type=tmpfs,target=/cache", "name:/named", "/anonymous"]
            .iter()
            .map(|text| Mount::parse(text, Path::new("/")).unwrap())
            .collect();
        let config = r#"{"Cmd":["a"],"Volumes":{"/data":{},"/cache":{},"/other":{}}}"#;
        let record = with(Overrides { mounts, ..Overrides::default() }, config).unwrap();
        let targets: Vec<&str> = record.mounts.iter().map(|mount| mount.target.as_str()).collect();
        assert_eq!(targets, ["/anonymous", "/data", "/named", "/other"]);
        assert_eq!(record.mounts[1].source, RecordedSource::Bind("/etc".into()));
        assert_eq!(record.tmpfs.keys().collect::<Vec<_>>(), ["/cache"]);
    }

    #[test]
    fn ports_are_published_as_asked_for() {
        let config = r#"{"Cmd":["a"],"ExposedPorts":{"80/tcp":{},"53/udp":{}}}"#;
        let record =
            settle(&ContainerSpec::published("x", Overrides::default()), &image(config), ID).unwrap();
        assert_eq!(
            record.ports.iter().map(|port| (port.container_port, port.host_port)).collect::<Vec<_>>(),
            [(53, 0), (80, 0)]
        );
        let udp =
            Overrides { publish_ports: PublishPort::parse("53:53/udp").unwrap(), ..Overrides::default() };
        let record = with(udp, config).unwrap();
        assert!(record.ports.iter().any(|port| (port.container_port, port.host_port) == (53, 53)));
    }

    #[test]
    fn what_is_not_done_is_refused_by_name() {
        let refused = |overrides: Overrides| with(overrides, r#"{"Cmd":["a"]}"#).unwrap_err();
        assert!(
            refused(Overrides { network: Some("mine".to_owned()), ..Overrides::default() })
                .contains("\"mine\"")
        );
        assert!(
            refused(Overrides { links: vec!["a".to_owned()], ..Overrides::default() }).contains("--link")
        );
        assert!(refused(Overrides { init: true, ..Overrides::default() }).contains("--init"));
        assert!(
            refused(Overrides { workdir: Some("x".to_owned()), ..Overrides::default() }).contains("absolute")
        );
        let security = |option: &str| Security { options: vec![option.to_owned()], ..Security::default() };
        let of = |security| {
            settle(&ContainerSpec { security, ..ContainerSpec::default() }, &image(r#"{"Cmd":["a"]}"#), ID)
        };
        match (of(security("apparmor=mine")), apparmor::missing()) {
            (Ok(record), None) => assert_eq!(record.apparmor.as_deref(), Some("mine")),
            (Err(refused), Some(why)) => assert!(refused.contains("\"mine\"") && refused.contains(&why)),
            (settled, missing) => panic!("{settled:?}, and what is missing is {missing:?}"),
        }
        assert!(of(security("seccomp={")).unwrap_err().contains("not understood"));
        assert!(of(Security { capabilities_added: vec!["X".to_owned()], ..Security::default() }).is_err());
    }

    #[test]
    fn capabilities_come_and_go_by_any_of_their_names() {
        let of = |added: &[&str], dropped: &[&str]| {
            let list = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
            let options = vec!["seccomp=unconfined".to_owned(), "no-new-privileges".to_owned()];
            let security = Security {
                capabilities_added: list(added),
                capabilities_dropped: list(dropped),
                options,
                ..Security::default()
            };
            settle(&ContainerSpec { security, ..ContainerSpec::default() }, &image(r#"{"Cmd":["a"]}"#), ID)
                .unwrap()
        };
        assert_eq!(of(&["cap_net_admin"], &["ALL"]).capabilities, ["NET_ADMIN"]);
        assert!(!of(&[], &["CAP_CHOWN"]).capabilities.contains(&"CHOWN".to_owned()));
        let record = of(&["ALL"], &[]);
        assert!(record.capabilities.len() > 30 && record.seccomp.is_none() && record.no_new_privileges);
    }
}
