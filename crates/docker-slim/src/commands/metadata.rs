//! `docker-slim docker-cli-plugin-metadata`: what the docker command asks the programs in its `cli-plugins` folder.

use std::io::Write;

/// Prints the answer.
pub fn run() {
    let metadata = serde_json::json!({
        "SchemaVersion": "0.1.0",
        "Vendor": "docker-slim",
        "Version": env!("CARGO_PKG_VERSION"),
        "ShortDescription": "Make a container image small by watching what its program uses",
    });
    // Nobody is left to be told when stdout is closed.
    let _ = writeln!(std::io::stdout().lock(), "{metadata:#}");
}
