//! The policy file: all that was decided about system calls with its reasons, for `docker-slim policy`.

use crate::counts::Counts;
use crate::phases::{Phases, phases};
use crate::policy::Policy;
use serde::{Deserialize, Serialize};
use slim_trace::Trace;

/// What the file is called among the artifacts.
pub const POLICY_FILE: &str = "policy.json";

/// The version that this code writes and reads.
const VERSION: u32 = 1;

/// A policy with where it comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyFile {
    pub version: u32,
    /// The fat image's config digest, `sha256:…`.
    pub image: String,
    /// Its repository.
    pub name: String,
    pub counts: Counts,
    pub policy: Policy,
    /// What only the start needed, and what serving needed.
    pub phases: Phases,
    /// The tighter policy for the time after the entrypoint's last exec.
    pub after_entrypoint: Policy,
}

/// Why a policy file cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum PolicyFileError {
    #[error("read the policy: it has version {found}, this program reads version {VERSION}")]
    Version { found: u32 },
    #[error("read the policy: {0}")]
    Malformed(#[from] serde_json::Error),
}

impl PolicyFile {
    /// Of what was decided from a trace; `after_entrypoint`: of [`crate::after_entrypoint`].
    #[must_use]
    pub fn new(trace: &Trace, name: &str, policy: &Policy, after_entrypoint: Policy, counts: Counts) -> Self {
        Self {
            version: VERSION,
            image: trace.image.clone(),
            name: name.to_owned(),
            counts,
            policy: policy.clone(),
            phases: phases(trace),
            after_entrypoint,
        }
    }

    /// As it is written. Equal policies give equal bytes.
    #[must_use]
    pub fn to_json(&self) -> Vec<u8> {
        let mut bytes = serde_json::to_vec_pretty(self).expect("a policy has string keys only");
        bytes.push(b'\n');
        bytes
    }

    /// Reads a policy file.
    ///
    /// # Errors
    /// When it has another version or is no policy.
    pub fn from_json(bytes: &[u8]) -> Result<Self, PolicyFileError> {
        #[derive(Deserialize)]
        struct Head {
            version: u32,
        }
        let Head { version: found } = serde_json::from_slice(bytes)?;
        if found != VERSION {
            return Err(PolicyFileError::Version { found });
        }
        Ok(serde_json::from_slice(bytes)?)
    }
}
