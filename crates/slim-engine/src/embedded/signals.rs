//! Processes of this machine, by handles that never mean another one: waited for, and sent signals.

use super::record::Process;
use std::io;
use std::os::fd::OwnedFd;
use tokio::io::unix::AsyncFd;

/// A handle of a process; `None` when it has ended.
pub(super) fn handle_of(process: Process) -> io::Result<Option<OwnedFd>> {
    let pid = i32::try_from(process.pid).ok().and_then(rustix::process::Pid::from_raw);
    let pid = pid.ok_or_else(|| io::Error::other("no number of a process"))?;
    match rustix::process::pidfd_open(pid, rustix::process::PidfdFlags::empty()) {
        Err(rustix::io::Errno::SRCH) => Ok(None),
        // Between the look and the handle the number may have got another owner.
        Ok(handle) => Ok(Some(handle).filter(|_| process.lives())),
        Err(error) => Err(error.into()),
    }
}

/// Waits until a process has ended: then its handle is readable.
#[expect(unsafe_code, reason = "tokio cannot know that the descriptor stays the same")]
pub(super) async fn until_over(handle: OwnedFd) -> io::Result<()> {
    // SAFETY: an `OwnedFd` is one descriptor as long as it lives, which is as long as its registration.
    let registered = unsafe { AsyncFd::register(handle) }?;
    registered.readable().await.map(drop)
}

/// Sends a signal to this process and no other; whether it was there.
pub(super) fn send(process: Process, signal: i32) -> io::Result<bool> {
    let Some(handle) = handle_of(process)? else { return Ok(false) };
    let signal = rustix::process::Signal::from_named_raw(signal)
        .ok_or_else(|| io::Error::other(format!("signal {signal} is not sent")))?;
    match rustix::process::pidfd_send_signal(handle, signal) {
        Err(rustix::io::Errno::SRCH) => Ok(false),
        sent => Ok(sent.map(|()| true)?),
    }
}

/// `TERM`, `SIGTERM`, `15`.
pub(super) fn signal_number(name: &str) -> Option<i32> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("SIG") { upper.clone() } else { format!("SIG{upper}") };
    let number = upper.parse::<i32>().ok().and_then(|number| nix::sys::signal::Signal::try_from(number).ok());
    number.or_else(|| full.parse::<nix::sys::signal::Signal>().ok()).map(|signal| signal as i32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for name in ["TERM", "SIGTERM", "term", "15"] {
            assert_eq!(signal_number(name), Some(15), "{name}");
        }
        assert_eq!(signal_number("NOSUCH"), None);
        assert_eq!(signal_number("0"), None);
    }
}
