//! How much a seccomp profile allows: the three modes of `--seccomp`.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;

/// How much is allowed. Each mode allows all that the one before it does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// What was observed, what the container runtime needs, what every program needs: nothing else.
    Strict,
    /// And the harmless relatives of what was observed, at most [`crate::MOST_RELATIVES`].
    #[default]
    Balanced,
    /// And all that the kept programs can do, as far as Docker's default profile allows it to every container.
    Broad,
}

impl Mode {
    pub const ALL: [Self; 3] = [Self::Strict, Self::Balanced, Self::Broad];
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Strict => "strict",
            Self::Balanced => "balanced",
            Self::Broad => "broad",
        })
    }
}

/// A word that names no mode.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("find a seccomp mode named {0}: there are strict, balanced and broad")]
pub struct NoSuchMode(String);

impl FromStr for Mode {
    type Err = NoSuchMode;

    fn from_str(text: &str) -> Result<Self, NoSuchMode> {
        let named = Self::ALL.into_iter().find(|mode| mode.to_string() == text);
        named.ok_or_else(|| NoSuchMode(text.to_owned()))
    }
}
