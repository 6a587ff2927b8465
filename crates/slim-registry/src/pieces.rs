//! Files as streams of pieces.

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use std::io;
use tokio::fs::File;
use tokio::io::AsyncReadExt;

/// What is read at once.
const PIECE: usize = 256 << 10;

/// The next so many bytes of a file. That it ends before is an error.
pub(crate) fn of_file(file: File, length: u64) -> BoxStream<'static, io::Result<Bytes>> {
    stream::try_unfold((file, length), |(mut file, left)| async move {
        if left == 0 {
            return Ok(None);
        }
        let mut piece = vec![0; PIECE.min(usize::try_from(left).unwrap_or(PIECE))];
        let read = file.read(&mut piece).await?;
        if read == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "it is shorter than it should be"));
        }
        piece.truncate(read);
        Ok(Some((Bytes::from(piece), (file, left - read as u64))))
    })
    .boxed()
}
