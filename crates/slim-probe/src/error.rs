//! Why a probe could not be made at all. That a request got no answer is no error: it stands in the outcome.

use std::io;

/// Why a probe, a replay or a wait ended without an outcome.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    #[error("probe the program: it was cancelled")]
    Cancelled,
    #[error("probe the program: it ended while it was being probed")]
    Died,
    #[error("start the thread that probes: {0}")]
    Thread(#[source] io::Error),
    #[error("set up TLS for the probe: {0}")]
    Tls(#[source] rustls::Error),
    #[error("read what listens in the network namespace of process {pid}: {source}")]
    Table { pid: i32, source: io::Error },
}
