//! `build --seccomp-phase entrypoint` and `--landlock`: an entrypoint that gives files to somebody and becomes the server;
//! in the slim image the server may not do any more what the entrypoint did.
#![allow(clippy::unwrap_used, reason = "a failure is a panic")]

mod common;

use common::{Context, docker, engine_is_here, repository};
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// The chown is the entrypoint's alone.
const ENTRY: &str = "#!/bin/sh\nset -e\nmkdir -p /run/app\nchown 7 /www/owned\nexec \"$@\"\n";
/// The program that stays.
const SERVE_SCRIPT: &str = "#!/bin/sh\ntrap 'exit 0' TERM\nhttpd -f -p 8000 -h /www &\nwait\n";
const HELLO: &str = "#!/bin/sh\necho 'Content-Type: text/plain'\necho\necho hello\n";
/// Never asked for while the program is watched.
const OWN: &str = "#!/bin/sh\necho 'Content-Type: text/plain'\necho\nchown 8 /www/owned 2>&1 && echo owned\n";
const WRITE: &str =
    "#!/bin/sh\necho 'Content-Type: text/plain'\necho\necho x 2>&1 >/www/new && echo written\n";
const EXTRA: &str = "#!/bin/sh\necho 'Content-Type: text/plain'\necho\ncat /extra/secret 2>&1\n";
const FILES: &[(&str, u32, &str)] = &[
    ("/entry", 0o755, ENTRY),
    ("/serve", 0o755, SERVE_SCRIPT),
    ("/www/index.html", 0o644, "index"),
    ("/www/owned", 0o644, "x"),
    ("/www/cgi-bin/hello", 0o755, HELLO),
    ("/www/cgi-bin/own", 0o755, OWN),
    ("/www/cgi-bin/write", 0o755, WRITE),
    ("/www/cgi-bin/extra", 0o755, EXTRA),
];
const SERVE: &[&str] = &[r#"ENTRYPOINT ["/entry"]"#, r#"CMD ["/serve"]"#, "EXPOSE 8000", "ENV PATH=/bin"];

struct Built {
    context: Context,
    image: String,
}

impl Built {
    fn new(name: &str, flags: &[&str]) -> Self {
        let mut context = Context::new();
        let image = context.busybox_image(&format!("launch-{name}-{}", std::process::id()), FILES, SERVE);
        let usual = ["build", "--http-probe-cmd=/cgi-bin/hello", "--include-path=/www", "--include-exe=cat"];
        let more = ["--include-exe=chown", &image];
        context.run_slim(&[&usual[..], flags, &more[..]].concat()).expect(0);
        Self { context, image }
    }

    fn artifact(&self, ending: &str) -> PathBuf {
        let images = fs::read_dir(self.context.path(".images")).unwrap();
        let files = images.flat_map(|image| fs::read_dir(image.unwrap().path().join("artifacts")).unwrap());
        let named = |path: &PathBuf| path.to_string_lossy().ends_with(ending);
        files.map(|file| file.unwrap().path()).find(named).unwrap_or_else(|| panic!("no {ending}"))
    }

    fn report(&self) -> Value {
        let report: Value =
            serde_json::from_slice(&fs::read(self.context.path("slim.report.json")).unwrap()).unwrap();
        report["policy"]["launcher"].clone()
    }

    fn start(&self, more: &[&str]) -> Container {
        let profile = format!("seccomp={}", self.artifact("-seccomp.json").display());
        let profile = profile.replace("-entrypoint-seccomp", "-seccomp");
        let slim = format!("{}.slim", self.image);
        let arguments = [&["run", "-d", "--security-opt", &profile][..], more, &[&slim]].concat();
        Container(docker(&arguments))
    }
}

struct Container(String);

impl Container {
    fn inspect(&self, what: &str) -> String {
        docker(&["inspect", "-f", what, &self.0])
    }

    fn get(&self, path: &str) -> String {
        let address = self.inspect("{{.NetworkSettings.IPAddress}}");
        let url = format!("http://{address}:8000{path}");
        common::run("curl", &["-sS", "--retry", "20", "--retry-connrefused", "--retry-delay", "1", &url])
    }

    fn of_first_process(&self, file: &str) -> String {
        let process = self.inspect("{{.State.Pid}}");
        fs::read_to_string(format!("/proc/{process}/{file}")).unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        let _ = std::process::Command::new("docker").args(["rm", "-fv", &self.0]).output();
    }
}

#[test]
fn what_only_the_entrypoint_did_is_refused_to_the_program_that_stays() {
    if !engine_is_here() {
        return;
    }
    let built = Built::new("filter", &["--seccomp-phase=entrypoint"]);
    let report = built.report();
    assert_eq!(report["place"], "/serve");
    let taken: Vec<&str> = report["system_calls_taken_away"]
        .as_array()
        .unwrap()
        .iter()
        .map(|call| call.as_str().unwrap())
        .collect();
    assert!(taken.iter().any(|call| call.contains("chown")), "{taken:?}");
    assert!(!taken.contains(&"accept") && !taken.contains(&"execve"), "{taken:?}");
    let container = built.start(&[]);
    assert_eq!(container.get("/cgi-bin/hello"), "hello");
    let refused = container.get("/cgi-bin/own");
    assert!(refused.contains("not permitted") && !refused.contains("owned\n"), "{refused}");
    let status = container.of_first_process("status");
    let line = |name: &str| status.lines().find(|line| line.starts_with(name)).unwrap_or_default().to_owned();
    assert_eq!(line("Seccomp_filters:"), "Seccomp_filters:\t2", "the container's own and the launcher's");
    assert_eq!(line("NoNewPrivs:"), "NoNewPrivs:\t1");
    // From outside there is the container's filter alone: it is for the entrypoint, too.
    docker(&["exec", &container.0, "chown", "9", "/www/owned"]);
    let plain = Built::new("plain", &[]);
    assert!(plain.report().is_null());
    assert!(plain.start(&[]).get("/cgi-bin/own").contains("owned"), "without the launcher the call is made");
}

#[test]
fn landlock_keeps_the_program_to_the_files_that_it_uses() {
    if !engine_is_here() {
        return;
    }
    let built = Built::new("landlock", &["--landlock"]);
    assert!(built.report()["file_rules"].as_u64().unwrap() > 10);
    assert!(built.report()["system_calls_allowed"].is_null());
    fs::create_dir(built.context.path("extra")).unwrap();
    fs::write(built.context.path("extra/secret"), "secret").unwrap();
    let mount = format!("{}:/extra:ro", built.context.path("extra").display());
    let container = built.start(&["-v", &mount]);
    assert_eq!(container.get("/cgi-bin/hello"), "hello");
    for (path, done) in [("/cgi-bin/write", "written"), ("/cgi-bin/extra", "secret\n")] {
        let refused = container.get(path);
        assert!(refused.to_lowercase().contains("permission denied"), "{path}: {refused}");
        assert!(!refused.contains(done), "{path}: {refused}");
    }
    assert_eq!(
        docker(&["exec", &container.0, "cat", "/extra/secret"]),
        "secret",
        "mounted, and seen from outside"
    );
}

#[test]
fn the_redis_sample_holds_under_filter_and_file_rules() {
    if !engine_is_here() || common::image_id("sample-redis-app").is_none() {
        return;
    }
    let mut context = Context::new();
    let name = format!("slimtest-launch-redis-{}", std::process::id());
    context.remove_later(&name);
    let flags = fs::read_to_string(repository().join("samples/redis/exercise.full")).unwrap();
    let flags: Vec<&str> = flags.lines().filter(|line| line.starts_with("--")).collect();
    let build = ["build", "--seccomp-phase=entrypoint", "--landlock", "--tag", &name, "sample-redis-app"];
    context.run_slim(&[&build[..], &flags[..]].concat()).expect(0);
    let report: Value = serde_json::from_slice(&fs::read(context.path("slim.report.json")).unwrap()).unwrap();
    let launcher = &report["policy"]["launcher"];
    assert_eq!(launcher["place"], "/usr/bin/redis-server");
    let taken = launcher["system_calls_taken_away"].as_array().unwrap();
    // What setpriv did on the way to the redis user.
    for call in ["setgroups", "setresgid", "setresuid"] {
        assert!(taken.contains(&call.into()), "{call}: {taken:?}");
    }
    let artifacts = PathBuf::from(report["artifacts_folder"].as_str().unwrap());
    let profile =
        context.path("").join(artifacts).join(report["policy"]["seccomp_profile"].as_str().unwrap());
    let option = format!("--security-opt=seccomp={}", profile.display());
    common::run("bash", &["samples/redis/check", &name, &option]);
    let container = Container(docker(&["run", "-d", &option, &name]));
    std::thread::sleep(std::time::Duration::from_secs(1));
    assert_eq!(container.of_first_process("comm"), "redis-server\n", "it is called what it was called");
}
