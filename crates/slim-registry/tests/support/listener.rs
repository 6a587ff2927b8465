//! Notes what is told while blobs travel.

use slim_image::Digest;
use slim_registry::client::{Event, How, Progress};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// What was told.
#[derive(Default)]
pub struct Notes {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    done: BTreeMap<Digest, How>,
    planned: u64,
    moved: u64,
    already: u64,
    notices: Vec<String>,
}

impl Notes {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// How many blobs came to be there in this way.
    pub fn count(&self, how: How) -> usize {
        self.inner.lock().unwrap().done.values().filter(|found| **found == how).count()
    }

    /// Bytes that were told to have moved.
    pub fn moved(&self) -> u64 {
        self.inner.lock().unwrap().moved
    }

    /// Bytes of all blobs, as told before they travel.
    pub fn planned(&self) -> u64 {
        self.inner.lock().unwrap().planned
    }

    /// The most bytes that a blob began with.
    pub fn already(&self) -> u64 {
        self.inner.lock().unwrap().already
    }

    pub fn notices(&self) -> Vec<String> {
        self.inner.lock().unwrap().notices.clone()
    }
}

impl Progress for Notes {
    fn tell(&self, event: Event<'_>) {
        let mut inner = self.inner.lock().unwrap();
        match event {
            Event::Planned { bytes, .. } => inner.planned = bytes,
            Event::Began { already, .. } => inner.already = inner.already.max(already),
            Event::Moved { bytes, .. } => inner.moved += bytes,
            Event::Done { blob, how } => {
                inner.done.insert(blob.digest, how);
            }
            Event::Notice(notice) => inner.notices.push(notice),
        }
    }
}
