//! What an image is: reference, config, tree, path, and the archive that carries it. Knows no engine.
#![forbid(unsafe_code)]

pub mod path;
pub mod tree;

pub use path::ImagePath;
pub use tree::{Entry, ImageTree, Kind, TreeError};
