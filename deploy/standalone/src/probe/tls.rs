//! The TLS side of the probe: roots of the system or of a file, a client certificate, or no verification.

use std::{io, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    pki_types::{
        CertificateDer, PrivateKeyDer, ServerName, UnixTime,
        pem::{self, PemObject as _},
    },
};
use rustls_platform_verifier::Verifier;

use super::flags::Tls;

/// Why the files given cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum Error {
    #[error("failed to load root CA certificates from file ({0}) error={1}")]
    Roots(String, io::Error),
    #[error("no root CA certs parsed from file {0}")]
    NoRoots(String),
    #[error("failed to load tls client cert/key pair. error={0}")]
    ClientPair(String),
    #[error("the system's root certificates cannot be used: {0}; give -tls-ca-cert")]
    System(rustls::Error),
    #[error(transparent)]
    Rustls(#[from] rustls::Error),
}

/// The configuration that the flags ask for.
pub(super) fn config(flags: &Tls) -> Result<ClientConfig, Error> {
    let provider = Arc::new(ring::default_provider());
    let verifier = verifier(flags, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    let mut config = if flags.client_cert.is_empty() {
        builder.with_no_client_auth()
    } else {
        let (chain, key) = client_pair(flags).map_err(|error| Error::ClientPair(error.to_string()))?;
        builder.with_client_auth_cert(chain, key).map_err(|error| Error::ClientPair(error.to_string()))?
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(config)
}

fn verifier(flags: &Tls, provider: &Arc<CryptoProvider>) -> Result<Arc<dyn ServerCertVerifier>, Error> {
    if flags.no_verify {
        return Ok(Arc::new(NoVerifier(Arc::clone(provider))));
    }
    if flags.ca_cert.is_empty() {
        return Ok(Arc::new(Verifier::new(Arc::clone(provider)).map_err(Error::System)?));
    }
    let file = || flags.ca_cert.clone();
    let text = std::fs::read(&flags.ca_cert).map_err(|error| Error::Roots(file(), error))?;
    let mut roots = RootCertStore::empty();
    // As the original does: what is no certificate is passed over, as long as there is one.
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(&text).filter_map(Result::ok));
    if roots.is_empty() {
        return Err(Error::NoRoots(file()));
    }
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider));
    Ok(verifier.build().map_err(|error| Error::Rustls(rustls::Error::General(error.to_string())))?)
}

fn client_pair(flags: &Tls) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), pem::Error> {
    let chain: Vec<_> = CertificateDer::pem_file_iter(&flags.client_cert)?.collect::<Result<_, _>>()?;
    if chain.is_empty() {
        return Err(pem::Error::NoItemsFound);
    }
    Ok((chain, PrivateKeyDer::from_pem_file(&flags.client_key)?))
}

/// Takes any certificate, as `-tls-no-verify` asks; that the server holds its key is still checked.
#[derive(Debug)]
struct NoVerifier(Arc<CryptoProvider>);

impl ServerCertVerifier for NoVerifier {
    fn verify_server_cert(
        &self,
        _certificate: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
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
