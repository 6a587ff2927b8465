//! Flags of `build` and of `profile`.

use super::{CommonArguments, ImageArguments, KeepArguments, RecipeArguments, VerifyArguments};
use clap::Args;

#[derive(Debug, Args)]
pub struct BuildArguments {
    #[command(flatten)]
    pub common: CommonArguments,
    /// Name of the slim image; may be given several times [default: <repository>.slim].
    #[arg(long, value_name = "NAME", help_heading = None)]
    pub tag: Vec<String>,
    #[command(flatten)]
    pub verify: VerifyArguments,
    #[command(flatten)]
    pub recipe: RecipeArguments,
    #[command(flatten)]
    pub keep: KeepArguments,
    #[command(flatten)]
    pub edits: ImageArguments,
}

#[derive(Debug, Args)]
pub struct ProfileArguments {
    #[command(flatten)]
    pub common: CommonArguments,
}
