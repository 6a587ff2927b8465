//! Images between engines, registries and files, with a real Docker Engine: what is fat comes from a registry, what is slim
//! goes to one, and nothing stays behind that was not asked for.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test's failure is a panic, and it says why it is skipped"
)]

mod common;

use common::served::Served;
use common::{Context, Finished, Holdings, SERVE, docker, engine_is_here, image_id};
use serde_json::Value;
use slim_image::local::LocalImage;
use slim_image::location::{Form, Stored};
use slim_image::{ImageTree, Selector};
use std::process::Command;

/// A web server in the engine, and the same in a registry as `fat:1`.
fn in_a_registry(context: &mut Context, name: &str) -> (String, Served) {
    let files = [("/www/index.html", 0o644, "hello"), ("/usr/share/unused", 0o644, "never read")];
    let fat = context.busybox_image(name, &files, &[SERVE, "EXPOSE 8000"]);
    let served = Served::start(context.folder.path(), "127.0.0.1:0");
    context.run_slim(&["push", &fat, &format!("{}/fat:1", served.address)]).expect(0);
    (fat, served)
}

/// What a registry has under a name.
fn pulled(context: &Context, image: &str, folder: &str) -> LocalImage {
    context.run_slim(&["pull", image, "-o", &format!("oci:{folder}")]).expect(0);
    let place = Stored { form: Form::Layout, path: context.path(folder), selector: Selector::Only };
    LocalImage::open(&place, None, context.folder.path()).unwrap()
}

#[test]
fn what_is_fat_comes_from_a_registry_and_what_is_slim_goes_to_one() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let (fat, served) = in_a_registry(&mut context, "transports");
    let id = image_id(&fat).unwrap();
    assert_eq!(pulled(&context, &format!("{}/fat:1", served.address), "fat").id().to_string(), id);
    docker(&["rmi", &fat]);
    let before = Holdings::now();
    let (from, to) =
        (format!("docker://{}/fat:1", served.address), format!("docker://{}/slim:2", served.address));
    let built = context.run_slim(&[
        "build",
        &from,
        "--output",
        &to,
        "--output",
        "oci:layout",
        "--report",
        "report.json",
    ]);
    assert!(built.expect(0).stdout.contains(&format!("written to: oci:layout, {to}")), "{}", built.stdout);
    let slim = format!("{}/fat.slim:1", served.address);
    context.remove_later(&slim);
    let there = pulled(&context, &format!("{}/slim:2", served.address), "slim");
    assert_eq!(there.id().to_string(), image_id(&slim).unwrap());
    let tree = there.tree().unwrap();
    assert!(
        tree.entry(&"/www/index.html".into()).is_some() && tree.entry(&"/usr/share/unused".into()).is_none()
    );
    docker(&["rmi", &slim]);
    before.expect_again("after a build from a registry into a registry");
    let left = std::fs::read_dir(context.folder.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with(".slim-")).collect();
    assert!(left.is_empty(), "{left:?}");
    // A registry that does not answer is told before anything runs.
    let nowhere = context.run_slim(&["build", &from, "--output", "docker://127.0.0.1:1/a:1"]);
    assert!(nowhere.expect(3).stderr.contains("127.0.0.1:1"), "{}", nowhere.stderr);
}

#[test]
fn an_engines_images_go_out_and_come_in_with_the_same_id() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let (fat, served) = in_a_registry(&mut context, "transports-held");
    let id = image_id(&fat).unwrap();
    context.run_slim(&["copy", &format!("docker-daemon:{fat}"), "docker-archive:fat.tar"]).expect(0);
    docker(&["rmi", &fat]);
    let (in_files, in_registry) = ("slimtest-transports-files:1", "slimtest-transports-pulled:1");
    context.remove_later(in_files);
    context.remove_later(in_registry);
    context.run_slim(&["copy", "docker-archive:fat.tar", &format!("docker-daemon:{in_files}")]).expect(0);
    assert_eq!(image_id(in_files).unwrap(), id);
    let place = format!("docker-daemon:{in_registry}");
    context.run_slim(&["pull", &format!("{}/fat:1", served.address), "-o", &place]).expect(0);
    assert_eq!(image_id(in_registry).unwrap(), id);
    // Without a place it comes into the engine under its own name, as `docker pull` has it.
    let own = format!("{}/fat:1", served.address);
    context.remove_later(&own);
    context.run_slim(&["pull", &own]).expect(0);
    assert_eq!(image_id(&own).unwrap(), id);
    let missing = context.run_slim(&["push", "docker-daemon:slimtest-none:1", &own]);
    assert!(missing.expect(4).stderr.contains("slimtest-none"), "{}", missing.stderr);
    let listed = context.run_slim(&["images", "transports", "--output-format=json"]);
    let listed: Value = serde_json::from_str(&listed.expect(0).stdout).unwrap();
    let image = listed.as_array().unwrap().iter().find(|image| image["id"] == id.as_str()).unwrap();
    assert_eq!((&image["engine"], &image["slim"]), (&"docker".into(), &false.into()));
}

#[test]
fn a_name_that_no_engine_has_is_looked_for_in_its_registry_where_that_is_allowed() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let (fat, served) = in_a_registry(&mut context, "transports-missing");
    docker(&["rmi", &fat]);
    let name = format!("{}/fat:1", served.address);
    let store = ["--engine=embedded", "--store-root", "store"];
    let embedded = |words: &[&str]| context.run_slim(&[words, &store].concat());
    assert!(embedded(&["build", &name, "--pull=false"]).expect(4).stderr.contains(&name));
    let built = embedded(&["build", &name]);
    assert!(built.expect(0).stderr.contains("pulling"), "{}", built.stderr);
    let again = embedded(&["build", &format!("docker://{name}"), "--tag=again:1"]);
    assert!(again.expect(0).stderr.contains("was there already"), "{}", again.stderr);
    // `run` fetches what is missing, and only then.
    let other = format!("{}/other:1", served.address);
    context.run_slim(&["copy", &name, &other]).expect(0);
    let never = context.run_slim(&[&["run"], &store[1..], &["--pull=never", &other]].concat());
    assert_eq!(never.code, Some(4), "{}", never.stderr);
    let run = ["run", "--store-root", "store", &other, "echo", "here"];
    assert_eq!(context.run_slim(&run).expect(0).stdout, "here\n");
    assert_eq!(served.stop(), Some(0));
    assert_eq!(context.run_slim(&run).expect(0).stdout, "here\n", "it is in the store by now");
}

#[test]
fn docker_fetches_a_missing_image_itself() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let (fat, served) = in_a_registry(&mut context, "transports-docker");
    docker(&["rmi", &fat]);
    let name = format!("{}/fat:1", served.address);
    context.remove_later(&name);
    context.remove_later(&format!("{}/fat.slim:1", served.address));
    let refused = context.run_slim(&["build", "--engine=docker", "--pull=false", &name]);
    assert!(refused.expect(4).stderr.contains(&name), "{}", refused.stderr);
    context.run_slim(&["build", "--engine=docker", &name]).expect(0);
    assert!(image_id(&name).is_some(), "it stays in the engine, as with docker run");
}

/// The program where no socket of an engine is to be seen: in a mount name space of its own.
fn without_engines(context: &Context, words: &[&str]) -> Finished {
    let hide = "mount -t tmpfs none /run && shift 0 && exec \"$0\" \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", hide, env!("CARGO_BIN_EXE_docker-slim")]).args(words);
    command.current_dir(context.folder.path()).env_remove("DOCKER_HOST").env_remove("DOCKER_CONTEXT");
    Finished::of(command.output().unwrap())
}

#[test]
fn the_engine_that_has_the_image_works_else_one_that_answers_else_the_embedded_one_and_it_says_so() {
    if !engine_is_here() || std::env::var_os("DOCKER_HOST").is_some() {
        println!("skipped: needs Docker at its usual socket");
        return;
    }
    let mut context = Context::new();
    let (fat, served) = in_a_registry(&mut context, "transports-choice");
    let name = format!("{}/fat:1", served.address);
    let store = ["--store-root", "store"];
    let build = |image: &str| {
        let words = ["build", "--verify=off", "--tag=slimtest-transports-chosen:1", "--pull=false", image];
        [&words[..], &store].concat().into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let told = |image: &str| {
        let words = build(image);
        context.run_slim(&words.iter().map(String::as_str).collect::<Vec<_>>()).stderr
    };
    context.run_slim(&["pull", &name, "-o", &format!("embedded:{name}"), store[0], store[1]]).expect(0);
    let docker_has = told(&fat);
    assert!(docker_has.contains(&format!("Docker works: it has {fat}")), "{docker_has}");
    let store_has = told(&name);
    assert!(
        store_has.contains("the embedded engine works") && store_has.contains("no other has"),
        "{store_has}"
    );
    let nobody = told("slimtest-nobody:1");
    assert!(nobody.contains("Docker works: it answers, and no engine has slimtest-nobody:1"), "{nobody}");
    let words = build(&name);
    let alone = without_engines(&context, &words.iter().map(String::as_str).collect::<Vec<_>>());
    assert!(alone.stderr.contains("its store at"), "{}", alone.stderr);
    let words = build("slimtest-nobody:1");
    let alone = without_engines(&context, &words.iter().map(String::as_str).collect::<Vec<_>>());
    let told = "the embedded engine works: no Docker Engine and no Podman answers";
    assert!(alone.expect(4).stderr.contains(told), "{}", alone.stderr);
    context.remove_later("slimtest-transports-chosen:1");
}
