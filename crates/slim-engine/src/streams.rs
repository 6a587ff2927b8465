//! The engine's stream of a container's output: frames of stdout and stderr on one connection, taken apart.
//!
//! A frame is `[kind, 0, 0, 0, length as u32 big-endian]` and its bytes (Docker API, "Attach to a container"). With a
//! terminal there are no frames. Payload goes straight from the connection into the reader's buffer.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};

/// How much of stderr is kept.
const DIAGNOSTICS_BYTES: usize = 64 * 1024;
const HEADER: usize = 8;

/// A container's streams.
pub struct Attached {
    /// Its standard input: `shutdown` ends it. Writing to a container that has ended is a broken pipe.
    pub input: Box<dyn AsyncWrite + Send + Unpin>,
    /// Its standard output, byte for byte. Ends without an error only where the engine ended it between two frames.
    pub output: Box<dyn AsyncRead + Send + Unpin>,
    /// Its standard error, filled while `output` is read.
    pub diagnostics: Diagnostics,
}

/// The last 64 KiB of a container's standard error. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Diagnostics {
    tail: Arc<Mutex<VecDeque<u8>>>,
}

impl Diagnostics {
    /// What is there by now.
    #[must_use]
    pub fn text(&self) -> String {
        let tail = self.tail.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let bytes: Vec<u8> = tail.iter().copied().collect();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    pub(crate) fn push(&self, bytes: &[u8]) {
        let mut tail = self.tail.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        push_bounded(&mut tail, bytes, DIAGNOSTICS_BYTES);
    }
}

/// Appends, and forgets what is oldest beyond the limit.
fn push_bounded(tail: &mut VecDeque<u8>, bytes: &[u8], limit: usize) {
    let bytes = &bytes[bytes.len().saturating_sub(limit)..];
    let excess = (tail.len() + bytes.len()).saturating_sub(limit);
    tail.drain(..excess);
    tail.extend(bytes);
}

/// Where in the stream we are.
enum State {
    /// So many bytes of a frame's header are there.
    Header([u8; HEADER], usize),
    /// So many bytes of stdout are to come.
    Output(usize),
    /// So many bytes of stderr are to come.
    Error(usize),
}

/// Standard output of a framed stream; standard error goes to [`Diagnostics`].
pub(crate) struct Demultiplexer<R> {
    inner: R,
    state: State,
    diagnostics: Diagnostics,
}

impl<R: AsyncRead + Unpin> Demultiplexer<R> {
    pub(crate) fn new(inner: R, diagnostics: Diagnostics) -> Self {
        Self { inner, state: State::Header([0; HEADER], 0), diagnostics }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Demultiplexer<R> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if buffer.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            match &mut this.state {
                State::Header(header, filled) => {
                    let mut rest = ReadBuf::new(&mut header[*filled..]);
                    ready!(Pin::new(&mut this.inner).poll_read(context, &mut rest))?;
                    let read = rest.filled().len();
                    if read == 0 {
                        return Poll::Ready(if *filled == 0 { Ok(()) } else { Err(cut_short()) });
                    }
                    *filled += read;
                    if *filled == HEADER {
                        this.state = frame(*header)?;
                    }
                }
                State::Output(0) | State::Error(0) => this.state = State::Header([0; HEADER], 0),
                State::Output(left) => {
                    let read = ready!(poll_some(&mut this.inner, context, buffer, *left))?;
                    *left -= read;
                    return Poll::Ready(Ok(()));
                }
                State::Error(left) => {
                    let mut bytes = [0; 4096];
                    let mut piece = ReadBuf::new(&mut bytes);
                    let read = ready!(poll_some(&mut this.inner, context, &mut piece, *left))?;
                    *left -= read;
                    this.diagnostics.push(piece.filled());
                }
            }
        }
    }
}

/// Reads at most `limit` bytes, straight into the buffer; none is an error, since the frame promised them.
fn poll_some<R: AsyncRead + Unpin>(
    inner: &mut R,
    context: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
    limit: usize,
) -> Poll<io::Result<usize>> {
    let limit = limit.min(buffer.remaining());
    let mut part = ReadBuf::new(buffer.initialize_unfilled_to(limit));
    ready!(Pin::new(inner).poll_read(context, &mut part))?;
    let read = part.filled().len();
    if read == 0 {
        return Poll::Ready(Err(cut_short()));
    }
    buffer.advance(read);
    Poll::Ready(Ok(read))
}

fn frame(header: [u8; HEADER]) -> io::Result<State> {
    let length = u32::from_be_bytes([header[4], header[5], header[6], header[7]]) as usize;
    match header {
        [0 | 1, 0, 0, 0, ..] => Ok(State::Output(length)),
        [2, 0, 0, 0, ..] => Ok(State::Error(length)),
        // The engine's own trouble with the stream (moby `pkg/stdcopy`, Systemerr).
        [3, 0, 0, 0, ..] => Ok(State::Error(length)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the engine's stream is not framed as it should be",
        )),
    }
}

fn cut_short() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the engine's stream ended in the middle of a frame")
}

/// Stdout and stderr of a command, each with its last bytes only.
pub(crate) async fn collect_split<R: AsyncRead + Unpin>(
    stream: R,
    limit: usize,
) -> io::Result<(Vec<u8>, Vec<u8>)> {
    let (mut output, mut error) = (VecDeque::new(), VecDeque::new());
    each_frame(stream, |kind, bytes| {
        let tail = if kind == 2 { &mut error } else { &mut output };
        push_bounded(tail, bytes, limit);
    })
    .await?;
    Ok((output.into(), error.into()))
}

/// Stdout and stderr in one, in order, the last bytes only. `framed` is false for a terminal's output.
pub(crate) async fn collect_merged<R: AsyncRead + Unpin>(
    mut stream: R,
    framed: bool,
    limit: usize,
) -> io::Result<Vec<u8>> {
    let mut tail = VecDeque::new();
    if framed {
        each_frame(stream, |_, bytes| push_bounded(&mut tail, bytes, limit)).await?;
        return Ok(tail.into());
    }
    let mut piece = vec![0; 32 * 1024];
    loop {
        let read = stream.read(&mut piece).await?;
        if read == 0 {
            return Ok(tail.into());
        }
        push_bounded(&mut tail, &piece[..read], limit);
    }
}

async fn each_frame<R: AsyncRead + Unpin>(mut stream: R, mut take: impl FnMut(u8, &[u8])) -> io::Result<()> {
    let mut piece = vec![0; 32 * 1024];
    loop {
        let mut header = [0; HEADER];
        if stream.read(&mut header[..1]).await? == 0 {
            return Ok(());
        }
        stream.read_exact(&mut header[1..]).await?;
        let mut left = match frame(header)? {
            State::Output(length) | State::Error(length) => length,
            State::Header(..) => 0,
        };
        while left > 0 {
            let want = left.min(piece.len());
            let read = stream.read(&mut piece[..want]).await?;
            if read == 0 {
                return Err(cut_short());
            }
            take(header[0], &piece[..read]);
            left -= read;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(frames: &[(u8, &[u8])]) -> Vec<u8> {
        let mut stream = Vec::new();
        for (kind, bytes) in frames {
            stream.extend([*kind, 0, 0, 0]);
            stream.extend((bytes.len() as u32).to_be_bytes());
            stream.extend(*bytes);
        }
        stream
    }

    #[tokio::test]
    async fn stdout_comes_out_byte_for_byte_and_stderr_apart() {
        let big: Vec<u8> = (0..100_000u32).map(|number| number as u8).collect();
        let stream = framed(&[(1, b"\x00\x01\x02"), (2, b"oh"), (1, b""), (1, &big), (2, b" no")]);
        for chunk in [1, 7, 4096] {
            let diagnostics = Diagnostics::default();
            // A reader that gives few bytes at a time cuts headers and payloads at every place.
            let slow = tokio_util::io::StreamReader::new(futures_util::stream::iter(
                stream
                    .chunks(chunk)
                    .map(|piece| Ok::<_, io::Error>(bytes::Bytes::copy_from_slice(piece)))
                    .collect::<Vec<_>>(),
            ));
            let mut output = Vec::new();
            Demultiplexer::new(slow, diagnostics.clone()).read_to_end(&mut output).await.unwrap();
            assert_eq!(output[..3], [0, 1, 2]);
            assert_eq!(output[3..], big);
            assert_eq!(diagnostics.text(), "oh no");
        }
    }

    #[tokio::test]
    async fn a_stream_cut_in_a_frame_is_an_error_and_not_an_end() {
        let stream = framed(&[(1, b"hello")]);
        for length in 1..stream.len() {
            let mut output = Vec::new();
            let error =
                Demultiplexer::new(&stream[..length], Diagnostics::default()).read_to_end(&mut output).await;
            assert_eq!(error.unwrap_err().kind(), io::ErrorKind::UnexpectedEof, "{length}");
            assert!(collect_split(&stream[..length], 10).await.is_err(), "{length}");
        }
    }

    #[tokio::test]
    async fn what_is_not_framed_is_refused() {
        let error =
            Demultiplexer::new(&b"hello, world"[..], Diagnostics::default()).read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }

    #[tokio::test]
    async fn only_the_last_bytes_are_kept() {
        let stream = framed(&[(1, b"abc"), (2, b"xyz"), (1, b"def")]);
        assert_eq!(collect_split(&stream[..], 4).await.unwrap(), (b"cdef".to_vec(), b"xyz".to_vec()));
        assert_eq!(collect_merged(&stream[..], true, 100).await.unwrap(), b"abcxyzdef");
        assert_eq!(collect_merged(&stream[..], true, 4).await.unwrap(), b"zdef");
        assert_eq!(collect_merged(&b"raw\x01"[..], false, 100).await.unwrap(), b"raw\x01");
        let diagnostics = Diagnostics::default();
        diagnostics.push(&vec![b'a'; DIAGNOSTICS_BYTES]);
        diagnostics.push(b"end");
        assert_eq!(diagnostics.text().len(), DIAGNOSTICS_BYTES);
        assert!(diagnostics.text().ends_with("aend"));
    }
}
