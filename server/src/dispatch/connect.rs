//! Connections to targets, and the egress guard on them.
//!
//! A name is resolved once. Every address it has is judged, and only a judged address is connected to, so a
//! name server that answers differently the second time gains nothing. An address written in the URL, in
//! whatever spelling, goes the same way. Proxies named in the environment are not used: behind a proxy
//! nobody could say which address is called.
//!
//! A kept connection is not judged again: its peer is the one that was judged.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder, MaybeHttpsStream};
use hyper_util::rt::TokioIo;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tower::{BoxError, Service};

use crate::dispatch::egress::{Allow, Forbidden, is_own, judge};
use crate::target;

/// How many of a name's addresses are tried.
const ADDRESSES_TRIED_MAX: usize = 8;
/// Names looked up at the same time: half of the threads that tokio has for what blocks.
const LOOKUPS_MAX: usize = 256;

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The address may not be called.
    #[error("{}", not_allowed(.0, .1))]
    NotAllowed(IpAddr, Forbidden),
    /// The name has no address.
    #[error("its name does not resolve: {0}")]
    Name(io::Error),
    /// Nobody answers at the address.
    #[error("{0}")]
    Tcp(io::Error),
    /// The TLS handshake failed.
    #[error("the TLS handshake failed: {0}")]
    Tls(BoxError),
    /// There are no root certificates to check a target's certificate with.
    #[error(
        "no root certificates were found on this machine when Taskhook started, so https cannot be used; \
         install the system's CA certificates, or name a file with them in SSL_CERT_FILE, and start it again"
    )]
    NoRoots,
    /// It took too long.
    #[error("it took longer than {0:?}")]
    TimedOut(Duration),
}

fn not_allowed(ip: &IpAddr, why: &Forbidden) -> String {
    let ip = ip.to_canonical();
    let bits = if ip.is_ipv4() { 32 } else { 128 };
    match why {
        Forbidden::Never(what) => format!("{ip} is {what}, which is never called"),
        Forbidden::Unlisted(what) => format!(
            "{ip} is {what}; to allow it, add \"{ip}/{bits}\" to `allow` under [dispatch] in the configuration"
        ),
        Forbidden::Port(port) => format!(
            "port {port} is below 1024, where other services listen; to allow it, add {port} to `ports` under [dispatch] \
             in the configuration"
        ),
    }
}

/// The certificates that this system trusts; none where there are none to be found.
#[must_use]
pub fn system_roots() -> RootCertStore {
    let found = rustls_native_certs::load_native_certs();
    for error in &found.errors {
        tracing::warn!(%error, "a root certificate could not be read");
    }
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(found.certs);
    if roots.is_empty() {
        tracing::warn!("no root certificates were found: https targets cannot be called");
    }
    roots
}

/// Makes connections to allowed addresses, with TLS where the URL says `https`.
#[derive(Debug, Clone)]
pub struct Connector {
    https: HttpsConnector<Guarded>,
    has_roots: bool,
    timeout: Duration,
}

impl Connector {
    /// With what may be called, the certificates that are trusted, and the bound of one connection's making.
    #[must_use]
    pub fn new(allow: Allow, roots: RootCertStore, timeout: Duration) -> Connector {
        let has_roots = !roots.is_empty();
        // Named, not taken from the process: what else is linked in must not change it.
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider speaks TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let lookups = Arc::new(Semaphore::new(LOOKUPS_MAX));
        let guarded = Guarded { allow: Arc::new(allow), lookups, timeout };
        let https = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_or_http()
            .enable_http1()
            .wrap_connector(guarded);
        Connector { https, has_roots, timeout }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        if uri.scheme_str() == Some("https") && !self.has_roots {
            return Box::pin(async { Err(ConnectError::NoRoots) });
        }
        let timeout = self.timeout;
        let connecting = self.https.call(uri);
        Box::pin(async move {
            match tokio::time::timeout(timeout, connecting).await {
                Ok(Ok(stream)) => Ok(stream),
                // What is not from below is from the handshake above it.
                Ok(Err(error)) => {
                    Err(error.downcast::<ConnectError>().map_or_else(ConnectError::Tls, |error| *error))
                }
                Err(_) => Err(ConnectError::TimedOut(timeout)),
            }
        })
    }
}

/// TCP connections to allowed addresses.
#[derive(Debug, Clone)]
struct Guarded {
    allow: Arc<Allow>,
    lookups: Arc<Semaphore>,
    timeout: Duration,
}

impl Service<Uri> for Guarded {
    type Response = TokioIo<TcpStream>;
    type Error = ConnectError;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, ConnectError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ConnectError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let guarded = self.clone();
        Box::pin(async move { guarded.connect(&uri).await.map(TokioIo::new) })
    }
}

impl Guarded {
    async fn connect(&self, uri: &Uri) -> Result<TcpStream, ConnectError> {
        let deadline = Instant::now() + self.timeout;
        let host = uri.host().unwrap_or_default();
        let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
        let addresses = self.resolve(host, target::port(uri)).await?;
        let stream = first_that_answers(&checked(addresses, &self.allow)?, deadline).await?;

        let peer = stream.peer_addr().map_err(ConnectError::Tcp)?;
        judge(peer, &self.allow).map_err(|why| ConnectError::NotAllowed(peer.ip(), why))?;
        if is_own(peer, stream.local_addr().map_err(ConnectError::Tcp)?, &self.allow) {
            let why = Forbidden::Never("where this server itself listens");
            return Err(ConnectError::NotAllowed(peer.ip(), why));
        }
        // A request is written at once and waited for: there is nothing to gather it with.
        stream.set_nodelay(true).map_err(ConnectError::Tcp)?;
        Ok(stream)
    }

    async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        if let Ok(ip) = host.parse() {
            return Ok(vec![SocketAddr::new(ip, port)]);
        }
        // The system is asked on a thread, which goes on when nobody waits for it any more, and so does its
        // turn: slow name servers must not take the threads from those who read from the store.
        let gone = |error| ConnectError::Name(io::Error::other(error));
        let turn = self.lookups.clone().acquire_owned().await.map_err(|error| gone(error.to_string()))?;
        let host = host.to_owned();
        let lookup = tokio::task::spawn_blocking(move || {
            let found = (host.as_str(), port).to_socket_addrs().map(Iterator::collect);
            drop(turn);
            found
        });
        lookup.await.map_err(|error| gone(error.to_string()))?.map_err(ConnectError::Name)
    }
}

/// Tries one address after the other.
async fn first_that_answers(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, ConnectError> {
    let mut last = ConnectError::Name(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    for (tried, address) in addresses.iter().enumerate() {
        // Each gets its share of the time that is left, so that one that is silent does not use it up.
        let shares = u32::try_from(addresses.len() - tried).unwrap_or(u32::MAX);
        let share = deadline.saturating_duration_since(Instant::now()) / shares;
        match tokio::time::timeout(share, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => last = ConnectError::Tcp(error),
            Err(_) => last = ConnectError::TimedOut(share),
        }
    }
    Err(last)
}

/// The addresses that are tried, if all that the name has may be called. A name with an allowed and a
/// forbidden address is an attack or a mistake; either way nobody should depend on which one comes first.
fn checked(addresses: Vec<SocketAddr>, allow: &Allow) -> Result<Vec<SocketAddr>, ConnectError> {
    for address in &addresses {
        judge(*address, allow).map_err(|why| ConnectError::NotAllowed(address.ip(), why))?;
    }
    Ok(addresses.into_iter().take(ADDRESSES_TRIED_MAX).collect())
}

#[cfg(test)]
mod tests;
