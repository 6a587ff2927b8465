//! What is told while blobs travel.

use slim_image::{Descriptor, Digest};

/// How a blob came to be where it is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum How {
    /// Its bytes were moved.
    Moved,
    /// It was there before.
    AlreadyThere,
    /// The registry took it over from another repository of its own.
    Mounted,
}

/// Something happened.
#[derive(Debug)]
pub enum Event<'a> {
    /// What has to be moved is known: so many blobs, of so many bytes together.
    Planned { blobs: usize, bytes: u64 },
    /// A blob begins to travel; so many of its bytes are there already.
    Began { blob: &'a Descriptor, already: u64 },
    /// So many bytes more of it have travelled.
    Moved { blob: &'a Digest, bytes: u64 },
    /// It is where it is wanted.
    Done { blob: &'a Descriptor, how: How },
    /// Something did not work and is done otherwise.
    Notice(String),
}

/// Listens. Called from several tasks.
pub trait Progress: Send + Sync {
    fn tell(&self, event: Event<'_>);
}

/// Nobody listens.
impl Progress for () {
    fn tell(&self, _: Event<'_>) {}
}
