//! Packing: a stream cut into blocks that are packed side by side and written in order.
//!
//! Invariant: the bytes depend on the stream and on the constants here, never on how many threads work. gzip: one member
//! whose deflate blocks end at byte boundaries (as pigz writes it); zstd: one frame a block (RFC 8878 lets frames follow one
//! another). Nothing of the clock or the machine is written.

use crate::manifest::Packing;
use flate2::{Compress, Compression, FlushCompress, Status};
use std::collections::VecDeque;
use std::io::{self, Write};
use std::num::NonZero;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

/// Bytes of the stream that are packed together.
const GZIP_BLOCK: usize = 1 << 20;
/// A frame forgets what was before it, so that it is to be long.
const ZSTD_BLOCK: usize = 8 << 20;
const GZIP_LEVEL: u32 = 6;
const ZSTD_LEVEL: i32 = 6;
/// RFC 1952: deflate, no flags, no time, an unknown system.
const GZIP_HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// An empty last deflate block.
const DEFLATE_END: [u8; 2] = [3, 0];

/// Writes what `write` writes to `output`, packed, with so many threads.
///
/// # Errors
/// Those of `write` and of the output.
pub fn pack(
    packing: Packing,
    threads: NonZero<usize>,
    output: &mut dyn Write,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    if packing == Packing::Plain {
        write(output)?;
        return output.flush();
    }
    thread::scope(|scope| {
        let (jobs, waiting) = mpsc::sync_channel::<Job>(threads.get());
        let waiting = Arc::new(Mutex::new(waiting));
        for _ in 0..threads.get() {
            let waiting = Arc::clone(&waiting);
            scope.spawn(move || work(packing, &waiting));
        }
        let mut packer = Packer::new(packing, threads, output, jobs);
        packer.begin()?;
        write(&mut packer)?;
        packer.finish()
    })
}

/// A block and where its packed bytes go.
struct Job {
    block: Vec<u8>,
    packed: SyncSender<io::Result<Vec<u8>>>,
}

fn work(packing: Packing, waiting: &Mutex<Receiver<Job>>) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(Job { block, packed }) = job else { return };
        let done = match packing {
            Packing::Gzip => deflated(&block),
            Packing::Zstd => zstd::bulk::compress(&block, ZSTD_LEVEL),
            Packing::Plain => Ok(block),
        };
        // Nobody waits any more where writing has failed.
        let _ = packed.send(done);
    }
}

/// Raw deflate blocks up to a byte boundary, none of them the last.
fn deflated(block: &[u8]) -> io::Result<Vec<u8>> {
    let mut packed = Vec::with_capacity(block.len() / 2 + 1024);
    let mut compress = Compress::new(Compression::new(GZIP_LEVEL), false);
    loop {
        let from = usize::try_from(compress.total_in()).unwrap_or(usize::MAX).min(block.len());
        let status = compress.compress_vec(&block[from..], &mut packed, FlushCompress::Sync);
        let status = status.map_err(io::Error::other)?;
        // A flush is complete when it leaves room.
        let is_read = compress.total_in() == block.len() as u64;
        if is_read && packed.len() < packed.capacity() {
            return Ok(packed);
        }
        if status == Status::StreamEnd {
            return Err(io::Error::other("deflate ended in the middle of a stream"));
        }
        packed.reserve(block.len() / 4 + 1024);
    }
}

struct Packer<'a> {
    packing: Packing,
    output: &'a mut dyn Write,
    jobs: SyncSender<Job>,
    block: Vec<u8>,
    block_bytes: usize,
    /// Blocks on their way, the first to be written first.
    pending: VecDeque<Receiver<io::Result<Vec<u8>>>>,
    most_pending: usize,
    checksum: crc32fast::Hasher,
    length: u64,
}

impl<'a> Packer<'a> {
    fn new(
        packing: Packing,
        threads: NonZero<usize>,
        output: &'a mut dyn Write,
        jobs: SyncSender<Job>,
    ) -> Self {
        let block_bytes = if packing == Packing::Gzip { GZIP_BLOCK } else { ZSTD_BLOCK };
        Self {
            packing,
            output,
            jobs,
            block: Vec::with_capacity(block_bytes),
            block_bytes,
            pending: VecDeque::new(),
            most_pending: threads.get() + 1,
            checksum: crc32fast::Hasher::new(),
            length: 0,
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        if self.packing == Packing::Gzip { self.output.write_all(&GZIP_HEADER) } else { Ok(()) }
    }

    fn send(&mut self) -> io::Result<()> {
        if self.pending.len() >= self.most_pending {
            self.write_first()?;
        }
        let block = std::mem::replace(&mut self.block, Vec::with_capacity(self.block_bytes));
        let (packed, receiver) = mpsc::sync_channel(1);
        self.jobs.send(Job { block, packed }).map_err(|_| io::Error::other("the packing threads ended"))?;
        self.pending.push_back(receiver);
        Ok(())
    }

    fn write_first(&mut self) -> io::Result<()> {
        let Some(first) = self.pending.pop_front() else { return Ok(()) };
        let packed = first.recv().map_err(|_| io::Error::other("a packing thread ended"))??;
        self.output.write_all(&packed)
    }

    fn finish(mut self) -> io::Result<()> {
        // A zstd stream has one frame at least.
        if !self.block.is_empty() || self.length == 0 {
            self.send()?;
        }
        while !self.pending.is_empty() {
            self.write_first()?;
        }
        if self.packing == Packing::Gzip {
            self.output.write_all(&DEFLATE_END)?;
            self.output.write_all(&self.checksum.finalize().to_le_bytes())?;
            // RFC 1952: the length modulo 2^32.
            self.output.write_all(&(self.length as u32).to_le_bytes())?;
        }
        self.output.flush()
    }
}

impl Write for Packer<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let taken = bytes.len().min(self.block_bytes - self.block.len());
        let bytes = &bytes[..taken];
        self.block.extend_from_slice(bytes);
        if self.packing == Packing::Gzip {
            self.checksum.update(bytes);
        }
        self.length += taken as u64;
        if self.block.len() == self.block_bytes {
            self.send()?;
        }
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;
    use crate::packing::unpack;
    use std::io::Read;

    fn packed(packing: Packing, threads: usize, bytes: &[u8]) -> Vec<u8> {
        let mut output = Vec::new();
        // Odd pieces: blocks are cut by length, not by how they come.
        let write =
            |output: &mut dyn Write| bytes.chunks(70_001).try_for_each(|piece| output.write_all(piece));
        pack(packing, NonZero::new(threads).unwrap(), &mut output, write).unwrap();
        output
    }

    /// Some of it packs well, some not at all.
    fn sample(length: usize) -> Vec<u8> {
        let mut state = 1_u32;
        (0..length)
            .map(|at| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                if at % 100_000 < 60_000 { b"some text "[at % 10] } else { (state >> 24) as u8 }
            })
            .collect()
    }

    #[test]
    fn what_is_packed_unpacks_to_what_it_was() {
        for length in [0, 1, GZIP_BLOCK - 1, GZIP_BLOCK, GZIP_BLOCK + 1, 2 * ZSTD_BLOCK + 5] {
            let bytes = sample(length);
            for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
                let packed = packed(packing, 2, &bytes);
                let mut plain = Vec::new();
                unpack(&packed[..], 1 << 30).unwrap().read_to_end(&mut plain).unwrap();
                assert!(plain == bytes, "{packing:?} {length}");
                assert_eq!(crate::packing::packing_of(&packed), packing);
            }
        }
    }

    #[test]
    fn the_bytes_do_not_depend_on_the_number_of_threads() {
        let bytes = sample(3 * GZIP_BLOCK + 17);
        for packing in [Packing::Gzip, Packing::Zstd] {
            let one = packed(packing, 1, &bytes);
            assert!(one.len() < bytes.len() * 2 / 3, "{packing:?}: {} of {}", one.len(), bytes.len());
            for threads in [2, 3, 8] {
                assert_eq!(
                    Digest::of(packed(packing, threads, &bytes)),
                    Digest::of(&one),
                    "{packing:?} {threads}"
                );
            }
        }
    }

    #[test]
    fn the_tools_of_the_trade_unpack_it() {
        let bytes = sample(2 * GZIP_BLOCK + 3);
        for (packing, program) in [(Packing::Gzip, "gzip"), (Packing::Zstd, "zstd")] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), packed(packing, 2, &bytes)).unwrap();
            let output =
                std::process::Command::new(program).arg("-dc").stdin(file.reopen().unwrap()).output();
            let Ok(output) = output else {
                println!("skipped: no {program} on this machine");
                continue;
            };
            assert!(output.status.success() && output.stdout == bytes, "{program}");
        }
    }

    #[test]
    fn an_output_that_fails_ends_it() {
        struct Full(usize);
        impl Write for Full {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 = self.0.checked_sub(bytes.len()).ok_or(io::ErrorKind::StorageFull)?;
                Ok(bytes.len())
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let bytes = sample(20 * GZIP_BLOCK);
        for packing in [Packing::Plain, Packing::Gzip, Packing::Zstd] {
            let write = |output: &mut dyn Write| output.write_all(&bytes);
            let error = pack(packing, NonZero::new(2).unwrap(), &mut Full(100_000), write).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::StorageFull, "{packing:?}");
        }
    }
}
