//! Places with what is needed to go there: engines that answer, commands that are there.

use super::Containerd;
use crate::arguments::GlobalArguments;
use crate::commands::choice;
use crate::failure::Failure;
use crate::settings;
use slim_engine::Engine;
use slim_engine::embedded::Store;
use slim_image::location::{EngineKind, Location};
use slim_image::{Reference, Stored};

/// The exit code where there is no such image.
const NO_IMAGE: u8 = 4;

/// Where an image is read.
pub enum Source {
    Registry(Reference),
    Files(Stored),
    /// The embedded engine's.
    Store(Store, String),
    Engine(Box<dyn Engine>, String),
    Containerd(Containerd, String),
}

/// Where it goes.
pub enum Destination {
    Registry(Reference),
    Files(Stored),
    Store(Store, Option<Reference>),
    Engine(Box<dyn Engine>, Option<Reference>),
    Containerd(Containerd, Reference),
}

impl Source {
    /// Understands a place. A plain name is what `plain` makes of it.
    ///
    /// # Errors
    /// When nothing is there, or the engine does not answer.
    pub async fn at(
        global: &GlobalArguments,
        location: Location,
        plain: impl AsyncFnOnce(String) -> Result<Self, Failure>,
    ) -> Result<Self, Failure> {
        match location {
            Location::Plain(name) => plain(name).await,
            Location::Registry(reference) => Ok(Self::Registry(reference)),
            Location::Stored(stored) => Ok(Self::Files(stored)),
            Location::Path(path) => match recognise(&path)? {
                Some(stored) => Ok(Self::Files(stored)),
                None => {
                    Err(Failure::new(format!("find an image at {path}: there is no such file"), NO_IMAGE))
                }
            },
            Location::Engine { engine: EngineKind::Containerd, name } => {
                Ok(Self::Containerd(Containerd::new(settings::program("ctr"))?, name))
            }
            Location::Engine { engine, name } => Ok(Self::held(choice::of_kind(global, engine).await?, name)),
        }
    }

    /// An engine's image.
    pub fn held(engine: Box<dyn Engine>, name: String) -> Self {
        match engine.store() {
            Some(store) => Self::Store(store.clone(), name),
            None => Self::Engine(engine, name),
        }
    }

    /// What the image is called there; `None` for an id, and where files do not tell.
    pub fn name(&self) -> Option<Reference> {
        let parsed = |name: &str| name.parse::<Reference>().ok().filter(|_| !settings::is_id(name));
        match self {
            Self::Registry(reference) => Some(reference.clone()),
            Self::Store(_, name) | Self::Engine(_, name) | Self::Containerd(_, name) => parsed(name),
            Self::Files(stored) => stored.name().filter(|name| name.contains(['/', ':'])).and_then(parsed),
        }
    }
}

impl Destination {
    /// Understands a place. A plain name is what `plain` makes of it.
    ///
    /// # Errors
    /// When the form of files is not said, or the engine does not answer.
    pub async fn at(
        global: &GlobalArguments,
        location: Location,
        plain: impl FnOnce(String) -> Result<Self, Failure>,
    ) -> Result<Self, Failure> {
        let text = location.to_string();
        match location {
            Location::Plain(name) => plain(name),
            Location::Registry(reference) => Ok(Self::Registry(reference)),
            Location::Stored(stored) => Ok(Self::Files(stored)),
            Location::Path(path) => recognise(&path)?.map(Self::Files).ok_or_else(|| no_form(&text)),
            Location::Engine { engine, name } => {
                let name: Reference = name.parse().map_err(|_| {
                    Failure::usage(format!("write to {text}: an id follows from the image; name a tag"))
                })?;
                if engine == EngineKind::Containerd {
                    return Ok(Self::Containerd(Containerd::new(settings::program("ctr"))?, name.with_tag()));
                }
                Ok(Self::held(choice::of_kind(global, engine).await?, Some(name)))
            }
        }
    }

    /// Into an engine; without a name under the source's own.
    pub fn held(engine: Box<dyn Engine>, name: Option<Reference>) -> Self {
        match engine.store() {
            Some(store) => Self::Store(store.clone(), name),
            None => Self::Engine(engine, name),
        }
    }
}

/// A place to write to of which only the path is known.
pub fn no_form(text: &str) -> Failure {
    Failure::usage(format!("write to {text}: it does not say in what form")).with_hint(
        "oci:DIRECTORY, oci-archive:FILE, docker-archive:FILE, dir:DIRECTORY, docker://NAME, docker-daemon:NAME, podman:NAME or \
         embedded:NAME",
    )
}

fn recognise(path: &str) -> Result<Option<Stored>, Failure> {
    Stored::recognise(path).map_err(|error| Failure::usage(error.to_string()))
}
