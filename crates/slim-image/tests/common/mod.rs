//! What the tests share.
#![allow(dead_code, reason = "each test binary uses its part")]

use slim_image::{Config, Digest, SourceImage};

/// A fat image as an engine describes it.
pub fn source(config: Config) -> SourceImage {
    SourceImage {
        id: Digest::of("fat"),
        reference: "fat".to_owned(),
        tags: vec!["fat:latest".to_owned()],
        digests: vec![],
        architecture: "amd64".to_owned(),
        variant: None,
        os: "linux".to_owned(),
        os_version: None,
        created: Some("2024-05-06T07:08:09Z".to_owned()),
        author: Some("someone".to_owned()),
        size: 5,
        config,
        layer_diff_ids: vec![],
    }
}
