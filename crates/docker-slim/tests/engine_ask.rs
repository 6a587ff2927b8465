//! Asking why, comparing, and building from traces, against the real engine.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests panic, and say why they are skipped")]

mod common;

use common::{Context, Finished, SERVE, engine_is_here, files_of, image_id};
use serde_json::Value;

fn json(finished: &Finished) -> Value {
    serde_json::from_str(&finished.expect(0).stdout).unwrap()
}

#[test]
fn a_build_can_be_asked_why_and_compared_with_its_fat_image() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let files = [
        ("/www/index.html", 0o644, "hello"),
        ("/opt/unused/big", 0o644, "a hundred bytes"),
        ("/opt/more", 0o644, "x"),
    ];
    let image = context.busybox_image("ask-why", &files, &[SERVE, "EXPOSE 8000"]);
    context.run_slim(&["build", "--keep=observed", "--http-probe", &image]).expect(0);
    let slim = format!("{image}.slim");

    let kept = context.run_slim(&["explain", &slim, "/www/index.html", "/bin/sh", "/no/such/index.html"]);
    let text = &kept.expect(0).stdout;
    assert!(text.contains("/www/index.html: kept, file of 5 B, mode 0644, owner 0:0, "), "{text}");
    assert!(text.contains("sha256:2cf24dba5fb0"), "the digest of what is in it: {text}");
    assert!(text.contains("during exercise") && text.contains("← /bin/busybox: "), "{text}");
    assert!(text.contains("/bin/sh: kept, symlink to busybox"), "{text}");
    assert!(
        text.contains("/no/such/index.html: the fat image has no such path\n  it has /www/index.html"),
        "{text}"
    );
    let id = image_id(&image).unwrap();
    let removed = json(&context.run_slim(&["explain", "--output-format=json", &id, "/opt/unused"]));
    let answer = &removed["paths"][0];
    assert_eq!((&answer["answer"], &answer["removed-below"]), (&"removed".into(), &1.into()), "{removed}");
    let removed = json(&context.run_slim(&["explain", "--output-format=json", &image, "--removed"]));
    assert_eq!(removed["groups"][0]["name"], "/opt", "{removed}");
    context.run_slim(&["explain", "never-built", "/etc"]).expect(4);

    let difference = context.run_slim(&["diff", &image, &slim]);
    let text = &difference.expect(0).stdout;
    assert!(text.contains("- /opt/unused/big  15 B"), "{text}");
    assert!(text.lines().last().unwrap().starts_with("0 paths added (0 B), "), "{text}");
    assert!(text.lines().last().unwrap().contains(" 0 changed; "), "{text}");
    context.run_slim(&["diff", "--exit-code", &image, &slim]).expect(8);
    let same = context.run_slim(&["diff", "--exit-code", &image, &image]);
    assert!(same.expect(0).stdout.starts_with("0 paths added"), "{}", same.stdout);
    context.run_slim(&["diff", &image, "slimtest-never-built"]).expect(4);
}

#[test]
fn an_image_is_built_from_merged_traces_without_being_watched() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let files = [
        ("/www/index.html", 0o644, "hello"),
        ("/www/one", 0o644, "one"),
        ("/www/two", 0o644, "two"),
        ("/www/unused", 0o644, "x"),
    ];
    let image = context.busybox_image("ask-trace", &files, &[SERVE, "EXPOSE 8000"]);
    let other = context.busybox_image("ask-other", &files[..1], &[SERVE]);
    let profile = |out: &str, command: &str| {
        let exec = format!("--exec={command}");
        context.run_slim(&["profile", "--http-probe", &exec, "--trace-out", out, &image]).expect(0);
    };
    profile("one.json", "cat /www/one");
    profile("two.json", "cat /www/two");
    let difference = context.run_slim(&["trace", "diff", "one.json", "two.json"]);
    let text = &difference.expect(0).stdout;
    assert!(text.contains("+ /www/two") && text.contains("- /www/one"), "{text}");
    context.run_slim(&["diff", "--exit-code", "one.json", "two.json"]).expect(8);
    context.run_slim(&["trace", "merge", "one.json", "two.json", "-o", "all.json"]).expect(0);
    let shown = context.run_slim(&["trace", "show", "all.json"]);
    let text = &shown.expect(0).stdout;
    assert!(text.contains("listening: tcp/8000") && text.contains("3  /www"), "{text}");
    assert!(text.contains(" would turn up: of "), "{text}");

    let refused = context.run_slim(&["build", "--keep=observed", "--from-trace", "all.json", &other]);
    assert!(refused.expect(2).stderr.contains("it is of the image sha256:"), "{}", refused.stderr);
    let built =
        context.run_slim(&["build", "--keep=observed", "--from-trace=all.json", "--http-probe", &image]);
    built.expect(0);
    assert!(built.stderr.contains("not watched"), "{}", built.stderr);
    assert!(built.stdout.contains("same answers to "), "{}", built.stdout);
    let slim = files_of(&format!("{image}.slim"));
    assert!(slim.contains("www/one") && slim.contains("www/two") && !slim.contains("www/unused"), "{slim:?}");

    // What the exercise needs and the traces never showed: the comparison finds it.
    let refused_name = format!("slimtest-ask-no-{}", std::process::id());
    context.remove_later(&refused_name);
    let tag = format!("--tag={refused_name}");
    let fuller = context.run_slim(&[
        "build",
        "--keep=observed",
        "--from-trace=all.json",
        "--exec=cat /www/unused",
        "--verify-rounds=0",
        &tag,
        &image,
    ]);
    fuller.expect(7);
    assert_eq!(image_id(&refused_name), None);
    let unverified =
        context.run_slim(&["build", "--keep=observed", "--from-trace=all.json", "--verify=off", &image]);
    assert!(unverified.expect(0).stderr.contains("nothing is run"), "{}", unverified.stderr);
}
