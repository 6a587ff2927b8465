//! The kernel's end of seccomp's user notification (`seccomp_unotify(2)`).

use nix::libc::{self, seccomp_notif, seccomp_notif_resp};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

/// `SECCOMP_USER_NOTIF_FD_SYNC_WAKE_UP` of `linux/seccomp.h`.
const SYNC_WAKE_UP: u64 = 1;

mod requests {
    use super::{seccomp_notif, seccomp_notif_resp};
    nix::ioctl_readwrite!(receive, b'!', 0, seccomp_notif);
    nix::ioctl_readwrite!(answer, b'!', 1, seccomp_notif_resp);
    nix::ioctl_write_ptr!(is_valid, b'!', 2, u64);
    nix::ioctl_write_int!(set_flags, b'!', 4);
}

/// Where calls that wait for an answer are read. When it is closed, they and all later ones fail with ENOSYS.
pub struct Listener(OwnedFd);

/// A call that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    id: u64,
    /// The calling thread, in our pid namespace.
    pub thread: u32,
    pub number: u32,
    /// AUDIT_ARCH_* of `linux/audit.h`.
    pub machine: u32,
    pub instruction: u64,
    pub arguments: [u64; 6],
}

/// What becomes of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is made, as if nobody had looked.
    GoOn,
    /// It fails with this number, above 0.
    Fail(i32),
}

impl Listener {
    pub fn new(descriptor: OwnedFd) -> Self {
        // Kernels before 6.6 do not know it: there it takes a little longer.
        // SAFETY: the descriptor is open; the request takes a number.
        let set = unsafe { requests::set_flags(descriptor.as_raw_fd(), SYNC_WAKE_UP) };
        tracing::debug!(?set, "synchronous waking");
        Self(descriptor)
    }

    /// Takes a call that waits; waits for one itself. `None` when it was interrupted, or the caller has gone.
    ///
    /// # Errors
    /// The kernel's.
    pub fn receive(&self) -> io::Result<Option<Waiting>> {
        // SAFETY: integers alone; the kernel wants zeros.
        let mut notification: seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: the descriptor is open, the place is ours and has the size that the request's number says.
        match unsafe { requests::receive(self.0.as_raw_fd(), &raw mut notification) } {
            Ok(_) => {
                let seccomp_notif { id, pid, data, .. } = notification;
                Ok(Some(Waiting {
                    id,
                    thread: pid,
                    number: data.nr.cast_unsigned(),
                    machine: data.arch,
                    instruction: data.instruction_pointer,
                    arguments: data.args,
                }))
            }
            Err(nix::errno::Errno::EINTR | nix::errno::Errno::ENOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether the caller still waits: what was read of it by its number was its own.
    pub fn still_waits(&self, waiting: &Waiting) -> bool {
        // SAFETY: the descriptor is open, the number is ours.
        unsafe { requests::is_valid(self.0.as_raw_fd(), &raw const waiting.id) }.is_ok()
    }

    /// Answers. A caller that is gone needs none.
    ///
    /// # Errors
    /// The kernel's.
    pub fn answer(&self, waiting: &Waiting, answer: Answer) -> io::Result<()> {
        let (error, flags) = match answer {
            Answer::GoOn => (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32),
            Answer::Fail(number) => (-number, 0),
        };
        let mut response = seccomp_notif_resp { id: waiting.id, val: 0, error, flags };
        // SAFETY: the descriptor is open, the place is ours and has the size that the request's number says.
        match unsafe { requests::answer(self.0.as_raw_fd(), &raw mut response) } {
            Ok(_) | Err(nix::errno::Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
pub mod tests {
    use super::Waiting;

    /// A call of this machine's own ABI.
    pub fn waiting(number: u32, arguments: [u64; 6]) -> Waiting {
        Waiting { id: 1, thread: 1, number, machine: 0xC000_003E, instruction: 0, arguments }
    }
}
