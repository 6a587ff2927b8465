//! What an image is: reference, config, tree, path, and the archive that carries it. Knows no engine.
#![forbid(unsafe_code)]

pub mod archive;
pub mod collector;
pub mod config;
pub mod difference;
pub mod digest;
mod hashing;
pub mod history;
mod in_container;
pub mod layer;
pub mod layout;
pub mod listing;
pub mod manifest;
pub mod memory;
mod on_disk;
pub mod overlay;
pub mod path;
pub mod platform;
pub mod reference;
pub mod saved;
mod shelf;
mod tape;
pub mod tree;
pub mod validate;

pub use archive::SlimImage;
pub use config::{Config, Healthcheck, SourceImage};
pub use difference::{Aspect, TreeDifference};
pub use digest::Digest;
pub use layer::{Layer, LayerEntry};
pub use layout::{Layout, LayoutError, Selector};
pub use listing::{Listing, ListingBuilder};
pub use manifest::{Descriptor, Document, Index, Manifest, ManifestError, Packing};
pub use memory::MemoryTree;
pub use overlay::{OverlayError, OverlayTree};
pub use path::ImagePath;
pub use platform::Platform;
pub use reference::Reference;
pub use saved::SavedTree;
pub use shelf::ArchiveError;
pub use tape::TapeError;
pub use tree::{Contents, Entry, ImageTree, Kind, TreeError};
pub use validate::{ValidImage, ValidateError, validate};
