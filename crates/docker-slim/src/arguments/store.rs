//! Flags of `store`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// The embedded engine's own images.
#[derive(Debug, Args)]
pub struct StoreArguments {
    #[command(subcommand)]
    pub command: StoreCommand,
}

#[derive(Debug, Subcommand)]
pub enum StoreCommand {
    /// Lists the images: names, id, size, date.
    #[command(visible_alias = "list")]
    Ls,
    /// Takes in the images of a saved archive (`docker save`, or an OCI layout in a tar file).
    Import {
        /// The archive.
        archive: PathBuf,
        /// One more name for its image; the archive must hold one only.
        #[arg(long, value_name = "NAME")]
        tag: Option<String>,
    },
    /// Takes names away; an image goes with its last name.
    Rm {
        /// Names, ids or beginnings of ids.
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Removes images without a name, and all that no image and no container needs. With --engine: instead, what this
    /// program keeps in that engine to be used again, the images of sidecar containers (--observer sidecar).
    Prune,
}
