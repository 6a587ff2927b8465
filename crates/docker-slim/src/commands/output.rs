//! What a command that asks something prints: text, or one JSON document.

use crate::arguments::{GlobalArguments, OutputFormat};
use serde::Serialize;
use std::io::Write;

/// `1 path`, `2 paths`.
pub fn counted(count: usize, what: &str) -> String {
    match count {
        1 => format!("1 {what}"),
        _ if what.ends_with('s') => format!("{count} {what}es"),
        _ if what.ends_with("cy") => format!("{count} {}ies", what.trim_end_matches('y')),
        _ => format!("{count} {what}s"),
    }
}

/// Prints an answer on stdout; `text` ends without a line feed.
pub fn print(global: &GlobalArguments, text: impl FnOnce() -> String, document: &impl Serialize) {
    let text = match global.output_format {
        OutputFormat::Json => serde_json::to_string_pretty(document)
            .expect("the documents of our commands have string keys only"),
        OutputFormat::Text => text(),
    };
    // Nobody is left to be told when stdout is closed.
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}
