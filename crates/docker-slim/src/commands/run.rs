//! `docker-slim run`: a container of the embedded engine in the foreground, removed at its end.

use crate::arguments::{ClientArguments, EngineName, GlobalArguments, RunArguments};
use crate::failure::Failure;
use crate::outside::Outside;
use crate::settings;
use slim_build::{BuildError, Person};
use slim_engine::embedded::{Store, Stream};
use slim_engine::{ContainerId, ContainerSpec, EmbeddedEngine, Engine, EngineError};
use std::io::Write;
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
    let policy = |word: &str| super::policy::seccomp_text(global, &ClientArguments::none(), word);
    let spec = ContainerSpec { labels: run.labels(), ..settings::run(arguments, policy)? };
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
