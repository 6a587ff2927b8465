//! An image whose documents and layer are the stranger's, with the digests that they have: as an OCI layout and as a
//! directory of skopeo's. Parts: manifest, configuration, layer (a tar). `@config` and `@layer` in the manifest stand for
//! the digest and size of the others, `@layer` in the configuration for the layer's digest.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slim_fuzz::{Jail, READ_LIMIT, drain, parts, with_checksums};
use slim_image::location::{Form, Stored};
use slim_image::packing::Scratch;
use slim_image::{Descriptor, Digest, ImageTree, Layout, LocalImage, Selector};
use std::fs;

fn replaced(text: &[u8], what: &str, with: &str) -> Vec<u8> {
    match std::str::from_utf8(text) {
        Ok(text) => text.replace(what, with).into_bytes(),
        Err(_) => text.to_vec(),
    }
}

fn described(bytes: &[u8]) -> String {
    format!("\"digest\":\"{}\",\"size\":{}", Digest::of(bytes), bytes.len())
}

fn use_it(stored: &Stored, jail: &Jail) {
    let Ok(image) = LocalImage::open(stored, None, Scratch { folder: jail.scratch().into(), limit: READ_LIMIT }) else { return };
    drop(image.write_archive(std::io::sink(), &[]));
    let Ok(tree) = image.tree() else { return };
    for (path, _) in tree.listing().iter().take(64) {
        if let Ok(contents) = tree.open(path) {
            drain(contents);
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let parts = parts(bytes);
    let [manifest, config, layer] = parts[..] else { return };
    let layer = with_checksums(layer);
    let config = replaced(config, "@layer", &Digest::of(&layer).to_string());
    let manifest = replaced(manifest, "@config", &described(&config));
    let manifest = replaced(&manifest, "@layer", &described(&layer));

    let jail = Jail::new();
    let layout = Layout::create(jail.inside().join("layout")).expect("a new layout");
    for blob in [&config, &layer] {
        layout.put_blob("application/octet-stream", blob).expect("room for it");
    }
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let descriptor: Descriptor = layout.put_blob(manifest_type, &manifest).expect("room for it");
    layout.put(descriptor).expect("room for it");
    use_it(&Stored { form: Form::Layout, path: layout.path().to_owned(), selector: Selector::Only }, &jail);

    let folder = jail.inside().join("directory");
    fs::create_dir(&folder).expect("a new folder");
    fs::write(folder.join("version"), "Directory Transport Version: 1.1\n").expect("room for it");
    fs::write(folder.join("manifest.json"), &manifest).expect("room for it");
    for blob in [&config, &layer] {
        fs::write(folder.join(Digest::of(blob).hex()), blob).expect("room for it");
    }
    use_it(&Stored { form: Form::Directory, path: folder, selector: Selector::Only }, &jail);
    jail.check();
});
