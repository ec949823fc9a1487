//! TLS, where the server has a certificate. Its files are read again when they change; broken ones change nothing.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{Error, InconsistentKeys, ServerConfig};
use tokio_rustls::TlsAcceptor;

use super::validity::end_of_validity;
use crate::ServeError;
use crate::config::TlsFiles;

/// The certificate of a running server.
#[derive(Debug)]
pub(crate) struct Certificates {
    files: TlsFiles,
    now: RwLock<Arc<CertifiedKey>>,
}

impl Certificates {
    /// Reads the chain and its key.
    ///
    /// # Errors
    /// A file that is not there or not PEM, a key that does not fit. A certificate that has expired is a warning.
    pub(crate) fn load(files: &TlsFiles) -> Result<Self, ServeError> {
        Ok(Self { now: RwLock::new(read(files)?), files: files.clone() })
    }

    /// Reads the files again.
    ///
    /// # Errors
    /// As with [`Self::load`]; the certificate is then the one from before.
    pub(crate) fn reload(&self) -> Result<(), ServeError> {
        let next = read(&self.files)?;
        *self.now.write().unwrap_or_else(PoisonError::into_inner) = next;
        Ok(())
    }

    /// The files.
    pub(crate) fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// What makes TLS of a connection.
    pub(crate) fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, ServeError> {
        let failed = |error: Error| wrong(&self.files.certificate, error.to_string());
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(failed)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.now.read().unwrap_or_else(PoisonError::into_inner)))
    }
}

fn wrong(path: &Path, message: impl Into<String>) -> ServeError {
    ServeError::Tls { path: path.to_path_buf(), message: message.into() }
}

fn read(files: &TlsFiles) -> Result<Arc<CertifiedKey>, ServeError> {
    let TlsFiles { certificate, key } = files;
    let text = |path: &PathBuf| std::fs::read(path).map_err(|error| wrong(path, error.to_string()));
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(&text(certificate)?)
        .collect::<Result<_, _>>()
        .map_err(|error| wrong(certificate, format!("not PEM: {error}")))?;
    let Some(first) = chain.first() else {
        return Err(wrong(
            certificate,
            "no certificate in it; a PEM chain is wanted, the server's own certificate first",
        ));
    };
    match end_of_validity(first) {
        None => return Err(wrong(certificate, "its first certificate can't be read")),
        Some(end) if UNIX_EPOCH + Duration::from_secs(end) < SystemTime::now() => {
            tracing::warn!(path = %certificate.display(), "the certificate has expired: clients will refuse it");
        }
        Some(_) => {}
    }
    let private = PrivateKeyDer::from_pem_slice(&text(key)?).map_err(|error| {
        wrong(key, format!("no private key in it that is PEM without a passphrase: {error}"))
    })?;
    let provider: CryptoProvider = ring::default_provider();
    let pair = CertifiedKey::from_der(chain, private, &provider).map_err(|error| match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            wrong(key, format!("it is not the key of {}", certificate.display()))
        }
        error => wrong(key, error.to_string()),
    })?;
    Ok(Arc::new(pair))
}
