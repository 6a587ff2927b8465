//! OCI layouts to carry around: small, and for several platforms.

use slim_image::manifest::{annotation, media};
use slim_image::{Descriptor, Index, Layout, Platform};
use std::path::Path;

/// A layout with an index called `1` for this machine's platform and another.
pub fn for_two_platforms(path: &Path) -> Layout {
    let layout = Layout::create(path).unwrap();
    let other = Platform::new("linux", "s390x");
    let manifests = [Platform::host(), other].map(|platform| image(&layout, platform)).to_vec();
    let index = serde_json::to_vec(&Index { manifests, ..Index::empty() }).unwrap();
    let mut descriptor = layout.put_blob(media::INDEX, &index).unwrap();
    descriptor.annotations.insert(annotation::REF_NAME.to_owned(), "1".to_owned());
    layout.put(descriptor).unwrap();
    layout
}

/// An image with one empty layer.
fn image(layout: &Layout, platform: Platform) -> Descriptor {
    let layer = layout.put_blob(media::LAYER, &[0; 1024]).unwrap();
    let config = serde_json::json!({
        "os": platform.os, "architecture": platform.architecture, "config": {"Cmd": ["/x"]},
        "rootfs": {"type": "layers", "diff_ids": [layer.digest]},
    });
    let config = layout.put_blob(media::CONFIG, config.to_string().as_bytes()).unwrap();
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": media::MANIFEST, "config": config, "layers": [layer],
    });
    let manifest = layout.put_blob(media::MANIFEST, manifest.to_string().as_bytes()).unwrap();
    Descriptor { platform: Some(platform), ..manifest }
}
