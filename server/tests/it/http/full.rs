//! The writer is behind: what comes is refused, and may be sent again.

use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use taskhook::clock::wall_clock;
use taskhook::engine::lane::{self, Lane};
use taskhook::engine::submission::Submission;
use taskhook::engine::{Engine, SubmitError};
use taskhook::http::{self, App, Listener};
use taskhook::store::read::Reader;
use taskhook::store::sqlite::{SqlitePath, SqliteStore};
use taskhook_core::{Answered, ClaimKey, Command, Once, limits};
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::support::{Answer, Api, PATIENCE, TestServer};

/// A port before an engine of its own.
struct Port {
    listener: Listener,
    engine: Engine,
    _folder: TempDir,
}

impl Port {
    /// Opens one with the settings of `server`. Its lane does not run yet.
    async fn beside(server: &TestServer) -> (Port, Lane, SqliteStore) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = SqlitePath(folder.path().join("store.db"));
        let store = SqliteStore::open(&path, wall_clock).expect("a store");
        let (send, _) = mpsc::unbounded_channel();
        let (_, drains) = watch::channel(false);
        let (engine, lane) = lane::lane(&lane::Settings::default(), send, drains);
        let reader = Reader::open(&path, Arc::default()).expect("its readers");
        let app = App { engine: engine.clone(), reader, ..server.app() };
        let socket = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let listener = Listener::start(
            socket,
            http::router(Arc::new(app), http::Door::Main),
            None,
            http::Settings::default(),
        )
        .expect("it listens");
        (Port { listener, engine, _folder: folder }, lane, store)
    }

    async fn webhook(&self) -> Answer {
        self.post("/webhook", r#"{"event": "ping"}"#).await
    }

    async fn creation(&self) -> Answer {
        self.post("/v1/tasks", r#"{"id": "123"}"#).await
    }

    /// Sends a request again and again until the writer is no longer behind.
    async fn until_taken(&self, send: impl AsyncFn(&Port) -> Answer) -> Answer {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let answer = send(self).await;
            if answer.status != 503 {
                return answer;
            }
            is_behind(&answer);
            assert!(tokio::time::Instant::now() < deadline, "it stays behind");
        }
    }

    async fn post(&self, path: &str, body: &'static str) -> Answer {
        Api::new(format!("http://{}", self.listener.address())).send("POST", path, &[], body).await
    }
}

/// Submits until no more is taken.
async fn fill(engine: &Engine, submission: Submission) {
    let mut taken = 0;
    loop {
        let mut submitted = pin!(engine.submit(submission.clone()));
        let answer = std::future::poll_fn(|cx| Poll::Ready(submitted.as_mut().poll(cx))).await;
        match answer {
            // It waits for the lane, with its caller or without.
            Poll::Pending => taken += 1,
            Poll::Ready(answer) => break assert_eq!(answer, Err(SubmitError::Behind)),
        }
        assert!(taken <= limits::CHANNEL_INPUTS_MAX, "there is a limit");
    }
}

#[track_caller]
fn is_behind(answer: &Answer) {
    let problem = answer.problem(503, "behind");
    assert_eq!(answer.header("retry-after"), Some("1"), "{problem}");
}

#[tokio::test]
async fn a_writer_that_is_behind_takes_no_more_than_it_has_room_for() {
    let server = TestServer::start().await;
    let (port, lane, store) = Port::beside(&server).await;
    fill(&port.engine, Submission::Create(Vec::new())).await;
    is_behind(&port.creation().await);
    // What moves work that has begun has a channel of its own.
    fill(&port.engine, Submission::Command("nobody".into(), Command::Cancel)).await;
    is_behind(&port.webhook().await);
    is_behind(&port.creation().await);

    // What was refused has not happened, and may be sent again.
    let running = lane::spawn(lane, store).expect("a thread");
    port.until_taken(Port::creation).await.expect(201);
    port.until_taken(Port::webhook).await.expect(200);
    let Port { listener, engine, _folder } = port;
    listener.stop(PATIENCE).await;
    drop(engine);
    running.ended.await.expect("a word of its end").expect("no error");
    server.stop().await;
}

#[tokio::test]
async fn what_waits_for_the_writer_is_limited_in_bytes_too() {
    let server = TestServer::start().await;
    let (port, _lane, _store) = Port::beside(&server).await;
    let once = Once { claim: ClaimKey([0; 16]), request: [0; 16] };
    let answered = Answered { once, status: 200, body: Some(vec![b' '; limits::CHANNEL_BYTES_MAX]) };
    fill(&port.engine, Submission::Answered(Box::new(answered))).await;
    is_behind(&port.webhook().await);
    is_behind(&port.creation().await);
    port.listener.stop(PATIENCE).await;
    server.stop().await;
}
