//! A policy as settings of a systemd unit, for a program that runs without a container engine.
//!
//! An allow-list of systemd has one errno for all that it lacks, so that it is ENOSYS here: with EPERM a libc would not
//! fall back to what it did before (clone3, faccessat2 …). Arguments cannot be compared; where systemd has a setting of its
//! own for what a condition says, it is set.

use crate::formats::kubernetes::one_line;
use crate::formats::rules::{Outcome, rules};
use crate::policy::{Condition, Policy};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What is needed to become the unit's program, under the filter that systemd has installed by then.
const OF_SYSTEMD: &str = "execve";

/// The drop-in file, ending in a line feed.
pub(crate) fn drop_in(policy: &Policy, name: &str) -> String {
    let mut text = format!(
        "# What {} may do. Goes to /etc/systemd/system/<unit>.service.d/seccomp.conf\n[Service]\n\
         SystemCallArchitectures=native\n\
         # Refused calls are answered as by a kernel that does not know them, so that libc falls back.\n\
         SystemCallErrorNumber=ENOSYS\n",
        one_line(name)
    );
    let mut named: BTreeSet<String> = BTreeSet::new();
    for rule in rules(policy).iter().filter(|rule| rule.outcome == Outcome::Allow) {
        // A rule for each of several values names the same calls.
        let names: Vec<&str> =
            rule.names.iter().filter(|name| named.insert((*name).clone())).map(String::as_str).collect();
        if !names.is_empty() {
            let _ = writeln!(text, "# {}\nSystemCallFilter={}", one_line(&rule.comment), names.join(" "));
        }
    }
    if !named.contains(OF_SYSTEMD) {
        let _ = writeln!(text, "# systemd runs the program by it\nSystemCallFilter={OF_SYSTEMD}");
    }
    let conditions: BTreeSet<&Condition> =
        policy.allowed.iter().filter_map(|allowed| allowed.condition.as_ref()).collect();
    for (condition, setting) in [
        (Condition::NoNewNamespaces, "# clone makes no namespaces\nRestrictNamespaces=yes"),
        (Condition::UsualPersonalities, "# personality is not changed\nLockPersonality=yes"),
        (
            Condition::NoVirtualMachineSockets,
            "# no sockets to the host of a virtual machine\nRestrictAddressFamilies=~AF_VSOCK",
        ),
    ] {
        if conditions.contains(&condition) {
            let _ = writeln!(text, "{setting}");
        }
    }
    text
}
