//! Which engine works: the one that the flags name, else the first of Docker, Podman and the embedded one that has the
//! image, else the first that answers, else the embedded one.

use crate::arguments::{EngineName, GlobalArguments};
use crate::failure::Failure;
use crate::settings;
use crate::terminal::Terminal;
use slim_build::{BuildError, Event, Progress};
use slim_engine::embedded::Store;
use slim_engine::{EmbeddedEngine, EndpointInputs, Engine, EngineError};
use std::path::Path;

/// Finds the engine, and says which it is where that is not plain. `image`: what is to be worked on, where that is known.
pub async fn choose(
    global: &GlobalArguments,
    image: Option<&str>,
    terminal: &Terminal,
) -> Result<Box<dyn Engine>, Failure> {
    let failed = |error: EngineError| Failure::from(BuildError::from(error));
    let root = settings::store_root(global);
    let inputs = settings::endpoint_inputs(global)?;
    let embedded = || -> Result<Box<dyn Engine>, EngineError> {
        Ok(Box::new(EmbeddedEngine::new(Store::open(&root)?, settings::OWN_BINARY)))
    };
    match global.engine.unwrap_or(EngineName::Auto) {
        EngineName::Embedded if settings::flags_name_an_address(global) => {
            return Err(Failure::usage(
                "choose an engine: --engine embedded has no address, and one is given",
            ));
        }
        EngineName::Embedded => return embedded().map_err(failed),
        EngineName::Docker => return slim_engine::connect(&inputs).await.map_err(failed),
        EngineName::Podman if settings::flags_name_an_address(global) => {
            return slim_engine::connect(&inputs).await.map_err(failed);
        }
        EngineName::Podman => {
            let sockets = settings::podman_sockets();
            return podman(&sockets).await.ok_or_else(|| no_podman(&sockets));
        }
        EngineName::Auto if settings::names_an_address(global, &inputs) => {
            return slim_engine::connect(&inputs).await.map_err(failed);
        }
        EngineName::Auto => {}
    }
    let (mut docker, mut refused) = (None, None);
    match slim_engine::connect(&inputs).await {
        // Podman is not even asked: that alone may start its service.
        Ok(engine) if has(engine.as_ref(), image).await => return Ok(engine),
        Ok(engine) => docker = Some(engine),
        Err(error @ EngineError::NoEngine { .. }) => refused = Some(error),
        Err(error) => return Err(failed(error)),
    }
    let podman = podman(&settings::podman_sockets()).await;
    let podman = match (podman, image) {
        (Some(engine), Some(image)) if has(engine.as_ref(), Some(image)).await => {
            tell(terminal, &format!("Podman works: it has {image}"));
            return Ok(engine);
        }
        (podman, _) => podman,
    };
    if let Some(image) = image.filter(|_| has_store(&root) && (docker.is_some() || podman.is_some()))
        && let Ok(engine) = embedded()
        && engine.image_exists(image).await.map_err(failed)?
    {
        let store = root.display();
        tell(terminal, &format!("the embedded engine works: its store at {store} has {image}, no other has"));
        return Ok(engine);
    }
    if let Some(engine) = docker {
        return Ok(engine);
    }
    if let Some(engine) = podman {
        tell(terminal, "no Docker Engine answers: Podman works");
        return Ok(engine);
    }
    // Whoever may not open the store hears of the engine that is meant for everybody.
    let engine = embedded().map_err(|error| failed(refused.unwrap_or(error)))?;
    let store = root.display();
    tell(terminal, &format!("no Docker Engine answers: the embedded engine works, its store is {store}"));
    Ok(engine)
}

/// Whether an engine has the image, where one is meant. What is wrong with the engine shows when it is to work.
async fn has(engine: &dyn Engine, image: Option<&str>) -> bool {
    match image {
        Some(image) => engine.image_exists(image).await.unwrap_or(false),
        None => true,
    }
}

/// Podman, where its service answers at one of these addresses.
async fn podman(addresses: &[String]) -> Option<Box<dyn Engine>> {
    for address in addresses {
        let inputs = EndpointInputs { host_flag: Some(address.clone()), ..EndpointInputs::default() };
        match slim_engine::connect(&inputs).await {
            Ok(engine) => return Some(engine),
            Err(error) => tracing::debug!(%error, "no Podman at {address}"),
        }
    }
    None
}

fn no_podman(addresses: &[String]) -> Failure {
    Failure::from(BuildError::from(EngineError::NoEngine {
        endpoint: if addresses.is_empty() { "Podman's sockets".to_owned() } else { addresses.join(", ") },
        reason: "no service of Podman's answers".to_owned(),
        hint: "start it with `systemctl start podman.socket` or `podman system service --time 0`".to_owned(),
    }))
}

/// Nobody gets a store just by asking for an image.
fn has_store(root: &Path) -> bool {
    root.join("images").is_dir()
}

fn tell(terminal: &Terminal, line: &str) {
    terminal.tell(Event::Notice(line.to_owned()));
}
