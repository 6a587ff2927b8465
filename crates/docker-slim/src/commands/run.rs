//! `docker-slim run`: a container of the embedded engine, in the foreground or detached.

use super::containers::{failed, with_embedded};
use super::handing_on::{can_hand_on, hand_on};
use super::transfer::{Destination, Source, Transfer, no_form};
use super::with_registry::Bars;
use crate::arguments::{GlobalArguments, PullPolicy, RunArguments};
use crate::console::{self, RawTerminal};
use crate::failure::Failure;
use crate::outside::Outside;
use crate::settings::{self, Selected, is_id};
use slim_build::{BuildError, Person};
use slim_engine::{ContainerId, ContainerSpec, EmbeddedEngine, Engine, EngineError};
use slim_image::Location;
use slim_image::location::{EngineKind, LocationError};
use slim_image::packing::Scratch;
use slim_image::reference::ReferenceError;
use slim_registry::{Client, ClientSettings};
use std::fs;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

/// The exit code of whoever was interrupted.
const INTERRUPTED: u8 = 130;
/// `docker stop`'s own.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Runs it; its exit code is ours, if we wait for it.
pub fn run(global: &GlobalArguments, arguments: &RunArguments) -> Result<(), Failure> {
    let run = settings::this_run()?;
    let settings::RunSettings { mut spec, pull, client } =
        settings::run(arguments, |word| super::policy::seccomp_text(global, &arguments.fetch.client, word))?;
    if !arguments.detach {
        can_hand_on(arguments.interactive, arguments.tty)?;
    }
    if let Some(file) = arguments.cidfile.as_deref().filter(|file| file.exists()) {
        return Err(Failure::usage(format!(
            "write the container's id to {}: it is there already",
            file.display()
        )));
    }
    // What is removed by us at its end is swept if we are killed; all else is the person's own.
    let is_ours = arguments.rm && !arguments.detach;
    if is_ours {
        spec.labels = run.labels();
    }
    let code = with_embedded(global, "run", async |engine| {
        for error in slim_engine::sweep(&engine, &run).await.errors {
            tracing::warn!("could not remove what a dead run left: failed to {error}");
        }
        let outside =
            Outside::new().map_err(|error| BuildError::Bug(format!("install signal handlers: {error}")))?;
        spec.image = image(global, &engine, &spec.image, pull, client, &outside).await?;
        let id = engine.create(&spec).await.map_err(failed)?;
        if let Some(file) = &arguments.cidfile
            && let Err(error) = fs::write(file, id.as_str())
        {
            engine.remove(&id, true).await.map_err(failed)?;
            return Err(Failure::usage(format!("write the container's id to {}: {error}", file.display())));
        }
        if arguments.detach {
            return detached(&engine, &id).await.map_err(failed);
        }
        let ended = in_foreground(&engine, &id, &spec, &outside).await;
        let never_ran = matches!(ended, Err(EngineError::StartFailed { .. }));
        let removed = if is_ours || never_ran { engine.remove(&id, true).await } else { Ok(()) };
        let code = ended.map_err(failed)?;
        removed.map_err(failed)?;
        Ok(code)
    });
    match code? {
        0 => Ok(()),
        code => Err(Failure::silent(u8::try_from(code).unwrap_or(u8::MAX))),
    }
}

async fn detached(engine: &EmbeddedEngine, id: &ContainerId) -> Result<i64, EngineError> {
    if let Err(error) = engine.start(id).await {
        // It never ran: nobody wants to look at it.
        engine.remove(id, true).await?;
        return Err(error);
    }
    // Nobody is left to be told when stdout is closed.
    let _ = writeln!(io::stdout().lock(), "{id}");
    Ok(0)
}

/// Brings the image into the store where it is to be brought; gives what it is called there.
async fn image(
    global: &GlobalArguments,
    engine: &EmbeddedEngine,
    text: &str,
    pull: PullPolicy,
    client: ClientSettings,
    outside: &Outside,
) -> Result<String, Failure> {
    let usage = |error: &dyn std::fmt::Display| Failure::usage(error.to_string());
    let location: Location = text.parse().map_err(|error: LocationError| usage(&error))?;
    let location = match location {
        Location::Engine { engine: EngineKind::Embedded, name } => Location::Plain(name),
        other => other,
    };
    let source = match location {
        Location::Plain(name) => {
            let is_there = engine.image_exists(&name).await.map_err(failed)?;
            if pull == PullPolicy::Never || is_id(&name) || (is_there && pull == PullPolicy::Missing) {
                return Ok(name);
            }
            let reference = name.parse().map_err(|error: ReferenceError| usage(&error))?;
            return fetched(global, engine, Source::Registry(reference), client, outside)
                .await
                .map_err(|failure| if is_there { failure } else { not_in_store(engine, &name, failure) });
        }
        other => Source::at(global, other, async |name| Err(no_form(&name))).await?,
    };
    fetched(global, engine, source, client, outside).await
}

/// A plain name may have been meant for the store.
fn not_in_store(engine: &EmbeddedEngine, name: &str, failure: Failure) -> Failure {
    // Whoever interrupted needs no explanation.
    if failure.message.is_empty() || failure.exit_code == INTERRUPTED {
        return failure;
    }
    let store = engine.store().path().display();
    let hint = format!(
        "`docker-slim store ls` shows what the store has; `docker-slim run docker-daemon:{name}` (or `podman:{name}`) takes \
         an image that Docker (or Podman) has"
    );
    let hint = failure.hint.iter().map(String::as_str).chain([hint.as_str()]).collect::<Vec<_>>().join("; ");
    let message = format!(
        "find the image {name}: the store at {store} has none of this name, and it could not be fetched: failed to {}",
        failure.message
    );
    Failure { message, hint: Some(hint), ..failure }
}

/// Brings an image into the store; gives what it is called there.
async fn fetched(
    global: &GlobalArguments,
    engine: &EmbeddedEngine,
    source: Source,
    client: ClientSettings,
    outside: &Outside,
) -> Result<String, Failure> {
    let bars = Arc::new(Bars::new(global.quiet));
    let transfer = Transfer {
        client: Client::new(client),
        selected: Selected::default(),
        scratch: Scratch { folder: engine.store().path().to_owned(), limit: global.unpack_limit },
        bars: &bars,
        outside,
    };
    let to = Destination::Store(engine.store().clone(), source.name());
    let transferred = transfer.run(&source, &to).await;
    bars.clear();
    let digest = transferred?.descriptor.digest;
    match source.name() {
        Some(name) => Ok(name.to_string()),
        None => engine.store().id_of(&digest).map(|id| id.to_string()).map_err(failed),
    }
}

async fn in_foreground(
    engine: &EmbeddedEngine,
    id: &ContainerId,
    spec: &ContainerSpec,
    outside: &Outside,
) -> Result<i64, EngineError> {
    let streams = engine.attach_streams(id, console::size().filter(|_| spec.tty))?;
    engine.start(id).await?;
    // From here on every key is the container's.
    let _raw = if spec.tty && spec.standard_input { RawTerminal::take().ok() } else { None };
    let copies = hand_on(streams);
    let ended = tokio::select! {
        ended = engine.wait(id) => ended,
        () = outside.interrupted() => match engine.stop(id, STOP_GRACE).await {
            Ok(()) => engine.wait(id).await,
            Err(error) => Err(error),
        },
    };
    for copy in copies {
        // What could not be written has nobody left who reads it.
        let _ = copy.await;
    }
    ended
}
