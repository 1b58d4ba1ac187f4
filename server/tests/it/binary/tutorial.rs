//! The tutorial, with the programs that its readers write: a client with `requests`, a worker with Flask.

use serde_json::json;

use crate::binary::process::RealServer;
use crate::binary::python;
use crate::support::{Worker, task_for, with};

#[tokio::test]
async fn the_tutorials_client_completes_a_task_and_the_next_one_starts() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    server.create(json!({"id": "123"})).await;
    let next = with(task_for(&worker, "124"), json!({"after": ["123"], "payload": {"go": true}}));
    assert_eq!(server.create(next).await["state"], "blocked");

    let (status, said) = python::start("client.py", &[&format!("{}/webhook", server.url)]).end().await;
    assert_eq!((status.code(), said.as_str()), (Some(0), "Webhook received\n"));

    assert_eq!(server.task("123").await["state"], "succeeded");
    let call = worker.call().await;
    assert_eq!((call.header("taskhook-task-id").as_str(), &call.body[..]), ("124", &br#"{"go":true}"#[..]));
    call.status(200);
    assert_eq!(server.end_of("124").await["state"], "succeeded");

    // A client that is run twice does no harm.
    let (_, said) = python::start("client.py", &[&format!("{}/webhook", server.url)]).end().await;
    assert_eq!(said, "Webhook received\n");
    assert_eq!(server.task("123").await["state"], "succeeded");
}

#[tokio::test]
async fn a_flask_worker_answers_202_and_calls_back() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let mut flask = python::start("flask_worker.py", &[]);
    let url = flask.first_line().await;
    server
        .create(json!({"id": "sum", "url": format!("{url}/add"), "payload": {"numbers": [1, 20, 300]}}))
        .await;
    server.create(with(task_for(&worker, "report"), json!({"after": ["sum"]}))).await;

    let sum = server.end_of("sum").await;
    assert_eq!(
        (&sum["state"], &sum["result"]),
        (&json!("succeeded"), &json!({"sum": 321})),
        "{}",
        flask.said()
    );
    assert_eq!((&sum["attempt"], &sum["warnings"]), (&json!(1), &json!([])));
    let call = worker.call().await;
    assert_eq!(call.header("taskhook-task-id"), "report");
    call.status(200);
    assert_eq!(server.end_of("report").await["state"], "succeeded");
}

#[tokio::test]
async fn a_flask_worker_that_fails_once_is_called_again() {
    let server = RealServer::start().await;
    let mut flask = python::start("flask_worker.py", &[]);
    let url = flask.first_line().await;
    server.create(json!({"id": "flaky", "url": format!("{url}/flaky"), "retry": {"initial": "50ms"}})).await;

    let flaky = server.end_of("flaky").await;
    assert_eq!(
        (&flaky["state"], &flaky["result"]),
        (&json!("succeeded"), &json!({"attempt": 2})),
        "{}",
        flask.said()
    );
    let changes = server.changes("flaky").await;
    assert_eq!(changes.iter().filter(|change| *change == "attempt_failed").count(), 1, "{changes:?}");
}
