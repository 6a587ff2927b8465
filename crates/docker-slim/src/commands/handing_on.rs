//! The streams of a container, or of a command in one, connected with ours.

use crate::console;
use crate::failure::Failure;
use slim_engine::embedded::{Control, Streams};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;

/// Whether what `-i` and `-t` ask for can be had.
///
/// # Errors
/// A terminal is to be handed on, and there is none.
pub fn can_hand_on(interactive: bool, tty: bool) -> Result<(), Failure> {
    if interactive && tty && !console::is_there() {
        let failure = Failure::usage("hand a terminal on: standard input is none");
        return Err(failure.with_hint("leave -t away where input is piped"));
    }
    Ok(())
}

/// Connects the container's streams with ours; what is to be waited for.
pub fn hand_on(streams: Streams) -> Vec<JoinHandle<()>> {
    let Streams { input, output, errors, control } = streams;
    if let Some(input) = input {
        // It may wait for a person long after the container has ended: nobody waits for it.
        std::thread::spawn(move || copy(io::stdin().as_fd().try_clone_to_owned(), input));
    }
    tokio::spawn(follow_size(control));
    let to_output = io::stdout().as_fd().try_clone_to_owned();
    let to_errors = io::stderr().as_fd().try_clone_to_owned();
    let mut copies =
        vec![tokio::task::spawn_blocking(move || to_output.map_or((), |to| copy(Ok(output), to)))];
    if let Some(errors) = errors {
        copies.push(tokio::task::spawn_blocking(move || to_errors.map_or((), |to| copy(Ok(errors), to))));
    }
    copies
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
