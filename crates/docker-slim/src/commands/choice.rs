//! Which engine works: the one that the flags name, or the image's place; else the first of Docker, Podman and the embedded
//! one that has the image, else the first that answers, else the embedded one. Which it is and why is said, unless the flags
//! said it.

use crate::arguments::{EngineName, GlobalArguments};
use crate::failure::Failure;
use crate::settings;
use crate::terminal::Terminal;
use slim_build::{BuildError, Event, Progress};
use slim_engine::embedded::Store;
use slim_engine::{EmbeddedEngine, EndpointInputs, Engine, EngineError};
use slim_image::location::EngineKind;
use std::path::Path;

/// What is known of the image that is to be worked on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// Nothing that an engine could have.
    Any,
    /// An engine may have it.
    Image(&'a str),
    /// This one has it.
    HeldBy(EngineKind),
}

/// Finds the engine, and says which it is.
pub async fn choose(
    global: &GlobalArguments,
    wanted: Wanted<'_>,
    terminal: &Terminal,
) -> Result<Box<dyn Engine>, Failure> {
    if let Wanted::HeldBy(kind) = wanted {
        let is_said = match global.engine.unwrap_or(EngineName::Auto) {
            EngineName::Auto => true,
            EngineName::Docker => kind == EngineKind::Docker,
            EngineName::Podman => kind == EngineKind::Podman,
            EngineName::Embedded => kind == EngineKind::Embedded,
        };
        return match is_said {
            true => of_kind(global, kind).await,
            false => Err(Failure::usage(format!(
                "choose an engine: --engine says another one than {}:, where the image is",
                kind.transport()
            ))),
        };
    }
    let inputs = settings::endpoint_inputs(global)?;
    match global.engine.unwrap_or(EngineName::Auto) {
        EngineName::Embedded => of_kind(global, EngineKind::Embedded).await,
        EngineName::Docker => slim_engine::connect(&inputs).await.map_err(failed),
        EngineName::Podman => of_kind(global, EngineKind::Podman).await,
        EngineName::Auto if settings::names_an_address(global, &inputs) => {
            slim_engine::connect(&inputs).await.map_err(failed)
        }
        EngineName::Auto => {
            let image = match wanted {
                Wanted::Image(name) => Some(name),
                Wanted::Any | Wanted::HeldBy(_) => None,
            };
            by_itself(global, &inputs, image, terminal).await
        }
    }
}

async fn by_itself(
    global: &GlobalArguments,
    inputs: &EndpointInputs,
    image: Option<&str>,
    terminal: &Terminal,
) -> Result<Box<dyn Engine>, Failure> {
    let root = settings::store_root(global);
    let tell = |line: String| terminal.tell(Event::Line(line));
    let (mut docker, mut refused) = (None, None);
    match slim_engine::connect(inputs).await {
        // Podman is not even asked: that alone may start its service.
        Ok(engine) => match image {
            None => {
                tell("Docker works: it answers".to_owned());
                return Ok(engine);
            }
            Some(image) if has(engine.as_ref(), image).await => {
                tell(format!("Docker works: it has {image}"));
                return Ok(engine);
            }
            Some(_) => docker = Some(engine),
        },
        Err(error @ EngineError::NoEngine { .. }) => refused = Some(error),
        Err(error) => return Err(failed(error)),
    }
    let podman = podman(&settings::podman_sockets()).await;
    if let (Some(engine), Some(image)) = (&podman, image)
        && has(engine.as_ref(), image).await
    {
        tell(format!("Podman works: it has {image}"));
        return Ok(podman.expect("it was looked at"));
    }
    let store = root.display();
    if let Some(image) = image.filter(|_| has_store(&root))
        && let Ok(engine) = embedded(&root)
        && engine.image_exists(image).await.map_err(failed)?
    {
        tell(format!("the embedded engine works: its store at {store} has {image}, no other has"));
        return Ok(engine);
    }
    let nobody = image.map(|image| format!(", and no engine has {image}")).unwrap_or_default();
    if let Some(engine) = docker {
        tell(format!("Docker works: it answers{nobody}"));
        return Ok(engine);
    }
    if let Some(engine) = podman {
        tell(format!("Podman works: it answers and no Docker Engine does{nobody}"));
        return Ok(engine);
    }
    // Whoever may not open the store hears of the engine that is meant for everybody.
    let engine = embedded(&root).map_err(|error| failed(refused.unwrap_or(error)))?;
    tell(format!("the embedded engine works: no Docker Engine and no Podman answers; its store is {store}"));
    Ok(engine)
}

/// An engine of this kind, and no other.
///
/// # Errors
/// When it does not answer, or the flags say something else.
pub async fn of_kind(global: &GlobalArguments, kind: EngineKind) -> Result<Box<dyn Engine>, Failure> {
    let inputs = settings::endpoint_inputs(global)?;
    let named = settings::flags_name_an_address(global);
    match kind {
        EngineKind::Embedded if named => {
            Err(Failure::usage("choose an engine: the embedded one has no address, and one is given"))
        }
        EngineKind::Embedded => embedded(&settings::store_root(global)).map_err(failed),
        EngineKind::Docker => {
            let engine = slim_engine::connect(&inputs).await.map_err(failed)?;
            checked(engine, kind).await
        }
        EngineKind::Podman if named => {
            let engine = slim_engine::connect(&inputs).await.map_err(failed)?;
            checked(engine, kind).await
        }
        EngineKind::Podman => {
            let sockets = settings::podman_sockets();
            podman(&sockets).await.ok_or_else(|| no_podman(&sockets))
        }
        EngineKind::Containerd => Err(Failure::usage("choose an engine: containerd runs nothing for us")),
    }
}

/// Every engine that answers, or the one that the flags say; the embedded one where it has a store.
pub async fn all(global: &GlobalArguments) -> Result<Vec<Box<dyn Engine>>, Failure> {
    let inputs = settings::endpoint_inputs(global)?;
    if global.engine.is_some_and(|engine| engine != EngineName::Auto)
        || settings::names_an_address(global, &inputs)
    {
        return Ok(vec![choose(global, Wanted::Any, &Terminal::new(true)).await?]);
    }
    let mut engines = Vec::new();
    match slim_engine::connect(&inputs).await {
        Ok(engine) => engines.push(engine),
        Err(EngineError::NoEngine { .. }) => {}
        Err(error) => return Err(failed(error)),
    }
    engines.extend(podman(&settings::podman_sockets()).await);
    let root = settings::store_root(global);
    if has_store(&root) {
        engines.extend(embedded(&root).ok());
    }
    Ok(engines)
}

fn embedded(root: &Path) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(EmbeddedEngine::new(Store::open(root)?, settings::OWN_BINARY)))
}

async fn checked(engine: Box<dyn Engine>, kind: EngineKind) -> Result<Box<dyn Engine>, Failure> {
    let found = engine.describe().await.map_err(failed)?;
    if found.name == kind.name() {
        return Ok(engine);
    }
    Err(Failure::usage(format!("use {}: the engine at {} is {}", kind.name(), found.endpoint, found.name))
        .with_hint(format!("--host names the socket of {}", kind.name())))
}

/// Whether an engine has the image. What is wrong with the engine shows when it is to work.
async fn has(engine: &dyn Engine, image: &str) -> bool {
    engine.image_exists(image).await.unwrap_or(false)
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
    failed(EngineError::NoEngine {
        endpoint: if addresses.is_empty() { "Podman's sockets".to_owned() } else { addresses.join(", ") },
        reason: "no service of Podman's answers".to_owned(),
        hint: "start it with `systemctl start podman.socket` or `podman system service --time 0`".to_owned(),
    })
}

/// Nobody gets a store just by asking for an image.
fn has_store(root: &Path) -> bool {
    root.join("images").is_dir()
}

fn failed(error: EngineError) -> Failure {
    Failure::from(BuildError::from(error))
}
