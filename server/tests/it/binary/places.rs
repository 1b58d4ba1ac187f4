//! A node whose places for exchanges are taken, with the real binary: each that comes back is offered until somebody
//! takes it, and nobody has all of them.

use std::time::Duration;

use serde_json::{Value, json};

use crate::binary::process::RealServer;
use crate::support::{Api, Worker, task_for, with};

/// A server with two places, all with one host if need be.
async fn server() -> RealServer {
    RealServer::start_with("[dispatch]\nexchanges = 2\nexchanges_per_host = 2\n").await
}

async fn define(server: &Api, queue: &str) {
    let headers = [("content-type", "application/json")];
    server.send("PUT", &format!("/v1/queues/{queue}"), &headers, "{}").await.expect(201);
}

async fn create(server: &Api, worker: &Worker, id: &str, queue: &str) {
    server.create(with(task_for(worker, id), json!({"queue": queue}))).await;
}

#[tokio::test]
async fn a_place_is_offered_until_somebody_takes_it() {
    let server = server().await;
    let (mut worker, mut other) = (Worker::start().await, Worker::start().await);
    for id in ["a", "b"] {
        server.create(task_for(&worker, id)).await;
    }
    let open = [worker.call().await, worker.call().await];
    // More than are asked at once wait for a place, and all but the last want it no more when it comes.
    for number in 0..40 {
        let queue = format!("q-{number}");
        define(&server, &queue).await;
        create(&server, &other, &queue, &queue).await;
    }
    for number in 0..39 {
        server.send("POST", &format!("/v1/queues/q-{number}/pause"), &[], "").await.expect(200);
    }
    open.into_iter().for_each(|call| call.status(200));
    other.call().await.status(200);
    assert_eq!(server.end_of("q-39").await["state"], "succeeded");
}

/// Answers each call a while after it came.
async fn be_slow(mut worker: Worker) {
    loop {
        let call = worker.call().await;
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(100)).await; // real time: work that takes some
            call.status(200);
        });
    }
}

#[tokio::test]
async fn a_queue_with_many_tasks_takes_its_turn_for_a_place() {
    let server = server().await;
    define(&server, "many").await;
    define(&server, "few").await;
    // To several hosts, so that the queue waits for places of the node, and not of one host.
    let slow = [Worker::start().await, Worker::start().await];
    for number in 0..200 {
        create(&server, &slow[number % 2], &format!("many-{number}"), "many").await;
    }
    let working: Vec<_> = slow.into_iter().map(|worker| tokio::spawn(be_slow(worker))).collect();
    let mut worker = Worker::start().await;
    for number in 0..5 {
        create(&server, &worker, &format!("few-{number}"), "few").await;
        worker.call().await.status(200);
        assert_eq!(server.end_of(&format!("few-{number}")).await["state"], "succeeded");
    }
    let many = server.get("/v1/queues/many").await.expect(200);
    assert!(many["states"]["queued"].as_u64() >= Some(100), "nobody waits for its end: {many}");
    working.iter().for_each(tokio::task::JoinHandle::abort);
}

/// G14: the places of a host are all taken by attempts that are slow, and there are always more.
#[tokio::test]
async fn a_time_out_does_not_wait_for_the_end_of_a_backlog() {
    let server = server().await;
    let mut worker = Worker::start().await;
    let status = json!({"url": format!("{}/status", worker.url), "after": "1h"});
    let fields = json!({"status": status, "timeout": "1s", "retry": {"max_attempts": 1}});
    server.create(with(task_for(&worker, "asked"), fields)).await;
    worker.call().await.status(202);
    server.until_state("asked", "running").await;
    for number in 0..200 {
        server.create(task_for(&worker, &format!("slow-{number}"))).await;
    }
    let (mut open, mut seen) = (vec![worker.call().await, worker.call().await], 2);
    // Each is slow, and another one waits for its place.
    let waits = |task: &Value| {
        task["waiting_for"]["text"]
            == "a free exchange with its remote, for the last question about attempt 1"
    };
    server.until("asked", waits).await;
    loop {
        open.remove(0).status(200);
        let call = worker.call().await;
        if call.path == "/status" {
            call.answer(200, &[], r#"{"status": "running"}"#);
            break;
        }
        seen += 1;
        open.push(call);
        assert!(seen < 20, "the remote is asked as soon as there is a place");
    }
    assert_eq!(server.end_of("asked").await["error"]["code"], "timeout");
}
