//! What a run of the slim image missed: traces made by hand.

#![allow(clippy::unwrap_used, reason = "a test's failure is a panic")]

mod support;

use slim_image::{Config, ImagePath, MemoryTree};
use slim_keep::{
    Extent, Fat, KeepSet, Missed, Origin, Ownership, Reason, Settings, SlimRun, keep_with, missed,
};
use slim_trace::{Access, MountKind, Phase, ProcessId, TracedPath};
use support::{Traced, check, has, kept, kinds};

const MISSING: &[Access] = &[Access::Missing];
const ROUND: u32 = 1;

fn fat() -> Traced {
    Traced::new().process("/app").open("/app")
}

fn slim() -> Traced {
    Traced::new().process("/app").open("/app")
}

fn tree() -> MemoryTree {
    MemoryTree::new().file("/app", 0o755, "program")
}

fn look(fat: &Traced, slim: &Traced, tree: &MemoryTree, agrees: bool) -> Missed {
    look_with(fat, slim, tree, agrees, &Settings::default())
}

fn look_with(fat: &Traced, slim: &Traced, tree: &MemoryTree, agrees: bool, settings: &Settings) -> Missed {
    let kept = kept(fat, tree);
    let run = SlimRun { fat: &fat.0, slim: &slim.0, kept: &kept, agrees };
    missed(run, tree, &Config::default(), settings, ROUND).unwrap()
}

fn seeds(missed: &Missed) -> Vec<String> {
    missed.seeds.iter().map(|seed| String::from_utf8(seed.path.clone()).unwrap()).collect()
}

/// The keep-set with what was missed.
fn repaired(fat: &Traced, tree: &MemoryTree, missed: &Missed) -> KeepSet {
    let (config, origin, ownership) = (Config::default(), Origin::default(), Ownership::default());
    let image = Fat { tree, config: &config, origin: &origin, ownership: &ownership };
    let set = keep_with(&fat.0, image, &Settings::default(), &missed.seeds).unwrap();
    check(&set, tree);
    set
}

#[test]
fn a_failed_look_up_of_what_the_fat_image_has_is_a_miss_also_where_the_answers_agree() {
    let tree = tree().file("/etc/lazy", 0o644, "x");
    let slim = slim().touch("/etc/lazy", MISSING).touch("/etc/nowhere", MISSING);
    for agrees in [true, false] {
        let missed = look(&fat(), &slim, &tree, agrees);
        assert_eq!(seeds(&missed), ["/etc/lazy"], "what the fat image lacks is no miss");
        let set = repaired(&fat(), &tree, &missed);
        assert_eq!(kinds(&set, "/etc/lazy"), ["repaired"]);
        assert_eq!(Reason::Repaired { round: ROUND }.to_string(), "repaired in round 1");
    }
}

#[test]
fn a_miss_is_walked_over_symlinks_and_brings_them() {
    let tree = tree().file("/opt/real/plugin", 0o644, "x").symlink("/opt/current", "real");
    let missed = look(&fat(), &slim().touch("/opt/current/plugin", MISSING), &tree, true);
    let set = repaired(&fat(), &tree, &missed);
    assert!(has(&set, "/opt/current") && has(&set, "/opt/real/plugin"));
}

#[test]
fn a_symlink_that_leads_nowhere_is_missed_as_a_link() {
    let tree = tree().symlink("/etc/dangling", "/none");
    let missed = look(&fat(), &slim().touch("/etc/dangling", MISSING), &tree, true);
    assert_eq!(missed.seeds[0].extent, Extent::Link);
    assert!(has(&repaired(&fat(), &tree, &missed), "/etc/dangling"));
}

#[test]
fn what_is_there_and_was_removed_by_the_program_is_no_miss() {
    let tree = tree().file("/var/seed", 0o644, "x");
    let fat = fat().touch("/var/seed", &[Access::Open, Access::Remove]);
    let slim = slim().touch("/var/seed", &[Access::Open, Access::Remove, Access::Missing]);
    assert_eq!(look(&fat, &slim, &tree, false), Missed::default());
}

#[test]
fn what_the_fat_run_missed_as_well_does_not_count_where_the_answers_agree() {
    let tree = tree().file("/var/once", 0o644, "x");
    let fat = fat().touch("/var/once", MISSING);
    let slim = slim().touch("/var/once", MISSING);
    let agreeing = look(&fat, &slim, &tree, true);
    assert_eq!((seeds(&agreeing), agreeing.harmless), (vec![], 1));
    assert_eq!(seeds(&look(&fat, &slim, &tree, false)), ["/var/once"]);
}

#[test]
fn a_search_path_probe_is_harmless_where_the_answers_agree() {
    let tree = tree().file("/usr/local/bin/tool", 0o755, "x").file("/usr/bin/tool", 0o755, "x");
    let fat = fat().open("/usr/bin/tool");
    let slim = slim().touch("/usr/local/bin/tool", MISSING).open("/usr/bin/tool");
    let agreeing = look(&fat, &slim, &tree, true);
    assert_eq!((seeds(&agreeing), agreeing.harmless), (vec![], 1));
    assert_eq!(seeds(&look(&fat, &slim, &tree, false)), ["/usr/local/bin/tool"]);
}

#[test]
fn what_another_process_found_excuses_nobody() {
    let tree = tree().file("/a/tool", 0o755, "x").file("/b/tool", 0o755, "x");
    let fat = fat().open("/b/tool");
    let slim = slim().touch("/a/tool", MISSING).process("/other").open("/b/tool");
    assert_eq!(seeds(&look(&fat, &slim, &tree, true)), ["/a/tool"]);
}

#[test]
fn a_program_that_was_found_further_along_path_runs_in_the_process_that_looked() {
    let tree = tree().file("/usr/local/bin/tool", 0o755, "x").file("/usr/bin/tool", 0o755, "x");
    let fat = fat().open("/usr/bin/tool");
    let mut slim = slim().touch("/usr/local/bin/tool", MISSING).process("/usr/bin/tool");
    slim.0.processes[1].parent = Some(ProcessId(0));
    assert_eq!(look(&fat, &slim, &tree, true).harmless, 1);
    slim.0.processes[1].executable = Some(TracedPath::new("/usr/bin/busybox"));
    assert_eq!(look(&fat, &slim, &tree, true).harmless, 0);
    slim.0.processes[1].invoked_as = Some(TracedPath::new("/usr/bin/tool"));
    assert_eq!(look(&fat, &slim, &tree, true).harmless, 1, "a symlink to a program of many names");
}

#[test]
fn a_name_that_is_found_everywhere_is_no_search() {
    let tree = ["a", "b", "c", "d"]
        .iter()
        .fold(tree(), |tree, name| tree.file(format!("/modules/{name}/package.json").as_str(), 0o644, "{}"));
    let found = ["b", "c", "d"].map(|name| format!("/modules/{name}/package.json"));
    let fat = found.iter().fold(fat(), |trace, path| trace.open(path));
    let slim = found.iter().fold(slim(), |trace, path| trace.open(path));
    let slim = slim.touch("/modules/a/package.json", MISSING);
    assert_eq!(seeds(&look(&fat, &slim, &tree, true)), ["/modules/a/package.json"]);
}

#[test]
fn what_the_user_excluded_is_named_and_stays_out() {
    let tree = tree().file("/srv/doc/page", 0o644, "x").symlink("/page", "/srv/doc/page");
    let settings = Settings { exclude_pattern: vec!["/srv/doc".to_owned()], ..Settings::default() };
    for path in ["/srv/doc/page", "/page"] {
        let missed = look_with(&fat(), &slim().touch(path, MISSING), &tree, false, &settings);
        assert_eq!(seeds(&missed), [""; 0]);
        assert_eq!(missed.excluded[&ImagePath::from("/srv/doc/page")], "/srv/doc");
    }
}

#[test]
fn mounts_and_what_is_the_engines_never_count() {
    let tree = tree().file("/data/f", 0o644, "x").file("/etc/resolv.conf", 0o644, "x").file(
        "/proc/leftover",
        0o644,
        "x",
    );
    let slim = slim()
        .mount("/", MountKind::Root)
        .mount("/data", MountKind::Other)
        .touch("/data/f", MISSING)
        .touch("/etc/resolv.conf", MISSING)
        .touch("/proc/leftover", MISSING);
    assert_eq!(look(&fat(), &slim, &tree, false), Missed::default());
}

#[test]
fn the_runtimes_look_ups_never_count() {
    let tree = tree().file("/usr/lib/host", 0o644, "x");
    let slim = slim().touch_in("/usr/lib/host", MISSING, &[Phase::Runtime, Phase::RuntimeFiltered]);
    assert_eq!(look(&fat(), &slim, &tree, false), Missed::default());
}

#[test]
fn a_missed_script_comes_with_its_interpreter() {
    let tree = tree().file("/bin/job", 0o755, "#!/bin/interpreter\n").file("/bin/interpreter", 0o755, "x");
    let missed = look(&fat(), &slim().touch("/bin/job", MISSING), &tree, true);
    assert!(has(&repaired(&fat(), &tree, &missed), "/bin/interpreter"));
}

#[test]
fn a_missed_directory_comes_with_what_is_below_it_unless_that_is_much() {
    let small = tree().file("/plugins/one", 0o644, "x").file("/plugins/deep/two", 0o644, "x");
    let missed = look(&fat(), &slim().touch("/plugins", MISSING), &small, true);
    assert!(has(&repaired(&fat(), &small, &missed), "/plugins/deep/two"));
    let big =
        (0..2_000).fold(tree(), |tree, number| tree.file(format!("/plugins/{number}").as_str(), 0o644, "x"));
    let missed = look(&fat(), &slim().touch("/plugins", MISSING), &big, true);
    assert_eq!(missed.seeds[0].extent, Extent::Object);
}

#[test]
fn a_directory_that_only_the_slim_run_listed_is_filled_where_the_answers_differ() {
    let tree = tree().file("/themes/dark", 0o644, "x").file("/themes/light", 0o644, "x");
    let fat = fat().open("/themes/dark");
    let slim = slim().open("/themes/dark").list("/themes");
    assert_eq!(look(&fat, &slim, &tree, true), Missed::default());
    assert_eq!(seeds(&look(&fat, &slim, &tree, false)), ["/themes/light"]);
}
