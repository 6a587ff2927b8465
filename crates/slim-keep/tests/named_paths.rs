//! `--keep reachable`: what texts name by its path.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod support;

use slim_image::{Config, ImagePath, ImageTree, MemoryTree};
use slim_keep::{KeepSet, Level, Reason, Settings, Via};
use slim_trace::Access;
use std::fs;
use support::{DirectoryTree, Traced, entry, has, kept_with};

fn reachable(trace: &Traced, tree: &dyn ImageTree, config: &Config) -> KeepSet {
    kept_with(trace, tree, config, &Settings { level: Level::Reachable, ..Settings::default() })
}

/// What is kept when a program opened these files.
fn kept(tree: &MemoryTree, opened: &[&str]) -> KeepSet {
    let trace = opened.iter().fold(Traced::new().process("/usr/bin/program"), |trace, path| trace.open(path));
    reachable(&trace, tree, &Config::default())
}

fn of<'p>(set: &KeepSet, candidates: &[&'p str]) -> Vec<&'p str> {
    candidates.iter().copied().filter(|path| is_named(set, path)).collect()
}

/// Whether a path is kept, and not merely as one of the application's own files: in these small trees all are.
fn is_named(set: &KeepSet, path: &str) -> bool {
    set.entries.get(&ImagePath::from(path)).is_some_and(|kept| {
        !kept.because.iter().all(|reason| matches!(reason, Reason::Reachable { via: Via::Application, .. }))
    })
}

#[test]
fn a_file_that_a_kept_configuration_names_is_kept_with_its_line_as_the_reason() {
    let tree = MemoryTree::new()
        .file(
            "/etc/app/app.conf",
            0o644,
            "# errorfile /etc/errors/400.http\nerrorfile 503 /etc/errors/503.http\n",
        )
        .file("/etc/errors/400.http", 0o644, "x")
        .file("/etc/errors/503.http", 0o644, "x");
    let set = kept(&tree, &["/etc/app/app.conf"]);
    let because: Vec<String> =
        entry(&set, "/etc/errors/503.http").because.iter().map(ToString::to_string).collect();
    assert_eq!(because, ["is named in /etc/app/app.conf:2 as /etc/errors/503.http"]);
    assert!(!has(&set, "/etc/errors/400.http"));
}

#[test]
fn what_a_named_file_names_is_kept_in_its_turn() {
    let tree = MemoryTree::new()
        .file("/etc/a.conf", 0o644, "use /srv/own/b.conf\n")
        .file("/srv/own/b.conf", 0o644, "use /srv/own/c.dat and /etc/a.conf\n")
        .file("/srv/own/c.dat", 0o644, "/srv/own/d.dat\n")
        .file("/srv/own/d.dat", 0o644, "x");
    let set = kept(&tree, &["/etc/a.conf"]);
    assert_eq!(
        of(&set, &["/srv/own/b.conf", "/srv/own/c.dat", "/srv/own/d.dat"]),
        ["/srv/own/b.conf", "/srv/own/c.dat"]
    );
}

#[test]
fn globs_and_relative_includes_stand_for_what_the_image_has() {
    let tree = MemoryTree::new()
        .file(
            "/etc/web/web.conf",
            0o644,
            "include mime.types;\ninclude conf.d/*.conf;\ninclude /etc/web/sites/*;\n",
        )
        .file("/etc/web/mime.types", 0o644, "x")
        .file("/etc/web/conf.d/a.conf", 0o644, "include snippets/tls.conf;\n")
        .file("/etc/web/conf.d/b.off", 0o644, "x")
        .file("/etc/web/snippets/tls.conf", 0o644, "x")
        .symlink("/etc/web/sites/one", "/etc/web/available/one")
        .file("/etc/web/available/one", 0o644, "x")
        .file("/etc/web/available/two", 0o644, "x")
        .file("/etc/mime.types", 0o644, "x");
    let set = kept(&tree, &["/etc/web/web.conf"]);
    let expected = [
        "/etc/web/mime.types",
        "/etc/web/conf.d/a.conf",
        "/etc/web/snippets/tls.conf",
        "/etc/web/sites/one",
        "/etc/web/available/one",
    ];
    assert_eq!(of(&set, &expected), expected);
    assert_eq!(of(&set, &["/etc/web/conf.d/b.off", "/etc/web/available/two", "/etc/mime.types"]), [""; 0]);
}

#[test]
fn programs_of_supervisors_units_and_timetables_are_kept_with_what_they_need() {
    let mut tree = MemoryTree::new()
        .file(
            "/etc/supervisor/supervisord.conf",
            0o644,
            "[program:a]\ncommand=/opt/a -z\n[program:b]\ncommand=b --quick\n",
        )
        .file("/etc/systemd/system/c.service", 0o644, "[Service]\nExecStartPre=-/opt/c\n")
        .file("/etc/cron.d/d", 0o644, "MAILTO=x\n*/5 * * * * root cd / && d 2>/dev/null\n")
        .file("/opt/a", 0o755, "#!/opt/interpreter\n")
        .file("/opt/c", 0o755, "x")
        .file("/opt/interpreter", 0o755, "x");
    for name in ["b", "d", "root", "quick"] {
        tree = tree.file(format!("/usr/bin/{name}").as_str(), 0o755, "x");
    }
    let set =
        kept(&tree, &["/etc/supervisor/supervisord.conf", "/etc/systemd/system/c.service", "/etc/cron.d/d"]);
    let expected = ["/opt/a", "/opt/interpreter", "/opt/c", "/usr/bin/b", "/usr/bin/d"];
    assert_eq!(of(&set, &expected), expected);
    assert_eq!(of(&set, &["/usr/bin/root", "/usr/bin/quick"]), [""; 0]);
}

#[test]
fn a_named_directory_brings_what_it_holds_only_where_it_is_small_and_not_the_systems() {
    let mut tree = MemoryTree::new()
        .file(
            "/etc/app.conf",
            0o644,
            "a /srv/pages\nb /srv/large\nc /usr/share/thing\nd /usr/bin /usr /var/lib /etc / /srv\n",
        )
        .file("/srv/pages/deep/1.html", 0o644, "x")
        .file("/srv/large/blob", 0o644, vec![0; 2 << 20])
        .file("/usr/share/thing/page", 0o644, "x")
        .file("/usr/bin/tool", 0o755, "x")
        .file("/var/lib/state", 0o644, "x")
        .file("/etc/other.conf", 0o644, "x");
    for number in 0..500 {
        tree = tree.file(format!("/srv/many/{number}").as_str(), 0o644, "x");
    }
    let set = kept(&tree, &["/etc/app.conf"]);
    let whole = ["/srv/pages", "/srv/pages/deep/1.html", "/srv/large", "/usr/share/thing"];
    assert_eq!(of(&set, &whole), whole);
    let not = [
        "/srv/large/blob",
        "/usr/share/thing/page",
        "/usr/bin/tool",
        "/var/lib/state",
        "/etc/other.conf",
        "/srv/many",
    ];
    assert_eq!(of(&set, &not), [""; 0]);
}

#[test]
fn links_in_a_small_directory_do_not_bring_in_large_files() {
    let tree = MemoryTree::new()
        .file("/etc/app.conf", 0o644, "dir /srv/links\n")
        .symlink("/srv/links/a", "/opt/blob")
        .symlink("/srv/links/round", "/srv/links/round")
        .file("/opt/blob", 0o644, vec![0; 2 << 20]);
    let set = kept(&tree, &["/etc/app.conf"]);
    assert_eq!(of(&set, &["/srv/links", "/srv/links/a", "/opt/blob"]), ["/srv/links"]);
}

#[test]
fn no_glob_looks_through_a_fundamental_directory() {
    let tree = MemoryTree::new()
        .file("/etc/app.conf", 0o644, "/usr/bin/*\n/*\n/etc/*\n/usr/*/x\n/srv/own/*.conf\n")
        .file("/usr/bin/tool", 0o755, "x")
        .file("/usr/share/x", 0o644, "x")
        .file("/etc/other", 0o644, "x")
        .file("/srv/own/.hidden.conf", 0o644, "x")
        .file("/srv/own/a.conf", 0o644, "x");
    let set = kept(&tree, &["/etc/app.conf"]);
    let candidates =
        ["/usr/bin/tool", "/usr/share/x", "/etc/other", "/srv/own/.hidden.conf", "/srv/own/a.conf"];
    assert_eq!(of(&set, &candidates), ["/srv/own/a.conf"]);
}

#[test]
fn lists_documentation_and_package_databases_name_nothing() {
    let tree = MemoryTree::new()
        .file("/etc/passwd", 0o644, "root:x:0:0::/root:/usr/bin/shell\n")
        .file("/etc/shells", 0o644, "/usr/bin/shell\n")
        .file("/etc/app.conf", 0o644, "see /usr/share/doc/app/README and /var/lib/dpkg/status\n")
        .file("/usr/share/doc/app/README", 0o644, "x")
        .file("/var/lib/dpkg/status", 0o644, "x")
        .file("/var/lib/dpkg/info/a.conf", 0o644, "/usr/bin/shell\n")
        .file("/usr/bin/shell", 0o755, "x");
    let set = kept(&tree, &["/etc/passwd", "/etc/shells", "/etc/app.conf", "/var/lib/dpkg/info/a.conf"]);
    let not = ["/usr/bin/shell", "/usr/share/doc/app/README", "/var/lib/dpkg/status"];
    assert_eq!(of(&set, &not), [""; 0]);
}

#[test]
fn source_counts_in_literals_and_scripts_of_a_shell_are_not_for_this_rule() {
    let mut tree = MemoryTree::new()
        .file("/srv/app/main.py", 0o644, "# '/opt/a'\nopen('/opt/b')\nx = y /opt/c\n")
        .file("/usr/local/bin/run", 0o755, "#!/usr/bin/env python3\nsubprocess.run([\"/opt/d\"])\n")
        .file("/usr/local/bin/start", 0o755, "#!/bin/sh\nexec '/opt/e'\n")
        .file("/srv/app/node_modules/p/index.js", 0o644, "x('/opt/f')\n")
        .file("/usr/lib/python3/dist-packages/q.py", 0o644, "x('/opt/g')\n");
    for name in ["a", "b", "c", "d", "e", "f", "g"] {
        tree = tree.file(format!("/opt/{name}").as_str(), 0o644, "x");
    }
    let trace = Traced::new()
        .process("/usr/bin/program")
        .touch("/usr/local/bin/run", &[Access::Execute])
        .touch("/usr/local/bin/start", &[Access::Execute])
        .open("/srv/app/main.py")
        .open("/srv/app/node_modules/p/index.js")
        .open("/usr/lib/python3/dist-packages/q.py");
    let set = reachable(&trace, &tree, &Config::default());
    assert_eq!(
        of(&set, &["/opt/a", "/opt/b", "/opt/c", "/opt/d", "/opt/e", "/opt/f", "/opt/g"]),
        ["/opt/b", "/opt/d"]
    );
}

#[test]
fn a_configuration_in_the_working_directory_counts_wherever_that_is() {
    let tree = MemoryTree::new()
        .file("/usr/src/app/settings.toml", 0o644, "key = \"/opt/key\"\n")
        .file("/usr/lib/thing/thing.conf", 0o644, "/opt/other\n")
        .file("/opt/key", 0o644, "x")
        .file("/opt/other", 0o644, "x");
    let trace = Traced::new().process("/p").touch("/usr/src/app/settings.toml", &[Access::Stat]);
    let trace = trace.touch("/usr/lib/thing/thing.conf", &[Access::Stat]);
    let config = Config { working_dir: "/usr/src/app".to_owned(), ..Config::default() };
    assert_eq!(of(&reachable(&trace, &tree, &config), &["/opt/key", "/opt/other"]), ["/opt/key"]);
}

#[test]
fn bytes_that_are_no_text_name_nothing() {
    let tree = MemoryTree::new()
        .file("/etc/app.conf", 0o644, b"\0\n/opt/a\n")
        .file("/etc/odd.conf", 0o644, b"x /opt/\xff\xfe\n/opt/a\xff\n".as_slice())
        .file("/opt/a", 0o644, "x")
        .file(slim_image::ImagePath::new(b"/opt/\xff\xfe"), 0o644, "x");
    let set = kept(&tree, &["/etc/app.conf", "/etc/odd.conf"]);
    assert!(!has(&set, "/opt/a"));
    assert!(set.contains(&slim_image::ImagePath::new(b"/opt/\xff\xfe")));
}

#[test]
fn a_real_machines_configuration_brings_in_little() {
    let parts = ["/etc", "/bin", "/sbin", "/usr/bin", "/usr/sbin"];
    let tree = DirectoryTree::parts(std::path::Path::new("/"), &parts);
    let files = fs::read_dir("/etc").unwrap().map(|entry| entry.unwrap().path());
    let configurations =
        files.filter(|path| path.is_file() && path.extension().is_some_and(|ending| ending == "conf"));
    let names: Vec<String> = configurations.map(|path| path.to_str().unwrap().to_owned()).collect();
    let lists = ["/etc/passwd", "/etc/shells", "/etc/profile", "/etc/login.defs", "/etc/environment"];
    let names = names.iter().map(String::as_str).chain(lists);
    let trace = names.fold(Traced::new().process("/usr/bin/program"), Traced::open);
    let observed = kept_with(&trace, &tree, &Config::default(), &Settings::default());
    let set = reachable(&trace, &tree, &Config::default());
    let named = set.entries.len() - observed.entries.len();
    let bytes = set.figures().bytes - observed.figures().bytes;
    assert!(named < 20 && bytes < 1_000_000, "{named} paths with {bytes} bytes");
}
