//! Flags of `run`. Their names are `docker run`'s.

use clap::Args;

/// Flags of `run`.
#[derive(Debug, Args)]
pub struct RunArguments {
    /// Publish a port: [[IP:]PORT:]PORT (TCP).
    #[arg(short = 'p', long, value_name = "PORT")]
    pub publish: Vec<String>,
    /// Publish every exposed port under a free one of this machine.
    #[arg(short = 'P', long)]
    pub publish_all: bool,
    /// Set a variable: NAME=VALUE, or NAME for the value that it has here.
    #[arg(short, long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Mount: SOURCE:TARGET[:ro], NAME:TARGET, or TARGET.
    #[arg(short, long, value_name = "MOUNT")]
    pub volume: Vec<String>,
    /// Memory at a path: PATH[:OPTIONS].
    #[arg(long, value_name = "PATH")]
    pub tmpfs: Vec<String>,
    /// Run as this user: name or number, with :GROUP behind it.
    #[arg(short, long)]
    pub user: Option<String>,
    /// Working folder.
    #[arg(short, long, value_name = "PATH")]
    pub workdir: Option<String>,
    /// Name of the container's host.
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
    /// The program, instead of the image's ENTRYPOINT.
    #[arg(long, value_name = "PROGRAM")]
    pub entrypoint: Option<String>,
    /// `none` (one of the container's own with loopback alone, the default) or `host`.
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<String>,
    /// Run under this seccomp profile: a file, a folder of artifacts, an image that was built here, or one in a layout or
    /// a registry with a policy attached (`oci:FOLDER[:NAME]`, `docker://NAME`).
    #[arg(long, value_name = "REF")]
    pub policy: Option<String>,
    /// seccomp=FILE, seccomp=unconfined, no-new-privileges, systempaths=unconfined.
    #[arg(long, value_name = "OPTION")]
    pub security_opt: Vec<String>,
    /// Add a capability.
    #[arg(long, value_name = "NAME")]
    pub cap_add: Vec<String>,
    /// Take a capability away.
    #[arg(long, value_name = "NAME")]
    pub cap_drop: Vec<String>,
    /// Make the root read-only.
    #[arg(long)]
    pub read_only: bool,
    /// Remove the container when it ends: it always is.
    #[arg(long)]
    pub rm: bool,
    /// Name, id or beginning of an id of an image in the store.
    pub image: String,
    /// Instead of the image's CMD.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}
