//! Brings the fat image to where it can be worked on: from its registry, or built with the docker command. What lies in files
//! is opened, for the run to take along; what is in a registry comes into the embedded engine's store, or into files as well.

use super::transfer::{Containerd, Destination, Source, Transfer, carrier};
use super::with_registry::Bars;
use crate::arguments::GlobalArguments;
use crate::failure::Failure;
use crate::outside::Outside;
use crate::settings::{self, FatImage, Recipe, Selected, Work, is_id, program};
use crate::terminal::Terminal;
use slim_build::{BuildError, Event, FatFiles, Output, Person, Progress, Settings};
use slim_engine::embedded::Store;
use slim_engine::{Engine, Login};
use slim_image::location::{EngineKind, Stored};
use slim_image::packing::Scratch;
use slim_image::reference::ReferenceError;
use slim_image::{LocalImage, Location, Reference};
use slim_registry::client::{Credentials, credentials};
use slim_registry::{Client, RepositoryName};
use std::fs;
use std::process::Stdio;
use std::sync::Arc;
use tokio::process::Command;

/// Kept of what `docker build` said for an error message.
const LINES_SHOWN: usize = 30;
/// The image cannot be had.
const NO_IMAGE: u8 = 4;

/// Sees to it that the fat image is there, as far as it can be, and gives the settings with it.
pub async fn prepare(
    global: &GlobalArguments,
    engine: &dyn Engine,
    work: &Work,
    terminal: &Terminal,
    outside: &Outside,
) -> Result<Settings, Failure> {
    let bars = Arc::new(Bars::new(global.quiet));
    let transfer = Transfer {
        client: Client::new(work.client.clone()),
        selected: Selected { platform: work.settings.platform.clone(), ..Selected::default() },
        scratch: settings::scratch(global),
        bars: &bars,
        outside,
    };
    let prepared = async {
        let mut settings = work.settings.clone();
        let elsewhere = elsewhere(engine, work, &mut settings).await?;
        settings.carrier = carrier(global, &work.client, settings::scratch(global), elsewhere).await?;
        match &work.fat_image {
            FatImage::Held { reference, pull: wanted } => match beside(engine, reference, terminal).await? {
                Some(stored) => settings.fat_files = Some(open(&settings, &transfer.scratch, stored).await?),
                None if *wanted => pull(engine, reference, &transfer, terminal).await?,
                None => {}
            },
            FatImage::HeldBy { engine: EngineKind::Containerd, reference } => {
                let source = Source::Containerd(Containerd::new(program("ctr"))?, reference.clone());
                settings.fat_files = Some(at_hand(&transfer, &source).await?);
            }
            FatImage::HeldBy { .. } => {}
            FatImage::Registry(reference) => match engine.store() {
                Some(store) => settings.target = into_store(&transfer, store, reference).await?,
                None => {
                    let source = Source::Registry(reference.clone());
                    settings.fat_files = Some(at_hand(&transfer, &source).await?);
                }
            },
            FatImage::Stored(stored) => {
                settings.fat_files = Some(open(&settings, &transfer.scratch, stored.clone()).await?)
            }
            FatImage::Built(recipe) => build(recipe, terminal).await?,
        }
        bars.clear();
        Ok(settings)
    };
    tokio::select! {
        done = prepared => done,
        () = outside.interrupted() => Err(BuildError::Interrupted.into()),
    }
}

/// Where the slim image goes that neither files nor this engine are; in this engine it gets one name more.
async fn elsewhere(
    engine: &dyn Engine,
    work: &Work,
    settings: &mut Settings,
) -> Result<Vec<Location>, Failure> {
    if work.elsewhere.is_empty() {
        return Ok(Vec::new());
    }
    let working = engine.describe().await.map_err(BuildError::from)?.name;
    let mut others = Vec::new();
    for location in work.elsewhere.clone() {
        match location {
            Location::Engine { engine, name } if engine.name() == working => {
                settings.outputs.push(Output::Name(name));
            }
            other => others.push(other),
        }
    }
    Ok(others)
}

/// The image in files that are open already.
async fn at_hand(transfer: &Transfer<'_>, source: &Source) -> Result<FatFiles, Failure> {
    let image = transfer.at_hand(source).await?.image;
    let name = source.name().filter(|name| name.tag.is_some() || name.digest.is_none());
    let name = name.map(|name| Reference { digest: None, ..name }.familiar().with_tag().to_string());
    Ok(FatFiles { name: name.or_else(|| image.names().first().cloned()), image: Arc::new(image) })
}

/// Gives the name by which the store has it.
async fn into_store(
    transfer: &Transfer<'_>,
    store: &Store,
    reference: &Reference,
) -> Result<String, Failure> {
    let (source, name) = (Source::Registry(reference.clone()), Some(reference.clone()));
    transfer.run(&source, &Destination::Store(store.clone(), name)).await?;
    Ok(reference.to_string())
}

/// Files that a plain name names, where the engine knows no such image.
async fn beside(
    engine: &dyn Engine,
    reference: &str,
    terminal: &Terminal,
) -> Result<Option<Stored>, Failure> {
    let Ok(Some(stored)) = Stored::recognise(reference) else { return Ok(None) };
    if engine.image_exists(reference).await.map_err(BuildError::from)? {
        return Ok(None);
    }
    terminal
        .tell(Event::Line(format!("the engine has no image {reference}; reading the files of that name")));
    Ok(Some(stored))
}

async fn open(settings: &Settings, scratch: &Scratch, stored: Stored) -> Result<FatFiles, Failure> {
    let (platform, scratch) = (settings.platform.clone(), scratch.clone());
    let name = |image: &LocalImage| {
        let asked_for = stored.name().and_then(|name| name.parse::<Reference>().ok());
        let asked_for =
            asked_for.map(|name| name.with_tag().to_string()).filter(|name| image.names().contains(name));
        asked_for.or_else(|| image.names().first().cloned()).or_else(|| name_of_files(&stored))
    };
    let place = stored.clone();
    let opened = tokio::task::spawn_blocking(move || {
        fs::create_dir_all(&scratch.folder).map_err(|error| {
            Failure::new(format!("make folder {}: {error}", scratch.folder.display()), 2)
                .with_hint("--state-path names another folder")
        })?;
        LocalImage::open(&place, platform.as_ref(), scratch)
            .map_err(|error| Failure::new(error.to_string(), NO_IMAGE))
    });
    let image = opened.await.map_err(|error| BuildError::Bug(format!("a worker stopped: {error}")))??;
    Ok(FatFiles { name: name(&image), image: Arc::new(image) })
}

/// What an image is called whose files do not say it: as they are, with the tag that was asked for.
fn name_of_files(stored: &Stored) -> Option<String> {
    if let Some(name) = stored.name().filter(|name| name.contains(['/', ':'])) {
        return name.parse::<Reference>().ok().map(|name| name.with_tag().to_string());
    }
    let path = stored.path.canonicalize().ok()?;
    let file = path.file_name()?.to_str()?.to_ascii_lowercase();
    let stem = [".tar.gz", ".tar.zst", ".tgz", ".tar"]
        .iter()
        .find_map(|end| file.strip_suffix(end))
        .unwrap_or(&file);
    let name = format!("{stem}:{}", stored.name().unwrap_or("latest"));
    name.parse::<Reference>().ok().map(|name| name.to_string())
}

/// What no engine has is where its name says: an engine with a daemon fetches it itself, for the embedded one we do.
async fn pull(
    engine: &dyn Engine,
    reference: &str,
    transfer: &Transfer<'_>,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let failed = |error| Failure::from(BuildError::from(error));
    if is_id(reference) || engine.image_exists(reference).await.map_err(failed)? {
        return Ok(());
    }
    terminal.tell(Event::Line(format!("pulling {reference}")));
    let name: Reference =
        reference.parse().map_err(|error: ReferenceError| Failure::usage(error.to_string()))?;
    if let Some(store) = engine.store() {
        return into_store(transfer, store, &name).await.map(drop);
    }
    let sources = &transfer.client.settings().credentials;
    let login = credentials::find(sources, &RepositoryName::of(&name)).await?.map(|found| match found {
        Credentials::Password { user, password } => Login::Password { user, password },
        Credentials::IdentityToken(token) => Login::IdentityToken(token),
    });
    engine.pull_image(reference, login.as_ref()).await.map_err(failed)
}

async fn build(recipe: &Recipe, terminal: &Terminal) -> Result<(), Failure> {
    terminal.tell(Event::Line(format!("building {} with docker build", recipe.name)));
    let mut process = Command::new("docker");
    process.args(&recipe.words).envs(recipe.environment.iter().cloned());
    process.stdin(Stdio::null()).kill_on_drop(true);
    // Standard output is for the result alone.
    let output = process.stdout(Stdio::piped()).stderr(Stdio::piped()).output().await.map_err(|error| {
        Failure::new(format!("run docker build: {error}"), NO_IMAGE)
            .with_hint("--dockerfile needs the docker command")
    })?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    if recipe.show_log {
        said.lines().for_each(|line| terminal.tell(Event::Line(format!("| {line}"))));
    }
    if output.status.success() {
        return Ok(());
    }
    let lines: Vec<&str> = said.lines().collect();
    let last = lines[lines.len().saturating_sub(LINES_SHOWN)..].join("\n");
    Err(Failure::new(
        format!("build {}: docker build ended with {}\n{last}", recipe.name, output.status),
        NO_IMAGE,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_whose_files_do_not_name_it_is_called_as_they_are() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        for name in ["app", "Tool.tar.gz", "o d d.tar"] {
            fs::write(path(name), [0x1f, 0x8b]).unwrap();
        }
        let name = |text: String| name_of_files(&Stored::recognise(&text).unwrap().unwrap());
        assert_eq!(name(path("app")).as_deref(), Some("app:latest"));
        assert_eq!(name(path("app:2")).as_deref(), Some("app:2"));
        assert_eq!(name(path("app:docker.io/a/b:3")).as_deref(), Some("docker.io/a/b:3"));
        assert_eq!(name(path("Tool.tar.gz")).as_deref(), Some("tool:latest"));
        assert_eq!(name(path("o d d.tar")), None);
    }
}
