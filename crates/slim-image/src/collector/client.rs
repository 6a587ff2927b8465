//! The side outside the container: an [`ImageTree`] over the collector.
//!
//! The listing is in memory; contents come over the pipe when asked for. The streams are locked for one request and
//! its answer at a time, never while a caller's function runs.

use super::frame::{AnswerReader, FrameKind, PAYLOAD_LIMIT, read_frame, write_frame, write_message};
use super::{CollectorError, Hello, ListRequest, ReadEachRequest, ReadRequest, check_hello, hello};
use crate::listing::Listing;
use crate::path::ImagePath;
use crate::tree::{Contents, Entry, ImageTree, Kind, TreeError};
use std::io::{self, BufReader, Cursor, Read, Seek, SeekFrom, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Files up to this size travel together in [`ImageTree::read_each`]; larger ones in parts.
const SMALL: u64 = 1 << 20;
/// Contents that are asked for in one request, and so held in memory.
const BATCH: u64 = 8 << 20;
/// Bytes of paths in one request; escaped they may be four times as long.
const BATCH_PATHS: usize = PAYLOAD_LIMIT / 8;
/// The first part of a file that is read; every further one is larger, up to [`SMALL`].
const FIRST_PART: u64 = 64 << 10;
/// Bytes of a listing: some millions of entries.
const LISTING_LIMIT: u64 = 4 << 30;

/// An image's files, read through a collector.
pub struct Client {
    listing: Listing,
    channel: Mutex<Channel>,
}

struct Channel {
    input: Box<dyn Read + Send>,
    output: Box<dyn Write + Send>,
    /// Why the streams cannot be used any more: after a broken answer nobody knows where the next one begins.
    broken: Option<String>,
}

impl Client {
    /// Greets the collector that writes to `input` and reads from `output`, and has it list the image, unless
    /// `cached` is the listing of this image made before.
    ///
    /// # Errors
    /// When the collector does not answer, speaks another version, or cannot list the image.
    pub fn connect(
        input: impl Read + Send + 'static,
        output: impl Write + Send + 'static,
        volumes: &[ImagePath],
        cached: Option<Listing>,
    ) -> Result<Self, CollectorError> {
        let mut channel = Channel {
            input: Box::new(BufReader::with_capacity(256 << 10, input)),
            output: Box::new(output),
            broken: None,
        };
        channel.greet()?;
        let listing = match cached {
            Some(listing) => listing,
            None => channel.list(volumes)?,
        };
        Ok(Self { listing, channel: Mutex::new(channel) })
    }

    /// The image's listing: worth keeping for the next time.
    #[must_use]
    pub fn listing(&self) -> &Listing {
        &self.listing
    }

    /// Says goodbye and waits for the collector's answer: its container ends by itself then.
    ///
    /// # Errors
    /// When the collector is gone already.
    pub fn finish(self) -> Result<(), CollectorError> {
        let mut channel = self.channel.into_inner().unwrap_or_else(PoisonError::into_inner);
        channel.exchange(|channel| {
            write_frame(&mut channel.output, FrameKind::Bye, b"")?;
            channel.output.flush()?;
            let frame = read_frame(&mut channel.input)?.ok_or(CollectorError::Ended)?;
            if frame.kind == FrameKind::Bye { Ok(()) } else { Err(frame.unexpected("bye")) }
        })
    }

    fn channel(&self) -> MutexGuard<'_, Channel> {
        // A panic in between leaves an answer half read, which `broken` says already.
        self.channel.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn size_of(&self, path: &ImagePath) -> Result<u64, TreeError> {
        match self.listing.get(path).map(|entry| &entry.kind) {
            Some(Kind::File { size }) => Ok(*size),
            Some(_) => Err(TreeError::NotAFile(path.clone())),
            None => Err(TreeError::NotFound(path.clone())),
        }
    }

    /// How many of the paths, from the first, go in one request; 0 where the first one is large.
    fn batch(&self, paths: &[ImagePath]) -> Result<usize, TreeError> {
        let (mut count, mut bytes, mut names) = (0, 0, 0);
        for path in paths {
            let size = self.size_of(path)?;
            names += path.as_bytes().len() + 3;
            if size > SMALL || bytes + size > BATCH || (names > BATCH_PATHS && count > 0) {
                break;
            }
            bytes += size;
            count += 1;
        }
        Ok(count)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Client").field("entries", &self.listing.len()).finish_non_exhaustive()
    }
}

impl ImageTree for Client {
    fn entry(&self, path: &ImagePath) -> Option<&Entry> {
        self.listing.get(path)
    }

    fn read_dir(&self, path: &ImagePath) -> Vec<&[u8]> {
        self.listing.read_dir(path)
    }

    fn walk(&self) -> Box<dyn Iterator<Item = (&ImagePath, &Entry)> + '_> {
        Box::new(self.listing.iter())
    }

    fn open(&self, path: &ImagePath) -> Result<Box<dyn Contents + '_>, TreeError> {
        let size = self.size_of(path)?;
        Ok(Box::new(RemoteFile {
            client: self,
            path: path.clone(),
            size,
            position: 0,
            part: Vec::new(),
            part_start: 0,
            next_length: FIRST_PART,
        }))
    }

    fn read_each(
        &self,
        paths: &[ImagePath],
        each: &mut dyn FnMut(&ImagePath, &mut dyn Read) -> Result<(), TreeError>,
    ) -> Result<(), TreeError> {
        let mut rest = paths;
        while let Some(first) = rest.first() {
            let count = self.batch(rest)?;
            if count == 0 {
                each(first, &mut self.open(first)?)?;
                rest = &rest[1..];
                continue;
            }
            let (batch, after) = rest.split_at(count);
            let contents = self.channel().read_each(batch, &|path| self.size_of(path).unwrap_or(0))?;
            for (path, bytes) in batch.iter().zip(contents) {
                each(path, &mut Cursor::new(bytes?))?;
            }
            rest = after;
        }
        Ok(())
    }
}

impl Channel {
    /// Does one request and its answer; what breaks them off breaks the streams, but for an error of the collector's
    /// own, which is an answer like any other.
    fn exchange<T>(
        &mut self,
        exchange: impl FnOnce(&mut Self) -> Result<T, CollectorError>,
    ) -> Result<T, CollectorError> {
        if let Some(reason) = &self.broken {
            return Err(CollectorError::Broken(reason.clone()));
        }
        // Stands also when the exchange panics.
        self.broken = Some("a request was not finished".to_owned());
        let result = exchange(self);
        self.broken = match &result {
            Ok(_) | Err(CollectorError::Remote(_)) => None,
            Err(error) => Some(error.to_string()),
        };
        result
    }

    fn greet(&mut self) -> Result<(), CollectorError> {
        self.exchange(|channel| {
            write_message(&mut channel.output, FrameKind::Hello, &hello())?;
            channel.output.flush()?;
            let frame = read_frame(&mut channel.input)?.ok_or(CollectorError::Ended)?;
            if frame.kind != FrameKind::Hello {
                return Err(frame.unexpected("hello"));
            }
            check_hello(frame.message::<Hello>()?)
        })
    }

    fn list(&mut self, volumes: &[ImagePath]) -> Result<Listing, CollectorError> {
        self.exchange(|channel| {
            write_message(&mut channel.output, FrameKind::List, &ListRequest { volumes: volumes.to_vec() })?;
            channel.output.flush()?;
            let mut answer = BufReader::new(AnswerReader::new(&mut channel.input, LISTING_LIMIT));
            let listing = Listing::read_from(&mut answer);
            let mut answer = answer.into_inner();
            if let Some(failure) = answer.failure() {
                return Err(failure);
            }
            let listing = listing?;
            answer.drain()?;
            Ok(listing)
        })
    }

    fn read(&mut self, path: &ImagePath, offset: u64, length: u64) -> Result<Vec<u8>, CollectorError> {
        self.exchange(|channel| {
            let request = ReadRequest { path: path.clone(), offset, length };
            write_message(&mut channel.output, FrameKind::Read, &request)?;
            channel.output.flush()?;
            AnswerReader::new(&mut channel.input, length).bytes()
        })
    }

    /// The contents of each path, or why there are none.
    fn read_each(
        &mut self,
        paths: &[ImagePath],
        size_of: &dyn Fn(&ImagePath) -> u64,
    ) -> Result<Vec<Result<Vec<u8>, TreeError>>, TreeError> {
        let read = self.exchange(|channel| {
            write_message(
                &mut channel.output,
                FrameKind::ReadEach,
                &ReadEachRequest { paths: paths.to_vec() },
            )?;
            channel.output.flush()?;
            let mut contents = Vec::with_capacity(paths.len());
            for path in paths {
                contents.push(match AnswerReader::new(&mut channel.input, size_of(path)).bytes() {
                    Ok(bytes) => Ok(bytes),
                    Err(error @ CollectorError::Remote(_)) => Err(tree_error(path, error)),
                    Err(error) => return Err(error),
                });
            }
            Ok(contents)
        });
        read.map_err(|error| TreeError::Source(error.to_string()))
    }
}

fn io_error(error: CollectorError) -> io::Error {
    match error {
        CollectorError::Remote(remote) => match remote.errno {
            Some(errno) => io::Error::from_raw_os_error(errno),
            None => io::Error::other(remote.message),
        },
        CollectorError::Io(error) => error,
        error => io::Error::other(error.to_string()),
    }
}

fn tree_error(path: &ImagePath, error: CollectorError) -> TreeError {
    TreeError::Read { path: path.clone(), source: io_error(error) }
}

/// One file of the image, read in parts; the last part is kept.
struct RemoteFile<'a> {
    client: &'a Client,
    path: ImagePath,
    size: u64,
    position: u64,
    part: Vec<u8>,
    part_start: u64,
    next_length: u64,
}

impl RemoteFile<'_> {
    /// Bytes of the held part from the position on.
    fn held(&self) -> &[u8] {
        let into = self.position.checked_sub(self.part_start).and_then(|into| usize::try_from(into).ok());
        into.and_then(|into| self.part.get(into..)).unwrap_or_default()
    }

    fn fetch(&mut self) -> io::Result<()> {
        let follows = self.position == self.part_start + self.part.len() as u64 && !self.part.is_empty();
        // Whoever reads on and on gets more at a time; whoever jumps about does not pay for it.
        self.next_length = if follows { (self.next_length * 4).min(SMALL) } else { FIRST_PART };
        let length = self.next_length.min(self.size - self.position);
        let part = self.client.channel().read(&self.path, self.position, length).map_err(io_error)?;
        if part.len() as u64 != length {
            let message = format!("{} has fewer bytes than were listed", self.path);
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
        }
        (self.part, self.part_start) = (part, self.position);
        Ok(())
    }
}

impl Read for RemoteFile<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.position >= self.size || buffer.is_empty() {
            return Ok(0);
        }
        if self.held().is_empty() {
            self.fetch()?;
        }
        let held = self.held();
        let taken = held.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&held[..taken]);
        self.position += taken as u64;
        Ok(taken)
    }
}

impl Seek for RemoteFile<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let position = match to {
            SeekFrom::Start(position) => Some(position),
            SeekFrom::End(offset) => self.size.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.position.checked_add_signed(offset),
        };
        self.position = position
            .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "a seek before the beginning"))?;
        Ok(self.position)
    }
}
