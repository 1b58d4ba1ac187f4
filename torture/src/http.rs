//! HTTP as both sides of the torture speak it: a client that keeps what was answered, and calls that wait for an answer.

use std::net::SocketAddr;
use std::time::Duration;

use serde_json::Value;
use taskhook_bench::wire::{self, Message, Wire};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Its status; 0 if there was none.
    pub status: u16,
    /// It is the kept answer to an earlier request with the same `Idempotency-Key`.
    pub replayed: bool,
    /// Its body.
    pub body: Vec<u8>,
}

impl Answer {
    /// In the place of an answer where none came.
    #[must_use]
    pub fn none() -> Answer {
        Answer { status: 0, replayed: false, body: Vec::new() }
    }

    fn of(message: &Message<'_>) -> Answer {
        let replayed = message.header("idempotent-replayed") == Some("true");
        Answer { status: message.status(), replayed, body: message.body.to_vec() }
    }

    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// A request as it goes over the wire. `header` is one more, of a POST.
#[must_use]
pub fn request(method: &str, path: &str, header: Option<(&str, &str)>, body: &str) -> Vec<u8> {
    match method {
        "GET" => wire::get(path),
        "PUT" => wire::put(path, body),
        _ => {
            let mut request = Vec::new();
            wire::post(&mut request, path, header, body.as_bytes());
            request
        }
    }
}

/// Sends a request once, over the connection there is or a new one, and waits for its answer. `None` if there is no whole one in
/// this time: the connection is given up then.
pub async fn exchange(
    connection: &mut Option<Wire>,
    to: SocketAddr,
    request: &[u8],
    time: Duration,
) -> Option<Answer> {
    let exchange = async {
        let mut wire = match connection.take() {
            Some(wire) => wire,
            None => Wire::new(TcpStream::connect(to).await.ok()?),
        };
        wire.send(request).await.ok()?;
        let message = wire.receive().await.ok()??;
        let (answer, stays) = (Answer::of(&message), message.header("connection") != Some("close"));
        *connection = stays.then_some(wire);
        Some(answer)
    };
    tokio::time::timeout(time, exchange).await.ok().flatten()
}

/// A request that waits for an answer. Dropped, it breaks the connection.
#[derive(Debug)]
pub struct Call {
    /// Its path.
    pub path: String,
    /// What it says of its attempt, where it is a dispatch.
    pub sent: Option<Sent>,
    /// Its body.
    pub body: Vec<u8>,
    answer: oneshot::Sender<Vec<u8>>,
}

/// What a dispatch says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// The task's id.
    pub task: String,
    /// The number of the attempt.
    pub attempt: u64,
    /// Names the attempt.
    pub webhook_id: String,
    /// Names the task.
    pub idempotency_key: String,
    /// Where the attempt is reported on.
    pub callback_url: String,
    /// It is a copy that the proxy has made, not one that Taskhook has sent.
    pub is_copy: bool,
}

/// The header by which the proxy marks the copies that it makes.
pub const COPY_HEADER: &str = "torture-copy";

impl Sent {
    fn of(message: &Message<'_>) -> Option<Sent> {
        let header = |name| Some(message.header(name)?.to_owned());
        Some(Sent {
            task: header("taskhook-task-id")?,
            attempt: header("taskhook-attempt")?.parse().ok()?,
            webhook_id: header("webhook-id")?,
            idempotency_key: header("idempotency-key")?,
            callback_url: header("taskhook-callback-url")?,
            is_copy: message.header(COPY_HEADER).is_some(),
        })
    }
}

impl Call {
    /// Answers with a status and a JSON body.
    pub fn answer(self, status: u16, body: &str) {
        let status = match status {
            200 => "200 OK",
            202 => "202 Accepted",
            404 => "404 Not Found",
            503 => "503 Service Unavailable",
            _ => "500 Internal Server Error",
        };
        // Who has given the exchange up hears nothing.
        let _ = self.answer.send(wire::answer(status, body));
    }
}

/// Hands every request that comes to `listener` over, for as long as this is awaited.
pub async fn listen(listener: TcpListener, tell: mpsc::UnboundedSender<Call>) {
    let mut open = JoinSet::new();
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => drop(open.spawn(hand_over(stream, tell.clone()))),
            Some(_) = open.join_next() => {}
        }
    }
}

async fn hand_over(stream: TcpStream, tell: mpsc::UnboundedSender<Call>) {
    let mut wire = Wire::new(stream);
    while let Ok(Some(message)) = wire.receive().await {
        let (answer, answered) = oneshot::channel();
        // A question about an attempt carries its names too.
        let sent = if message.is_get() { None } else { Sent::of(&message) };
        let path = message.path().to_owned();
        let call = Call { path, sent, body: message.body.to_vec(), answer };
        if tell.send(call).is_err() {
            return;
        }
        let Ok(answer) = answered.await else { return };
        if wire.send(&answer).await.is_err() {
            return;
        }
    }
}
