//! A layer's tar with whiteouts → the store: nothing outside of the folder is touched, and what comes out can be read.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slim_fuzz::{Jail, drain, with_checksums};
use slim_image::unpack::Limits;
use slim_image::{Digest, ImageTree, OverlayTree, unpack_layer};

fuzz_target!(|bytes: &[u8]| {
    let tar = with_checksums(bytes);
    let jail = Jail::new();
    let limits = Limits { bytes: 1 << 20, entries: 500 };
    let unpacked = unpack_layer(&tar[..], &Digest::of(&tar), &jail.inside(), limits);
    jail.check();
    if let Ok(done) = unpacked {
        assert!(done.entries <= limits.entries && done.size <= limits.bytes, "more than the limits: {done:?}");
        let tree = OverlayTree::open(&[jail.inside()]).expect("what was unpacked can be read");
        for (path, _) in tree.listing().iter() {
            if let Ok(contents) = tree.open(path) {
                drain(contents);
            }
        }
    }
});
