//! The reference: the product's HTTP stack and one JSON parse, nothing decided and nothing stored. What it
//! answers per second is what this machine's HTTP allows.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use axum::routing::post;
use axum::{Json, Router};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::{Deserialize, Serialize};
use tokio::net::TcpListener;

#[derive(Deserialize)]
struct Webhook {
    event: String,
    task_id: String,
}

#[derive(Serialize)]
struct Answer {
    message: &'static str,
}

async fn receive(Json(webhook): Json<Webhook>) -> Json<Answer> {
    // Parsed for nothing would be left out by the compiler.
    std::hint::black_box((webhook.event, webhook.task_id));
    Json(Answer { message: "Webhook received" })
}

/// Serves until the process is stopped. Says on standard output where.
#[expect(clippy::print_stdout, reason = "whoever starts it reads the address there")]
pub(crate) async fn serve() -> Result<()> {
    let listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
    println!("http://{}", listener.local_addr()?);
    let router = Router::new().route("/webhook", post(receive));
    // The settings of the product's own listener.
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(10))
        .max_headers(100)
        .max_buf_size(64 << 10)
        .pipeline_flush(true);
    loop {
        let (stream, _) = listener.accept().await?;
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(router.clone());
        let connection = http.serve_connection(TokioIo::new(stream), service);
        tokio::spawn(async move {
            // A load that ends closes its connections: nothing to tell.
            let _ = connection.await;
        });
    }
}
