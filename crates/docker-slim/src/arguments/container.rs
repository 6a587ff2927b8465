//! Flags about how the fat container runs.

use clap::Args;
use std::path::PathBuf;

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
    /// Take environment variables from this file, one `NAME=VALUE` or `NAME` a line; --env goes before it.
    #[arg(long, value_name = "FILE")]
    pub env_file: Option<PathBuf>,
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
    /// Add a volume at this path of the container, filled with what the image holds there; may be given several times.
    #[arg(long, value_name = "PATH")]
    pub volume: Vec<String>,
    /// Expose a port: `PORT[-PORT][/PROTOCOL]`; may be given several times.
    #[arg(long, value_name = "PORT")]
    pub expose: Vec<String>,
    /// Add a label to the container: `NAME=VALUE`; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    pub label: Vec<String>,
    /// Link another container: `NAME[:ALIAS]`; may be given several times.
    #[arg(long, value_name = "CONTAINER")]
    pub link: Vec<String>,
    /// Add a line to /etc/hosts: `HOST:ADDRESS`; may be given several times.
    #[arg(long, value_name = "HOST:ADDRESS")]
    pub etc_hosts_map: Vec<String>,
    /// Use this name server; may be given several times.
    #[arg(long, value_name = "ADDRESS")]
    pub container_dns: Vec<String>,
    /// Search names in this domain; may be given several times.
    #[arg(long, value_name = "DOMAIN")]
    pub container_dns_search: Vec<String>,
    /// OCI runtime to use [default: the engine's own].
    #[arg(long, value_name = "NAME")]
    pub cro_runtime: Option<String>,
    /// JSON file with fields of the engine's HostConfig; flags go before it.
    #[arg(long, value_name = "FILE")]
    pub cro_host_config_file: Option<PathBuf>,
    /// Set a kernel parameter in the container: `NAME=VALUE`; may be given several times.
    #[arg(long, value_name = "NAME=VALUE")]
    pub cro_sysctl: Vec<String>,
    /// Size of /dev/shm in bytes; -1: the engine's own.
    #[arg(long, value_name = "BYTES", default_value_t = -1, allow_hyphen_values = true)]
    pub cro_shm_size: i64,
    /// Network to join.
    #[arg(long, value_name = "NETWORK")]
    pub network: Option<String>,
    /// Host name of the container.
    #[arg(long, value_name = "NAME")]
    pub hostname: Option<String>,
}
