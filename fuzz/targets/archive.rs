//! Image archives (docker-archive, OCI layout in a tar): opened, merged, validated, taken into a store's layout.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slim_fuzz::{Jail, READ_LIMIT, drain, with_checksums};
use slim_image::location::{Form, Stored};
use slim_image::packing::Scratch;
use slim_image::{ImageTree, Layout, LocalImage, Selector, import_archive, validate};
use std::fs::File;
use std::io::Cursor;

fuzz_target!(|bytes: &[u8]| {
    let tar = with_checksums(bytes);
    let jail = Jail::new();
    let path = jail.inside().join("image.tar");
    std::fs::write(&path, &tar).expect("a new file");
    drop(validate(Cursor::new(&tar)));
    for form in [Form::AnyArchive, Form::DockerArchive, Form::OciArchive] {
        let stored = Stored { form, path: path.clone(), selector: Selector::Only };
        let Ok(image) = LocalImage::open(&stored, None, Scratch { folder: jail.scratch().into(), limit: READ_LIMIT }) else { continue };
        for number in 0..image.layer_count() {
            if let Ok(layer) = image.layer(number) {
                drain(layer);
            }
        }
        let Ok(tree) = image.tree() else { continue };
        for (entry_path, _) in tree.listing().iter().take(64) {
            if let Ok(contents) = tree.open(entry_path) {
                drain(contents);
            }
        }
    }
    if let (Ok(archive), Ok(layout)) = (File::open(&path), Layout::create(jail.inside().join("store"))) {
        if let Ok(imported) = import_archive(&archive, &layout) {
            for image in imported {
                let blob = layout.read_blob(&image.manifest, READ_LIMIT).expect("what was taken in is there");
                assert_eq!(slim_image::Digest::of(&blob), image.manifest.digest);
            }
        }
    }
    jail.check();
});
