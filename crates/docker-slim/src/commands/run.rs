//! `docker-slim run`: a container of the embedded engine in the foreground, removed at its end.

use super::transfer::{Destination, Source, Transfer, no_form};
use super::with_registry::Bars;
use crate::arguments::{EngineName, GlobalArguments, PullPolicy, RunArguments};
use crate::failure::Failure;
use crate::outside::Outside;
use crate::settings::{self, Selected, is_id};
use slim_build::{BuildError, Person};
use slim_engine::embedded::{Store, Stream};
use slim_engine::{ContainerId, ContainerSpec, EmbeddedEngine, Engine, EngineError};
use slim_image::Location;
use slim_image::location::{EngineKind, LocationError};
use slim_image::reference::ReferenceError;
use slim_registry::{Client, ClientSettings};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

/// `docker stop`'s own.
const STOP_GRACE: Duration = Duration::from_secs(10);

/// Runs it; its exit code is ours.
pub fn run(global: &GlobalArguments, arguments: &RunArguments) -> Result<(), Failure> {
    if global.engine == Some(EngineName::Docker) || settings::flags_name_an_address(global) {
        return Err(Failure::usage("run the container with Docker: this command is the embedded engine's")
            .with_hint("docker run does that"));
    }
    let run = settings::this_run()?;
    let settings::RunSettings { spec, pull, client } = settings::run(arguments)?;
    let mut spec = ContainerSpec { labels: run.labels(), ..spec };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::from(BuildError::Bug(format!("start the async runtime: {error}"))))?;
    let code = runtime.block_on(async {
        let outside =
            Outside::new().map_err(|error| BuildError::Bug(format!("install signal handlers: {error}")))?;
        let store = Store::open(&settings::store_root(global)).map_err(failed)?;
        let engine = EmbeddedEngine::new(store, settings::OWN_BINARY);
        for error in slim_engine::sweep(&engine, &run).await.errors {
            tracing::warn!("could not remove what a dead run left: failed to {error}");
        }
        spec.image = image(global, &engine, &spec.image, pull, client, &outside).await?;
        let id = engine.create(&spec).await.map_err(failed)?;
        let ended = in_foreground(&engine, &id, &outside).await;
        let removed = engine.remove(&id, true).await;
        let code = ended.map_err(failed)?;
        removed.map_err(failed)?;
        Ok::<i64, Failure>(code)
    });
    runtime.shutdown_timeout(Duration::from_secs(2));
    match code? {
        0 => Ok(()),
        code => Err(Failure::silent(u8::try_from(code).unwrap_or(u8::MAX))),
    }
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

fn failed(error: EngineError) -> Failure {
    Failure::from(BuildError::from(error))
}

async fn in_foreground(
    engine: &EmbeddedEngine,
    id: &ContainerId,
    outside: &Outside,
) -> Result<i64, EngineError> {
    engine.start(id).await?;
    let mut followed = std::pin::pin!(engine.follow(id, |stream, bytes| {
        // Nobody is left to be told when the stream is closed.
        let _ = match stream {
            Stream::Output => {
                std::io::stdout().lock().write_all(bytes).and_then(|()| std::io::stdout().flush())
            }
            Stream::Errors => std::io::stderr().lock().write_all(bytes),
        };
    }));
    tokio::select! {
        ended = &mut followed => return ended,
        () = outside.interrupted() => {}
    }
    let (stopped, ended) = tokio::join!(engine.stop(id, STOP_GRACE), &mut followed);
    stopped?;
    ended
}
