//! A whole server: store, lane, dispatcher and listener, started and stopped in the right order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use taskhook_core::HoldCommand;
use tokio::sync::{mpsc, watch};

use crate::clock;
use crate::config::{Config, StoreUrl};
use crate::dispatch::{self, Dispatcher};
use crate::engine::Engine;
use crate::engine::lane::{self, LaneThread};
use crate::engine::submission::Submission;
use crate::http::{self, App, Listener};
use crate::secrets::stored::own_secrets;
use crate::source::registry::Registry;
use crate::store::read::{NodeStatus, Reader};
use crate::store::sqlite::{Settings, SqlitePath, SqliteStore};
use crate::telemetry::Metrics;
use crate::vault::{MasterKey, Vault};

/// How long open exchanges may take to end when the server stops.
const DRAIN_TIME: Duration = Duration::from_secs(8);

/// How long requests in progress may take to end when the server stops.
const GOODBYE_TIME: Duration = Duration::from_secs(1);

/// Within this time it has stopped, whatever the writer still does: what is not recorded by then is sent again.
const STOP_TIME: Duration = Duration::from_millis(9_500);

/// A running server.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    dispatcher: Dispatcher,
    draining: watch::Sender<bool>,
    lane: LaneThread,
    engine: Engine,
    reader: Reader,
    sources: Arc<Registry>,
    settings: Settings,
}

impl Server {
    /// Opens the store, takes up what an earlier process left, and listens.
    ///
    /// # Errors
    /// What is wrong, and what to do about it.
    pub async fn start(config: &Config) -> anyhow::Result<Server> {
        let StoreUrl::Sqlite(path) = &config.store;
        let path = SqlitePath(path.clone());
        let store = SqliteStore::open(&path, clock::wall_clock)?;
        // Before the lane asks for the time: what died with an earlier process was sent before this one began.
        clock::later_than(store.last_now());
        let settings = store.settings()?;
        let vault = Vault::new(&MasterKey::load(&config.key_place(), store.has_sealed()?)?);
        let secrets = Arc::new(own_secrets(&store, &vault)?);
        let status: Arc<NodeStatus> = Arc::default();
        let reader = Reader::open(&path, status.clone())?;

        let socket = tokio::net::TcpListener::bind(config.listen)
            .await
            .with_context(|| format!("cannot listen on {}", config.listen))?;
        let address = socket.local_addr()?;
        let (send, dispatches) = mpsc::unbounded_channel();
        let (draining, drains) = watch::channel(false);
        let metrics = Arc::new(Metrics::new(path.clone()));
        let lanes = lane::Settings {
            metrics: metrics.clone(),
            status,
            exchanges_max: config.dispatch.exchanges,
            exchanges_per_host_max: config.dispatch.exchanges_per_host,
            retention: config.retention.clone(),
            hold: config.hold,
            ..lane::Settings::default()
        };
        let (engine, lane) = lane::lane(&lanes, send, drains);
        let public_url = config.public_url.clone().unwrap_or_else(|| format!("http://{address}"));
        let networks = |all: &[String]| all.iter().map(|network| network.parse()).collect::<Result<_, _>>();
        let (allow, deny) = (networks(&config.dispatch.allow)?, networks(&config.dispatch.deny)?);
        let dispatching = dispatch::Settings {
            callback_base: public_url.clone(),
            allow_loopback: address.ip().is_loopback(),
            allow,
            deny,
            ..dispatch::Settings::default()
        };
        let dispatcher = Dispatcher::start(dispatches, engine.clone(), secrets.clone(), dispatching);
        let lane = lane::spawn(lane, store)?;
        if config.hold {
            // The lane begins with it; here it is waited for, so that whoever is answered finds it held.
            engine.submit(Submission::Hold(HoldCommand::Hold)).await.context("the server cannot be held")?;
        }
        let sources = Arc::new(Registry::load(&reader, vault).await?);
        let app = App {
            engine: engine.clone(),
            sources: sources.clone(),
            public_url: public_url.clone(),
            reader: reader.clone(),
            secrets,
            clock: clock::wall_clock,
            body_time: http::BODY_TIME,
            rejections: Arc::default(),
            bodies: Arc::new(tokio::sync::Semaphore::new(taskhook_core::limits::BODIES_BYTES_MAX)),
            answers: Arc::new(tokio::sync::Semaphore::new(taskhook_core::limits::ANSWERS_BYTES_MAX)),
            asked_instants: Arc::default(),
            in_progress: Arc::default(),
            metrics,
        };
        let listener = Listener::start(socket, http::router(app), http::Settings::default())?;
        Ok(Server { listener, dispatcher, draining, lane, engine, reader, sources, settings })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// The store's settings, as read back.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The way in, for a process that serves itself.
    #[must_use]
    pub fn engine(&self) -> &Engine {
        &self.engine
    }

    /// The sources, for a process that serves itself.
    #[must_use]
    pub fn sources(&self) -> &Arc<Registry> {
        &self.sources
    }

    /// For reading, for a process that serves itself.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Resolves when the writer has ended by itself, with the reason.
    ///
    /// # Errors
    /// Always: a writer does not end by itself unless its store is broken.
    pub async fn ended(&mut self) -> anyhow::Result<()> {
        match (&mut self.lane.ended).await {
            Ok(Ok(())) | Err(_) => anyhow::bail!("the writer has stopped"),
            Ok(Err(error)) => {
                Err(error).context("the store can no longer be trusted; nothing more is answered")
            }
        }
    }

    /// Stops: takes no more requests and admits nothing, waits for open exchanges and records them; the rest is
    /// sent again at the next start.
    pub async fn stop(self) {
        let began = Instant::now();
        // Who waits for the end of a task hears how it is, instead of nothing.
        self.engine.watch().close();
        self.draining.send_replace(true);
        let (left, ()) = tokio::join!(self.dispatcher.drain(DRAIN_TIME), self.listener.stop(GOODBYE_TIME));
        if left != dispatch::Left::default() {
            let dispatch::Left { unsent, open } = left;
            tracing::warn!(unsent, open, "attempts without a response are sent again at the next start");
        }
        drop((self.engine, self.reader));
        let lane = self.lane;
        let joined = tokio::task::spawn_blocking(move || lane.join());
        if tokio::time::timeout(STOP_TIME.saturating_sub(began.elapsed()), joined).await.is_err() {
            tracing::warn!("the writer has not stopped in time");
        }
    }
}
