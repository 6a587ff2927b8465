//! `docker-slim push`: an image from an OCI layout into a registry, without an engine.

use super::attach::attach_policies;
use super::output::{counted, print};
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
    let (transferred, attached, figures) = with_registry(global, async |bars, outside| {
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
        let transferred = until_interrupted(outside, push).await?;
        let (which, root, image) = (&settings.attach_policy, &transferred.descriptor, &settings.image);
        let attached = attach_policies(global, which, &client, &layout, root, image, &progress).await?;
        Ok((transferred, attached, bars.figures()))
    })?;
    let (from, to) = (settings.source.to_string(), settings.image.with_tag().to_string());
    let mut answer = document(&transferred, &from, &to, figures);
    answer["policies"] = serde_json::json!(attached);
    let text = || {
        let told = told(&transferred, &from, &to, figures);
        match attached.len() {
            0 => told,
            number => format!("{told}\n{} attached", counted(number, "policy")),
        }
    };
    print(global, text, &answer);
    Ok(())
}
