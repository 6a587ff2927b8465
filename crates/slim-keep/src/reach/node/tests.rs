//! Whole images: what is kept of them from an entrypoint on.

use crate::reach::testing::{Run, elf};
use slim_image::MemoryTree;

/// A tree with a Node.js and these files.
fn image(files: &[(&str, &str)]) -> MemoryTree {
    let tree = MemoryTree::new().file("/usr/bin/node", 0o755, elf());
    files.iter().fold(tree, |tree, (path, text)| tree.file(*path, 0o644, text))
}

fn kept(tree: &MemoryTree) -> Vec<String> {
    Run::new(tree).keep(&["/app/main.js", "/usr/bin/node"])
}

#[test]
fn lazy_requires_are_kept_and_unused_dependencies_are_not() {
    let tree = image(&[
        ("/app/package.json", r#"{"dependencies": {"used": "1", "lodash": "4"}}"#),
        ("/app/main.js", "exports.late = () => require('used')"),
        ("/app/node_modules/used/package.json", r#"{"main": "lib/index", "dependencies": {"moment": "2"}}"#),
        ("/app/node_modules/used/lib/index.js", "module.exports = require('./core')"),
        (
            "/app/node_modules/used/lib/core.js",
            "import data from '../data.json'; require('fs'); require('gone')",
        ),
        ("/app/node_modules/used/data.json", "{}"),
        ("/app/node_modules/used/README.md", ""),
        ("/app/node_modules/lodash/lodash.js", ""),
        ("/app/node_modules/lodash/package.json", "{}"),
        ("/app/node_modules/moment/package.json", "{}"),
    ]);
    assert_eq!(
        kept(&tree),
        [
            "/app/node_modules/used/data.json",
            "/app/node_modules/used/lib/core.js",
            "/app/node_modules/used/lib/index.js",
            "/app/node_modules/used/package.json",
            "/app/package.json",
        ]
    );
}

#[test]
fn without_a_runtime_nothing_is_followed_and_its_order_does_not_matter() {
    let files = [("/app/main.js", "require('./a')"), ("/app/a.js", "")];
    let plain = files.iter().fold(MemoryTree::new(), |tree, (path, text)| tree.file(*path, 0o644, text));
    assert!(Run::new(&plain).keep(&["/app/main.js"]).is_empty());
    let script = plain.file("/usr/bin/node", 0o755, "#!/bin/sh\n");
    assert!(kept(&script).is_empty());
    let tree = image(&files);
    for order in [["/app/main.js", "/usr/bin/node"], ["/usr/bin/node", "/app/main.js"]] {
        assert_eq!(Run::new(&tree).keep(&order), ["/app/a.js"]);
    }
}

#[test]
fn links_of_workspaces_and_pnpm_are_kept_and_what_lies_at_their_real_place_is_followed() {
    let store = "/app/node_modules/.pnpm";
    let tree = image(&[
        ("/app/main.js", "require('a'); require('@my/tool')"),
        (&format!("{store}/a@1/node_modules/a/index.js"), "require('b')"),
        (&format!("{store}/b@2/node_modules/b/index.js"), ""),
        (&format!("{store}/c@2/node_modules/c/index.js"), ""),
        (
            "/app/tools/package.json",
            r#"{"name": "@my/tool", "exports": {"./own": "./own.js", ".": "./tool.js"}}"#,
        ),
        ("/app/tools/tool.js", "require('@my/tool/own')"),
        ("/app/tools/own.js", ""),
    ])
    .symlink("/app/node_modules/a", ".pnpm/a@1/node_modules/a")
    .symlink(format!("{store}/a@1/node_modules/b").as_str(), "../../b@2/node_modules/b")
    .symlink("/app/node_modules/@my/tool", "../../tools");
    assert_eq!(
        kept(&tree),
        [
            "/app/node_modules/.pnpm/a@1/node_modules/a/index.js",
            "/app/node_modules/.pnpm/a@1/node_modules/b",
            "/app/node_modules/.pnpm/b@2/node_modules/b/index.js",
            "/app/node_modules/@my/tool",
            "/app/node_modules/a",
            "/app/tools/own.js",
            "/app/tools/package.json",
            "/app/tools/tool.js",
        ]
    );
}

#[test]
fn add_ons_of_this_platform_are_kept() {
    let tree = image(&[
        ("/app/main.js", "require('built'); require('prebuilt'); require('fast')"),
        ("/app/node_modules/built/index.js", "require('bindings')('x.node')"),
        ("/app/node_modules/built/build/Release/x.node", ""),
        ("/app/node_modules/built/build/Release/obj.target/x.o", ""),
        ("/app/node_modules/prebuilt/index.js", "module.exports = require('node-gyp-build')(__dirname)"),
        ("/app/node_modules/prebuilt/prebuilds/linux-x64/node.napi.glibc.node", ""),
        ("/app/node_modules/prebuilt/prebuilds/linux-x64/node.napi.musl.node", ""),
        ("/app/node_modules/prebuilt/prebuilds/darwin-x64+arm64/node.napi.node", ""),
        ("/app/node_modules/prebuilt/prebuilds/linux-arm64/node.napi.node", ""),
        (
            "/app/node_modules/fast/package.json",
            r#"{"optionalDependencies": {"@fast/x64": "1", "@fast/arm": "1", "plain": "1"}}"#,
        ),
        ("/app/node_modules/fast/index.js", "require(computed())"),
        (
            "/app/node_modules/@fast/x64/package.json",
            r#"{"os": ["linux"], "cpu": ["x64"], "libc": ["glibc"]}"#,
        ),
        ("/app/node_modules/@fast/x64/fast.node", ""),
        ("/app/node_modules/@fast/arm/package.json", r#"{"os": ["linux"], "cpu": ["arm64"]}"#),
        ("/app/node_modules/plain/package.json", "{}"),
    ]);
    assert_eq!(
        kept(&tree),
        [
            "/app/node_modules/@fast/x64/fast.node",
            "/app/node_modules/@fast/x64/package.json",
            "/app/node_modules/built/build/Release/x.node",
            "/app/node_modules/built/index.js",
            "/app/node_modules/fast/index.js",
            "/app/node_modules/fast/package.json",
            "/app/node_modules/prebuilt/index.js",
            "/app/node_modules/prebuilt/prebuilds/linux-x64/node.napi.glibc.node",
        ]
    );
}

#[test]
fn files_beside_a_package_are_kept_by_the_paths_made_from_its_place() {
    let tree = image(&[
        ("/app/main.js", "app.use(require('ui')); new Worker('./job.js')"),
        ("/app/job.js", ""),
        (
            "/app/node_modules/ui/lib/index.js",
            "app.set('views', path.join(__dirname, '..', 'views'));
             fs.readFileSync(`${__dirname}/../texts/${language}.json`);
             fs.readFileSync(path.join(__dirname, 'schema.sql')); new URL('./x.wasm', import.meta.url);
             require(given)",
        ),
        ("/app/node_modules/ui/package.json", r#"{"main": "lib"}"#),
        ("/app/node_modules/ui/lib/schema.sql", ""),
        ("/app/node_modules/ui/lib/x.wasm", ""),
        ("/app/node_modules/ui/lib/other.js", ""),
        ("/app/node_modules/ui/views/deep/page.ejs", ""),
        ("/app/node_modules/ui/texts/de.json", ""),
        ("/app/node_modules/ui/texts/about.md", ""),
    ]);
    assert_eq!(
        kept(&tree),
        [
            "/app/job.js",
            "/app/node_modules/ui/lib/index.js",
            "/app/node_modules/ui/lib/schema.sql",
            "/app/node_modules/ui/lib/x.wasm",
            "/app/node_modules/ui/package.json",
            "/app/node_modules/ui/texts/de.json",
            "/app/node_modules/ui/views/deep/page.ejs",
        ]
    );
}

#[test]
fn a_wholly_computed_name_in_the_application_keeps_its_folder() {
    let tree = image(&[
        ("/app/main.js", "require('./routes')"),
        ("/app/routes/index.js", "fs.readdirSync(__dirname).forEach(name => require(file(name)))"),
        ("/app/routes/users.js", ""),
        ("/app/routes/notes.txt", ""),
        ("/app/other/users.js", ""),
    ]);
    assert_eq!(kept(&tree), ["/app/routes/index.js", "/app/routes/users.js"]);
}

#[test]
fn hostile_bytes_are_followed_as_far_as_they_go() {
    let deep = "require(".repeat(50_000);
    let tree = image(&[
        ("/app/main.js", &format!("require('./a');\n{deep}")),
        (
            "/app/a.js",
            "require('./\\u{110000}'); require(''); require('\\0'); require('./a'); import '../../..'",
        ),
        ("/app/package.json", "{\"exports\": [[[[[[[["),
    ]);
    assert_eq!(kept(&tree), ["/app/a.js", "/app/package.json"]);
}
