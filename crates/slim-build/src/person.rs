//! The person (or script) that watches a build: Enter, a signal, Ctrl-C.

use async_trait::async_trait;

/// What the world outside may say during a build.
#[async_trait]
pub trait Person: Send + Sync {
    /// Returns when Enter was pressed.
    ///
    /// # Errors
    /// When standard input has ended, so that no Enter can come.
    async fn enter(&self) -> Result<(), InputEnded>;

    /// Returns when signal USR1 arrived (also if it arrived before the call).
    async fn signal(&self);

    /// Returns when the build should be given up.
    async fn interrupted(&self);
}

/// Standard input is at its end.
#[derive(Debug, thiserror::Error)]
#[error("wait for Enter: standard input has ended")]
pub struct InputEnded;
