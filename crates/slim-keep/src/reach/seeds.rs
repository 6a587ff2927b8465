//! What the rules about the system hand in: seeds with one kind of reason.

use super::Via;
use crate::context::Context;
use crate::listing;
use crate::reason::Reason;
use crate::seed::Seed;
use slim_image::ImagePath;
use slim_image::path::escape;

/// Why a file reaches others: by which rule, and under which name it asks for them.
#[derive(Clone, Copy)]
pub(super) struct Asks<'a> {
    pub via: Via,
    pub from: &'a ImagePath,
    pub line: Option<u32>,
    pub what: &'a [u8],
}

impl<'a> Asks<'a> {
    pub(super) fn new(via: Via, from: &'a ImagePath, what: &'a (impl AsRef<[u8]> + ?Sized)) -> Self {
        Self { via, from, line: None, what: what.as_ref() }
    }

    pub(super) fn object(&self, path: impl AsRef<[u8]>) -> Seed {
        Seed::object(path, self.reason())
    }

    pub(super) fn program(&self, path: impl AsRef<[u8]>) -> Seed {
        Seed::program(path, self.reason())
    }

    pub(super) fn tree(&self, path: impl AsRef<[u8]>) -> Seed {
        Seed::tree(path, self.reason())
    }

    pub(super) fn reason(&self) -> Reason {
        Reason::Reachable { via: self.via, from: self.from.clone(), line: self.line, what: escape(self.what) }
    }
}

/// A path below a directory that a text or a table names: it may hold slashes and dots.
pub(super) fn below(directory: &ImagePath, name: impl AsRef<[u8]>) -> ImagePath {
    ImagePath::new([directory.as_bytes(), b"/", name.as_ref()].concat())
}

/// The places that a variable of the environment names, several with colons between them. The fundamental directories of
/// a system are none.
pub(super) fn places<'a>(context: &'a Context<'_>, name: &str) -> impl Iterator<Item = &'a str> {
    let value = context.environment.value(name).unwrap_or_default();
    value.split(':').filter(move |place| {
        let walk = context.walk(place.as_bytes(), true);
        place.starts_with('/') && walk.found().is_some_and(|found| !listing::is_fundamental(context, found))
    })
}
