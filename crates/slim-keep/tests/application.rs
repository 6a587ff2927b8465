//! What `--keep reachable` takes for the application's own files, on images with and without known layers.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod support;

use slim_image::history::HistoryEntry;
use slim_image::{Config, ImagePath, ImageTree as _, MemoryTree};
use slim_keep::{Base, Fat, KeepSet, Level, Note, Origin, Ownership, Reason, Settings, Via, keep_with};
use slim_trace::Access;
use support::{Traced, check, entry, has, kinds};

const BASE: &str = "CMD [\"bash\"]";

/// A file of a base image, in layer 0.
trait Layered {
    fn base(self, path: &str) -> Self;
    fn at(self, layer: usize, path: &str) -> Self;
}

impl Layered for MemoryTree {
    fn base(self, path: &str) -> Self {
        self.at(0, path)
    }

    fn at(self, layer: usize, path: &str) -> Self {
        let tree = if self.entry(&path.into()).is_none() { self.file(path, 0o644, "x") } else { self };
        tree.layer(path, layer)
    }
}

fn step(line: &str, empty_layer: bool) -> HistoryEntry {
    HistoryEntry { created_by: Some(line.to_owned()), empty_layer, ..HistoryEntry::default() }
}

/// One layer of base, and two more.
fn origin() -> Origin {
    let history = [("ADD rootfs /", false), (BASE, true), ("RUN install", false), ("COPY . .", false)];
    Origin { history: history.map(|(line, empty)| step(line, empty)).to_vec(), labelled_base: None }
}

fn reachable() -> Settings {
    Settings { level: Level::Reachable, ..Settings::default() }
}

fn with(tree: &MemoryTree, trace: &Traced, config: &Config, origin: &Origin, settings: &Settings) -> KeepSet {
    let set =
        keep_with(&trace.0, Fat { tree, config, origin, ownership: &Ownership::default() }, settings, &[])
            .unwrap();
    check(&set, tree);
    set
}

fn kept(tree: &MemoryTree) -> KeepSet {
    with(tree, &Traced::new(), &Config::default(), &origin(), &reachable())
}

/// Files and links that this rule keeps.
fn own(set: &KeepSet) -> Vec<String> {
    let is_rules = |reason: &Reason| matches!(reason, Reason::Reachable { via: Via::Application, .. });
    let kept = set.entries.iter().filter(|(_, kept)| kept.because.iter().any(is_rules));
    kept.map(|(path, _)| path.to_string()).collect()
}

fn base(set: &KeepSet) -> &Base {
    let mut bases = set.notes.iter().filter_map(|note| match note {
        Note::Application { base, .. } => Some(base),
        _ => None,
    });
    bases.next().unwrap()
}

fn working_in(directory: &str) -> Config {
    Config { working_dir: directory.to_owned(), ..Config::default() }
}

/// An image with packages of a system and of languages.
fn image() -> MemoryTree {
    MemoryTree::new()
        .base("/srv/of-the-base")
        .at(1, "/usr/bin/tool")
        .at(1, "/etc/tool.conf")
        .at(1, "/var/lib/dpkg/info/tool.list")
        .file("/var/lib/dpkg/info/tool.list", 0o644, "/usr/bin/tool\n/etc/tool.conf\n/opt/tool/data\n")
        .file(
            "/var/lib/dpkg/status",
            0o644,
            "Package: tool\nStatus: install ok installed\nConffiles:\n /etc/tool.conf 00\n",
        )
        .at(1, "/opt/tool/data")
        .at(2, "/app/main.js")
        .at(2, "/app/views/unused.html")
        .file("/app/node_modules/lodash/package.json", 0o644, "{}")
        .at(2, "/app/node_modules/lodash/package.json")
        .at(2, "/app/node_modules/lodash/lodash.js")
        .at(2, "/start.sh")
}

#[test]
fn what_no_package_owns_and_no_layer_of_the_base_holds_is_kept_untouched() {
    let set = kept(&image());
    assert_eq!(own(&set), ["/app/main.js", "/app/views/unused.html", "/start.sh"]);
    assert_eq!(*base(&set), Base::ByHistory { layers: 1, step: BASE.to_owned() });
    assert_eq!(
        entry(&set, "/app/views/unused.html").because.iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["is the application's own, as /app"]
    );
}

#[test]
fn commands_of_the_application_bring_their_interpreter_and_its_developers_scripts_do_not() {
    let script = "#!/bin/sh\n";
    let of_the_application = |path: &str| {
        let tree = image().file("/bin/sh", 0o755, "x").at(1, "/bin/sh").file(path, 0o755, script);
        kept(&tree.at(2, path))
    };
    assert!(has(&of_the_application("/app/bin/report"), "/bin/sh"));
    let set = of_the_application("/app/tools/report");
    assert!(has(&set, "/app/tools/report") && !has(&set, "/bin/sh"));
}

#[test]
fn nothing_of_this_is_kept_where_only_the_observed_is() {
    let set = with(&image(), &Traced::new(), &Config::default(), &origin(), &Settings::default());
    assert!(own(&set).is_empty() && set.notes.is_empty());
}

#[test]
fn a_packages_configuration_is_the_applications_once_a_later_layer_changed_it() {
    let set = kept(&image().at(2, "/etc/tool.conf").at(2, "/opt/tool/data"));
    assert!(has(&set, "/etc/tool.conf") && !has(&set, "/opt/tool/data"));
}

#[test]
fn the_flag_decides_before_the_label_and_the_label_before_the_history() {
    let settings = |base_layers| Settings { base_layers, ..reachable() };
    let labelled = Origin { labelled_base: Some(2), ..origin() };
    let set =
        |origin: &Origin, flag| with(&image(), &Traced::new(), &Config::default(), origin, &settings(flag));
    assert_eq!(*base(&set(&labelled, Some(0))), Base::ByFlag { layers: 0 });
    assert!(has(&set(&labelled, Some(0)), "/srv/of-the-base"));
    assert_eq!(*base(&set(&labelled, None)), Base::ByLabel { layers: 2 });
    assert!(own(&set(&origin(), Some(3))).is_empty());
}

#[test]
fn left_overs_and_the_systems_own_trees_stay_out() {
    let mut tree = MemoryTree::new().base("/base");
    for path in [
        "/app/.git/HEAD",
        "/root/.cache/pip/x",
        "/app/x.o",
        "/var/log/dpkg.log",
        "/var/cache/apt/pkgcache.bin",
        "/var/lib/apt/lists/x",
        "/tmp/x",
        "/usr/local/bin/unused",
        "/usr/local/lib/libunused.so",
        "/usr/local/lib/python3.11/os.py",
        "/usr/local/share/app/drafts/x",
        "/etc/alternatives/editor",
        "/app/__pycache__/gone.cpython-311.pyc",
    ] {
        tree = tree.at(1, path);
    }
    for path in ["/app/__pycache__/here.cpython-311.pyc", "/app/here.py", "/etc/app/a.conf", "/root/notes"] {
        tree = tree.at(1, path);
    }
    assert_eq!(
        own(&kept(&tree)),
        ["/app/__pycache__/here.cpython-311.pyc", "/app/here.py", "/etc/app/a.conf", "/root/notes"]
    );
}

#[test]
fn a_folder_of_its_own_in_the_systems_trees_counts_once_the_program_reads_from_it() {
    let tree = MemoryTree::new()
        .base("/usr/local/share/man/a")
        .at(1, "/usr/local/share/app/commands/read")
        .at(1, "/usr/local/share/app/commands/unread")
        .at(1, "/usr/local/share/app/drafts/unread")
        .at(1, "/usr/local/lib/app/module")
        .at(1, "/usr/local/lib/app/unread");
    let trace = Traced::new()
        .process("/bin/app")
        .open("/usr/local/share/app/commands/read")
        .open("/usr/local/lib/app/module")
        .touch("/usr/local/share/man/a", &[Access::Open]);
    let set = with(&tree, &trace, &Config::default(), &origin(), &reachable());
    assert_eq!(own(&set), ["/usr/local/share/app/commands/read", "/usr/local/share/app/commands/unread"]);
}

#[test]
fn links_are_kept_with_what_they_lead_to_but_not_those_that_packages_scripts_made() {
    let tree = image()
        .symlink("/app/current", "/app/main.js")
        .symlink("/app/dangling", "/none")
        .symlink("/app/system-tool", "/usr/bin/tool")
        .symlink("/etc/tool-enabled", "/opt/tool/data")
        .at(2, "/app/current")
        .at(2, "/app/dangling")
        .at(2, "/app/system-tool")
        .at(2, "/etc/tool-enabled");
    let set = kept(&tree);
    assert_eq!(kinds(&set, "/app/dangling"), ["reachable"]);
    assert_eq!(
        entry(&set, "/usr/bin/tool").because.first().unwrap().to_string(),
        "is named in /app/system-tool as /usr/bin/tool"
    );
    for path in ["/app/current", "/app/dangling", "/app/system-tool", "/usr/bin/tool"] {
        assert!(has(&set, path), "{path}");
    }
    assert!(!has(&set, "/etc/tool-enabled") && !has(&set, "/opt/tool/data"));
}

/// The same image as a source that knows no layers shows it.
fn flat() -> MemoryTree {
    MemoryTree::new()
        .file("/app/bin/serve.js", 0o755, "x")
        .file("/app/bin/other.js", 0o644, "x")
        .file("/app/lib/a.js", 0o644, "x")
        .file("/data/set/read.csv", 0o644, "x")
        .file("/data/set/unread.csv", 0o644, "x")
        .file("/data/other.csv", 0o644, "x")
        .file("/work/unread", 0o644, "x")
        .file("/work/node_modules/a/package.json", 0o644, "{}")
        .file("/etc/app/read.conf", 0o644, "x")
        .file("/etc/app/unread.conf", 0o644, "x")
        .file("/etc/unread.conf", 0o644, "x")
        .file("/usr/lib/x/read", 0o644, "x")
        .file("/usr/lib/x/unread", 0o644, "x")
}

#[test]
fn where_the_layers_are_not_known_only_the_programs_own_folders_count() {
    let trace = Traced::new()
        .process("/app/bin/serve.js")
        .open("/data/set/read.csv")
        .open("/etc/app/read.conf")
        .open("/usr/lib/x/read");
    let config = Config { cmd: vec!["/app/bin/serve.js".to_owned()], ..working_in("/work") };
    let set = with(&flat(), &trace, &config, &origin(), &reachable());
    assert_eq!(
        own(&set),
        [
            "/app/bin/other.js",
            "/app/bin/serve.js",
            "/app/lib/a.js",
            "/data/set/read.csv",
            "/data/set/unread.csv",
            "/etc/app/read.conf",
            "/etc/app/unread.conf",
            "/work/unread"
        ]
    );
    insta::assert_snapshot!(set.notes[0], @"files of no package in /app, /data/set, /etc/app, /work (it is not known which layer holds which file) count as the application's own; 5 are kept for that alone (5 B)");
}

#[test]
fn an_image_that_does_not_show_its_base_is_treated_so_too_and_says_why() {
    let why = |origin: &Origin| match base(&with(
        &image(),
        &Traced::new(),
        &working_in("/app"),
        origin,
        &reachable(),
    )) {
        Base::Unknown { why } => why.clone(),
        known => panic!("{known}"),
    };
    assert_eq!(why(&Origin::default()), "the image has no history");
    let one =
        Origin { history: vec![step("COPY / /", false), step("CMD [\"a\"]", true)], labelled_base: None };
    assert_eq!(why(&one), "the image has one layer");
    let two = Origin { history: vec![step("COPY / /", false), step("RUN x", false)], labelled_base: None };
    assert_eq!(why(&two), "the image's history does not show where its base ends");
    let settings = Settings { base_layers: Some(1), ..reachable() };
    let set = with(&flat(), &Traced::new(), &Config::default(), &origin(), &settings);
    insta::assert_snapshot!(set.notes[0], @"no folder is known to be the application's own (--base-layers has no effect: it is not known which layer holds which file)");
}

#[test]
fn the_note_says_what_the_rule_cost_beyond_all_others() {
    let tree = image()
        .file("/app/large", 0o644, [0; 2000])
        .at(2, "/app/large")
        .hard_link("/app/again", "/app/large");
    let trace = Traced::new().process("/app/main.js").open("/app/main.js");
    let set = with(&tree.at(2, "/app/again"), &trace, &Config::default(), &origin(), &reachable());
    insta::assert_snapshot!(set.notes[0], @r#"files of no package that came after the base's first layer (by history: CMD ["bash"]) count as the application's own; 4 are kept for that alone (2.0 kB)"#);
}

#[test]
fn records_that_cannot_be_read_are_told() {
    let set = kept(&image().file("/var/lib/rpm/Packages", 0o644, "x"));
    let told: Vec<&Note> =
        set.notes.iter().filter(|note| matches!(note, Note::PackagesUnread { .. })).collect();
    let [Note::PackagesUnread { record, .. }] = told[..] else { panic!("{:?}", set.notes) };
    assert_eq!(*record, ImagePath::from("/var/lib/rpm/Packages"));
}

#[test]
fn notes_and_reasons_read_back() {
    let set = kept(&image());
    let notes = serde_json::to_string(&set.notes).unwrap();
    assert_eq!(serde_json::from_str::<Vec<Note>>(&notes).unwrap(), set.notes);
    for kept in set.entries.values() {
        let because = serde_json::to_string(&kept.because).unwrap();
        assert_eq!(
            serde_json::from_str::<std::collections::BTreeSet<Reason>>(&because).unwrap(),
            kept.because
        );
    }
}
