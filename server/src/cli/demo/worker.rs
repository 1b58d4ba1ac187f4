//! The demo's worker: an HTTP server as anybody could have one.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use http_body_util::{BodyExt as _, Full};
use hyper::Request;
use hyper::body::Bytes;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

/// How long the worker works on a page.
const WORK: Duration = Duration::from_millis(120);

/// A running worker.
pub(super) struct Worker {
    url: String,
    serving: tokio::task::JoinHandle<()>,
    work: Work,
}

#[derive(Clone)]
struct Work {
    client: Client<HttpConnector, Full<Bytes>>,
    has_failed: Arc<AtomicBool>,
    heard: Arc<Mutex<Vec<String>>>,
    repeated_as: Arc<Mutex<Vec<String>>>,
}

impl Worker {
    /// Starts it on a free port of this machine.
    pub(super) async fn start() -> anyhow::Result<Worker> {
        let work = Work {
            client: Client::builder(TokioExecutor::new()).build_http(),
            has_failed: Arc::default(),
            heard: Arc::default(),
            repeated_as: Arc::default(),
        };
        let router = Router::new()
            .route("/fetch", post(async || Json(json!({"pages": 3}))))
            .route("/resize/{page}", post(resize))
            .route("/publish", post(async || Json(json!({"published": true}))))
            .route("/notify", post(async || StatusCode::NO_CONTENT))
            .with_state(work.clone());
        let listener =
            tokio::net::TcpListener::bind("127.0.0.1:0").await.context("the worker needs a port")?;
        let url = format!("http://{}", listener.local_addr()?);
        let serving = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the demo's worker stopped");
            }
        });
        Ok(Worker { url, serving, work })
    }

    /// Where it listens.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// What it has to tell since the last time.
    pub(super) fn heard(&self) -> Vec<String> {
        std::mem::take(&mut self.work.heard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the callback that is sent twice was answered each time.
    pub(super) fn repeated_as(&self) -> Vec<String> {
        self.work.repeated_as.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Stops it.
    pub(super) fn stop(&self) {
        self.serving.abort();
    }
}

/// Accepts the work, and calls back when it is done. Page 2 fails the first time; page 1 is reported twice.
async fn resize(State(work): State<Work>, Path(page): Path<u8>, headers: HeaderMap) -> Response {
    if page == 2 && !work.has_failed.swap(true, Ordering::Relaxed) {
        return (StatusCode::SERVICE_UNAVAILABLE, "the disk of the worker is full").into_response();
    }
    let Some(url) = headers.get("taskhook-callback-url").and_then(|url| url.to_str().ok()).map(String::from)
    else {
        return (StatusCode::BAD_REQUEST, "no callback URL").into_response();
    };
    tokio::spawn(async move {
        tokio::time::sleep(WORK * u32::from(page)).await;
        let done =
            json!({"event": "task_completed", "result": {"page": page, "bytes": 1_024 * u32::from(page)}});
        for _ in 0..if page == 1 { 2 } else { 1 } {
            let outcome = work.call_back(&url, &format!("page-{page}-is-done"), &done).await;
            if page == 1 {
                work.repeated_as.lock().unwrap_or_else(PoisonError::into_inner).push(outcome.clone());
            }
            let line = format!("the worker reports page {page}: {outcome}");
            work.heard.lock().unwrap_or_else(PoisonError::into_inner).push(line);
        }
    });
    StatusCode::ACCEPTED.into_response()
}

impl Work {
    /// Sends a callback, and gives the outcome that it is answered.
    async fn call_back(&self, url: &str, delivery: &str, body: &Value) -> String {
        let request = Request::post(url)
            .header("content-type", "application/json")
            .header("webhook-id", delivery)
            .body(Full::new(Bytes::from(body.to_string())));
        let answer = async {
            let response = self.client.request(request?).await?;
            let body = response.into_body().collect().await?.to_bytes();
            let answer: Value = serde_json::from_slice(&body)?;
            anyhow::Ok(answer["outcome"].as_str().unwrap_or_default().to_string())
        };
        answer.await.unwrap_or_else(|error| error.to_string())
    }
}
