//! What the image's configuration, the user's flags and the system's habits keep.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod support;

use slim_image::{Config, Healthcheck, ImagePath, Kind, MemoryTree};
use slim_keep::{KeepError, Settings, keep};
use std::collections::BTreeSet;
use support::{Traced, entry, has, kept, kept_with, kinds, notes, paths};

fn with(config: &Config, tree: &MemoryTree) -> slim_keep::KeepSet {
    kept_with(&Traced::new(), tree, config, &Settings::default())
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn an_image_without_anything_keeps_its_root() {
    let set = kept(&Traced::new(), &MemoryTree::new());
    assert_eq!(paths(&set), ["/"]);
}

#[test]
fn entrypoint_and_command_are_kept_with_the_files_among_their_arguments() {
    let tree = MemoryTree::new()
        .file("/usr/local/bin/start", 0o755, "#!/bin/sh\n")
        .file("/bin/sh", 0o755, "x")
        .file("/usr/bin/server", 0o755, "x")
        .file("/srv/app/main.js", 0o644, "x")
        .file("/etc/server.conf", 0o644, "x")
        .file("/usr/bin/other", 0o755, "x");
    let config = Config {
        entrypoint: words(&["start"]),
        cmd: words(&["server", "main.js", "--config=/etc/server.conf", "other"]),
        working_dir: "/srv/app".to_owned(),
        ..Config::default()
    };
    let set = with(&config, &tree);
    assert_eq!(
        paths(&set),
        ["/bin/sh", "/etc/server.conf", "/srv/app/main.js", "/usr/bin/server", "/usr/local/bin/start"]
    );
    assert_eq!(kinds(&set, "/usr/bin/server"), ["entrypoint"]);
    assert_eq!(kinds(&set, "/bin/sh"), ["shebang"]);
}

#[test]
fn commands_in_a_shell_line_are_kept_as_far_as_they_can_be_seen() {
    let mut tree = MemoryTree::new().file("/bin/sh", 0o755, "x").file("/etc/a b", 0o644, "x");
    for name in ["migrate", "serve", "tee", "sleep", "argument", "echo"] {
        tree = tree.file(format!("/usr/bin/{name}").as_str(), 0o755, "x");
    }
    let line = "MODE=x migrate argument && exec serve \"/etc/a b\" 2>&1 | tee; if true; then sleep 1; fi";
    let config = Config { cmd: words(&["/bin/sh", "-c", line]), ..Config::default() };
    assert_eq!(
        paths(&with(&config, &tree)),
        ["/bin/sh", "/etc/a b", "/usr/bin/migrate", "/usr/bin/serve", "/usr/bin/sleep", "/usr/bin/tee"]
    );
}

#[test]
fn the_health_check_is_kept_though_it_never_ran() {
    let tree = MemoryTree::new().file("/bin/sh", 0o755, "x").file("/usr/bin/curl", 0o755, "x");
    let check = |test: &[&str]| Config {
        healthcheck: Some(Healthcheck { test: words(test), ..Healthcheck::default() }),
        ..Config::default()
    };
    let set = with(&check(&["CMD", "curl", "-f", "http://localhost/"]), &tree);
    assert_eq!((paths(&set), kinds(&set, "/usr/bin/curl")), (words(&["/usr/bin/curl"]), vec!["healthcheck"]));
    let set = with(&check(&["CMD-SHELL", "curl -f http://localhost/ || exit 1"]), &tree);
    assert_eq!(paths(&set), ["/bin/sh", "/usr/bin/curl"]);
    assert_eq!(paths(&with(&check(&["NONE"]), &tree)), ["/"]);
}

#[test]
fn directories_with_nothing_but_what_running_programs_leave_are_kept_empty() {
    let tree = MemoryTree::new()
        .dir("/run/haproxy", 0o2775)
        .owner("/run/haproxy", 101, 103)
        .special("/run/redis/redis.sock", 0o777, Kind::Socket)
        .file("/run/nginx/nginx.pid", 0o644, "1")
        .file("/var/spool/app/.lock", 0o644, "")
        .file("/var/cache/app/.gitkeep", 0o644, "")
        .file("/var/full/data", 0o644, "x")
        .dir("/var/full/inner", 0o755);
    let set = kept(&Traced::new(), &tree);
    assert_eq!(
        paths(&set),
        ["/run/haproxy", "/run/nginx", "/run/redis", "/var/cache/app", "/var/full/inner", "/var/spool/app"]
    );
    let haproxy = &entry(&set, "/run/haproxy").entry;
    assert_eq!((haproxy.mode, haproxy.uid, haproxy.gid), (0o2775, 101, 103));
    assert_eq!(kinds(&set, "/run/redis"), ["empty-directory"]);
}

#[test]
fn the_directories_that_programs_take_for_granted_are_kept_as_they_are_and_not_invented() {
    let tree = MemoryTree::new()
        .file("/tmp/left", 0o644, "x")
        .dir("/tmp", 0o1777)
        .file("/run/left", 0o644, "x")
        .symlink("/var/run", "/run")
        .file("/work/unused", 0o644, "x")
        .file("/home/me/.profile", 0o644, "x")
        .file("/etc/passwd", 0o644, "root:x:0:0::/root:/bin/sh\nme:x:1000:1000::/home/me:/bin/sh\n");
    let config =
        Config { working_dir: "/work".to_owned(), user: "1000:1000".to_owned(), ..Config::default() };
    let set = with(&config, &tree);
    assert_eq!(paths(&set), ["/etc/passwd", "/home/me", "/run", "/tmp", "/var/run", "/work"]);
    assert_eq!(entry(&set, "/tmp").entry.mode, 0o1777);
    assert_eq!(kinds(&set, "/home/me"), ["home"]);
    assert_eq!(kinds(&set, "/work"), ["working-directory"]);
}

#[test]
fn what_the_image_holds_under_a_volume_is_kept_whole_even_where_the_user_mounted_over_it() {
    let tree = MemoryTree::new()
        .file("/var/data/seed/a", 0o600, "x")
        .dir("/var/data/empty", 0o700)
        .symlink("/var/data/link", "/opt/target")
        .file("/opt/target", 0o644, "x")
        .file("/opt/other", 0o644, "x");
    let config = Config { volumes: BTreeSet::from(["/var/data/".to_owned()]), ..Config::default() };
    let trace = Traced::new().mount("/var/data", slim_trace::MountKind::Other);
    let set = kept_with(&trace, &tree, &config, &Settings::default());
    assert_eq!(paths(&set), ["/opt/target", "/var/data/empty", "/var/data/link", "/var/data/seed/a"]);
    assert!(kinds(&set, "/var/data/seed/a").contains(&"volume"));
}

#[test]
fn the_systems_small_files_are_kept_with_their_links_and_no_single_certificates() {
    let tree = MemoryTree::new()
        .file("/etc/passwd", 0o644, "")
        .file("/etc/group", 0o644, "")
        .file("/etc/shadow", 0o600, "")
        .file("/etc/nsswitch.conf", 0o644, "")
        .file("/usr/lib/os-release", 0o644, "")
        .symlink("/etc/os-release", "../usr/lib/os-release")
        .file("/etc/ld.so.cache", 0o644, "")
        .file("/etc/ssl/certs/ca-certificates.crt", 0o644, "")
        .symlink("/etc/ssl/cert.pem", "certs/ca-certificates.crt")
        .file("/etc/ssl/certs/One.pem", 0o644, "");
    assert_eq!(
        paths(&kept(&Traced::new(), &tree)),
        [
            "/etc/group",
            "/etc/ld.so.cache",
            "/etc/nsswitch.conf",
            "/etc/os-release",
            "/etc/passwd",
            "/etc/ssl/cert.pem",
            "/etc/ssl/certs/ca-certificates.crt",
            "/usr/lib/os-release"
        ]
    );
}

#[test]
fn the_name_services_come_with_the_c_library_only() {
    let tree = MemoryTree::new()
        .file("/lib/x86_64-linux-gnu/libc-2.31.so", 0o755, "x")
        .symlink("/lib/x86_64-linux-gnu/libc.so.6", "libc-2.31.so")
        .file("/lib/x86_64-linux-gnu/libnss_dns.so.2", 0o644, "x")
        .file("/lib/x86_64-linux-gnu/libnss_nis.so.2", 0o644, "x");
    assert_eq!(paths(&kept(&Traced::new(), &tree)), ["/"]);
    let set = kept(&Traced::new().process("/p").open("/lib/x86_64-linux-gnu/libc.so.6"), &tree);
    assert!(has(&set, "/lib/x86_64-linux-gnu/libnss_dns.so.2"));
    assert!(!has(&set, "/lib/x86_64-linux-gnu/libnss_nis.so.2"));
}

#[test]
fn flags_bring_trees_files_and_programs() {
    let tree = MemoryTree::new()
        .file("/opt/tools/deep/a", 0o644, "x")
        .file("/opt/tools/run", 0o755, "#!/bin/sh\n")
        .symlink("/opt/tools/out", "/usr/lib/out")
        .file("/usr/lib/out", 0o644, "x")
        .file("/bin/sh", 0o755, "x")
        .file("/usr/lib/libx.so", 0o644, "x")
        .file("/usr/bin/jq", 0o755, "x");
    let settings = Settings {
        include_path: vec!["/opt/tools".into()],
        include_bin: vec!["/usr/lib/libx.so".into()],
        include_exe: words(&["jq"]),
        ..Settings::default()
    };
    let set = kept_with(&Traced::new(), &tree, &Config::default(), &settings);
    assert_eq!(
        paths(&set),
        [
            "/bin/sh",
            "/opt/tools/deep/a",
            "/opt/tools/out",
            "/opt/tools/run",
            "/usr/bin/jq",
            "/usr/lib/libx.so",
            "/usr/lib/out"
        ]
    );
    let reasons: Vec<String> = entry(&set, "/usr/bin/jq").because.iter().map(ToString::to_string).collect();
    assert_eq!(reasons, ["was asked for by --include-exe jq"]);
}

#[test]
fn an_include_that_the_image_does_not_have_is_an_error_that_names_it() {
    let tree = MemoryTree::new().dir("/opt", 0o755).file("/usr/bin/text", 0o644, "x");
    let error = |settings: Settings| {
        keep(&Traced::new().0, &tree, &Config::default(), &settings).unwrap_err().to_string()
    };
    let path = |path: &str| vec![ImagePath::from(path)];
    assert_eq!(
        error(Settings { include_path: path("/none"), ..Settings::default() }),
        "find /none of --include-path in the image"
    );
    assert_eq!(
        error(Settings { include_bin: path("/opt"), ..Settings::default() }),
        "find /opt of --include-bin in the image"
    );
    assert_eq!(
        error(Settings { include_exe: words(&["text"]), ..Settings::default() }),
        "find text of --include-exe in the image"
    );
    let bad = Settings { exclude_pattern: words(&["/["]), ..Settings::default() };
    let error = keep(&Traced::new().0, &tree, &Config::default(), &bad).unwrap_err();
    assert!(matches!(error, KeepError::Pattern { .. }));
}

#[test]
fn an_excluded_path_goes_last_of_all_and_a_note_says_when_it_was_used() {
    let tree = MemoryTree::new()
        .file("/app/doc/a.md", 0o644, "x")
        .file("/app/used/b.md", 0o644, "x")
        .file("/app/used/c.txt", 0o644, "x")
        .file("/app/included.md", 0o644, "x");
    let settings = Settings {
        include_path: vec!["/app/included.md".into(), "/app/doc".into()],
        exclude_pattern: words(&["/app/**/*.md", "/app/doc"]),
        ..Settings::default()
    };
    let trace = Traced::new().process("/p").open("/app/used/b.md").open("/app/used/c.txt");
    let set = kept_with(&trace, &tree, &Config::default(), &settings);
    assert_eq!(paths(&set), ["/app/used/c.txt"]);
    assert_eq!(
        notes(&set),
        ["--exclude-pattern /app/**/*.md takes away 1 path that the program used, /app/used/b.md among them"]
    );
}
