//! The forms that a policy is written in, each read by what reads it in the field where that can be had.
#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod common;
#[path = "common/server.rs"]
mod server;

use server::server;
use slim_policy::{
    Format, Inputs, Mode, Policy, PolicyFile, SeccompProfile, after_entrypoint, counts, decide,
};
use std::collections::BTreeSet;
use std::process::Command;

fn policy() -> Policy {
    let (trace, inputs) = server();
    decide(&trace, &Inputs { mode: Mode::Strict, ..inputs })
}

fn written(format: Format) -> String {
    String::from_utf8(policy().written(format, "registry.local/team/app")).unwrap()
}

fn allowed() -> BTreeSet<String> {
    policy().names().map(str::to_owned).collect()
}

#[test]
fn oci_runtimes_read_the_same_calls() {
    let seccomp: oci_spec::runtime::LinuxSeccomp = serde_json::from_str(&written(Format::Oci)).unwrap();
    assert_eq!(seccomp.default_action(), oci_spec::runtime::LinuxSeccompAction::ScmpActErrno);
    assert_eq!(seccomp.default_errno_ret(), Some(1));
    let rules = seccomp.syscalls().clone().unwrap();
    let allow = |rule: &&oci_spec::runtime::LinuxSyscall| {
        rule.action() == oci_spec::runtime::LinuxSeccompAction::ScmpActAllow
    };
    let names: BTreeSet<String> = rules.iter().filter(allow).flat_map(|rule| rule.names().clone()).collect();
    assert_eq!(names, allowed());
    let clone3 = rules.iter().find(|rule| rule.names().iter().any(|name| name == "clone3")).unwrap();
    assert_eq!(clone3.errno_ret(), Some(38));
}

#[test]
fn podman_takes_dockers_form() {
    assert_eq!(written(Format::Podman), written(Format::Docker));
}

#[test]
fn the_operator_reads_the_same_calls_with_a_comment_each() {
    let text = written(Format::Kubernetes);
    let profile: serde_json::Value = yaml_serde::from_str(&text).unwrap();
    assert_eq!(profile["kind"], "SeccompProfile");
    assert_eq!(profile["metadata"]["name"], "registry-local-team-app");
    let rules = profile["spec"]["syscalls"].as_array().unwrap();
    let mut names = BTreeSet::new();
    for rule in rules.iter().filter(|rule| rule["action"] == "SCMP_ACT_ALLOW") {
        names.extend(rule["names"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()));
    }
    assert_eq!(names, allowed());
    assert_eq!(text.matches("\n    # ").count(), rules.len());
    let pod: serde_json::Value = yaml_serde::from_str(&written(Format::KubernetesLocalhost)).unwrap();
    let named = &pod["securityContext"]["seccompProfile"];
    assert_eq!(named["type"], "Localhost");
    assert_eq!(named["localhostProfile"], "profiles/registry-local-team-app.json");
}

#[test]
fn systemd_reads_its_settings() {
    let text = written(Format::Systemd);
    let mut names = BTreeSet::new();
    for line in text.lines() {
        names.extend(
            line.strip_prefix("SystemCallFilter=")
                .into_iter()
                .flat_map(str::split_whitespace)
                .map(str::to_owned),
        );
    }
    assert_eq!(names, allowed());
    assert!(text.contains("RestrictNamespaces=yes") && text.contains("LockPersonality=yes"));
    let folder = tempfile::tempdir().unwrap();
    let unit = folder.path().join("probe.service");
    std::fs::write(&unit, format!("[Unit]\nDescription=x\n{text}ExecStart=/bin/true\n")).unwrap();
    let Ok(output) = Command::new("systemd-analyze").arg("verify").arg(&unit).output() else {
        println!("skipped in part: systemd-analyze is not installed");
        return;
    };
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    let ours: Vec<&str> = told.lines().filter(|line| line.contains("probe.service")).collect();
    assert!(ours.is_empty(), "{told}");
    // And it does find what is wrong.
    std::fs::write(
        &unit,
        format!("[Unit]\nDescription=x\n{text}SystemCallFilter=@no-such-set\nExecStart=/bin/true\n"),
    )
    .unwrap();
    let output = Command::new("systemd-analyze").arg("verify").arg(&unit).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("no-such-set"));
}

#[test]
fn systemd_lets_programs_of_every_binary_interface_of_the_profile_run() {
    let json = r#"{"defaultAction":"SCMP_ACT_ERRNO","architectures":["SCMP_ARCH_X86_64","SCMP_ARCH_X86"]}"#;
    let profile = SeccompProfile::read(json.as_bytes(), "amd64", &BTreeSet::new()).unwrap();
    let text = String::from_utf8(profile.written(Format::Systemd, "app")).unwrap();
    assert!(text.contains("SystemCallArchitectures=native x86\n"), "{text}");
    assert!(written(Format::Systemd).contains("SystemCallArchitectures=native\n"));
}

#[test]
fn every_form_has_the_same_bytes_each_time() {
    for format in
        [Format::Docker, Format::Oci, Format::Kubernetes, Format::KubernetesLocalhost, Format::Systemd]
    {
        assert_eq!(written(format), written(format));
        assert!(written(format).ends_with('\n'));
    }
}

#[test]
fn a_policy_file_is_read_as_it_was_written() {
    let (trace, inputs) = server();
    let file = PolicyFile::new(
        &trace,
        "app",
        &policy(),
        after_entrypoint(&trace, &inputs, &policy()),
        counts(&trace, &inputs),
    );
    assert_eq!(PolicyFile::from_json(&file.to_json()).unwrap(), file);
    let newer = String::from_utf8(file.to_json()).unwrap().replacen("\"version\": 1", "\"version\": 9", 1);
    let error = PolicyFile::from_json(newer.as_bytes()).unwrap_err();
    assert_eq!(error.to_string(), "read the policy: it has version 9, this program reads version 1");
}
