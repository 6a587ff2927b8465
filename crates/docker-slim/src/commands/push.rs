//! `docker-slim push`: an image from an OCI layout into a registry, without an engine.

use super::output::print;
use super::with_registry::{document, told, until_interrupted, with_registry};
use crate::arguments::{GlobalArguments, PushArguments};
use crate::failure::Failure;
use crate::settings;
use slim_image::Layout;
use slim_registry::client::Progress;
use slim_registry::{Client, RegistryError};
use std::sync::Arc;

/// Pushes and says what came of it.
pub fn run(global: &GlobalArguments, arguments: &PushArguments) -> Result<(), Failure> {
    let settings = settings::push(arguments)?;
    let (transferred, figures) = with_registry(global, async |bars, outside| {
        let layout = Layout::open(&settings.source.path).map_err(RegistryError::from)?;
        let client = Client::new(settings.client.clone());
        let progress: Arc<dyn Progress> = bars.clone();
        let push = slim_registry::push(
            &client,
            &layout,
            &settings.source.selector,
            &settings.platforms,
            &settings.image,
            &progress,
        );
        Ok((until_interrupted(outside, push).await?, bars.figures()))
    })?;
    let (from, to) = (settings.source.to_string(), settings.image.with_tag().to_string());
    print(global, || told(&transferred, &from, &to, figures), &document(&transferred, &from, &to, figures));
    Ok(())
}
