//! An ELF file as program, library and loader of an image: what it needs. The loader's cache is the stranger's, too.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slim_image::{Config, MemoryTree};
use slim_keep::{Level, Settings, keep};
use slim_trace::Trace;

fuzz_target!(|bytes: &[u8]| {
    let tree = MemoryTree::new()
        .file("/program", 0o755, bytes)
        .file("/lib/liba.so.1", 0o644, bytes)
        .file("/lib64/ld-linux-x86-64.so.2", 0o755, bytes)
        .file("/etc/ld.so.cache", 0o644, bytes)
        .file("/etc/ld.so.conf", 0o644, bytes);
    let config = Config { entrypoint: vec!["/program".to_owned()], ..Config::default() };
    let settings = Settings { level: Level::Reachable, ..Settings::default() };
    let set = keep(&Trace::empty("image"), &tree, &config, &settings).expect("the files can be read");
    assert!(set.contains(&"/program".into()));
});
