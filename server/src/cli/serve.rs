//! `taskhook serve`: the server itself.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use taskhook_core::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::cli::{Code, DEFAULT_URL, Failed, out};
use crate::config::{Config, Faults, Flags};
use crate::engine::lane::FULL;
use crate::http;
use crate::serve::{Exposed, Server};

/// Run the server
#[derive(Debug, Args)]
#[command(
    before_help = "taskhook serve --listen 127.0.0.1:8420 --store sqlite:taskhook.db",
    after_help = "Flags win over the environment (TASKHOOK_LISTEN, TASKHOOK_PUBLIC_URL, TASKHOOK_STORE …), that wins \
                  over the file. `taskhook config default` prints every setting and what it means."
)]
pub(super) struct Arguments {
    /// The address to listen on [default: 127.0.0.1:8420]
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// One more address, which answers on /webhook, /callback and /healthz only
    #[arg(long, value_name = "ADDRESS")]
    listen_public: Option<String>,
    /// The URL under which workers reach it [default: http:// and the address]
    #[arg(long, value_name = "URL")]
    public_url: Option<String>,
    /// Where everything is kept [default: sqlite:taskhook.db]
    #[arg(long, value_name = "STORE")]
    store: Option<String>,
    /// The file with its settings [default: taskhook.toml, if there is one]
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Receive, but send nothing until it is resumed with POST /v1/resume
    #[arg(long)]
    hold: bool,
}

/// Runs it until it is told to stop.
///
/// # Errors
/// If a setting is wrong, or the server cannot start.
pub(super) fn run(arguments: Arguments) -> anyhow::Result<Code> {
    let flags = Flags {
        config: arguments.config,
        listen: arguments.listen,
        listen_public: arguments.listen_public,
        public_url: arguments.public_url,
        store: arguments.store,
        hold: arguments.hold,
    };
    let config = Config::load(&flags, environment).map_err(|faults| refused(&faults))?;
    tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::try_new(&config.log.level)?)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .try_init()
        .map_err(|error| anyhow::anyhow!(error))?;
    leave_no_core();
    take_all_files();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let code = runtime.block_on(serve(&config));
    // A name that is still being looked up must not keep the process: everything that counts is recorded.
    runtime.shutdown_background();
    code
}

/// A core dump would hold every secret that is open: none is written, whatever the shell allows.
fn leave_no_core() {
    use rustix::process::{Resource, Rlimit, setrlimit};
    let nothing = Rlimit { current: Some(0), maximum: Some(0) };
    if let Err(error) = setrlimit(Resource::Core, nothing) {
        tracing::warn!(%error, "core dumps cannot be switched off; one would hold the secrets");
    }
}

/// Takes as many open files as this process is allowed: each connection is one, and what a shell or a system gives
/// without being asked (1,024, mostly) is for programs that might still use `select`.
fn take_all_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let files = getrlimit(Resource::Nofile);
    let all = Rlimit { current: files.maximum, maximum: files.maximum };
    if files.current != files.maximum
        && let Err(error) = setrlimit(Resource::Nofile, all)
    {
        tracing::warn!(%error, "no more than {:?} files can be open", files.current);
    }
}

async fn serve(config: &Config) -> anyhow::Result<Code> {
    // Registered first: a signal during the start ends it in order.
    let mut signals = Signals::new()?;
    let mut server = Server::start(config).await.map_err(|error| match error.downcast::<Exposed>() {
        Ok(exposed) => Failed::new(Code::Usage, exposed.to_string()).into(),
        Err(error) => error,
    })?;
    let held = server.reader().held().await?;
    greet(config, &server, held);
    // For whoever reads only the log. The first line of all is the greeting's.
    if server.connections_max() < http::Settings::default().connections_max {
        tracing::warn!(
            connections_max = server.connections_max(),
            "few clients can be connected at the same time: allow this process more open files (ulimit -n, LimitNOFILE)"
        );
    }
    if let Some(since) = held {
        tracing::warn!(%since, "held: nothing is sent until POST /v1/resume");
    }
    if server.reader().node().full_since().is_some() {
        tracing::error!("{FULL}");
    }
    let code = tokio::select! {
        name = signals.next() => {
            out::message(format_args!("{name}: stopping; a second signal stops at once"));
            Code::Done
        }
        ended = server.ended() => {
            if let Err(error) = ended {
                out::message(format_args!("error: {error:#}"));
            }
            Code::Failed
        }
    };
    tokio::select! {
        () = server.stop() => Ok(code),
        name = signals.next() => Err(anyhow::anyhow!("{name} again: stopped before open exchanges were recorded")),
    }
}

/// What a newcomer needs. The first line is for programs too: it ends with the address.
fn greet(config: &Config, server: &Server, held: Option<Timestamp>) {
    let scheme = if server.has_tls() { "https" } else { "http" };
    let own = format!("{scheme}://{}", server.address());
    let public = server.public_url();
    let url = if own == DEFAULT_URL { String::new() } else { format!(" --url {own}") };
    out::message(format_args!("taskhook {} listens on {own}", env!("CARGO_PKG_VERSION")));
    out::message(format_args!("  webhooks  POST {public}/webhook"));
    out::message(format_args!("  store     {}", config.store));
    if let Some(address) = server.public_address() {
        out::message(format_args!(
            "  strangers {scheme}://{address} answers on /webhook, /callback and /healthz only"
        ));
    }
    out::message(match server.keys().is_open() {
        true => {
            "  open      no keys: every program on this machine may use it; of forwarded requests only those \
             to /webhook, /callback and /healthz are answered"
        }
        false => "  keys      requests need one, but for /webhook, /callback, /healthz and /readyz",
    });
    if let Some(since) = held {
        out::message(format_args!(
            "  held      since {since}: nothing is sent; to resume: curl -X POST {own}/v1/resume"
        ));
    }
    out::message(format_args!("  next      taskhook tasks create --id 123{url}"));
}

/// The variables that settings are read from.
pub(super) fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// Faults of the settings, as the error that they are.
pub(super) fn refused(faults: &Faults) -> Failed {
    let lines = faults.to_string().replace('\n', "\n  ");
    Failed::new(Code::Usage, format!("the settings cannot be used\n  {lines}"))
}

/// The signals that stop a server.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Signals> {
        let listen = |kind| signal(kind).context("signals cannot be received");
        Ok(Signals {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
        })
    }

    async fn next(&mut self) -> &'static str {
        tokio::select! {
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        }
    }
}
