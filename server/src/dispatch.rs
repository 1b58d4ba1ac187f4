//! Dispatch: an attempt that a commit has begun is sent, and how its exchange ended comes back as an input.
//!
//! [`Dispatcher`] takes what leaves the lane and sends each in a task of its own. Nothing is decided here:
//! whatever happened becomes a [`Reply`], handed in exactly once with the permit that the exchange held. What
//! is not handed in, since the process ended first, is sent again at the next start.

pub mod connect;
mod correlate;
pub mod egress;
mod location;
pub mod proxy;
mod request;
mod response;
mod retry_after;
mod send;
mod status;

use std::any::Any;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::task::Poll;
use std::time::Duration;

use taskhook_core::{Failure, Polled, Reply, ReplyKind, Timestamp, limits};
use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinHandle, JoinSet};

use crate::clock::wall_clock;
use crate::dispatch::egress::{Allow, Network};
use crate::dispatch::proxy::Proxy;
use crate::dispatch::send::{Ended, Sender};
use crate::engine::commit::{Dispatch, Question};
use crate::engine::submission::Submission;
use crate::engine::{Engine, Permit};
use crate::secrets::Secrets;

/// How tasks are sent.
#[derive(Debug, Clone)]
pub struct Settings {
    /// What callback URLs begin with: the public URL, without a slash at its end.
    pub callback_base: String,
    /// Whether loopback may be called without being named, at each moment.
    pub allow_loopback: Arc<AtomicBool>,
    /// The private and loopback addresses that may be called.
    pub allow: Vec<Network>,
    /// The addresses that may never be called.
    pub deny: Vec<Network>,
    /// Ports below 1024 that may be called beside 80 and 443.
    pub ports: Vec<u16>,
    /// The addresses that this server listens on.
    pub own: Vec<SocketAddr>,
    /// Through which everything goes.
    pub proxy: Option<Proxy>,
    /// Bound of everything before the first byte of a request: the name, the connection, the TLS handshake.
    pub connect_timeout: Duration,
    /// The time.
    pub clock: fn() -> Timestamp,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            callback_base: String::new(),
            allow_loopback: Arc::default(),
            allow: Vec::new(),
            deny: Vec::new(),
            ports: Vec::new(),
            own: Vec::new(),
            proxy: None,
            connect_timeout: Duration::from_secs(10),
            clock: wall_clock,
        }
    }
}

/// Where the ends of exchanges go: the engine.
pub trait HandIn: Clone + Send + Sync + 'static {
    /// Takes the end of an exchange, and the place it held.
    fn hand_in(&self, ended: Submission, permit: Permit) -> impl Future<Output = ()> + Send;
}

impl HandIn for Engine {
    async fn hand_in(&self, ended: Submission, permit: Permit) {
        Engine::hand_in(self, ended, permit).await;
    }
}

/// Sends what leaves the lane, until it is drained. Dropping it gives up every open exchange.
#[derive(Debug)]
#[must_use = "dropping it gives up every open exchange"]
pub struct Dispatcher {
    stop: oneshot::Sender<Duration>,
    supervisor: JoinHandle<Left>,
}

/// The attempts without a recorded response when the dispatcher had stopped. They are sent again at the next
/// start, unless a webhook has ended them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Left {
    /// Their exchanges never began.
    pub unsent: usize,
    /// Their exchanges were cut off.
    pub open: usize,
}

impl Dispatcher {
    /// Starts sending. Reads the system's root certificates, once.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(
        dispatches: mpsc::UnboundedReceiver<Dispatch>,
        to: impl HandIn,
        secrets: Arc<Secrets>,
        settings: Settings,
    ) -> Dispatcher {
        let allow = Allow {
            loopback: settings.allow_loopback,
            networks: settings.allow,
            deny: settings.deny,
            ports: settings.ports,
            own: settings.own,
        };
        let roots = connect::system_roots();
        let connector = connect::Connector::new(allow, settings.proxy, roots, settings.connect_timeout);
        let sender = Sender::new(connector, secrets, settings.callback_base, settings.clock);
        let (stop, stopped) = oneshot::channel();
        let supervisor = tokio::spawn(supervise(dispatches, Arc::new(sender), to, stopped));
        Dispatcher { stop, supervisor }
    }

    /// Sends nothing more, and waits for open exchanges to end and to be handed in, at most for `patience`.
    /// Gives how many attempts were left. After it nothing here holds the engine any more, so that the lane can
    /// end, which records what was handed in.
    pub async fn drain(self, patience: Duration) -> Left {
        // A supervisor that is gone has nothing open.
        let _ = self.stop.send(patience);
        self.supervisor.await.unwrap_or_else(|error| {
            tracing::error!(%error, "the dispatcher had failed before it was drained");
            Left::default()
        })
    }
}

/// Keeps one task for each open exchange; ends with what was left.
async fn supervise(
    mut dispatches: mpsc::UnboundedReceiver<Dispatch>,
    sender: Arc<Sender>,
    to: impl HandIn,
    mut stopped: oneshot::Receiver<Duration>,
) -> Left {
    let (mut open, mut polls) = (JoinSet::new(), JoinSet::new());
    let mut more = true;
    let patience = loop {
        tokio::select! {
            biased;
            told = &mut stopped => break told.unwrap_or(Duration::ZERO),
            Some(ended) = open.join_next() => report(ended),
            Some(ended) = polls.join_next() => report(ended),
            dispatch = dispatches.recv(), if more => match dispatch {
                Some(dispatch) => {
                    let of_its_kind = if dispatch.poll.is_some() { &mut polls } else { &mut open };
                    drop(of_its_kind.spawn(exchange(sender.clone(), to.clone(), dispatch)));
                }
                None => more = false,
            },
        }
    };
    // What was not begun yet is not begun now: cut off half-way, its target would see it twice.
    dispatches.close();
    let mut unsent = 0;
    while let Ok(dispatch) = dispatches.try_recv() {
        unsent += usize::from(dispatch.poll.is_none());
    }
    // Who was only asked is asked again at the next start.
    polls.shutdown().await;
    let all_ended = async {
        while let Some(ended) = open.join_next().await {
            report(ended);
        }
    };
    let _ = tokio::time::timeout(patience, all_ended).await;
    while let Some(ended) = open.try_join_next() {
        report(ended);
    }
    let left = Left { unsent, open: open.len() };
    open.shutdown().await;
    left
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended {
        tracing::error!(%error, "the end of an exchange could not be handed in");
    }
}

/// One exchange from its beginning to its hand-in, which follows however it ended.
async fn exchange(sender: Arc<Sender>, to: impl HandIn, dispatch: Dispatch) {
    let Some(permit) = dispatch.permit() else {
        tracing::error!(task = dispatch.id, "nobody is to be called for this task: a defect");
        return;
    };
    let (task, attempt) = (dispatch.task.key, dispatch.attempt);
    let Ended { kind, unread } = match caught(sender.send(&dispatch)).await {
        Ok(ended) => ended,
        Err(panic) => {
            let defect = panic_text(panic.as_ref());
            tracing::error!(defect, task = dispatch.id, attempt, "sending failed by a defect");
            let message = "sending failed by a defect of Taskhook: see its log".into();
            ReplyKind::Lost(failure("broken", message)).into()
        }
    };
    let ended = match dispatch.poll {
        Some(Question { host, map }) => {
            let answer = status::read(kind, unread, map).await;
            Submission::Polled(Box::new(Polled { task, attempt, host, answer }))
        }
        None => {
            let external = correlate::find(&dispatch, &kind).await;
            let location = location::find(&dispatch, &kind);
            Submission::Reply(Box::new(Reply { task, attempt, kind, external, location }))
        }
    };
    to.hand_in(ended, permit).await;
}

/// Runs `future`; a panic in it becomes an error.
async fn caught<T>(future: impl Future<Output = T>) -> Result<T, Box<dyn Any + Send>> {
    let mut future = pin!(future);
    // A future that panicked is not polled again, so nothing half-done in it is ever seen.
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(cx))) {
        Ok(poll) => poll.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("a panic without words")
}

fn failure(code: &str, mut message: String) -> Failure {
    message.truncate(message.floor_char_boundary(limits::MESSAGE_BYTES_MAX));
    Failure { code: code.into(), message }
}
