//! A policy as settings of a systemd unit, for a program that runs without a container engine.
//!
//! An allow-list of systemd has one errno for all that it lacks, so that it is ENOSYS here: with EPERM a libc would not
//! fall back to what it did before (clone3, faccessat2 …). Arguments cannot be compared; where systemd has a setting of its
//! own for what a condition says, it is set.

use crate::formats::kubernetes::one_line;
use crate::formats::rules::{Form, NO_NEW_NAMESPACES, NO_VIRTUAL_MACHINE_SOCKETS, Rule, USUAL_PERSONALITIES};
use crate::profile::{Argument, Operator};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// What is needed to become the unit's program, under the filter that systemd has installed by then.
const OF_SYSTEMD: &str = "execve";

/// The drop-in file, ending in a line feed.
pub(crate) fn drop_in(form: &Form, name: &str) -> String {
    let mut text = format!(
        "# What {} may do. Goes to /etc/systemd/system/<unit>.service.d/seccomp.conf\n[Service]\n\
         SystemCallArchitectures={}\n\
         # Refused calls are answered as by a kernel that does not know them, so that libc falls back.\n\
         SystemCallErrorNumber=ENOSYS\n",
        one_line(name),
        architectures(form)
    );
    let mut named: BTreeSet<String> = BTreeSet::new();
    let passing: Vec<&Rule> = form.rules.iter().filter(|rule| rule.action.lets_pass()).collect();
    for rule in &passing {
        // A rule for each of several values names the same calls.
        let names: Vec<&str> =
            rule.names.iter().filter(|name| named.insert((*name).clone())).map(String::as_str).collect();
        if !names.is_empty() {
            if let Some(comment) = &rule.comment {
                let _ = writeln!(text, "# {}", one_line(comment));
            }
            let _ = writeln!(text, "SystemCallFilter={}", names.join(" "));
        }
    }
    if !named.contains(OF_SYSTEMD) {
        let _ = writeln!(text, "# systemd runs the program by it\nSystemCallFilter={OF_SYSTEMD}");
    }
    let compares = |call: &str, is_it: &dyn Fn(&Argument) -> bool| {
        let mut rules = passing.iter().filter(|rule| rule.names.iter().any(|name| name == call)).peekable();
        rules.peek().is_some() && rules.all(|rule| rule.arguments.iter().any(is_it))
    };
    for (is_said, setting) in [
        (
            compares("clone", &|argument| *argument == NO_NEW_NAMESPACES),
            "# clone makes no namespaces\nRestrictNamespaces=yes",
        ),
        (
            compares("personality", &|argument| {
                argument.operator == Operator::Equal && USUAL_PERSONALITIES.contains(&argument.value)
            }),
            "# personality is not changed\nLockPersonality=yes",
        ),
        (
            compares("socket", &|argument| *argument == NO_VIRTUAL_MACHINE_SOCKETS),
            "# no sockets to the host of a virtual machine\nRestrictAddressFamilies=~AF_VSOCK",
        ),
    ] {
        if is_said {
            let _ = writeln!(text, "{setting}");
        }
    }
    text
}

/// The machine's own binary interface, and the others that the profile has rules for, as systemd names them.
fn architectures(form: &Form) -> String {
    let others = form.architectures.iter().skip(1).filter_map(|name| match name.as_str() {
        "SCMP_ARCH_X86" => Some("x86"),
        "SCMP_ARCH_X32" => Some("x32"),
        "SCMP_ARCH_ARM" => Some("arm"),
        _ => None,
    });
    std::iter::once("native").chain(others).collect::<Vec<_>>().join(" ")
}
