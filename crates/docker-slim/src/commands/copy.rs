//! `docker-slim copy`: an image from any place to any other; nothing is unpacked, and from registry to registry nothing is
//! stored on this machine. `pull` and `push` are the same with one end fixed.

use super::attach::attach_policies;
use super::choice::{self, Wanted};
use super::output::{counted, print};
use super::transfer::{Destination, Source, Transfer};
use super::with_registry::{Bars, document, told, with_registry};
use crate::arguments::{CopyArguments, GlobalArguments};
use crate::failure::Failure;
use crate::outside::Outside;
use crate::settings::{self, Copy};
use crate::terminal::Terminal;
use slim_image::{Digest, Location, Stored};
use slim_registry::{Client, Transferred};
use std::sync::Arc;

/// Copies and says what came of it.
pub fn run(global: &GlobalArguments, arguments: &CopyArguments) -> Result<(), Failure> {
    transfer(global, settings::copy(arguments)?)
}

/// Transfers and says what came of it.
pub fn transfer(global: &GlobalArguments, settings: Copy) -> Result<(), Failure> {
    let from = told_place(&settings.from);
    let to = settings.to.as_ref().map_or_else(|| "the engine".to_owned(), told_place);
    let (transferred, attached, figures) = with_registry(global, async |bars, outside| {
        let (transferred, attached) = between(global, settings, &bars, outside).await?;
        Ok((transferred, attached, bars.figures()))
    })?;
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

/// What was transferred, and the artifacts with its policies.
async fn between(
    global: &GlobalArguments,
    settings: Copy,
    bars: &Arc<Bars>,
    outside: &Outside,
) -> Result<(Transferred, Vec<Digest>), Failure> {
    let terminal = Terminal::new(global.quiet);
    let from =
        Source::at(global, settings.from, async |name| of_engine(global, name, &terminal).await).await?;
    let to = match settings.to {
        Some(Location::Plain(name)) => return Err(super::transfer::no_form(&name)),
        Some(location) => {
            Destination::at(global, location, |name| Err(super::transfer::no_form(&name))).await?
        }
        None => Destination::held(choice::choose(global, Wanted::Any, &terminal).await?, None),
    };
    let transfer = Transfer {
        client: Client::new(settings.client.clone()),
        selected: settings.selected,
        scratch: settings::scratch(global),
        bars,
        outside,
    };
    let transferred = transfer.run(&from, &to).await?;
    let mut attached = Vec::new();
    if let Destination::Registry(image) = &to {
        let (which, root) = (&settings.attach_policy, &transferred.descriptor);
        attached = attach_policies(global, which, &transfer.client, root, image, bars.clone()).await?;
    }
    Ok((transferred, attached))
}

/// A plain name is an engine's, else that of files.
async fn of_engine(global: &GlobalArguments, name: String, terminal: &Terminal) -> Result<Source, Failure> {
    let files = Stored::recognise(&name).ok().flatten();
    if let Some(stored) = files {
        let engine = choice::choose(global, Wanted::Image(&name), terminal).await;
        let is_held = match &engine {
            Ok(engine) => engine.image_exists(&name).await.unwrap_or(false),
            Err(_) => false,
        };
        return match engine {
            Ok(engine) if is_held => Ok(Source::held(engine, name)),
            _ => Ok(Source::Files(stored)),
        };
    }
    Ok(Source::held(choice::choose(global, Wanted::Image(&name), terminal).await?, name))
}

/// As people call it: a registry's without the transport, with its tag.
fn told_place(location: &Location) -> String {
    match location {
        Location::Registry(reference) => reference.with_tag().to_string(),
        other => other.to_string(),
    }
}
