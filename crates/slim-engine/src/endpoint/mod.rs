//! Which engine is meant: the docker command line's own rules, as one pure function over explicit inputs.
//!
//! Precedence: context flag; host flag; `DOCKER_HOST`; `DOCKER_CONTEXT`; `currentContext` of `config.json`; the local
//! socket. The only thing read here are files below the docker configuration folder that was handed in.
//! Source: docker/cli, `cli/command/cli.go` (`resolveContextName`, `resolveDefaultDockerEndpoint`),
//! `opts/hosts.go` (`ParseHost`) and `cli/flags/options.go`.

mod context;
mod host;

use std::fmt;
use std::path::{Path, PathBuf};

pub use host::parse_host;

/// Where Docker listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// What the user and the environment said. `None` and the empty string both mean: not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EndpointInputs {
    /// `--host`.
    pub host_flag: Option<String>,
    /// `--crt-context`.
    pub context_flag: Option<String>,
    /// `DOCKER_HOST`.
    pub docker_host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub docker_context: Option<String>,
    /// `DOCKER_TLS`: any value means TLS without checking the server.
    pub docker_tls: Option<String>,
    /// `DOCKER_TLS_VERIFY`: any value means TLS.
    pub docker_tls_verify: Option<String>,
    /// `DOCKER_CERT_PATH`; default: the configuration folder.
    pub docker_cert_path: Option<PathBuf>,
    /// `DOCKER_CONFIG`, else `~/.docker`.
    pub docker_config_dir: PathBuf,
}

/// An engine's address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// A socket of this machine.
    Unix(PathBuf),
    /// TCP, with or without TLS.
    Tcp(TcpEndpoint),
    /// `docker system dial-stdio` on another machine, through the system's own ssh.
    Ssh(SshEndpoint),
}

/// An engine reached by TCP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpEndpoint {
    /// Host name or address, without brackets.
    pub host: String,
    pub port: u16,
    /// Put before every path of the API; empty or `/something`.
    pub base_path: String,
    pub tls: Option<TlsSettings>,
}

/// How a TLS connection is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsSettings {
    /// Whether the server's certificate is checked.
    pub verify: bool,
    /// The only authorities to believe, PEM. `None`: the system's.
    pub certificate_authority: Option<PathBuf>,
    /// The client's certificate and key, PEM.
    pub client: Option<(PathBuf, PathBuf)>,
}

/// An engine reached through ssh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshEndpoint {
    /// The ssh program.
    pub program: PathBuf,
    pub user: Option<String>,
    pub host: String,
    pub port: Option<u16>,
    /// Socket on the other machine, where it is not the default one.
    pub socket: Option<String>,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(formatter, "unix://{}", path.display()),
            Self::Tcp(tcp) => {
                let (open, close) = if tcp.host.contains(':') { ("[", "]") } else { ("", "") };
                write!(formatter, "tcp://{open}{}{close}:{}{}", tcp.host, tcp.port, tcp.base_path)
            }
            Self::Ssh(ssh) => {
                write!(formatter, "ssh://")?;
                if let Some(user) = &ssh.user {
                    write!(formatter, "{user}@")?;
                }
                write!(formatter, "{}", ssh.host)?;
                if let Some(port) = ssh.port {
                    write!(formatter, ":{port}")?;
                }
                write!(formatter, "{}", ssh.socket.as_deref().unwrap_or_default())
            }
        }
    }
}

/// Why it cannot be told which engine is meant. The message is a fragment that fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    #[error("choose an engine: both a host ({host}) and a context ({context}) are given")]
    HostAndContext { host: String, context: String },
    #[error("understand engine address {address:?}: {reason}")]
    Address { address: String, reason: String },
    #[error("find docker context {name:?} below {}", directory.display())]
    NoContext { name: String, directory: PathBuf },
    #[error("read docker context {name:?}: {reason}")]
    BadContext { name: String, reason: String },
    #[error("read {}: {reason}", path.display())]
    File { path: PathBuf, reason: String },
    #[error("set up TLS for {endpoint}: {reason}")]
    Tls { endpoint: String, reason: String },
}

impl EndpointError {
    /// What the reader may do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::HostAndContext { .. } => Some("give one of them".to_owned()),
            Self::Address { .. } => {
                Some("known forms: unix:///var/run/docker.sock, tcp://HOST:2376, ssh://USER@HOST".to_owned())
            }
            Self::NoContext { .. } => Some("`docker context ls` lists the contexts".to_owned()),
            Self::BadContext { .. } | Self::File { .. } | Self::Tls { .. } => None,
        }
    }
}

/// Says which engine is meant.
///
/// # Errors
/// Contradicting inputs, an address that is none, a context that is not there, an unreadable configuration.
pub fn resolve(inputs: &EndpointInputs) -> Result<Endpoint, EndpointError> {
    match context_name(inputs)? {
        Some(name) => context::resolve(&name, &inputs.docker_config_dir),
        None => resolve_default(inputs),
    }
}

/// The context's name, `None` for the default one.
fn context_name(inputs: &EndpointInputs) -> Result<Option<String>, EndpointError> {
    let host = given(inputs.host_flag.as_ref());
    let name = match (given(inputs.context_flag.as_ref()), host) {
        (Some(context), Some(host)) => {
            return Err(EndpointError::HostAndContext { host: host.clone(), context: context.clone() });
        }
        (Some(context), None) => Some(context.clone()),
        (None, Some(_)) => None,
        (None, None) if given(inputs.docker_host.as_ref()).is_some() => None,
        (None, None) => match given(inputs.docker_context.as_ref()) {
            Some(context) => Some(context.clone()),
            None => context::current(&inputs.docker_config_dir)?,
        },
    };
    Ok(name.filter(|name| name != "default"))
}

fn resolve_default(inputs: &EndpointInputs) -> Result<Endpoint, EndpointError> {
    let tls = default_tls(inputs);
    let host = given(inputs.host_flag.as_ref()).or(given(inputs.docker_host.as_ref()));
    let mut endpoint = match host {
        Some(host) => parse_host(host, tls.is_some())?,
        None if tls.is_some() => parse_host("tcp://", true)?,
        None => Endpoint::Unix(PathBuf::from(DEFAULT_SOCKET)),
    };
    if let Endpoint::Tcp(tcp) = &mut endpoint {
        tcp.tls = tls;
    }
    Ok(endpoint)
}

/// TLS as `DOCKER_TLS`, `DOCKER_TLS_VERIFY` and `DOCKER_CERT_PATH` have it.
fn default_tls(inputs: &EndpointInputs) -> Option<TlsSettings> {
    let verify = given(inputs.docker_tls_verify.as_ref()).is_some();
    if !verify && given(inputs.docker_tls.as_ref()).is_none() {
        return None;
    }
    let directory = inputs
        .docker_cert_path
        .as_deref()
        .filter(|path| !path.as_os_str().is_empty())
        .unwrap_or(&inputs.docker_config_dir);
    Some(TlsSettings {
        verify,
        // Missing is an error there, as it is for the docker command: falling back to the system's would be a surprise.
        certificate_authority: verify.then(|| directory.join("ca.pem")),
        client: client_pair(directory),
    })
}

/// The client's certificate and key in a folder, if both are there.
fn client_pair(directory: &Path) -> Option<(PathBuf, PathBuf)> {
    let (certificate, key) = (directory.join("cert.pem"), directory.join("key.pem"));
    (certificate.exists() && key.exists()).then_some((certificate, key))
}

fn given(value: Option<&String>) -> Option<&String> {
    value.filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests;
