//! What a container's process hands over before it runs its program: the listener, the profile's own program, and which
//! calls it does not tell of. `slim-engine/src/embedded/telling.rs` says how.

use super::listener::Listener;
use super::profile::Profile;
use nix::sys::socket::{ControlMessageOwned, MsgFlags, recvmsg};
use std::io::{self, IoSliceMut, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

const MAGIC: [u8; 4] = *b"SLM1";
const HEAD_BYTES: usize = 12;
/// The kernel takes no longer program.
const INSTRUCTIONS_MAX: usize = 4096;
const CALLS_MAX: usize = 1024;

/// What was handed over.
pub struct Handover {
    pub listener: Listener,
    pub profile: Profile,
    /// Numbers of the calls that are not told, of this machine's own ABI.
    pub hot: Vec<u32>,
}

/// Reads a handover; `None` when the other end was closed instead.
///
/// # Errors
/// When it is none.
pub fn receive(connection: &UnixStream) -> io::Result<Option<Handover>> {
    let wrong = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut head = [0; HEAD_BYTES];
    let (read, descriptor) = with_descriptor(connection, &mut head)?;
    if read == 0 {
        return Ok(None);
    }
    (&*connection).read_exact(&mut head[read..])?;
    let word = |at: usize| u32::from_ne_bytes(head[at..at + 4].try_into().expect("four bytes"));
    let (instructions, calls) = (word(4) as usize, word(8) as usize);
    if head[..4] != MAGIC || instructions > INSTRUCTIONS_MAX || calls > CALLS_MAX {
        return Err(wrong("what a container handed over is not understood"));
    }
    let mut bytes = vec![0; instructions * 8 + calls * 4];
    (&*connection).read_exact(&mut bytes)?;
    let (program, numbers) = bytes.split_at(instructions * 8);
    Ok(Some(Handover {
        listener: Listener::new(descriptor.ok_or_else(|| wrong("a container handed no listener over"))?),
        profile: Profile::read(program)
            .ok_or_else(|| wrong("a container's seccomp filter is not understood"))?,
        hot: numbers.as_chunks::<4>().0.iter().map(|number| u32::from_ne_bytes(*number)).collect(),
    }))
}

fn with_descriptor(connection: &UnixStream, into: &mut [u8]) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut parts = [IoSliceMut::new(into)];
    let mut space = nix::cmsg_space!([i32; 1]);
    let message =
        recvmsg::<()>(connection.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::MSG_CMSG_CLOEXEC)?;
    let mut descriptor = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(descriptors) = control {
            for number in descriptors {
                // SAFETY: the kernel has just made it for us.
                descriptor = Some(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
    Ok((message.bytes, descriptor))
}
