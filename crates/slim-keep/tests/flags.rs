//! What each flag about files keeps, or leaves out.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod support;

use slim_image::{Config, Healthcheck, ImagePath, MemoryTree};
use slim_keep::{Certificates, Permissions, Settings, keep};
use std::collections::BTreeMap;
use support::{Traced, entry, has, kept_with, paths};

fn kept(tree: &MemoryTree, config: &Config, settings: &Settings) -> slim_keep::KeepSet {
    kept_with(&Traced::new(), tree, config, settings)
}

fn all(tree: &MemoryTree, settings: &Settings) -> Vec<String> {
    paths(&kept(tree, &Config::default(), settings))
}

fn error(tree: &MemoryTree, settings: &Settings) -> String {
    keep(&Traced::new().0, tree, &Config::default(), settings).unwrap_err().to_string()
}

fn path(path: &str) -> Vec<ImagePath> {
    vec![path.into()]
}

#[test]
fn a_shell_comes_with_the_commands_that_the_image_has() {
    let tree = MemoryTree::new()
        .file("/bin/busybox", 0o755, "x")
        .symlink("/bin/sh", "busybox")
        .symlink("/bin/ls", "busybox")
        .file("/usr/bin/grep", 0o755, "x")
        .file("/usr/bin/wget", 0o755, "x");
    let settings = Settings { include_shell: true, ..Settings::default() };
    assert_eq!(all(&tree, &settings), ["/bin/busybox", "/bin/ls", "/bin/sh", "/usr/bin/grep"]);
    let set = kept(&tree, &Config::default(), &settings);
    let reason = entry(&set, "/usr/bin/grep").because.first().unwrap().to_string();
    assert_eq!(reason, "was asked for by --include-shell");
    let without = MemoryTree::new().file("/usr/bin/grep", 0o755, "x");
    assert_eq!(error(&without, &settings), "find a shell (sh or bash) of --include-shell in the image");
}

#[test]
fn the_working_directory_comes_with_all_below() {
    let tree = MemoryTree::new().file("/srv/app/deep/a", 0o644, "x").file("/srv/other", 0o644, "x");
    let config = Config { working_dir: "/srv/app".to_owned(), ..Config::default() };
    let settings = Settings { include_workdir: true, ..Settings::default() };
    assert_eq!(paths(&kept(&tree, &config, &settings)), ["/srv/app/deep/a"]);
    assert_eq!(paths(&kept(&tree, &config, &Settings::default())), ["/srv/app"]);
}

#[test]
fn a_preserved_path_is_kept_as_the_image_has_it() {
    let tree = MemoryTree::new().file("/data/seed", 0o600, "x").file("/data/other", 0o600, "x");
    let settings = Settings { preserve_path: path("/data/seed"), ..Settings::default() };
    assert_eq!(all(&tree, &settings), ["/data/seed"]);
    let settings = Settings { preserve_path: path("/none"), ..Settings::default() };
    assert_eq!(error(&tree, &settings), "find /none of --preserve-path in the image");
}

#[test]
fn of_a_directory_of_binaries_only_elf_files_are_taken() {
    let tree = MemoryTree::new()
        .file("/opt/tools/bin/a", 0o755, "\x7fELF")
        .file("/opt/tools/lib/deep/b.so", 0o644, "\x7fELF")
        .file("/opt/tools/README", 0o644, "text")
        .file("/opt/tools/short", 0o644, "\x7fE")
        .symlink("/tools", "/opt/tools");
    let settings = Settings { include_dir_bins: path("/tools"), ..Settings::default() };
    assert_eq!(all(&tree, &settings), ["/opt/tools/bin/a", "/opt/tools/lib/deep/b.so"]);
    let settings = Settings { include_dir_bins: path("/none"), ..Settings::default() };
    assert_eq!(error(&tree, &settings), "find /none of --include-dir-bins in the image");
}

#[test]
fn time_zones_come_with_their_link() {
    let tree = MemoryTree::new()
        .file("/usr/share/zoneinfo/Europe/Berlin", 0o644, "x")
        .file("/usr/share/other", 0o644, "x")
        .symlink("/etc/localtime", "/usr/share/zoneinfo/Europe/Berlin")
        .file("/etc/timezone", 0o644, "x");
    let settings = Settings { include_zoneinfo: true, ..Settings::default() };
    assert_eq!(
        all(&tree, &settings),
        ["/etc/localtime", "/etc/timezone", "/usr/share/zoneinfo/Europe/Berlin"]
    );
    assert_eq!(all(&tree, &Settings::default()), ["/"]);
}

#[test]
fn what_tells_the_distribution_is_more_than_os_release() {
    let tree = MemoryTree::new()
        .file("/etc/os-release", 0o644, "x")
        .file("/etc/debian_version", 0o644, "x")
        .file("/etc/alpine-release", 0o644, "x")
        .file("/etc/issue", 0o644, "x")
        .file("/etc/fstab", 0o644, "x");
    let settings = Settings { include_distro_info: true, ..Settings::default() };
    assert_eq!(
        all(&tree, &settings),
        ["/etc/alpine-release", "/etc/debian_version", "/etc/issue", "/etc/os-release"]
    );
    assert_eq!(all(&tree, &Settings::default()), ["/etc/os-release"]);
}

#[test]
fn certificates_and_keys_come_in_the_parts_that_were_asked_for() {
    let tree = MemoryTree::new()
        .file("/etc/ssl/certs/ca-certificates.crt", 0o644, "x")
        .symlink("/etc/ssl/certs/one.pem", "/usr/share/ca-certificates/one.crt")
        .file("/usr/share/ca-certificates/one.crt", 0o644, "x")
        .file("/usr/local/share/ca-certificates/own.crt", 0o644, "x")
        .file("/etc/ssl/private/service.key", 0o600, "x")
        .file("/etc/ssl/ca/private/ca.key", 0o600, "x");
    let none = Certificates { bundles: false, ..Certificates::default() };
    let with = |certificates| all(&tree, &Settings { certificates, ..Settings::default() });
    assert_eq!(with(none), ["/"]);
    assert_eq!(with(Certificates::default()), ["/etc/ssl/certs/ca-certificates.crt"]);
    assert_eq!(
        with(Certificates { directories: true, ..none }),
        [
            "/etc/ssl/certs/ca-certificates.crt",
            "/etc/ssl/certs/one.pem",
            "/usr/share/ca-certificates/one.crt"
        ]
    );
    assert_eq!(
        with(Certificates { sources: true, ..none }),
        ["/usr/local/share/ca-certificates/own.crt", "/usr/share/ca-certificates/one.crt"]
    );
    assert_eq!(with(Certificates { key_directories: true, ..none }), ["/etc/ssl/private/service.key"]);
    assert_eq!(with(Certificates { authority_keys: true, ..none }), ["/etc/ssl/ca/private/ca.key"]);
}

#[test]
fn the_health_check_can_be_left_out() {
    let tree = MemoryTree::new().file("/usr/bin/curl", 0o755, "x");
    let test = vec!["CMD".to_owned(), "curl".to_owned()];
    let config =
        Config { healthcheck: Some(Healthcheck { test, ..Healthcheck::default() }), ..Config::default() };
    assert!(has(&kept(&tree, &config, &Settings::default()), "/usr/bin/curl"));
    let without = Settings { without_healthcheck: true, ..Settings::default() };
    assert!(!has(&kept(&tree, &config, &without), "/usr/bin/curl"));
}

#[test]
fn the_name_services_can_be_left_out() {
    let tree = MemoryTree::new()
        .file("/etc/nsswitch.conf", 0o644, "x")
        .file("/etc/host.conf", 0o644, "x")
        .file("/etc/gai.conf", 0o644, "x")
        .file("/lib/libc.so.6", 0o755, "x")
        .file("/lib/libnss_dns.so.2", 0o755, "x");
    let trace = Traced::new().process("/p").open("/lib/libc.so.6");
    let with = |settings: &Settings| paths(&kept_with(&trace, &tree, &Config::default(), settings));
    assert_eq!(
        with(&Settings::default()),
        ["/etc/gai.conf", "/etc/host.conf", "/etc/nsswitch.conf", "/lib/libc.so.6", "/lib/libnss_dns.so.2"]
    );
    let without = Settings { without_name_services: true, ..Settings::default() };
    assert_eq!(with(&without), ["/lib/libc.so.6"]);
}

#[test]
fn permissions_are_given_to_the_object_under_all_its_names_and_bring_it_in() {
    let tree = MemoryTree::new()
        .file("/opt/a", 0o4755, "x")
        .hard_link("/opt/b", "/opt/a")
        .symlink("/opt/link", "a")
        .dir("/opt/folder", 0o700)
        .file("/opt/folder/inside", 0o600, "x");
    let wanted = BTreeMap::from([
        (
            ImagePath::from("/opt/link"),
            Permissions { mode: 0o640, with_special: false, uid: Some(5), gid: Some(6) },
        ),
        (
            ImagePath::from("/opt/folder"),
            Permissions { mode: 0o1777, with_special: true, uid: None, gid: None },
        ),
    ]);
    let settings = Settings { permissions: wanted, include_path: path("/opt/b"), ..Settings::default() };
    let set = keep(&Traced::new().0, &tree, &Config::default(), &settings).unwrap();
    assert_eq!(paths(&set), ["/opt/a", "/opt/b", "/opt/folder", "/opt/link"]);
    let of = |path: &str| {
        let entry = &entry(&set, path).entry;
        (entry.mode, entry.uid, entry.gid)
    };
    assert_eq!(of("/opt/a"), (0o4640, 5, 6), "three digits leave the set-user-id bit alone");
    assert_eq!(of("/opt/b"), of("/opt/a"));
    assert_eq!(of("/opt/folder"), (0o1777, 0, 0));
    let missing = BTreeMap::from([(ImagePath::from("/none"), Permissions::default())]);
    let settings = Settings { permissions: missing, ..Settings::default() };
    assert_eq!(error(&tree, &settings), "find /none of --path-perms in the image");
}
