//! The pristine files of the fat image: read in the engine's own layers where they lie on this machine, else through the
//! collector, a second container of the image that never runs the image's own program. Both give the same.

use crate::error::{BuildError, blocking};
use crate::scratch::{Role, labels};
use crate::settings::Settings;
use crate::state::{ImageState, write_whole};
use slim_engine::{CollectorSpec, ContainerId, Engine, Run};
use slim_image::collector::Client;
use slim_image::preserve::SharedTree;
use slim_image::{ImagePath, ImageTree, Listing, OverlayTree, SavedTree, SourceImage};
use slim_keep::{Level, Ownership, Packages};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::io::AsyncWriteExt;

/// The fat image's tree.
pub struct Files {
    origin: Origin,
    ownership: Arc<Ownership>,
    /// Once it was asked for.
    apart: Option<Apart>,
}

/// The image's layers, each by itself, the base first, and put over one another.
#[derive(Clone)]
pub struct Apart {
    pub merged: SharedTree,
    pub layers: Vec<SharedTree>,
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
        let cache = Some(state.listing());
        let of_program = (settings.binary.as_path(), settings.local_layers);
        let files = Self::read(engine, of_program, &settings.run, source, cache).await?;
        if settings.keep.level > Level::Observed {
            files.prepare_owners();
        }
        Ok(files)
    }

    /// Begins to read whose the files are, where that disturbs nobody. A failure shows when they are asked for.
    fn prepare_owners(&self) {
        let Some(tree) = self.in_place() else { return };
        let ownership = Arc::clone(&self.ownership);
        tokio::task::spawn_blocking(move || {
            if let Err(error) = ownership.of(tree.as_ref()) {
                tracing::debug!(%error, "the packages could not be read ahead");
            }
        });
    }

    /// The same without a build: the static program, and whether the engine's own layers may be read; `cache` is the file
    /// for the listing.
    ///
    /// # Errors
    /// When the collector does not start or answer.
    pub async fn read(
        engine: &dyn Engine,
        (binary, local_layers): (&Path, bool),
        run: &Run,
        source: &SourceImage,
        cache: Option<PathBuf>,
    ) -> Result<Self, BuildError> {
        let layers = if local_layers { from_layers(engine, source).await? } else { None };
        let origin = match layers {
            Some(tree) => Origin::Layers(Arc::new(tree)),
            None => from_collector(engine, binary, run, source, cache).await?,
        };
        Ok(Self { origin, ownership: Arc::default(), apart: None })
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

    /// The layers. An engine that does not have them as directories of this machine saves the image for that.
    ///
    /// # Errors
    /// When a layer cannot be read, or the engine does not save the image.
    pub async fn apart(
        &mut self,
        engine: &dyn Engine,
        settings: &Settings,
        source: &SourceImage,
    ) -> Result<Apart, BuildError> {
        if let Some(apart) = &self.apart {
            return Ok(apart.clone());
        }
        let apart = match self.in_place() {
            Some(tree) => blocking(move || in_directories(tree)).await?,
            None => saved(engine, &settings.state_path, source).await?,
        };
        Ok(self.apart.insert(apart).clone())
    }

    /// How many files, directories and links the fat image holds.
    #[must_use]
    pub fn entries(&self) -> usize {
        match &self.origin {
            Origin::Layers(tree) => tree.listing().len(),
            Origin::Collector { client, .. } => client.listing().len(),
        }
    }

    /// Whose the files are, read once.
    #[must_use]
    pub fn ownership(&self) -> &Ownership {
        &self.ownership
    }

    /// Whose the files are, for `keep.json` and `removed.json`.
    ///
    /// # Errors
    /// When the packages' records cannot be read.
    pub async fn owners(self) -> Result<(Self, Arc<Packages>), BuildError> {
        blocking(move || {
            let packages =
                self.ownership.of(self.tree()).map_err(|error| BuildError::Files(error.to_string()))?;
            Ok((self, packages))
        })
        .await
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

fn in_directories(tree: Arc<OverlayTree>) -> Result<Apart, BuildError> {
    let layers = tree.layers().map_err(|error| BuildError::Files(error.to_string()))?;
    let layers = layers.into_iter().map(|layer| Arc::new(layer) as SharedTree).collect();
    Ok(Apart { merged: tree, layers })
}

/// The layers out of an archive, in an unnamed file.
async fn saved(engine: &dyn Engine, folder: &Path, source: &SourceImage) -> Result<Apart, BuildError> {
    let failed =
        |source| BuildError::State { action: "save the fat image below", path: folder.to_owned(), source };
    let file = tempfile::tempfile_in(folder).map_err(failed)?;
    let mut output = tokio::fs::File::from_std(file.try_clone().map_err(failed)?);
    let mut archive = engine.save_image(&source.id.to_string()).await?;
    tokio::io::copy(&mut archive, &mut output).await.map_err(failed)?;
    output.flush().await.map_err(failed)?;
    let folder = folder.to_owned();
    blocking(move || {
        let tree = SavedTree::open(file, &folder).map_err(|error| BuildError::Files(error.to_string()))?;
        let layers = tree.layers().map_err(|error| BuildError::Files(error.to_string()))?;
        let layers = layers.into_iter().map(|layer| Arc::new(layer) as SharedTree).collect();
        Ok(Apart { merged: Arc::new(tree), layers })
    })
    .await
}

/// Starts the collector and lists the image, from the cache where it has been listed before.
async fn from_collector(
    engine: &dyn Engine,
    binary: &Path,
    run: &Run,
    source: &SourceImage,
    cache: Option<PathBuf>,
) -> Result<Origin, BuildError> {
    let spec = CollectorSpec {
        image: source.id.to_string(),
        binary: binary.to_owned(),
        arguments: vec!["collector".to_owned()],
        file_name: format!(".{}", run.id),
        labels: labels(run, Role::Collector),
    };
    let running = slim_engine::start_collector(engine, &spec).await?;
    let volumes: Vec<ImagePath> = source.config.volume_paths();
    let container = running.id.clone();
    let client = blocking(move || {
        let cached = cache.as_ref().and_then(|cache| Listing::load(cache).ok());
        let listed_before = cached.is_some();
        let client = Client::connect(running.output, running.input, &volumes, cached)
            .map_err(|error| BuildError::Files(format!("{error}{}", running.diagnostics.text())))?;
        if let Some(cache) = cache.filter(|_| !listed_before) {
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
