//! Watching and reaching containers from beside them: this program once more, in a short-lived container of the engine that
//! runs them, and the way to it.
//!
//! The far side ([`serve`]) has the kernel that the containers run on: it holds the sensors, reads /proc, and connects from
//! inside the containers' networks. The near side ([`Sidecar`]) is where the build runs; its observers stand behind the same
//! seam as local ones. Between them is one pair of byte streams, the sidecar's standard input and output, which carries any
//! number of conversations ([`protocol`]).
//!
//! Invariant: the far side ends when the near side is gone, whatever happened to it, and nothing that it stopped stays
//! stopped.
#![forbid(unsafe_code)]

mod far;
mod follow;
mod link;
mod near;
mod observe;
pub mod protocol;

pub use far::{ServeError, serve};
pub use follow::Followed;
pub use near::Sidecar;
pub use observe::Prepared;
