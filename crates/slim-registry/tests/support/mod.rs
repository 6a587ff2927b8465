//! What the tests share: real registries, images to move, wires that break.
#![allow(dead_code, reason = "each test binary uses its part")]
#![allow(clippy::unwrap_used, reason = "tests")]

pub mod images;
pub mod listener;
pub mod real;
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
