//! The sidecar observer: a user without any capability, and an engine that is reached by TCP, as one on another machine is.
//! The engine is a second dockerd of the test's own.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's failure is a panic; one that is skipped says why"
)]

mod common;

use common::second_engine::SecondEngine;
use common::{Context, Finished, repository, run};
use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::chown;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Nobody: no such user is known here.
const USER: u32 = 61_234;
const SOON: Duration = Duration::from_secs(60);
const SIDECARS: &str = "label=docker-slim.role=sidecar";
/// What the observer is answerable for. At other levels there is one more difference: which layer holds a file is known only
/// where the engine's own layers can be read, and what is of no package counts as the application's elsewhere.
const OBSERVED: &str = "--keep=observed";
const OURS: &str = "label=docker-slim.run.id";

/// The program as the user without capabilities, in a folder of the user's.
fn as_user(folder: &Path, arguments: &[&str]) -> Command {
    chown(folder, Some(USER), Some(USER)).unwrap();
    let user = USER.to_string();
    let mut command = Command::new("setpriv");
    command
        .args(["--reuid", &user, "--regid", &user, "--clear-groups"])
        .args(["--bounding-set=-all", "--inh-caps=-all", "--"])
        .arg(env!("CARGO_BIN_EXE_docker-slim"))
        .args(arguments)
        .env("HOME", folder)
        .env_remove("DOCKER_HOST")
        .current_dir(folder)
        .stdin(Stdio::null());
    command
}

fn run_as_user(folder: &Path, arguments: &[&str]) -> Finished {
    Finished::of(as_user(folder, arguments).output().unwrap())
}

/// The paths of the only image's keep-set.
fn kept(folder: &Path) -> BTreeSet<String> {
    let image = fs::read_dir(folder.join(".images")).unwrap().next().unwrap().unwrap().path();
    let text = fs::read_to_string(image.join("artifacts/keep.json")).unwrap();
    let keep: serde_json::Value = serde_json::from_str(&text).unwrap();
    keep["entries"].as_object().unwrap().keys().cloned().collect()
}

fn exercise(sample: &str) -> Vec<String> {
    let flags = fs::read_to_string(repository().join("samples").join(sample).join("exercise.full")).unwrap();
    flags.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

#[test]
fn a_user_of_a_far_engine_gets_what_root_gets_on_its_own() {
    let Some(engine) = SecondEngine::start() else { return };
    for sample in ["node", "redis"] {
        let fat = format!("sample-{sample}-app");
        run("scripts/sample-image", &[sample]);
        engine.load(&fat);
        let before = engine.holdings();
        let slim = format!("slimtest-{sample}.slim");
        let flags = exercise(sample);
        let flags: Vec<&str> = flags.iter().map(String::as_str).collect();

        let here = Context::new();
        let local = [&["build", "--observer=local", OBSERVED, "--tag", &slim], &flags[..], &[&fat]].concat();
        here.run_slim(&local).expect(0);
        run("docker", &["rmi", &slim]);

        let there = Context::new();
        let far =
            [&["build", "--host", &engine.address, OBSERVED, "--tag", &slim], &flags[..], &[&fat]].concat();
        let built = run_as_user(there.folder.path(), &far);
        built.expect(0);
        assert!(built.stderr.contains("a sidecar container watches; the engine at tcp"), "{}", built.stderr);
        assert!(built.stdout.contains("verification:"), "{}", built.stdout);

        let (here, there) = (kept(here.folder.path()), kept(there.folder.path()));
        let differ: Vec<&String> = here.symmetric_difference(&there).collect();
        assert!(differ.is_empty(), "{sample}: {differ:?}");
        assert!(here.len() > 5, "{here:?}");

        engine.docker(&["rmi", &slim]);
        assert_eq!(engine.holdings(), before, "nothing is left behind");
    }
    assert!(engine.holds_sidecar_image(), "it stays for the next build");
    let folder = Context::new();
    let prune = ["store", "prune", "--engine", "--host", &engine.address];
    let pruned = run_as_user(folder.folder.path(), &prune);
    pruned.expect(0);
    assert!(pruned.stdout.contains("removed docker-slim.sidecar:"), "{}", pruned.stdout);
    assert!(!engine.holds_sidecar_image());
}

/// A web server that takes no time to start, on the second engine; the name of its image.
fn small_image(engine: &SecondEngine, context: &Context) -> String {
    let page = ("/www/index.html", 0o644, "<html>hello</html>");
    let tar = context.busybox_archive("sidecar", &[page, ("/usr/share/unused", 0o644, "x")]);
    let name = "slimtest-sidecar".to_owned();
    let changes = ["--change", common::SERVE, "--change", "EXPOSE 8000"];
    engine.docker(&[&["import"][..], &changes, &[tar.to_str().unwrap(), &name]].concat());
    name
}

#[test]
fn a_user_who_may_talk_to_the_engine_of_this_machine_is_helped_by_a_sidecar() {
    let Some(engine) = SecondEngine::start() else { return };
    let context = Context::new();
    let image = small_image(&engine, &context);
    let before = engine.holdings();
    let user = Context::new();
    let folder = user.folder.path();

    let refused = run_as_user(folder, &["build", "--observer=local", "--host", &engine.socket(), &image]);
    refused.expect(3);
    assert!(refused.stderr.contains("capabilities"), "{}", refused.stderr);

    let test =
        r#"test "$(curl --silent http://$DOCKER_SLIM_HOST:$DOCKER_SLIM_PORT_8000/)" = "<html>hello</html>""#;
    let host = r#"test "$(curl --silent http://127.0.0.1:$SLIM_PORT_8000/)" = "<html>hello</html>""#;
    for address in [engine.socket(), engine.address.clone()] {
        let built = run_as_user(
            folder,
            &["build", "--host", &address, "--verify-cmd", test, "--host-exec", host, &image],
        );
        built.expect(0);
        assert!(built.stderr.contains("a sidecar container watches"), "{}", built.stderr);
        assert!(built.stdout.contains("same answers"), "{}", built.stdout);
        assert!(kept(folder).contains("/www/index.html") && !kept(folder).contains("/usr/share/unused"));
        engine.docker(&["rmi", &format!("{image}.slim")]);
        assert_eq!(engine.holdings(), before, "nothing is left behind");
    }

    // From a trace: what the program uses is known, and trials are watched all the same.
    let trace = folder.join("trace.json");
    let profile = ["profile", "--host", &engine.address, "--trace-out", trace.to_str().unwrap(), &image];
    run_as_user(folder, &profile).expect(0);
    let from_trace = ["build", "--host", &engine.address, "--from-trace", trace.to_str().unwrap(), &image];
    run_as_user(folder, &from_trace).expect(0);
    engine.docker(&["rmi", &format!("{image}.slim")]);
    assert_eq!(engine.holdings(), before, "nothing is left behind");
}

/// A build that holds its container until it is told to go on, which it never is.
fn held(folder: &Path, engine: &SecondEngine, image: &str) -> Child {
    let held = ["build", "--host", &engine.address, "--http-probe-off", "--continue-after=600", image];
    as_user(folder, &held).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
}

#[test]
fn whoever_is_killed_leaves_nothing_that_is_not_swept() {
    let Some(engine) = SecondEngine::start() else { return };
    let context = Context::new();
    let image = small_image(&engine, &context);
    let before = engine.holdings();
    let user = Context::new();
    let folder = user.folder.path();

    // The program.
    let mut build = held(folder, &engine, &image);
    let sidecar = engine.container(SIDECARS);
    engine.container("label=docker-slim.role=fat");
    build.kill().unwrap();
    build.wait().unwrap();
    let began = Instant::now();
    while engine.docker(&["inspect", "--format", "{{.State.Running}}", &sidecar]) == "true" {
        assert!(began.elapsed() < SOON, "the sidecar goes on without anybody to talk to");
        std::thread::sleep(Duration::from_millis(50));
    }
    assert!(!engine.docker(&["ps", "--all", "--quiet", "--filter", OURS]).is_empty());
    run_as_user(folder, &["store", "prune", "--engine", "--host", &engine.address]).expect(0);
    assert_eq!(engine.holdings(), before, "the next run sweeps what was left");

    // The sidecar.
    let build = held(folder, &engine, &image);
    let sidecar = engine.container(SIDECARS);
    engine.container("label=docker-slim.role=fat");
    engine.docker(&["kill", &sidecar]);
    let ended = Finished::of(build.wait_with_output().unwrap());
    ended.expect(3);
    assert!(ended.stderr.contains("sidecar container") && ended.stderr.contains("137"), "{}", ended.stderr);
    assert_eq!(engine.holdings(), before, "nothing is left behind");

    // The engine.
    let mut engine = engine;
    let build = held(folder, &engine, &image);
    engine.container("label=docker-slim.role=fat");
    engine.kill();
    let ended = Finished::of(build.wait_with_output().unwrap());
    ended.expect(3);
    assert!(ended.stderr.contains("engine"), "{}", ended.stderr);
    // It comes back, with what it held, and its helper's leftovers.
    engine.come_up();
    run_as_user(folder, &["store", "prune", "--engine", "--host", &engine.address]).expect(0);
    assert_eq!(engine.holdings(), before, "the next run sweeps what was left");
}
