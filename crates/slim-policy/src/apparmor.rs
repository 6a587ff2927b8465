//! An AppArmor profile: which paths with which permissions, which networks, which capabilities.
//!
//! Invariants: the text parses with `apparmor_parser -Q -K` whatever the paths are called, needs no file beside it (no
//! includes, no variables), and is the same for the same input.
//!
//! AppArmor matches the path that a look-up ends at; a rule stands for the resolved path and for the path as it was
//! named. Permissions: `r` read or list, `w` write, make, remove, `m` map executable, `ix` run under this same profile,
//! `Cx` run under one within it, `k` lock, `l` be the new name of a hard link.

mod capabilities;
mod helpers;
mod names;
mod network;
mod pattern;
mod permissions;
mod rules;
mod scope;

use crate::inputs::Inputs;
use pattern::{DIRECTORY, Pattern, TREE};
use permissions::Permissions;
use scope::Scope;
use slim_image::ImagePath;
use slim_trace::{MountKind, Trace};
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

/// What is handed in from outside has no path here, and what was removed keeps its own.
const FLAGS: &str = "flags=(attach_disconnected,mediate_deleted)";

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

/// The profile's text, with those of helpers within it.
#[must_use]
pub fn apparmor(trace: &Trace, inputs: &Inputs) -> String {
    let name = profile_name(&inputs.name);
    let mut text = format!("profile {name} {FLAGS} {{\n");
    let scopes = helpers::scopes(trace, inputs, &name);
    let (main, helpers) = scopes.split_first().expect("the main profile is always there");
    write_rules(&mut text, main, &scopes);
    for helper in helpers {
        let mut own = format!("profile {} {FLAGS} {{\n", helper.name);
        write_rules(&mut own, helper, &scopes);
        own.push_str("}\n");
        text.push('\n');
        for line in own.lines() {
            let _ = if line.is_empty() { writeln!(text) } else { writeln!(text, "  {line}") };
        }
    }
    text.push_str("}\n");
    text
}

fn write_rules(text: &mut String, scope: &Scope<'_>, scopes: &[Scope<'_>]) {
    write_lines(text, "Networks that were opened.", &network::rules(scope));
    let capabilities = match &scope.inputs.needed_capabilities {
        Some(_) => "Capabilities that it does not do without: all others were taken away.",
        None => "Capabilities that the container had; which ones were used is not known.",
    };
    write_lines(text, capabilities, &capabilities::rules(scope));
    write_lines(text, "Its own processes, and signals from the engine.", &peers(scope, scopes));
    text.push_str(BASICS);
    write_lines(text, "Mounts and volumes: what they hold is not the image's.", &mounts(scope.trace));
    write_lines(
        text,
        "Helpers with needs of their own run under profiles of their own.",
        &transitions(scope),
    );
    write_lines(text, "The image's files, and those that the program made.", &files(scope));
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

/// Reading what /proc tells of one's own processes is asked as ptrace's `read`, and no trace shows it; tracing is allowed
/// to who was seen to trace. One's own are those of all of the container's profiles.
fn peers(scope: &Scope<'_>, scopes: &[Scope<'_>]) -> BTreeSet<String> {
    let traces = |scope: &Scope<'_>| calls(scope, &["ptrace", "process_vm_readv", "process_vm_writev"]);
    let mut ptrace = "read, readby".to_owned();
    if traces(scope) {
        ptrace.push_str(", trace");
    }
    if scopes.iter().any(traces) {
        ptrace.push_str(", tracedby");
    }
    let mut rules: BTreeSet<String> =
        ["crun", "runc", "unconfined"].map(|engine| format!("signal (receive) peer={engine},")).into();
    for other in scopes {
        let name = other.full_name();
        rules.insert(format!("ptrace ({ptrace}) peer={name},"));
        rules.insert(format!("signal (receive, send) peer={name},"));
    }
    rules
}

/// Whether a process of the profile called one of these and was let.
fn calls(scope: &Scope<'_>, names: &[&str]) -> bool {
    scope.system_calls().any(|record| names.iter().any(|name| record.calls.contains(*name)))
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

/// With `C` the environment is cleaned as for set-id programs: a library of the caller's choice would run with what the
/// helper alone may do.
fn transitions(scope: &Scope<'_>) -> BTreeSet<String> {
    let rule = |(path, name): (&ImagePath, &String)| format!("{} Cx -> {name},", Pattern::exact(path));
    scope.helpers.iter().map(rule).collect()
}

fn files(scope: &Scope<'_>) -> BTreeSet<String> {
    let rules: BTreeMap<Pattern, Permissions> = rules::file_rules(scope);
    rules
        .into_iter()
        .filter(|(_, permissions)| !permissions.is_empty())
        .map(|(pattern, permissions)| format!("{pattern} {permissions},"))
        .collect()
}
