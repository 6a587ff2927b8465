//! Flags of `images`.

use clap::Args;

#[derive(Debug, Args)]
pub struct ImagesArguments {
    /// Those whose name has this in it.
    #[arg(value_name = "TEXT")]
    pub name: Option<String>,
    /// Slim ones alone.
    #[arg(long)]
    pub slim: bool,
}
