//! The other side of dispatches: a server in this process that answers at once.
//!
//! `/done` answers 200. `/accept` answers 202 and then reports the completion to the callback URL; `/hold` does so
//! when it is let.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use hdrhistogram::Histogram;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, JoinSet};

use crate::wire::{self, Client, Message, Wire};

/// Connections over which completions are reported.
const CALLBACK_CONNECTIONS: usize = 64;
/// How long nothing may come before a measurement is given up.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Tasks whose names are remembered as the last that came: more than there can be exchanges open.
const LAST_KEPT: usize = 128;

/// A running target. Ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Target {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
    held: Arc<Mutex<Held>>,
    accepting: JoinHandle<()>,
}

/// Completions that are not reported yet.
#[derive(Debug, Default)]
struct Held {
    /// The callback URL of each, and who is to report it.
    waiting: VecDeque<(String, mpsc::UnboundedSender<String>)>,
    /// How many more may be reported.
    let_go: usize,
}

impl Held {
    fn report(&mut self) {
        while self.let_go > 0
            && let Some((url, callbacks)) = self.waiting.pop_front()
        {
            self.let_go -= 1;
            // It ends with the target.
            let _ = callbacks.send(url);
        }
    }
}

/// What has come.
#[derive(Debug)]
pub(crate) struct Seen {
    /// The tasks that came, each once.
    tasks: HashSet<Box<str>>,
    /// The last of them.
    last: VecDeque<Box<str>>,
    /// Requests for a task that had come before.
    pub(crate) repeated: u64,
    /// Requests that came before their task was due.
    pub(crate) early: u64,
    /// How late the tasks were whose id tells when they were due, in nanoseconds.
    pub(crate) lateness: Histogram<u64>,
    last_at: Instant,
}

impl Target {
    /// Starts to listen. Completions are reported to `server`.
    pub(crate) async fn start(server: SocketAddr) -> Result<Target> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.local_addr()?;
        let seen = Arc::new(Mutex::new(Seen {
            tasks: HashSet::new(),
            last: VecDeque::new(),
            repeated: 0,
            early: 0,
            lateness: Histogram::new_with_max(120_000_000_000, 3)?,
            last_at: Instant::now(),
        }));
        let held = Arc::default();
        let accepting = tokio::spawn(accept(listener, seen.clone(), Arc::clone(&held), server));
        Ok(Target { address, seen, held, accepting })
    }

    /// The URL of one of its paths.
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    /// Reads what has come so far.
    pub(crate) fn seen<T>(&self, read: impl FnOnce(&Seen) -> T) -> T {
        read(&self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets `count` of the tasks that came to `/hold`, or are to come, be reported as completed, in their order.
    pub(crate) fn release(&self, count: usize) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.let_go += count;
        held.report();
    }

    /// Forgets what has come.
    pub(crate) fn forget(&self) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.tasks.clear();
        seen.last.clear();
        seen.lateness.reset();
        (seen.repeated, seen.early) = (0, 0);
    }

    /// Waits until `count` different tasks have come, and tells when the last one did.
    pub(crate) async fn wait_for(&self, count: usize) -> Result<Instant> {
        let waits_since = Instant::now();
        loop {
            let (came, last_at) = self.seen(|seen| (seen.tasks.len(), seen.last_at));
            if came >= count {
                return Ok(last_at);
            }
            if last_at.max(waits_since).elapsed() > SILENCE_MAX {
                bail!("only {came} of {count} tasks were dispatched, and none for {SILENCE_MAX:?}");
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// The tasks that came last.
    pub(crate) fn last(&self) -> Vec<String> {
        self.seen(|seen| seen.last.iter().map(|id| id.to_string()).collect())
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Seen {
    /// How many tasks came.
    pub(crate) fn count(&self) -> usize {
        self.tasks.len()
    }

    fn note(&mut self, request: &Message<'_>) {
        let Some(id) = request.header("taskhook-task-id") else { return };
        self.last_at = Instant::now();
        if let Some(due) = due_of(id) {
            match request.first_byte_at.duration_since(due) {
                Ok(late) => {
                    self.lateness.saturating_record(u64::try_from(late.as_nanos()).unwrap_or(u64::MAX));
                }
                Err(_) => self.early += 1,
            }
        }
        if !self.tasks.insert(id.into()) {
            self.repeated += 1;
            return;
        }
        if self.last.len() == LAST_KEPT {
            self.last.pop_front();
        }
        self.last.push_back(id.into());
    }
}

/// The id of a task that is due at a time that its id tells.
pub(crate) fn id_due_at(millis: u64, number: u64) -> String {
    format!("due-{millis}-{number}")
}

fn due_of(id: &str) -> Option<SystemTime> {
    let millis = id.strip_prefix("due-")?.split('-').next()?;
    Some(UNIX_EPOCH + Duration::from_millis(millis.parse().ok()?))
}

async fn accept(listener: TcpListener, seen: Arc<Mutex<Seen>>, held: Arc<Mutex<Held>>, server: SocketAddr) {
    // Dropped with this task, and all that is open with it.
    let mut open = JoinSet::new();
    let mut callbacks = Vec::new();
    for _ in 0..CALLBACK_CONNECTIONS {
        let (send, paths) = mpsc::unbounded_channel();
        callbacks.push(send);
        open.spawn(call_back(Client::new(server), paths));
    }
    let mut number = 0;
    while let Ok((stream, _)) = listener.accept().await {
        number += 1;
        // Each connection has one open exchange, so its callbacks come one after the other as well.
        let callbacks = callbacks[number % CALLBACK_CONNECTIONS].clone();
        open.spawn(serve(stream, seen.clone(), held.clone(), callbacks));
        while open.try_join_next().is_some() {}
    }
}

async fn serve(
    stream: TcpStream,
    seen: Arc<Mutex<Seen>>,
    held: Arc<Mutex<Held>>,
    callbacks: mpsc::UnboundedSender<String>,
) {
    let mut wire = Wire::new(stream);
    let done = wire::answer("200 OK", "{}");
    let accepted = wire::answer("202 Accepted", "{}");
    let unknown = wire::answer("404 Not Found", "{}");
    // A connection that breaks is the server's to notice.
    while let Ok(Some(request)) = wire.receive().await {
        seen.lock().unwrap_or_else(PoisonError::into_inner).note(&request);
        let holds = request.path() == "/hold";
        let (answer, callback) = match request.path() {
            "/done" => (&done, None),
            "/accept" | "/hold" => (&accepted, request.header("taskhook-callback-url").map(String::from)),
            _ => (&unknown, None),
        };
        if wire.send(answer).await.is_err() {
            return;
        }
        match callback {
            Some(callback) if holds => {
                let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
                held.waiting.push_back((callback, callbacks.clone()));
                held.report();
            }
            Some(callback) => drop(callbacks.send(callback)),
            None => {}
        }
    }
}

async fn call_back(mut client: Client, mut urls: mpsc::UnboundedReceiver<String>) {
    while let Some(url) = urls.recv().await {
        if let Err(error) = report_completion(&mut client, &url).await {
            crate::report::note(&format!("a callback failed: {error:#}"));
        }
    }
}

async fn report_completion(client: &mut Client, url: &str) -> Result<()> {
    let path = url.find("/callback/").and_then(|at| url.get(at..)).context("no callback URL")?;
    let mut request = Vec::new();
    wire::post(&mut request, path, None, br#"{"event":"task_completed"}"#);
    let answer = client.call(&request, |answer| (answer.status(), answer.body_text())).await?;
    match answer {
        (200, _) => Ok(()),
        (status, body) => bail!("{status} {body}"),
    }
}
