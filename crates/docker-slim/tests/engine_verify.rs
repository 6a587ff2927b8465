//! The slim image works under its own profiles, and one that does not gets no name.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a failure is a panic; what is skipped is said")]

mod common;

use common::{Context, Finished, docker, engine_is_here, image_id, repository, run};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// System calls that no sample needs, and that no runtime gets in a profile.
const NEVER: [&str; 4] = ["mount", "pivot_root", "umount2", "setns"];

/// A name that another run of these tests on the same engine does not use.
fn unique(name: &str) -> String {
    format!("{name}-{}", std::process::id())
}

/// The flags that exercise a sample.
fn exercise(name: &str) -> Vec<String> {
    let text = fs::read_to_string(repository().join("samples").join(name).join("exercise.full")).unwrap();
    text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}

/// `docker-slim build` of a sample, with more flags.
fn build_sample(context: &Context, name: &str, slim: &str, more: &[&str]) -> Finished {
    let exercise = exercise(name);
    let fat = format!("sample-{name}-app");
    let mut arguments = vec!["build", "--tag", slim];
    arguments.extend(exercise.iter().map(String::as_str));
    arguments.extend(more);
    arguments.push(&fat);
    context.run_slim(&arguments)
}

/// The only file below the context's state path with this name.
fn artifact(context: &Context, name: &str) -> PathBuf {
    let images = fs::read_dir(context.path(".images")).unwrap();
    let found: Vec<PathBuf> = images
        .map(|image| image.unwrap().path().join("artifacts").join(name))
        .filter(|path| path.exists())
        .collect();
    assert_eq!(found.len(), 1, "{name}: {found:?}");
    found[0].clone()
}

fn seccomp_option(profile: &Path) -> String {
    format!("seccomp={}", profile.display())
}

fn json(path: &Path) -> serde_json::Value {
    serde_json::from_slice(&fs::read(path).unwrap()).unwrap()
}

/// The names of the calls that a seccomp profile allows.
fn allowed(profile: &serde_json::Value) -> BTreeSet<String> {
    let rules = profile["syscalls"].as_array().unwrap();
    rules
        .iter()
        .filter(|rule| rule["action"] == "SCMP_ACT_ALLOW")
        .flat_map(|rule| rule["names"].as_array().unwrap())
        .map(|name| name.as_str().unwrap().to_owned())
        .collect()
}

/// Builds a sample and runs its check under the profile, in each of these ways of running it (docker run options).
fn sample_works_under_its_profile(name: &str, ways: &[&[&str]], inside: &[&str]) {
    if !engine_is_here() {
        return;
    }
    run("scripts/sample-image", &[name]);
    let mut context = Context::new();
    let slim = unique(&format!("slimtest-verify-{name}"));
    context.remove_later(&slim);
    let built = build_sample(&context, name, &slim, &[]);
    built.expect(0);
    assert!(built.stderr.contains("verify    under its seccomp profile: same "), "{}", built.stderr);
    assert!(built.stdout.contains(" system calls allowed; verification: same "), "{}", built.stdout);

    let profile = artifact(&context, &format!("sample-{name}-app-seccomp.json"));
    let allowed = allowed(&json(&profile));
    for call in NEVER {
        assert!(!allowed.contains(call), "{call} is allowed");
    }
    let option = seccomp_option(&profile);
    let check = repository().join("samples").join(name).join("check");
    for way in ways {
        let mut arguments = vec![slim.as_str(), "--security-opt", option.as_str()];
        arguments.extend(*way);
        run(check.to_str().unwrap(), &arguments);
    }
    if !inside.is_empty() {
        for init in [&["--init"][..], &[]] {
            let mut arguments = vec!["run", "-d", "--security-opt", &option];
            arguments.extend(init);
            arguments.push(&slim);
            let container = docker(&arguments);
            let ran = eventually(Duration::from_secs(20), || {
                let output = Command::new("docker").args(["exec", &container]).args(inside).output().unwrap();
                output.status.success()
            });
            docker(&["rm", "-f", "-v", &container]);
            assert!(ran, "docker exec {inside:?} with {init:?}");
        }
    }
    apparmor_parses(&artifact(&context, &format!("sample-{name}-app-apparmor-profile")));
    same_image_again(&mut context, name, &slim);
}

/// A second whole build, observation and all, gives the same digest.
fn same_image_again(context: &mut Context, name: &str, slim: &str) {
    let again = unique(&format!("slimtest-again-{name}"));
    context.remove_later(&again);
    build_sample(context, name, &again, &["--verify=off"]).expect(0);
    assert_eq!(image_id(slim), image_id(&again), "two whole builds of {name} differ");
}

fn eventually(within: Duration, done: impl Fn() -> bool) -> bool {
    let began = Instant::now();
    while began.elapsed() < within {
        if done() {
            return true;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    false
}

fn apparmor_parses(profile: &Path) {
    match Command::new("apparmor_parser").args(["-Q", "-K"]).arg(profile).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr)),
        Err(error) => println!("the AppArmor profile was not parsed: apparmor_parser: {error}"),
    }
}

#[test]
fn the_slim_node_sample_passes_its_whole_check_under_its_profile() {
    let ways: [&[&str]; 3] = [&[], &["--init"], &["--user", "12345:12345"]];
    sample_works_under_its_profile("node", &ways, &["node", "--version"]);
}

#[test]
fn the_slim_python_sample_passes_its_whole_check_under_its_profile() {
    // Its data belong to the image's own user: it runs as nobody else, fat or slim.
    let ways: [&[&str]; 3] = [&[], &["--init"], &["--user", "notes"]];
    sample_works_under_its_profile("python", &ways, &["python3", "/srv/notes/smoke.py"]);
}

#[test]
fn the_slim_nginx_sample_passes_its_whole_check_under_its_profile() {
    // It starts as root only, fat or slim.
    let ways: [&[&str]; 3] = [&[], &["--init"], &["--user", "root"]];
    sample_works_under_its_profile("nginx", &ways, &["nginx", "-v"]);
}

#[test]
fn the_slim_redis_sample_passes_its_whole_check_under_its_profile() {
    // Its check looks at process 1, which is the init under --init, fat or slim.
    let ways: [&[&str]; 2] = [&[], &["--user", "redis:redis"]];
    sample_works_under_its_profile("redis", &ways, &["redis-cli", "ping"]);
}

#[test]
fn the_slim_shell_sample_passes_its_whole_check_under_its_profile() {
    let ways: [&[&str]; 3] = [&[], &["--init"], &["--user", "12345:12345"]];
    sample_works_under_its_profile("shell", &ways, &[]);
}

const SERVER: &[&str] = &[common::SERVE, "EXPOSE 8000"];
const PAGES: &[(&str, u32, &str)] = &[
    ("/www/index.html", 0o644, r#"<html><a href="/more.html">more</a><img src="/picture.svg"></html>"#),
    ("/www/more.html", 0o644, "<html>more</html>"),
    ("/www/picture.svg", 0o644, "<svg/>"),
    ("/www/cgi-bin/clock", 0o755, "#!/bin/sh\necho 'Content-Type: text/plain'\necho\n/bin/cat /etc/zone\n"),
    ("/etc/zone", 0o644, "Europe/London\n"),
    ("/etc/health", 0o644, "well\n"),
];
const CHECKED: &str = r#"HEALTHCHECK --interval=1h CMD ["/bin/cat","/etc/health"]"#;

fn server_image(context: &mut Context, name: &str) -> String {
    let mut changes = SERVER.to_vec();
    changes.push(CHECKED);
    context.busybox_image(&unique(name), PAGES, &changes)
}

/// Everything of one run that is still in the engine, by the labels and temporary names that carry its process id.
fn leftovers(pid: u32) -> Vec<String> {
    let label = format!("label=docker-slim.run.pid={pid}");
    let containers = docker(&["ps", "-aq", "--filter", &label]);
    let images = docker(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    let temporary = format!("/{pid}/");
    let images =
        images.lines().filter(|name| name.starts_with("docker-slim.temporary") && name.contains(&temporary));
    containers.lines().chain(images).map(str::to_owned).collect()
}

/// Runs the program and sees that nothing of the run stays behind.
fn run_cleanly(context: &Context, arguments: &[&str]) -> Finished {
    let child = context.slim(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id();
    let finished = Finished::of(child.wait_with_output().unwrap());
    assert_eq!(leftovers(pid), [""; 0], "{}", finished.stderr);
    finished
}

#[test]
fn a_server_without_any_one_of_its_files_is_exit_code_7_and_the_name_stays_where_it_was() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = server_image(&mut context, "mutated-server");
    let probe = ["--http-probe-cmd=crawl:/", "--http-probe-cmd=/cgi-bin/clock", "--exec=/bin/cat /etc/zone"];
    let build = |more: &[&str]| {
        let arguments: Vec<&str> =
            ["build"].iter().chain(&probe).chain(more).copied().chain([&*image]).collect();
        run_cleanly(&context, &arguments)
    };
    let passed = build(&[]);
    passed.expect(0);
    assert!(passed.stderr.contains("same answers to 4 requests"), "{}", passed.stderr);
    assert!(passed.stderr.contains("same results of 1 command, same health"), "{}", passed.stderr);
    let slim = format!("{image}.slim");
    let previous = image_id(&slim).unwrap();

    let needed = [
        ("/bin/busybox", "the container does not start"),
        ("/bin/sh", "the container does not start"),
        ("/bin/cat", "the HEALTHCHECK ends with exit code "),
        ("/etc/health", "the HEALTHCHECK ends with exit code 1 instead of 0"),
        ("/etc/zone", "`/bin/cat /etc/zone`: exit code 1 instead of 0"),
        ("/www/index.html", "GET http://localhost:8000/: status 404 instead of 200"),
        ("/www/more.html", "GET http://localhost:8000/more.html: status 404 instead of 200"),
        ("/www/picture.svg", "GET http://localhost:8000/picture.svg: status 404 instead of 200"),
        ("/www/cgi-bin/clock", "GET http://localhost:8000/cgi-bin/clock: "),
    ];
    for (path, told) in needed {
        let refused = build(&["--exclude-pattern", path]);
        refused.expect(7);
        assert!(refused.stderr.contains(told), "without {path}:\n{}", refused.stderr);
        assert!(refused.stderr.contains("what the slim image does differently:\n  - "), "{}", refused.stderr);
        assert!(refused.stderr.contains("hint: "), "{}", refused.stderr);
        assert_eq!(image_id(&slim).as_ref(), Some(&previous), "the name moved without {path}");
    }
    build(&["--exclude-pattern", "/www/more.html", "--verify=off"]).expect(0);
    assert_ne!(image_id(&slim), Some(previous), "--verify=off tags what it made");
}

#[test]
fn a_program_that_does_its_work_and_ends_is_compared_by_output_and_exit_code() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let script =
        "#!/bin/sh\necho started $$ at $(/bin/cat /proc/uptime)\n/bin/cat /etc/one /etc/two || echo sorry\n";
    let files = [("/work", 0o755, script), ("/etc/one", 0o644, "one\n"), ("/etc/two", 0o644, "two\n")];
    let image = context.busybox_image(&unique("mutated-work"), &files, &[r#"CMD ["/work"]"#]);
    let passed = run_cleanly(&context, &["build", &image]);
    assert!(passed.expect(0).stderr.contains("same output and exit code"), "{}", passed.stderr);
    let previous = image_id(&format!("{image}.slim"));
    let refused = run_cleanly(&context, &["build", "--exclude-pattern", "/etc/two", &image]);
    refused.expect(7);
    assert!(refused.stderr.contains("missing: two"), "{}", refused.stderr);
    assert!(!refused.stderr.contains(": started"), "it differs from run to run: {}", refused.stderr);
    run_cleanly(&context, &["build", "--exclude-pattern", "/work", &image]).expect(7);
    assert_eq!(image_id(&format!("{image}.slim")), previous);
}

#[test]
fn a_program_that_neither_listens_nor_ends_must_stay_alive_and_end_as_the_fat_one() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let script = "#!/bin/sh\ntrap '/bin/cat /etc/farewell; exit $?' TERM\n/bin/cat /etc/greeting || exit 9\n/bin/sleep 1000 &\nwait\n";
    let files =
        [("/work", 0o755, script), ("/etc/greeting", 0o644, "hello\n"), ("/etc/farewell", 0o644, "bye\n")];
    let image = context.busybox_image(&unique("mutated-worker"), &files, &[r#"CMD ["/work"]"#]);
    let passed = run_cleanly(&context, &["build", &image]);
    assert!(passed.expect(0).stderr.contains("stopped with exit code 0"), "{}", passed.stderr);
    for (path, told) in [
        ("/etc/greeting", "the program ended with exit code 9 and should go on"),
        ("/etc/farewell", "the program ends with exit code 1 instead of 0"),
    ] {
        let refused = run_cleanly(&context, &["build", "--exclude-pattern", path, &image]);
        refused.expect(7);
        assert!(refused.stderr.contains(told), "without {path}:\n{}", refused.stderr);
    }
}

#[test]
fn answers_that_change_from_run_to_run_are_compared_by_status_and_type() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let clock = "#!/bin/sh\necho 'Content-Type: text/plain'\necho\n/bin/cat /proc/uptime\n";
    let image = context.busybox_image(&unique("unstable"), &[("/www/cgi-bin/clock", 0o755, clock)], SERVER);
    let report = context.path("slim.report.json");
    run_cleanly(&context, &["build", "--http-probe-cmd=/cgi-bin/clock", &image]).expect(0);
    let verification = &json(&report)["verification"];
    assert_eq!(verification["result"], "passed", "{verification}");
    assert_eq!(verification["requests"], 1, "{verification}");
    assert_eq!(verification["unstable_requests"], 1, "{verification}");
}

#[test]
fn verification_that_is_off_is_said_in_the_report_and_on_the_screen() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = server_image(&mut context, "unverified");
    let built = run_cleanly(&context, &["build", "--verify=off", &image]);
    built.expect(0);
    assert!(built.stderr.contains("--verify=off"), "{}", built.stderr);
    assert!(built.stdout.contains("verification: off (--verify=off)"), "{}", built.stdout);
    assert_eq!(json(&context.path("slim.report.json"))["verification"]["result"], "off");
}

#[test]
fn a_profile_is_everything_but_the_image() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = server_image(&mut context, "profile");
    let profiled = run_cleanly(&context, &["profile", &image]);
    profiled.expect(0);
    assert_eq!(image_id(&format!("{image}.slim")), None);
    let seccomp = artifact(&context, &format!("{image}-seccomp.json"));
    let of_profile = fs::read(&seccomp).unwrap();
    apparmor_parses(&artifact(&context, &format!("{image}-apparmor-profile")));
    let report = json(&context.path("slim.report.json"));
    assert_eq!(report["command"], "profile");
    assert_eq!(report["verification"]["result"], "no-image");
    assert_eq!(report.get("slim"), None);
    assert_eq!(report["policy"]["system_calls_allowed"], allowed(&json(&seccomp)).len());
    assert!(report["policy"]["runtimes"].to_string().contains("crun"), "{report}");
    assert!(report["policy"]["runtimes_left_out"].as_str().unwrap().contains("youki"), "{report}");

    // Of one trace: in another run a call may come before the first request instead of after it, which a comment tells.
    let trace = context.path("of-profile.json");
    fs::copy(artifact(&context, "trace.json"), &trace).unwrap();
    run_cleanly(&context, &["build", "--from-trace", trace.to_str().unwrap(), &image]).expect(0);
    let of_build = fs::read(&seccomp).unwrap();
    assert!(of_build == of_profile, "build and profile say the same: {}", String::from_utf8_lossy(&of_build));
}

#[test]
fn a_failed_verification_is_one_json_document_with_its_differences() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let image = server_image(&mut context, "refused-json");
    let arguments = ["build", "--output-format=json", "--quiet", "--exclude-pattern=/www/more.html", &image];
    let refused = run_cleanly(&context, &arguments);
    let document: serde_json::Value = serde_json::from_str(&refused.expect(7).stdout).unwrap();
    assert_eq!(document["exit_code"], 7);
    assert_eq!(
        document["differences"],
        serde_json::json!(["GET http://localhost:8000/more.html: status 404 instead of 200"])
    );
}

#[test]
fn a_program_that_keeps_roots_rights_without_a_file_is_refused() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    let script = "#!/bin/sh\ntrap 'exit 0' TERM\n[ -e /etc/drop ] && as='-u 33:33'\n\
                  httpd -f -p 8000 -h /www $as &\nwait\n";
    let files = [("/work", 0o755, script), ("/etc/drop", 0o644, ""), ("/www/index.html", 0o644, "hello")];
    let image = context.busybox_image(&unique("dropped"), &files, &[r#"CMD ["/work"]"#, "EXPOSE 8000"]);
    let refused = run_cleanly(&context, &["build", "--exclude-pattern=/etc/drop", &image]);
    refused.expect(7);
    assert!(refused.stderr.contains("missing: user 33, group 33"), "{}", refused.stderr);
    run_cleanly(&context, &["build", &image]).expect(0);
}

#[test]
fn a_build_that_is_given_up_during_verification_leaves_nothing_behind() {
    if !engine_is_here() {
        return;
    }
    let mut context = Context::new();
    // Without its mark the slim program never opens its port.
    let script = "#!/bin/sh\n/bin/sleep 0.01\n[ -e /etc/go ] || exec /bin/sleep 1000\n\
                  trap 'exit 0' TERM\nhttpd -f -p 8000 -h /www &\nwait\n";
    let files = [("/work", 0o755, script), ("/etc/go", 0o644, ""), ("/www/index.html", 0o644, "hello")];
    let image = context.busybox_image(&unique("given-up"), &files, &[r#"CMD ["/work"]"#, "EXPOSE 8000"]);
    let child = context
        .slim(&["build", "--exclude-pattern=/etc/go", &image])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let pid = child.id();
    let verifying = || {
        let run = format!("label=docker-slim.run.pid={pid}");
        !docker(&["ps", "-q", "--filter", &run, "--filter", "label=docker-slim.role=verify"]).is_empty()
    };
    assert!(eventually(Duration::from_secs(60), verifying), "no container of the slim image was seen");
    common::signal(&child, "INT");
    Finished::of(child.wait_with_output().unwrap()).expect(130);
    assert_eq!(leftovers(pid), [""; 0]);
    assert_eq!(image_id(&format!("{image}.slim")), None);
}

/// How many files of each sample are left out one by one; the issue asks for 20, which takes a while.
fn mutations() -> usize {
    std::env::var("SLIM_TEST_MUTATIONS").ok().and_then(|text| text.parse().ok()).unwrap_or(2)
}

/// Files that the program opened or ran, in an order that is fixed but has nothing to do with their names.
fn candidates(keep: &serde_json::Value) -> Vec<String> {
    let entries = keep["entries"].as_object().unwrap();
    let is_used = |kept: &serde_json::Value| {
        kept["because"].as_array().unwrap().iter().any(|reason| {
            reason["kind"] == "traced"
                && reason["access"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .any(|access| access == "open" || access == "execute")
        })
    };
    let mut paths: Vec<String> = entries
        .iter()
        .filter(|(_, kept)| kept["kind"].get("file").is_some() && is_used(kept))
        .map(|(path, _)| path.clone())
        .filter(|path| !path.contains(['*', '?', '[', '{', '\\']))
        // Python compiles again what is not there.
        .filter(|path| !path.ends_with(".pyc"))
        .collect();
    paths.sort_by_key(|path| {
        path.bytes().fold(0_u32, |hash, byte| hash.wrapping_mul(31) ^ u32::from(byte)).reverse_bits()
    });
    paths
}

/// Leaves out one file after another: either verification refuses the image, or the image passes the whole check.
fn refuses_what_fails_the_check(name: &str) {
    if !engine_is_here() {
        return;
    }
    run("scripts/sample-image", &[name]);
    let mut context = Context::new();
    let slim = unique(&format!("slimtest-mutated-{name}"));
    context.remove_later(&slim);
    build_sample(&context, name, &slim, &[]).expect(0);
    context.remove_later(&image_id(&slim).unwrap());
    let check = repository().join("samples").join(name).join("check");
    let mut refused = 0;
    for path in candidates(&json(&artifact(&context, "keep.json"))) {
        if refused == mutations() {
            return;
        }
        let previous = image_id(&slim);
        let built = build_sample(&context, name, &slim, &["--exclude-pattern", &path]);
        if built.code == Some(7) {
            refused += 1;
            assert_eq!(image_id(&slim), previous, "the name moved without {path}");
            println!("{name}: without {path}: refused");
            continue;
        }
        built.expect(0);
        // The name is taken from it by the next one.
        context.remove_later(&image_id(&slim).unwrap());
        println!("{name}: without {path}: not needed");
        run(check.to_str().unwrap(), &[&slim]);
    }
    // A small image has fewer needed files than that: every one of them was tried.
    assert!(refused > 0, "no file of {name} is needed");
}

#[test]
fn the_node_sample_without_a_file_that_its_check_needs_is_refused() {
    refuses_what_fails_the_check("node");
}

#[test]
fn the_python_sample_without_a_file_that_its_check_needs_is_refused() {
    refuses_what_fails_the_check("python");
}

#[test]
fn the_nginx_sample_without_a_file_that_its_check_needs_is_refused() {
    refuses_what_fails_the_check("nginx");
}

#[test]
fn the_redis_sample_without_a_file_that_its_check_needs_is_refused() {
    refuses_what_fails_the_check("redis");
}

#[test]
fn the_shell_sample_without_a_file_that_its_check_needs_is_refused() {
    refuses_what_fails_the_check("shell");
}
