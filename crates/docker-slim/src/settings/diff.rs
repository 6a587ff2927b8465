//! What `diff` is given: images, traces or keep files, told apart by what they are.

use super::trace::read_trace;
use crate::failure::Failure;
use serde::Deserialize;
use serde::de::IgnoredAny;
use slim_build::TreeSource;
use slim_image::location::{Location, LocationError, Stored};
use slim_keep::KeepFile;
use slim_trace::Trace;
use std::fs::{self, File};
use std::io::Read as _;
use std::path::Path;

/// One side of a comparison.
#[derive(Debug)]
pub enum Side {
    Trace(Box<Trace>),
    Keep(Box<KeepFile>),
    Tree(TreeSource),
}

impl Side {
    /// Finds out what a word names. What is neither file nor place is an image of the engine's.
    ///
    /// # Errors
    /// When it is a file that cannot be read, or that is neither.
    pub fn of(word: &str) -> Result<Self, Failure> {
        /// The fields by which the files are known.
        #[derive(Deserialize)]
        struct Fields {
            processes: Option<IgnoredAny>,
            entries: Option<IgnoredAny>,
            notes: Option<IgnoredAny>,
        }
        let path = Path::new(word);
        if !path.is_file() {
            return image(word).map(Self::Tree);
        }
        let failed = |why: String| Failure::usage(format!("read {word}: {why}"));
        let mut first = [0];
        let read = File::open(path).and_then(|mut file| file.read(&mut first));
        read.map_err(|error| failed(error.to_string()))?;
        if first != *b"{" {
            return image(word).map(Self::Tree);
        }
        let bytes = fs::read(path).map_err(|error| failed(error.to_string()))?;
        match serde_json::from_slice(&bytes).map_err(|error| failed(error.to_string()))? {
            Fields { processes: Some(_), .. } => Ok(Self::Trace(Box::new(read_trace(path)?))),
            Fields { entries: Some(_), notes: Some(_), .. } => KeepFile::from_json(&bytes)
                .map(|keep| Self::Keep(Box::new(keep)))
                .map_err(|error| failed(error.to_string())),
            _ => Err(failed("it is no trace, no keep file and no image".to_owned())),
        }
    }

    /// What it is, for a message.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Trace(_) => "a trace",
            Self::Keep(_) => "a keep file",
            Self::Tree(_) => "an image",
        }
    }
}

/// An image by its name or its place.
fn image(word: &str) -> Result<TreeSource, Failure> {
    let usage = |error: LocationError| Failure::usage(error.to_string());
    match word.parse().map_err(usage)? {
        Location::Stored(stored) => Ok(TreeSource::Stored(stored)),
        Location::Engine { name, .. } => Ok(TreeSource::Image(name)),
        Location::Registry(reference) => Ok(TreeSource::Image(reference.to_string())),
        Location::Plain(text) | Location::Path(text) => match Stored::recognise(&text).map_err(usage)? {
            Some(stored) => Ok(TreeSource::Stored(stored)),
            None => Ok(TreeSource::Image(text)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_known_by_what_they_hold() {
        let folder = tempfile::tempdir().unwrap();
        let side = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).unwrap();
            Side::of(path.to_str().unwrap())
        };
        assert!(matches!(side("a", &Trace::empty("sha256:0").to_json()), Ok(Side::Trace(_))));
        let image = slim_keep::ImageNames { id: slim_image::Digest::of("x"), names: Vec::new() };
        let tree = slim_image::MemoryTree::new();
        let keep = KeepFile::new(&slim_keep::KeepSet::default(), &slim_keep::Made::of(image), &tree, &());
        assert!(matches!(side("b", &keep.to_json()), Ok(Side::Keep(_))));
        assert!(matches!(side("c", b"\x1f\x8b"), Ok(Side::Tree(TreeSource::Stored(_)))));
        assert!(side("f", b"./\0\0").unwrap_err().message.contains("no tar archive"));
        assert!(matches!(Side::of("oci:layout"), Ok(Side::Tree(TreeSource::Stored(_)))));
        assert!(side("d", b"{}").unwrap_err().message.contains("no trace"));
        assert!(
            side("e", b"{\"processes\": [], \"version\": 99}").unwrap_err().message.contains("version 99")
        );
        assert!(matches!(Side::of("no-such-file"), Ok(Side::Tree(TreeSource::Image(_)))));
    }
}
