//! Flags of what works with registries: `pull`, `push`, `copy`, `registry serve`.

use clap::{Args, Subcommand};
use std::net::SocketAddr;
use std::path::PathBuf;

/// How registries are talked to.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registries")]
pub struct ClientArguments {
    /// Take credentials from this file (Docker's `config.json`, Podman's `auth.json`) [default: where `podman login` and
    /// `docker login` store them, or as REGISTRY_AUTH_FILE and DOCKER_CONFIG say].
    #[arg(long, value_name = "FILE")]
    pub auth_file: Option<PathBuf>,
    /// Use this registry without TLS, or with a certificate that nobody vouches for; can be given several times. One on this
    /// machine is used without TLS always.
    #[arg(long, value_name = "HOST[:PORT]")]
    pub insecure_registry: Vec<String>,
    /// How many blobs travel at the same time.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=64), value_name = "NUMBER")]
    pub parallel: u16,
}

/// How registries are talked to by what takes images out of them.
#[derive(Debug, Args)]
#[command(next_help_heading = "Registries")]
pub struct FetchArguments {
    /// Look for what is in a registry in this mirror first: `docker.io=mirror.example:5000/folder`; can be given several
    /// times.
    #[arg(long, value_name = "REGISTRY=MIRROR")]
    pub registry_mirror: Vec<String>,
    #[command(flatten)]
    pub client: ClientArguments,
}

/// Which images of an index.
#[derive(Debug, Args)]
pub struct PlatformArguments {
    /// The image for this platform, and no other: `linux/arm64`, `linux/arm/v7`.
    #[arg(long, value_name = "OS/ARCH[/VARIANT]", conflicts_with = "all_platforms")]
    pub platform: Option<String>,
    /// The whole index, with the images for all platforms.
    #[arg(long)]
    pub all_platforms: bool,
    /// Also what refers to the image: signatures, lists of contents (OCI referrers).
    #[arg(long)]
    pub referrers: bool,
}

#[derive(Debug, Args)]
pub struct PullArguments {
    /// The image: `NAME[:TAG][@DIGEST]` or `docker://NAME…`.
    #[arg(value_name = "IMAGE")]
    pub image: String,
    /// Where it goes: `oci:FOLDER[:NAME]`, `oci-archive:FILE[:NAME]`, `docker-archive:FILE[:NAME]`, `dir:FOLDER`,
    /// `docker-daemon:NAME`, `podman:NAME`, `containerd:NAME`, `embedded:NAME` [default: the engine that --engine says, under its
    /// own name].
    #[arg(long, short, value_name = "PLACE")]
    pub output: Option<String>,
    #[command(flatten)]
    pub platforms: PlatformArguments,
    #[command(flatten)]
    pub fetch: FetchArguments,
}

#[derive(Debug, Args)]
pub struct PushArguments {
    /// The image: name or id in an engine; `oci:FOLDER[:NAME]`, `oci-archive:FILE[:NAME]`, `docker-archive:FILE[:NAME]`,
    /// `dir:FOLDER`, `docker-daemon:NAME`, `podman:NAME`, `containerd:NAME`, `embedded:NAME`, or a path to such files.
    #[arg(value_name = "SOURCE")]
    pub source: String,
    /// What it is called in the registry: `NAME[:TAG]` or `docker://NAME…` [default: its name in the engine].
    #[arg(value_name = "IMAGE")]
    pub image: Option<String>,
    #[command(flatten)]
    pub platforms: PlatformArguments,
    /// Push blobs in chunks of so many bytes, for registries that take no large requests.
    #[arg(long, value_name = "BYTES")]
    pub chunk_size: Option<u64>,
    /// Attach the image's policy as an OCI artifact: `auto`, that of its last build below the state path, where there is
    /// one; a folder of artifacts; or `off`.
    #[arg(long, value_name = "WHICH", default_value = "auto")]
    pub attach_policy: String,
    #[command(flatten)]
    pub client: ClientArguments,
}

#[derive(Debug, Args)]
pub struct CopyArguments {
    /// The image: `NAME[:TAG][@DIGEST]` or `docker://NAME…` in a registry, or any place that `push` reads.
    #[arg(value_name = "FROM")]
    pub from: String,
    /// Where it goes: `NAME[:TAG]` or `docker://NAME…` in a registry, or any place that `pull --output` writes.
    #[arg(value_name = "TO")]
    pub to: String,
    #[command(flatten)]
    pub platforms: PlatformArguments,
    /// Push blobs in chunks of so many bytes, for registries that take no large requests.
    #[arg(long, value_name = "BYTES")]
    pub chunk_size: Option<u64>,
    #[command(flatten)]
    pub fetch: FetchArguments,
}

#[derive(Debug, Args)]
pub struct RegistryArguments {
    #[command(subcommand)]
    pub command: RegistryCommand,
}

#[derive(Debug, Subcommand)]
pub enum RegistryCommand {
    /// Serves a registry out of a folder until it is told to stop: OCI distribution 1.1, with referrers; without users and
    /// without TLS.
    #[command(visible_alias = "server")]
    Serve(ServeArguments),
}

#[derive(Debug, Args)]
pub struct ServeArguments {
    /// Address and port to listen on; port 0 takes one that is free. An address that others reach lets all of them read,
    /// write and delete.
    #[arg(long, default_value = "127.0.0.1:5000", value_name = "ADDRESS")]
    pub listen: SocketAddr,
    /// Folder that holds the registry [default: `.registry` below the state path].
    #[arg(long, value_name = "FOLDER")]
    pub root: Option<PathBuf>,
}
