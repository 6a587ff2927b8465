//! What an ELF file says in its notes that it opens at run time (`.note.dlopen`, the UAPI group's ELF dlopen metadata).
//!
//! What is required or recommended is kept, what is only suggested is not. The names of one feature are alternatives, the
//! best first: the first that the image has is kept.

use super::{Loader, Opener, World};
use crate::seed::Seed;
use serde::Deserialize;
use slim_image::TreeError;

/// One feature of a program that needs a library.
#[derive(Deserialize)]
struct Feature {
    soname: Vec<String>,
    #[serde(default)]
    priority: Priority,
}

#[derive(Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Priority {
    Required,
    #[default]
    Recommended,
    Suggested,
    /// A word of a later specification.
    #[serde(other)]
    Unknown,
}

/// The libraries that a file's notes name.
pub(super) fn seeds(
    world: &World<'_>,
    loader: &mut Loader,
    opener: Opener<'_>,
) -> Result<Vec<Seed>, TreeError> {
    let mut seeds = Vec::new();
    for feature in opener.headers.opened.iter().flat_map(|note| features(note)) {
        for soname in feature.soname.iter().filter(|name| !name.is_empty()) {
            let mut found = loader.seeds(world, opener, soname.as_bytes())?;
            if !found.is_empty() {
                seeds.append(&mut found);
                break;
            }
        }
    }
    Ok(seeds)
}

fn features(note: &[u8]) -> Vec<Feature> {
    let json = note.split(|byte| *byte == 0).next().unwrap_or_default();
    let features: Vec<serde_json::Value> = serde_json::from_slice(json).unwrap_or_default();
    let features = features.into_iter().filter_map(|feature| serde_json::from_value(feature).ok());
    features.filter(|feature: &Feature| feature.priority != Priority::Suggested).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_only_suggested_or_cannot_be_read_is_no_feature() {
        let note = br#"[
            {"feature": "a", "soname": ["liba.so.2", "liba.so.1"]},
            {"feature": "b", "priority": "required", "soname": ["libb.so"]},
            {"feature": "c", "priority": "suggested", "soname": ["libc.so"]},
            {"feature": "d", "soname": "libd.so"}
        ]"#;
        let names: Vec<Vec<String>> = features(note).into_iter().map(|feature| feature.soname).collect();
        assert_eq!(names, [vec!["liba.so.2", "liba.so.1"], vec!["libb.so"]]);
        assert!(features(b"[[[").is_empty());
        assert_eq!(features(b"[{\"soname\": [\"x\"]}]\0\0").len(), 1);
    }
}
