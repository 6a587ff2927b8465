//! One trace, every engine: the same keep-set, the same slim image, and a check that passes on each. `scripts/corpus
//! --engine` does it, for all samples; here for those that the tests make anyway.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's failure is a panic, and it says why it is skipped"
)]

mod common;

use common::{Holdings, engine_is_here, run};
use std::process::Command;

fn is_the_same_on_every_engine(name: &str) {
    if !engine_is_here() {
        return;
    }
    run("scripts/sample-image", &[name]);
    let before = Holdings::now();
    let program = format!("--program={}", env!("CARGO_BIN_EXE_docker-slim"));
    let sample = format!("--sample={name}");
    // A development build takes more memory than what is released; how much is measured elsewhere.
    let mut arguments = vec!["--engine=embedded", "--no-make", "--memory=100000", &program, &sample];
    if Command::new("podman").arg("--version").output().is_ok_and(|output| output.status.success()) {
        arguments.push("--engine=podman");
    } else {
        println!("without Podman, which is not on this machine");
    }
    let table = run("scripts/corpus", &arguments);
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with(&format!("| {name} |"))).collect();
    assert_eq!(
        rows.len(),
        arguments.iter().filter(|word| word.starts_with("--engine")).count() + 1,
        "{table}"
    );
    assert!(rows.iter().all(|row| row.ends_with("| pass |")), "{table}");
    before.expect_again("at the end");
}

#[test]
fn node() {
    is_the_same_on_every_engine("node");
}

#[test]
fn python() {
    is_the_same_on_every_engine("python");
}

#[test]
fn nginx() {
    is_the_same_on_every_engine("nginx");
}

#[test]
fn redis() {
    is_the_same_on_every_engine("redis");
}

#[test]
fn shell() {
    is_the_same_on_every_engine("shell");
}

#[test]
fn go() {
    is_the_same_on_every_engine("go");
}

#[test]
fn memcached() {
    is_the_same_on_every_engine("memcached");
}

#[test]
fn torture() {
    is_the_same_on_every_engine("torture");
}
