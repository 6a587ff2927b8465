//! What an image is: reference, config, tree, path, and the archive that carries it. Knows no engine.
#![forbid(unsafe_code)]

pub mod config;
pub mod digest;
pub mod listing;
pub mod memory;
pub mod path;
pub mod reference;
pub mod tree;

pub use config::{Config, Healthcheck, SourceImage};
pub use digest::Digest;
pub use listing::{Listing, ListingBuilder};
pub use memory::MemoryTree;
pub use path::ImagePath;
pub use reference::Reference;
pub use tree::{Contents, Entry, ImageTree, Kind, TreeError};
