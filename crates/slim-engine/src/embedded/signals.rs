//! Processes of this machine, by handles that never mean another one: waited for, and sent signals.

use super::record::Process;
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::{Duration, Instant};
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
    match rustix::process::pidfd_send_signal(handle, of_number(signal)?) {
        Err(rustix::io::Errno::SRCH) => Ok(false),
        sent => Ok(sent.map(|()| true)?),
    }
}

/// Whether the process of a handle has ended.
pub(super) fn has_ended(handle: &OwnedFd) -> bool {
    let mut watched = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
    // It is readable then (pidfd_open(2)).
    poll(&mut watched, PollTimeout::ZERO).is_ok_and(|count| count > 0)
}

/// Kills this process and no other, and waits until it has ended. One that is not there is no error.
pub(super) fn kill(process: Process) -> io::Result<()> {
    const ENDS_WITHIN: Duration = Duration::from_secs(10);
    let Some(handle) = handle_of(process)? else { return Ok(()) };
    match rustix::process::pidfd_send_signal(&handle, rustix::process::Signal::KILL) {
        Err(rustix::io::Errno::SRCH) => return Ok(()),
        sent => sent?,
    }
    let began = Instant::now();
    while let Some(left) = ENDS_WITHIN.checked_sub(began.elapsed()) {
        // It is readable then (pidfd_open(2)).
        let mut watched = [PollFd::new(handle.as_fd(), PollFlags::POLLIN)];
        match poll(&mut watched, PollTimeout::try_from(left).map_err(io::Error::other)?) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => {}
            ended => return Ok(ended.map(drop)?),
        }
    }
    Err(io::Error::new(io::ErrorKind::TimedOut, format!("process {} does not end", process.pid)))
}

#[expect(unsafe_code, reason = "rustix has no name for the real-time signals")]
fn of_number(number: i32) -> io::Result<rustix::process::Signal> {
    match number {
        // SAFETY: the kernel has signals of these numbers, and what is made of one is only sent to other processes.
        1..=MOST => Ok(unsafe { rustix::process::Signal::from_raw_unchecked(number) }),
        _ => Err(io::Error::other(format!("there is no signal {number}"))),
    }
}

/// The highest number of a signal (signal(7)).
const MOST: i32 = 64;

/// `TERM`, `SIGTERM`, `15`, and the real-time signals: `RTMIN`, `SIGRTMIN+3`, `RTMAX-2`, numbers up to 64.
pub(super) fn signal_number(name: &str) -> Option<i32> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("SIG").unwrap_or(&upper);
    let number = upper.parse::<i32>().ok().filter(|number| (1..=MOST).contains(number));
    number.or_else(|| real_time(short)).or_else(|| {
        format!("SIG{short}").parse::<nix::sys::signal::Signal>().ok().map(|signal| signal as i32)
    })
}

/// `RTMIN`, `RTMIN+3`, `RTMAX-2`, `RTMAX`, counted as the C library does, which has the first two for itself.
fn real_time(name: &str) -> Option<i32> {
    let (least, most) = (libc::SIGRTMIN(), libc::SIGRTMAX());
    let offset = |text: &str, sign: char| match text {
        "" => Some(0),
        text => text.strip_prefix(sign).and_then(|digits| digits.parse::<u8>().ok()).map(i32::from),
    };
    let number = match (name.strip_prefix("RTMIN"), name.strip_prefix("RTMAX")) {
        (Some(rest), _) => least + offset(rest, '+')?,
        (_, Some(rest)) => most - offset(rest, '-')?,
        _ => return None,
    };
    (least..=most).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for name in ["TERM", "SIGTERM", "term", "15"] {
            assert_eq!(signal_number(name), Some(15), "{name}");
        }
        for wrong in ["NOSUCH", "0", "65", "-1", "RTMIN-1", "RTMIN+31", "RTMAX+1", "SIGRTMIN3", "SIGSIGTERM"]
        {
            assert_eq!(signal_number(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn real_time_signals_are_counted_from_both_ends() {
        // As kill(1) lists them with glibc.
        for (name, number) in
            [("RTMIN", 34), ("SIGRTMIN+3", 37), ("rtmax-2", 62), ("SIGRTMAX", 64), ("64", 64)]
        {
            assert_eq!(signal_number(name), Some(number), "{name}");
        }
    }

    #[test]
    fn what_is_killed_has_ended_and_nobody_else_is() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let process = Process::of(child.id()).unwrap();
        kill(Process { start_time: process.start_time + 1, ..process }).unwrap();
        assert!(child.try_wait().unwrap().is_none(), "another process of this number was meant");
        kill(process).unwrap();
        assert!(child.try_wait().unwrap().is_some());
        kill(process).unwrap();
    }
}
