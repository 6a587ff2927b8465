//! Docker contexts: `contexts/meta/<sha256 of name>/meta.json` and `contexts/tls/<sha256 of name>/docker/*.pem`.

use super::{Endpoint, EndpointError, TlsSettings, client_pair, parse_host};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::path::Path;

#[derive(serde::Deserialize)]
struct ConfigFile {
    #[serde(default, rename = "currentContext")]
    current_context: Option<String>,
}

#[derive(serde::Deserialize)]
struct Metadata {
    #[serde(default, rename = "Endpoints")]
    endpoints: BTreeMap<String, EndpointMetadata>,
}

#[derive(serde::Deserialize)]
struct EndpointMetadata {
    #[serde(default, rename = "Host")]
    host: String,
    #[serde(default, rename = "SkipTLSVerify")]
    skip_tls_verify: bool,
}

/// The context that `config.json` names.
pub(super) fn current(config_directory: &Path) -> Result<Option<String>, EndpointError> {
    let path = config_directory.join("config.json");
    let fault = |reason: String| EndpointError::File { path: path.clone(), reason };
    let text = match std::fs::read(&path) {
        Ok(text) => text,
        // A folder that is not there, or that this user may not read, is no configuration.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::PermissionDenied) => {
            return Ok(None);
        }
        Err(error) => return Err(fault(error.to_string())),
    };
    let config: ConfigFile = serde_json::from_slice(&text).map_err(|error| fault(error.to_string()))?;
    Ok(config.current_context.filter(|name| !name.is_empty()))
}

/// The engine that a context names.
pub(super) fn resolve(name: &str, config_directory: &Path) -> Result<Endpoint, EndpointError> {
    let directory = config_directory.join("contexts");
    let key = hexadecimal(&Sha256::digest(name.as_bytes()));
    let path = directory.join("meta").join(&key).join("meta.json");
    let text = std::fs::read(&path).map_err(|error| match error.kind() {
        ErrorKind::NotFound => {
            EndpointError::NoContext { name: name.to_owned(), directory: directory.clone() }
        }
        _ => EndpointError::File { path: path.clone(), reason: error.to_string() },
    })?;
    let metadata: Metadata = serde_json::from_slice(&text)
        .map_err(|error| EndpointError::File { path: path.clone(), reason: error.to_string() })?;
    let docker = metadata.endpoints.get("docker").ok_or_else(|| EndpointError::BadContext {
        name: name.to_owned(),
        reason: "it has no docker endpoint".to_owned(),
    })?;
    let tls = context_tls(&directory.join("tls").join(&key).join("docker"), docker.skip_tls_verify);
    let mut endpoint =
        parse_host(if docker.host.is_empty() { "unix://" } else { &docker.host }, tls.is_some())?;
    if let Endpoint::Tcp(tcp) = &mut endpoint {
        tcp.tls = tls;
    }
    Ok(endpoint)
}

/// TLS is on where the context has any TLS file, or says that the server is not to be checked.
fn context_tls(directory: &Path, skip_verify: bool) -> Option<TlsSettings> {
    let authority = Some(directory.join("ca.pem")).filter(|path| path.exists());
    let client = client_pair(directory);
    (authority.is_some() || client.is_some() || skip_verify).then_some(TlsSettings {
        verify: !skip_verify,
        certificate_authority: authority,
        client,
    })
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
