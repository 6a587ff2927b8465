//! Why a registry did not do what it was asked to, and what that means for the exit code.

use slim_image::{Digest, LayoutError, ManifestError};
use std::path::PathBuf;

/// Why work with a registry failed. The message is a fragment that fits after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// Nothing answers there.
    #[error("reach the registry {registry}: {reason}")]
    Unreachable { registry: String, reason: String },
    /// It answered before, and does not any more, however often it was asked.
    #[error("{action}: the registry {registry} went away ({reason})")]
    WentAway { action: String, registry: String, reason: String },
    /// It does not know us.
    #[error("{action}: the registry {registry} wants credentials ({reason})")]
    Unauthorized { action: String, registry: String, reason: String },
    /// It knows us, and does not let us.
    #[error("{action}: the registry {registry} does not allow it ({reason})")]
    Denied { action: String, registry: String, reason: String },
    /// There is no such thing.
    #[error("find {what}: the registry {registry} does not have it ({reason})")]
    NotFound { what: String, registry: String, reason: String },
    /// It answered with another error.
    #[error("{action}: the registry {registry} says: {reason}")]
    Refused { action: String, registry: String, status: u16, reason: String },
    /// It answered with something that cannot be understood.
    #[error("{action}: cannot understand the answer of the registry {registry} ({reason})")]
    Garbled { action: String, registry: String, reason: String },
    /// What came is not what was asked for.
    #[error("read {what} from {registry}: it should be {wanted}, and is {found}")]
    WrongDigest { what: String, registry: String, wanted: Digest, found: Digest },
    /// The manifest or index is none that can be used.
    #[error("use the image {image}: {reason}")]
    Image { image: String, reason: ManifestError },
    /// What the caller asked for does not go together.
    #[error("{0}")]
    Usage(String),
    /// Credentials that cannot be read.
    #[error("read credentials from {from}: {reason}")]
    Credentials { from: String, reason: String },
    /// The layout that is read or written.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A file or folder of this machine.
    #[error("{action} {}: {source}", path.display())]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
}

impl RegistryError {
    pub(crate) fn file(
        action: &'static str,
        path: impl Into<PathBuf>,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.into();
        move |source| Self::File { action, path, source }
    }

    /// The exit code of the design's table.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Unreachable { .. } | Self::WentAway { .. } => 3,
            Self::Unauthorized { .. }
            | Self::Denied { .. }
            | Self::NotFound { .. }
            | Self::Refused { .. }
            | Self::Garbled { .. }
            | Self::WrongDigest { .. }
            | Self::Image { .. }
            | Self::Layout(_)
            | Self::File { .. } => 4,
            Self::Usage(_) | Self::Credentials { .. } => 2,
        }
    }

    /// What the reader may do about it.
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Unreachable { registry, reason } if is_about_tls(reason) => Some(format!(
                "a registry without TLS, or with a certificate that nobody vouches for, is used with --insecure-registry {registry}"
            )),
            Self::Unreachable { .. } | Self::WentAway { .. } => {
                Some("see whether the registry runs, and whether the name is right".to_owned())
            }
            Self::Unauthorized { registry, .. } => {
                Some(format!("`docker login {registry}` or `podman login {registry}` stores credentials"))
            }
            Self::Denied { registry, .. } => Some(format!(
                "the name may be misspelled, or `docker login {registry}` with an account that may do it"
            )),
            Self::Image { reason: ManifestError::NoPlatform { .. }, .. } => {
                Some("--platform takes one of those".to_owned())
            }
            Self::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => {
                Some("the disk is full; what was fetched is kept and the next run goes on there".to_owned())
            }
            Self::Refused { status: 429, .. } => {
                Some("the registry limits how often it may be asked: wait, or log in".to_owned())
            }
            _ => None,
        }
    }

    /// Whether the thing that was asked for does not exist.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

fn is_about_tls(reason: &str) -> bool {
    ["certificate", "InvalidContentType", "TLS", "UnknownIssuer"].iter().any(|word| reason.contains(word))
}
