//! What a trace keeps: links, parents, removals, mounts, sweeps and listings.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod support;

use slim_image::{Config, Kind, MemoryTree};
use slim_keep::{ImageNames, KeepFile, Made, Reason, Settings};
use slim_trace::{Access, MountKind, Phase, Process, TracedPath};
use support::{Traced, entry, has, kept, kept_with, kinds, notes, paths};

/// Mint's finding 2: files behind an absolute symlink to a directory came out empty.
#[test]
fn a_file_behind_an_absolute_directory_symlink_is_kept_with_link_and_target() {
    let tree = MemoryTree::new()
        .file("/data/real/sub/in.txt", 0o640, "content")
        .symlink("/srv/link", "/data/real")
        .file("/data/real/other", 0o644, "x");
    let set = kept(&Traced::new().process("/app").open("/srv/link/sub/in.txt"), &tree);
    assert_eq!(paths(&set), ["/data/real/sub/in.txt", "/srv/link"]);
    assert_eq!(entry(&set, "/data/real/sub/in.txt").entry.size(), 7);
    assert_eq!(kinds(&set, "/srv/link"), ["symlink-on-the-way"]);
}

/// Mint's finding 6: parents of symlinks became 0777.
#[test]
fn parents_keep_their_own_mode_and_owner() {
    let tree = MemoryTree::new()
        .file("/a/b/f", 0o600, "x")
        .symlink("/a/l", "b/f")
        .dir("/a", 0o710)
        .dir("/a/b", 0o2750)
        .owner("/a/b", 4_000_000, 77);
    let set = kept(&Traced::new().process("/app").open("/a/l"), &tree);
    assert_eq!(entry(&set, "/a").entry.mode, 0o710);
    let parent = &entry(&set, "/a/b").entry;
    assert_eq!((parent.mode, parent.uid, parent.gid), (0o2750, 4_000_000, 77));
    assert_eq!(kinds(&set, "/a/b"), ["parent-of"]);
}

/// Mint's finding 5: setuid bits, capabilities and hard links were lost.
#[test]
fn mode_bits_attributes_and_kept_names_of_one_inode_survive() {
    let tree = MemoryTree::new()
        .file("/bin/ping", 0o4755, "x")
        .xattr("/bin/ping", "security.capability", [1, 0, 0, 2])
        .hard_link("/bin/ping4", "/bin/ping")
        .hard_link("/bin/ping6", "/bin/ping");
    let set = kept(&Traced::new().process("/app").open("/bin/ping").open("/bin/ping4"), &tree);
    assert_eq!(paths(&set), ["/bin/ping", "/bin/ping4"]);
    let (first, second) = (&entry(&set, "/bin/ping").entry, &entry(&set, "/bin/ping4").entry);
    assert_eq!((first.mode, first.xattrs.len()), (0o4755, 1));
    assert_eq!((first.hard_link_group.is_some(), first.hard_link_group), (true, second.hard_link_group));
}

/// Mint's issue 405: files that the program consumed at its start were gone at the next.
#[test]
fn what_the_program_removed_or_renamed_away_is_kept() {
    let tree = MemoryTree::new().file("/seed/removed", 0o644, "1").file("/seed/moved", 0o644, "2");
    let trace = Traced::new()
        .process("/app")
        .touch("/seed/removed", &[Access::Remove])
        .touch("/seed/moved", &[Access::RenameFrom])
        .touch("/seed/new", &[Access::RenameTo]);
    assert_eq!(paths(&kept(&trace, &tree)), ["/seed/moved", "/seed/removed"]);
}

#[test]
fn what_the_program_made_is_not_kept_but_its_directory_is() {
    let tree = MemoryTree::new().file("/var/app/unused", 0o644, "x").owner("/var/app", 33, 33);
    let set = kept(&Traced::new().process("/app").touch("/var/app/new/deep", &[Access::Create]), &tree);
    assert_eq!(paths(&set), ["/var/app"]);
    assert_eq!(kinds(&set, "/var/app"), ["on-the-way"]);
}

#[test]
fn a_look_up_that_found_nothing_keeps_links_and_directories_on_the_way_only() {
    let tree =
        MemoryTree::new().file("/d/other", 0o644, "x").symlink("/l", "d").symlink("/d/dangling", "none");
    let trace = Traced::new().process("/app").touch("/l/dangling", &[Access::Missing]);
    assert_eq!(paths(&kept(&trace, &tree)), ["/d/dangling", "/l"]);
    let trace = Traced::new().process("/app").touch("/d/other", &[Access::Missing]);
    assert_eq!(paths(&kept(&trace, &tree)), ["/d"]);
}

#[test]
fn a_file_only_asked_about_is_kept_with_its_contents() {
    let tree = MemoryTree::new().file("/etc/flag", 0o644, "on").file("/etc/flag2", 0o644, "on");
    let set = kept(&Traced::new().process("/app").touch("/etc/flag", &[Access::Stat]), &tree);
    assert_eq!(paths(&set), ["/etc/flag"]);
}

#[test]
fn a_link_only_read_or_removed_does_not_bring_its_target() {
    let tree = MemoryTree::new().file("/t", 0o644, "x").symlink("/l", "t").symlink("/m", "t");
    let trace = Traced::new()
        .process("/app")
        .touch("/l", &[Access::ReadLink])
        .touch("/m", &[Access::Remove, Access::Missing]);
    assert_eq!(paths(&kept(&trace, &tree)), ["/l", "/m"]);
}

#[test]
fn the_container_runtimes_own_work_never_counts() {
    let tree = MemoryTree::new().file("/a", 0o644, "").file("/b", 0o644, "").file("/c", 0o644, "");
    let mut trace = Traced::new()
        .process("/runc")
        .touch_in("/a", &[Access::Open], &[Phase::Runtime])
        .touch_in("/b", &[Access::Open], &[Phase::RuntimeFiltered])
        .touch_in("/c", &[Access::Open], &[Phase::Runtime, Phase::Shutdown]);
    trace.0.processes[0].began = Phase::Runtime;
    let set = kept(&trace, &tree);
    assert_eq!(paths(&set), ["/c"]);
    let Some(Reason::Traced { phases, .. }) = entry(&set, "/c").because.first() else { panic!() };
    assert_eq!(phases.iter().collect::<Vec<_>>(), [&Phase::Shutdown]);
}

/// Mint's finding 4 and issue 331: what the host mounted was baked into the image.
#[test]
fn nothing_under_a_mount_of_the_users_is_kept_but_the_directory_is() {
    let tree = MemoryTree::new()
        .file("/data/secret", 0o600, "fat")
        .dir("/data", 0o700)
        .file("/data/volume/kept", 0o644, "x")
        .file("/etc/app.conf", 0o644, "x")
        .symlink("/current", "/data/secret");
    let trace = Traced::new()
        .mount("/", MountKind::Root)
        .mount("/data", MountKind::Other)
        .mount("/data/volume", MountKind::ImageVolume)
        .mount("/etc/app.conf", MountKind::Other)
        .process("/app")
        .open("/data/secret")
        .open("/etc/app.conf")
        .open("/current")
        .open("/data/volume/kept");
    let set = kept(&trace, &tree);
    assert_eq!(paths(&set), ["/current", "/data/volume/kept", "/etc"]);
    assert_eq!(entry(&set, "/data").entry.mode, 0o700);
}

/// Mint's finding on docker-managed files: the tracing container's hosts and resolv.conf landed in the image.
#[test]
fn the_engines_own_files_are_never_kept() {
    let tree = MemoryTree::new()
        .file("/.dockerenv", 0o644, "")
        .file("/etc/hosts", 0o644, "fat")
        .file("/etc/hostname", 0o644, "fat")
        .symlink("/etc/mtab", "/proc/mounts")
        .symlink("/etc/resolv.conf", "../run/stub")
        .file("/run/stub", 0o644, "fat")
        .file("/proc/mounts", 0o444, "fat")
        .special("/dev/null", 0o666, Kind::CharacterDevice { major: 1, minor: 3 });
    let mut trace = Traced::new().process("/app");
    for path in ["/.dockerenv", "/etc/hosts", "/etc/hostname", "/etc/mtab", "/etc/resolv.conf", "/dev/null"] {
        trace = trace.open(path);
    }
    let set = kept(&trace, &tree);
    assert_eq!(paths(&set), ["/dev", "/etc", "/proc", "/run"]);
    let settings = Settings { include_path: vec!["/dev".into(), "/etc".into()], ..Settings::default() };
    assert_eq!(
        paths(&kept_with(&trace, &tree, &Config::default(), &settings)),
        ["/dev", "/etc", "/proc", "/run"]
    );
}

#[test]
fn what_exec_needs_is_kept_though_no_process_opened_it() {
    let tree = MemoryTree::new()
        .file("/app/run.sh", 0o755, "#!/bin/sh\n")
        .file("/usr/bin/dash", 0o755, "x")
        .symlink("/bin", "usr/bin")
        .symlink("/usr/bin/sh", "dash")
        .file("/lib/ld.so", 0o755, "x");
    let mut trace = Traced::new();
    trace.0.processes.push(Process {
        parent: None,
        began: Phase::Exercise,
        executable: Some(TracedPath::new("/usr/bin/dash")),
        invoked_as: Some(TracedPath::new("/app/run.sh")),
        interpreter: Some(TracedPath::new("/lib/ld.so")),
        shebang: vec![TracedPath::new("/bin/sh")],
        argv: vec!["/bin/sh".to_owned()],
    });
    let set = kept(&trace, &tree);
    assert_eq!(paths(&set), ["/app/run.sh", "/bin", "/lib/ld.so", "/usr/bin/dash", "/usr/bin/sh"]);
    assert!(kinds(&set, "/usr/bin/dash").contains(&"traced"));
}

#[test]
fn a_socket_keeps_its_directory() {
    let tree = MemoryTree::new().special("/run/app/app.sock", 0o777, Kind::Socket).owner("/run/app", 5, 5);
    let set = kept(
        &Traced::new().process("/app").touch("/run/app/app.sock", &[Access::Connect, Access::Stat]),
        &tree,
    );
    assert_eq!(paths(&set), ["/run/app"]);
}

#[test]
fn names_that_are_no_text_are_kept_as_they_are() {
    let tree = MemoryTree::new().file(slim_image::ImagePath::new(b"/d/\xff\xfe"), 0o644, "x");
    let mut trace = Traced::new().process("/app").open("/x");
    trace.0.files[0].path = TracedPath::new(b"/d/\xff\xfe".to_vec());
    let set = kept(&trace, &tree);
    assert_eq!(paths(&set), ["/d/\\xff\\xfe"]);
    let image = ImageNames { id: slim_image::Digest::of("fat"), names: Vec::new() };
    let file = KeepFile::new(&set, &Made::of(image), &tree, &());
    assert_eq!(KeepFile::from_json(&file.to_json()).unwrap(), file);
}

#[test]
fn the_order_of_the_trace_makes_no_difference() {
    let tree = MemoryTree::new().file("/a/f", 0o644, "x").symlink("/l", "a").file("/a/g", 0o644, "x");
    let forward = Traced::new().process("/p").open("/l/f").process("/q").open("/a/f").open("/l/g");
    let mut backward = Traced::new().process("/p").open("/l/f").process("/q").open("/a/f").open("/l/g");
    backward.0.files.reverse();
    assert_eq!(kept(&forward, &tree), kept(&backward, &tree));
}

#[test]
fn the_entries_of_a_listed_directory_are_kept_by_name_and_content() {
    let tree = MemoryTree::new()
        .file("/srv/conf.d/a.conf", 0o644, "a")
        .symlink("/srv/conf.d/b.conf", "../shared/b.conf")
        .file("/srv/shared/b.conf", 0o644, "b")
        .file("/srv/conf.d/sub/deep", 0o644, "x")
        .special("/srv/conf.d/s", 0o644, Kind::Socket);
    let set = kept(&Traced::new().process("/bin/app").list("/srv/conf.d/"), &tree);
    assert_eq!(
        paths(&set),
        ["/srv/conf.d/a.conf", "/srv/conf.d/b.conf", "/srv/conf.d/sub", "/srv/shared/b.conf"]
    );
    let reason = Reason::ListedBy { directory: "/srv/conf.d".into(), program: "/bin/app".to_owned() };
    assert!(entry(&set, "/srv/conf.d/a.conf").because.contains(&reason));
}

#[test]
fn a_big_directory_of_the_system_is_not_kept_for_being_listed_and_a_note_says_so() {
    let mut tree = MemoryTree::new();
    for number in 0..101 {
        tree = tree.file(format!("/usr/share/zone/{number}").as_str(), 0o644, "12345");
    }
    let trace =
        Traced::new().process("/bin/app").list("/usr/share/zone").open("/usr/share/zone/7").list("/usr");
    let set = kept(&trace, &tree);
    assert_eq!(paths(&set), ["/usr/share/zone/7"]);
    assert_eq!(
        notes(&set),
        ["/bin/app listed /usr/share/zone; 100 entries in it that nothing used are not kept (500 B)"]
    );
}

#[test]
fn a_big_directory_of_the_programs_own_is_kept_whole() {
    let mut tree = MemoryTree::new();
    for number in 0..300 {
        tree = tree.file(format!("/srv/pages/{number}").as_str(), 0o644, "12345");
    }
    let set = kept(&Traced::new().process("/bin/app").list("/srv/pages"), &tree);
    assert_eq!(set.figures().files, 300);
}

#[test]
fn a_fundamental_directory_is_listed_for_nothing_unless_it_is_where_the_program_works() {
    let tree = MemoryTree::new().file("/opt/a", 0o644, "x").file("/usr/bin/tool", 0o755, "x");
    let trace = Traced::new().process("/bin/app").list("/opt").list("/usr/bin");
    assert_eq!(paths(&kept(&trace, &tree)), ["/opt", "/usr/bin"]);
    let config = Config { working_dir: "/opt".to_owned(), ..Config::default() };
    let set = kept_with(&trace, &tree, &config, &Settings::default());
    assert_eq!(paths(&set), ["/opt/a", "/usr/bin"]);
}

#[test]
fn pythons_search_for_modules_keeps_only_what_it_loads() {
    let tree = MemoryTree::new()
        .file("/usr/lib/python3.11/json/__init__.py", 0o644, "x")
        .file("/usr/lib/python3.11/json/decoder.py", 0o644, "x")
        .file("/usr/lib/python3.11/xml/__init__.py", 0o644, "xyz")
        .file("/srv/app/main.py", 0o644, "x")
        .file("/srv/app/unused.py", 0o644, "x")
        .file("/srv/app/words.txt", 0o644, "x")
        .file("/srv/app/package/__init__.py", 0o644, "x")
        .file("/srv/path/flask/__init__.py", 0o644, "x")
        .file("/srv/plugins/a.py", 0o644, "x");
    let trace = Traced::new()
        .process("/usr/bin/python3.11")
        .list("/usr/lib/python3.11")
        .list("/usr/lib/python3.11/json")
        .open("/usr/lib/python3.11/json/__init__.py")
        .list("/srv/app")
        .open("/srv/app/main.py")
        .list("/srv/path")
        .list("/srv/plugins");
    let config = Config { env: vec!["PYTHONPATH=/srv/path".to_owned()], ..Config::default() };
    let set = kept_with(&trace, &tree, &config, &Settings::default());
    assert_eq!(
        paths(&set),
        [
            "/srv/app/main.py",
            "/srv/app/words.txt",
            "/srv/path",
            "/srv/plugins/a.py",
            "/usr/lib/python3.11/json/__init__.py"
        ]
    );
    assert_eq!(
        notes(&set),
        [
            "/usr/bin/python3.11 searched 4 directories for modules; 5 entries that it did not load are not kept (2 B)"
        ]
    );
}

/// An application server's parent lists the directory from which only its workers import.
#[test]
fn a_directory_that_any_python_process_imports_from_is_searched_by_all_of_them() {
    let tree = MemoryTree::new()
        .file("/srv/app/main.py", 0o644, "x")
        .file("/srv/app/tool.py", 0o644, "x")
        .file("/srv/app/words.txt", 0o644, "x");
    let trace = Traced::new()
        .process("/usr/bin/python3")
        .list("/srv/app")
        .process("/usr/bin/python3")
        .open("/srv/app/main.py");
    assert_eq!(paths(&kept(&trace, &tree)), ["/srv/app/main.py", "/srv/app/words.txt"]);
}

#[test]
fn another_program_that_lists_python_directories_gets_what_it_listed() {
    let tree = MemoryTree::new().file("/srv/site-packages/a.py", 0o644, "x");
    let set = kept(&Traced::new().process("/usr/bin/node").list("/srv/site-packages"), &tree);
    assert_eq!(paths(&set), ["/srv/site-packages/a.py"]);
}

#[test]
fn a_python_source_is_kept_beside_its_compiled_file() {
    let tree = MemoryTree::new()
        .file("/app/__pycache__/m.cpython-311.pyc", 0o644, "x")
        .file("/app/m.py", 0o644, "x")
        .file("/app/n.py", 0o644, "x");
    let set = kept(&Traced::new().process("/p").open("/app/__pycache__/m.cpython-311.pyc"), &tree);
    assert_eq!(paths(&set), ["/app/__pycache__/m.cpython-311.pyc", "/app/m.py"]);
}

/// A tree of ten directories with ten files each, below `/data`.
fn many() -> MemoryTree {
    let mut tree = MemoryTree::new();
    for directory in 0..10 {
        for file in 0..10 {
            tree = tree.file(format!("/data/{directory}/{file}").as_str(), 0o644, "12");
        }
    }
    tree
}

/// A process that lists and looks at all of [`many`].
fn sweep(mut trace: Traced, program: &str, access: Access) -> Traced {
    trace = trace.process(program).list("/data");
    for directory in 0..10 {
        trace = trace.touch(&format!("/data/{directory}"), &[Access::Open, Access::List, access]);
        for file in 0..10 {
            trace = trace.touch(&format!("/data/{directory}/{file}"), &[access]);
        }
    }
    trace
}

#[test]
fn a_program_that_goes_over_a_tree_without_reading_keeps_only_its_top() {
    for (program, access) in [("/usr/bin/find", Access::Stat), ("/bin/chown", Access::ChangeAttributes)] {
        let set = kept(&sweep(Traced::new(), program, access), &many());
        assert_eq!(paths(&set), ["/data"], "{program}");
        assert_eq!(
            notes(&set),
            [format!(
                "{program} went over 11 directories without reading them; 110 entries that nothing else used are \
                 not kept (200 B)"
            )]
        );
    }
}

#[test]
fn what_a_sweep_read_or_another_process_touched_is_kept() {
    let trace = sweep(Traced::new(), "/usr/bin/find", Access::Stat)
        .open("/data/3/3")
        .process("/bin/app")
        .touch("/data/4/4", &[Access::Stat])
        .list("/data/5");
    let set = kept(&trace, &many());
    let mut expected = vec!["/data/3/3".to_owned(), "/data/4/4".to_owned()];
    expected.extend((0..10).map(|file| format!("/data/5/{file}")));
    assert_eq!(paths(&set), expected);
}

#[test]
fn a_program_that_reads_what_it_lists_is_no_sweep() {
    let trace = sweep(Traced::new(), "/usr/bin/tar", Access::Open);
    assert_eq!(kept(&trace, &many()).figures().files, 100);
}

#[test]
fn changing_the_owner_of_a_small_tree_is_a_sweep_too() {
    let tree = MemoryTree::new().file("/data/a", 0o644, "x").file("/data/sub/b", 0o644, "x");
    let trace = Traced::new()
        .process("/bin/chown")
        .list("/data")
        .list("/data/sub")
        .touch("/data/a", &[Access::ChangeAttributes, Access::Stat])
        .touch("/data/sub/b", &[Access::ChangeAttributes, Access::Stat]);
    assert_eq!(paths(&kept(&trace, &tree)), ["/data"]);
    let single = Traced::new().process("/bin/chown").touch("/data/a", &[Access::ChangeAttributes]);
    assert_eq!(paths(&kept(&single, &tree)), ["/data/a"]);
}

#[test]
fn what_a_sweep_hands_to_another_program_is_part_of_the_sweep() {
    let mut trace = sweep(Traced::new(), "/usr/bin/find", Access::Stat).process("/bin/chown");
    for file in 0..10 {
        trace = trace.touch(&format!("/data/1/{file}"), &[Access::ChangeAttributes, Access::Stat]);
    }
    let tree = many().file("/etc/app.conf", 0o644, "x");
    let trace = trace.touch("/etc/app.conf", &[Access::ChangeAttributes]);
    assert_eq!(paths(&kept(&trace, &tree)), ["/data", "/etc/app.conf"]);
}

#[test]
fn a_glance_at_one_of_many_entries_counts_in_a_sweep_too() {
    let mut trace = Traced::new().process("/usr/bin/watcher").list("/data");
    for directory in 0..10 {
        trace = trace.list(&format!("/data/{directory}"));
    }
    let set = kept(&trace.touch("/data/2/2", &[Access::Stat]), &many());
    assert_eq!(paths(&set), ["/data/2/2"]);
}

#[test]
fn a_python_program_that_imports_much_is_no_sweep() {
    let mut tree = MemoryTree::new().file("/srv/settings.toml", 0o644, "x");
    let mut trace = Traced::new().process("/usr/bin/python3").touch("/srv/settings.toml", &[Access::Stat]);
    for package in 0..20 {
        let directory = format!("/usr/lib/python3/dist-packages/p{package}");
        for module in 0..10 {
            tree = tree.file(format!("{directory}/m{module}.py").as_str(), 0o644, "x");
        }
        trace = trace.list(&directory).touch(&format!("{directory}/m1.py"), &[Access::Stat]);
    }
    let set = kept(&trace.list("/srv"), &tree);
    assert!(has(&set, "/usr/lib/python3/dist-packages/p3/m1.py"));
    assert_eq!(set.figures().files, 21);
}

#[test]
fn tools_beside_the_script_that_python_runs_are_not_kept_though_it_lists_their_directory() {
    let tree = MemoryTree::new()
        .file("/usr/bin/python3.11", 0o755, "x")
        .file("/opt/venv/bin/serve", 0o755, "x")
        .file("/opt/venv/bin/pip", 0o755, "x");
    let trace =
        Traced::new().process("/usr/bin/python3.11").open("/opt/venv/bin/serve").list("/opt/venv/bin");
    let set = kept(&trace, &tree);
    assert!(has(&set, "/opt/venv/bin/serve") && !has(&set, "/opt/venv/bin/pip"));
}
