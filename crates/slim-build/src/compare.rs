//! Two images side by side, whether an engine holds them or an archive does.

use crate::error::{BuildError, blocking};
use crate::files::Files;
use crate::person::Person;
use crate::pipeline::leaving_nothing;
use crate::progress::{Progress, Story};
use crate::state::ImageState;
use slim_engine::{Engine, Run};
use slim_image::packing::Scratch;
use slim_image::{ImageTree, LocalImage, SavedTree, Stored, TreeDifference, difference};
use std::path::PathBuf;

/// Where an image's files are read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TreeSource {
    /// A name or id that the engine knows.
    Image(String),
    /// An image in files.
    Stored(Stored),
}

/// What is needed to read images.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The static program itself, which serves an image's files from inside a container of it.
    pub binary: PathBuf,
    /// Whether files may be read in the engine's own layers; otherwise they are read through a container.
    pub local_layers: bool,
    /// Folder that holds `.images`, where listings of images may be cached.
    pub state_path: PathBuf,
    /// Bytes that an image in files may unpack to.
    pub unpack_limit: u64,
    /// Whose leftovers these are.
    pub run: Run,
}

/// How `before` became `after`. No program of the images runs.
///
/// # Errors
/// When one of them cannot be read.
pub async fn compare_images(
    engine: &dyn Engine,
    reading: &Reading,
    (before, after): (&TreeSource, &TreeSource),
    progress: &dyn Progress,
    person: &dyn Person,
) -> Result<TreeDifference, BuildError> {
    let work = async {
        let (before, after) =
            tokio::try_join!(Opened::open(engine, reading, before), Opened::open(engine, reading, after))?;
        compared(before, after).await
    };
    leaving_nothing(engine, &reading.run, &Story::new(progress), person, work).await
}

/// The same of two archives, without an engine; each may unpack to `limit` bytes.
///
/// # Errors
/// When one of them cannot be read.
pub fn compare_archives(before: &Stored, after: &Stored, limit: u64) -> Result<TreeDifference, BuildError> {
    let (before, after) = (tree(before, limit)?, tree(after, limit)?);
    difference::compare(&before, &after).map_err(|error| BuildError::Files(error.to_string()))
}

async fn compared(before: Opened, after: Opened) -> Result<TreeDifference, BuildError> {
    // The containers that the files are read through go with the run's other things.
    blocking(move || {
        difference::compare(before.tree(), after.tree()).map_err(|error| BuildError::Files(error.to_string()))
    })
    .await
}

enum Opened {
    Files(Box<Files>),
    Saved(Box<SavedTree>),
}

impl Opened {
    async fn open(engine: &dyn Engine, reading: &Reading, source: &TreeSource) -> Result<Self, BuildError> {
        let reference = match source {
            TreeSource::Image(reference) => reference,
            TreeSource::Stored(stored) => {
                let (stored, limit) = (stored.clone(), reading.unpack_limit);
                return Ok(Self::Saved(Box::new(blocking(move || tree(&stored, limit)).await?)));
            }
        };
        let source = engine.inspect_image(reference).await?;
        // A comparison leaves nothing behind where nothing was before.
        let cache = ImageState::existing(&reading.state_path, &source.id).map(|state| state.listing());
        let how = (reading.binary.as_path(), reading.local_layers);
        let files = Files::read(engine, how, &reading.run, &source, cache).await?;
        Ok(Self::Files(Box::new(files)))
    }

    fn tree(&self) -> &dyn ImageTree {
        match self {
            Self::Files(files) => files.tree(),
            Self::Saved(tree) => tree.as_ref(),
        }
    }
}

fn tree(stored: &Stored, limit: u64) -> Result<SavedTree, BuildError> {
    let scratch = Scratch { folder: std::env::temp_dir(), limit };
    let image =
        LocalImage::open(stored, None, scratch).map_err(|error| BuildError::Image(error.to_string()))?;
    image.tree().map_err(|error| BuildError::Image(format!("read {stored}: failed to {error}")))
}
