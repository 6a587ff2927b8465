//! Flags of `store`.

use super::{FetchArguments, PlatformArguments};
use clap::{Args, Subcommand};

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
    /// Takes in all images of a saved archive (`docker save`, or an OCI layout in a tar file), or the image at any place that
    /// `docker-slim copy` reads.
    Import(ImportArguments),
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

#[derive(Debug, Args)]
pub struct ImportArguments {
    /// An archive, or a place: `docker://NAME`, `oci:FOLDER[:NAME]`, `dir:FOLDER`, `docker-daemon:NAME`, `podman:NAME` …
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// The image's name; of an archive one more name, and it must hold one image only.
    #[arg(long, value_name = "NAME")]
    pub tag: Option<String>,
    #[command(flatten)]
    pub platforms: PlatformArguments,
    #[command(flatten)]
    pub fetch: FetchArguments,
}
