//! Which engine works: the one that the flags name, else the one that has the image, else one that answers, else the
//! embedded one.

use crate::arguments::{EngineName, GlobalArguments};
use crate::failure::Failure;
use crate::settings;
use crate::terminal::Terminal;
use slim_build::{BuildError, Event, Progress};
use slim_engine::embedded::Store;
use slim_engine::{EmbeddedEngine, Engine, EngineError};
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
    match global.engine {
        EngineName::Embedded if settings::flags_name_an_address(global) => {
            return Err(Failure::usage(
                "choose an engine: --engine embedded has no address, and one is given",
            ));
        }
        EngineName::Embedded => return embedded().map_err(failed),
        EngineName::Docker => return slim_engine::connect(&inputs).await.map_err(failed),
        EngineName::Auto if settings::names_an_address(global, &inputs) => {
            return slim_engine::connect(&inputs).await.map_err(failed);
        }
        EngineName::Auto => {}
    }
    let docker = match slim_engine::connect(&inputs).await {
        Ok(docker) => docker,
        // Whoever may not open the store hears of the engine that is meant for everybody.
        Err(error @ EngineError::NoEngine { .. }) => {
            let engine = embedded().map_err(|_| failed(error))?;
            tell(
                terminal,
                &format!(
                    "no Docker Engine answers: the embedded engine works, its store is {}",
                    root.display()
                ),
            );
            return Ok(engine);
        }
        Err(error) => return Err(failed(error)),
    };
    let Some(image) = image.filter(|_| has_store(&root)) else { return Ok(docker) };
    if docker.image_exists(image).await.map_err(failed)? {
        return Ok(docker);
    }
    let Ok(engine) = embedded() else { return Ok(docker) };
    if !engine.image_exists(image).await.map_err(failed)? {
        return Ok(docker);
    }
    tell(
        terminal,
        &format!("the embedded engine works: its store at {} has {image}, Docker has not", root.display()),
    );
    Ok(engine)
}

/// Nobody gets a store just by asking for an image.
fn has_store(root: &Path) -> bool {
    root.join("images").is_dir()
}

fn tell(terminal: &Terminal, line: &str) {
    terminal.tell(Event::Notice(line.to_owned()));
}
