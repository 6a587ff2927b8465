//! What a container's program wrote, in a file of frames: the stream (1 output, 2 errors), the length as a big-endian u32,
//! the bytes. Version 1; the version is in the file's name.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::ControlFlow;
use std::path::Path;

const HEADER: usize = 5;
/// No frame that we write is longer.
pub(super) const FRAME_BYTES: usize = 64 << 10;

/// Which of the two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Output,
    Errors,
}

/// Appends a frame of at most [`FRAME_BYTES`].
pub(super) fn append(file: &mut File, stream: Stream, bytes: &[u8]) -> io::Result<()> {
    let mut frame = Vec::with_capacity(HEADER + bytes.len());
    frame.push(if stream == Stream::Output { 1 } else { 2 });
    frame.extend(u32::try_from(bytes.len()).map_err(io::Error::other)?.to_be_bytes());
    frame.extend(bytes);
    file.write_all(&frame)
}

/// Both streams as they came, the last `most` bytes; nothing where nothing was written.
pub(super) fn read(path: &Path, most: usize) -> io::Result<Vec<u8>> {
    let mut kept = VecDeque::new();
    let _to_the_end = follow(path, 0, &mut |_, bytes| {
        kept.extend(bytes);
        let excess = kept.len().saturating_sub(most);
        kept.drain(..excess);
        ControlFlow::Continue(())
    })?;
    Ok(kept.into())
}

/// Who is handed frames; ends that when nobody listens any more.
pub(super) type Listener<'a> = dyn FnMut(Stream, &[u8]) -> ControlFlow<()> + 'a;

/// Hands on the whole frames behind a position, until the listener breaks off; gives the position behind them.
pub(super) fn follow(path: &Path, from: u64, each: &mut Listener<'_>) -> io::Result<ControlFlow<(), u64>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(ControlFlow::Continue(from)),
        file => file?,
    };
    file.seek(SeekFrom::Start(from))?;
    let mut input = BufReader::with_capacity(2 * FRAME_BYTES, file);
    let mut position = from;
    loop {
        let mut header = [0; HEADER];
        if !filled(&mut input, &mut header)? {
            return Ok(ControlFlow::Continue(position));
        }
        let length = u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize;
        let stream = match header[0] {
            1 => Stream::Output,
            2 => Stream::Errors,
            _ => return Err(io::Error::new(io::ErrorKind::InvalidData, "the log is damaged")),
        };
        if length > FRAME_BYTES {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the log is damaged"));
        }
        let mut bytes = vec![0; length];
        if !filled(&mut input, &mut bytes)? {
            return Ok(ControlFlow::Continue(position));
        }
        position += (HEADER + length) as u64;
        if each(stream, &bytes).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
}

/// Whether so many bytes were there: the last frame may be on its way.
fn filled(input: &mut impl Read, buffer: &mut [u8]) -> io::Result<bool> {
    match input.read_exact(buffer) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        read => read.map(|()| true),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_told_apart_and_read_together() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        assert_eq!(read(&path, 99).unwrap(), b"", "nothing was written yet");
        let mut file = File::create(&path).unwrap();
        append(&mut file, Stream::Output, b"one\n").unwrap();
        append(&mut file, Stream::Errors, b"two\n").unwrap();
        assert_eq!(read(&path, 99).unwrap(), b"one\ntwo\n");
        assert_eq!(read(&path, 5).unwrap(), b"\ntwo\n");
        let mut seen = Vec::new();
        let behind = follow(&path, 9, &mut |stream, bytes| {
            seen.push((stream, bytes.to_vec()));
            ControlFlow::Continue(())
        });
        let ControlFlow::Continue(behind) = behind.unwrap() else { panic!("nobody broke off") };
        assert_eq!(seen, [(Stream::Errors, b"two\n".to_vec())]);
        // Half a frame waits for its rest.
        file.write_all(&[1, 0, 0, 0, 9, b'x']).unwrap();
        let waiting = follow(&path, behind, &mut |_, _| panic!("no frame is whole")).unwrap();
        assert_eq!(waiting, ControlFlow::Continue(behind));
        // Whoever does not want any more gets no more.
        let mut heard = 0;
        let broken_off = follow(&path, 0, &mut |_, _| {
            heard += 1;
            ControlFlow::Break(())
        });
        assert_eq!((broken_off.unwrap(), heard), (ControlFlow::Break(()), 1));
    }

    #[test]
    fn a_damaged_log_is_an_error_and_no_flood() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        for bytes in [&[7, 0, 0, 0, 1, b'x'][..], &[1, 255, 255, 255, 255, b'x']] {
            std::fs::write(&path, bytes).unwrap();
            assert!(read(&path, 99).unwrap_err().to_string().contains("damaged"));
        }
    }
}
