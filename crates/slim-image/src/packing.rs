//! Packed streams: gzip, zstd or neither, told apart by their first bytes whatever their names say.

use crate::digest::Digest;
use crate::hashing::Hashing;
use crate::manifest::Packing;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const BUFFER: usize = 256 << 10;

/// The most bytes that are unpacked of one image where nothing else is said: more than any image has, less than a stream
/// that was made to fill disks.
pub const UNPACKED_LIMIT: u64 = 64 << 30;

/// Where what is packed in an image is unpacked to, in unnamed files, and how much of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scratch {
    pub folder: PathBuf,
    /// Bytes of all layers of an image together.
    pub limit: u64,
}

impl<P: AsRef<Path> + ?Sized> From<&P> for Scratch {
    fn from(folder: &P) -> Self {
        Self { folder: folder.as_ref().to_owned(), limit: UNPACKED_LIMIT }
    }
}

/// What is said where a stream was made to fill disks, or a limit was set too low.
pub(crate) fn too_large(limit: u64) -> String {
    format!("it unpacks to more than {limit} bytes; --unpack-limit allows more")
}

/// How a stream is packed that begins with these bytes.
#[must_use]
pub fn packing_of(start: &[u8]) -> Packing {
    if start.starts_with(&GZIP) {
        Packing::Gzip
    } else if start.starts_with(&ZSTD) {
        Packing::Zstd
    } else {
        Packing::Plain
    }
}

/// The unpacked stream, of `limit` bytes at most.
///
/// # Errors
/// Those of the reader. What is no well-formed stream, or has more bytes, is an error of the stream that is given.
pub fn unpack<'a>(input: impl Read + Send + 'a, limit: u64) -> io::Result<Box<dyn Read + Send + 'a>> {
    unpack_rest(input, limit, limit)
}

/// The same where `left` bytes are left of the limit.
pub(crate) fn unpack_rest<'a>(
    input: impl Read + Send + 'a,
    left: u64,
    limit: u64,
) -> io::Result<Box<dyn Read + Send + 'a>> {
    let mut input = BufReader::with_capacity(BUFFER, Retrying(input));
    let packing = packing_of(input.fill_buf()?);
    Ok(match packing {
        Packing::Plain => Box::new(Limited { input, left, limit }),
        Packing::Gzip => {
            Box::new(Limited { input: flate2::bufread::MultiGzDecoder::new(input), left, limit })
        }
        Packing::Zstd => Box::new(Limited { input: zstd::Decoder::with_buffer(input)?, left, limit }),
    })
}

/// Gives full first bytes: a pipe may give one at a time.
struct Retrying<R>(R);

impl<R: Read> Read for Retrying<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let wanted = buffer.len().min(ZSTD.len());
        let mut filled = 0;
        while filled < wanted {
            match self.0.read(&mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }
}

struct Limited<R> {
    input: R,
    left: u64,
    limit: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, too_large(self.limit)))?;
        Ok(read)
    }
}

/// Gives an error in the place of its end where the bytes that passed have another digest.
pub(crate) struct Checked<R> {
    input: Hashing<R>,
    expected: Digest,
}

impl<R: Read> Checked<R> {
    pub(crate) fn new(input: R, expected: Digest) -> Self {
        Self { input: Hashing::new(input), expected }
    }
}

impl<R: Read> Read for Checked<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.input.read(buffer)?;
        if read == 0 && !buffer.is_empty() {
            let found = self.input.digest();
            if found != self.expected {
                let message = format!("its diff id should be {} but is {found}", self.expected);
                return Err(io::Error::new(io::ErrorKind::InvalidData, message));
            }
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn unpacked(bytes: &[u8], limit: u64) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        unpack(bytes, limit)?.read_to_end(&mut plain)?;
        Ok(plain)
    }

    /// One byte at a time.
    struct Slow<'a>(&'a [u8]);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = buffer.len().min(1);
            self.0.read(&mut buffer[..most])
        }
    }

    #[test]
    fn streams_are_known_by_their_first_bytes() {
        let text = b"text ".repeat(1000);
        let zstd = zstd::encode_all(&text[..], 3).unwrap();
        let members = [gzip(&text[..2000]), gzip(&text[2000..])].concat();
        let frames =
            [zstd::encode_all(&text[..10], 3).unwrap(), zstd::encode_all(&text[10..], 3).unwrap()].concat();
        for packed in [&text[..], &gzip(&text), &zstd, &members, &frames] {
            assert_eq!(unpacked(packed, 5000).unwrap(), text);
            let mut plain = Vec::new();
            unpack(Slow(packed), 5000).unwrap().read_to_end(&mut plain).unwrap();
            assert_eq!(plain, text);
        }
        assert_eq!(unpacked(b"", 0).unwrap(), b"");
    }

    #[test]
    fn a_bomb_ends_at_the_limit() {
        let zeros = vec![0; 8 << 20];
        for packed in [gzip(&zeros), zstd::encode_all(&zeros[..], 3).unwrap(), zeros.clone()] {
            let error = unpacked(&packed, 1 << 20).unwrap_err();
            assert!(error.to_string().contains("more than 1048576 bytes"), "{error}");
        }
    }

    #[test]
    fn streams_cut_off_are_errors() {
        let text = b"text ".repeat(1000);
        for packed in [gzip(&text), zstd::encode_all(&text[..], 3).unwrap()] {
            for end in 4..packed.len() {
                assert!(unpacked(&packed[..end], 5000).is_err(), "{end} of {}", packed.len());
            }
        }
    }

    #[test]
    fn another_digest_is_an_error_at_the_end() {
        let mut checked = Checked::new(&b"hallo"[..], Digest::of("hello"));
        let error = io::copy(&mut checked, &mut io::sink()).unwrap_err().to_string();
        assert!(error.contains("its diff id should be"), "{error}");
        assert_eq!(
            io::copy(&mut Checked::new(&b"hello"[..], Digest::of("hello")), &mut io::sink()).unwrap(),
            5
        );
    }
}
