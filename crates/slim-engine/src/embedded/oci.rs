//! A container → the runtime's specification, with what Docker sets where nothing else is asked for (moby's
//! `oci/defaults.go`). User, capabilities and seccomp filter are left to [`super::program`].

use super::control_group;
use super::record::{Network, Record, RecordedLimits};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Paths of the kernel that a container must not read.
const MASKED: [&str; 11] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
];
/// Paths of the kernel that it must not change.
const READ_ONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// Bytes of `/dev/shm` where nothing else is asked for.
const SHM_SIZE: i64 = 64 << 20;

/// A mount whose source is settled.
pub(super) struct Bind {
    pub source: PathBuf,
    pub target: String,
    pub read_only: bool,
}

/// The specification; `binds` beside the runtime's own mounts, in this order.
pub(super) fn specification(record: &Record, root: &Path, binds: &[Bind]) -> Value {
    let mut namespaces = vec!["pid", "ipc", "uts", "mount"];
    if record.network != Network::Host {
        namespaces.push("network");
    }
    if control_group::is_unified() {
        namespaces.push("cgroup");
    }
    let namespaces: Vec<Value> = namespaces.iter().map(|kind| json!({"type": kind})).collect();
    let mut linux = json!({
        "namespaces": namespaces,
        "cgroupsPath": control_group::path_of(&record.id),
        "resources": resources(record.limits),
        "rootfsPropagation": "private",
    });
    if !record.unmasked {
        linux["maskedPaths"] = json!(MASKED);
        linux["readonlyPaths"] = json!(READ_ONLY);
    }
    let mut sysctls = record.sysctls.clone();
    if record.network != Network::Host {
        // Docker's own since 20.10: ports below 1024 and pings need no privilege.
        sysctls.entry("net.ipv4.ip_unprivileged_port_start".to_owned()).or_insert_with(|| "0".to_owned());
        sysctls.entry("net.ipv4.ping_group_range".to_owned()).or_insert_with(|| "0 2147483647".to_owned());
    }
    linux["sysctl"] = json!(sysctls);
    json!({
        "ociVersion": "1.0.2",
        "root": {"path": root, "readonly": record.read_only_root},
        "hostname": record.hostname,
        "process": {
            "terminal": record.tty,
            "user": {"uid": 0, "gid": 0, "umask": 0o022},
            "args": record.argv,
            // Only to satisfy the runtime: the program's own comes with its exec.
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            "cwd": "/",
        },
        "mounts": mounts(record, binds),
        "linux": linux,
    })
}

/// No device but the usual ones, which the runtime adds; and the limits, as Docker sets them.
fn resources(limits: RecordedLimits) -> Value {
    const PERIOD: i64 = 100_000;
    const BILLION: i64 = 1_000_000_000;
    let mut resources = json!({"devices": [{"allow": false, "access": "rwm"}]});
    if let Some(memory) = limits.memory {
        // Swap is limited for both together.
        resources["memory"] = json!({"limit": memory, "swap": memory});
    }
    if let Some(nano_cpus) = limits.nano_cpus {
        resources["cpu"] = json!({"period": PERIOD, "quota": nano_cpus.saturating_mul(PERIOD) / BILLION});
    }
    if let Some(pids) = limits.pids {
        resources["pids"] = json!({"limit": pids});
    }
    resources
}

fn mounts(record: &Record, binds: &[Bind]) -> Vec<Value> {
    let shm = format!("size={}", if record.shm_size > 0 { record.shm_size } else { SHM_SIZE });
    let mount = |target: &str, kind: &str, source: &str, options: &[&str]| json!({"destination": target, "type": kind, "source": source, "options": options});
    let mut mounts = vec![
        mount("/proc", "proc", "proc", &["nosuid", "noexec", "nodev"]),
        mount("/dev", "tmpfs", "tmpfs", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "/dev/pts",
            "devpts",
            "devpts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("/sys", "sysfs", "sysfs", &["nosuid", "noexec", "nodev", "ro"]),
        mount("/sys/fs/cgroup", "cgroup", "cgroup", &["ro", "nosuid", "noexec", "nodev"]),
        mount("/dev/mqueue", "mqueue", "mqueue", &["nosuid", "noexec", "nodev"]),
        mount("/dev/shm", "tmpfs", "shm", &["nosuid", "noexec", "nodev", "mode=1777", &shm]),
    ];
    if record.network == Network::Host {
        // A sysfs of its own shows the network namespace that it was mounted in.
        mounts[3]["options"] = json!(["nosuid", "noexec", "nodev", "ro"]);
    }
    for (target, options) in &record.tmpfs {
        let mut all = vec!["noexec".to_owned(), "nosuid".to_owned(), "nodev".to_owned()];
        for option in options.split(',').filter(|option| !option.is_empty()) {
            // What is asked for goes before what is usual.
            all.retain(|usual| usual.strip_prefix("no") != Some(option));
            all.push(option.to_owned());
        }
        mounts.push(json!({"destination": target, "type": "tmpfs", "source": "tmpfs", "options": all}));
    }
    mounts.extend(binds.iter().map(|bind| {
        let mut options = vec!["rbind", "rprivate"];
        if bind.read_only {
            options.push("ro");
        }
        if control_group::is_unified() {
            // Where no controller keeps devices from being used, those in volumes lead nowhere.
            options.push("nodev");
        }
        json!({"destination": bind.target, "type": "bind", "source": bind.source, "options": options})
    }));
    // Parents come before what is mounted below them.
    mounts.sort_by_key(|mount| mount["destination"].as_str().unwrap_or_default().matches('/').count());
    mounts
}

#[cfg(test)]
mod tests {
    use super::super::create::tests::record;
    use super::*;

    #[test]
    fn the_specification_is_one_that_the_runtime_reads() {
        let mut record = record();
        record.tmpfs.insert("/run".to_owned(), "size=1m,exec".to_owned());
        (record.limits.pids, record.limits.memory) = (Some(32), Some(64 << 20));
        let binds = [Bind { source: "/x".into(), target: "/etc/hosts".to_owned(), read_only: false }];
        let value = specification(&record, Path::new("/root"), &binds);
        let spec: libcontainer::oci_spec::runtime::Spec = serde_json::from_value(value.clone()).unwrap();
        let resources = spec.linux().clone().unwrap().resources().clone().unwrap();
        assert_eq!(resources.memory().unwrap().limit(), Some(64 << 20));
        assert!(resources.pids().is_some());
        let mounts = spec.mounts().clone().unwrap();
        let run = mounts.iter().find(|mount| mount.destination() == Path::new("/run")).unwrap();
        assert_eq!(run.options().clone().unwrap(), ["nosuid", "nodev", "size=1m", "exec"]);
        let places: Vec<_> = mounts.iter().map(|mount| mount.destination().clone()).collect();
        let at = |path: &str| places.iter().position(|place| place == Path::new(path)).unwrap();
        assert!(at("/dev") < at("/dev/pts") && at("/sys") < at("/sys/fs/cgroup"));
        assert!(value["linux"]["seccomp"].is_null(), "libcontainer would install it too early");
    }

    #[test]
    fn the_hosts_network_is_no_namespace_and_has_no_settings_of_ours() {
        let record = Record { network: Network::Host, ..record() };
        let value = specification(&record, Path::new("/root"), &[]);
        assert!(!value["linux"]["namespaces"].to_string().contains("network"));
        assert_eq!(value["linux"]["sysctl"], json!({}));
    }
}
