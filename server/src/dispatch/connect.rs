//! Connections to targets, and the egress guard on them.
//!
//! A name is resolved once. Every address it has is judged, and only a judged address is connected to, so a
//! name server that answers differently the second time gains nothing. An address written in the URL, in
//! whatever spelling, goes the same way. Proxies named in the environment are not used: whoever sets one for
//! another program has not asked for this.
//!
//! Where the settings name a proxy, a tunnel through it is asked for to the judged address.
//!
//! A kept connection is not judged again: it leads where it was judged to lead.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
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
use crate::dispatch::proxy::{NoTunnel, Proxy};
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
    /// There is no way through the proxy: a whole sentence.
    #[error("{0}")]
    Proxy(String),
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
    /// With what may be called, by way of which proxy, the certificates that are trusted, and the bound of one
    /// connection's making.
    #[must_use]
    pub fn new(mut allow: Allow, proxy: Option<Proxy>, roots: RootCertStore, timeout: Duration) -> Connector {
        if proxy.is_some() {
            // Behind a proxy loopback is the proxy's, not that of the machine whose user may call it unasked.
            allow.loopback = Arc::new(AtomicBool::new(false));
        }
        let has_roots = !roots.is_empty();
        // Named, not taken from the process: what else is linked in must not change it.
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("the provider speaks TLS 1.2 and 1.3")
            .with_root_certificates(roots)
            .with_no_client_auth();
        let lookups = Arc::new(Semaphore::new(LOOKUPS_MAX));
        let guarded = Guarded { allow: Arc::new(allow), proxy: proxy.map(Arc::new), lookups, timeout };
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
    proxy: Option<Arc<Proxy>>,
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
        let deadline = Instant::now() + self.timeout;
        Box::pin(async move { guarded.connect(&uri, deadline).await.map(TokioIo::new) })
    }
}

impl Guarded {
    async fn connect(&self, uri: &Uri, deadline: Instant) -> Result<TcpStream, ConnectError> {
        let host = target::bare(uri.host().unwrap_or_default());
        let addresses = checked(self.resolve(host, target::port(uri)).await?, &self.allow)?;
        let stream = match &self.proxy {
            Some(proxy) => self.first_tunnel(proxy, &addresses, deadline).await?,
            None => self.first_direct(&addresses, deadline).await?,
        };
        // A request is written at once and waited for: there is nothing to gather it with.
        stream.set_nodelay(true).map_err(ConnectError::Tcp)?;
        Ok(stream)
    }

    async fn first_direct(
        &self,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<TcpStream, ConnectError> {
        let stream = first_that_answers(addresses, deadline).await?;
        let peer = stream.peer_addr().map_err(ConnectError::Tcp)?;
        judge(peer, &self.allow).map_err(|why| ConnectError::NotAllowed(peer.ip(), why))?;
        self.not_own(peer, stream.local_addr().map_err(ConnectError::Tcp)?)?;
        Ok(stream)
    }

    /// Tunnels to one address after the other. Who the peer is at the far end only the proxy knows; it was told an
    /// address, which was judged, so that all that is left to find out is whether it is one of this machine's.
    async fn first_tunnel(
        &self,
        proxy: &Proxy,
        addresses: &[SocketAddr],
        deadline: Instant,
    ) -> Result<TcpStream, ConnectError> {
        // However an address was written, the proxy is asked for what was judged.
        let canonical = |address: &SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
        let addresses: Vec<SocketAddr> = addresses.iter().map(canonical).collect();
        for address in &addresses {
            if let Some(local) = local_address_towards(*address).map_err(ConnectError::Tcp)? {
                self.not_own(*address, local)?;
            }
        }
        let gone = |why: &dyn std::fmt::Display| {
            ConnectError::Proxy(format!("the proxy {proxy} cannot be reached: {why}"))
        };
        let late =
            || ConnectError::Proxy(format!("the proxy {proxy} opened no tunnel within {:?}", self.timeout));
        let own = match tokio::time::timeout_at(deadline, self.resolve(&proxy.host, proxy.port)).await {
            Ok(resolved) => resolved.map_err(|error| gone(&error))?,
            Err(_) => return Err(late()),
        };
        let mut last = ConnectError::Name(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
        for (tried, address) in addresses.iter().enumerate() {
            let until = Instant::now() + share(deadline, addresses.len() - tried);
            let tunnel = async {
                let stream = match first_that_answers(&own, until).await {
                    Ok(stream) => stream,
                    Err(ConnectError::TimedOut(_)) => return Err((late(), false)),
                    Err(error) => return Err((gone(&error), false)),
                };
                let tunnel = proxy.tunnel(stream, *address).await;
                // Other credentials it would want for the next address too.
                tunnel.map_err(|error| {
                    let more = !matches!(error, NoTunnel::Credentials);
                    (ConnectError::Proxy(proxy.told(*address, &error)), more)
                })
            };
            match tokio::time::timeout_at(until, tunnel).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err((error, false))) => return Err(error),
                Ok(Err((error, true))) => last = error,
                Err(_) => last = late(),
            }
        }
        Err(last)
    }

    fn not_own(&self, address: SocketAddr, local: SocketAddr) -> Result<(), ConnectError> {
        if is_own(address, local, &self.allow) {
            let why = Forbidden::Never("where this server itself listens");
            return Err(ConnectError::NotAllowed(address.ip(), why));
        }
        Ok(())
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

/// The address with which this machine would go to `address`; `None` where it knows no way there. Nothing is sent:
/// a datagram's socket that is connected has only been told a route.
fn local_address_towards(address: SocketAddr) -> io::Result<Option<SocketAddr>> {
    let any: IpAddr = match address.ip() {
        IpAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        IpAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    // A machine without IPv6 has no such socket, and no address of that kind either.
    let socket = match UdpSocket::bind(SocketAddr::new(any, 0)) {
        Ok(socket) => socket,
        Err(_) if address.is_ipv6() => return Ok(None),
        Err(error) => return Err(error),
    };
    // Behind a proxy there need not be a route; to an address of its own a machine always has one.
    if socket.connect(address).is_err() { Ok(None) } else { socket.local_addr().map(Some) }
}

/// What each of `shares` gets of the time that is left, so that one that is silent does not use it up.
fn share(deadline: Instant, shares: usize) -> Duration {
    deadline.saturating_duration_since(Instant::now()) / u32::try_from(shares).unwrap_or(u32::MAX)
}

/// Tries one address after the other.
async fn first_that_answers(addresses: &[SocketAddr], deadline: Instant) -> Result<TcpStream, ConnectError> {
    let mut last = ConnectError::Name(io::Error::new(io::ErrorKind::NotFound, "it has no address"));
    for (tried, address) in addresses.iter().enumerate() {
        let share = share(deadline, addresses.len() - tried);
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
