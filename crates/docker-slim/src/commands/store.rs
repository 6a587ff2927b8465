//! `docker-slim store`: the images and named volumes of the embedded engine.

use super::choice::Wanted;
use super::own_store;
use super::transfer::{Destination, Source, Transfer, no_form};
use super::with_engine::with_engine;
use super::with_registry::with_registry;
use crate::arguments::{
    EngineName, GlobalArguments, ImportArguments, OutputFormat, StoreArguments, StoreCommand,
};
use crate::failure::Failure;
use crate::settings::{self, Import, Selected};
use slim_build::BuildError;
use slim_engine::EngineError;
use slim_engine::embedded::{Store, StoredImage, StoredVolume};
use slim_image::location::Form;
use slim_image::packing::Scratch;
use slim_image::{Location, Selector, Stored};
use slim_registry::Client;
use slim_report::human;
use std::fs::File;
use std::io::Write;
use std::path::Path;

/// The file cannot be had.
const NO_IMAGE: u8 = 4;

/// Does what is asked for and prints the result.
pub fn run(global: &GlobalArguments, arguments: &StoreArguments) -> Result<(), Failure> {
    if let (StoreCommand::Prune { .. }, Some(engine)) = (&arguments.command, global.engine)
        && engine != EngineName::Embedded
    {
        return prune_engine(global);
    }
    let store = own_store::open(global).map_err(failed)?;
    match &arguments.command {
        StoreCommand::Ls { volumes: false } => list(global, &store.images().map_err(failed)?),
        StoreCommand::Ls { volumes: true } => list_volumes(global, &store.volumes().map_err(failed)?),
        StoreCommand::Import(arguments) => import(global, &store, arguments),
        StoreCommand::Rm { volumes, names } => {
            for name in names {
                let gone =
                    if *volumes { store.remove_volume(name).map(|()| true) } else { store.untag(name) };
                print(
                    global,
                    &format!("{} {name}", if gone.map_err(failed)? { "removed" } else { "untagged" }),
                );
            }
            Ok(())
        }
        StoreCommand::Prune { volumes } => prune(global, &store, *volumes),
    }
}

fn prune(global: &GlobalArguments, store: &Store, with_volumes: bool) -> Result<(), Failure> {
    let pruned = store.prune().map_err(failed)?;
    let volumes = if with_volumes { store.prune_volumes().map_err(failed)? } else { Vec::new() };
    let bytes = pruned.bytes + volumes.iter().map(|volume| volume.size).sum::<u64>();
    let (images, layers) = (pruned.images, pruned.layers);
    match global.output_format {
        OutputFormat::Json => {
            let mut told = serde_json::json!({
                "images": images, "layers": layers, "blobs": pruned.blobs, "bytes": bytes
            });
            if with_volumes {
                told["volumes"] = volumes.iter().map(|volume| volume.name.as_str()).collect();
            }
            write(&told);
        }
        OutputFormat::Text => {
            let of_volumes =
                if with_volumes { format!(" and {} volumes", volumes.len()) } else { String::new() };
            print(global, &format!("removed {images} images, {layers} layers{of_volumes}, {}", human(bytes)));
        }
    }
    Ok(())
}

fn list_volumes(global: &GlobalArguments, volumes: &[StoredVolume]) -> Result<(), Failure> {
    if global.output_format == OutputFormat::Json {
        let told = volumes.iter().map(|volume| {
            serde_json::json!({"name": volume.name, "size": volume.size, "containers": volume.containers})
        });
        write(&told.collect());
        return Ok(());
    }
    let width = volumes.iter().map(|volume| volume.name.len()).max().unwrap_or_default();
    for StoredVolume { name, size, containers } in volumes {
        let used = match containers {
            0 => "unused".to_owned(),
            1 => "1 container".to_owned(),
            many => format!("{many} containers"),
        };
        print(global, &format!("{name:<width$}  {:>9}  {used}", human(*size)));
    }
    Ok(())
}

/// Takes the images of sidecars out of an engine with a daemon.
fn prune_engine(global: &GlobalArguments) -> Result<(), Failure> {
    let run = settings::this_run()?;
    let names = with_engine(global, &run, Wanted::Any, async |engine, _, _| {
        slim_engine::prune_sidecars(engine).await.map_err(failed)
    })?;
    match global.output_format {
        OutputFormat::Json => write(&serde_json::json!({ "removed": names })),
        OutputFormat::Text if names.is_empty() => {
            print(global, "the engine holds no image of a sidecar container")
        }
        OutputFormat::Text => names.iter().for_each(|name| print(global, &format!("removed {name}"))),
    }
    Ok(())
}

fn failed(error: EngineError) -> Failure {
    Failure::from(BuildError::from(error))
}

/// A whole archive with all its images, or the one image of a place.
fn import(global: &GlobalArguments, store: &Store, arguments: &ImportArguments) -> Result<(), Failure> {
    let settings = settings::import(arguments)?;
    match &settings.from {
        Location::Stored(Stored { form, path, selector: Selector::Only })
            if matches!(form, Form::AnyArchive | Form::DockerArchive | Form::OciArchive)
                && settings.selected == Selected::default() =>
        {
            import_archive(global, store, path, arguments.tag.as_deref())
        }
        _ => import_image(global, store, settings),
    }
}

fn import_image(global: &GlobalArguments, store: &Store, settings: Import) -> Result<(), Failure> {
    let digest = with_registry(global, async |bars, outside| {
        let from = Source::at(global, settings.from, async |name| Err(no_form(&name))).await?;
        let transfer = Transfer {
            client: Client::new(settings.client),
            selected: settings.selected,
            scratch: Scratch { folder: store.path().to_owned(), limit: global.unpack_limit },
            bars: &bars,
            outside,
        };
        let to = Destination::Store(store.clone(), settings.name);
        Ok(transfer.run(&from, &to).await?.descriptor.digest)
    })?;
    let id = store.id_of(&digest).map_err(failed)?;
    let images: Vec<StoredImage> = store.find(&id.to_string()).map_err(failed)?.into_iter().collect();
    list(global, &images)
}

fn import_archive(
    global: &GlobalArguments,
    store: &Store,
    archive: &Path,
    tag: Option<&str>,
) -> Result<(), Failure> {
    let file = File::open(archive)
        .map_err(|error| Failure::new(format!("read {}: {error}", archive.display()), NO_IMAGE))?;
    let mut images = store.import(&file).map_err(failed)?;
    if let Some(tag) = tag {
        let [image] = images.as_slice() else {
            return Err(Failure::usage(format!("name the image {tag}: the archive holds {}", images.len())));
        };
        let id = image.id.to_string();
        store.tag(&id, tag).map_err(failed)?;
        images = store.find(&id).map_err(failed)?.into_iter().collect();
    }
    list(global, &images)
}

fn list(global: &GlobalArguments, images: &[StoredImage]) -> Result<(), Failure> {
    if global.output_format == OutputFormat::Json {
        let images: Vec<_> = images
            .iter()
            .map(|image| {
                serde_json::json!({
                    "id": image.id, "names": image.names, "size": image.size, "created": image.created
                })
            })
            .collect();
        write(&images.into());
        return Ok(());
    }
    let rows = images.iter().flat_map(|image| {
        let nameless = ["<none>".to_owned()];
        let names = if image.names.is_empty() { nameless.to_vec() } else { image.names.clone() };
        names.into_iter().map(|name| (name, image.id.short(), human(image.size)))
    });
    let rows: Vec<(String, String, String)> = rows.collect();
    let width = rows.iter().map(|(name, ..)| name.len()).max().unwrap_or_default();
    for (name, id, size) in rows {
        print(global, &format!("{name:<width$}  {id}  {size:>9}"));
    }
    Ok(())
}

fn print(global: &GlobalArguments, line: &str) {
    if !global.quiet {
        // Nobody is left to be told when stdout is closed.
        let _ = writeln!(std::io::stdout().lock(), "{line}");
    }
}

fn write(value: &serde_json::Value) {
    let _ = writeln!(std::io::stdout().lock(), "{value:#}");
}
