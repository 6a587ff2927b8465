//! TLS to an engine: rustls with *ring*, certificates as the docker command line keeps them.

use crate::endpoint::{EndpointError, TlsSettings};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use std::path::Path;
use std::sync::Arc;

/// Where distributions keep the authorities that they believe, most common first.
const SYSTEM_BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

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

fn authorities(file: Option<&Path>) -> Result<RootCertStore, String> {
    let path = match file {
        Some(path) => path,
        None => SYSTEM_BUNDLES
            .iter()
            .map(Path::new)
            .find(|path| path.exists())
            .ok_or("this system has no list of certificate authorities")?,
    };
    let mut store = RootCertStore::empty();
    let (added, _ignored) = store.add_parsable_certificates(certificates(path)?);
    if added == 0 {
        return Err(format!("no certificate authority in {}", path.display()));
    }
    Ok(store)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(path).and_then(Iterator::collect);
    match found {
        Ok(list) if list.is_empty() => Err(format!("no certificate in {}", path.display())),
        Ok(list) => Ok(list),
        Err(error) => Err(format!("{}: {error}", path.display())),
    }
}

/// Takes any server for the right one, as `DOCKER_TLS` without `DOCKER_TLS_VERIFY` and `SkipTLSVerify` ask for.
/// Signatures are still checked: the peer does hold the key of the certificate that it shows.
#[derive(Debug)]
struct AnyServer(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyServer {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
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
