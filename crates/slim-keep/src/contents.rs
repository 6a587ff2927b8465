//! Reading small parts of large files.
//!
//! A source may sit behind a pipe, where each read costs a round trip: [`Blocks`] reads whole blocks and keeps them, so
//! that an ELF file's headers cost two or three.

use slim_image::Contents;
use std::collections::BTreeMap;
use std::io::{self, Read, Seek, SeekFrom};

/// Bytes read at once. Program headers, interpreter and names mostly lie in the first block.
const BLOCK: u64 = 16 << 10;

/// A file of known size, read block by block.
pub(crate) struct Blocks<'a> {
    contents: Box<dyn Contents + 'a>,
    size: u64,
    position: u64,
    blocks: BTreeMap<u64, Vec<u8>>,
    /// The first error of the source, which callers that only learn "it failed" take from here.
    pub failure: Option<io::Error>,
}

impl<'a> Blocks<'a> {
    /// `size` is the file's.
    pub(crate) fn new(contents: Box<dyn Contents + 'a>, size: u64) -> Self {
        Self { contents, size, position: 0, blocks: BTreeMap::new(), failure: None }
    }

    /// At most `most` bytes from the beginning, at most a block.
    pub(crate) fn head(&mut self, most: usize) -> io::Result<&[u8]> {
        let block = self.block(0)?;
        Ok(&block[..most.min(block.len())])
    }

    fn block(&mut self, number: u64) -> io::Result<&[u8]> {
        if !self.blocks.contains_key(&number) {
            let start = number * BLOCK;
            let length = BLOCK.min(self.size.saturating_sub(start));
            let mut bytes = Vec::new();
            self.contents.seek(SeekFrom::Start(start))?;
            Read::by_ref(&mut self.contents).take(length).read_to_end(&mut bytes)?;
            self.blocks.insert(number, bytes);
        }
        Ok(self.blocks.get(&number).map_or(&[], Vec::as_slice))
    }
}

impl Read for Blocks<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size {
            return Ok(0);
        }
        let (number, offset) = (self.position / BLOCK, self.position % BLOCK);
        let copied = match self.block(number) {
            Ok(block) => {
                let rest =
                    usize::try_from(offset).ok().and_then(|offset| block.get(offset..)).unwrap_or_default();
                let count = rest.len().min(buffer.len());
                buffer[..count].copy_from_slice(&rest[..count]);
                count
            }
            Err(error) => {
                let again = io::Error::from(error.kind());
                self.failure.get_or_insert(error);
                return Err(again);
            }
        };
        self.position += copied as u64;
        Ok(copied)
    }
}

impl Seek for Blocks<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Cursor;

    #[test]
    fn any_range_reads_as_from_the_file_itself() {
        let bytes: Vec<u8> = (0..50_000_u32).map(|number| (number % 251) as u8).collect();
        let mut blocks = Blocks::new(Box::new(Cursor::new(bytes.clone())), bytes.len() as u64);
        for (start, length) in [(0, 10), (16_380, 10), (40_000, 10_000), (49_999, 1), (16_384, 33_616)] {
            let mut part = vec![0; length];
            blocks.seek(SeekFrom::Start(start as u64)).unwrap();
            blocks.read_exact(&mut part).unwrap();
            assert_eq!(part, bytes[start..start + length]);
        }
        assert_eq!(blocks.seek(SeekFrom::End(0)).unwrap(), 50_000);
        assert_eq!(blocks.read(&mut [0; 4]).unwrap(), 0);
    }

    #[test]
    fn a_file_shorter_than_it_says_ends_early() {
        let mut blocks = Blocks::new(Box::new(Cursor::new(vec![1, 2, 3])), 100_000);
        assert_eq!(blocks.head(10).unwrap(), [1, 2, 3]);
        assert!(blocks.read_exact(&mut [0; 10]).is_err());
        assert!(blocks.failure.is_none());
    }
}
