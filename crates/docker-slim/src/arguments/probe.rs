//! Flags of `probe`.

use super::HttpArguments;
use clap::Args;

#[derive(Debug, Args)]
pub struct ProbeArguments {
    /// What to probe: a host's name or address, `HOST:PORT`, or `SCHEME://HOST[:PORT]`.
    #[arg(value_name = "ADDRESS")]
    pub address: Option<String>,
    /// What to probe (the same as the argument).
    #[arg(long, value_name = "ADDRESS")]
    pub target: Option<String>,
    /// Port to probe; may be given several times [default: 80, or the scheme's own].
    #[arg(long, value_name = "PORT")]
    pub port: Vec<u16>,
    #[command(flatten)]
    pub http: HttpArguments,
}
