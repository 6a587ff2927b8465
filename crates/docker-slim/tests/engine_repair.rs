//! What the observed run did not touch and a later one needs is found when the slim image is verified, and added.

#![allow(clippy::unwrap_used, reason = "a failure is a panic")]

mod common;

use common::{Context, Finished, docker, engine_is_here, image_id};
use serde_json::Value;
use std::fs;
use std::path::Path;

/// A name that another run of these tests on the same engine does not use.
fn unique(name: &str) -> String {
    format!("repair-{name}-{}", std::process::id())
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

fn verification(context: &Context) -> Value {
    json(&context.path("slim.report.json"))["verification"].clone()
}

/// The only file below the context's state path with this name.
fn artifact(context: &Context, name: &str) -> String {
    let images = fs::read_dir(context.path(".images")).unwrap();
    let found = images.map(|image| image.unwrap().path().join("artifacts").join(name));
    let found: Vec<_> = found.filter(|path| path.exists()).collect();
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    fs::read_to_string(&found[0]).unwrap()
}

/// Why a path is kept, as `keep.json` has it.
fn reasons(context: &Context, path: &str) -> Value {
    serde_json::from_str::<Value>(&artifact(context, "keep.json")).unwrap()["entries"][path]["because"]
        .clone()
}

fn repaired_in(round: u32) -> Value {
    serde_json::json!([{ "kind": "repaired", "round": round }])
}

/// A program that counts its runs in a file of the user's, mounted at /count, and reads /data/first in the first run and
/// /data/later in every other: the observed run sees only the first.
const COUNTING: &str = "#!/bin/sh\n\
    read runs </count/runs || runs=0\n\
    echo $((runs + 1)) >/count/runs\n\
    if [ $runs = 0 ]; then /bin/cat /data/first; else /bin/cat /data/later || exit 3; fi\n\
    trap 'exit 0' TERM\n\
    httpd -f -p 8000 -h /www &\n\
    wait\n";
const COUNTING_FILES: &[(&str, u32, &str)] = &[
    ("/work", 0o755, COUNTING),
    ("/data/first", 0o644, "first\n"),
    ("/data/later", 0o644, "later\n"),
    ("/www/index.html", 0o644, "hello"),
    ("/count/.keep", 0o644, ""),
];
const WORK: &[&str] = &[r#"CMD ["/work"]"#, "EXPOSE 8000"];

/// An image of [`COUNTING`], and builds of it that count from the beginning.
struct Counting {
    context: Context,
    image: String,
}

impl Counting {
    fn new(name: &str) -> Self {
        let mut context = Context::new();
        let image = context.busybox_image(&unique(name), COUNTING_FILES, WORK);
        fs::create_dir_all(context.path("count")).unwrap();
        Self { context, image }
    }

    fn build(&self, more: &[&str]) -> Finished {
        let folder = self.context.path("count");
        fs::write(folder.join("runs"), "0\n").unwrap();
        let mount = format!("--mount={}:/count", folder.display());
        let arguments: Vec<&str> =
            ["build", "--keep=observed", &mount].iter().chain(more).copied().chain([&*self.image]).collect();
        self.context.run_slim(&arguments)
    }

    fn slim(&self) -> Option<String> {
        image_id(&format!("{}.slim", self.image))
    }
}

#[test]
fn what_only_a_later_run_needs_is_added_in_a_round_of_repair_with_its_reason() {
    if !engine_is_here() {
        return;
    }
    let counting = Counting::new("counting");
    let built = counting.build(&[]);
    built.expect(0);
    assert!(
        built.stderr.contains("difference from the fat image; repairing: 1 path added (round 1)"),
        "{}",
        built.stderr
    );
    assert_eq!(reasons(&counting.context, "/data/later"), repaired_in(1));
    let verification = verification(&counting.context);
    assert_eq!(verification["result"], "passed");
    assert_eq!(verification["rounds"][0]["paths"], serde_json::json!(["/data/later"]));
    assert!(built.stdout.contains("1 path added in 1 round of repair"), "{}", built.stdout);
    assert!(common::files_of(&format!("{}.slim", counting.image)).contains("data/later"));
}

#[test]
fn without_rounds_nothing_is_repaired_and_nothing_tagged() {
    if !engine_is_here() {
        return;
    }
    let counting = Counting::new("no-rounds");
    let refused = counting.build(&["--verify-rounds=0"]);
    refused.expect(7);
    assert!(refused.stderr.contains("exit code 3 and should go on"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("repairing"), "{}", refused.stderr);
    assert_eq!(counting.slim(), None);
}

#[test]
fn what_the_user_excluded_is_never_brought_back_and_the_failure_names_it() {
    if !engine_is_here() {
        return;
    }
    let counting = Counting::new("excluded");
    let refused = counting.build(&["--exclude-pattern=/data/later"]);
    refused.expect(7);
    let told = "it looked for /data/later, which the exclude pattern /data/later takes out";
    assert!(refused.stderr.contains(told), "{}", refused.stderr);
    assert_eq!(counting.slim(), None);
}

#[test]
fn differences_that_are_only_reported_do_not_keep_the_image_from_its_name() {
    if !engine_is_here() {
        return;
    }
    let counting = Counting::new("report");
    let told = counting.build(&["--verify=report", "--exclude-pattern=/data/later"]);
    told.expect(0);
    assert!(told.stderr.contains("notice    different from the fat image: "), "{}", told.stderr);
    assert!(told.stdout.contains("told only (--verify=report)"), "{}", told.stdout);
    let verification = verification(&counting.context);
    assert_eq!(verification["result"], "different");
    assert_eq!(verification["differences"].as_array().unwrap().len(), 1, "{verification}");
    assert!(counting.slim().is_some());
}

/// A server that consumes its seed at the first start and reads another file at each later one. Its second start is never
/// observed.
const SEEDED: &str = "#!/bin/sh\n\
    if [ -e /var/seeded ]; then /bin/cat /etc/second || exit 4; else /bin/cat /work >/var/seeded; fi\n\
    trap 'exit 0' TERM\n\
    httpd -f -p 8000 -h /www &\n\
    wait\n";

#[test]
fn a_second_start_of_the_same_container_is_tried_and_repaired() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let files = [
        ("/work", 0o755, SEEDED),
        ("/etc/second", 0o644, "again\n"),
        ("/var/.keep", 0o644, ""),
        ("/www/index.html", 0o644, "hello"),
    ];
    let image = context.busybox_image(&unique("second"), &files, WORK);
    let refused = context.run_slim(&["build", "--keep=observed", "--verify-rounds=0", &image]);
    refused.expect(7);
    let told = "started a second time, the program ended with exit code 4 and should go on";
    assert!(refused.stderr.contains(told), "{}", refused.stderr);
    let built = context.run_slim(&["build", "--keep=observed", &image]);
    built.expect(0);
    assert_eq!(reasons(&context, "/etc/second"), repaired_in(1), "{}", built.stderr);
    assert_eq!(verification(&context)["second_start"], true);
}

#[test]
fn a_program_that_does_not_survive_a_second_start_itself_need_not_do_so_slim() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let script = "#!/bin/sh\n[ -e /tmp/done ] && exit 5\necho >/tmp/done\ntrap 'exit 0' TERM\n\
                  httpd -f -p 8000 -h /www &\nwait\n";
    let files = [("/work", 0o755, script), ("/www/index.html", 0o644, "hello")];
    let image = context.busybox_image(&unique("once"), &files, WORK);
    let built = context.run_slim(&["build", "--keep=observed", &image]);
    assert!(!built.expect(0).stderr.contains("started again"), "{}", built.stderr);
    assert_eq!(verification(&context)["second_start"], false);
}

#[test]
fn a_read_only_root_is_tried_where_the_fat_image_survives_it_and_repaired() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    // Where it cannot write, it goes another way.
    let script = "#!/bin/sh\n/bin/cat /work\nif ! touch /tmp/mark; then /bin/cat /etc/read-only || exit 6; fi\n\
                  trap 'exit 0' TERM\nhttpd -f -p 8000 -h /www &\nwait\n";
    let files = [
        ("/work", 0o755, script),
        ("/etc/read-only", 0o644, "so be it\n"),
        ("/www/index.html", 0o644, "hello"),
    ];
    let image = context.busybox_image(&unique("read-only"), &files, WORK);
    let refused = context.run_slim(&["build", "--keep=observed", "--verify-rounds=0", &image]);
    refused.expect(7);
    let told = "with a read-only root, the program ended with exit code 6 and should go on";
    assert!(refused.stderr.contains(told), "{}", refused.stderr);
    let built = context.run_slim(&["build", "--keep=observed", &image]);
    built.expect(0);
    assert_eq!(reasons(&context, "/etc/read-only"), repaired_in(1), "{}", built.stderr);
    assert_eq!(verification(&context)["read_only_start"], true);
}

#[test]
fn the_users_own_test_finds_the_container_and_decides() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let files = [("/www/index.html", 0o644, "hello"), ("/www/rare.html", 0o644, "rare")];
    let image = context.busybox_image(&unique("test"), &files, &[common::SERVE, "EXPOSE 8000"]);
    let slim = format!("{image}.slim");
    let build = |command: &str, more: &[&str]| {
        let test = format!("--verify-cmd={command}");
        let arguments: Vec<&str> = ["build", "--keep=observed", "--http-probe-cmd=/", &test]
            .iter()
            .chain(more)
            .copied()
            .chain([&*image])
            .collect();
        context.run_slim(&arguments)
    };
    let get =
        |page: &str| format!("busybox wget -q -O - http://$DOCKER_SLIM_HOST:$DOCKER_SLIM_PORT_8000/{page}");

    let failed = build("echo not today >&2; exit 9", &[]);
    failed.expect(7);
    assert!(failed.stderr.contains("on this machine ended with exit code 9"), "{}", failed.stderr);
    assert!(failed.stderr.contains("not today"), "its output is shown: {}", failed.stderr);
    assert_eq!(image_id(&slim), None);

    let passed = build(&format!("{} | grep hello && docker inspect $DOCKER_SLIM_CONTAINER", get("")), &[]);
    assert!(passed.expect(0).stderr.contains("1 --verify-cmd passed"), "{}", passed.stderr);
    assert!(!common::files_of(&slim).contains("www/rare.html"));

    // A page that no probe asked for.
    build(&format!("{} | grep rare", get("rare.html")), &[]).expect(0);
    assert_eq!(reasons(&context, "/www/rare.html"), repaired_in(1));
}

#[test]
fn a_call_that_only_a_later_run_makes_is_allowed_in_a_round_of_repair() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    // Only the second start makes a link.
    let script = "#!/bin/sh\nif [ -e /var/seeded ]; then /bin/ln -s a /var/link || exit 8; else echo >/var/seeded; fi\n\
                  trap 'exit 0' TERM\nhttpd -f -p 8000 -h /www &\nwait\n";
    let files = [
        ("/work", 0o755, script),
        ("/bin/.applets", 0o644, ""),
        ("/var/.keep", 0o644, ""),
        ("/www/index.html", 0o644, "hello"),
    ];
    let image =
        context.busybox_image(&unique("call"), &files, &["ENV A=1", r#"CMD ["/work"]"#, "EXPOSE 8000"]);
    let with_link = format!("slimtest-{}", unique("call-linked"));
    context.remove_later(&with_link);
    context.remove_later(&format!("{with_link}.slim"));
    let recipe = context.path("recipe");
    fs::create_dir_all(&recipe).unwrap();
    fs::write(
        recipe.join("Dockerfile"),
        format!("FROM {image}\nRUN [\"/bin/busybox\", \"ln\", \"-s\", \"busybox\", \"/bin/ln\"]\n"),
    )
    .unwrap();
    docker(&["build", "-q", "-t", &with_link, recipe.to_str().unwrap()]);
    let built = context.run_slim(&["build", "--keep=observed", &with_link]);
    built.expect(0);
    let report = json(&context.path("slim.report.json"));
    let rounds = report["verification"]["rounds"].as_array().unwrap().clone();
    assert!(rounds.iter().any(|round| round["paths"] == serde_json::json!(["/bin/ln"])), "{rounds:?}");
    let calls: Vec<&Value> =
        rounds.iter().flat_map(|round| round["system_calls"].as_array().unwrap()).collect();
    assert!(calls.iter().any(|call| call.as_str().unwrap().starts_with("symlink")), "{rounds:?}");
    let profile = artifact(&context, &format!("{with_link}-seccomp.json"));
    assert!(profile.contains("repaired in round 2"), "{profile}");
}

#[test]
fn a_build_without_repair_gives_the_same_image_whether_it_was_watched_or_not() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let files = [("/www/index.html", 0o644, "hello")];
    let image = context.busybox_image(&unique("same"), &files, &[common::SERVE, "EXPOSE 8000"]);
    let slim = format!("{image}.slim");
    let mut ids = Vec::new();
    for flags in [&[][..], &["--verify-rounds=0"], &["--verify=off"]] {
        let arguments: Vec<&str> =
            ["build", "--keep=observed"].iter().chain(flags).copied().chain([&*image]).collect();
        let built = context.run_slim(&arguments);
        assert!(!built.expect(0).stderr.contains("repairing"), "{}", built.stderr);
        ids.push(image_id(&slim));
    }
    assert!(ids.windows(2).all(|pair| pair[0] == pair[1]), "{ids:?}");
}
