//! `taskhook demo`: a small real pipeline, from nothing to its end, with every decision and its cause.
//!
//! Everything is real: the server that `serve` starts, on a throw-away store and a free port; a worker, which
//! is an HTTP server too; and nothing but HTTP between them.

mod worker;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::cli::client::{Ask, Client};
use crate::cli::demo::worker::Worker;
use crate::cli::{Code, Output, Printed, Remote, out};
use crate::config::{Config, StoreUrl};
use crate::serve::Server;

/// Run a small real pipeline on a throw-away store, and show every decision with its cause
#[derive(Debug, clap::Args)]
#[command(before_help = "taskhook demo")]
pub(super) struct Arguments {}

/// The pipeline must be done long before this.
const TIME: Duration = Duration::from_secs(9);

/// How often the story is read on.
const PACE: Duration = Duration::from_millis(20);

/// What is older than this is committed and can be read.
const SETTLED: Duration = Duration::from_millis(60);

/// The tasks, in the order of the story.
const TASKS: [&str; 7] = ["fetch", "resize-1", "resize-2", "resize-3", "approve", "publish", "notify"];

/// Runs the demo.
///
/// # Errors
/// If the server or the worker cannot be started.
pub(super) fn run(_: &Arguments) -> anyhow::Result<Code> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(show())
}

async fn show() -> anyhow::Result<Code> {
    let folder = tempfile::tempdir().context("the demo needs a folder for its throw-away store")?;
    let config = Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        store: StoreUrl::Sqlite(folder.path().join("demo.db")),
        ..Config::default()
    };
    let server = Server::start(&config).await?;
    let worker = Worker::start().await?;
    let remote = Remote {
        url: format!("http://{}", server.address()),
        key_file: None,
        printed: Printed { output: Output::Json },
    };
    let client = Client::new(&remote)?;
    out::data(format!("taskhook listens on {}, a worker on {}\n", remote.url, worker.url()))?;

    let told = tell(&client, &worker).await;
    worker.stop();
    server.stop().await;
    folder.close().context("the demo's store could not be removed")?;
    told
}

async fn tell(client: &Client, worker: &Worker) -> anyhow::Result<Code> {
    say("a webhook for the task \"approve\", which does not exist yet")?;
    let early = webhook(client, &json!({"event": "task_completed", "task_id": "approve"})).await?;
    say(&format!("answered: {}, {}", text(&early, "message"), text(&early, "outcome")))?;
    say("seven tasks in one request")?;
    let batch = serde_json::to_vec(&pipeline(worker.url()))?;
    client.post(Ask { path: &["v1", "tasks", "batch"], body: Some(batch), ..Ask::default() }).await?;

    let mut story = Story::default();
    let deadline = tokio::time::Instant::now() + TIME;
    let ended = loop {
        let ended = story.read_on(client).await?;
        for call in worker.heard() {
            say(&call)?;
        }
        if ended || tokio::time::Instant::now() > deadline {
            break ended;
        }
        tokio::time::sleep(PACE).await;
    };
    let states = summary(client).await?;
    let as_it_should = ended
        && text(&early, "outcome") == "unmatched"
        && worker.repeated_as() == ["applied", "duplicate"]
        && states.values().all(|state| state == "succeeded")
        && states.len() == TASKS.len();
    if !as_it_should {
        out::message("the demo did not end as it should");
        return Ok(Code::Failed);
    }
    out::data("\nEvery task ended as it should. Next: taskhook serve\n")?;
    Ok(Code::Done)
}

/// A synchronous task, a fan-out to three that call back, one of which fails at first, a task that nobody
/// dispatches, a fan-in, and a last one.
fn pipeline(worker: &str) -> Value {
    let resize = |n: u8| {
        json!({"id": format!("resize-{n}"), "name": "resize", "url": format!("{worker}/resize/{n}"), "after": ["fetch"],
            "payload": {"page": n}, "retry": {"initial": "600ms", "factor": 1}})
    };
    json!({"tasks": [
        {"id": "fetch", "url": format!("{worker}/fetch"), "payload": {"document": "annual-report"}},
        resize(1), resize(2), resize(3),
        {"id": "approve", "name": "approval"},
        {"id": "publish", "url": format!("{worker}/publish"), "after": ["resize-1", "resize-2", "resize-3", "approve"]},
        {"id": "notify", "url": format!("{worker}/notify"), "after": [{"task": "publish", "on": "finished"}],
            "delay": "100ms"},
    ]})
}

/// What was told of each task so far.
#[derive(Default)]
struct Story {
    told: BTreeMap<&'static str, usize>,
    begun_at: Option<jiff::Timestamp>,
    ended: usize,
}

#[derive(Deserialize)]
struct History {
    data: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    at: jiff::Timestamp,
    change: String,
    text: String,
}

impl Story {
    /// Prints what was decided since the last time; whether every task has ended and all is told.
    async fn read_on(&mut self, client: &Client) -> anyhow::Result<bool> {
        // What is decided while this reads would be told out of order: it waits for the next time.
        let horizon = jiff::Timestamp::now() - SETTLED;
        let mut news: Vec<(Entry, &str)> = Vec::new();
        for task in TASKS {
            let path = ["v1", "tasks", task, "history"];
            let history: History = client.get(Ask { path: &path, ..Ask::default() }).await?.read()?;
            let known = self.told.entry(task).or_insert(0);
            let settled = history.data.into_iter().take_while(|entry| entry.at < horizon).skip(*known);
            for entry in settled {
                *known += 1;
                news.push((entry, task));
            }
        }
        // One transaction has one time; within it the story has its order.
        news.sort_by_key(|(entry, _)| entry.at);
        for (entry, task) in &news {
            let begun_at = *self.begun_at.get_or_insert(entry.at);
            let since = entry.at.duration_since(begun_at).as_secs_f64();
            out::data(format!(
                "{since:>7.3} s  {task:<9} {:<17} {}",
                entry.change,
                out::visible(&entry.text)
            ))?;
            self.ended += usize::from(is_end(&entry.change));
        }
        Ok(self.ended == TASKS.len())
    }
}

fn is_end(change: &str) -> bool {
    ["succeeded", "failed", "cancelled", "skipped"].contains(&change)
}

/// Prints how every task ended.
async fn summary(client: &Client) -> anyhow::Result<BTreeMap<&'static str, String>> {
    out::data("")?;
    let mut states = BTreeMap::new();
    for task in TASKS {
        let body: Value = client.get(Ask { path: &["v1", "tasks", task], ..Ask::default() }).await?.read()?;
        let attempts = match body["attempt"].as_u64() {
            Some(1) => "1 attempt".to_string(),
            Some(number) => format!("{number} attempts"),
            None => String::new(),
        };
        out::data(format!("{task:<9}  {:<9}  {attempts:<10}  {}", text(&body, "state"), body["result"]))?;
        states.insert(task, text(&body, "state").to_string());
    }
    Ok(states)
}

async fn webhook(client: &Client, body: &Value) -> anyhow::Result<Value> {
    let body = Some(serde_json::to_vec(body)?);
    Ok(client.post(Ask { path: &["webhook"], body, ..Ask::default() }).await?.read()?)
}

fn text<'a>(body: &'a Value, field: &str) -> &'a str {
    body[field].as_str().unwrap_or_default()
}

/// A line about what is done from outside.
fn say(line: &str) -> std::io::Result<()> {
    out::data(format!("        ·  {line}"))
}
