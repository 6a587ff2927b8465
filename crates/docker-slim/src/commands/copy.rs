//! `docker-slim copy`: an image from registry to registry; nothing is unpacked, and nothing is stored on this machine.

use super::output::print;
use super::with_registry::{document, told, until_interrupted, with_registry};
use crate::arguments::{CopyArguments, GlobalArguments};
use crate::failure::Failure;
use crate::settings;
use slim_registry::Client;
use slim_registry::client::Progress;
use std::sync::Arc;

/// Copies and says what came of it.
pub fn run(global: &GlobalArguments, arguments: &CopyArguments) -> Result<(), Failure> {
    let settings = settings::copy(arguments)?;
    let (transferred, figures) = with_registry(global, async |bars, outside| {
        let client = Client::new(settings.client.clone());
        let progress: Arc<dyn Progress> = bars.clone();
        let copy = slim_registry::copy(&client, &settings.from, &settings.to, &settings.platforms, &progress);
        Ok((until_interrupted(outside, copy).await?, bars.figures()))
    })?;
    let (from, to) = (settings.from.with_tag().to_string(), settings.to.with_tag().to_string());
    print(global, || told(&transferred, &from, &to, figures), &document(&transferred, &from, &to, figures));
    Ok(())
}
