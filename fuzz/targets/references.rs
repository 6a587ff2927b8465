//! References, places of images, platforms and digests as people and manifests write them.
#![no_main]

use libfuzzer_sys::fuzz_target;
use slim_image::{Digest, Location, Platform, Reference};
#[cfg(feature = "network")]
use slim_registry::RepositoryName;

fuzz_target!(|text: &str| {
    if let Ok(reference) = text.parse::<Reference>() {
        drop((reference.slim_name(), reference.canonical(), reference.familiar()));
        #[cfg(feature = "network")]
        drop(RepositoryName::of(&reference));
        assert!(!reference.file_stem().contains('/'), "a file name is a folder's: {text:?}");
        let again: Reference = reference.to_string().parse().expect("what was written can be read");
        assert_eq!(again, reference);
    }
    if let Ok(location) = text.parse::<Location>() {
        drop(format!("{location:?}"));
    }
    if let Ok(platform) = text.parse::<Platform>() {
        assert_eq!(platform.to_string().parse::<Platform>().expect("what was written can be read"), platform);
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.to_string(), text);
    }
});
