//! Package databases: dpkg's, apk's, rpm's. The first byte says which file the rest is.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slim_image::{ImagePath, MemoryTree};
use slim_keep::Packages;

const FILES: [&str; 10] = [
    "/var/lib/dpkg/status", "/var/lib/dpkg/info/a.list", "/var/lib/dpkg/info/a.conffiles", "/var/lib/dpkg/diversions",
    "/var/lib/dpkg/status.d/a", "/lib/apk/db/installed", "/var/lib/rpm/rpmdb.sqlite", "/var/lib/rpm/Packages.db",
    "/var/lib/rpm/Packages", "/usr/lib/sysimage/rpm/rpmdb.sqlite",
];
const STATUS: &str = "Package: a\nStatus: install ok installed\nArchitecture: amd64\nVersion: 1\n\n";

fuzz_target!(|bytes: &[u8]| {
    let Some((first, rest)) = bytes.split_first() else { return };
    let file = FILES[usize::from(*first) % FILES.len()];
    let mut tree = MemoryTree::new().file("/usr/bin/a", 0o755, "a");
    if file.contains("/info/") {
        tree = tree.file("/var/lib/dpkg/status", 0o644, STATUS);
    }
    let packages = Packages::read(&tree.file(file, 0o644, rest)).expect("the files can be read");
    std::hint::black_box(packages.owner(&ImagePath::from("/usr/bin/a")));
    for (id, _) in packages.iter() {
        std::hint::black_box(packages.files(id).count());
    }
});
