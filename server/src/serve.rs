//! A whole server: store, lane, dispatcher and listener, started and stopped in the right order.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use rustix::process::{Resource, getrlimit};
use taskhook_core::HoldCommand;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{mpsc, watch};

use crate::access::Keys;
use crate::clock;
use crate::config::{Config, StoreUrl};
use crate::dispatch::{self, Dispatcher};
use crate::engine::Engine;
use crate::engine::lane::{self, LaneThread};
use crate::engine::submission::Submission;
use crate::http::tls::Certificate;
use crate::http::{self, App, Door, Listener};
use crate::secrets::stored::{own_secrets, sign_queue};
use crate::source::registry::Registry;
use crate::store::read::{NodeStatus, Reader};
use crate::store::sqlite::{Settings, SqlitePath, SqliteStore};
use crate::telemetry::Metrics;
use crate::vault::{MasterKey, Vault};

/// How long it looks for damage of its store before it starts.
const CHECK_TIME: Duration = Duration::from_millis(300);

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
    for_strangers: Option<Listener>,
    /// Keeps the certificate up to date.
    certificate: Option<AbortOnDrop>,
    dispatcher: Dispatcher,
    draining: watch::Sender<bool>,
    lane: LaneThread,
    engine: Engine,
    reader: Reader,
    sources: Arc<Registry>,
    keys: Arc<Keys>,
    public_url: String,
    settings: Settings,
    connections_max: usize,
}

/// Resolves when the server is held. Its lane begins with that; it is waited for, so that whoever is answered finds it held.
async fn until_held(engine: &Engine, path: &SqlitePath) -> anyhow::Result<()> {
    let held = engine.submit(Submission::Hold(HoldCommand::Hold)).await;
    held.map(drop).with_context(|| {
        format!(
            "--hold cannot be written to the store {}; without --hold nothing is sent either while its disk is full, but as \
             soon as there is room",
            path.0.display()
        )
    })
}

/// A task that ends with what it serves.
#[derive(Debug)]
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// The settings would let in whoever reaches the server.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct Exposed(String);

impl Server {
    /// Opens the store, takes up what an earlier process left, and listens.
    ///
    /// # Errors
    /// What is wrong, and what to do about it.
    pub async fn start(config: &Config) -> anyhow::Result<Server> {
        let StoreUrl::Sqlite(path) = &config.store;
        let path = SqlitePath(path.clone());
        let mut store = SqliteStore::open_sound(&path, clock::wall_clock, CHECK_TIME)?;
        let full = !store.reserve_room()?;
        // Before the lane asks for the time: what died with an earlier process was sent before this one began.
        clock::later_than(store.last_now());
        let settings = store.settings()?;
        let vault = Arc::new(Vault::new(&MasterKey::load(&config.key_place(), store.has_sealed()?)?));
        let secrets = Arc::new(own_secrets(&store, &vault)?);
        let status: Arc<NodeStatus> = Arc::default();
        let reader = Reader::open(&path, status.clone())?;
        for (key, name, secret) in reader.queues_with_secrets().await? {
            sign_queue(&secrets, &vault, (key, &name), Some(&secret))?;
        }
        let keys = Arc::new(Keys::load(&reader, config.listen.ip().is_loopback()).await?);
        let sources = Arc::new(Registry::load(&reader, vault).await?);
        must_be_guarded(config, &keys, &sources)?;
        let doors = Doors::open(config)?;
        let files_max = getrlimit(Resource::Nofile).current;
        let connections =
            http::Settings::within(files_max, config.dispatch.exchanges, doors.addresses().len());
        let public_url = config.public_url.clone().unwrap_or_else(|| doors.url());
        let (send, dispatches) = mpsc::unbounded_channel();
        let (draining, drains) = watch::channel(false);
        let metrics = Arc::new(Metrics::new(path.clone()));
        // Held already, it needs no room on the disk for it.
        let hold = config.hold && reader.held().await?.is_none();
        let lanes = lane::Settings {
            metrics: metrics.clone(),
            status,
            exchanges_max: config.dispatch.exchanges,
            exchanges_per_host_max: config.dispatch.exchanges_per_host,
            retention: config.retention.clone(),
            hold,
            full,
            ..lane::Settings::default()
        };
        let (engine, lane) = lane::lane(&lanes, send, drains);
        let networks = |all: &[String]| all.iter().map(|network| network.parse()).collect::<Result<_, _>>();
        let (allow, deny) = (networks(&config.dispatch.allow)?, networks(&config.dispatch.deny)?);
        let dispatching = dispatch::Settings {
            callback_base: public_url.clone(),
            allow_loopback: keys.open(),
            allow,
            deny,
            ports: config.dispatch.ports.clone(),
            own: doors.addresses(),
            proxy: config.dispatch.proxy.clone(),
            ..dispatch::Settings::default()
        };
        let dispatcher = Dispatcher::start(dispatches, engine.clone(), secrets.clone(), dispatching);
        let lane = lane::spawn(lane, store)?;
        if hold {
            until_held(&engine, &path).await?;
        }
        let app = Arc::new(App {
            engine: engine.clone(),
            keys: keys.clone(),
            sources: sources.clone(),
            public_url: public_url.clone(),
            reader: reader.clone(),
            secrets,
            rotating: tokio::sync::Mutex::default(),
            clock: clock::wall_clock,
            body_time: http::BODY_TIME,
            rejections: Arc::default(),
            bodies: Arc::new(tokio::sync::Semaphore::new(taskhook_core::limits::BODIES_BYTES_MAX)),
            answers: Arc::new(tokio::sync::Semaphore::new(taskhook_core::limits::ANSWERS_BYTES_MAX)),
            asked_instants: Arc::default(),
            in_progress: Arc::default(),
            metrics,
        });
        let (listener, for_strangers, certificate) = doors.serve(&app, &connections)?;
        Ok(Server {
            listener,
            for_strangers,
            certificate,
            dispatcher,
            draining,
            lane,
            engine,
            reader,
            sources,
            keys,
            public_url,
            settings,
            connections_max: connections.connections_max,
        })
    }

    /// The address it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.listener.address()
    }

    /// The address that it listens on for strangers.
    #[must_use]
    pub fn public_address(&self) -> Option<SocketAddr> {
        self.for_strangers.as_ref().map(Listener::address)
    }

    /// The URL under which workers reach it, without a slash at its end.
    #[must_use]
    pub fn public_url(&self) -> &str {
        &self.public_url
    }

    /// Whether those who connect speak TLS.
    #[must_use]
    pub fn has_tls(&self) -> bool {
        self.certificate.is_some()
    }

    /// How many clients may be connected at the same time to each of its addresses.
    #[must_use]
    pub fn connections_max(&self) -> usize {
        self.connections_max
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

    /// The API keys, for a process that serves itself.
    #[must_use]
    pub fn keys(&self) -> &Arc<Keys> {
        &self.keys
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
        let for_strangers = async {
            if let Some(listener) = self.for_strangers {
                listener.stop(GOODBYE_TIME).await;
            }
        };
        let (left, (), ()) =
            tokio::join!(self.dispatcher.drain(DRAIN_TIME), self.listener.stop(GOODBYE_TIME), for_strangers);
        if left != dispatch::Left::default() {
            let dispatch::Left { unsent, open } = left;
            tracing::warn!(unsent, open, "attempts without a response are sent again at the next start");
        }
        // Whoever else still has the reader: the connection that is closed last, that of the writer, takes the log into the file.
        self.reader.close();
        drop((self.engine, self.reader));
        let lane = self.lane;
        let joined = tokio::task::spawn_blocking(move || lane.join());
        if tokio::time::timeout(STOP_TIME.saturating_sub(began.elapsed()), joined).await.is_err() {
            tracing::warn!("the writer has not stopped in time");
        }
    }
}

/// The addresses that a server listens on, before it answers there.
struct Doors {
    main: TcpListener,
    for_strangers: Option<TcpListener>,
    certificate: Option<Arc<Certificate>>,
    main_address: SocketAddr,
    strangers_address: Option<SocketAddr>,
}

impl Doors {
    fn open(config: &Config) -> anyhow::Result<Doors> {
        let certificate = config.tls.files().map(Certificate::load).transpose()?;
        let main = listen(config.listen)?;
        let for_strangers = config.listen_public.map(listen).transpose()?;
        let main_address = main.local_addr()?;
        let strangers_address = for_strangers.as_ref().map(TcpListener::local_addr).transpose()?;
        Ok(Doors { main, for_strangers, certificate, main_address, strangers_address })
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        [Some(self.main_address), self.strangers_address].into_iter().flatten().collect()
    }

    /// Under which workers reach the server, where nothing else is said.
    fn url(&self) -> String {
        let scheme = if self.certificate.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.strangers_address.unwrap_or(self.main_address))
    }

    /// Answers there from now on.
    fn serve(
        self,
        app: &Arc<App>,
        settings: &http::Settings,
    ) -> anyhow::Result<(Listener, Option<Listener>, Option<AbortOnDrop>)> {
        let tls = self.certificate.as_ref().map(Certificate::acceptor).transpose()?;
        let start = |socket, door| {
            Listener::start(socket, http::router(app.clone(), door), tls.clone(), settings.clone())
        };
        let for_strangers = self.for_strangers.map(|socket| start(socket, Door::Public)).transpose()?;
        let main = start(self.main, Door::Main)?;
        let keeping_up = self.certificate.map(|certificate| AbortOnDrop(tokio::spawn(certificate.keep_up())));
        Ok((main, for_strangers, keeping_up))
    }
}

/// Clients that the system holds until they are accepted. Beyond them it lets a client try again after a second, in a
/// storm of thousands those who mean well too.
const BACKLOG: u32 = 4_096;

fn listen(address: SocketAddr) -> anyhow::Result<TcpListener> {
    let open = || {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        // A server that starts again must not wait for what is left of connections to the one before.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    open().with_context(|| format!("cannot listen on {address}"))
}

/// Without a key, whoever reaches the server may do everything: nobody but this machine may reach it then.
fn must_be_guarded(config: &Config, keys: &Keys, sources: &Registry) -> Result<(), Exposed> {
    let make = format!("taskhook keys create --role admin --store {}", config.store);
    let (listen, store) = (config.listen, &config.store);
    if keys.is_empty() && !listen.ip().is_loopback() {
        return Err(Exposed(format!(
            "listen is {listen}, which others reach, and {store} has no API key: anybody could do everything. Make one \
             first, with `{make}`; or listen on loopback, and let strangers in with --listen-public only"
        )));
    }
    let proves_nothing = sources.get("default").is_none_or(|source| source.definition.verify.is_none());
    match config.listen_public {
        Some(public) if keys.is_empty() && proves_nothing && !public.ip().is_loopback() => {
            Err(Exposed(format!(
                "listen_public is {public}, which others reach, and the source default has no verify: anybody could report on \
             any task. Say how its webhooks prove themselves, with `taskhook sources set default`, while the server \
             listens on loopback only; or make an API key, with `{make}`: then the source is closed until it has one"
            )))
        }
        _ => Ok(()),
    }
}
