//! Taskhook's API, as far as measuring needs it.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::process::{Cores, Process};
use crate::wire::{self, Client};

/// Tasks in one request.
pub(crate) const BATCH: usize = 1_000;

/// A Taskhook on an empty store in a folder that goes with it.
pub(crate) struct Taskhook {
    /// Its process.
    pub(crate) process: Process,
    client: Client,
    /// Dropped after the process.
    _folder: tempfile::TempDir,
}

#[derive(Deserialize)]
struct Page {
    data: Vec<serde::de::IgnoredAny>,
    next_cursor: Option<String>,
}

impl Taskhook {
    /// Starts `program` with an empty store in a new folder inside `folder`.
    pub(crate) fn start(cores: &Cores, program: &Path, folder: &Path) -> Result<Taskhook> {
        let own = tempfile::Builder::new().prefix("taskhook-bench-").tempdir_in(folder)?;
        let store = format!("sqlite:{}", own.path().join("store.db").display());
        let arguments = ["serve", "--listen", "127.0.0.1:0", "--store", &store];
        let process = Process::start(cores, program, &arguments)?;
        let client = Client::new(process.address);
        Ok(Taskhook { process, client, _folder: own })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.process.address
    }

    /// Creates tasks, given as JSON, in batches.
    pub(crate) async fn create(&mut self, tasks: impl Iterator<Item = String>) -> Result<()> {
        let mut tasks = tasks.peekable();
        while tasks.peek().is_some() {
            let batch: Vec<String> = tasks.by_ref().take(BATCH).collect();
            let body = format!("{{\"tasks\":[{}]}}", batch.join(","));
            self.post("/v1/tasks/batch", &body, 201).await?;
        }
        Ok(())
    }

    /// Sends a POST that must be answered with `wanted`.
    pub(crate) async fn post(&mut self, path: &str, body: &str, wanted: u16) -> Result<()> {
        let mut request = Vec::new();
        wire::post(&mut request, path, None, body.as_bytes());
        expect(&mut self.client, &request, wanted).await?;
        Ok(())
    }

    /// Sends a PUT that must be answered with `wanted`.
    pub(crate) async fn put(&mut self, path: &str, body: &str, wanted: u16) -> Result<()> {
        expect(&mut self.client, &wire::put(path, body), wanted).await?;
        Ok(())
    }

    /// Waits until every one of these tasks has succeeded.
    pub(crate) async fn wait_for_success(&self, ids: Vec<String>) -> Result<()> {
        let address = self.address();
        let mut open = JoinSet::new();
        for id in ids {
            open.spawn(async move {
                let request = wire::get(&format!("/v1/tasks/{id}?wait=30s"));
                let succeeded = |body: &[u8]| {
                    let task: serde_json::Value = serde_json::from_slice(body).unwrap_or_default();
                    task["state"] == "succeeded"
                };
                let mut client = Client::new(address);
                let (status, succeeded) =
                    client.call(&request, |answer| (answer.status(), succeeded(answer.body))).await?;
                ensure!(status == 200 && succeeded, "the task {id} has not succeeded");
                Ok(())
            });
        }
        while let Some(ended) = open.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// How many tasks are in one of these states, with commas between them.
    pub(crate) async fn count(&mut self, states: &str) -> Result<usize> {
        let mut count = 0;
        let mut cursor = String::new();
        loop {
            let request = wire::get(&format!("/v1/tasks?state={states}&limit=1000{cursor}"));
            let body = expect(&mut self.client, &request, 200).await?;
            let page: Page = serde_json::from_slice(&body).context("a list that is none")?;
            count += page.data.len();
            match page.next_cursor {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return Ok(count),
            }
        }
    }
}

/// Sends `count` requests over `connections`; each must be answered with `wanted`.
pub(crate) async fn send_all(
    address: SocketAddr,
    connections: usize,
    count: usize,
    wanted: u16,
    request: impl Fn(usize) -> Vec<u8> + Send + Sync + 'static,
) -> Result<()> {
    let next = Arc::new(AtomicUsize::new(0));
    let request = Arc::new(request);
    let mut open = JoinSet::new();
    for _ in 0..connections {
        let (next, request) = (next.clone(), request.clone());
        open.spawn(async move {
            let mut client = Client::new(address);
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return Ok(());
                }
                expect(&mut client, &request(number), wanted).await?;
            }
        });
    }
    while let Some(ended) = open.join_next().await {
        let ended: Result<()> = ended?;
        ended?;
    }
    Ok(())
}

async fn expect(client: &mut Client, request: &[u8], wanted: u16) -> Result<Vec<u8>> {
    let (status, body) = client.call(request, |answer| (answer.status(), answer.body.to_vec())).await?;
    if status != wanted {
        let shown = String::from_utf8_lossy(&body[..body.len().min(500)]).into_owned();
        bail!("answered {status} instead of {wanted}: {shown}");
    }
    Ok(body)
}
