//! Keep-set → slim image in the engine, under its names.
//!
//! Invariant: the image comes in under a temporary name of this run; a name that a user knows moves to it only when it
//! is complete in the engine.

use crate::error::{BuildError, blocking};
use crate::files::{Apart, Files};
use crate::launch::Launched;
use crate::progress::Running;
use crate::seen::Seen;
use crate::settings::{Layers, Output, Settings};
use crate::stream;
use slim_engine::Engine;
use slim_image::layer::{LayerError, write_layer};
use slim_image::preserve::{Preserved, preserve};
use slim_image::{Digest, ImagePath, Layer, LayerEntry, Reference, SlimImage, SourceImage};
use slim_keep::{Base, KeepSet, Origin};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// The slim image in the engine, under a temporary name.
pub struct Loaded {
    /// What the engine knows it by.
    pub id: String,
    /// Bytes, as the engine counts them.
    pub size: u64,
    /// Digest of each file's contents.
    contents: BTreeMap<ImagePath, Digest>,
    temporary: String,
    /// The same, to be written elsewhere.
    pub image: Arc<SlimImage>,
}

/// The slim image as the engine has it.
pub struct Slim {
    pub id: String,
    pub names: Vec<String>,
    pub size: u64,
    /// Digest of each file's contents.
    pub contents: BTreeMap<ImagePath, Digest>,
}

/// Makes the image. Where its files are read through the collector, its layer goes to a temporary file below the state
/// path; files on this machine are read once for the digest and once on their way to the engine.
///
/// # Errors
/// When a file of the fat image cannot be read, or the disk is full.
pub async fn write(
    engine: &dyn Engine,
    settings: &Settings,
    stage: &Running<'_>,
    seen: &Seen,
    mut files: Files,
    kept: &Arc<KeepSet>,
    launched: Option<Arc<Launched>>,
) -> Result<(Files, Arc<SlimImage>), BuildError> {
    stage.working("writing the layer");
    let apart = match settings.layers {
        Layers::Flat => None,
        Layers::Preserve => Some(files.apart(engine, settings, &seen.source).await?),
    };
    let state = seen.state.clone();
    let config = settings.edits.applied_to(&seen.source.config, &settings.container);
    let created = settings.source_date_epoch.map(timestamp).transpose()?;
    let (source, kept, state_path) = (seen.source.clone(), Arc::clone(kept), settings.state_path.clone());
    let preserved = apart.map(|apart| (apart, seen.origin.clone()));
    let base_layers = settings.keep.base_layers;
    blocking(move || {
        let entries: Vec<LayerEntry> = kept
            .entries
            .iter()
            .map(|(path, kept)| LayerEntry { path: path.clone(), entry: kept.entry.clone() })
            .collect();
        if let Some((apart, origin)) = preserved {
            let Preserved { layers, history } = preserved_layers(&apart, &entries, &origin, base_layers)?;
            let image = SlimImage::of_layers(&source, config, layers, history, created);
            return Ok((files, Arc::new(image)));
        }
        let layer = match (files.in_place(), launched) {
            (Some(tree), None) => Layer::of_tree(tree, entries),
            (Some(tree), Some(launched)) => {
                Layer::of_tree(launched.shared_tree(tree), launched.entries(entries))
            }
            (None, None) => write_layer(files.tree(), &entries, state.temporary_file()?),
            (None, Some(launched)) => {
                let tree = launched.tree(files.tree());
                write_layer(&tree, &launched.entries(entries), state.temporary_file()?)
            }
        };
        let layer = layer.map_err(|error| layer_failed(error, &state_path))?;
        Ok((files, Arc::new(SlimImage::new(&source, config, layer, created))))
    })
    .await
}

/// Each of the fat image's layers with what is kept of it.
fn preserved_layers(
    Apart { merged, layers }: &Apart,
    entries: &[LayerEntry],
    origin: &Origin,
    base_layers: Option<usize>,
) -> Result<Preserved, BuildError> {
    let base = Base::find(merged.as_ref(), origin, base_layers).layers().unwrap_or(0);
    preserve(merged, layers, entries, base, &origin.history)
        .map_err(|error| BuildError::Image(error.to_string()))
}

/// A full disk is the state path's matter, everything else the image's.
fn layer_failed(error: LayerError, state_path: &Path) -> BuildError {
    match error {
        LayerError::Write { source, .. } | LayerError::File(source) => {
            BuildError::State { action: "write the layer below", path: state_path.to_owned(), source }
        }
        error => BuildError::Image(error.to_string()),
    }
}

/// Loads the image under a temporary name of this run.
///
/// # Errors
/// When the engine refuses the image.
pub async fn load(
    engine: &dyn Engine,
    settings: &Settings,
    stage: &Running<'_>,
    image: &Arc<SlimImage>,
) -> Result<Loaded, BuildError> {
    stage.working("loading the image into the engine");
    let temporary = settings.run.temporary_reference("slim");
    let reference: Reference =
        temporary.parse().map_err(|error| BuildError::Bug(format!("name the image for a while: {error}")))?;
    let archived = Arc::clone(image);
    let with_layout = engine.takes_layouts().await?;
    let archive = stream::written_by(move |output| match with_layout {
        true => archived.write_to(output, &[reference]),
        false => archived.write_docker_archive(output, &[reference]),
    });
    engine.load_image(archive).await?;
    // Not the configuration's digest everywhere: where Docker uses containerd's store it is the manifest's.
    let held = engine.inspect_image(&temporary).await?;
    let (id, size) = (held.id.to_string(), held.size);
    let layers = image.layers().iter().flat_map(|layer| &layer.contents);
    let contents = layers.map(|(path, digest)| (path.clone(), *digest)).collect();
    Ok(Loaded { id, size, contents, temporary, image: Arc::clone(image) })
}

impl Loaded {
    /// What the image is once it has these names.
    #[must_use]
    pub fn named(&self, names: Vec<String>) -> Slim {
        Slim { id: self.id.clone(), names, size: self.size, contents: self.contents.clone() }
    }
}

/// Gives a loaded image the names that users know it by, instead of its temporary one.
///
/// # Errors
/// When the engine refuses a name.
pub async fn tag(engine: &dyn Engine, loaded: &Loaded, names: &[String]) -> Result<(), BuildError> {
    for name in names {
        engine.tag(&loaded.id, name).await?;
    }
    Ok(engine.untag(&loaded.temporary).await?)
}

/// Gives up a loaded image, which has no name yet. One that the engine held before under other names stays there.
///
/// # Errors
/// When the engine does not let go of it.
pub async fn discard(engine: &dyn Engine, loaded: Loaded) -> Result<(), BuildError> {
    Ok(engine.untag(&loaded.temporary).await?)
}

/// The names that the slim image gets.
///
/// # Errors
/// When one of them is none, or there is none to make one from.
pub fn names(settings: &Settings, source: &SourceImage) -> Result<Vec<String>, BuildError> {
    let engine_names = settings.outputs.iter().filter_map(|output| match output {
        Output::Name(name) => Some(name.clone()),
        Output::Stored(_) => None,
    });
    let engine_names: Vec<String> = engine_names.collect();
    if !settings.tags.is_empty() {
        for name in &settings.tags {
            let _: Reference =
                name.parse().map_err(|error| BuildError::Usage(format!("use --tag {name}: {error}")))?;
        }
        return Ok([settings.tags.clone(), engine_names].concat());
    }
    match fat_name(source) {
        Some(reference) => Ok([vec![reference.slim_name().to_string()], engine_names].concat()),
        // It goes elsewhere, and needs no name in the engine.
        None if !settings.outputs.is_empty() || settings.carrier.is_some() => Ok(engine_names),
        None => Err(BuildError::Usage(format!(
            "name the slim image of {}: give it one with --tag",
            source.reference
        ))),
    }
}

/// The fat image's name. An image that was asked for by id is known by one of its names, if it has any.
pub fn fat_name(source: &SourceImage) -> Option<Reference> {
    let is_id = |text: &str| source.id.hex().starts_with(text.strip_prefix("sha256:").unwrap_or(text));
    let is_name = |name: &Reference| source.tags.contains(&name.with_tag().to_string());
    let asked_for = source.reference.parse::<Reference>().ok();
    let asked_for = asked_for.filter(|name| is_name(name) || !is_id(&source.reference));
    // Podman finds `localhost/app` as `app`, and would take the name of the slim one for a registry's.
    let in_full = asked_for.as_ref().filter(|name| !is_name(name)).and_then(|name| {
        let ending = format!("/{}", name.with_tag());
        source.tags.iter().find(|tag| tag.ends_with(&ending))?.parse().ok()
    });
    in_full.or(asked_for).or_else(|| source.tags.first().and_then(|tag| tag.parse().ok()))
}

fn timestamp(seconds: i64) -> Result<String, BuildError> {
    jiff::Timestamp::from_second(seconds)
        .map(|timestamp| timestamp.to_string())
        .map_err(|error| BuildError::Usage(format!("use SOURCE_DATE_EPOCH={seconds}: {error}")))
}
