//! A container's streams in the hands of whoever starts it.
//!
//! [`EmbeddedEngine::attach_streams`] makes pipes and a socket before the container has a keeper. The keeper's ends wait in
//! the socket; the start makes that the keeper's standard input ([`super::streams`] takes it from there). The socket stays:
//! what the person's terminal measures goes over it. Invariant: nobody but the program holds the reading end of its input,
//! so that writing to one that has ended is a broken pipe.

use super::{EmbeddedEngine, Result, refused};
use crate::engine::ContainerId;
use crate::streams::{Attached, Diagnostics};
use nix::sys::socket::{
    AddressFamily, ControlMessage, MsgFlags, SockFlag, SockType, UnixAddr, sendmsg, socketpair,
};
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice};
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll};
use tokio::io::{AsyncReadExt, AsyncWrite};
use tokio::net::unix::pipe;

/// How large a terminal is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    pub rows: u16,
    pub columns: u16,
}

/// What is said over the socket first, with as many descriptors as are named, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Greeting {
    pub input: bool,
    pub output: bool,
    pub errors: bool,
    pub size: Option<Size>,
}

/// A container's streams, as plain pipes.
#[derive(Debug)]
pub struct Streams {
    /// Where the container has an open standard input. Closing it ends that.
    pub input: Option<OwnedFd>,
    /// With a terminal, all that it shows.
    pub output: OwnedFd,
    /// None with a terminal.
    pub errors: Option<OwnedFd>,
    pub control: Control,
}

/// What else can be said to an attached container, or to a command in one.
#[derive(Debug)]
pub struct Control(Kind);

#[derive(Debug)]
enum Kind {
    /// To the keeper, which has the terminal.
    Socket(OwnedFd),
    /// The terminal's master is here.
    Master(OwnedFd),
    /// There is no terminal.
    Nothing,
}

impl Control {
    /// Gives the container's terminal another size. One that has ended is no error.
    pub fn resize(&self, size: Size) {
        match &self.0 {
            Kind::Socket(socket) => {
                let text = serde_json::to_vec(&size).unwrap_or_default();
                let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
                let _ = nix::sys::socket::send(socket.as_raw_fd(), &text, flags);
            }
            Kind::Master(master) => super::streams::resize(master, size),
            Kind::Nothing => {}
        }
    }

    pub(super) fn of_master(master: OwnedFd) -> Self {
        Self(Kind::Master(master))
    }

    pub(super) fn of_nothing() -> Self {
        Self(Kind::Nothing)
    }
}

impl EmbeddedEngine {
    /// Takes over the streams of a container that is not started yet. `size`: of its terminal, if it is to have one.
    ///
    /// # Errors
    /// No such container; pipes cannot be made.
    pub fn attach_streams(&self, id: &ContainerId, size: Option<Size>) -> Result<Streams> {
        let (_, record) = self.known(id, "attach to")?;
        let failed = |error: io::Error| refused("attach to", id, &error);
        let made = streams(record.standard_input, record.tty, size).map_err(failed)?;
        let (streams, theirs) = made;
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).insert(id.clone(), theirs);
        Ok(streams)
    }

    /// What the keeper of this container gets as its standard input.
    pub(super) fn for_keeper(&self, id: &ContainerId) -> Option<OwnedFd> {
        self.attached.lock().unwrap_or_else(PoisonError::into_inner).remove(id)
    }
}

fn streams(has_input: bool, tty: bool, size: Option<Size>) -> io::Result<(Streams, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC;
    let (ours, theirs) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?;
    let (output, program_output) = io::pipe()?;
    let (program_input, input) =
        if has_input { io::pipe().map(|(r, w)| (Some(r), Some(w)))? } else { (None, None) };
    let (errors, program_errors) =
        if tty { (None, None) } else { io::pipe().map(|(r, w)| (Some(r), Some(w)))? };
    let greeting = Greeting { input: has_input, output: true, errors: !tty, size };
    let mut handed = Vec::new();
    handed.extend(program_input.as_ref().map(AsRawFd::as_raw_fd));
    handed.push(program_output.as_raw_fd());
    handed.extend(program_errors.as_ref().map(AsRawFd::as_raw_fd));
    let text = serde_json::to_vec(&greeting).map_err(io::Error::other)?;
    let message = [ControlMessage::ScmRights(&handed)];
    sendmsg::<UnixAddr>(ours.as_raw_fd(), &[IoSlice::new(&text)], &message, MsgFlags::empty(), None)?;
    let streams = Streams {
        input: input.map(OwnedFd::from),
        output: output.into(),
        errors: errors.map(OwnedFd::from),
        control: Control(Kind::Socket(ours)),
    };
    Ok((streams, theirs))
}

impl Streams {
    /// The same for the engine's trait. The socket goes with its output.
    pub(super) fn into_attached(self) -> io::Result<Attached> {
        let input = self.input.map(pipe::Sender::from_owned_fd).transpose()?;
        let diagnostics = Diagnostics::default();
        if let Some(errors) = self.errors {
            let (mut errors, kept) = (pipe::Receiver::from_owned_fd(errors)?, diagnostics.clone());
            tokio::spawn(async move {
                let mut buffer = [0; 4096];
                while let Ok(read @ 1..) = errors.read(&mut buffer).await {
                    kept.push(&buffer[..read]);
                }
            });
        }
        let output = Box::new(pipe::Receiver::from_owned_fd(self.output)?);
        Ok(Attached { input: Box::new(Input(input)), output, diagnostics })
    }
}

/// The writing end of a pipe, which `shutdown` closes.
struct Input(Option<pipe::Sender>);

impl AsyncWrite for Input {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match &mut self.0 {
            Some(pipe) => Pin::new(pipe).poll_write(context, bytes),
            None => Poll::Ready(Err(io::ErrorKind::BrokenPipe.into())),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0 = None;
        Poll::Ready(Ok(()))
    }
}
