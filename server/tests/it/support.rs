//! What the tests share: a real server, a worker that does what the test says, and a plain HTTP client.

use std::net::SocketAddr;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use taskhook::clock::wall_clock;
use taskhook::config::{Config, StoreUrl};
use taskhook::http::{self, App};
use taskhook::secrets::{Secrets, Signer};
use taskhook::serve::Server;
use taskhook::store::sqlite::SqlitePath;
use taskhook::telemetry::Metrics;
use taskhook_core::id::parse_type_id;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

/// Longer than anything here takes on a busy machine; waiting ends with an event, not with this. One fsync can take
/// half a minute while the machine writes back gigabytes that a compiler has just made.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// A server on a throw-away store, in this process.
pub struct TestServer {
    server: Option<Server>,
    /// Where it runs, if it is to end like a killed process.
    doomed: Option<Doomed>,
    api: Api,
    pub folder: TempDir,
}

/// The runtime of a server that is to end like a killed process. All of its tasks end when it is dropped.
struct Doomed(Option<Runtime>);

impl Drop for Doomed {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// An answer, read whole.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {:?}", self.body))
    }

    /// Checks the status, and gives the body as JSON.
    #[track_caller]
    pub fn expect(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", String::from_utf8_lossy(&self.body));
        self.json()
    }

    /// Checks that it is a problem with this status and code (RFC 9457), and gives it.
    #[track_caller]
    pub fn problem(&self, status: u16, code: &str) -> Value {
        let problem = self.expect(status);
        assert_eq!(problem["code"], code, "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].as_str().is_some_and(|text| !text.is_empty()), "no {member}: {problem}");
        }
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{problem}");
        let id = self.header("request-id").unwrap_or_default();
        assert!(parse_type_id("req", id).is_some(), "no request-id: {:?}", self.headers);
        problem
    }

    /// Checks that it refuses fields, and gives for each where it is and the code of what is wrong with it.
    #[track_caller]
    pub fn faults(&self) -> Vec<(String, String)> {
        let problem = self.problem(422, "invalid");
        let errors = problem["errors"].as_array().expect("a list of errors");
        let text = |error: &Value, member: &str| error[member].as_str().expect("text").to_string();
        assert!(errors.iter().all(|error| !text(error, "detail").is_empty()), "{problem}");
        errors.iter().map(|error| (text(error, "pointer"), text(error, "code"))).collect()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }
}

impl TestServer {
    /// Starts a server with default settings.
    pub async fn start() -> TestServer {
        TestServer::start_in(tempfile::tempdir().expect("a folder"), |_| {}).await
    }

    /// Starts a server on the store in `folder`, with changed settings.
    pub async fn start_in(folder: TempDir, change: impl FnOnce(&mut Config)) -> TestServer {
        let mut config = config_in(&folder);
        change(&mut config);
        let server = Server::start(&config).await.expect("the server starts");
        let api = Api::new(format!("http://{}", server.address())).over(&folder);
        TestServer { server: Some(server), doomed: None, api, folder }
    }

    /// Starts a server that can [`crash`](TestServer::crash).
    pub async fn start_doomed() -> TestServer {
        TestServer::start_doomed_in(tempfile::tempdir().expect("a folder")).await
    }

    /// Starts a server that can [`crash`](TestServer::crash) on the store in `folder`. The store may still be held by one that has
    /// just done so.
    pub async fn start_doomed_in(folder: TempDir) -> TestServer {
        let config = config_in(&folder);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let (tell, told) = oneshot::channel();
        runtime.spawn(async move {
            let deadline = tokio::time::Instant::now() + PATIENCE;
            let mut server = loop {
                match Server::start(&config).await {
                    Ok(server) => break server,
                    Err(error) => assert!(tokio::time::Instant::now() < deadline, "{error:#}"),
                }
                tokio::task::yield_now().await;
            };
            let _ = tell.send(server.address());
            let _ = server.ended().await;
        });
        let url = format!("http://{}", told.await.expect("the server starts"));
        let api = Api::new(url).over(&folder);
        TestServer { server: None, doomed: Some(Doomed(Some(runtime))), api, folder }
    }

    /// Ends it in the middle of whatever it does: nothing is awaited, answered or recorded any more.
    pub fn crash(mut self) -> TempDir {
        drop(self.doomed.take().expect("it may crash"));
        self.folder
    }

    /// Crashes, and starts again on the same store.
    pub async fn crash_and_restart(self) -> TestServer {
        TestServer::start_doomed_in(self.crash()).await
    }

    /// Stops it as SIGTERM does, and starts it again on the same store.
    pub async fn restart(mut self) -> TestServer {
        self.server.take().expect("it runs").stop().await;
        TestServer::start_in(self.folder, |_| {}).await
    }

    /// Stops it as SIGTERM does, changes its store, and starts it again.
    pub async fn restart_after(mut self, change: impl FnOnce(&rusqlite::Connection)) -> TestServer {
        self.server.take().expect("it runs").stop().await;
        let store = rusqlite::Connection::open(self.folder.path().join("store.db")).expect("the store");
        change(&store);
        drop(store);
        TestServer::start_in(self.folder, |_| {}).await
    }

    /// Stops it as SIGTERM does, and gives its folder.
    pub async fn into_folder(mut self) -> TempDir {
        self.server.take().expect("it runs").stop().await;
        self.folder
    }

    /// Stops it as SIGTERM does, or as a crash does if it is to end so.
    pub async fn stop(mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
    }

    /// The engine inside, for what no request can bring about.
    pub fn engine(&self) -> &taskhook::engine::Engine {
        self.server.as_ref().expect("it runs").engine()
    }

    /// What the handlers of another listener on the same store may use.
    pub fn app(&self) -> App {
        let server = self.server.as_ref().expect("it runs");
        App {
            engine: server.engine().clone(),
            reader: server.reader().clone(),
            keys: server.keys().clone(),
            sources: server.sources().clone(),
            public_url: self.api.url.clone(),
            secrets: Arc::new(Secrets::new(b"callback", Signer::new(b"dispatch"))),
            rotating: tokio::sync::Mutex::default(),
            clock: wall_clock,
            body_time: http::BODY_TIME,
            metrics: Arc::new(Metrics::new(SqlitePath(self.folder.path().join("store.db")))),
            rejections: Arc::default(),
            bodies: Arc::new(tokio::sync::Semaphore::new(taskhook_core::limits::BODIES_BYTES_MAX)),
            answers: Arc::new(tokio::sync::Semaphore::new(taskhook_core::limits::ANSWERS_BYTES_MAX)),
            asked_instants: Arc::default(),
            in_progress: Arc::default(),
        }
    }
}

impl Deref for TestServer {
    type Target = Api;

    fn deref(&self) -> &Api {
        &self.api
    }
}

fn config_in(folder: &TempDir) -> Config {
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        store: StoreUrl::Sqlite(folder.path().join("store.db")),
        ..Config::default()
    }
}

/// A server's HTTP port, with a client that keeps connections.
#[derive(Clone)]
pub struct Api {
    pub url: String,
    client: Client<HttpConnector, Full<Bytes>>,
    /// Where its store is, to look at what no answer says.
    store: Option<PathBuf>,
    /// The API key that each request has.
    key: Option<String>,
}

impl Api {
    /// The port at `url`, with a client of its own.
    pub fn new(url: impl Into<String>) -> Api {
        Api {
            url: url.into(),
            client: Client::builder(TokioExecutor::new()).build_http(),
            store: None,
            key: None,
        }
    }

    /// The same, of a server on the store in `folder`.
    fn over(mut self, folder: &TempDir) -> Api {
        self.store = Some(folder.path().join("store.db"));
        self
    }

    /// The same, with a client that has no connections yet.
    pub fn anew(&self) -> Api {
        Api { key: self.key.clone(), ..Api::new(self.url.clone()) }
    }

    /// The same, with an API key.
    pub fn with_key(&self, key: &str) -> Api {
        Api { key: Some(key.into()), ..self.clone() }
    }

    /// Sends a request. `None` if there is no whole answer.
    pub async fn try_send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Option<Answer> {
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.url));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        if let Some(key) = &self.key {
            request = request.header("authorization", format!("Bearer {key}"));
        }
        let request = request.body(Full::new(body.into())).expect("a request");
        let (parts, body) = self.client.request(request).await.ok()?.into_parts();
        let body = body.collect().await.ok()?.to_bytes();
        Some(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }

    /// Sends a request to a server that is up.
    pub async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        self.try_send(method, path, headers, body).await.expect("an answer")
    }

    /// Reads.
    pub async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], "").await
    }

    /// Posts JSON.
    pub async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, &[("content-type", "application/json")], body.to_string()).await
    }

    /// Creates a task, and gives it as it was answered.
    pub async fn create(&self, task: Value) -> Value {
        self.post("/v1/tasks", task).await.expect(201)
    }

    /// Sends a webhook, and gives the answer.
    pub async fn webhook(&self, body: Value) -> Value {
        self.tell("/webhook", &[], body).await
    }

    /// Sends a webhook to `path`, and gives the answer.
    pub async fn tell(&self, path: &str, headers: &[(&str, &str)], body: Value) -> Value {
        self.send("POST", path, headers, body.to_string()).await.expect(200)
    }

    /// Sends a webhook to the URL of a callback, and gives the answer.
    pub async fn call_back(&self, url: &str, body: Value) -> Value {
        self.tell(self.path_of(url), &[], body).await
    }

    /// The path of one of its own URLs.
    #[track_caller]
    pub fn path_of<'a>(&self, url: &'a str) -> &'a str {
        url.strip_prefix(&self.url).unwrap_or_else(|| panic!("{url} is not at {}", self.url))
    }

    /// A task as it is now.
    pub async fn task(&self, id: &str) -> Value {
        self.get(&format!("/v1/tasks/{id}")).await.expect(200)
    }

    /// A task when it has ended.
    pub async fn end_of(&self, id: &str) -> Value {
        let task = self.get(&format!("/v1/tasks/{id}?wait=30s")).await.expect(200);
        if task["ended_at"].is_null() {
            panic!("the task has not ended: {task}\n{}", self.story_of(id).await);
        }
        task
    }

    /// The changes of a task, oldest first.
    pub async fn changes(&self, id: &str) -> Vec<String> {
        let history = self.get(&format!("/v1/tasks/{id}/history?limit=1000")).await.expect(200);
        let data = history["data"].as_array().expect("a list");
        data.iter().map(|entry| entry["change"].as_str().expect("a word").to_string()).collect()
    }

    /// Checks that no webhook was taken in: what was refused is kept for whoever looks for it, and no more.
    pub async fn has_taken_nothing(&self) {
        let events = self.get("/v1/events?limit=1000").await.expect(200);
        for event in events["data"].as_array().expect("a list") {
            assert_eq!(event["outcome"], "rejected", "{event}");
        }
    }

    /// Reads a task again and again until `is` holds.
    pub async fn until(&self, id: &str, is: impl Fn(&Value) -> bool) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let task = self.task(id).await;
            if is(&task) {
                return task;
            }
            if tokio::time::Instant::now() >= deadline {
                panic!("it never came to that: {task}\n{}", self.story_of(id).await);
            }
            tokio::task::yield_now().await;
        }
    }

    /// Reads a task again and again until it is in `state`.
    pub async fn until_state(&self, id: &str, state: &str) -> Value {
        self.until(id, |task| task["state"] == state).await
    }

    /// Reads a task again and again until `change` is in its history, and gives it as it is then.
    pub async fn until_change(&self, id: &str, change: &str) -> Value {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !self.changes(id).await.iter().any(|known| known == change) {
            if tokio::time::Instant::now() >= deadline {
                panic!("there is never a {change:?}\n{}", self.story_of(id).await);
            }
            tokio::task::yield_now().await;
        }
        self.task(id).await
    }

    /// What may explain why a task does not get on: its history, whether the writer still answers, and how the
    /// task is after that. A writer that only slept too long has been woken by then.
    async fn story_of(&self, id: &str) -> String {
        let row = self.row_of(id);
        let history = self.get(&format!("/v1/tasks/{id}/history?limit=1000")).await;
        let metrics = self.get("/metrics").await;
        let began = tokio::time::Instant::now();
        let asked = self.send("POST", "/webhook", &[], r#"{"event": "are_you_there"}"#);
        let writer = match tokio::time::timeout(PATIENCE, asked).await {
            Ok(answer) => format!("answers {} after {:?}", answer.status, began.elapsed()),
            Err(_) => "does not answer".into(),
        };
        let task = self.get(&format!("/v1/tasks/{id}")).await;
        let text = |answer: &Answer| String::from_utf8_lossy(&answer.body).into_owned();
        let now = wall_clock();
        format!(
            "{row}\nhistory: {}\nmetrics:\n{}\nthe writer {writer}\nat {now} the task is {}",
            text(&history),
            text(&metrics),
            text(&task)
        )
    }

    /// The times of a task's row, in microseconds, as a connection of its own sees them.
    fn row_of(&self, id: &str) -> String {
        let Some(path) = &self.store else { return "the store is not looked at".into() };
        let sql = "SELECT state, due_at, wake_at, attempt_began_at FROM task JOIN name USING (key)
             WHERE kind = 1 AND text = ?1";
        let row = rusqlite::Connection::open(path).and_then(|store| {
            store.query_row(sql, [id], |row| {
                let number = |column| row.get::<_, Option<i64>>(column);
                Ok((number(0)?, number(1)?, number(2)?, number(3)?))
            })
        });
        format!("at {} (state, due_at, wake_at, attempt_began_at) is {row:?}", wall_clock().0)
    }
}

/// A worker: an HTTP server that hands every request to the test.
pub struct Worker {
    calls: mpsc::UnboundedReceiver<Call>,
    pub url: String,
}

/// A request to the worker, which waits for the test's answer. Dropped, it breaks the connection.
pub struct Call {
    pub method: String,
    pub path: String,
    pub headers: HeaderMap,
    pub body: Bytes,
    answer: oneshot::Sender<Response<Full<Bytes>>>,
}

impl Worker {
    /// Starts a worker.
    pub async fn start() -> Worker {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (tell, calls) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let tell = tell.clone();
                let service = hyper::service::service_fn(move |request| hand_over(request, tell.clone()));
                tokio::spawn(async move {
                    let http = hyper::server::conn::http1::Builder::new();
                    let _ = http.serve_connection(TokioIo::new(stream), service).await;
                });
            }
        });
        Worker { calls, url }
    }

    /// The next request.
    pub async fn call(&mut self) -> Call {
        let call = tokio::time::timeout(PATIENCE, self.calls.recv()).await;
        call.expect("the worker is called").expect("the worker runs")
    }

    /// Whether nobody has called that the test has not seen.
    pub fn is_idle(&mut self) -> bool {
        self.calls.try_recv().is_err()
    }
}

async fn hand_over(
    request: Request<hyper::body::Incoming>,
    tell: mpsc::UnboundedSender<Call>,
) -> Result<Response<Full<Bytes>>, std::io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(std::io::Error::other)?.to_bytes();
    let (answer, answered) = oneshot::channel();
    let call = Call {
        method: parts.method.to_string(),
        path: parts.uri.path().to_string(),
        headers: parts.headers,
        body,
        answer,
    };
    tell.send(call).map_err(|_| std::io::Error::other("the test is over"))?;
    answered.await.map_err(|_| std::io::Error::other("the test hangs up"))
}

impl Call {
    /// A header's text.
    #[track_caller]
    pub fn header(&self, name: &str) -> String {
        let value = self.headers.get(name).unwrap_or_else(|| panic!("no header {name}: {:?}", self.headers));
        value.to_str().expect("text").to_string()
    }

    /// Answers.
    pub fn answer(self, status: u16, headers: &[(&str, &str)], body: impl Into<Bytes>) {
        let mut response = Response::builder().status(StatusCode::from_u16(status).expect("a status"));
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(Full::new(body.into())).expect("a response");
        // A server that has given the exchange up hears nothing.
        let _ = self.answer.send(response);
    }

    /// Answers with a status and nothing else.
    pub fn status(self, status: u16) {
        self.answer(status, &[], "");
    }

    /// Breaks the connection without an answer.
    pub fn hang_up(self) {
        drop(self);
    }
}

/// A task that `worker` is to do.
pub fn task_for(worker: &Worker, id: &str) -> Value {
    json!({"id": id, "url": format!("{}/work", worker.url)})
}

/// `task` with more fields.
pub fn with(mut task: Value, fields: Value) -> Value {
    for (name, value) in fields.as_object().expect("an object") {
        task[name] = value.clone();
    }
    task
}
