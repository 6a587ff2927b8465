//! Counting and hashing what is written or read.

use crate::digest::Digest;
use sha2::{Digest as _, Sha256};
use std::io::{self, Read, Write};

/// Passes bytes on and knows their digest and number.
#[derive(Debug)]
pub(crate) struct Hashing<T> {
    inner: T,
    hasher: Sha256,
    length: u64,
}

impl<T> Hashing<T> {
    pub(crate) fn new(inner: T) -> Self {
        Self { inner, hasher: Sha256::new(), length: 0 }
    }

    /// What was passed on to, the digest of the bytes, and how many they were.
    pub(crate) fn finish(self) -> (T, Digest, u64) {
        (self.inner, Digest::from_bytes(self.hasher.finalize().into()), self.length)
    }

    /// The digest of what has passed so far.
    pub(crate) fn digest(&self) -> Digest {
        Digest::from_bytes(self.hasher.clone().finalize().into())
    }

    /// How many bytes have passed so far.
    pub(crate) fn length(&self) -> u64 {
        self.length
    }

    /// What is passed on to or from, past the hash.
    pub(crate) fn inner(&mut self) -> &mut T {
        &mut self.inner
    }

    fn note(&mut self, bytes: &[u8]) {
        self.hasher.update(bytes);
        self.length += bytes.len() as u64;
    }
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.note(&bytes[..written]);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.note(&buffer[..read]);
        Ok(read)
    }
}

/// The digest and length of everything that a reader gives.
///
/// # Errors
/// Those of the reader.
pub(crate) fn digest_of(input: impl Read) -> io::Result<(Digest, u64)> {
    let mut hashing = Hashing::new(input);
    // 64 KiB at a time: the hash is the bound, not the system calls.
    let mut buffer = vec![0; 64 << 10];
    while match hashing.read(&mut buffer) {
        Ok(read) => read > 0,
        Err(error) if error.kind() == io::ErrorKind::Interrupted => true,
        Err(error) => return Err(error),
    } {}
    let (_, digest, length) = hashing.finish();
    Ok((digest, length))
}
