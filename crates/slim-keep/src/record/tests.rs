use super::*;
use crate::keep_set::Kept;
use crate::{SystemPart, Via};
use slim_image::MemoryTree;
use slim_trace::{Access, Phase};

struct Packages;

impl Owners for Packages {
    fn package_of(&self, path: &ImagePath) -> Option<String> {
        path.is_within(&"/usr/share/doc".into()).then(|| "dpkg doc".to_owned())
    }
}

fn tree() -> MemoryTree {
    MemoryTree::new()
        .file("/usr/bin/node", 0o755, "node")
        .hard_link("/usr/bin/nodejs", "/usr/bin/node")
        .file("/usr/lib/libz.so.1.2", 0o644, "zlib")
        .symlink("/lib", "usr/lib")
        .file("/app/main.js", 0o644, "main")
        .file("/app/caf\u{e9}.js", 0o644, "coffee")
        .file("/usr/bin/perl", 0o755, "perl5")
        .file("/usr/share/doc/a/copyright", 0o644, "0123456789")
        .hard_link("/usr/share/doc/a/copyright2", "/usr/share/doc/a/copyright")
        .symlink("/usr/share/doc/b", [b'x', 0xff])
        .layer("/usr/share/doc/a/copyright", 3)
}

fn traced(program: &str, access: Access) -> Reason {
    Reason::Traced { program: program.to_owned(), access: [access].into(), phases: [Phase::Startup].into() }
}

/// The keep-set with these paths, their reasons and the directories above them.
fn set(tree: &MemoryTree, kept: &[(&str, &[Reason])]) -> KeepSet {
    let mut set = KeepSet::default();
    for (path, because) in kept {
        let path = ImagePath::from(*path);
        for above in path.ancestors() {
            let entry = tree.entry(&above).unwrap().clone();
            let because = [Reason::ParentOf { path: path.clone() }].into();
            set.entries.entry(above).or_insert(Kept { entry, because });
        }
        let entry = tree.entry(&path).unwrap().clone();
        set.entries.insert(path, Kept { entry, because: because.iter().cloned().collect() });
    }
    set
}

fn image() -> ImageNames {
    ImageNames { id: Digest::of("fat"), names: vec!["fat:latest".to_owned()] }
}

fn recorded(kept: &[(&str, &[Reason])]) -> Recorded {
    let tree = tree();
    let set = set(&tree, kept);
    let made = Made { exclude_patterns: &["/usr/bin/p*".to_owned()], ..Made::of(image()) };
    Recorded {
        keep: KeepFile::new(&set, &made, &tree, &Packages),
        removed: Some(RemovedFile::new(image(), &set, &tree, &Packages)),
    }
}

fn usual() -> Recorded {
    let needs = Reason::NeededLibrary { by: "/usr/bin/node".into(), soname: "libz.so.1".to_owned() };
    recorded(&[
        (
            "/usr/bin/node",
            &[traced("/usr/bin/node", Access::Execute), Reason::Entrypoint { word: "node".into() }],
        ),
        ("/usr/lib/libz.so.1.2", &[needs, traced("/usr/bin/node", Access::Open)]),
        ("/lib", &[Reason::OnTheWay { to: "/lib/libz.so.1.2".to_owned() }]),
        (
            "/app/caf\u{e9}.js",
            &[Reason::Reachable {
                via: Via::NodeImport,
                from: "/usr/bin/node".into(),
                line: Some(12),
                what: "./caf\u{e9}".to_owned(),
            }],
        ),
    ])
}

fn told(recorded: &Recorded, path: &str) -> String {
    let explained = recorded.explain(path.as_bytes(), &recorded.tree());
    let Answer::Kept { chain, .. } = explained.answer else { panic!("{path} is not kept") };
    let steps: Vec<String> = chain.iter().map(|step| format!("{} {}", step.path, step.told)).collect();
    steps.join(" <- ")
}

#[test]
fn both_files_come_back_as_they_were_written() {
    let Recorded { keep, removed } = usual();
    let removed = removed.unwrap();
    assert_eq!(KeepFile::from_json(&keep.to_json()).unwrap(), keep);
    assert_eq!(RemovedFile::from_json(&removed.to_json()).unwrap(), removed);
    assert_eq!(KeepHead::from_json(&keep.to_json()).unwrap(), KeepHead { image: image(), slim: None });
}

#[test]
fn each_path_of_the_fat_image_is_in_one_of_them() {
    let Recorded { keep, removed } = usual();
    let removed = removed.unwrap();
    for (path, _) in tree().walk() {
        assert!(keep.entries.contains_key(path) != removed.entries.contains_key(path), "{path}");
    }
}

#[test]
fn removed_paths_take_one_line_each() {
    let text = String::from_utf8(usual().removed.unwrap().to_json()).unwrap();
    insta::assert_snapshot!(text.lines().skip(1).collect::<Vec<_>>().join("\n"), @r#"
    "/app/main.js":{"kind":{"file":{"size":4}}},
    "/usr/bin/nodejs":{"kind":{"file":{"size":4}},"same-file-as":"/usr/bin/node"},
    "/usr/bin/perl":{"kind":{"file":{"size":5}}},
    "/usr/share":{"kind":"directory"},
    "/usr/share/doc":{"kind":"directory","package":"dpkg doc"},
    "/usr/share/doc/a":{"kind":"directory","package":"dpkg doc"},
    "/usr/share/doc/a/copyright":{"kind":{"file":{"size":10}},"layer":3,"package":"dpkg doc"},
    "/usr/share/doc/a/copyright2":{"kind":{"file":{"size":10}},"package":"dpkg doc","same-file-as":"/usr/share/doc/a/copyright"},
    "/usr/share/doc/b":{"kind":{"symlink":{"target":"x\\xff"}},"package":"dpkg doc"}
    }}
    "#);
}

#[test]
fn another_version_is_named() {
    let error = KeepFile::from_json(br#"{"version": 1, "entries": {}}"#).unwrap_err();
    assert_eq!(error.to_string(), "read keep.json: it has version 1, this program reads version 2");
    assert!(matches!(RemovedFile::from_json(b"{}").unwrap_err(), RecordError::Malformed { .. }));
}

#[test]
fn a_chain_leads_to_what_needs_no_other_path() {
    let recorded = usual();
    insta::assert_snapshot!(told(&recorded, "/usr/bin/node"), @"/usr/bin/node is named by ENTRYPOINT or CMD as node");
    insta::assert_snapshot!(told(&recorded, "/usr/lib/libz.so.1.2"), @"/usr/lib/libz.so.1.2 /usr/bin/node opened it during startup <- /usr/bin/node is named by ENTRYPOINT or CMD as node");
    insta::assert_snapshot!(told(&recorded, "/app/café.js"), @"/app/café.js is imported by /usr/bin/node:12 as ./café <- /usr/bin/node is named by ENTRYPOINT or CMD as node");
}

#[test]
fn a_name_that_a_link_stands_in_for_is_followed() {
    let recorded = usual();
    let explained = recorded.explain(b"/lib/libz.so.1.2", &recorded.tree());
    assert_eq!((explained.path, explained.links), ("/usr/lib/libz.so.1.2".into(), vec!["/lib".into()]));
    assert!(
        told(&recorded, "/lib").contains("/usr/bin/node is named by ENTRYPOINT"),
        "{}",
        told(&recorded, "/lib")
    );
}

#[test]
fn reasons_that_point_at_one_another_end() {
    let of = |path: &str| Reason::PythonSource { of: path.into() };
    let recorded = recorded(&[
        ("/app/main.js", &[of("/app/caf\u{e9}.js")]),
        ("/app/caf\u{e9}.js", &[of("/app/main.js")]),
        ("/usr/bin/node", &[traced("/usr/bin/node", Access::Execute)]),
    ]);
    assert!(told(&recorded, "/app/main.js").starts_with("/app/main.js is the source"));
    insta::assert_snapshot!(told(&recorded, "/usr/bin/node"), @"/usr/bin/node /usr/bin/node ran it during startup");
}

#[test]
fn a_reason_whose_other_path_is_not_kept_ends_the_chain() {
    let recorded = recorded(&[(
        "/app/main.js",
        &[Reason::System { what: SystemPart::Loader }, traced("sh", Access::Open)],
    )]);
    assert!(told(&recorded, "/app/main.js").starts_with("/app/main.js "));
}

#[test]
fn what_is_removed_says_what_would_bring_it_in() {
    let recorded = usual();
    let answer = |path: &str| recorded.explain(path.as_bytes(), &recorded.tree()).answer;
    let Answer::Removed { excluded_by, brought_in_by, .. } = answer("/usr/bin/perl") else { panic!() };
    assert_eq!(excluded_by.as_deref(), Some("/usr/bin/p*"));
    assert_eq!(brought_in_by[0].0, "--include-exe perl");
    let Answer::Removed { removed_below, removed_bytes_below, .. } = answer("/usr/share/doc") else {
        panic!()
    };
    assert_eq!((removed_below, removed_bytes_below), (4, 10));
}

#[test]
fn an_unknown_path_names_those_that_look_like_it() {
    let recorded = usual();
    let near = |path: &str| match recorded.explain(path.as_bytes(), &recorded.tree()).answer {
        Answer::Unknown { complete: true, near } => near,
        other => panic!("{other:?}"),
    };
    assert_eq!(near("/usr/local/bin/node"), ["/usr/bin/node".into()]);
    assert!(near("/app/mian.js").contains(&"/app/main.js".into()));
}

#[test]
fn removed_bytes_come_together_by_owner_place_and_ending() {
    let removed = usual().removed.unwrap();
    let groups = |by| {
        let groups = removed.groups(by).into_iter();
        groups.map(|group| format!("{} {} {}", group.name, group.entries, group.bytes)).collect::<Vec<_>>()
    };
    assert_eq!(groups(By::Package), ["dpkg doc 5 10", "(no package) 4 9"]);
    assert_eq!(groups(By::Layer), ["layer 3 1 10", "(layer not known) 8 9"]);
    assert_eq!(groups(By::Directory), ["/usr/share 6 10", "/usr/bin 2 5", "/app 1 4"]);
    assert_eq!(groups(By::Extension)[..2], ["(no extension) 4 15".to_owned(), ".js 1 4".to_owned()]);
}

#[test]
fn two_keep_files_differ_in_paths_contents_and_reasons() {
    let tree = tree();
    let file = |kept: &[(&str, &[Reason])], contents: &str| {
        let digests = [("/app/main.js".into(), Digest::of(contents))].into();
        let made = Made { digests: Some(&digests), ..Made::of(image()) };
        KeepFile::new(&set(&tree, kept), &made, &tree, &())
    };
    let main: (&str, &[Reason]) = ("/app/main.js", &[Reason::WorkingDirectory]);
    let before = file(&[main, ("/app/caf\u{e9}.js", &[Reason::WorkingDirectory])], "one");
    let after = file(
        &[main, ("/app/caf\u{e9}.js", &[Reason::MountPoint]), ("/usr/bin/perl", &[Reason::MountPoint])],
        "two",
    );
    assert!(before.difference(&before).is_empty());
    let difference = before.difference(&after);
    assert_eq!(difference.tree.added.len(), 3, "perl and the directories above it");
    assert_eq!(difference.tree.changed.keys().collect::<Vec<_>>(), [&ImagePath::from("/app/main.js")]);
    let reasons = &difference.reasons[&ImagePath::from("/app/caf\u{e9}.js")];
    assert_eq!(
        (&reasons.added[..], &reasons.removed[..]),
        (&[Reason::MountPoint][..], &[Reason::WorkingDirectory][..])
    );
}

#[test]
fn bytes_are_told_apart_by_why_they_are_there() {
    let tree = tree();
    let reachable = Reason::Reachable {
        via: Via::NodeImport,
        from: "/usr/bin/node".into(),
        line: None,
        what: "x".to_owned(),
    };
    let set = set(
        &tree,
        &[
            ("/usr/bin/node", &[traced("/usr/bin/node", Access::Execute)]),
            ("/usr/bin/nodejs", &[Reason::Entrypoint { word: "nodejs".to_owned() }]),
            ("/usr/bin/perl", &[Reason::Entrypoint { word: "perl".to_owned() }]),
            ("/app/main.js", &[reachable]),
        ],
    );
    let shares = Shares::of(&set, &RemovedFile::new(image(), &set, &tree, &()));
    assert_eq!((shares.seen, shares.needed, shares.reachable, shares.removed), (4, 5, 4, 20));
    let untouched: Vec<String> =
        shares.untouched.iter().map(|(path, bytes)| format!("{path} {bytes}")).collect();
    assert_eq!(untouched, ["/usr/bin/perl 5", "/app/main.js 4"]);
}
