//! All rules together on contents that no one means well with.

use super::testing::{Run, elf};
use proptest::prelude::*;
use slim_image::MemoryTree;

/// Parts of what the rules look for, so that random texts get somewhere.
const PARTS: [&str; 44] = [
    "require(",
    "import('",
    "export * from '",
    "new URL('",
    "path.join(__dirname, ",
    "`${",
    "}`",
    "'./",
    "'",
    "\"",
    "(",
    ")",
    "{",
    "}",
    "[",
    "]",
    ":",
    ",",
    "..",
    "/",
    "*",
    "\\u{",
    "\\",
    "\n",
    " ",
    "use ",
    "package A::B;",
    "qw(",
    "lib ",
    "require_relative '",
    "#{__dir__}",
    "autoload :A, ",
    "<?php ",
    "include __DIR__ . '/",
    "use A\\{",
    "dirname(__FILE__, 9) . ",
    "extension=",
    "\"exports\": ",
    "\"targets\": ",
    "\"packages\": ",
    "\"name\": ",
    "\"framework\": ",
    "#x",
    "a",
];
/// Files that the rules read, of every language.
const FILES: [&str; 14] = [
    "/app/main.js",
    "/app/package.json",
    "/app/node_modules/a/package.json",
    "/app/node_modules/a/index.js",
    "/app/index.php",
    "/app/vendor/composer/installed.json",
    "/etc/php/8.2/cli/php.ini",
    "/app/main.rb",
    "/app/Gemfile.lock",
    "/app/main.pl",
    "/usr/share/perl5/A/B.pm",
    "/app/main.jar",
    "/app/web.deps.json",
    "/app/web.runtimeconfig.json",
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn no_contents_panic_or_go_on_for_ever(
        parts in proptest::collection::vec((0..PARTS.len(), any::<u8>()), 0..120),
    ) {
        let text: Vec<u8> = parts
            .iter()
            .flat_map(|(part, byte)| if *byte < 16 { vec![*byte, 0xff] } else { PARTS[*part].as_bytes().to_vec() })
            .collect();
        let json = [b"{".as_slice(), &text, b"}"].concat();
        let mut tree = MemoryTree::new()
            .symlink("/app/node_modules/b", "../node_modules/b")
            .symlink("/app/node_modules/c", "../..")
            .symlink("/app/vendor/d", "/app/vendor/composer/..");
        for runtime in ["node", "php", "ruby", "perl", "java", "beam.smp"] {
            tree = tree.file(format!("/usr/bin/{runtime}").as_str(), 0o755, elf());
        }
        tree = tree.file("/usr/lib/modules", 0o644, "");
        for file in FILES {
            tree = tree.file(file, 0o644, if file.ends_with(".json") { &json } else { &text });
        }
        let all = FILES.into_iter().chain(["/usr/bin/node", "/usr/bin/php", "/usr/bin/ruby", "/usr/bin/perl", "/usr/bin/java"]);
        Run::new(&tree).keep(&all.collect::<Vec<_>>());
    }
}
