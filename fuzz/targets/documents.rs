//! Manifests, indexes and configurations, and the listings that a collector sends.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slim_image::archive::ImageConfig;
use slim_image::{Document, Platform, SourceImage};

fuzz_target!(|bytes: &[u8]| {
    match Document::read(bytes, None) {
        Ok(Document::Manifest(manifest)) => {
            drop(manifest.image_layers());
            for blob in manifest.blobs() {
                drop(blob.told());
            }
        }
        Ok(Document::Index(index)) => {
            drop(index.for_platform(&Platform::host()));
            for image in index.images() {
                drop((image.told(), image.ref_name().map(str::len), image.is_attestation()));
            }
        }
        Err(_) => {}
    }
    if let Ok(config) = serde_json::from_slice::<ImageConfig>(bytes) {
        let run = &config.config;
        drop((run.command_line(), run.volume_paths(), run.exposed_tcp_ports(), run.env_value("PATH").map(str::len)));
        let _ = run.stop_signal_name();
        let again = serde_json::to_vec(&config).expect("it can be written");
        serde_json::from_slice::<ImageConfig>(&again).expect("what was written can be read");
    }
    drop(serde_json::from_slice::<SourceImage>(bytes));
});
