//! The pristine files of the fat image: read in the engine's own layers where they lie on this machine, else through the
//! collector, a second container of the image that never runs the image's own program. Both give the same.

use crate::error::{BuildError, blocking};
use crate::scratch::{Role, labels};
use crate::settings::Settings;
use crate::state::{ImageState, write_whole};
use slim_engine::{CollectorSpec, ContainerId, Engine};
use slim_image::collector::Client;
use slim_image::{ImagePath, ImageTree, Listing, OverlayTree, SourceImage};
use std::io::{BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

/// The fat image's tree.
pub struct Files {
    origin: Origin,
}

/// Where the files are read from.
enum Origin {
    Layers(Arc<OverlayTree>),
    Collector { client: Client, container: ContainerId },
}

impl Files {
    /// Lists the image. No container is made where the layers can be read.
    ///
    /// # Errors
    /// When the collector does not start or answer.
    pub async fn open(
        engine: &dyn Engine,
        settings: &Settings,
        source: &SourceImage,
        state: &ImageState,
    ) -> Result<Self, BuildError> {
        let layers = if settings.local_layers { from_layers(engine, source).await? } else { None };
        let origin = match layers {
            Some(tree) => Origin::Layers(Arc::new(tree)),
            None => from_collector(engine, settings, source, state).await?,
        };
        Ok(Self { origin })
    }

    /// The tree.
    #[must_use]
    pub fn tree(&self) -> &dyn ImageTree {
        match &self.origin {
            Origin::Layers(tree) => tree.as_ref(),
            Origin::Collector { client, .. } => client,
        }
    }

    /// The tree where reading it twice costs next to nothing: where it lies on this machine.
    #[must_use]
    pub fn in_place(&self) -> Option<Arc<OverlayTree>> {
        match &self.origin {
            Origin::Layers(tree) => Some(Arc::clone(tree)),
            Origin::Collector { .. } => None,
        }
    }

    /// How many files, directories and links the fat image holds.
    #[must_use]
    pub fn entries(&self) -> usize {
        match &self.origin {
            Origin::Layers(tree) => tree.listing().len(),
            Origin::Collector { client, .. } => client.listing().len(),
        }
    }

    /// Removes the collector's container, if there is one. A failure is left to the run's clean-up.
    pub async fn close(&self, engine: &dyn Engine) {
        let Origin::Collector { container, .. } = &self.origin else { return };
        if let Err(error) = engine.remove(container, true).await {
            tracing::debug!("the collector's container is left to the clean-up: failed to {error}");
        }
    }
}

/// The image in its layers' directories; `None` where they are not to be had, or not to be understood. Listing them takes
/// part of a second while the fat container runs, so that no listing is kept.
async fn from_layers(engine: &dyn Engine, source: &SourceImage) -> Result<Option<OverlayTree>, BuildError> {
    let Some(directories) = engine.local_layers(&source.id.to_string()).await? else { return Ok(None) };
    let volumes: Vec<ImagePath> = source.config.volume_paths();
    blocking(move || {
        let tree = OverlayTree::open(&directories).and_then(|tree| tree.seen_in_container(&volumes));
        if let Err(error) = &tree {
            tracing::warn!("the image is read through a container: failed to {error}");
        }
        Ok(tree.ok())
    })
    .await
}

/// Starts the collector and lists the image, from the cache where it has been listed before.
async fn from_collector(
    engine: &dyn Engine,
    settings: &Settings,
    source: &SourceImage,
    state: &ImageState,
) -> Result<Origin, BuildError> {
    let spec = CollectorSpec {
        image: source.id.to_string(),
        binary: settings.binary.clone(),
        arguments: vec!["collector".to_owned()],
        file_name: format!(".{}", settings.run.id),
        labels: labels(&settings.run, Role::Collector),
    };
    let running = slim_engine::start_collector(engine, &spec).await?;
    let volumes: Vec<ImagePath> = source.config.volume_paths();
    let cache = state.listing();
    let container = running.id.clone();
    let client = blocking(move || {
        let cached = Listing::load(&cache).ok();
        let listed_before = cached.is_some();
        let client = Client::connect(running.output, running.input, &volumes, cached)
            .map_err(|error| BuildError::Files(format!("{error}{}", running.diagnostics.text())))?;
        if !listed_before {
            save(&cache, client.listing())?;
        }
        Ok(client)
    })
    .await?;
    Ok(Origin::Collector { client, container })
}

fn save(path: &Path, listing: &Listing) -> Result<(), BuildError> {
    write_whole(path, |file| {
        let mut buffered = BufWriter::new(file);
        listing.save(&mut buffered)?;
        buffered.flush()
    })
}
