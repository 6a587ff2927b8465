//! The person outside: Enter on the terminal, signal USR1, Ctrl-C.
//!
//! Invariant: the terminal is read only while we are its foreground process group. A background job that reads its
//! terminal is stopped by the kernel (SIGTTIN), and a stopped sensor loses events.

use async_trait::async_trait;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{SFlag, fstat, major, minor};
use nix::unistd::{getpgrp, isatty, read, tcgetpgrp};
use slim_build::{InputEnded, Person};
use std::io::Stdin;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Mutex;
use tokio::sync::watch;

/// Listens to terminal and signals.
pub struct Outside {
    user_signal: Mutex<Signal>,
    interrupted: watch::Receiver<bool>,
}

impl Outside {
    /// Takes over the signals; from now on they no longer end the process by themselves. Call it within the runtime.
    ///
    /// # Errors
    /// When a signal handler cannot be installed.
    pub fn new() -> std::io::Result<Self> {
        let (sender, interrupted) = watch::channel(false);
        for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
            let mut stream = signal(kind)?;
            let sender = sender.clone();
            tokio::spawn(async move {
                while stream.recv().await.is_some() {
                    sender.send_replace(true);
                }
            });
        }
        Ok(Self { user_signal: Mutex::new(signal(SignalKind::user_defined1())?), interrupted })
    }
}

#[async_trait]
impl Person for Outside {
    async fn enter(&self) -> Result<(), InputEnded> {
        let given_up = Arc::new(AtomicBool::new(false));
        let _guard = SetOnDrop(Arc::clone(&given_up));
        tokio::task::spawn_blocking(move || read_line(&std::io::stdin(), &given_up))
            .await
            .unwrap_or(Err(InputEnded))
    }

    async fn signal(&self) {
        self.user_signal.lock().await.recv().await;
    }

    async fn interrupted(&self) {
        let mut interrupted = self.interrupted.clone();
        // The sender lives as long as the runtime: an error means that it is going down.
        let _ = interrupted.wait_for(|interrupted| *interrupted).await;
    }
}

struct SetOnDrop(Arc<AtomicBool>);

impl Drop for SetOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Whether standard input can never bring an Enter: closed, or /dev/null.
pub fn input_has_ended() -> bool {
    let Ok(stat) = fstat(std::io::stdin().as_fd()) else { return true };
    let is_device = stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFCHR.bits();
    is_device && major(stat.st_rdev) == 1 && minor(stat.st_rdev) == 3
}

/// Reads up to the end of a line, unbuffered, in short waits so that it can be given up.
fn read_line(stdin: &Stdin, given_up: &AtomicBool) -> Result<(), InputEnded> {
    const WAIT_MILLISECONDS: u16 = 100;
    let terminal = isatty(stdin.as_fd()).unwrap_or(false);
    while !given_up.load(Ordering::Relaxed) {
        if terminal && tcgetpgrp(stdin.as_fd()) != Ok(getpgrp()) {
            std::thread::sleep(std::time::Duration::from_millis(u64::from(WAIT_MILLISECONDS)));
            continue;
        }
        let mut wanted = [PollFd::new(stdin.as_fd(), PollFlags::POLLIN)];
        match poll(&mut wanted, PollTimeout::from(WAIT_MILLISECONDS)) {
            Ok(0) | Err(nix::errno::Errno::EINTR) => continue,
            Ok(_) => {}
            Err(_) => return Err(InputEnded),
        }
        let mut byte = [0];
        match read(stdin.as_fd(), &mut byte) {
            Ok(0) => return Err(InputEnded),
            Ok(_) if byte[0] == b'\n' => return Ok(()),
            Ok(_) | Err(nix::errno::Errno::EINTR | nix::errno::Errno::EAGAIN) => {}
            // EIO: the terminal is gone, or we were put into the background between the check and the read.
            Err(_) if terminal && tcgetpgrp(stdin.as_fd()).is_ok() => {}
            Err(_) => return Err(InputEnded),
        }
    }
    Err(InputEnded)
}
