//! Brings the fat image into the engine where it is not there: pulls it, or builds it with the docker command. What lies
//! in files is opened, for the run to take along.

use crate::failure::Failure;
use crate::outside::Outside;
use crate::settings::{FatImage, Recipe, Work};
use crate::terminal::Terminal;
use slim_build::{BuildError, Event, FatFiles, Person, Progress, Settings};
use slim_engine::Engine;
use slim_image::location::{EngineKind, Stored};
use slim_image::{LocalImage, Reference};
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
    engine: &dyn Engine,
    work: &Work,
    terminal: &Terminal,
    outside: &Outside,
) -> Result<Settings, Failure> {
    let prepared = async {
        let mut settings = work.settings.clone();
        for (kind, name) in &work.engines {
            check_engine(engine, *kind, name).await?;
        }
        match &work.fat_image {
            FatImage::Held { reference, pull: wanted } => match beside(engine, reference, terminal).await? {
                Some(stored) => settings.fat_files = Some(open(&settings, stored).await?),
                None if *wanted => pull(engine, reference, terminal).await?,
                None => {}
            },
            FatImage::HeldBy { engine: kind, reference } => check_engine(engine, *kind, reference).await?,
            FatImage::Registry { reference } => bring(engine, reference, terminal).await?,
            FatImage::Stored(stored) => settings.fat_files = Some(open(&settings, stored.clone()).await?),
            FatImage::Built(recipe) => build(recipe, terminal).await?,
        }
        Ok(settings)
    };
    tokio::select! {
        done = prepared => done,
        () = outside.interrupted() => Err(BuildError::Interrupted.into()),
    }
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

async fn open(settings: &Settings, stored: Stored) -> Result<FatFiles, Failure> {
    let (platform, scratch) = (settings.platform.clone(), settings.state_path.clone());
    let name = |image: &LocalImage| {
        let asked_for = stored.name().and_then(|name| name.parse::<Reference>().ok());
        let asked_for =
            asked_for.map(|name| name.with_tag().to_string()).filter(|name| image.names().contains(name));
        asked_for.or_else(|| image.names().first().cloned()).or_else(|| name_of_files(&stored))
    };
    let place = stored.clone();
    let opened = tokio::task::spawn_blocking(move || {
        fs::create_dir_all(&scratch).map_err(|error| {
            Failure::new(format!("make folder {}: {error}", scratch.display()), 2)
                .with_hint("--state-path names another folder")
        })?;
        LocalImage::open(&place, platform.as_ref(), &scratch)
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

/// The engine that is used must be the one that was named.
async fn check_engine(engine: &dyn Engine, kind: EngineKind, reference: &str) -> Result<(), Failure> {
    let found = engine.describe().await.map_err(BuildError::from)?.name;
    let wanted = match kind {
        EngineKind::Docker => "docker",
        EngineKind::Podman => "podman",
        EngineKind::Containerd => "containerd",
    };
    if found == wanted {
        return Ok(());
    }
    let place = format!("{}:{reference}", kind.transport());
    Err(Failure::usage(format!("use {place}: the engine is {found}"))
        .with_hint(format!("--host names the socket of {wanted}")))
}

async fn bring(engine: &dyn Engine, reference: &str, terminal: &Terminal) -> Result<(), Failure> {
    terminal.tell(Event::Line(format!("pulling {reference}")));
    engine.pull_image(reference).await.map_err(|error| Failure::from(BuildError::from(error)))
}

async fn pull(engine: &dyn Engine, reference: &str, terminal: &Terminal) -> Result<(), Failure> {
    let failed = |error| Failure::from(BuildError::from(error));
    if is_id(reference) || engine.image_exists(reference).await.map_err(failed)? {
        return Ok(());
    }
    bring(engine, reference, terminal).await
}

/// Ids are never pulled.
fn is_id(reference: &str) -> bool {
    let is_hexadecimal = |text: &str| text.bytes().all(|byte| byte.is_ascii_hexdigit());
    reference.starts_with("sha256:") || (reference.len() >= 12 && is_hexadecimal(reference))
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

    #[test]
    fn an_id_is_told_from_a_name() {
        for id in ["sha256:12", "0123456789ab", "0123456789abcdef0123"] {
            assert!(is_id(id), "{id}");
        }
        for name in ["cafe", "sample-node-app", "0123456789ab:latest", "host:5000/0123456789ab"] {
            assert!(!is_id(name), "{name}");
        }
    }
}
