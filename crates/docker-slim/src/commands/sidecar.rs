//! `docker-slim sidecar`: watches and reaches containers from beside them, over standard input and output. Hidden; started
//! by a build in a container of its own on the engine's machine.

use crate::failure::Failure;
use slim_build::BuildError;
use std::fs::File;
use std::os::fd::AsFd;
use std::time::Duration;

/// Observers that are just ending may take so long: what they stopped must go on.
const SHUTDOWN: Duration = Duration::from_secs(10);

/// Serves until the other side is gone.
pub fn run() -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::from(BuildError::Bug(format!("start the async runtime: {error}"))))?;
    let (input, output) = (stream(&std::io::stdin())?, stream(&std::io::stdout())?);
    let served = runtime.block_on(slim_sidecar::serve(input, output));
    runtime.shutdown_timeout(SHUTDOWN);
    served.map_err(|error| Failure::new(error.to_string(), 1))
}

/// One of the standard streams, without a buffer that others share.
fn stream(standard: &impl AsFd) -> Result<tokio::fs::File, Failure> {
    let own = standard.as_fd().try_clone_to_owned();
    let own = own.map_err(|error| Failure::new(format!("use the standard streams: {error}"), 1))?;
    Ok(tokio::fs::File::from_std(File::from(own)))
}
