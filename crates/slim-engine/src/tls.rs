//! TLS to an engine: rustls with *ring*, certificates as the docker command line keeps them.

use crate::endpoint::{EndpointError, TlsSettings};
use rustls::ClientConfig;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use slim_dial::trust::{AnyServer, authorities, certificates};
use std::sync::Arc;

/// Builds the client's side of TLS.
///
/// # Errors
/// A file that cannot be read, holds no certificate or key, or a key that does not belong to its certificate.
pub(crate) fn client_config(
    settings: &TlsSettings,
    endpoint: &str,
) -> Result<Arc<ClientConfig>, EndpointError> {
    let fault = |reason: String| EndpointError::Tls { endpoint: endpoint.to_owned(), reason };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| fault(error.to_string()))?;
    // `DOCKER_TLS` without `DOCKER_TLS_VERIFY`, and `SkipTLSVerify`, ask for any server.
    let builder = if settings.verify {
        builder.with_root_certificates(authorities(settings.certificate_authority.as_deref()).map_err(fault)?)
    } else {
        builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyServer(provider)))
    };
    let config = match &settings.client {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key_der = PrivateKeyDer::from_pem_file(key)
                .map_err(|error| fault(format!("no private key in {}: {error}", key.display())))?;
            builder.with_client_auth_cert(certificates(certificate).map_err(fault)?, key_der).map_err(
                |error| fault(format!("{} with {}: {error}", certificate.display(), key.display())),
            )?
        }
    };
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_authority_file_is_named() {
        let settings = TlsSettings {
            verify: true,
            certificate_authority: Some("/nonexistent/ca.pem".into()),
            client: None,
        };
        let error = client_config(&settings, "tcp://h:2376").unwrap_err();
        assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
    }

    #[test]
    fn an_authority_file_without_certificates_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let settings =
            TlsSettings { verify: true, certificate_authority: Some(file.path().to_owned()), client: None };
        let error = client_config(&settings, "tcp://h:2376").unwrap_err();
        assert!(error.to_string().contains("no certificate in"), "{error}");
    }

    #[test]
    fn no_verification_needs_no_files() {
        assert!(client_config(&TlsSettings::default(), "tcp://h:2376").is_ok());
    }
}
