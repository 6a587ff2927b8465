//! Flags about where the slim image goes → places.

use crate::arguments::Compression;
use crate::failure::Failure;
use slim_image::location::{Location, LocationError, Stored};
use slim_image::{Packing, Reference, Selector};
use std::num::NonZero;
use std::thread;

/// Where the slim image goes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// In files.
    pub stored: Vec<Stored>,
    /// Registries and engines.
    pub elsewhere: Vec<Location>,
}

/// The places of `--output`.
///
/// # Errors
/// What is no place, or none that this program writes to.
pub fn outputs(texts: &[String]) -> Result<Outputs, Failure> {
    let mut found = Outputs::default();
    for text in texts {
        let refuse = |why: &str| Failure::usage(format!("write to --output {text}: {why}"));
        let usage = |error: LocationError| Failure::usage(format!("understand --output: failed to {error}"));
        match text.parse().map_err(usage)? {
            Location::Stored(Stored { selector: Selector::Digest(_), .. })
            | Location::Registry(Reference { digest: Some(_), .. }) => {
                return Err(
                    refuse("a digest follows from the image").with_hint("a name may follow behind a colon")
                );
            }
            Location::Stored(stored) => found.stored.push(stored),
            location @ (Location::Engine { .. } | Location::Registry(_)) => found.elsewhere.push(location),
            Location::Path(path) | Location::Plain(path) => match Stored::recognise(&path).map_err(usage)? {
                Some(stored) => found.stored.push(stored),
                None => {
                    return Err(refuse("it does not say in what form").with_hint(
                        "oci:DIRECTORY, oci-archive:FILE, docker-archive:FILE, dir:DIRECTORY or docker://NAME; --tag gives a name",
                    ));
                }
            },
        }
    }
    Ok(found)
}

/// The packing of `--compression`.
pub fn packing(compression: Compression) -> Packing {
    match compression {
        Compression::Gzip => Packing::Gzip,
        Compression::Zstd => Packing::Zstd,
        Compression::None => Packing::Plain,
    }
}

/// As many threads as there are processors for us.
pub fn threads() -> NonZero<usize> {
    thread::available_parallelism().unwrap_or(NonZero::<usize>::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Outputs, Failure> {
        outputs(&[text.to_owned()])
    }

    #[test]
    fn places_to_write_to_are_understood() {
        for text in ["oci:a", "oci:a:1", "oci-archive:a.tar:x", "docker-archive:a.tar:a:1", "dir:a"] {
            assert_eq!(of(text).unwrap().stored[0].to_string(), text);
        }
        for text in ["docker-daemon:a:1", "podman:a", "embedded:a", "containerd:a", "docker://h:5000/a:1"] {
            assert_eq!(of(text).unwrap().elsewhere[0].to_string(), text);
        }
    }

    #[test]
    fn other_places_are_refused_with_what_to_write() {
        let digest = format!("oci:a@{}", slim_image::Digest::of("x"));
        let in_registry = digest.replace("oci:", "docker://");
        for (text, hint) in [
            (in_registry.as_str(), "behind a colon"),
            ("./new", "oci:DIRECTORY"),
            ("name:1", "--tag"),
            (&digest, "behind a colon"),
        ] {
            let failure = of(text).unwrap_err();
            assert!(failure.hint.unwrap().contains(hint) && failure.exit_code == 2, "{text}");
        }
        assert_eq!(of("oci:").unwrap_err().exit_code, 2);
    }
}
