//! Brings the fat image into the engine where it is not there: pulls it, or builds it with the docker command.

use crate::failure::Failure;
use crate::outside::Outside;
use crate::settings::{FatImage, Recipe};
use crate::terminal::Terminal;
use slim_build::{BuildError, Event, Person, Progress};
use slim_engine::Engine;
use std::process::Stdio;
use tokio::process::Command;

/// Kept of what `docker build` said for an error message.
const LINES_SHOWN: usize = 30;
/// The image cannot be had.
const NO_IMAGE: u8 = 4;

/// Sees to it that the fat image is there, as far as it can be.
pub async fn prepare(
    engine: &dyn Engine,
    fat_image: &FatImage,
    terminal: &Terminal,
    outside: &Outside,
) -> Result<(), Failure> {
    let work = async {
        match fat_image {
            FatImage::Held { reference, pull: true } => pull(engine, reference, terminal).await,
            FatImage::Held { pull: false, .. } => Ok(()),
            FatImage::Built(recipe) => build(recipe, terminal).await,
        }
    };
    tokio::select! {
        done = work => done,
        () = outside.interrupted() => Err(BuildError::Interrupted.into()),
    }
}

async fn pull(engine: &dyn Engine, reference: &str, terminal: &Terminal) -> Result<(), Failure> {
    let failed = |error| Failure::from(BuildError::from(error));
    if is_id(reference) || engine.image_exists(reference).await.map_err(failed)? {
        return Ok(());
    }
    terminal.tell(Event::Line(format!("pulling {reference}")));
    engine.pull_image(reference).await.map_err(failed)
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
    fn an_id_is_told_from_a_name() {
        for id in ["sha256:12", "0123456789ab", "0123456789abcdef0123"] {
            assert!(is_id(id), "{id}");
        }
        for name in ["cafe", "sample-node-app", "0123456789ab:latest", "host:5000/0123456789ab"] {
            assert!(!is_id(name), "{name}");
        }
    }
}
