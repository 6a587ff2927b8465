//! A container's streams in its keeper: made before the program starts, then copied to its log and to whoever is attached.
//!
//! Invariant: nobody who listens, or stops listening, ends or changes the program; only one who does not read holds it up,
//! as with any pipe.

use super::attaching::{Greeting, Size};
use super::log::{self, Stream};
use super::record::{Folder, Record};
use nix::sys::socket::{ControlMessageOwned, MsgFlags, UnixAddr, recvmsg};
use std::fs::{File, OpenOptions};
use std::io::{self, IoSliceMut, PipeReader, PipeWriter, Read, Write};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// The terminal's master comes through a socket of this name in the container's folder.
const CONSOLE: &str = "console.sock";

/// Whoever started the container and listens.
#[derive(Debug, Default)]
pub(super) struct Client {
    input: Option<OwnedFd>,
    output: Option<File>,
    errors: Option<File>,
    size: Option<Size>,
    socket: Option<OwnedFd>,
}

impl Client {
    /// What our standard input brings, if it is a socket of [`super::attaching`]'s.
    pub(super) fn of_standard_input() -> io::Result<Self> {
        let socket = io::stdin().as_fd().try_clone_to_owned()?;
        let is_socket = rustix::fs::fstat(&socket).is_ok_and(|stat| {
            rustix::fs::FileType::from_raw_mode(stat.st_mode) == rustix::fs::FileType::Socket
        });
        let client = if is_socket { Self::received(socket)? } else { Self::default() };
        // The container's program must not find it.
        let nothing = File::open("/dev/null")?;
        nix::unistd::dup2_stdin(nothing)?;
        Ok(client)
    }

    fn received(socket: OwnedFd) -> io::Result<Self> {
        let (text, descriptors) = message(&socket)?;
        let greeting: Greeting = serde_json::from_slice(&text).map_err(io::Error::other)?;
        let mut descriptors = descriptors.into_iter();
        let mut next = |is_there: bool| if is_there { descriptors.next() } else { None };
        Ok(Self {
            input: next(greeting.input),
            output: next(greeting.output).map(File::from),
            errors: next(greeting.errors).map(File::from),
            size: greeting.size,
            socket: Some(socket),
        })
    }
}

/// One message with its descriptors; nothing at the other side's end.
pub(super) fn message(socket: &OwnedFd) -> io::Result<(Vec<u8>, Vec<OwnedFd>)> {
    let mut text = vec![0; 4096];
    let mut space = nix::cmsg_space!([std::os::fd::RawFd; 3]);
    let mut parts = [IoSliceMut::new(&mut text)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let came = recvmsg::<UnixAddr>(socket.as_raw_fd(), &mut parts, Some(&mut space), flags)?;
    let mut descriptors = Vec::new();
    for message in came.cmsgs()? {
        if let ControlMessageOwned::ScmRights(numbers) = message {
            descriptors.extend(numbers.into_iter().map(owned));
        }
    }
    let length = came.bytes;
    text.truncate(length);
    Ok((text, descriptors))
}

#[expect(unsafe_code, reason = "descriptors come out of a message as numbers")]
fn owned(number: std::os::fd::RawFd) -> OwnedFd {
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    unsafe { OwnedFd::from_raw_fd(number) }
}

/// The program's ends, for the runtime.
pub(super) enum Ends {
    Pipes {
        input: OwnedFd,
        output: PipeWriter,
        errors: PipeWriter,
    },
    /// Where the runtime is to send the terminal.
    Terminal(PathBuf),
}

/// Our ends, before the program runs.
pub(super) struct Plumbing {
    kind: Kind,
    client: Client,
    log: SharedLog,
}

enum Kind {
    Pipes { output: PipeReader, errors: PipeReader, held_open: Option<PipeWriter> },
    Terminal(UnixListener),
}

impl Plumbing {
    /// Makes both ends. The current folder is changed.
    pub(super) fn make(folder: &Folder, record: &Record, mut client: Client) -> io::Result<(Self, Ends)> {
        let log = open_log(folder, record)?;
        if record.tty {
            let path = folder.join(CONSOLE);
            let _ = std::fs::remove_file(&path);
            // The path may be longer than a socket's address.
            std::env::set_current_dir(folder.path())?;
            let listener = UnixListener::bind(CONSOLE)?;
            listener.set_nonblocking(true)?;
            std::env::set_current_dir("/")?;
            return Ok((Self { kind: Kind::Terminal(listener), client, log }, Ends::Terminal(path)));
        }
        let (output, program_output) = io::pipe()?;
        let (errors, program_errors) = io::pipe()?;
        let (input, held_open) = match client.input.take() {
            Some(input) => (input, None),
            None if record.standard_input => {
                let (input, writer) = io::pipe()?;
                (input.into(), Some(writer))
            }
            None => (File::open("/dev/null")?.into(), None),
        };
        let ends = Ends::Pipes { input, output: program_output, errors: program_errors };
        Ok((Self { kind: Kind::Pipes { output, errors, held_open }, client, log }, ends))
    }

    /// Takes the terminal over, when the container is made and its program does not run yet.
    pub(super) fn connect(self) -> io::Result<Connected> {
        let Self { kind, client, log } = self;
        let terminal = match &kind {
            Kind::Pipes { .. } => None,
            Kind::Terminal(listener) => {
                let (stream, _) = listener.accept()?;
                stream.set_nonblocking(false)?;
                let (_, descriptors) = message(&stream.into())?;
                let master = descriptors.into_iter().next();
                let master =
                    master.ok_or_else(|| io::Error::other("the container's terminal did not come"))?;
                if let Some(size) = client.size {
                    resize(&master, size);
                }
                Some(master)
            }
        };
        Ok(Connected { kind, client, log, terminal })
    }
}

/// Our ends, ready to be copied.
pub(super) struct Connected {
    kind: Kind,
    client: Client,
    log: SharedLog,
    terminal: Option<OwnedFd>,
}

impl Connected {
    /// Copies until the program's streams end; then the threads do.
    pub(super) fn copy(self) -> io::Result<Vec<JoinHandle<()>>> {
        let Self { kind, client, log, terminal } = self;
        let Client { input, output, errors, socket, .. } = client;
        match (kind, terminal) {
            (Kind::Pipes { output: from, errors: from_errors, held_open }, _) => {
                let copies = vec![
                    copy(from, Stream::Output, Arc::clone(&log), output, held_open),
                    copy(from_errors, Stream::Errors, log, errors, None),
                ];
                Ok(copies)
            }
            (Kind::Terminal(_), None) => Ok(Vec::new()),
            (Kind::Terminal(_), Some(master)) => {
                if let Some(input) = input {
                    type_into(&master, input)?;
                }
                if let Some(socket) = socket {
                    follow_size(&master, socket)?;
                }
                Ok(vec![copy(File::from(master), Stream::Output, log, output, None)])
            }
        }
    }
}

/// Ends with the person's input. A terminal has no end of its input: the program is not told.
fn type_into(master: &OwnedFd, input: OwnedFd) -> io::Result<()> {
    let mut to = File::from(master.try_clone()?);
    thread::spawn(move || {
        // Either side may hang up at any time.
        let _ = io::copy(&mut File::from(input), &mut to);
    });
    Ok(())
}

fn follow_size(master: &OwnedFd, socket: OwnedFd) -> io::Result<()> {
    let master = master.try_clone()?;
    thread::spawn(move || {
        while let Ok((text, _)) = message(&socket) {
            if text.is_empty() {
                return;
            }
            if let Ok(size) = serde_json::from_slice(&text) {
                resize(&master, size);
            }
        }
    });
    Ok(())
}

pub(super) fn resize(master: impl AsFd, size: Size) {
    let size =
        rustix::termios::Winsize { ws_row: size.rows, ws_col: size.columns, ws_xpixel: 0, ws_ypixel: 0 };
    // A terminal that is gone needs no size.
    let _ = rustix::termios::tcsetwinsize(master, size);
}

/// Hands on what comes, as it comes. A log that cannot be written any more must not stop the program, nor must a listener
/// that is gone. `held`: kept as long.
fn copy(
    mut from: impl Read + Send + 'static,
    stream: Stream,
    log: SharedLog,
    mut listener: Option<File>,
    held: Option<PipeWriter>,
) -> JoinHandle<()> {
    thread::spawn(move || {
        let _held = held;
        let mut buffer = vec![0; log::FRAME_BYTES];
        loop {
            let read = match from.read(&mut buffer) {
                Ok(0) => return,
                Ok(read) => read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // A terminal that nobody has open any more is an error to read.
                Err(_) => return,
            };
            let bytes = &buffer[..read];
            if listener.as_mut().is_some_and(|listener| listener.write_all(bytes).is_err()) {
                listener = None;
            }
            let mut file = log.lock().unwrap_or_else(PoisonError::into_inner);
            if file.as_mut().is_some_and(|file| log::append(file, stream, bytes).is_err()) {
                *file = None;
            }
        }
    })
}

type SharedLog = Arc<Mutex<Option<File>>>;

fn open_log(folder: &Folder, record: &Record) -> io::Result<SharedLog> {
    let open = || OpenOptions::new().create(true).append(true).open(folder.log());
    Ok(Arc::new(Mutex::new(record.keeps_log.then(open).transpose()?)))
}
