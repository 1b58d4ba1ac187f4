//! A target that answers byte by byte as it is told, and shows the bytes that it was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

/// What the target does with a request.
#[derive(Debug)]
pub(super) enum Answer {
    /// Sends these bytes, and waits for the next request.
    Send(Vec<u8>),
    /// Sends these bytes, and closes the connection.
    SendAndClose(Vec<u8>),
    /// Sends these bytes, and says nothing more until the other side gives up.
    SendAndWait(Vec<u8>),
    /// Sends the first bytes, then the second again and again, until the other side gives up.
    SendForEver(Vec<u8>, Vec<u8>),
    /// Sends these bytes once it is told to.
    SendWhenTold(oneshot::Receiver<()>, Vec<u8>),
}

/// A request as it came over the wire.
#[derive(Debug)]
pub(super) struct Seen {
    /// The connection it came on, counted from 1.
    pub(super) connection: usize,
    /// Request line and headers.
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Seen {
    pub(super) fn line(&self) -> &str {
        self.head.lines().next().unwrap_or_default()
    }

    /// The value of the one header with this name.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        let values: Vec<&str> =
            self.headers().filter(|(key, _)| *key == name).map(|(_, value)| value).collect();
        assert!(values.len() < 2, "{name} was sent {} times", values.len());
        values.first().copied()
    }

    pub(super) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.head.lines().skip(1).filter_map(|line| line.split_once(": "))
    }
}

/// A server on loopback.
pub(super) struct Target {
    pub(super) address: SocketAddr,
    /// The requests, as they come.
    pub(super) requests: mpsc::UnboundedReceiver<Seen>,
    /// A word for each connection that the other side has ended.
    pub(super) given_up: mpsc::UnboundedReceiver<()>,
}

impl Target {
    pub(super) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(super) async fn seen(&mut self) -> Seen {
        self.requests.recv().await.expect("the target lives")
    }
}

/// An answer with this head (without its end) and body.
pub(super) fn http(head: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = format!("HTTP/1.1 {head}\r\ncontent-length: {}\r\n\r\n", body.len()).into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// Starts a target that answers with these, one after the other.
pub(super) async fn target(answers: Vec<Answer>) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (requests_in, requests) = mpsc::unbounded_channel();
    let (given_up_in, given_up) = mpsc::unbounded_channel();
    let answers = Arc::new(Mutex::new(answers.into_iter()));
    tokio::spawn(async move {
        let mut connection = 0;
        while let Ok((stream, _)) = listener.accept().await {
            connection += 1;
            let answers = answers.clone();
            let next = move || answers.lock().expect("no answer panics").next();
            tokio::spawn(serve(stream, connection, next, requests_in.clone(), given_up_in.clone()));
        }
    });
    Target { address, requests, given_up }
}

async fn serve(
    mut stream: TcpStream,
    connection: usize,
    next: impl Fn() -> Option<Answer>,
    requests: mpsc::UnboundedSender<Seen>,
    given_up: mpsc::UnboundedSender<()>,
) {
    while let Some(seen) = read(&mut stream, connection).await {
        let _ = requests.send(seen);
        match next() {
            Some(Answer::Send(bytes)) => stream.write_all(&bytes).await.expect("it is read"),
            Some(Answer::SendAndClose(bytes)) => {
                stream.write_all(&bytes).await.expect("it is read");
                return;
            }
            Some(Answer::SendAndWait(bytes)) => {
                stream.write_all(&bytes).await.expect("it is read");
                let _ = stream.read(&mut [0; 1]).await;
                break;
            }
            Some(Answer::SendForEver(first, again)) => {
                let mut sent = stream.write_all(&first).await;
                while sent.is_ok() {
                    sent = stream.write_all(&again).await;
                }
                break;
            }
            Some(Answer::SendWhenTold(told, bytes)) => {
                let _ = told.await;
                stream.write_all(&bytes).await.expect("it is read");
            }
            None => return,
        }
    }
    let _ = given_up.send(());
}

/// The next request, or `None` where the connection ends before one.
async fn read(stream: &mut TcpStream, connection: usize) -> Option<Seen> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let body = bytes.split_off(head_end + 4);
    let head = String::from_utf8(bytes).expect("a head is text");
    let mut seen = Seen { connection, head, body };
    let length: usize = seen.header("content-length").map_or(0, |length| length.parse().expect("a number"));
    while seen.body.len() < length {
        if stream.read_buf(&mut seen.body).await.ok()? == 0 {
            return None;
        }
    }
    Some(seen)
}
