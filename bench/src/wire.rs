//! HTTP/1.1 as a load generator needs it: whole messages with a length, one after the other on a connection.
//!
//! Written by hand, since a client library costs the load core more than the reference server spends on an
//! answer: the load would be measured, not the server.

use std::io::{Error, ErrorKind, Result, Write as _};
use std::net::SocketAddr;
use std::time::SystemTime;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Bytes that a connection reads at once.
const READ_BYTES: usize = 16 << 10;
/// Bytes of one message; a server that sends more is not one of ours.
const MESSAGE_BYTES_MAX: usize = 16 << 20;

/// A connection over which messages come in whole.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Where the unread bytes are in `buffer`.
    start: usize,
    end: usize,
}

/// A request or an answer.
pub struct Message<'a> {
    head: &'a [u8],
    /// What follows the head.
    pub body: &'a [u8],
    /// When its first byte was here.
    pub first_byte_at: SystemTime,
}

/// What the head says that reading needs.
struct Head {
    bytes: usize,
    body_bytes: usize,
}

impl Wire {
    /// Takes over a connected stream.
    pub fn new(stream: TcpStream) -> Wire {
        // Only costs latency if it fails.
        let _ = stream.set_nodelay(true);
        Wire { stream, buffer: vec![0; READ_BYTES], start: 0, end: 0 }
    }

    /// Sends bytes that are a whole message.
    pub async fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).await
    }

    /// Waits for the next message; `None` if the other side has closed between two.
    pub async fn receive(&mut self) -> Result<Option<Message<'_>>> {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        let mut first_byte_at = SystemTime::now();
        let head = loop {
            if let Some(head) = parse_head(&self.buffer[..self.end])? {
                if self.end >= head.bytes + head.body_bytes {
                    break head;
                }
                self.make_room(head.bytes + head.body_bytes)?;
            } else {
                self.make_room(self.end + READ_BYTES / 2)?;
            }
            let read = self.stream.read(&mut self.buffer[self.end..]).await?;
            match (read, self.end) {
                (0, 0) => return Ok(None),
                (0, _) => return Err(Error::from(ErrorKind::UnexpectedEof)),
                (_, 0) => first_byte_at = SystemTime::now(),
                _ => {}
            }
            self.end += read;
        };
        self.start = head.bytes + head.body_bytes;
        let (head, body) = self.buffer[..self.start].split_at(head.bytes);
        Ok(Some(Message { head, body, first_byte_at }))
    }

    fn make_room(&mut self, bytes: usize) -> Result<()> {
        if bytes > MESSAGE_BYTES_MAX {
            return Err(invalid("a message is too large"));
        }
        if self.buffer.len() < bytes {
            self.buffer.resize(bytes, 0);
        }
        Ok(())
    }
}

impl Message<'_> {
    /// The status of an answer; 0 if it has none.
    pub fn status(&self) -> u16 {
        let digits = self.head.get(9..12).and_then(|digits| std::str::from_utf8(digits).ok());
        digits.and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }

    /// Whether it is a request that only reads.
    #[must_use]
    pub fn is_get(&self) -> bool {
        self.head.starts_with(b"GET ")
    }

    /// The path of a request.
    pub fn path(&self) -> &str {
        let line = self.head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let path = line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
        std::str::from_utf8(path).unwrap_or_default()
    }

    /// The value of a header, which is named in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.split(|byte| *byte == b'\n').skip(1).find_map(|line| value_of(line, name))
    }

    /// The whole message, as it came.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        [self.head, self.body].concat()
    }

    /// Whether the body contains `text`.
    pub fn body_has(&self, text: &str) -> bool {
        self.body.windows(text.len()).any(|window| window == text.as_bytes())
    }

    /// The body, for an error message.
    pub fn body_text(&self) -> String {
        String::from_utf8_lossy(&self.body[..self.body.len().min(500)]).into_owned()
    }

    fn closes(&self) -> bool {
        self.header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}

/// A client with one connection, which is made again when the server has closed it.
pub struct Client {
    address: SocketAddr,
    wire: Option<Wire>,
}

impl Client {
    /// A client that connects when it is first used.
    pub fn new(address: SocketAddr) -> Client {
        Client { address, wire: None }
    }

    /// Sends a request and hands its answer to `read`. What is sent may be sent twice: a server may close a
    /// connection that was idle at any time.
    pub async fn call<T>(&mut self, request: &[u8], read: impl FnOnce(&Message<'_>) -> T) -> Result<T> {
        if let Some(mut wire) = self.wire.take()
            && wire.send(request).await.is_ok()
            && let Ok(Some(answer)) = wire.receive().await
        {
            let (value, closes) = (read(&answer), answer.closes());
            self.wire = (!closes).then_some(wire);
            return Ok(value);
        }
        let mut wire = Wire::new(TcpStream::connect(self.address).await?);
        wire.send(request).await?;
        let Some(answer) = wire.receive().await? else { return Err(invalid("closed before it answered")) };
        let (value, closes) = (read(&answer), answer.closes());
        self.wire = (!closes).then_some(wire);
        Ok(value)
    }
}

/// Writes a POST of a JSON `body` with one more header to `to`.
pub fn post(to: &mut Vec<u8>, path: &str, header: Option<(&str, &str)>, body: &[u8]) {
    to.extend_from_slice(b"POST ");
    to.extend_from_slice(path.as_bytes());
    to.extend_from_slice(b" HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-type: application/json\r\n");
    if let Some((name, value)) = header {
        for part in [name, ": ", value, "\r\n"] {
            to.extend_from_slice(part.as_bytes());
        }
    }
    // Writing to memory does not fail.
    let _ = write!(to, "content-length: {}\r\n\r\n", body.len());
    to.extend_from_slice(body);
}

/// A PUT of a JSON `body`.
pub fn put(path: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("PUT {path} HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: {length}\r\n\r\n{body}").into_bytes()
}

/// A GET of `path`.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n").into_bytes()
}

/// An answer with a JSON `body`.
pub fn answer(status: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}")
        .into_bytes()
}

/// The head at the beginning of `bytes`; `None` if it is not complete yet.
fn parse_head(bytes: &[u8]) -> Result<Option<Head>> {
    let mut position = 0;
    let mut body_bytes = 0;
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        position += line.len();
        if line == b"\r\n" {
            return Ok(Some(Head { bytes: position, body_bytes }));
        }
        if let Some(length) = value_of(line, "content-length") {
            body_bytes = length.parse().map_err(|_| invalid("a content-length that is no number"))?;
        } else if value_of(line, "transfer-encoding").is_some() {
            return Err(invalid("a message without a length"));
        }
    }
    Ok(None)
}

/// The value in a line of a head, if it is that of the header `name`.
fn value_of<'a>(line: &'a [u8], name: &str) -> Option<&'a str> {
    let (key, rest) = line.split_at_checked(name.len())?;
    let value = rest.strip_prefix(b":")?;
    key.eq_ignore_ascii_case(name.as_bytes()).then(|| std::str::from_utf8(value).unwrap_or_default().trim())
}

fn invalid(what: &str) -> Error {
    Error::new(ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn pair() -> (Wire, TcpStream) {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        let (server, _) = listener.accept().await.unwrap();
        (Wire::new(server), client)
    }

    #[tokio::test]
    async fn messages_come_in_whole_however_they_are_cut() {
        let (mut wire, mut other) = pair().await;
        let mut bytes = Vec::new();
        post(&mut bytes, "/one", Some(("Taskhook-Task-Id", "a-1")), b"{}");
        post(&mut bytes, "/two", None, &vec![b'x'; 50_000]);
        let sending = tokio::spawn(async move {
            for part in bytes.chunks(977) {
                other.write_all(part).await.unwrap();
                tokio::task::yield_now().await;
            }
        });
        let one = wire.receive().await.unwrap().unwrap();
        assert_eq!((one.path(), one.header("taskhook-task-id"), one.body), ("/one", Some("a-1"), &b"{}"[..]));
        assert_eq!(one.header("webhook-id"), None);
        let two = wire.receive().await.unwrap().unwrap();
        assert_eq!((two.path(), two.body.len()), ("/two", 50_000));
        sending.await.unwrap();
        assert!(wire.receive().await.unwrap().is_none());
    }

    #[test]
    fn an_answer_tells_its_status() {
        let bytes = answer("202 Accepted", r#"{"outcome":"applied"}"#);
        let head = parse_head(&bytes).unwrap().unwrap();
        let (head_bytes, body) = bytes.split_at(head.bytes);
        let message = Message { head: head_bytes, body, first_byte_at: SystemTime::UNIX_EPOCH };
        assert_eq!((message.status(), head.body_bytes), (202, body.len()));
        assert!(message.body_has(r#""applied""#) && !message.body_has("ignored"));
    }
}
