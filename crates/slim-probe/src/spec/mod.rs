//! Specifications of APIs (OpenAPI 3, Swagger 2) made into commands: one for every operation on every path.
//!
//! A specification is a stranger's file: what is not understood in it is passed over, and its size, depth, references
//! and the commands made of it are bounded. Its order is never trusted either: commands that read come first, then
//! those that make and change, then those that delete; in each group by path.

mod body;
mod document;
mod operation;
mod parameter;
mod sample;

use crate::command::ProbeCommand;
use document::Document;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

/// Bytes of a specification that are read.
pub(crate) const SPEC_BYTES: usize = 16 << 20;

/// A specification, and where its paths are served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ApiSpec {
    /// Served by the program itself, at this path of each port (`--http-probe-apispec`).
    Fetched { path: String, prefix: Option<String> },
    /// A file of the user's (`--http-probe-apispec-file`).
    File { path: PathBuf, contents: Vec<u8>, prefix: Option<String> },
}

/// Why a specification cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error("understand the API specification {0:?}: the form is PATH[:PREFIX], and both begin with a slash")]
    Form(String),
    #[error("read the API specification {path}: {source}")]
    File { path: PathBuf, source: io::Error },
    #[error("read the API specification {0}: it has more than 16 MiB")]
    TooLarge(PathBuf),
    #[error("read the API specification {name}: {reason}")]
    Content { name: String, reason: String },
}

impl ApiSpec {
    /// Reads `PATH[:PREFIX]`, a path that the program serves. The prefix stands in for the base path that the
    /// specification itself names.
    ///
    /// # Errors
    /// When the path does not begin with a slash.
    pub fn fetched(text: &str) -> Result<Self, SpecError> {
        let (path, prefix) = text.split_once(':').map_or((text, None), |(path, prefix)| (path, Some(prefix)));
        if !path.starts_with('/') {
            return Err(SpecError::Form(text.to_owned()));
        }
        Ok(Self::Fetched { path: path.to_owned(), prefix: prefix.map(normal) })
    }

    /// Reads `FILE[:PREFIX]` and the file, JSON or YAML.
    ///
    /// # Errors
    /// When the file cannot be read, has more than 16 MiB, or is no specification.
    pub fn read_file(text: &str) -> Result<Self, SpecError> {
        let (path, prefix) = match text.rsplit_once(':') {
            Some((path, prefix)) if !Path::new(text).exists() => (path, Some(normal(prefix))),
            _ => (text, None),
        };
        let path = PathBuf::from(path);
        let mut contents = Vec::new();
        File::open(&path)
            .and_then(|file| file.take(SPEC_BYTES as u64 + 1).read_to_end(&mut contents))
            .map_err(|source| SpecError::File { path: path.clone(), source })?;
        if contents.len() > SPEC_BYTES {
            return Err(SpecError::TooLarge(path));
        }
        let read = Document::parse(&contents);
        read.map_err(|reason| SpecError::Content { name: path.display().to_string(), reason })?;
        Ok(Self::File { path, contents, prefix })
    }

    /// What it is called in messages.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Fetched { path, .. } => path.clone(),
            Self::File { path, .. } => path.display().to_string(),
        }
    }

    /// The commands for these contents of the specification, which are its own for a file.
    ///
    /// # Errors
    /// When they are no specification.
    pub fn commands(&self, contents: &[u8]) -> Result<Vec<ProbeCommand>, SpecError> {
        let (at, prefix) = match self {
            Self::Fetched { path, prefix } => (path.as_str(), prefix),
            Self::File { prefix, .. } => ("/", prefix),
        };
        let document =
            Document::parse(contents).map_err(|reason| SpecError::Content { name: self.name(), reason })?;
        Ok(operation::commands(&document, at, prefix.as_deref()))
    }
}

/// A prefix begins with a slash, and ends with none.
fn normal(prefix: &str) -> String {
    let bare = prefix.trim_matches('/');
    if bare.is_empty() { String::new() } else { format!("/{bare}") }
}

#[cfg(test)]
mod tests;
