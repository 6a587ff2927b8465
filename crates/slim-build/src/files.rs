//! The pristine files of the fat image, read through the collector: a second container of the image that never runs
//! the image's own program.

use crate::error::{BuildError, blocking};
use crate::scratch::{Role, labels};
use crate::settings::Settings;
use crate::state::{ImageState, write_whole};
use slim_engine::{CollectorSpec, ContainerId, Engine, Run};
use slim_image::collector::Client;
use slim_image::{ImagePath, ImageTree, Listing, SourceImage};
use slim_keep::Owners;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// The fat image's tree, and the container it is read through.
pub struct Files {
    client: Client,
    container: ContainerId,
}

impl Files {
    /// Starts the collector and lists the image, from the cache where it has been listed before.
    ///
    /// # Errors
    /// When the collector does not start or answer.
    pub async fn open(
        engine: &dyn Engine,
        settings: &Settings,
        source: &SourceImage,
        state: &ImageState,
    ) -> Result<Self, BuildError> {
        Self::read(engine, &settings.binary, &settings.run, source, Some(state.listing())).await
    }

    /// The same without a build: `binary` is the static program, `cache` the file for the listing.
    ///
    /// # Errors
    /// When the collector does not start or answer.
    pub async fn read(
        engine: &dyn Engine,
        binary: &Path,
        run: &Run,
        source: &SourceImage,
        cache: Option<PathBuf>,
    ) -> Result<Self, BuildError> {
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
        Ok(Self { client, container })
    }

    /// The tree.
    #[must_use]
    pub fn tree(&self) -> &dyn ImageTree {
        &self.client
    }

    /// How many files, directories and links the fat image holds.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.client.listing().len()
    }

    /// Whose the files are, for `keep.json` and `removed.json`; the records of packages can be read until
    /// [`Files::close`].
    #[must_use]
    pub fn owners(&self) -> Box<dyn Owners> {
        Box::new(())
    }

    /// Removes the collector's container. A failure is left to the run's clean-up.
    pub async fn close(&self, engine: &dyn Engine) {
        if let Err(error) = engine.remove(&self.container, true).await {
            tracing::debug!("the collector's container is left to the clean-up: failed to {error}");
        }
    }
}

fn save(path: &Path, listing: &Listing) -> Result<(), BuildError> {
    write_whole(path, |file| {
        let mut buffered = BufWriter::new(file);
        listing.save(&mut buffered)?;
        buffered.flush()
    })
}
