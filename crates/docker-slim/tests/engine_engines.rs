//! One trace, Docker and the embedded engine: the same keep-set and the same slim image. `scripts/corpus --engine` does it,
//! for all samples and with Podman, and runs the samples' checks there.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's failure is a panic, and it says why it is skipped"
)]

mod common;

use common::{Holdings, engine_is_here, run};

fn is_the_same_on_both_engines(name: &str) {
    if !engine_is_here() {
        return;
    }
    run("scripts/sample-image", &[name]);
    let before = Holdings::now();
    let program = format!("--program={}", env!("CARGO_BIN_EXE_docker-slim"));
    let sample = format!("--sample={name}");
    // A development build takes more memory than what is released; how much is measured elsewhere.
    let arguments = ["--engine=embedded", "--no-make", "--no-check", "--memory=100000", &program, &sample];
    let table = run("scripts/corpus", &arguments);
    let row = table.lines().find(|line| line.starts_with(&format!("| {name} | embedded |")));
    let row = row.unwrap_or_else(|| panic!("{table}"));
    assert!(row.contains("| same | same |") && row.ends_with("| pass |"), "{table}");
    before.expect_again("at the end");
}

#[test]
fn the_go_sample_is_the_same_on_both_engines() {
    is_the_same_on_both_engines("go");
}

#[test]
fn the_nginx_sample_is_the_same_on_both_engines() {
    is_the_same_on_both_engines("nginx");
}

#[test]
fn the_redis_sample_is_the_same_on_both_engines() {
    is_the_same_on_both_engines("redis");
}
