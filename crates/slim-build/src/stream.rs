//! An archive as a stream for an engine, written by a thread of its own while the engine reads.

use std::io::{self, BufWriter, Write};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, DuplexStream, ReadBuf};
use tokio_util::io::SyncIoBridge;

/// Bytes of the archive on their way from its writer to the engine.
const PIPE_BYTES: usize = 1 << 20;

/// What `write` writes. Where it fails, so does the reader, at the end.
pub fn written_by(
    write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
) -> Box<dyn AsyncRead + Send + Unpin> {
    let (writer, stream) = tokio::io::duplex(PIPE_BYTES);
    let writer = SyncIoBridge::new(writer);
    let failure = Arc::default();
    let reader = Archive { stream, failure: Arc::clone(&failure) };
    tokio::task::spawn_blocking(move || {
        let mut output = BufWriter::with_capacity(PIPE_BYTES, writer);
        let written = write(&mut output).and_then(|()| output.flush());
        if let Err(error) = written {
            // Told where the reader meets the end. An engine that stops reading does not: it says why in its answer.
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
        }
    });
    Box::new(reader)
}

/// The reader's side of the archive: its end is an error where the writer failed.
struct Archive {
    stream: DuplexStream,
    failure: Arc<Mutex<Option<io::Error>>>,
}

impl AsyncRead for Archive {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if matches!(polled, Poll::Ready(Ok(()))) && buffer.filled().len() == before {
            let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).take();
            return Poll::Ready(failure.map_or(Ok(()), Err));
        }
        polled
    }
}
