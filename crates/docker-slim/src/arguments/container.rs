//! Flags about how the fat container runs.

use clap::Args;

#[derive(Debug, Args)]
#[command(next_help_heading = "How the container runs")]
pub struct ContainerArguments {
    /// Publish a port: `[[HOST_IP:]HOST_PORT:]PORT[/PROTOCOL]`; may be given several times.
    #[arg(long, value_name = "PORT")]
    pub publish_port: Vec<String>,
    /// Publish every exposed port under the same number on the host.
    #[arg(long)]
    pub publish_exposed_ports: bool,
    /// Set an environment variable: `NAME=VALUE`, or `NAME` to take the value from here.
    #[arg(long, value_name = "NAME=VALUE")]
    pub env: Vec<String>,
    /// Other ENTRYPOINT: JSON array or shell words.
    #[arg(long, value_name = "COMMAND")]
    pub entrypoint: Option<String>,
    /// Other CMD: JSON array or shell words.
    #[arg(long, value_name = "COMMAND")]
    pub cmd: Option<String>,
    /// Other USER.
    #[arg(long, value_name = "USER")]
    pub user: Option<String>,
    /// Other WORKDIR.
    #[arg(long, value_name = "FOLDER")]
    pub workdir: Option<String>,
    /// Mount a folder or volume: `SOURCE:TARGET[:OPTIONS]`; may be given several times. Never part of the slim image.
    #[arg(long, value_name = "MOUNT")]
    pub mount: Vec<String>,
    /// Network to join.
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<String>,
    /// Host name of the container.
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
}
