//! Blobs on their way in and out, hashed while they pass.

use super::{Layout, LayoutError, failed};
use crate::digest::Digest;
use crate::hashing::Hashing;
use crate::manifest::Descriptor;
use std::io::{self, BufWriter, Read, Write};
use tempfile::NamedTempFile;

const BUFFER: usize = 256 << 10;

/// A blob being written. What is not committed never was.
#[derive(Debug)]
pub struct BlobWriter {
    layout: Layout,
    output: Hashing<BufWriter<NamedTempFile>>,
}

/// Reads a blob and gives an error instead of its end where its bytes are not those that its descriptor names. It never
/// gives more bytes than were announced.
#[derive(Debug)]
pub struct Verifying<R> {
    /// `None` once the digest was checked.
    input: Option<Hashing<R>>,
    expected: Digest,
    left: u64,
}

impl BlobWriter {
    pub(super) fn new(layout: Layout, file: NamedTempFile) -> Self {
        Self { layout, output: Hashing::new(BufWriter::with_capacity(BUFFER, file)) }
    }

    /// How many bytes were written so far.
    #[must_use]
    pub fn length(&self) -> u64 {
        self.output.length()
    }

    /// Puts the blob into the layout, under its digest; a blob that is there already stays. `expected` is what it must
    /// be, where that is known.
    ///
    /// # Errors
    /// [`LayoutError::OtherBlob`], and those of the disk. Then there is no blob.
    pub fn commit(self, expected: Option<&Descriptor>) -> Result<(Digest, u64), LayoutError> {
        let Self { layout, output } = self;
        let (buffered, found, length) = output.finish();
        let path = layout.blob_path(&found);
        let file = buffered.into_inner().map_err(|error| failed("write", &path)(error.into_error()))?;
        if let Some(Descriptor { digest, size, .. }) =
            expected.filter(|it| (it.digest, it.size) != (found, length))
        {
            let (layout, expected, size) = (layout.root, *digest, *size);
            return Err(LayoutError::OtherBlob { layout, expected, size, found, length });
        }
        if !layout.has_blob(&found, length) {
            file.persist(&path).map_err(|error| failed("write", &path)(error.error))?;
        }
        Ok((found, length))
    }
}

impl Write for BlobWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.output.flush()
    }
}

impl<R: Read> Verifying<R> {
    /// Expects exactly `size` bytes with that digest.
    pub fn new(input: R, expected: Digest, size: u64) -> Self {
        Self { input: Some(Hashing::new(input)), expected, left: size }
    }

    fn check(&mut self) -> io::Result<()> {
        let Some(mut hashing) = self.input.take() else { return Ok(()) };
        let wrong = |message| io::Error::new(io::ErrorKind::InvalidData, message);
        let (found, excess) = (hashing.digest(), hashing.inner().read(&mut [0])?);
        if excess > 0 {
            return Err(wrong(format!("{} has more bytes than announced", self.expected)));
        }
        if found != self.expected {
            return Err(wrong(format!("its digest should be {} but is {found}", self.expected)));
        }
        Ok(())
    }
}

impl<R: Read> Read for Verifying<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX).min(buffer.len());
        if most == 0 {
            // A read of nothing says nothing about the end.
            return if self.left == 0 { self.check().map(|()| 0) } else { Ok(0) };
        }
        let Some(input) = &mut self.input else { return Ok(0) };
        let read = input.read(&mut buffer[..most])?;
        if read == 0 {
            let message = format!("{} ends {} bytes too early", self.expected, self.left);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        self.left -= read as u64;
        if self.left == 0 {
            self.check()?;
        }
        Ok(read)
    }
}
