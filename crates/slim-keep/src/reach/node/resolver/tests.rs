use super::names::BUILT_IN;
use super::*;
use slim_image::{Config, MemoryTree};

fn tree(files: &[(&str, &str)]) -> MemoryTree {
    files.iter().fold(MemoryTree::new(), |tree, (path, text)| tree.file(*path, 0o644, text))
}

fn show(found: &Found) -> Vec<String> {
    found.files.iter().map(|path| String::from_utf8_lossy(path).into_owned()).collect()
}

fn resolve(tree: &MemoryTree, from: &str, specifier: &str, loader: Loader) -> Vec<String> {
    let context = Context::new(tree, &Config::default());
    let found = Resolver::default().resolve(&context, specifier.as_bytes(), &from.into(), loader);
    show(&found.unwrap())
}

fn require(tree: &MemoryTree, specifier: &str) -> Vec<String> {
    resolve(tree, "/app/main.js", specifier, Loader::Require)
}

fn import(tree: &MemoryTree, specifier: &str) -> Vec<String> {
    resolve(tree, "/app/main.js", specifier, Loader::Import)
}

#[test]
fn the_built_in_modules_are_sorted_for_the_search() {
    assert!(BUILT_IN.is_sorted());
}

#[test]
fn files_directories_and_packages_are_found_as_commonjs_has_it() {
    let tree = tree(&[
        ("/app/a.js", ""),
        ("/app/a.json", ""),
        ("/app/b/index.json", ""),
        ("/app/c/package.json", r#"{"main": "lib"}"#),
        ("/app/c/lib/index.js", ""),
        ("/app/node_modules/d/package.json", r#"{"main": "./dist/d"}"#),
        ("/app/node_modules/d/dist/d.js", ""),
        ("/app/node_modules/d/sub/package.json", r#"{"main": "../dist/e.js"}"#),
        ("/app/node_modules/d/dist/e.js", ""),
        ("/node_modules/@s/f/index.js", ""),
        ("/app/node_modules/fs/index.js", ""),
        ("/app/node_modules/punycode/index.js", ""),
        ("/app/node_modules/.generated/client/index.js", ""),
        ("/usr/share/nodejs/g/index.js", ""),
        ("/usr/lib/x86_64-linux-gnu/nodejs/h/build/h.node", ""),
        ("/usr/lib/x86_64-linux-gnu/nodejs/h/package.json", r#"{"main": "build/h.node"}"#),
    ]);
    for (specifier, path) in [
        ("./a", "/app/./a.js"),
        ("./a.json", "/app/./a.json"),
        ("/app/a", "/app/a.js"),
        ("./b", "/app/./b/index.json"),
        ("./c", "/app/./c/lib/index.js"),
        ("d", "/app/node_modules/d/./dist/d.js"),
        ("d/sub", "/app/node_modules/d/sub/../dist/e.js"),
        ("d/dist/e", "/app/node_modules/d/dist/e.js"),
        ("@s/f", "/node_modules/@s/f/index.js"),
        ("punycode/", "/app/node_modules/punycode/index.js"),
        (".generated/client", "/app/node_modules/.generated/client/index.js"),
        ("g", "/usr/share/nodejs/g/index.js"),
        ("h", "/usr/lib/x86_64-linux-gnu/nodejs/h/build/h.node"),
    ] {
        let found: Vec<ImagePath> = require(&tree, specifier).iter().map(ImagePath::new).collect();
        assert_eq!(found, [ImagePath::from(path)], "{specifier}");
    }
    for specifier in ["fs", "node:fs", "node:unknown", "absent", "./absent", "@s", "", "https://x/y.js"] {
        assert!(require(&tree, specifier).is_empty(), "{specifier}");
    }
    let context = Context::new(&tree, &Config::default());
    let found =
        Resolver::default().resolve(&context, b"d/sub", &"/app/main.js".into(), Loader::Require).unwrap();
    assert_eq!(found.manifests, BTreeSet::from([b"/app/node_modules/d/sub/package.json".to_vec()]));
}

#[test]
fn exports_decide_by_the_first_condition_that_holds() {
    let manifest = r#"{"name": "p", "main": "./main.js", "exports": {
        ".": {"browser": "./b.js", "module-sync": "./s.mjs", "import": {"types": "./t.d.ts", "default": "./i.mjs"},
              "require": ["bad", "./r.cjs"], "default": "./x.js"},
        "./wide/*": "./lib/*.js", "./wide/private/*": null, "./old/": "./old/", "./only": {"import": "./i.mjs"}}}"#;
    let files =
        ["b.js", "i.mjs", "r.cjs", "x.js", "s.mjs", "main.js", "lib/a.js", "lib/private/a.js", "old/o.js"];
    let mut tree = tree(&[("/app/node_modules/p/package.json", manifest)]);
    for file in files {
        tree = tree.file(format!("/app/node_modules/p/{file}").as_str(), 0o644, "");
    }
    let clean = |found: Vec<String>| -> Vec<String> {
        found.iter().map(|path| path.replace("/app/node_modules/p/./", "")).collect()
    };
    assert_eq!(clean(require(&tree, "p")), ["r.cjs", "s.mjs"]);
    assert_eq!(clean(import(&tree, "p")), ["i.mjs", "s.mjs"]);
    assert_eq!(clean(require(&tree, "p/wide/a")), ["lib/a.js"]);
    assert_eq!(clean(require(&tree, "p/old/o.js")), ["old/o.js"]);
    assert_eq!(clean(import(&tree, "p/only")), ["i.mjs"]);
    for closed in ["p/wide/private/a", "p/only", "p/main.js", "p/lib/a.js"] {
        assert!(require(&tree, closed).is_empty(), "{closed}");
    }
    let own = resolve(&tree, "/app/node_modules/p/lib/a.js", "p/wide/a", Loader::Require);
    assert_eq!(clean(own), ["lib/a.js"]);
}

#[test]
fn imports_of_a_package_lead_to_its_files_and_to_others() {
    let tree = tree(&[
        (
            "/app/package.json",
            r##"{"imports": {"#db": {"node": "pg", "default": "./none.js"}, "#in/*": "./in/*.js", "#loop": "#loop"}}"##,
        ),
        ("/app/in/a.js", ""),
        ("/app/node_modules/pg/index.js", ""),
    ]);
    assert_eq!(import(&tree, "#db"), ["/app/node_modules/pg/index.js"]);
    assert_eq!(import(&tree, "#in/a"), ["/app/./in/a.js"]);
    assert!(import(&tree, "#loop").is_empty() && import(&tree, "#none").is_empty());
}

#[test]
fn a_computed_name_widens_to_its_folder_and_no_further() {
    let tree = tree(&[
        ("/app/node_modules/p/lib/main.js", ""),
        ("/app/node_modules/p/lib/plugins/a.js", ""),
        ("/app/node_modules/p/lib/plugins/a.js.map", ""),
        ("/app/node_modules/p/lib/plugins/b.json", ""),
        ("/app/node_modules/p/lib/plugins/c/index.js", ""),
        ("/app/node_modules/p/lib/plugins/deep/d/e.js", ""),
        ("/app/node_modules/other/index.js", ""),
        ("/app/node_modules/store-a/index.js", ""),
        ("/app/node_modules/store-a/lib/x.js", ""),
    ]);
    let context = Context::new(&tree, &Config::default());
    let widened = |prefix: &str, suffix: &str| {
        let from = "/app/node_modules/p/lib/main.js".into();
        let ends = (prefix.as_bytes(), suffix.as_bytes());
        let found = Resolver::default().resolve_all(&context, ends, &from, Loader::Require).unwrap();
        let mut names: Vec<String> =
            show(&found).iter().map(|path| ImagePath::new(path).to_string()).collect();
        names.iter_mut().for_each(|name| *name = name.replace("/app/node_modules/", ""));
        names
    };
    assert_eq!(
        widened("./plugins/", ""),
        ["p/lib/plugins/a.js", "p/lib/plugins/b.json", "p/lib/plugins/c/index.js"]
    );
    assert_eq!(widened("./plugins/", ".js"), ["p/lib/plugins/a.js"]);
    assert_eq!(widened("./plugins/", "/index.js"), ["p/lib/plugins/c/index.js"]);
    assert_eq!(widened("./plugins/b", ""), ["p/lib/plugins/b.json"]);
    assert_eq!(widened("p/lib/plugins/a", ""), ["p/lib/plugins/a.js"]);
    assert_eq!(widened("store-", ""), ["store-a/index.js"]);
    for outside in ["../../", "../../../", "/", "", "s"] {
        assert!(widened(outside, "").is_empty(), "{outside}");
    }
}

#[test]
fn the_root_of_a_package_is_below_the_last_search_directory() {
    for (path, root) in [
        ("/a/node_modules/b/c.js", Some("/a/node_modules/b")),
        ("/a/node_modules/b/node_modules/@s/c/d.js", Some("/a/node_modules/b/node_modules/@s/c")),
        ("/a/node_modules/.pnpm/b@1/node_modules/b/c.js", Some("/a/node_modules/.pnpm/b@1/node_modules/b")),
        ("/usr/share/nodejs/b/c.js", Some("/usr/share/nodejs/b")),
        ("/usr/lib/x86_64-linux-gnu/nodejs/b/c.node", Some("/usr/lib/x86_64-linux-gnu/nodejs/b")),
        ("/srv/nodejs/b/c.js", None),
        ("/a/node_modules/b", None),
    ] {
        assert_eq!(package_root(&path.into()), root.map(ImagePath::from), "{path}");
    }
}
