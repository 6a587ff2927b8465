//! Frames: what the two byte streams are made of.

use super::{CollectorError, End, RemoteError};
use crate::digest::Digest;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read, Write};

/// The largest payload.
pub(super) const PAYLOAD_LIMIT: usize = 1 << 20;
/// How much data goes in one frame.
const DATA: usize = 256 << 10;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FrameKind {
    Hello,
    List,
    Read,
    ReadEach,
    Bye,
    Data,
    End,
    Error,
}

const KINDS: [(FrameKind, u8); 8] = [
    (FrameKind::Hello, b'H'),
    (FrameKind::List, b'L'),
    (FrameKind::Read, b'R'),
    (FrameKind::ReadEach, b'E'),
    (FrameKind::Bye, b'B'),
    (FrameKind::Data, b'd'),
    (FrameKind::End, b'e'),
    (FrameKind::Error, b'x'),
];

impl FrameKind {
    pub(super) fn letter(self) -> u8 {
        KINDS.iter().find(|(kind, _)| *kind == self).expect("every kind has a letter").1
    }
}

/// One frame as it arrived.
#[derive(Debug)]
pub(super) struct Frame {
    pub kind: FrameKind,
    pub payload: Vec<u8>,
}

impl Frame {
    /// The payload as a message.
    pub(super) fn message<T: DeserializeOwned>(&self) -> Result<T, CollectorError> {
        serde_json::from_slice(&self.payload).map_err(|error| CollectorError::Message(error.to_string()))
    }

    /// What is wrong when this frame comes where `expected` should.
    pub(super) fn unexpected(&self, expected: &'static str) -> CollectorError {
        match self.kind {
            FrameKind::Error => match self.message::<RemoteError>() {
                Ok(error) => CollectorError::Remote(error),
                Err(error) => error,
            },
            kind => CollectorError::Unexpected { expected, found: char::from(kind.letter()) },
        }
    }
}

/// Writes one frame; the caller flushes.
pub(super) fn write_frame(
    output: &mut dyn Write,
    kind: FrameKind,
    payload: &[u8],
) -> Result<(), CollectorError> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    if payload.len() > PAYLOAD_LIMIT {
        return Err(CollectorError::FrameTooLong(length));
    }
    let mut head = [kind.letter(); 9];
    head[1..5].copy_from_slice(&length.to_le_bytes());
    head[5..].copy_from_slice(&checksum(kind.letter(), payload).to_le_bytes());
    output.write_all(&head)?;
    output.write_all(payload)?;
    Ok(())
}

/// Writes a message as one frame; the caller flushes.
pub(super) fn write_message(
    output: &mut dyn Write,
    kind: FrameKind,
    message: &impl Serialize,
) -> Result<(), CollectorError> {
    let payload = serde_json::to_vec(message).map_err(|error| CollectorError::Message(error.to_string()))?;
    write_frame(output, kind, &payload)
}

/// The next frame; `None` when the stream ends before one begins.
pub(super) fn read_frame(input: &mut dyn Read) -> Result<Option<Frame>, CollectorError> {
    let mut head = [0; 9];
    if !fill(input, &mut head)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]);
    let stated = u32::from_le_bytes([head[5], head[6], head[7], head[8]]);
    if length as usize > PAYLOAD_LIMIT {
        return Err(CollectorError::FrameTooLong(length));
    }
    let mut payload = Vec::new();
    input.take(u64::from(length)).read_to_end(&mut payload)?;
    if payload.len() < length as usize {
        return Err(CollectorError::Ended);
    }
    if checksum(head[0], &payload) != stated {
        return Err(CollectorError::Checksum);
    }
    let (kind, _) = *KINDS
        .iter()
        .find(|(_, letter)| *letter == head[0])
        .ok_or(CollectorError::Unexpected { expected: "a frame of version 1", found: char::from(head[0]) })?;
    Ok(Some(Frame { kind, payload }))
}

/// Fills the buffer; false when the stream ends before the first byte.
fn fill(input: &mut dyn Read, buffer: &mut [u8]) -> Result<bool, CollectorError> {
    let mut filled = 0;
    while filled < buffer.len() {
        match input.read(&mut buffer[filled..]) {
            Ok(0) if filled == 0 => return Ok(false),
            Ok(0) => return Err(CollectorError::Ended),
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

fn checksum(letter: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&[letter]);
    hasher.update(payload);
    hasher.finalize()
}

/// Writes an answer: what is written to it goes out in data frames, the end frame with [`AnswerWriter::end`].
pub(super) struct AnswerWriter<'a> {
    output: &'a mut dyn Write,
    pending: Vec<u8>,
    hasher: Sha256,
    length: u64,
}

impl<'a> AnswerWriter<'a> {
    pub(super) fn new(output: &'a mut dyn Write) -> Self {
        Self { output, pending: Vec::with_capacity(DATA), hasher: Sha256::new(), length: 0 }
    }

    pub(super) fn end(mut self) -> Result<(), CollectorError> {
        self.send().map_err(CollectorError::Io)?;
        let sha256 = Digest::from_bytes(self.hasher.finalize().into());
        write_message(self.output, FrameKind::End, &End { length: self.length, sha256 })
    }

    fn send(&mut self) -> io::Result<()> {
        if !self.pending.is_empty() {
            write_frame(self.output, FrameKind::Data, &self.pending).map_err(io::Error::other)?;
            self.pending.clear();
        }
        Ok(())
    }
}

impl Write for AnswerWriter<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(DATA - self.pending.len());
        self.pending.extend_from_slice(&bytes[..taken]);
        self.hasher.update(&bytes[..taken]);
        self.length += taken as u64;
        if self.pending.len() == DATA {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads an answer: the data frames' bytes; the end of the stream comes only where the end frame agrees with them.
pub(super) struct AnswerReader<'a> {
    input: &'a mut dyn Read,
    /// More than this is refused.
    limit: u64,
    current: Vec<u8>,
    position: usize,
    hasher: Sha256,
    length: u64,
    state: State,
}

enum State {
    Going,
    Ended,
    Failed(Option<CollectorError>),
}

impl<'a> AnswerReader<'a> {
    pub(super) fn new(input: &'a mut dyn Read, limit: u64) -> Self {
        Self {
            input,
            limit,
            current: Vec::new(),
            position: 0,
            hasher: Sha256::new(),
            length: 0,
            state: State::Going,
        }
    }

    /// All bytes of the answer.
    pub(super) fn bytes(mut self) -> Result<Vec<u8>, CollectorError> {
        let mut bytes = Vec::new();
        while self.advance()? {
            bytes.append(&mut self.current);
        }
        Ok(bytes)
    }

    /// What broke the answer off; the reader's `io::Error` was only a stand-in for it.
    pub(super) fn failure(&mut self) -> Option<CollectorError> {
        if let State::Failed(failure) = &mut self.state { failure.take() } else { None }
    }

    /// Reads the answer to its end, so that the next answer can follow.
    pub(super) fn drain(&mut self) -> Result<(), CollectorError> {
        while matches!(self.state, State::Going) && self.advance()? {}
        Ok(())
    }

    /// Takes the next data frame in; false at the end.
    fn advance(&mut self) -> Result<bool, CollectorError> {
        let frame = read_frame(self.input)?.ok_or(CollectorError::Ended)?;
        match frame.kind {
            FrameKind::Data => {
                self.length += frame.payload.len() as u64;
                if self.length > self.limit {
                    return Err(CollectorError::TooMuch(self.limit));
                }
                self.hasher.update(&frame.payload);
                self.current = frame.payload;
                self.position = 0;
                Ok(true)
            }
            FrameKind::End => {
                let end: End = frame.message()?;
                let found = Digest::from_bytes(std::mem::take(&mut self.hasher).finalize().into());
                if (end.length, end.sha256) != (self.length, found) {
                    return Err(CollectorError::Damaged { announced: end.length, found: self.length });
                }
                self.state = State::Ended;
                Ok(false)
            }
            _ => Err(frame.unexpected("data")),
        }
    }
}

impl Read for AnswerReader<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.position == self.current.len() {
            if !matches!(self.state, State::Going) {
                return Ok(0);
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return Ok(0),
                Err(error) => {
                    let text = error.to_string();
                    self.state = State::Failed(Some(error));
                    return Err(io::Error::other(text));
                }
            }
        }
        let taken = buffer.len().min(self.current.len() - self.position);
        buffer[..taken].copy_from_slice(&self.current[self.position..self.position + taken]);
        self.position += taken;
        Ok(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn answer(bytes: &[u8]) -> Vec<u8> {
        let mut stream = Vec::new();
        let mut writer = AnswerWriter::new(&mut stream);
        writer.write_all(bytes).unwrap();
        writer.end().unwrap();
        stream
    }

    #[test]
    fn an_answer_longer_than_asked_for_is_refused() {
        let stream = answer(&[1; 1000]);
        let result = AnswerReader::new(&mut &stream[..], 999).bytes();
        assert!(matches!(result, Err(CollectorError::TooMuch(999))));
    }

    #[test]
    fn a_frame_longer_than_the_limit_is_refused_before_it_is_read() {
        let mut head = vec![b'd'];
        head.extend_from_slice(&u32::MAX.to_le_bytes());
        head.extend_from_slice(&[0; 4]);
        assert!(matches!(read_frame(&mut &head[..]), Err(CollectorError::FrameTooLong(u32::MAX))));
    }

    proptest! {
        #[test]
        fn an_answer_arrives_whole(length in 0..700_000_usize) {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            let stream = answer(&bytes);
            prop_assert_eq!(AnswerReader::new(&mut &stream[..], length as u64).bytes().unwrap(), bytes);
        }

        #[test]
        fn an_answer_cut_off_anywhere_is_an_error(length in 0..3000_usize, cut in any::<prop::sample::Index>()) {
            let stream = answer(&vec![5; length]);
            let cut = cut.index(stream.len());
            prop_assert!(AnswerReader::new(&mut &stream[..cut], 1 << 20).bytes().is_err());
        }

        #[test]
        fn a_changed_byte_never_goes_unnoticed(
            length in 1..3000_usize, at in any::<prop::sample::Index>(), change in 1..=255_u8
        ) {
            let mut stream = answer(&vec![5; length]);
            let at = at.index(stream.len());
            stream[at] ^= change;
            prop_assert!(AnswerReader::new(&mut &stream[..], 1 << 20).bytes().is_err());
        }

        #[test]
        fn bytes_from_strangers_give_errors_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(AnswerReader::new(&mut &bytes[..], 100).bytes().is_err());
        }
    }
}
