//! What a container's program wrote: read once, or followed to its end.

use super::log::{self, Stream};
use super::{EmbeddedEngine, Result, refused};
use crate::engine::{ContainerId, Engine, Logs};
use std::ops::ControlFlow;
use std::time::Duration;

/// Kept of a log.
const LOG_BYTES: usize = 16 << 20;

impl EmbeddedEngine {
    pub(super) fn read_log(&self, id: &ContainerId, tail: Option<usize>) -> Result<Logs> {
        let (folder, record) = self.known(id, "read the log of")?;
        if !record.keeps_log {
            let unreadable = Some("the container's log is not kept (log driver none)".to_owned());
            return Ok(Logs { bytes: Vec::new(), unreadable });
        }
        let mut bytes =
            log::read(&folder.log(), LOG_BYTES).map_err(|error| refused("read the log of", id, &error))?;
        if let Some(lines) = tail {
            bytes.drain(..start_of_last_lines(&bytes, lines));
        }
        Ok(Logs { bytes, unreadable: None })
    }

    /// Hands on what a container's program has written by now, until the listener breaks off.
    ///
    /// # Errors
    /// No such container, or one whose log is not kept.
    pub async fn written(
        &self,
        id: &ContainerId,
        mut each: impl FnMut(Stream, &[u8]) -> ControlFlow<()> + Send,
    ) -> Result<()> {
        let (folder, record) = self.known(id, "read the log of")?;
        let failed = |error: std::io::Error| refused("read the log of", id, &error);
        if !record.keeps_log {
            return Err(failed(std::io::Error::other("it is not kept (log driver none)")));
        }
        log::follow(&folder.log(), 0, &mut each).map(drop).map_err(failed)
    }

    /// Hands on what a started container's program writes, until it has ended; its exit code. `None`: the listener broke off.
    ///
    /// # Errors
    /// When the container is gone.
    pub async fn follow(
        &self,
        id: &ContainerId,
        mut each: impl FnMut(Stream, &[u8]) -> ControlFlow<()> + Send,
    ) -> Result<Option<i64>> {
        const LOOK: Duration = Duration::from_millis(20);
        let path = self.store.container(id.as_str()).log();
        let mut position = 0;
        let mut over = std::pin::pin!(self.wait(id));
        loop {
            // What was written before the end is there once the end is known.
            let ended = tokio::time::timeout(LOOK, &mut over).await.ok();
            let followed = log::follow(&path, position, &mut each);
            match followed.map_err(|error| refused("read the log of", id, &error))? {
                ControlFlow::Continue(behind) => position = behind,
                ControlFlow::Break(()) => return Ok(None),
            }
            if let Some(code) = ended {
                return code.map(Some);
            }
        }
    }
}

/// Where the last so many lines begin.
fn start_of_last_lines(bytes: &[u8], lines: usize) -> usize {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let breaks = text.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    match lines {
        0 => bytes.len(),
        _ => breaks.take(lines).nth(lines - 1).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_lines_of_a_log_are_found() {
        let log = b"one\ntwo\nthree\n";
        assert_eq!(&log[start_of_last_lines(log, 1)..], b"three\n");
        assert_eq!(&log[start_of_last_lines(log, 2)..], b"two\nthree\n");
        assert_eq!(start_of_last_lines(log, 9), 0);
        assert_eq!(&log[start_of_last_lines(log, 0)..], b"");
    }
}
