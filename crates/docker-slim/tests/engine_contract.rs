//! The run contract, found by trying: samples hold under all of it, with a workload that nobody observed, and refuse what
//! their programs never do; what a program needs is found; `harden` leaves the image as it is.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

mod common;

use common::{Context, Holdings, SERVE, docker, engine_is_here, image_id, repository, run};
use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The folder of artifacts that the report names.
fn artifacts(context: &Context) -> PathBuf {
    let report = json(&context.path("slim.report.json"));
    context.path(report["artifacts_folder"].as_str().unwrap())
}

fn written_contract(context: &Context) -> Value {
    json(&artifacts(context).join("run-contract.json"))
}

/// Options of `docker run` for the whole contract, seccomp profile and all.
fn options(context: &Context) -> Vec<String> {
    let contract = written_contract(context);
    let profile = artifacts(context).join(contract["seccomp"].as_str().unwrap());
    let options =
        contract["options"].as_array().unwrap().iter().map(|option| option.as_str().unwrap().to_owned());
    options.chain([format!("--security-opt=seccomp={}", profile.display())]).collect()
}

/// The static program that tries what nobody may do.
fn stranger(context: &Context) -> String {
    let program = context.path("stranger").display().to_string();
    run("cc", &["-static", "-O1", "-o", &program, "scripts/lib/stranger.c"]);
    program
}

fn exercise(name: &str) -> Vec<String> {
    let text = fs::read_to_string(repository().join("samples").join(name).join("exercise.full")).unwrap();
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// Requests as (port, method, path, body).
fn requests(exchanges: &Value) -> BTreeSet<String> {
    let exchanges = exchanges.as_array().map(Vec::as_slice).unwrap_or_default();
    exchanges
        .iter()
        .map(|exchange| {
            let request = &exchange["request"];
            format!("{} {} {} {}", request["port"], request["method"], request["path"], request["body"])
        })
        .collect()
}

fn holds_under_its_contract(name: &str) {
    if !engine_is_here() {
        return;
    }
    run("scripts/sample-image", &[name]);
    let before = Holdings::now();
    let mut context = Context::new();
    let (fat, slim) = (format!("sample-{name}-app"), format!("slimtest-contract-{name}"));
    context.remove_later(&slim);
    let mut arguments = vec!["build".to_owned(), format!("--tag={slim}")];
    arguments.extend(exercise(name));
    arguments.push(fat);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let built = context.run_slim(&arguments);
    built.expect(0);
    assert!(built.stdout.contains("\nrun contract: "), "{}", built.stdout);

    let options = options(&context);
    let mut words = vec![slim.as_str()];
    words.extend(options.iter().map(String::as_str));
    run(repository().join("samples").join(name).join("check").to_str().unwrap(), &words);

    let (folder, record) = (artifacts(&context), context.path("second.json"));
    let (program, stranger) = (env!("CARGO_BIN_EXE_docker-slim"), stranger(&context));
    run(
        "scripts/second-workload",
        &[
            "--artifacts",
            folder.to_str().unwrap(),
            "--program",
            program,
            "--attack",
            &stranger,
            "--record",
            record.to_str().unwrap(),
            name,
            &slim,
        ],
    );
    let first = fs::read(folder.join("recording.json")).map_or(Value::Null, |bytes| {
        let recording: Value = serde_json::from_slice(&bytes).unwrap();
        recording["exchanges"].clone()
    });
    let (first, second) = (requests(&first), requests(&json(&record)["hardened"]["exchanges"]));
    assert!(first.is_disjoint(&second), "{:?}", first.intersection(&second));
    drop(context);
    before.expect_again("at the end");
}

#[test]
fn the_node_sample_holds_under_its_contract_with_another_workload() {
    holds_under_its_contract("node");
}

#[test]
fn the_python_sample_holds_under_its_contract_with_another_workload() {
    holds_under_its_contract("python");
}

#[test]
fn the_nginx_sample_holds_under_its_contract_with_another_workload() {
    holds_under_its_contract("nginx");
}

#[test]
fn the_redis_sample_holds_under_its_contract_with_another_workload() {
    holds_under_its_contract("redis");
}

#[test]
fn the_shell_sample_holds_under_its_contract_with_another_workload() {
    holds_under_its_contract("shell");
}

#[test]
fn the_go_sample_holds_under_its_contract_with_another_workload() {
    holds_under_its_contract("go");
}

#[test]
fn the_memcached_sample_holds_under_its_contract_with_another_workload() {
    holds_under_its_contract("memcached");
}

#[test]
fn the_torture_sample_holds_under_its_contract_with_another_workload() {
    holds_under_its_contract("torture");
}

/// The contract of an image that runs this script.
fn contract_of(name: &str, script: &str) -> Option<(Value, Value)> {
    if !engine_is_here() {
        return None;
    }
    let mut context = Context::new();
    let image = context.busybox_image(name, &[("/run.sh", 0o755, script)], &[r#"CMD ["/bin/sh","/run.sh"]"#]);
    context.run_slim(&["build", "--http-probe=false", &image]).expect(0);
    Some((
        written_contract(&context)["contract"].clone(),
        json(&context.path("slim.report.json"))["contract"].clone(),
    ))
}

#[test]
fn a_program_that_needs_nothing_gets_nothing() {
    let Some((contract, report)) = contract_of("contract-plain", "echo hello\n") else { return };
    assert_eq!(contract["capabilities"], serde_json::json!({}));
    assert_eq!((&contract["read_only"], &contract["no_new_privileges"]), (&true.into(), &true.into()));
    assert_eq!(contract["starts"], 1, "{report}");
    let (pids, memory) = (&contract["pids"], &contract["memory"]);
    for ceiling in [pids, memory].into_iter().filter(|ceiling| !ceiling.is_null()) {
        assert!(ceiling["limit"].as_u64() >= ceiling["peak"].as_u64().map(|peak| 2 * peak), "{contract}");
    }
}

#[test]
fn a_capability_that_a_program_needs_is_found_and_no_other() {
    let script = "touch /tmp/x && chown 5:5 /tmp/x && echo owned\n";
    let Some((contract, report)) = contract_of("contract-chown", script) else { return };
    let names: Vec<&String> = contract["capabilities"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["CHOWN"], "{report}");
    let is_told =
        |refused: &Value| refused["system_call"].as_str().is_some_and(|call| call.contains("chown"));
    let refused = report["refused"].as_array().unwrap();
    assert!(refused.iter().any(|refused| is_told(refused) && refused["repaired"] == true), "{report}");
    assert!(
        refused.iter().any(|refused| refused["program"].as_str().unwrap().contains("busybox")),
        "{report}"
    );
    assert!(contract["tmpfs"]["/tmp"]["mode"] == "1777", "{contract}");
}

#[test]
fn a_program_that_writes_its_root_keeps_it_and_one_that_writes_a_folder_gets_a_volume() {
    let script = "echo x >/new && cat /new\n";
    let Some((of_root, report)) = contract_of("contract-root", script) else { return };
    assert_eq!(of_root["read_only"], false, "{report}");
    assert_eq!(of_root["capabilities"], serde_json::json!({}), "the other terms stay: {report}");
    let script = "echo x >/data/x && cat /data/x\n";
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let files = [("/run.sh", 0o755, script), ("/data/kept", 0o644, "kept")];
    let image = context.busybox_image("contract-data", &files, &[r#"CMD ["/bin/sh","/run.sh"]"#]);
    context.run_slim(&["build", "--http-probe=false", "--include-path=/data/kept", &image]).expect(0);
    let contract = written_contract(&context)["contract"].clone();
    assert!(contract["volumes"]["/data"]["holds_files"] == true, "{contract}");
}

#[test]
fn harden_proves_an_image_that_stays_as_it_is() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = context.busybox_image("contract-harden", &[("/www/index.html", 0o644, "hello")], &[SERVE]);
    let before = image_id(&image);
    let hardened = context.run_slim(&["harden", &image]);
    hardened.expect(0);
    assert!(hardened.stdout.contains("hardened, the image is as it was"), "{}", hardened.stdout);
    let report = json(&context.path("slim.report.json"));
    assert_eq!((report["command"].as_str(), report["slim"].is_null()), (Some("harden"), true));
    assert_eq!(report["verification"]["result"], "passed");
    assert!(report["contract"]["starts"].as_u64().unwrap() >= 1);
    assert_eq!(image_id(&image), before);
    assert!(image_id(&format!("{image}.slim")).is_none(), "no image was made");
    for name in ["run-contract.sh", "run-contract.compose.yaml", "run-contract.kubernetes.yaml"] {
        assert!(artifacts(&context).join(name).exists(), "{name}");
    }
    let mut words = vec!["run", "--detach"];
    let options = options(&context);
    words.extend(options.iter().map(String::as_str));
    words.push(&image);
    let container = docker(&words);
    let answer = docker(&["exec", &container, "cat", "/www/index.html"]);
    docker(&["rm", "--force", "--volumes", &container]);
    assert_eq!(answer, "hello");
}
