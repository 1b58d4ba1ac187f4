//! TLS for those who connect: a certificate and its key from files, taken anew when the files change.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use tokio_rustls::TlsAcceptor;

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Where a certificate and its key are, in PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate of the server, and those between it and a root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// The certificate that is shown now.
#[derive(Debug)]
pub struct Certificate {
    files: TlsFiles,
    shown: RwLock<Arc<CertifiedKey>>,
}

/// When a file was changed last, and how long it is.
type Stamp = (Option<SystemTime>, u64);

impl Certificate {
    /// Reads the files.
    ///
    /// # Errors
    /// Which of them is wrong, and how.
    pub fn load(files: TlsFiles) -> anyhow::Result<Arc<Certificate>> {
        let shown = RwLock::new(Arc::new(read(&files)?));
        Ok(Arc::new(Certificate { files, shown }))
    }

    /// What makes TLS of a connection.
    ///
    /// # Errors
    /// None that depends on the certificate.
    pub fn acceptor(self: &Arc<Certificate>) -> anyhow::Result<TlsAcceptor> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Takes the files anew whenever they change. One that cannot be used leaves the old certificate in force.
    pub async fn keep_up(self: Arc<Certificate>) {
        let mut known = self.stamps().ok();
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let stamps = self.stamps().ok();
            if stamps == known {
                continue;
            }
            known = stamps;
            match read(&self.files) {
                Ok(fresh) => {
                    *self.shown.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(fresh);
                    tracing::info!("the certificate has changed: new connections see the new one");
                }
                // Of two files that are changed one after the other, the first alone does not fit.
                Err(error) => tracing::warn!("the certificate has changed, the old one stays: {error:#}"),
            }
        }
    }

    fn stamps(&self) -> io::Result<[Stamp; 2]> {
        let stamp = |path: &Path| -> io::Result<Stamp> {
            let facts = std::fs::metadata(path)?;
            Ok((facts.modified().ok(), facts.len()))
        };
        Ok([stamp(&self.files.certificate)?, stamp(&self.files.key)?])
    }
}

impl ResolvesServerCert for Certificate {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

fn read(files: &TlsFiles) -> anyhow::Result<CertifiedKey> {
    let shown = files.certificate.display();
    let certificates: Vec<CertificateDer<'static>> = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect)
        .with_context(|| format!("tls.certificate: {shown} cannot be read as PEM"))?;
    anyhow::ensure!(!certificates.is_empty(), "tls.certificate: {shown} holds no certificate");
    let key = PrivateKeyDer::from_pem_file(&files.key)
        .with_context(|| format!("tls.key: {} cannot be read as PEM", files.key.display()))?;
    CertifiedKey::from_der(certificates, key, &aws_lc_rs::default_provider())
        .with_context(|| format!("{shown} and {} cannot be used together", files.key.display()))
}
