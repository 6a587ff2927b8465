//! An ELF file that a stranger built, and the system calls that it can make.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slim_image::{ImagePath, MemoryTree};
use slim_possible::{How, Kept, possible};

fuzz_target!(|bytes: &[u8]| {
    let (program, library) = (ImagePath::from("/program"), ImagePath::from("/library"));
    let tree = MemoryTree::new().file("/program", 0o755, bytes).file("/library", 0o644, bytes);
    let kept = [
        Kept { path: program, how: How::Program { interpreter: None }, needs: vec![library.clone()] },
        Kept { path: library, how: How::Library, needs: Vec::new() },
    ];
    possible(&tree, &kept).expect("the files can be read");
});
