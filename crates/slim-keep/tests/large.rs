//! The size of a real image: 60,000 entries, 3,000 traced paths by 200 processes.
#![expect(clippy::unwrap_used, reason = "a test may fail by panicking")]

mod support;

use slim_image::MemoryTree;
use slim_trace::Access;
use std::time::{Duration, Instant};
use support::{Traced, kept};

#[test]
fn a_large_image_is_decided_in_moments() {
    let mut tree = MemoryTree::new();
    for directory in 0..3000 {
        let place = format!("/usr/lib/python3/dist-packages/p{}/d{directory}", directory % 300);
        for file in 0..20 {
            tree = tree.file(format!("{place}/m{file}.py").as_str(), 0o644, "x");
        }
    }
    let mut trace = Traced::new();
    for process in 0..200 {
        trace = trace.process(if process % 2 == 0 { "/usr/bin/python3" } else { "/bin/sh" });
        for touch in 0..100 {
            let directory = (process * 7 + touch) % 3000;
            let place = format!("/usr/lib/python3/dist-packages/p{}/d{directory}", directory % 300);
            trace = trace
                .list(&place)
                .touch(&format!("{place}/m{}.py", touch % 20), &[Access::Open, Access::Stat])
                .touch(&format!("{place}/none"), &[Access::Missing]);
        }
    }
    let start = Instant::now();
    let set = kept(&trace, &tree);
    let took = start.elapsed();
    assert!(set.entries.len() > 1000);
    // The bound leaves room for a busy machine and a build that is not optimised.
    assert!(took < Duration::from_secs(20), "{took:?}");
    println!("{took:?} for {} entries of {} kept", set.entries.len(), tree.listing().len());
}
