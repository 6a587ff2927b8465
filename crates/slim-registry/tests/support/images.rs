//! Images to move: small, but with everything that an image has.

use bytes::Bytes;
use slim_image::manifest::{annotation, media};
use slim_image::{Descriptor, Index, Layout, Manifest, Platform, Selector};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

/// Bytes that do not repeat, the same for the same seed.
pub fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut bytes = Vec::with_capacity(length + 8);
    while bytes.len() < length {
        // Marsaglia's xorshift.
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(length);
    bytes
}

/// An image for a platform, with layers of these sizes, in a layout's blobs; gives its manifest's descriptor.
pub fn image(layout: &Layout, platform: &str, layers: &[usize]) -> Descriptor {
    let seed = 1000 * u64::from(platform.bytes().fold(0, |sum: u32, byte| sum * 31 % 9973 + u32::from(byte)));
    let layers = layers.iter().enumerate().map(|(number, size)| noise(seed + number as u64, *size));
    image_of(layout, platform, layers.collect())
}

/// The same with these bytes as layers.
pub fn image_of(layout: &Layout, platform: &str, layers: Vec<Vec<u8>>) -> Descriptor {
    let platform: Platform = platform.parse().unwrap();
    let config = serde_json::json!({
        "os": platform.os, "architecture": platform.architecture, "variant": platform.variant,
        "config": {}, "rootfs": {"type": "layers", "diff_ids": []},
    });
    let config = layout.put_blob(media::CONFIG, config.to_string().as_bytes()).unwrap();
    let layers = layers.iter().map(|layer| layout.put_blob(media::LAYER_GZIP, layer).unwrap());
    let manifest = manifest(config, layers.collect(), None);
    let descriptor = layout.put_blob(media::MANIFEST, &serde_json::to_vec(&manifest).unwrap()).unwrap();
    Descriptor { platform: Some(platform), ..descriptor }
}

pub fn manifest(config: Descriptor, layers: Vec<Descriptor>, subject: Option<Descriptor>) -> Manifest {
    Manifest {
        schema_version: 2,
        media_type: Some(media::MANIFEST.to_owned()),
        artifact_type: None,
        config,
        layers,
        subject,
        annotations: BTreeMap::new(),
    }
}

/// A layout with one image called `name`.
pub fn layout_of(folder: &Path, name: &str, layers: &[usize]) -> Layout {
    let layout = Layout::create(folder).unwrap();
    let image = image(&layout, "linux/amd64", layers);
    layout.put(named(image, name)).unwrap();
    layout
}

/// A layout with an index of images for two platforms called `name`.
pub fn layout_of_index(folder: &Path, name: &str, layers: &[usize]) -> Layout {
    let layout = Layout::create(folder).unwrap();
    let images = ["linux/amd64", "linux/arm64"].map(|platform| image(&layout, platform, layers));
    put_index(&layout, name, images.to_vec());
    layout
}

/// The same with layers that are what their type says, gzip: some clients look.
pub fn layout_of_packed_index(folder: &Path, name: &str) -> Layout {
    let layout = Layout::create(folder).unwrap();
    let images = ["linux/amd64", "linux/arm64"].map(|platform| {
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(platform.repeat(1000).as_bytes()).unwrap();
        image_of(&layout, platform, vec![packed.finish().unwrap()])
    });
    put_index(&layout, name, images.to_vec());
    layout
}

fn put_index(layout: &Layout, name: &str, manifests: Vec<Descriptor>) {
    let index = Index { manifests, ..Index::empty() };
    let descriptor = layout.put_blob(media::INDEX, &serde_json::to_vec(&index).unwrap()).unwrap();
    layout.put(named(descriptor, name)).unwrap();
}

pub fn named(mut descriptor: Descriptor, name: &str) -> Descriptor {
    descriptor.annotations.insert(annotation::REF_NAME.to_owned(), name.to_owned());
    descriptor
}

/// Adds something that refers to an image: its manifest, not stored anywhere yet.
pub fn referrer(layout: &Layout, subject: &Descriptor, artifact_type: &str) -> Bytes {
    let config = layout.put_blob(media::EMPTY, b"{}").unwrap();
    let mut manifest = manifest(config.clone(), vec![config], Some(subject.clone()));
    manifest.artifact_type = Some(artifact_type.to_owned());
    manifest.annotations.insert("about".to_owned(), "a test".to_owned());
    Bytes::from(serde_json::to_vec(&manifest).unwrap())
}

/// The manifest's digest and every blob of an image: reading them checks them.
pub fn contents(layout: &Layout, name: &str, platform: &str) -> Vec<String> {
    let selector = Selector::Name(name.to_owned());
    let resolved = layout.resolve(&selector, &platform.parse().unwrap()).unwrap();
    let mut contents = vec![resolved.descriptor.digest.to_string()];
    for blob in resolved.manifest.blobs() {
        layout.read_blob(blob, u64::MAX).unwrap();
        contents.push(blob.digest.to_string());
    }
    contents
}

/// What is in a layout's folder besides what belongs there.
pub fn leftovers(layout: &Layout) -> Vec<String> {
    let names = std::fs::read_dir(layout.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let names = names.map(|name| name.into_string().unwrap());
    names.filter(|name| !["oci-layout", "index.json", "blobs"].contains(&name.as_str())).collect()
}
