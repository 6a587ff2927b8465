//! Flags whose value is a file with more of the same.

use crate::failure::Failure;
use std::fs;
use std::path::Path;

/// The values of a flag and those of its file.
///
/// # Errors
/// When the file cannot be read.
pub fn lines(values: &[String], flag: &str, file: Option<&Path>) -> Result<Vec<String>, Failure> {
    let mut lines = values.to_vec();
    if let Some(path) = file {
        lines.append(&mut read_lines(&format!("{flag}-file"), path)?);
    }
    Ok(lines)
}

/// The lines of a file, without empty ones and those that begin with `#`.
///
/// # Errors
/// When the file cannot be read.
pub fn read_lines(flag: &str, path: &Path) -> Result<Vec<String>, Failure> {
    let lines = read(flag, path)?;
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(lines.map(str::to_owned).collect())
}

/// A whole file.
///
/// # Errors
/// When it cannot be read, or is no text.
pub fn read(flag: &str, path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("read {flag} {}: {error}", path.display())))
}
