//! Whole images: what is kept of them from an entrypoint on.

use crate::reach::testing::{Run, elf};
use slim_image::MemoryTree;

fn kept(runtime: &str, files: &[(&str, &str)]) -> Vec<String> {
    let tree = MemoryTree::new().file(runtime, 0o755, elf());
    let tree = files.iter().fold(tree, |tree, (path, text)| tree.file(*path, 0o644, text));
    Run::new(&tree).keep(&[runtime, "/app/index.php"])
}

#[test]
fn zones_and_conversions_come_with_the_runtime() {
    let files = [
        ("/app/index.php", "<?php"),
        ("/usr/share/zoneinfo/Europe/Berlin", "TZif"),
        ("/usr/lib/x86_64-linux-gnu/gconv/gconv-modules", "module ISO-8859-1// INTERNAL ISO8859-1 1\n"),
        ("/usr/lib/x86_64-linux-gnu/gconv/ISO8859-1.so", ""),
        ("/usr/lib/x86_64-linux-gnu/gconv/BIG5.so", ""),
    ];
    let of_php = kept("/usr/bin/php8.2", &files);
    for path in ["/usr/share/zoneinfo/Europe/Berlin", "/usr/lib/x86_64-linux-gnu/gconv/ISO8859-1.so"] {
        assert!(of_php.contains(&path.to_owned()), "{of_php:?}");
    }
    assert!(!of_php.iter().any(|path| path.ends_with("BIG5.so")), "{of_php:?}");
    assert!(kept("/usr/bin/other", &files).is_empty());
}

const INSTALLED: &str = r#"{"packages": [
    {"name": "a/used", "autoload": {"psr-4": {"Used\\": "src/"}, "files": ["functions.php"]}, "require": {"b/needed": "1"},
     "install-path": "../a/used"},
    {"name": "b/needed", "autoload": {"psr-4": {"Needed\\": ""}}, "install-path": "../b/needed"},
    {"name": "c/unused", "autoload": {"psr-4": {"Unused\\": ["src"]}}, "install-path": "../c/unused"}], "dev": true}"#;

#[test]
fn constant_includes_are_kept_and_computed_ones_widen_to_their_folder() {
    let files = [
        (
            "/app/index.php",
            "<html><?php define('ROOT', dirname(__FILE__) . '/lib'); require_once(ROOT . '/a.php');
             include 'b.php'; include 'shared/c.php'; require __DIR__ . \"/pages/$page.php\";
             include $unknown; include 'absent.php'; ?>",
        ),
        ("/app/lib/a.php", "<?php require dirname(__DIR__, 2) . '/other/d.php';"),
        ("/app/b.php", ""),
        ("/usr/share/php/shared/c.php", ""),
        ("/usr/share/php/unused.php", ""),
        ("/app/pages/one.php", ""),
        ("/app/pages/one.txt", ""),
        ("/other/d.php", ""),
    ];
    let expected =
        ["/app/b.php", "/app/lib/a.php", "/app/pages/one.php", "/other/d.php", "/usr/share/php/shared/c.php"];
    assert_eq!(kept("/usr/bin/php8.2", &files), expected);
    assert!(kept("/usr/bin/other", &files).is_empty());
}

#[test]
fn packages_of_which_one_class_is_named_are_kept_with_all_that_their_autoloader_finds() {
    let files = [
        ("/app/index.php", "<?php require 'vendor/autoload.php'; use Used\\{Thing, Absent}; new Thing;"),
        ("/app/vendor/autoload.php", "<?php require_once __DIR__ . '/composer/autoload_real.php';"),
        ("/app/vendor/composer/autoload_real.php", ""),
        ("/app/vendor/composer/autoload_psr4.php", ""),
        ("/app/vendor/composer/installed.json", INSTALLED),
        ("/app/vendor/a/used/src/Thing.php", "<?php use Needed\\Part; use Unused\\Tool;"),
        ("/app/vendor/a/used/src/Dynamic.php", ""),
        ("/app/vendor/a/used/src/texts/de.xlf", ""),
        ("/app/vendor/a/used/functions.php", ""),
        ("/app/vendor/a/used/composer.json", ""),
        ("/app/vendor/a/used/tests/ThingTest.php", ""),
        ("/app/vendor/b/needed/Part.php", ""),
        ("/app/vendor/b/needed/Tests/PartTest.php", ""),
        ("/app/vendor/b/needed/README.md", ""),
        ("/app/vendor/c/unused/src/Tool.php", ""),
    ];
    assert_eq!(
        kept("/usr/local/sbin/php-fpm", &files),
        [
            "/app/vendor/a/used/composer.json",
            "/app/vendor/a/used/functions.php",
            "/app/vendor/a/used/src/Dynamic.php",
            "/app/vendor/a/used/src/Thing.php",
            "/app/vendor/a/used/src/texts/de.xlf",
            "/app/vendor/autoload.php",
            "/app/vendor/b/needed/Part.php",
            "/app/vendor/composer/autoload_psr4.php",
            "/app/vendor/composer/autoload_real.php",
        ]
    );
}

#[test]
fn a_runtime_reads_the_ini_files_of_its_kind_and_the_extensions_they_name() {
    let files = [
        ("/app/index.php", ""),
        ("/etc/php/8.2/fpm/php.ini", "; extension=off\n[PHP]\nauto_prepend_file = \"/app/before.php\"\n"),
        ("/etc/php/8.2/fpm/conf.d/10-x.ini", "extension=mysqli ; yes\nzend_extension=opcache.so"),
        ("/etc/php/8.2/cli/php.ini", "extension=off"),
        ("/usr/lib/php/20220829/mysqli.so", ""),
        ("/usr/lib/php/20220829/opcache.so", ""),
        ("/usr/lib/php/20220829/off.so", ""),
        ("/app/before.php", ""),
    ];
    assert_eq!(
        kept("/usr/sbin/php-fpm8.2", &files),
        [
            "/app/before.php",
            "/etc/php/8.2/fpm/conf.d/10-x.ini",
            "/etc/php/8.2/fpm/php.ini",
            "/usr/lib/php/20220829/mysqli.so",
            "/usr/lib/php/20220829/opcache.so",
        ]
    );
}
