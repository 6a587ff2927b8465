//! A terminal for a command in a running container: one of the container's own, so that its programs find it by name
//! (`/dev/pts/1`). Who becomes the command makes it, since only there is the container's `/dev/pts`; its master goes to whoever
//! asked, over the socket that is the command's standard input until then.

use super::attaching::Size;
use super::streams::{message, resize};
use nix::fcntl::OFlag;
use nix::pty::{grantpt, posix_openpt, ptsname_r, unlockpt};
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};
use std::fs::OpenOptions;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

/// Makes a terminal of the container that we are in ours, with all three streams. We must lead no session yet.
pub(super) fn become_ours(size: Size) -> io::Result<()> {
    let master = posix_openpt(OFlag::O_RDWR | OFlag::O_NOCTTY | OFlag::O_CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let flags = OFlag::O_NOCTTY | OFlag::O_NOFOLLOW;
    let slave =
        OpenOptions::new().read(true).write(true).custom_flags(flags.bits()).open(ptsname_r(&master)?)?;
    resize(&master, size);
    let handed = [master.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&handed)];
    let socket = io::stdin();
    sendmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &[IoSlice::new(b"terminal")],
        &message,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    rustix::process::setsid()?;
    rustix::process::ioctl_tiocsctty(&slave)?;
    dup2_stdin(&slave)?;
    dup2_stdout(&slave)?;
    Ok(dup2_stderr(&slave)?)
}

/// The master, once it came; `None` where whoever was to make it is gone.
pub(super) fn received(socket: impl AsFd) -> io::Result<Option<OwnedFd>> {
    let (_, descriptors) = message(&socket.as_fd().try_clone_to_owned()?)?;
    Ok(descriptors.into_iter().next())
}
