//! Flags about building the fat image first.

use clap::Args;
use std::path::PathBuf;

#[derive(Debug, Args)]
#[command(next_help_heading = "Building the fat image first")]
pub struct RecipeArguments {
    /// Build the fat image from this Dockerfile first, with `docker build`.
    #[arg(long, value_name = "FILE")]
    pub dockerfile: Option<PathBuf>,
    /// The folder that it is built in [default: the argument, else the working directory].
    #[arg(long, value_name = "FOLDER")]
    pub dockerfile_context: Option<PathBuf>,
    /// Name of the fat image that is built [default: the first --tag with `.fat`].
    #[arg(long, value_name = "NAME")]
    pub tag_fat: Option<String>,
    /// Remove the fat image that was built once the slim one is there.
    #[arg(long)]
    pub delete_generated_fat_image: bool,
    /// Show what `docker build` says.
    #[arg(long)]
    pub show_blogs: bool,
    /// `docker build --add-host`; may be given several times.
    #[arg(long, value_name = "HOST:ADDRESS")]
    pub cbo_add_host: Vec<String>,
    /// `docker build --build-arg`; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    pub cbo_build_arg: Vec<String>,
    /// `docker build --cache-from`; may be given several times.
    #[arg(long, value_name = "IMAGE")]
    pub cbo_cache_from: Vec<String>,
    /// `docker build --label`; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    pub cbo_label: Vec<String>,
    /// `docker build --target`: the stage to build.
    #[arg(long, value_name = "STAGE")]
    pub cbo_target: Option<String>,
    /// `docker build --network`.
    #[arg(long, value_name = "NETWORK")]
    pub cbo_network: Option<String>,
}
