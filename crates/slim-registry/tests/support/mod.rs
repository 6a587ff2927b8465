//! What the tests share: real registries, images to move, wires that break.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "tests")]

pub mod images;
pub mod listener;
pub mod own;
pub mod proxy;
pub mod real;
pub mod stranger;
pub mod tokens;
pub mod wire;

use slim_registry::client::CredentialSources;
use slim_registry::{Client, ClientSettings, Retry};
use std::path::PathBuf;
use std::time::Duration;

/// A client that does not wait long before it tries again.
pub fn settings() -> ClientSettings {
    let retry = Retry {
        attempts: 6,
        first_pause: Duration::from_millis(5),
        longest_pause: Duration::from_millis(50),
    };
    ClientSettings { retry, ..ClientSettings::default() }
}

pub fn client() -> Client {
    Client::new(settings())
}

/// A client that finds credentials in this file.
pub fn client_with(auth_file: PathBuf) -> Client {
    let credentials = CredentialSources { files: vec![auth_file], helper_path: None };
    Client::new(ClientSettings { credentials, ..settings() })
}

/// What `docker login` writes for `user:password` in base64.
pub fn login(folder: &std::path::Path, registry: &str, auth: &str) -> PathBuf {
    let path = folder.join("auth.json");
    std::fs::write(&path, format!(r#"{{"auths": {{"{registry}": {{"auth": "{auth}"}}}}}}"#)).unwrap();
    path
}

/// `me:secret`.
pub const RIGHT: &str = "bWU6c2VjcmV0";
/// `me:wrong`.
pub const WRONG: &str = "bWU6d3Jvbmc=";

/// A certificate as a file holds it.
pub fn pem(der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", lines.join("\n"))
}
