//! `docker-slim run`: a container of the embedded engine, in the foreground or detached.

use super::containers::{failed, with_embedded};
use super::transfer::{Destination, Source, Transfer, no_form};
use super::with_registry::Bars;
use crate::arguments::{GlobalArguments, PullPolicy, RunArguments};
use crate::console::{self, RawTerminal};
use crate::failure::Failure;
use crate::outside::Outside;
use crate::settings::{self, Selected, is_id};
use slim_build::{BuildError, Person};
use slim_engine::embedded::{Control, Streams};
use slim_engine::{ContainerId, ContainerSpec, EmbeddedEngine, Engine, EngineError};
use slim_image::Location;
use slim_image::location::{EngineKind, LocationError};
use slim_image::reference::ReferenceError;
use slim_registry::{Client, ClientSettings};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

/// `docker stop`'s own.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Runs it; its exit code is ours, if we wait for it.
pub fn run(global: &GlobalArguments, arguments: &RunArguments) -> Result<(), Failure> {
    let run = settings::this_run()?;
    let settings::RunSettings { mut spec, pull, client } =
        settings::run(arguments, |word| super::policy::seccomp_text(global, &arguments.fetch.client, word))?;
    if arguments.interactive && arguments.tty && !arguments.detach && !console::is_there() {
        let failure = Failure::usage("hand a terminal on: standard input is none");
        return Err(failure.with_hint("leave -t away where input is piped"));
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
            Source::Registry(reference)
        }
        other => Source::at(global, other, async |name| Err(no_form(&name))).await?,
    };
    let bars = Arc::new(Bars::new(global.quiet));
    let transfer = Transfer {
        client: Client::new(client),
        selected: Selected::default(),
        scratch: engine.store().path().to_owned(),
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

/// Connects the container's streams with ours; what is to be waited for.
fn hand_on(streams: Streams) -> Vec<JoinHandle<()>> {
    let Streams { input, output, errors, control } = streams;
    if let Some(input) = input {
        // It may wait for a person long after the container has ended: nobody waits for it.
        std::thread::spawn(move || copy(io::stdin().as_fd().try_clone_to_owned(), input));
    }
    tokio::spawn(follow_size(control));
    let to_output = io::stdout().as_fd().try_clone_to_owned();
    let to_errors = io::stderr().as_fd().try_clone_to_owned();
    let mut copies =
        vec![tokio::task::spawn_blocking(move || to_output.map_or((), |to| copy(Ok(output), to)))];
    if let Some(errors) = errors {
        copies.push(tokio::task::spawn_blocking(move || to_errors.map_or((), |to| copy(Ok(errors), to))));
    }
    copies
}

/// Either side may hang up at any time.
fn copy(from: io::Result<OwnedFd>, to: OwnedFd) {
    if let Ok(from) = from {
        let _ = io::copy(&mut File::from(from), &mut File::from(to));
    }
}

async fn follow_size(control: Control) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
    while changes.recv().await.is_some() {
        if let Some(size) = console::size() {
            control.resize(size);
        }
    }
}
