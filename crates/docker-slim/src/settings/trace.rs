//! Trace files that flags name.

use crate::failure::Failure;
use slim_trace::Trace;
use std::fs;
use std::path::Path;

/// Reads a trace file.
///
/// # Errors
/// When it cannot be read or is none.
pub fn read_trace(path: &Path) -> Result<Trace, Failure> {
    let failed = |why: String| Failure::usage(format!("read the trace {}: {why}", path.display()));
    let bytes = fs::read(path).map_err(|error| failed(error.to_string()))?;
    Trace::from_json(&bytes).map_err(|error| failed(error.to_string()))
}
