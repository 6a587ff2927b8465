//! The streams of a container, or of a command in one, connected with ours.

use crate::console;
use slim_engine::embedded::{Control, Streams};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot::{self, Receiver};

/// Connects the container's streams with ours; what is to be waited for, and need not be.
pub fn hand_on(streams: Streams) -> Vec<Receiver<()>> {
    let Streams { input, output, errors, control } = streams;
    if let Some(input) = input {
        // It may wait for a person long after the container has ended: nobody waits for it.
        std::thread::spawn(move || copy(io::stdin().as_fd().try_clone_to_owned(), input));
    }
    tokio::spawn(follow_size(control));
    let mut copies = vec![copied(output, io::stdout().as_fd().try_clone_to_owned())];
    copies.extend(errors.map(|errors| copied(errors, io::stderr().as_fd().try_clone_to_owned())));
    copies
}

/// Copies in a thread that nobody has to wait for: a process that a command leaves behind may hold its streams for ever.
fn copied(from: OwnedFd, to: io::Result<OwnedFd>) -> Receiver<()> {
    let (done, copied) = oneshot::channel();
    std::thread::spawn(move || {
        if let Ok(to) = to {
            copy(Ok(from), to);
        }
        drop(done);
    });
    copied
}

/// Either side may hang up at any time.
fn copy(from: io::Result<OwnedFd>, to: OwnedFd) {
    if let Ok(from) = from {
        let _ = io::copy(&mut File::from(from), &mut File::from(to));
    }
}

async fn follow_size(control: Control) {
    let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
    while changes.recv().await.is_some() {
        if let Some(size) = console::size() {
            control.resize(size);
        }
    }
}
