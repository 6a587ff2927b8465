//! Runs the collector: a second, never observed container of an image, with our own static binary copied in, whose
//! standard streams carry requests in and the image's contents out.
//!
//! Invariants, each tried (design decision 6): user 0:0; log driver `none` (json-file writes six times the stream to
//! disk); no network; no health check; no terminal; working folder `/` (the engine would create a missing one, and the
//! image would seem to hold it); removed with its volumes.

use crate::engine::{ContainerId, Engine};
use crate::error::EngineError;
use crate::spec::{ContainerSpec, HealthCheck, Overrides};
use crate::streams::{Attached, Diagnostics};
use std::collections::BTreeMap;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::PathBuf;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::io::SyncIoBridge;

/// How much is read from the engine's connection at a time.
const BUFFER_BYTES: usize = 256 * 1024;

/// What to run.
#[derive(Clone, Debug)]
pub struct CollectorSpec {
    /// Reference or id of the image.
    pub image: String,
    /// The static binary on this machine.
    pub binary: PathBuf,
    /// Its name in the root folder of the container; random, beginning with a dot, no slash.
    pub file_name: String,
    /// Its arguments.
    pub arguments: Vec<String>,
    /// The run's labels.
    pub labels: BTreeMap<String, String>,
}

/// A collector at work. Its streams block: use them off the async threads.
pub struct Collector {
    pub id: ContainerId,
    pub input: CollectorInput,
    pub output: BufReader<SyncIoBridge<Box<dyn AsyncRead + Send + Unpin>>>,
    /// What it wrote to standard error, filled while `output` is read.
    pub diagnostics: Diagnostics,
}

/// The collector's standard input.
pub struct CollectorInput(BufWriter<SyncIoBridge<Box<dyn AsyncWrite + Send + Unpin>>>);

impl CollectorInput {
    /// Writes what is buffered and ends the stream; the collector's output goes on.
    ///
    /// # Errors
    /// Those of the connection.
    pub fn finish(&mut self) -> io::Result<()> {
        self.0.flush()?;
        self.0.get_mut().shutdown()
    }
}

impl Write for CollectorInput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Makes and starts a collector. Whoever has it removes its container with [`Engine::remove`] by force; until then,
/// here, every failure removes it.
///
/// # Errors
/// Those of the engine's verbs, and a binary that cannot be read.
pub async fn start_collector(engine: &dyn Engine, spec: &CollectorSpec) -> Result<Collector, EngineError> {
    let archive = archive_of_binary(spec)?;
    let id = engine.create(&container_spec(spec)).await?;
    match attach_and_start(engine, &id, archive).await {
        Ok(attached) => Ok(Collector {
            id,
            input: CollectorInput(BufWriter::with_capacity(BUFFER_BYTES, SyncIoBridge::new(attached.input))),
            output: BufReader::with_capacity(BUFFER_BYTES, SyncIoBridge::new(attached.output)),
            diagnostics: attached.diagnostics,
        }),
        Err(error) => {
            if let Err(second) = engine.remove(&id, true).await {
                tracing::warn!(%id, error = %second, "collector left behind");
            }
            Err(error)
        }
    }
}

async fn attach_and_start(
    engine: &dyn Engine,
    id: &ContainerId,
    archive: Vec<u8>,
) -> Result<Attached, EngineError> {
    engine.copy_in(id, "/", archive).await?;
    let attached = engine.attach(id).await?;
    engine.start(id).await?;
    Ok(attached)
}

fn container_spec(spec: &CollectorSpec) -> ContainerSpec {
    ContainerSpec {
        image: spec.image.clone(),
        labels: spec.labels.clone(),
        overrides: Overrides {
            entrypoint: Some(vec![format!("/{}", spec.file_name)]),
            cmd: Some(spec.arguments.clone()),
            user: Some("0:0".to_owned()),
            workdir: Some("/".to_owned()),
            network: Some("none".to_owned()),
            ..Overrides::default()
        },
        health_check: HealthCheck::Off,
        log_driver: Some("none".to_owned()),
        standard_input: true,
        ..ContainerSpec::default()
    }
}

/// The binary as a tar archive of one file.
fn archive_of_binary(spec: &CollectorSpec) -> Result<Vec<u8>, EngineError> {
    let fault = |source: io::Error| EngineError::File { path: spec.binary.clone(), source };
    let mut contents = Vec::new();
    let mut file = std::fs::File::open(&spec.binary).map_err(fault)?;
    file.read_to_end(&mut contents).map_err(fault)?;
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(tar::EntryType::Regular);
    header.set_mode(0o755);
    header.set_size(contents.len() as u64);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    let mut builder = tar::Builder::new(Vec::with_capacity(contents.len() + 4096));
    builder.append_data(&mut header, &spec.file_name, contents.as_slice()).map_err(fault)?;
    builder.into_inner().map_err(fault)
}
