//! Source texts and documents of every language that the rules of `--keep reachable` read. The first part's name says
//! which file it is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slim_fuzz::parts;
use slim_image::{Config, MemoryTree};
use slim_keep::{Level, Settings, keep};
use slim_trace::Trace;

const FILES: [&str; 20] = [
    "/app/main.js", "/app/package.json", "/app/node_modules/a/package.json", "/app/node_modules/a/index.mjs",
    "/app/main.py", "/app/main.sh", "/app/index.php", "/app/vendor/composer/installed.json", "/etc/php/8.2/cli/php.ini",
    "/app/main.rb", "/app/Gemfile.lock", "/app/main.pl", "/usr/share/perl5/A/B.pm", "/app/main.jar",
    "/app/web.deps.json", "/app/web.runtimeconfig.json", "/etc/nginx/nginx.conf", "/etc/passwd", "/etc/nsswitch.conf",
    "/usr/lib/python3/dist-packages/a.dist-info/RECORD",
];
const RUNTIMES: [&str; 6] = ["node", "php", "ruby", "perl", "java", "python3"];

fuzz_target!(|bytes: &[u8]| {
    let mut tree = MemoryTree::new().symlink("/app/node_modules/b", "../node_modules/b");
    for runtime in RUNTIMES {
        tree = tree.file(format!("/usr/bin/{runtime}").as_str(), 0o755, "\x7fELF");
    }
    for part in parts(bytes) {
        let Some((first, rest)) = part.split_first() else { continue };
        let file = FILES[usize::from(*first) % FILES.len()];
        tree = tree.file(file, 0o755, rest);
    }
    let settings = Settings {
        level: Level::Reachable,
        include_path: FILES.iter().map(|file| (*file).into()).filter(|path| slim_image::ImageTree::entry(&tree, path).is_some()).collect(),
        ..Settings::default()
    };
    for runtime in RUNTIMES {
        let config = Config {
            entrypoint: vec![format!("/usr/bin/{runtime}"), "/app/main.js".to_owned()],
            working_dir: "/app".to_owned(),
            ..Config::default()
        };
        drop(keep(&Trace::empty("image"), &tree, &config, &settings));
    }
});
