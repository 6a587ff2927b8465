//! Flags about where the slim image goes → places.

use crate::arguments::Compression;
use crate::failure::Failure;
use slim_build::Output;
use slim_image::location::{EngineKind, Location, LocationError, Stored};
use slim_image::{Packing, Selector};
use std::num::NonZero;
use std::thread;

/// Where the slim image goes, and which engines that needs.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    pub outputs: Vec<Output>,
    /// Each with the place as it was written.
    pub engines: Vec<(EngineKind, String)>,
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
        let output = match text.parse().map_err(usage)? {
            Location::Stored(Stored { selector: Selector::Digest(_), .. }) => {
                return Err(
                    refuse("a digest follows from the image").with_hint("a name may follow behind a colon")
                );
            }
            Location::Stored(stored) => Output::Stored(stored),
            Location::Engine { engine: EngineKind::Containerd, .. } => {
                return Err(refuse("containerd is not asked to hold images")
                    .with_hint("--output oci-archive:image.tar, then ctr images import image.tar"));
            }
            Location::Engine { engine, name } => {
                found.engines.push((engine, name.clone()));
                Output::Name(name)
            }
            Location::Registry(_) => {
                return Err(refuse("nothing is pushed to a registry from here").with_hint(
                    "--output oci:DIRECTORY, then skopeo copy; or docker push of the image in the engine",
                ));
            }
            Location::Path(path) | Location::Plain(path) => match Stored::recognise(&path).map_err(usage)? {
                Some(stored) => Output::Stored(stored),
                None => {
                    return Err(refuse("it does not say in what form")
                        .with_hint("oci:DIRECTORY, oci-archive:FILE, docker-archive:FILE or dir:DIRECTORY; --tag gives a name"));
                }
            },
        };
        found.outputs.push(output);
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
            let [Output::Stored(stored)] = &of(text).unwrap().outputs[..] else { panic!("{text}") };
            assert_eq!(stored.to_string(), text);
        }
        let engine = of("docker-daemon:a:1").unwrap();
        assert_eq!(engine.outputs, [Output::Name("a:1".to_owned())]);
        assert_eq!(engine.engines, [(EngineKind::Docker, "a:1".to_owned())]);
    }

    #[test]
    fn other_places_are_refused_with_what_to_write() {
        let digest = format!("oci:a@{}", slim_image::Digest::of("x"));
        for (text, hint) in [
            ("docker://a/b:1", "skopeo copy"),
            ("containerd:a", "ctr images import"),
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
