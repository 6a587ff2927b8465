//! `docker-slim diff`: how two images, traces or keep files differ.

use super::choice::Wanted;
use super::difference::{of_keep_files, of_traces, of_trees, tell};
use super::with_engine::with_engine;
use crate::arguments::{DiffArguments, GlobalArguments};
use crate::failure::Failure;
use crate::settings::{self, Side};
use slim_build::{Reading, TreeSource, compare_archives, compare_images};
use slim_image::TreeDifference;

/// Compares and prints.
pub fn run(global: &GlobalArguments, arguments: &DiffArguments) -> Result<(), Failure> {
    let shown = arguments.shown;
    match (Side::of(&arguments.before)?, Side::of(&arguments.after)?) {
        (Side::Trace(before), Side::Trace(after)) => {
            let difference = before.difference(&after);
            tell(global, shown, || of_traces(&difference, shown.top), &difference, difference.is_empty())
        }
        (Side::Keep(before), Side::Keep(after)) => {
            let difference = before.difference(&after);
            tell(global, shown, || of_keep_files(&difference, shown.top), &difference, difference.is_empty())
        }
        (Side::Tree(before), Side::Tree(after)) => {
            let difference = trees(global, &before, &after)?;
            tell(global, shown, || of_trees(&difference, shown.top), &difference, difference.is_empty())
        }
        (before, after) => Err(Failure::usage(format!("compare {} with {}", before.kind(), after.kind()))
            .with_hint(format!(
                "{} is {}, {} is {}; what is no file is taken for an image",
                arguments.before,
                before.kind(),
                arguments.after,
                after.kind()
            ))),
    }
}

/// The image to be found in an engine.
fn image_of(side: &TreeSource) -> Wanted<'_> {
    match side {
        TreeSource::Image(reference) => Wanted::Image(reference),
        TreeSource::Stored(_) => Wanted::Any,
    }
}

fn trees(
    global: &GlobalArguments,
    before: &TreeSource,
    after: &TreeSource,
) -> Result<TreeDifference, Failure> {
    if let (TreeSource::Stored(before), TreeSource::Stored(after)) = (before, after) {
        return Ok(compare_archives(before, after, global.unpack_limit)?);
    }
    let reading: Reading = settings::reading(global)?;
    with_engine(global, &reading.run, image_of(after), async |engine, terminal, outside| {
        Ok(compare_images(engine, &reading, (before, after), terminal, outside).await?)
    })
}
