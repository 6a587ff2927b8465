//! How a failure reaches the person: one line, a hint where there is one, and the exit code of the design's table.

use crate::arguments::OutputFormat;
use slim_build::BuildError;
use slim_registry::RegistryError;
use std::io::Write;
use std::process::ExitCode;

/// Wrong flags or arguments.
pub const USAGE: u8 = 2;

/// What a command that failed has to say.
#[derive(Debug)]
pub struct Failure {
    pub message: String,
    pub hint: Option<String>,
    pub container_log: String,
    /// What the slim program does otherwise than the fat one; a line or more each.
    pub differences: Vec<String>,
    pub exit_code: u8,
}

impl Failure {
    /// A mistake in flags or arguments.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::new(message, USAGE)
    }

    /// A failure with nothing but a message.
    pub fn new(message: impl Into<String>, exit_code: u8) -> Self {
        Self {
            message: message.into(),
            hint: None,
            container_log: String::new(),
            differences: Vec::new(),
            exit_code,
        }
    }

    /// Nothing to say but the exit code: the answer has been printed already.
    pub fn silent(exit_code: u8) -> Self {
        Self::new("", exit_code)
    }

    /// The same with a hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says it on stderr (as JSON also on stdout) and gives the exit code.
    pub fn tell(&self, format: OutputFormat) -> ExitCode {
        if self.message.is_empty() {
            return ExitCode::from(self.exit_code);
        }
        // Nobody is left to be told when stderr or stdout is closed.
        let mut stderr = std::io::stderr().lock();
        if !self.differences.is_empty() {
            let _ = writeln!(stderr, "what the slim image does differently:");
            for difference in &self.differences {
                let _ = writeln!(stderr, "  - {}", difference.replace('\n', "\n    "));
            }
        }
        if !self.container_log.is_empty() {
            let _ = writeln!(stderr, "the container's last log lines:");
            for line in self.container_log.lines() {
                let _ = writeln!(stderr, "  | {line}");
            }
        }
        let _ = writeln!(stderr, "docker-slim: failed to {}", self.message);
        if let Some(hint) = &self.hint {
            let _ = writeln!(stderr, "hint: {hint}");
        }
        if format == OutputFormat::Json {
            let document = serde_json::json!({
                "error": format!("failed to {}", self.message),
                "differences": self.differences,
                "hint": self.hint,
                "exit_code": self.exit_code,
            });
            let _ = writeln!(std::io::stdout().lock(), "{document:#}");
        }
        ExitCode::from(self.exit_code)
    }
}

impl From<BuildError> for Failure {
    fn from(error: BuildError) -> Self {
        Self {
            message: error.to_string(),
            hint: error.hint(),
            container_log: error.container_log().to_owned(),
            differences: error.differences().to_vec(),
            exit_code: error.exit_code(),
        }
    }
}

impl From<RegistryError> for Failure {
    fn from(error: RegistryError) -> Self {
        let failure = Self::new(error.to_string(), error.exit_code());
        match error.hint() {
            Some(hint) => failure.with_hint(hint),
            None => failure,
        }
    }
}

/// What clap has to say: help and version on stdout with 0, mistakes on stderr with 2.
pub fn usage(error: &clap::Error) -> ExitCode {
    let _ = error.print();
    ExitCode::from(if error.use_stderr() { USAGE } else { 0 })
}
