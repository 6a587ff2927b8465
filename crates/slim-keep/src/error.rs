//! Why there is no keep-set.

use slim_image::TreeError;

/// Why it cannot be decided what to keep. Messages fit after "failed to".
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// A path or program that the user wants kept is not in the image.
    #[error("find {value} of {flag} in the image")]
    IncludeNotFound { flag: &'static str, value: String },
    #[error("understand --exclude-pattern {pattern}: {source}")]
    Pattern { pattern: String, source: globset::Error },
    /// The image's files cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
}
