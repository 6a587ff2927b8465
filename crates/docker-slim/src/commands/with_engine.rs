//! What every command does that works with an engine: connects, sweeps what dead runs left, listens to signals.

use super::choice::{self, Wanted};
use crate::arguments::GlobalArguments;
use crate::failure::Failure;
use crate::outside::Outside;
use crate::terminal::Terminal;
use slim_build::{BuildError, Event, Progress};
use slim_engine::{Engine, Run};
use std::time::Duration;

/// How long blocking workers may still take after everything has been cleaned up.
const SHUTDOWN: Duration = Duration::from_secs(2);

/// Does the work on a runtime of its own. `wanted`: what is known of the image.
pub fn with_engine<T>(
    global: &GlobalArguments,
    run: &Run,
    wanted: Wanted<'_>,
    work: impl AsyncFnOnce(&dyn Engine, &Terminal, &Outside) -> Result<T, Failure>,
) -> Result<T, Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::from(BuildError::Bug(format!("start the async runtime: {error}"))))?;
    let done = runtime.block_on(async {
        let outside =
            Outside::new().map_err(|error| BuildError::Bug(format!("install signal handlers: {error}")))?;
        let terminal = Terminal::new(global.quiet);
        let engine = choice::choose(global, wanted, &terminal).await?;
        for error in slim_engine::sweep(engine.as_ref(), run).await.errors {
            terminal.tell(Event::Notice(format!("could not remove what a dead run left: failed to {error}")));
        }
        work(engine.as_ref(), &terminal, &outside).await
    });
    runtime.shutdown_timeout(SHUTDOWN);
    done
}
