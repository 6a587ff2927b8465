//! The collector's side: answers requests until the other side says goodbye.

use super::frame::{AnswerWriter, Frame, FrameKind, read_frame, write_frame, write_message};
use super::walk::{Surroundings, failed, host_path, list};
use super::{CollectorError, ListRequest, ReadEachRequest, ReadRequest, RemoteError, check_hello, hello};
use crate::path::ImagePath;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// What is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeOptions {
    /// The directory that is the image's root.
    pub root: PathBuf,
    /// A file that is never shown: the collector's own binary.
    pub binary: PathBuf,
}

impl ServeOptions {
    /// Everything in the container that this program runs in, but for the program itself.
    #[must_use]
    pub fn container() -> Self {
        Self::below("/")
    }

    /// What lies below a directory.
    #[must_use]
    pub fn below(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), binary: PathBuf::from("/proc/self/exe") }
    }
}

/// Answers requests that come on `input` on `output`, until the other side says goodbye or is gone.
///
/// # Errors
/// When the other side sends what is no request, or the streams fail. What cannot be read is told to the other side
/// and is no error here.
pub fn serve(mut input: impl Read, output: impl Write, options: &ServeOptions) -> Result<(), CollectorError> {
    let input: &mut dyn Read = &mut input;
    let mut output = BufWriter::with_capacity(256 << 10, output);
    let first = read_frame(input)?.ok_or(CollectorError::Ended)?;
    if first.kind != FrameKind::Hello {
        return Err(first.unexpected("hello"));
    }
    // The other side is told the version even where it does not fit, so that it can say so.
    write_message(&mut output, FrameKind::Hello, &hello())?;
    output.flush()?;
    check_hello(first.message()?)?;
    let binary = fs::read_link(&options.binary).unwrap_or_else(|_| options.binary.clone());
    let server = Server { root: &options.root, binary: &binary };
    while let Some(request) = read_frame(input)? {
        if request.kind == FrameKind::Bye {
            write_frame(&mut output, FrameKind::Bye, b"")?;
            output.flush()?;
            return Ok(());
        }
        server.answer(&request, &mut output)?;
        output.flush()?;
    }
    Ok(())
}

struct Server<'a> {
    root: &'a Path,
    binary: &'a Path,
}

impl Server<'_> {
    fn answer(&self, request: &Frame, output: &mut dyn Write) -> Result<(), CollectorError> {
        match request.kind {
            FrameKind::List => {
                let ListRequest { volumes } = request.message()?;
                let listed =
                    Surroundings::new(self.root, Some(self.binary), &volumes).and_then(|all| list(&all));
                match listed {
                    Ok(listing) => {
                        let mut answer = AnswerWriter::new(output);
                        listing.save(&mut answer)?;
                        answer.end()
                    }
                    Err(error) => write_message(output, FrameKind::Error, &error),
                }
            }
            FrameKind::Read => {
                let ReadRequest { path, offset, length } = request.message()?;
                self.send(&path, offset, length, output)
            }
            FrameKind::ReadEach => {
                let ReadEachRequest { paths } = request.message()?;
                paths.iter().try_for_each(|path| self.send(path, 0, u64::MAX, output))
            }
            _ => Err(request.unexpected("a request")),
        }
    }

    /// Sends a part of a file, or the error that there was.
    fn send(
        &self,
        path: &ImagePath,
        offset: u64,
        length: u64,
        output: &mut dyn Write,
    ) -> Result<(), CollectorError> {
        let mut file = match self.open(path, offset) {
            Ok(file) => file.take(length),
            Err(error) => return write_message(output, FrameKind::Error, &error),
        };
        let mut answer = AnswerWriter::new(output);
        let mut buffer = vec![0; 128 << 10];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return answer.end(),
                Ok(read) => answer.write_all(&buffer[..read])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    drop(answer);
                    return write_message(output, FrameKind::Error, &failed("read", Some(path), &error));
                }
            }
        }
    }

    fn open(&self, path: &ImagePath, offset: u64) -> Result<File, RemoteError> {
        let fail = |error: io::Error| failed("read", Some(path), &error);
        let host = host_path(self.root, path);
        // A fifo must not block, a terminal not become ours, a link not lead elsewhere.
        let flags = libc::O_NOFOLLOW | libc::O_NONBLOCK | libc::O_NOCTTY;
        let mut file = OpenOptions::new().read(true).custom_flags(flags).open(host).map_err(fail)?;
        if !file.metadata().map_err(fail)?.is_file() {
            return Err(fail(io::Error::from_raw_os_error(libc::EINVAL)));
        }
        file.seek(SeekFrom::Start(offset)).map_err(fail)?;
        Ok(file)
    }
}
