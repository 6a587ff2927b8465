//! `docker-slim pull`: an image from a registry into an OCI layout or a docker-archive, without an engine.

use super::output::print;
use super::with_registry::{Bars, document, told, until_interrupted, with_registry};
use crate::arguments::{GlobalArguments, PullArguments};
use crate::failure::Failure;
use crate::outside::Outside;
use crate::settings::{self, Pull};
use slim_image::local::LocalImage;
use slim_image::location::{Form, Stored};
use slim_image::{Reference, Selector};
use slim_registry::client::Progress;
use slim_registry::{Client, Transferred};
use std::path::Path;
use std::sync::Arc;

/// An image that cannot be written as it was asked for.
const UNREADABLE: u8 = 4;

/// Pulls and says what came of it.
pub fn run(global: &GlobalArguments, arguments: &PullArguments) -> Result<(), Failure> {
    let settings = settings::pull(arguments)?;
    let (transferred, figures) = with_registry(global, async |bars, outside| {
        let transferred = pull(&settings, &bars, outside).await?;
        Ok((transferred, bars.figures()))
    })?;
    let (from, to) = (settings.image.with_tag().to_string(), settings.output.to_string());
    print(global, || told(&transferred, &from, &to, figures), &document(&transferred, &from, &to, figures));
    Ok(())
}

async fn pull(settings: &Pull, bars: &Arc<Bars>, outside: &Outside) -> Result<Transferred, Failure> {
    let output = &settings.output;
    if output.form == Form::Layout {
        let name = output.name().or(settings.image.tag.as_deref()).or(untagged(&settings.image));
        return into_layout(settings, &output.path, name, bars, outside).await;
    }
    let name = output.name().map_or_else(|| Ok(settings.image.clone()), str::parse);
    let name =
        name.map_err(|error: slim_image::reference::ReferenceError| Failure::usage(error.to_string()))?;
    let folder = output.path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let scratch = tempfile::Builder::new().prefix(".slim-").tempdir_in(folder.unwrap_or(Path::new(".")));
    let scratch = scratch.map_err(|error| {
        Failure::usage(format!("write {}: {error}", output.path.display()))
            .with_hint("does the folder exist?")
    })?;
    let transferred = into_layout(settings, scratch.path(), None, bars, outside).await?;
    write_archive(scratch.path(), output, &name)?;
    Ok(transferred)
}

/// An image without a tag is the latest one; one with a digest alone has no name.
fn untagged(image: &Reference) -> Option<&'static str> {
    image.digest.is_none().then_some("latest")
}

async fn into_layout(
    settings: &Pull,
    folder: &Path,
    name: Option<&str>,
    bars: &Arc<Bars>,
    outside: &Outside,
) -> Result<Transferred, Failure> {
    let client = Client::new(settings.client.clone());
    let progress: Arc<dyn Progress> = bars.clone();
    let pull = slim_registry::pull(&client, &settings.image, &settings.platforms, folder, name, &progress);
    until_interrupted(outside, pull).await
}

fn write_archive(layout: &Path, output: &Stored, name: &Reference) -> Result<(), Failure> {
    let stored = Stored { form: Form::Layout, path: layout.to_owned(), selector: Selector::Only };
    let image = LocalImage::open(&stored, None, layout);
    let image = image.map_err(|error| Failure::new(error.to_string(), UNREADABLE))?;
    let names: Vec<Reference> = name.digest.is_none().then(|| name.clone()).into_iter().collect();
    slim_build::write_whole(&output.path, |file| image.write_archive(file, &names))?;
    Ok(())
}
