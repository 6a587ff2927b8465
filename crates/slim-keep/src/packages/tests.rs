use super::*;
use proptest::prelude::*;
use slim_image::MemoryTree;

fn read(tree: &MemoryTree) -> Packages {
    Packages::read(tree).unwrap()
}

fn owner(tree: &MemoryTree, path: &str) -> Option<String> {
    read(tree).owner(&path.into()).map(ToString::to_string)
}

fn some(text: &str) -> Option<String> {
    Some(text.to_owned())
}

/// Every owned path with its owner, a line each.
fn all(tree: &MemoryTree) -> String {
    let packages = read(tree);
    let line = |path: &ImagePath| Some(format!("{path}: {}", packages.owner(path)?));
    tree.walk().filter_map(|(path, _)| line(path)).collect::<Vec<_>>().join("\n")
}

/// A merged /usr with two packages built for a split one.
fn debian() -> MemoryTree {
    MemoryTree::new()
        .symlink("/bin", "usr/bin")
        .symlink("/lib", "usr/lib")
        .file("/usr/bin/ls", 0o755, "x")
        .file("/usr/lib/x86_64-linux-gnu/libc.so.6", 0o755, "x")
        .file("/usr/share/doc/coreutils/copyright", 0o644, "x")
        .file("/etc/ls conf", 0o644, "x")
        .file(
            "/var/lib/dpkg/status",
            0o644,
            "Package: coreutils\nStatus: install ok installed\nArchitecture: amd64\nVersion: 9.1-1\nConffiles:\n \
             /etc/ls conf 0123456789abcdef0123456789abcdef\nDescription: tools\n /etc/no file\n\nPackage: libc6\n\
             Status: install ok installed\nArchitecture: i386\nMulti-Arch: same\nVersion: 2.35\n\nPackage: libc6\n\
             Status: install ok installed\nArchitecture: amd64\nMulti-Arch: same\nVersion: 2.36-9\n",
        )
        .file(
            "/var/lib/dpkg/info/coreutils.list",
            0o644,
            "/.\n/bin\n/bin/ls\n/etc\n/etc/ls conf\n/usr/share/doc/coreutils\n/usr/share/doc/coreutils/copyright\n/gone\n",
        )
        .file(
            "/var/lib/dpkg/info/libc6:amd64.list",
            0o644,
            "/.\n/lib\n/lib/x86_64-linux-gnu\n/lib/x86_64-linux-gnu/libc.so.6\n/bin\n/etc\n",
        )
        .file("/var/lib/dpkg/info/libc6:i386.list", 0o644, "/.\n")
}

#[test]
fn dpkg_owns_what_its_lists_name_found_over_a_merged_usr() {
    insta::assert_snapshot!(all(&debian()), @r"
    /etc/ls conf: dpkg coreutils 9.1-1
    /lib: dpkg libc6:amd64 2.36-9
    /usr/bin/ls: dpkg coreutils 9.1-1
    /usr/lib/x86_64-linux-gnu: dpkg libc6:amd64 2.36-9
    /usr/lib/x86_64-linux-gnu/libc.so.6: dpkg libc6:amd64 2.36-9
    /usr/share/doc/coreutils: dpkg coreutils 9.1-1
    /usr/share/doc/coreutils/copyright: dpkg coreutils 9.1-1
    ");
    assert!(read(&debian()).unread().is_empty());
}

#[test]
fn the_files_of_a_package_are_those_that_it_owns() {
    let packages = read(&debian());
    let (libc, _) = packages.iter().find(|(_, package)| package.name == "libc6:amd64").unwrap();
    let files: Vec<String> = packages.files(libc).map(ToString::to_string).collect();
    assert_eq!(files, ["/lib", "/usr/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu/libc.so.6"]);
    assert_eq!(packages.package(libc).record, "/var/lib/dpkg/info/libc6:amd64.list".into());
}

#[test]
fn a_conffile_is_known_as_configuration_and_the_rest_of_a_stanza_is_not() {
    let packages = read(&debian());
    assert!(packages.is_configuration(&"/etc/ls conf".into()));
    assert!(!packages.is_configuration(&"/usr/bin/ls".into()));
}

#[test]
fn a_diverted_file_lies_elsewhere_for_all_but_the_one_that_diverts() {
    let tree = MemoryTree::new()
        .file("/bin/sh", 0o755, "x")
        .file("/bin/sh.distrib", 0o755, "x")
        .file("/var/lib/dpkg/diversions", 0o644, "/bin/sh\n/bin/sh.distrib\ndash\n")
        .file("/var/lib/dpkg/info/bash.list", 0o644, "/bin/sh\n")
        .file("/var/lib/dpkg/info/dash.list", 0o644, "/bin/sh\n");
    assert_eq!(owner(&tree, "/bin/sh"), some("dpkg dash"));
    assert_eq!(owner(&tree, "/bin/sh.distrib"), some("dpkg bash"));
}

#[test]
fn an_installed_package_without_its_list_is_told() {
    let status = "Package: gone\nStatus: install ok installed\nVersion: 1\n\nPackage: removed\n\
                  Status: deinstall ok config-files\nVersion: 1\n";
    let packages = read(&MemoryTree::new().file("/var/lib/dpkg/status", 0o644, status));
    let [unread] = packages.unread() else { panic!("{packages:?}") };
    assert_eq!(unread.record, "/var/lib/dpkg/status".into());
    assert_eq!(unread.why, "1 of its packages, gone among them, have no list of their files");
}

#[test]
fn distroless_images_have_a_stanza_and_sums_for_each_package() {
    let tree = MemoryTree::new()
        .file("/usr/lib/libssl.so.3", 0o644, "x")
        .file("/etc/ssl/openssl.cnf", 0o644, "x")
        .file(
            "/var/lib/dpkg/status.d/libssl3",
            0o644,
            "Package: libssl3\nVersion: 3.0\nArchitecture: amd64\nConffiles:\n /etc/ssl/openssl.cnf 00\n",
        )
        .file(
            "/var/lib/dpkg/status.d/libssl3.md5sums",
            0o644,
            "0123456789abcdef0123456789abcdef  usr/lib/libssl.so.3\n",
        )
        .file("/var/lib/dpkg/status.d/base", 0o644, "Package: base\nVersion: 1\n");
    assert_eq!(owner(&tree, "/usr/lib/libssl.so.3"), some("dpkg libssl3 3.0"));
    assert_eq!(owner(&tree, "/etc/ssl/openssl.cnf"), some("dpkg libssl3 3.0"));
    assert_eq!(read(&tree).unread()[0].record, "/var/lib/dpkg/status.d/base".into());
}

#[test]
fn apk_owns_the_files_of_its_folders() {
    let tree = MemoryTree::new()
        .file("/bin/busybox", 0o755, "x")
        .file("/etc/securetty", 0o644, "x")
        .file("/srv/own", 0o644, "x")
        .file(
            "/lib/apk/db/installed",
            0o644,
            "C:Q1x\nP:busybox\nV:1.36.1-r5\nF:bin\nR:busybox\na:0:0:755\nZ:Q1\nF:etc\nR:securetty\n\nP:other\nV:1\n\n",
        );
    assert_eq!(owner(&tree, "/bin/busybox"), some("apk busybox 1.36.1-r5"));
    assert_eq!(owner(&tree, "/srv/own"), None);
    assert!(read(&tree).is_configuration(&"/etc/securetty".into()));
}

#[test]
fn pip_owns_what_record_lists_also_above_its_folder_and_compiled() {
    let tree = MemoryTree::new()
        .file("/venv/bin/flask", 0o755, "x")
        .file("/venv/lib/site-packages/flask/app.py", 0o644, "x")
        .file("/venv/lib/site-packages/flask/__pycache__/app.cpython-311.pyc", 0o644, "x")
        .file("/venv/lib/site-packages/flask/a,\"b.txt", 0o644, "x")
        .file("/venv/lib/site-packages/own.py", 0o644, "x")
        .file("/venv/lib/site-packages/flask-3.0.0.dist-info/INSTALLER", 0o644, "pip\n")
        .file(
            "/venv/lib/site-packages/flask-3.0.0.dist-info/RECORD",
            0o644,
            "../../bin/flask,sha256=x,1\r\nflask/app.py,sha256=x,1\r\n\"flask/a,\"\"b.txt\",,\r\n",
        )
        .file("/venv/lib/site-packages/yaml/a.py", 0o644, "x")
        .file(
            "/venv/lib/site-packages/PyYAML-6.0-py3.11.egg-info/installed-files.txt",
            0o644,
            "../yaml/a.py\nPKG-INFO\n",
        );
    for path in ["bin/flask", "lib/site-packages/flask/app.py", "lib/site-packages/flask/a,\"b.txt"] {
        assert_eq!(owner(&tree, &format!("/venv/{path}")), some("pip flask 3.0.0"), "{path}");
    }
    let packages = "/venv/lib/site-packages";
    let compiled = format!("{packages}/flask/__pycache__/app.cpython-311.pyc");
    assert_eq!(owner(&tree, &compiled), some("pip flask 3.0.0"));
    let metadata = format!("{packages}/flask-3.0.0.dist-info/INSTALLER");
    assert_eq!(owner(&tree, &metadata), some("pip flask 3.0.0"));
    assert_eq!(owner(&tree, &format!("{packages}/yaml/a.py")), some("pip PyYAML 6.0"));
    assert_eq!(owner(&tree, &format!("{packages}/own.py")), None);
}

#[test]
fn an_npm_package_owns_its_folder_but_not_the_packages_within() {
    let tree = MemoryTree::new()
        .file("/app/package.json", 0o644, r#"{"version": "0.1"}"#)
        .file("/app/node_modules/.bin/a", 0o755, "x")
        .file("/app/node_modules/a/package.json", 0o644, r#"{"version": "1.0.0"}"#)
        .file("/app/node_modules/a/lib/x.js", 0o644, "x")
        .file("/app/node_modules/a/node_modules/@s/b/package.json", 0o644, "no JSON")
        .file("/app/node_modules/a/node_modules/@s/b/x.js", 0o644, "x")
        .symlink("/app/node_modules/workspace", "../workspace")
        .file("/app/workspace/package.json", 0o644, "{}");
    insta::assert_snapshot!(all(&tree), @r"
    /app/node_modules/a: npm a 1.0.0
    /app/node_modules/a/lib: npm a 1.0.0
    /app/node_modules/a/lib/x.js: npm a 1.0.0
    /app/node_modules/a/node_modules: npm a 1.0.0
    /app/node_modules/a/node_modules/@s: npm a 1.0.0
    /app/node_modules/a/node_modules/@s/b: npm @s/b
    /app/node_modules/a/node_modules/@s/b/package.json: npm @s/b
    /app/node_modules/a/node_modules/@s/b/x.js: npm @s/b
    /app/node_modules/a/package.json: npm a 1.0.0
    ");
}

#[test]
fn a_gem_owns_its_folder_its_extensions_and_its_specification() {
    let bundle = "/usr/local/bundle";
    let tree = MemoryTree::new()
        .file(format!("{bundle}/specifications/net-http-0.3.2.gemspec").as_str(), 0o644, "x")
        .file(format!("{bundle}/gems/net-http-0.3.2/lib/net.rb").as_str(), 0o644, "x")
        .file(format!("{bundle}/specifications/nokogiri-1.15.4-x86_64-linux.gemspec").as_str(), 0o644, "x")
        .file(format!("{bundle}/extensions/x86/3.2.0/nokogiri-1.15.4-x86_64-linux/n.so").as_str(), 0o644, "x")
        .file(format!("{bundle}/bundler/gems/rack-1a2b/rack.gemspec").as_str(), 0o644, "x")
        .file(format!("{bundle}/bundler/gems/rack-1a2b/lib/rack.rb").as_str(), 0o644, "x")
        .file(format!("{bundle}/config").as_str(), 0o644, "x");
    let owner = |path: &str| owner(&tree, &format!("{bundle}/{path}"));
    assert_eq!(owner("gems/net-http-0.3.2/lib/net.rb"), some("gem net-http 0.3.2"));
    assert_eq!(owner("specifications/net-http-0.3.2.gemspec"), some("gem net-http 0.3.2"));
    assert_eq!(owner("extensions/x86/3.2.0/nokogiri-1.15.4-x86_64-linux/n.so"), some("gem nokogiri 1.15.4"));
    assert_eq!(owner("bundler/gems/rack-1a2b/lib/rack.rb"), some("gem rack 1a2b"));
    assert_eq!(owner("config"), None);
}

#[test]
fn composers_packages_own_their_folders_and_not_the_autoloader() {
    let installed = r#"{"packages": [{"name": "twig/twig", "version": "v3.8", "install-path": "../twig/twig"},
        {"name": "all/all", "version": "1", "install-path": ".."}]}"#;
    let tree = MemoryTree::new()
        .file("/app/vendor/composer/installed.json", 0o644, installed)
        .file("/app/vendor/composer/autoload_real.php", 0o644, "x")
        .file("/app/vendor/twig/twig/src/a.php", 0o644, "x")
        .file("/old/vendor/composer/installed.json", 0o644, r#"[{"name": "a/b"}]"#)
        .file("/old/vendor/a/b/a.php", 0o644, "x")
        .file("/bad/vendor/composer/installed.json", 0o644, "[");
    assert_eq!(owner(&tree, "/app/vendor/twig/twig/src/a.php"), some("composer twig/twig v3.8"));
    assert_eq!(owner(&tree, "/app/vendor/composer/autoload_real.php"), None);
    assert_eq!(owner(&tree, "/old/vendor/a/b/a.php"), some("composer a/b"));
    assert_eq!(read(&tree).unread()[0].record, "/bad/vendor/composer/installed.json".into());
}

#[test]
fn the_systems_package_comes_before_the_languages() {
    let tree = MemoryTree::new()
        .file("/usr/lib/node_modules/npm/package.json", 0o644, "{}")
        .file("/usr/lib/node_modules/npm/own.js", 0o644, "x")
        .file("/var/lib/dpkg/info/npm.list", 0o644, "/usr/lib/node_modules/npm/package.json\n");
    assert_eq!(owner(&tree, "/usr/lib/node_modules/npm/package.json"), some("dpkg npm"));
    assert_eq!(owner(&tree, "/usr/lib/node_modules/npm/own.js"), some("npm npm"));
}

const RECORDS: [&str; 9] = [
    "/var/lib/dpkg/status",
    "/var/lib/dpkg/diversions",
    "/var/lib/dpkg/info/a.list",
    "/var/lib/dpkg/status.d/a",
    "/var/lib/dpkg/status.d/a.md5sums",
    "/lib/apk/db/installed",
    "/lib/a-1.dist-info/RECORD",
    "/lib/node_modules/a/package.json",
    "/lib/vendor/composer/installed.json",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn records_of_any_bytes_are_read_to_their_end(
        records in proptest::collection::vec(
            "(Package: a|P:a|F:|R:|Conffiles:|/| |\\.\\.|\"|,|\n|\\{|\\[|a|\u{e9}|\r){0,40}", RECORDS.len()
        ),
        noise in proptest::collection::vec(any::<u8>(), 0..64),
    ) {
        let mut tree = MemoryTree::new().symlink("/loop", "loop").symlink("/a", "/");
        for (path, contents) in RECORDS.iter().zip(records) {
            tree = tree.file(*path, 0o644, [contents.as_bytes(), &noise].concat());
        }
        let packages = read(&tree);
        for (id, _) in packages.iter() {
            for path in packages.files(id) {
                prop_assert_eq!(packages.owner_id(path), Some(id));
                prop_assert!(tree.entry(path).is_some());
            }
        }
    }
}
