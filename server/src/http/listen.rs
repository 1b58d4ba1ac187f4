//! Accepting connections: bounded in number, in the size of a head, and in the time a head may take.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

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
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            connections_max: 10_000,
            head_time: Duration::from_secs(10),
            headers_max: 100,
            head_bytes_max: 64 << 10,
        }
    }
}

/// A port that is listened on.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    connections: Arc<Semaphore>,
    connections_max: usize,
    accepting: tokio::task::JoinHandle<()>,
}

impl Listener {
    /// Serves `router` on `listener`.
    ///
    /// # Errors
    /// If the socket has no address.
    pub fn start(listener: TcpListener, router: Router, settings: Settings) -> std::io::Result<Listener> {
        let address = listener.local_addr()?;
        let (stop, stopped) = watch::channel(false);
        let connections = Arc::new(Semaphore::new(settings.connections_max));
        let connections_max = settings.connections_max;
        let accepting = tokio::spawn(accept(listener, router, settings, connections.clone(), stopped));
        Ok(Listener { address, stop, connections, connections_max, accepting })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, lets requests in progress end, and waits at most `patience` for them.
    pub async fn stop(self, patience: Duration) {
        self.stop.send_replace(true);
        self.accepting.abort();
        let all = u32::try_from(self.connections_max).unwrap_or(u32::MAX);
        let _ = tokio::time::timeout(patience, self.connections.acquire_many(all)).await;
    }
}

async fn accept(
    listener: TcpListener,
    router: Router,
    settings: Settings,
    connections: Arc<Semaphore>,
    stopped: watch::Receiver<bool>,
) {
    let mut http = hyper::server::conn::http1::Builder::new();
    // Without a timer hyper's time-out of a head does nothing.
    http.timer(TokioTimer::new())
        .header_read_timeout(settings.head_time)
        .max_headers(settings.headers_max)
        .max_buf_size(settings.head_bytes_max)
        .pipeline_flush(true);
    loop {
        let Ok(place) = connections.clone().acquire_owned().await else { return };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of file descriptors, mostly: those who are connected must end first.
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let connection =
            http.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router.clone()));
        let mut stopped = stopped.clone();
        tokio::spawn(async move {
            let mut connection = std::pin::pin!(connection);
            let mut stopping = false;
            loop {
                tokio::select! {
                    result = connection.as_mut() => {
                        if let Err(error) = result {
                            tracing::debug!(%error, "a connection ended early");
                        }
                        break;
                    }
                    _ = stopped.wait_for(|stop| *stop), if !stopping => {
                        stopping = true;
                        connection.as_mut().graceful_shutdown();
                    }
                }
            }
            drop(place);
        });
    }
}
