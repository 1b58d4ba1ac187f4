//! G17, SIGTERM: the server ends in order, soon, and loses nothing.

use std::time::Duration;

use serde_json::json;
use taskhook_torture::plan::Features;

use crate::binary::crash::{hold, seed};
use crate::binary::process::RealServer;
use crate::support::{Worker, task_for};

/// Within which time it has ended, whatever it was doing.
const STOPPED_WITHIN: Duration = Duration::from_secs(10);

/// Stops under load, before the last.
const STOPS: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopped_under_load_it_loses_nothing() {
    let seed = seed();
    println!("TASKHOOK_SEED={seed}");
    let tally = hold(seed, Features::STOPS, STOPS).await;
    println!("{}", tally.table());
    assert_eq!(tally.get("ends: SIGTERM, exit code 0"), STOPS as u64 + 1);
    assert_eq!(tally.get("remote: attempts that were sent again"), 0, "what was begun had time to end");
}

#[tokio::test]
async fn a_response_that_comes_while_it_stops_is_recorded() {
    let mut server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.create(task_for(&worker, "1")).await;
    let call = worker.call().await;
    server.tell_to_stop();
    server.until_it_says("SIGTERM: stopping").await;
    call.status(200);
    let (status, took, said) = server.stopped().await;
    assert!(status.code() == Some(0) && took < STOPPED_WITHIN, "{status} after {took:?}: {said}");

    server.start_again().await;
    let task = server.task("1").await;
    assert_eq!((&task["state"], &task["attempt"]), (&json!("succeeded"), &json!(1)));
    assert_eq!(server.changes("1").await, ["created", "queued", "dispatched", "responded", "succeeded"]);
    assert!(worker.is_idle());
}

/// Takes eight seconds: so long it waits for a response.
#[tokio::test]
async fn an_exchange_that_does_not_end_is_left_to_be_sent_again() {
    let mut server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.create(task_for(&worker, "1")).await;
    let call = worker.call().await;
    server.tell_to_stop();
    let (status, took, said) = server.stopped().await;
    assert!(status.code() == Some(0) && took < STOPPED_WITHIN, "{status} after {took:?}: {said}");

    server.start_again().await;
    let again = worker.call().await;
    for name in ["webhook-id", "idempotency-key", "taskhook-attempt", "taskhook-callback-url"] {
        assert_eq!(again.header(name), call.header(name));
    }
    again.status(200);
    assert_eq!(server.end_of("1").await["state"], "succeeded");
}
