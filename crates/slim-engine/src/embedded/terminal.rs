//! A terminal of the container's for a command that joins it. It is made inside, so that the command finds it below its own
//! `/dev/pts`; the other end is handed to whoever asked, over the socket that is standard input (`execution.rs`).
//!
//! Invariant: no descriptor of the person's own terminal gets into the container, where one could type into it.

use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, UnixAddr, sendmsg};
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Of the container's own instance. `/dev/ptmx` could be changed by its root user; below this mount nothing can be made.
const MULTIPLEXER: &str = "/dev/pts/ptmx";

/// Makes a terminal that controls this process and is its three streams, and hands the other end over. The container's mounts
/// must be ours, and this process no leader of a group.
pub(super) fn take() -> io::Result<()> {
    let socket = io::stdin().as_fd().try_clone_to_owned()?;
    let failed = |error: io::Error| io::Error::new(error.kind(), format!("make a terminal: {error}"));
    let master = File::options().read(true).write(true).open(MULTIPLEXER).map_err(failed)?;
    let terminal = other_end(&master).map_err(failed)?;
    rustix::process::setsid()?;
    rustix::process::ioctl_tiocsctty(&terminal)?;
    nix::unistd::dup2_stdin(&terminal)?;
    nix::unistd::dup2_stdout(&terminal)?;
    nix::unistd::dup2_stderr(&terminal)?;
    let handed = [master.as_raw_fd()];
    let message = [ControlMessage::ScmRights(&handed)];
    sendmsg::<UnixAddr>(
        socket.as_raw_fd(),
        &[IoSlice::new(b"terminal")],
        &message,
        MsgFlags::MSG_NOSIGNAL,
        None,
    )?;
    Ok(())
}

/// What programs open of a terminal (ioctl_tty(2)); by descriptor, whatever is mounted where its path leads.
#[expect(unsafe_code, reason = "there is no safe wrapper of these ioctls here")]
fn other_end(master: &File) -> io::Result<OwnedFd> {
    let unlocked: libc::c_int = 0;
    // SAFETY: TIOCSPTLCK reads one int.
    nix::errno::Errno::result(unsafe {
        libc::ioctl(master.as_raw_fd(), libc::TIOCSPTLCK, &raw const unlocked)
    })?;
    let flags = libc::O_RDWR | libc::O_NOCTTY | libc::O_CLOEXEC;
    // SAFETY: TIOCGPTPEER takes its flags by value and gives a descriptor.
    let number =
        nix::errno::Errno::result(unsafe { libc::ioctl(master.as_raw_fd(), libc::TIOCGPTPEER, flags) })?;
    // SAFETY: the kernel has just made this descriptor for us, and nobody else knows of it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}
