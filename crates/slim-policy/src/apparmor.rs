//! An AppArmor profile: which paths with which permissions, which networks, which capabilities.
//!
//! Invariants: the text parses with `apparmor_parser -Q -K` whatever the paths are called, needs no file beside it (no
//! includes, no variables), and is the same for the same input.
//!
//! AppArmor matches the path that a look-up ends at; a rule stands for the resolved path and for the path as it was
//! named. Permissions: `r` read or list, `w` write, make, remove, `m` map executable, `ix` run under this same profile,
//! `k` lock, `l` be the new name of a hard link.

mod names;
mod network;
mod pattern;
mod rules;

use crate::inputs::Inputs;
use pattern::{DIRECTORY, Pattern, TREE};
use slim_trace::{MountKind, Phase, Trace};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// What every program may do, whoever it is: the kernel's file systems, the devices that an engine makes, the files
/// that it lays over the image, docker-init. Read access to /proc and /sys as in a container without AppArmor; writing
/// there only to one's own processes. The refusals are those of Docker's own profile (moby's
/// `profiles/apparmor/template.go`).
const BASICS: &str = "  # The kernel's file systems, the engine's devices and the engine's own files.
  / r,
  /proc/{,**} r,
  owner /proc/[0-9]*/{,**} rw,
  /sys/{,**} r,
  /dev/ r,
  /dev/{null,zero,full,random,urandom,tty,console,ptmx} rw,
  /dev/{fd,stdin,stdout,stderr,core} r,
  /dev/pts/{,*} rw,
  /dev/shm/{,**} rwkl,
  /dev/mqueue/{,**} rw,
  /etc/{hosts,hostname,resolv.conf,mtab} r,
  /{.dockerenv,run/.containerenv} r,
  /run/secrets/{,**} r,
  /{sbin/docker-init,dev/init} mrix,

  # As in docker-default.
  deny /proc/sysrq-trigger rwklx,
  deny /proc/kcore rwklx,
  deny /proc/sys/[^k]** w,
  deny /proc/sys/kernel/{?,??,[^s][^h][^m]**} w,
  deny /sys/[^f]*/** wklx,
  deny /sys/f[^s]*/** wklx,
  deny /sys/fs/[^c]*/** wklx,
  deny /sys/fs/c[^g]*/** wklx,
  deny /sys/fs/cg[^r]*/** wklx,
  deny /sys/firmware/** rwklx,
  deny /sys/devices/virtual/powercap/** rwklx,
  deny /sys/kernel/security/** rwklx,

";

/// The name under which the profile is loaded: the repository's own with anything but letters, digits, `.`, `_` and
/// `-` as a dash, and `-apparmor-profile`.
#[must_use]
pub fn profile_name(repository: &str) -> String {
    let name: String = repository
        .chars()
        .map(
            |character| {
                if character.is_ascii_alphanumeric() || "._-".contains(character) { character } else { '-' }
            },
        )
        .collect();
    let name = name.trim_start_matches(['.', '-', '_']);
    if name.is_empty() { "image-apparmor-profile".to_owned() } else { format!("{name}-apparmor-profile") }
}

/// The profile's text.
#[must_use]
pub fn apparmor(trace: &Trace, inputs: &Inputs) -> String {
    let name = profile_name(&inputs.name);
    let mut text = format!("profile {name} flags=(attach_disconnected,mediate_deleted) {{\n");
    write_lines(&mut text, "Networks that were opened.", &network::rules(trace));
    write_lines(
        &mut text,
        "Capabilities that the container had; which ones were used is not known.",
        &capabilities(inputs),
    );
    write_lines(&mut text, "Its own processes, and signals from the engine.", &peers(trace, &name));
    text.push_str(BASICS);
    write_lines(&mut text, "Mounts and volumes: what they hold is not the image's.", &mounts(trace));
    write_lines(&mut text, "The image's files, and those that the program made.", &files(trace, inputs));
    text.push_str("}\n");
    text
}

fn write_lines(text: &mut String, heading: &str, lines: &BTreeSet<String>) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(text, "  # {heading}");
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
    text.push('\n');
}

fn capabilities(inputs: &Inputs) -> BTreeSet<String> {
    let names = inputs.capabilities.iter().map(|name| name.trim_start_matches("CAP_").to_ascii_lowercase());
    names
        .filter(|name| !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
        .map(|name| if name == "all" { "capability,".to_owned() } else { format!("capability {name},") })
        .collect()
}

/// Reading what /proc tells of one's own processes is asked as ptrace's `read`, and no trace shows it; tracing is allowed
/// to who was seen to trace.
fn peers(trace: &Trace, name: &str) -> BTreeSet<String> {
    let traces = calls(trace, &["ptrace", "process_vm_readv", "process_vm_writev"]);
    let ptrace = if traces { "read, readby, trace, tracedby" } else { "read, readby" };
    BTreeSet::from([
        format!("ptrace ({ptrace}) peer={name},"),
        format!("signal (receive, send) peer={name},"),
        "signal (receive) peer=crun,".to_owned(),
        "signal (receive) peer=runc,".to_owned(),
        "signal (receive) peer=unconfined,".to_owned(),
    ])
}

/// Whether a process of the program called one of these and was let.
fn calls(trace: &Trace, names: &[&str]) -> bool {
    let of_program = |phase| matches!(phase, Phase::Startup | Phase::Exercise | Phase::Shutdown);
    let records = trace.system_calls.iter().filter(|record| of_program(record.phase));
    records.into_iter().any(|record| names.iter().any(|name| record.calls.contains(*name)))
}

/// Volumes and binds may be read, written and locked in; what lies there is not run or mapped unless it was seen.
fn mounts(trace: &Trace) -> BTreeSet<String> {
    const ENGINE: [&str; 10] = [
        "/proc",
        "/sys",
        "/dev",
        "/etc/hosts",
        "/etc/hostname",
        "/etc/resolv.conf",
        "/sbin/docker-init",
        "/run/secrets",
        "/run/.containerenv",
        "/.dockerenv",
    ];
    let mut lines = BTreeSet::new();
    for mount in trace.mounts.iter().filter(|mount| mount.kind != MountKind::Root && !mount.path.is_root()) {
        if mount.kind == MountKind::Other && ENGINE.iter().any(|own| mount.path.is_within(&(*own).into())) {
            continue;
        }
        lines.insert(format!("{} rwkl,", Pattern::exact(&mount.path)));
        lines.insert(format!("{} rwkl,", Pattern::exact(&mount.path).then(DIRECTORY).then(TREE)));
        lines.insert(format!("{} rw,", Pattern::exact(&mount.path).then(DIRECTORY)));
    }
    lines
}

fn files(trace: &Trace, inputs: &Inputs) -> BTreeSet<String> {
    let rules: BTreeMap<Pattern, rules::Permissions> = rules::file_rules(trace, inputs);
    rules
        .into_iter()
        .filter(|(_, permissions)| !permissions.is_empty())
        .map(|(pattern, permissions)| format!("{pattern} {permissions},"))
        .collect()
}
