//! A proxy that does to requests and answers what networks do: it cuts them after some bytes, delays them, goes silent in
//! the middle, and delivers a request twice.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use taskhook_bench::wire::Wire;
use taskhook_sim::Random;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::http::COPY_HEADER;

/// The longest delay of a message.
const DELAY_MAX: Duration = Duration::from_millis(400);
/// The longest silence in the middle of an exchange: longer than those wait who wait least.
const SILENCE_MAX: Duration = Duration::from_secs(4);

/// What may happen to an exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// The connection breaks within the request.
    CutRequest,
    /// The connection breaks within the answer, or before it.
    CutAnswer,
    /// It arrives late.
    Delay,
    /// It stays open, and nothing more comes.
    Silence,
    /// The request is delivered twice.
    Double,
}

/// Everything that may happen.
pub const TROUBLES: [Trouble; 5] =
    [Trouble::CutRequest, Trouble::CutAnswer, Trouble::Delay, Trouble::Silence, Trouble::Double];

impl Trouble {
    /// In words, for the report.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Trouble::CutRequest => "cut within a request",
            Trouble::CutAnswer => "cut within an answer",
            Trouble::Delay => "delayed",
            Trouble::Silence => "half-open",
            Trouble::Double => "doubled",
        }
    }
}

/// A running proxy. It ends when it is dropped.
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    accepting: JoinHandle<()>,
}

struct Shared {
    upstream: SocketAddr,
    /// Of a thousand exchanges so many have trouble.
    rate: watch::Receiver<u16>,
    random: Mutex<Random>,
    counts: Mutex<BTreeMap<Trouble, u64>>,
}

impl Proxy {
    /// Starts to pass on to `upstream`; `rate` of a thousand exchanges have trouble.
    ///
    /// # Errors
    /// If there is no port.
    pub async fn start(
        upstream: SocketAddr,
        random: Random,
        rate: watch::Receiver<u16>,
    ) -> std::io::Result<Proxy> {
        let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let address = listener.local_addr()?;
        let shared =
            Arc::new(Shared { upstream, rate, random: Mutex::new(random), counts: Mutex::default() });
        let accepting = tokio::spawn(accept(listener, shared.clone()));
        Ok(Proxy { address, shared, accepting })
    }

    /// How often there was which trouble.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<Trouble, u64> {
        self.shared.counts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => drop(open.spawn(pass(stream, shared.clone()))),
            Some(_) = open.join_next() => {}
        }
    }
}

/// Passes the exchanges of one connection on, until one side breaks it or there is trouble that does.
async fn pass(stream: TcpStream, shared: Arc<Shared>) {
    let mut client = Wire::new(stream);
    let mut server: Option<Wire> = None;
    loop {
        let Ok(Some(request)) = client.receive().await else { return };
        let request = request.to_bytes();
        let mut to = match server.take() {
            Some(wire) => wire,
            None => match TcpStream::connect(shared.upstream).await {
                Ok(stream) => Wire::new(stream),
                Err(_) => return,
            },
        };
        let (trouble, chance) = shared.draw();
        match exchange(&mut client, &mut to, &request, trouble, chance).await {
            Some(happened) => shared.count(happened.then_some(trouble).flatten()),
            None => return shared.count(trouble),
        }
        server = Some(to);
    }
}

/// Passes one exchange on. `None` if the connection is over; otherwise whether the trouble has happened.
async fn exchange(
    client: &mut Wire,
    server: &mut Wire,
    request: &[u8],
    trouble: Option<Trouble>,
    mut chance: Random,
) -> Option<bool> {
    let delay = |chance: &mut Random| {
        tokio::time::sleep(Duration::from_millis(
            chance.below(u64::try_from(DELAY_MAX.as_millis()).unwrap_or(0)),
        ))
    };
    match trouble {
        Some(Trouble::CutRequest) => {
            let _ = server.send(&request[..chance.index(request.len())]).await;
            return None;
        }
        Some(Trouble::Delay) if chance.per_mille(500) => delay(&mut chance).await,
        Some(Trouble::Silence) => {
            // Of the request a part or all is gone; the rest, or the answer, never comes.
            let part = if chance.per_mille(500) { request.len() } else { chance.index(request.len()) };
            let _ = server.send(&request[..part]).await;
            let silence = chance.below(u64::try_from(SILENCE_MAX.as_millis()).unwrap_or(0));
            tokio::time::sleep(Duration::from_millis(silence)).await;
            return None;
        }
        _ => {}
    }
    server.send(request).await.ok()?;
    let mut answer = server.receive().await.ok()??.to_bytes();
    let mut happened = trouble.is_some();
    match trouble {
        Some(Trouble::Double) => {
            server.send(&marked(request)).await.ok()?;
            // The one that asked hears one of the two answers.
            match server.receive().await {
                Ok(Some(second)) if chance.per_mille(500) => answer = second.to_bytes(),
                Ok(Some(_)) => {}
                _ => happened = false,
            }
        }
        Some(Trouble::CutAnswer) => {
            let _ = client.send(&answer[..chance.index(answer.len())]).await;
            return None;
        }
        Some(Trouble::Delay) => delay(&mut chance).await,
        _ => {}
    }
    client.send(&answer).await.ok()?;
    Some(happened)
}

/// The same request, which says that it is a copy.
fn marked(request: &[u8]) -> Vec<u8> {
    let line = request.iter().position(|byte| *byte == b'\n').map_or(0, |at| at + 1);
    let (first, rest) = request.split_at(line);
    [first, COPY_HEADER.as_bytes(), b": 1\r\n", rest].concat()
}

impl Shared {
    fn draw(&self) -> (Option<Trouble>, Random) {
        let mut random = self.random.lock().unwrap_or_else(PoisonError::into_inner);
        let trouble = random.per_mille(*self.rate.borrow()).then(|| *random.pick(&TROUBLES));
        (trouble, random.fork())
    }

    fn count(&self, trouble: Option<Trouble>) {
        if let Some(trouble) = trouble {
            *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(trouble).or_default() += 1;
        }
    }
}
