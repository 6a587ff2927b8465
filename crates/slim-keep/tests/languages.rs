//! What `--keep reachable` adds for programs of interpreted languages, from a trace on.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod support;

use slim_image::{Config, MemoryTree};
use slim_keep::{Level, Settings};
use support::{Traced, entry, has, kept_with};

/// The smallest ELF file that reads as a program: a header without program headers.
fn elf() -> Vec<u8> {
    let mut bytes = vec![0; 64];
    bytes[..7].copy_from_slice(b"\x7fELF\x02\x01\x01");
    for (at, value) in [(16, 3_u8), (18, 62), (20, 1), (52, 64), (54, 56)] {
        bytes[at] = value;
    }
    bytes
}

/// A service whose second route was never asked for.
fn service() -> (MemoryTree, Traced) {
    let mut tree = MemoryTree::new().file("/usr/bin/node", 0o755, elf());
    for (path, text) in [
        ("/srv/server.js", "const web = require('web');\nweb.get('/lazy', () => require('./lib/lazy'));\n"),
        ("/srv/lib/lazy.js", "const { mark } = require('mark');"),
        ("/srv/package.json", r#"{"dependencies": {"web": "1", "mark": "1", "moment": "2"}}"#),
        ("/srv/node_modules/web/package.json", "{}"),
        ("/srv/node_modules/web/index.js", "module.exports = require('./router')"),
        ("/srv/node_modules/web/router.js", ""),
        ("/srv/node_modules/web/History.md", ""),
        (
            "/srv/node_modules/mark/package.json",
            r#"{"exports": {"import": "./mark.mjs", "require": "./mark.cjs"}}"#,
        ),
        ("/srv/node_modules/mark/mark.cjs", ""),
        ("/srv/node_modules/mark/mark.mjs", ""),
        ("/srv/node_modules/moment/moment.js", ""),
        ("/srv/node_modules/moment/package.json", r#"{"main": "moment.js"}"#),
    ] {
        tree = tree.file(path, 0o644, text);
    }
    let trace = Traced::new()
        .process("/usr/bin/node")
        .open("/srv/server.js")
        .open("/srv/node_modules/web/index.js")
        .open("/srv/node_modules/web/router.js");
    (tree, trace)
}

fn at(level: Level) -> slim_keep::KeepSet {
    let (tree, trace) = service();
    kept_with(&trace, &tree, &Config::default(), &Settings { level, ..Settings::default() })
}

#[test]
fn what_no_request_asked_for_is_kept_by_the_text_that_can_ask_for_it() {
    let set = at(Level::Reachable);
    for path in ["/srv/lib/lazy.js", "/srv/node_modules/mark/mark.cjs", "/srv/node_modules/mark/package.json"]
    {
        assert!(has(&set, path), "{path}");
    }
    let because = entry(&set, "/srv/lib/lazy.js").because.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(because, ["is imported by /srv/server.js:2 as ./lib/lazy"]);
    for path in [
        "/srv/node_modules/moment/package.json",
        "/srv/node_modules/mark/mark.mjs",
        "/srv/node_modules/web/History.md",
    ] {
        assert!(!has(&set, path), "{path}");
    }
}

#[test]
fn what_was_only_observed_is_not_followed() {
    let set = at(Level::Observed);
    assert!(has(&set, "/srv/server.js") && !has(&set, "/srv/lib/lazy.js"));
}

#[test]
fn the_same_arguments_give_the_same_set() {
    assert_eq!(at(Level::Reachable), at(Level::Reachable));
}
