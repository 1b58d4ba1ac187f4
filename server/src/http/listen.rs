//! Accepting connections: bounded in number, in the size of a head, and in the time that a head and an answer may
//! take.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio_io_timeout::TimeoutWriter;
use tokio_rustls::TlsAcceptor;
use tower::Service as _;

use crate::http::guard::Peer;

/// How connections are bounded.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Connections at the same time; more wait to be accepted.
    pub connections_max: usize,
    /// How long a head may take to be complete.
    pub head_time: Duration,
    /// Header fields in a head.
    pub headers_max: usize,
    /// Bytes of a head.
    pub head_bytes_max: usize,
    /// How long a client may take none of its answer.
    pub write_time: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            connections_max: 10_000,
            head_time: Duration::from_secs(10),
            headers_max: 100,
            head_bytes_max: 64 << 10,
            write_time: Duration::from_secs(30),
        }
    }
}

/// Files that a server has open beside its connections and its exchanges: the store, its readers, and room to spare.
const FILES_KEPT: u64 = 256;

impl Settings {
    /// For one of `doors` listeners of a process that may have `files_max` files open (`None`: as many as it likes). A
    /// connection is a file, as is an exchange with a target: those who connect must not take the files of
    /// those exchanges and of the store, or strangers could stop both by doing nothing. Of a small number each side
    /// has half.
    #[must_use]
    pub fn within(files_max: Option<u64>, exchanges_max: u32, doors: usize) -> Settings {
        let settings = Settings::default();
        let Some(files_max) = files_max else { return settings };
        let kept = (u64::from(exchanges_max) + FILES_KEPT).min(files_max / 2);
        let each = usize::try_from(files_max - kept).unwrap_or(usize::MAX) / doors.max(1);
        Settings { connections_max: settings.connections_max.min(each.max(1)), ..settings }
    }
}

/// How far a listener is with its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// It serves.
    Open,
    /// Each connection ends with the request in progress.
    Closing,
    /// What is still there is dropped.
    Closed,
}

/// A port that is listened on.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    phase: watch::Sender<Phase>,
    connections: Arc<Semaphore>,
    connections_max: usize,
    accepting: tokio::task::JoinHandle<()>,
}

impl Listener {
    /// Serves `router` on `listener`, with TLS where there is any.
    ///
    /// # Errors
    /// If the socket has no address.
    pub fn start(
        listener: TcpListener,
        router: Router,
        tls: Option<TlsAcceptor>,
        settings: Settings,
    ) -> io::Result<Listener> {
        let address = listener.local_addr()?;
        let (phase, phases) = watch::channel(Phase::Open);
        let connections = Arc::new(Semaphore::new(settings.connections_max));
        let connections_max = settings.connections_max;
        let accepting = tokio::spawn(accept(listener, router, tls, settings, connections.clone(), phases));
        Ok(Listener { address, phase, connections, connections_max, accepting })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, and lets requests in progress end; those that take longer than `patience` get no answer.
    /// After it nothing here holds the engine any more.
    pub async fn stop(self, patience: Duration) {
        self.phase.send_replace(Phase::Closing);
        self.accepting.abort();
        let all = u32::try_from(self.connections_max).unwrap_or(u32::MAX);
        if tokio::time::timeout(patience, self.connections.acquire_many(all)).await.is_err() {
            self.phase.send_replace(Phase::Closed);
            let _ = self.connections.acquire_many(all).await;
        }
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    tls: Option<TlsAcceptor>,
    settings: Settings,
    connections: Arc<Semaphore>,
    phases: watch::Receiver<Phase>,
) {
    let mut http = hyper::server::conn::http1::Builder::new();
    // Without a timer hyper's time-out of a head does nothing.
    http.timer(TokioTimer::new())
        .header_read_timeout(settings.head_time)
        .max_headers(settings.headers_max)
        .max_buf_size(settings.head_bytes_max);
    let mut warned: Option<Instant> = None;
    loop {
        let Ok(place) = connections.clone().acquire_owned().await else { return };
        let (stream, peer) = match listener.accept().await {
            Ok(accepted) => accepted,
            // Who connects and goes away at once must not hold up the others.
            Err(error) if is_of_one_client(&error) => continue,
            Err(error) => {
                // Out of file descriptors, mostly: those who are connected must end first.
                if warned.is_none_or(|last| last.elapsed() >= BETWEEN_WARNINGS) {
                    tracing::warn!(%error, "connections cannot be accepted");
                    warned = Some(Instant::now());
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (_, peer) = (stream.set_nodelay(true), Peer(peer));
        // Who asks and never listens would keep its place, and what is written for it, for ever.
        let mut stream = TimeoutWriter::new(stream);
        stream.set_timeout(Some(settings.write_time));
        let stream = Box::pin(stream);
        let (http, router, phases) = (http.clone(), router.clone(), phases.clone());
        match tls.clone() {
            None => drop(tokio::spawn(serve(stream, http, router, peer, phases, place))),
            Some(tls) => {
                let time = settings.head_time;
                tokio::spawn(async move {
                    match tokio::time::timeout(time, tls.accept(stream)).await {
                        Ok(Ok(stream)) => serve(stream, http, router, peer, phases, place).await,
                        Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
                        Err(_) => tracing::debug!("a TLS handshake took too long"),
                    }
                });
            }
        }
    }
}

/// What may go wrong twenty times a second is said this often.
const BETWEEN_WARNINGS: Duration = Duration::from_secs(10);

fn is_of_one_client(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

/// Answers what comes by one connection, until it ends.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    http: hyper::server::conn::http1::Builder,
    router: Router,
    peer: Peer,
    mut phases: watch::Receiver<Phase>,
    place: OwnedSemaphorePermit,
) {
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(peer);
        router.clone().call(request)
    });
    let mut connection = Box::pin(http.serve_connection(TokioIo::new(stream), service));
    let mut phase = Phase::Open;
    while phase != Phase::Closed {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "a connection ended early");
                }
                break;
            }
            next = phases.wait_for(|next| *next != phase) => {
                // Whoever dropped the listener wants none of it any more.
                phase = next.map_or(Phase::Closed, |next| *next);
                connection.as_mut().graceful_shutdown();
            }
        }
    }
    drop((connection, place));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_connect_leave_files_for_exchanges_and_store() {
        for (files_max, exchanges_max, doors, expected) in [
            (None, 65_535, 2, 10_000),
            (Some(u64::MAX), 1_024, 2, 10_000),
            (Some(1 << 20), 65_535, 2, 10_000),
            (Some(20_000), 1_024, 1, 10_000),
            (Some(20_000), 1_024, 2, 9_360),
            (Some(4_096), 1_024, 1, 2_816),
            (Some(1_024), 1_024, 1, 512),
            (Some(1_024), 16, 1, 752),
            (Some(1), 1_024, 2, 1),
        ] {
            let settings = Settings::within(files_max, exchanges_max, doors);
            assert_eq!(settings.connections_max, expected, "{files_max:?} {exchanges_max} {doors}");
        }
    }
}
