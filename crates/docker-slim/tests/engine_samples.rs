//! On every sample, `build` with its fitting exercise gives a slim image that passes the sample's whole functional
//! check, without the decoys.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

mod common;

use common::{Context, Holdings, docker, engine_is_here, image_id, repository, run};
use std::fs;

fn slims_and_works(name: &str) {
    if !engine_is_here() {
        return;
    }
    let fat = format!("sample-{name}-app");
    run("scripts/sample-image", &[name]);
    let before = Holdings::now();
    let mut context = Context::new();
    let slim = format!("slimtest-{fat}.slim");
    context.remove_later(&slim);
    let sample = repository().join("samples").join(name);
    let flags = fs::read_to_string(sample.join("exercise.full")).unwrap();
    let mut arguments = vec!["build", "--tag", &slim];
    arguments.extend(flags.lines().filter(|line| !line.is_empty() && !line.starts_with('#')));
    arguments.push(&fat);
    let built = context.run_slim(&arguments);
    built.expect(0);

    run(sample.join("check").to_str().unwrap(), &[&slim]);
    run("scripts/check-decoys", &[&slim, sample.join("decoys").to_str().unwrap()]);
    let size = |image: &str| docker(&["image", "inspect", "-f", "{{.Size}}", image]).parse::<u64>().unwrap();
    assert!(size(&slim) * 2 < size(&fat), "{} is not much smaller than {}", size(&slim), size(&fat));
    same_config(&fat, &slim);
    assert!(image_id(&slim).is_some());
    drop(context);
    before.expect_again("at the end");
}

fn same_config(fat: &str, slim: &str) {
    for field in [
        "Env",
        "Entrypoint",
        "Cmd",
        "User",
        "WorkingDir",
        "ExposedPorts",
        "Volumes",
        "Labels",
        "StopSignal",
        "Healthcheck",
        "Shell",
        "OnBuild",
    ] {
        let of = |image: &str| {
            let config: serde_json::Value =
                serde_json::from_str(&docker(&["image", "inspect", "-f", "{{json .Config}}", image]))
                    .unwrap();
            match &config[field] {
                serde_json::Value::Array(list) if list.is_empty() => serde_json::Value::Null,
                serde_json::Value::Object(map) if map.is_empty() => serde_json::Value::Null,
                serde_json::Value::String(text) if text.is_empty() => serde_json::Value::Null,
                value => value.clone(),
            }
        };
        assert_eq!(of(fat), of(slim), "{field} differs");
    }
    let layers = docker(&["image", "inspect", "-f", "{{len .RootFS.Layers}}", slim]);
    assert_eq!(layers, "1", "a slim image has one content layer");
}

#[test]
fn the_slim_node_sample_passes_its_whole_check() {
    slims_and_works("node");
}

#[test]
fn the_slim_python_sample_passes_its_whole_check() {
    slims_and_works("python");
}

#[test]
fn the_slim_nginx_sample_passes_its_whole_check() {
    slims_and_works("nginx");
}

#[test]
fn the_slim_redis_sample_passes_its_whole_check() {
    slims_and_works("redis");
}

#[test]
fn the_slim_shell_sample_passes_its_whole_check() {
    slims_and_works("shell");
}

#[test]
fn the_slim_go_sample_passes_its_whole_check() {
    slims_and_works("go");
}

#[test]
fn the_slim_memcached_sample_passes_its_whole_check() {
    slims_and_works("memcached");
}

#[test]
fn the_slim_torture_sample_passes_its_whole_check() {
    slims_and_works("torture");
}
