//! Load: closed loop (each connection sends when it was answered) and open loop (requests leave on time,
//! whatever the server does, and latency counts from the time at which they should have left).

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use hdrhistogram::Histogram;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::wire::{Client, Message};

/// Where requests come from: each call writes one whole request to an empty buffer.
pub(crate) trait Requests: Send + 'static {
    /// Writes the next request.
    fn next(&mut self, to: &mut Vec<u8>);
}

/// What a run of load has shown.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Answers with a 2xx within the measured time.
    pub(crate) answered: u64,
    /// Those of them that say `"applied"`.
    pub(crate) applied: u64,
    /// Other answers, and connections that broke.
    pub(crate) failed: u64,
    /// The measured time.
    pub(crate) time: Duration,
    /// Latency in nanoseconds.
    latency: Histogram<u64>,
}

impl Measured {
    fn new(time: Duration) -> Result<Measured> {
        let latency = Histogram::new_with_max(120_000_000_000, 3)?;
        Ok(Measured { answered: 0, applied: 0, failed: 0, time, latency })
    }

    /// Answers per second.
    pub(crate) fn per_second(&self) -> f64 {
        let answered = self.answered as f64;
        answered / self.time.as_secs_f64()
    }

    /// The latency below which `part` of the answers came.
    pub(crate) fn latency(&self, part: f64) -> Duration {
        Duration::from_nanos(self.latency.value_at_quantile(part))
    }

    fn add(&mut self, answer: &Answered, latency: Duration) {
        if answer.ok {
            self.answered += 1;
            self.applied += u64::from(answer.applied);
            self.latency.saturating_record(u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX));
        } else {
            self.failed += 1;
        }
    }
}

/// What is remembered of an answer.
struct Answered {
    ok: bool,
    applied: bool,
}

impl Answered {
    fn of(answer: &Message<'_>) -> Answered {
        let ok = (200..300).contains(&answer.status());
        Answered { ok, applied: ok && answer.body_has(r#""applied""#) }
    }
}

/// What the connections of a run have in common.
pub(crate) type Shared<T> = Arc<Mutex<T>>;

/// Everything here runs on one thread, so that no lock is ever waited for.
pub(crate) fn with<T, R>(shared: &Mutex<T>, work: impl FnOnce(&mut T) -> R) -> R {
    work(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Keeps `connections` busy for `warm_up`, then for `time`, which is measured.
pub(crate) async fn closed(
    address: SocketAddr,
    connections: usize,
    warm_up: Duration,
    time: Duration,
    requests: &Shared<impl Requests>,
) -> Result<Measured> {
    let measured = Arc::new(Mutex::new(Measured::new(time)?));
    let from = Instant::now() + warm_up;
    let end = from + time;
    let mut open = JoinSet::new();
    for _ in 0..connections {
        open.spawn(keep_busy(Client::new(address), requests.clone(), measured.clone(), from, end));
    }
    while let Some(ended) = open.join_next().await {
        ended?;
    }
    let measured = Arc::into_inner(measured).context("a connection is still open")?;
    let measured = measured.into_inner().unwrap_or_else(PoisonError::into_inner);
    ensure!(measured.answered > 0, "{address} answered nothing ({} failures)", measured.failed);
    Ok(measured)
}

async fn keep_busy<R: Requests>(
    mut client: Client,
    requests: Shared<R>,
    measured: Shared<Measured>,
    from: Instant,
    end: Instant,
) {
    let mut request = Vec::with_capacity(1 << 10);
    loop {
        request.clear();
        with(&requests, |requests| requests.next(&mut request));
        let sent_at = Instant::now();
        if sent_at >= end {
            return;
        }
        let answer = client.call(&request, Answered::of).await;
        let answered_at = Instant::now();
        if (from..end).contains(&answered_at) {
            let answer = answer.unwrap_or(Answered { ok: false, applied: false });
            with(&measured, |measured| measured.add(&answer, answered_at - sent_at));
        } else if answer.is_err() {
            // Not measured, but not a busy loop either.
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Sends `per_second` requests evenly for `time` over at most `connections`. A request for which none is free
/// waits, and its wait counts.
pub(crate) async fn open(
    address: SocketAddr,
    connections: usize,
    per_second: f64,
    time: Duration,
    requests: &Shared<impl Requests>,
) -> Result<Measured> {
    let measured = Arc::new(Mutex::new(Measured::new(time)?));
    let (free, mut free_again) = mpsc::unbounded_channel();
    let mut senders = Vec::with_capacity(connections);
    let mut workers = JoinSet::new();
    for number in 0..connections {
        let (send, due) = mpsc::unbounded_channel();
        senders.push(send);
        workers.spawn(send_when_due(
            Client::new(address),
            requests.clone(),
            measured.clone(),
            due,
            (number, free.clone()),
        ));
    }
    let start = Instant::now();
    let pause = Duration::from_secs_f64(1.0 / per_second);
    let mut idle: Vec<usize> = (0..connections).collect();
    let mut next = start;
    // This thread has the load core to itself: it spins, since a timer would be late by up to a millisecond.
    while next < start + time {
        while let Ok(number) = free_again.try_recv() {
            idle.push(number);
        }
        while next <= Instant::now() && next < start + time {
            let Some(number) = idle.pop() else { break };
            // A worker ends only after its sender.
            let _ = senders[number].send(next);
            next += pause;
        }
        tokio::task::yield_now().await;
    }
    drop(senders);
    while let Some(ended) = workers.join_next().await {
        ended?;
    }
    let measured = Arc::into_inner(measured).context("a connection is still open")?;
    Ok(measured.into_inner().unwrap_or_else(PoisonError::into_inner))
}

async fn send_when_due<R: Requests>(
    mut client: Client,
    requests: Shared<R>,
    measured: Shared<Measured>,
    mut due: mpsc::UnboundedReceiver<Instant>,
    (number, free): (usize, mpsc::UnboundedSender<usize>),
) {
    let mut request = Vec::with_capacity(1 << 10);
    while let Some(intended) = due.recv().await {
        request.clear();
        with(&requests, |requests| requests.next(&mut request));
        let answer = client.call(&request, Answered::of).await;
        let answer = answer.unwrap_or(Answered { ok: false, applied: false });
        with(&measured, |measured| measured.add(&answer, intended.elapsed()));
        let _ = free.send(number);
    }
}
