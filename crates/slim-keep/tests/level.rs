//! What `--keep package` keeps beyond `--keep reachable`.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod support;

use slim_image::{Config, MemoryTree};
use slim_keep::{KeepSet, Level, Settings, keep};
use support::{Traced, entry, has, kept_with, kinds};

/// A server of a package that needs nothing else, packages that nothing uses, and modules of two languages.
fn image() -> MemoryTree {
    MemoryTree::new()
        .file("/usr/sbin/server", 0o755, "x")
        .file("/usr/lib/server/modules/unused.so", 0o644, "x")
        .symlink("/usr/sbin/server-link", "server")
        .file("/usr/share/doc/server/README", 0o644, "x")
        .file("/usr/share/man/man8/server.8", 0o644, "x")
        .file("/usr/share/locale/de/server.mo", 0o644, "x")
        .file("/usr/bin/other", 0o755, "#!/usr/bin/interpreter\n")
        .file("/usr/bin/interpreter", 0o755, "x")
        .file("/etc/host.conf", 0o644, "x")
        .file("/usr/share/base/large", 0o644, "x")
        .file(
            "/var/lib/dpkg/info/server.list",
            0o644,
            "/usr/sbin\n/usr/sbin/server\n/usr/sbin/server-link\n/usr/lib/server/modules/unused.so\n\
             /usr/share/doc/server/README\n/usr/share/man/man8/server.8\n/usr/share/locale/de/server.mo\n",
        )
        .file("/var/lib/dpkg/info/other.list", 0o644, "/usr/sbin\n/usr/bin/other\n")
        .file("/var/lib/dpkg/info/base.list", 0o644, "/etc/host.conf\n/usr/share/base/large\n")
        .file("/srv/node_modules/used/package.json", 0o644, "{}")
        .file("/srv/node_modules/used/index.js", 0o644, "x")
        .file("/srv/node_modules/used/lib/unused.js", 0o644, "x")
        .file("/srv/node_modules/unused/package.json", 0o644, "{}")
}

fn at(level: Level) -> KeepSet {
    let trace = Traced::new().process("/usr/sbin/server").open("/srv/node_modules/used/index.js");
    kept_with(&trace, &image(), &Config::default(), &Settings { level, ..Settings::default() })
}

#[test]
fn the_whole_of_a_package_is_kept_of_which_one_file_is_and_its_documentation_is_not() {
    let set = at(Level::Package);
    for path in
        ["/usr/lib/server/modules/unused.so", "/usr/sbin/server-link", "/srv/node_modules/used/lib/unused.js"]
    {
        assert!(kinds(&set, path).contains(&"reachable"), "{path}");
    }
    for path in ["doc/server/README", "man/man8/server.8", "locale/de/server.mo"] {
        assert!(!has(&set, &format!("/usr/share/{path}")), "{path}");
    }
    assert_eq!(
        entry(&set, "/usr/lib/server/modules/unused.so").because.first().unwrap().to_string(),
        "is of the package server, as /usr/sbin/server is"
    );
}

#[test]
fn a_package_of_which_only_a_directory_or_a_file_of_every_image_is_kept_stays_out() {
    let set = at(Level::Package);
    for path in
        ["/usr/bin/other", "/usr/bin/interpreter", "/usr/share/base/large", "/srv/node_modules/unused"]
    {
        assert!(!has(&set, path), "{path}");
    }
    assert!(has(&set, "/etc/host.conf"));
}

#[test]
fn each_level_keeps_what_the_one_below_does() {
    let [observed, reachable, package] = [Level::Observed, Level::Reachable, Level::Package].map(at);
    assert!(observed.entries.keys().all(|path| reachable.contains(path)));
    assert!(reachable.entries.keys().all(|path| package.contains(path)));
    assert!(!has(&reachable, "/usr/lib/server/modules/unused.so"));
}

#[test]
fn what_a_packages_files_need_is_kept_without_the_rest_of_its_package() {
    let tree = image()
        .symlink("/usr/lib/server/data", "/usr/share/data/real")
        .file("/usr/share/data/real", 0o644, "x")
        .file("/usr/share/data/more", 0o644, "x")
        .file("/var/lib/dpkg/info/data.list", 0o644, "/usr/share/data/real\n/usr/share/data/more\n")
        .file("/var/lib/dpkg/info/server.list", 0o644, "/usr/sbin/server\n/usr/lib/server/data\n");
    let trace = Traced::new().process("/usr/sbin/server");
    let settings = Settings { level: Level::Package, ..Settings::default() };
    let set = keep(&trace.0, &tree, &Config::default(), &settings).unwrap();
    assert!(has(&set, "/usr/share/data/real") && !has(&set, "/usr/share/data/more"));
}
