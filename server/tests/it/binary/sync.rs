//! G14 in bulk, with the real binary: callbacks that are all lost, and callbacks that come by the storm.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::binary::process::RealServer;
use crate::support::{Api, Call, Worker, task_for, with};

/// Tasks whose remotes say nothing by themselves.
const SILENT: usize = 10_000;
/// Tasks of one request.
const BATCH: usize = 1_000;
/// How often it is looked whether all have ended.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// Exchanges with one host at a time, by default.
const EXCHANGES_PER_HOST: usize = 64;

/// How the remote has ended the task of this number: what its state and its result are to be.
fn truth(number: usize) -> (&'static str, Value) {
    match number % 4 {
        0 => ("failed", Value::Null),
        1 => ("cancelled", Value::Null),
        _ => ("succeeded", json!({"number": number})),
    }
}

/// What the remote says of it when it is asked for the so manieth time. Now and then it says nothing of use first.
fn reply(number: usize, asked: usize) -> (u16, String) {
    match (number % 10, asked) {
        (0, 1) => return (503, String::new()),
        (1, 1) => return (200, "<html>please log in</html>".into()),
        (2, 1) => return (200, json!({"status": "running", "progress": 0.5}).to_string()),
        // Once it is not known there, which may be the fault of a replica that lags behind.
        (3, 1) => return (404, String::new()),
        _ => {}
    }
    let body = match truth(number) {
        ("succeeded", result) => json!({"status": "completed", "result": result}),
        ("failed", _) => json!({"status": "failed", "error": {"message": "no", "retryable": false}}),
        (state, _) => json!({"status": state}),
    };
    (200, body.to_string())
}

/// The number at the end of a path or an id.
fn number_in(text: &str) -> usize {
    text.rsplit(['-', '/']).next().and_then(|number| number.parse().ok()).expect("a number")
}

#[derive(Default)]
struct Remote {
    /// How often each task was dispatched.
    dispatched: BTreeMap<usize, usize>,
    /// How often each was asked for.
    asked: BTreeMap<usize, usize>,
}

impl Remote {
    /// Takes every task over, and never says a word until it is asked.
    fn answer(&mut self, call: Call) {
        if call.method == "POST" {
            *self.dispatched.entry(number_in(&call.header("taskhook-task-id"))).or_default() += 1;
            return call.status(202);
        }
        let number = number_in(&call.path);
        let asked = self.asked.entry(number).or_default();
        *asked += 1;
        let (status, body) = reply(number, *asked);
        call.answer(status, &[], body);
    }
}

/// Every task that has ended: its state and its result.
async fn ended(server: &Api) -> BTreeMap<usize, (String, Value)> {
    let mut ended = BTreeMap::new();
    for state in ["succeeded", "failed", "cancelled"] {
        let mut after = String::new();
        loop {
            let page = server.get(&format!("/v1/tasks?state={state}&limit=1000{after}")).await.expect(200);
            for task in page["data"].as_array().expect("a list") {
                let number = number_in(task["id"].as_str().expect("an id"));
                let is = (state.to_string(), task["result"].clone());
                assert!(ended.insert(number, is).is_none(), "task {number} has ended twice");
            }
            match page["next_cursor"].as_str() {
                Some(cursor) => after = format!("&cursor={cursor}"),
                None => break,
            }
        }
    }
    ended
}

/// How many tasks are in one of these states.
async fn count(server: &Api, states: &[&str]) -> u64 {
    let queues = server.get("/v1/queues/default").await.expect(200);
    states.iter().map(|state| queues["states"][state].as_u64().unwrap_or(0)).sum()
}

/// All callbacks are lost, the server is killed twice, and every task ends as its remote has ended it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ten_thousand_lost_callbacks_are_found() {
    let mut server = RealServer::start().await;
    let mut worker = Worker::start().await;
    for first in (0..SILENT).step_by(BATCH) {
        let tasks = (first..first + BATCH).map(|number| {
            let status = json!({"url": format!("{}/status/{number}", worker.url), "after": "1s"});
            with(task_for(&worker, &format!("silent-{number}")), json!({"status": status}))
        });
        let tasks = json!({"tasks": tasks.collect::<Vec<_>>()});
        server.post("/v1/tasks/batch", tasks).await.expect(201);
    }
    let mut remote = Remote::default();
    let mut crashes = vec![SILENT / 2, SILENT / 4];
    while count(&server, &["succeeded", "failed", "cancelled"]).await < SILENT as u64 {
        let until = tokio::time::sleep(LOOK_EVERY); // real time: what ends last is followed by no more calls.
        tokio::pin!(until);
        loop {
            tokio::select! {
                biased;
                call = worker.call() => remote.answer(call),
                () = &mut until => break,
            }
            if crashes.last().is_some_and(|asked| remote.asked.len() >= *asked) {
                crashes.pop();
                server.crash_and_restart().await;
            }
        }
    }
    assert_eq!((crashes.len(), remote.dispatched.len(), remote.asked.len()), (0, SILENT, SILENT));
    let ended = ended(&server).await;
    assert_eq!(ended.len(), SILENT);
    for (number, (state, result)) in ended {
        let (true_state, true_result) = truth(number);
        assert_eq!((state.as_str(), &result), (true_state, &true_result), "task {number}");
    }
    // An exchange that a crash cuts off is repeated; no other task is sent twice, however its remote answers questions.
    let resent = remote.dispatched.values().filter(|times| **times > 1).count();
    assert!(resent <= 2 * EXCHANGES_PER_HOST, "{resent} tasks were sent again");
    let overdue = server.get("/metrics").await.text();
    assert!(overdue.contains("\ntaskhook_callbacks_overdue{queue=\"default\"} 0\n"), "{overdue}");
}

/// Tasks whose callbacks come by the storm.
const STORMY: usize = 400;
/// How often each callback comes: 5 deliveries, each 10 times.
const TIMES: usize = 50;
const DELIVERIES: usize = 5;
const CLIENTS: usize = 8;
/// Requests of one client at a time.
const AT_A_TIME: usize = 8;

/// Each callback 50 times, from 8 clients, in an order of no meaning: one of them ends the task, the others change nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_a_storm_of_callbacks_each_task_takes_one() {
    let server = RealServer::start().await;
    let mut worker = Worker::start().await;
    let tasks = (0..STORMY).map(|number| task_for(&worker, &format!("storm-{number}")));
    let tasks = json!({"tasks": tasks.collect::<Vec<_>>()});
    server.post("/v1/tasks/batch", tasks).await.expect(201);
    let mut paths = BTreeMap::new();
    while paths.len() < STORMY {
        let call = worker.call().await;
        let path = server.path_of(&call.header("taskhook-callback-url")).to_string();
        paths.insert(number_in(&call.header("taskhook-task-id")), path);
        call.status(202);
    }
    let mut messages: Vec<(usize, usize)> =
        (0..STORMY).flat_map(|task| (0..TIMES).map(move |time| (task, time))).collect();
    messages.sort_by_cached_key(|message| {
        let mut hasher = DefaultHasher::new();
        message.hash(&mut hasher);
        hasher.finish()
    });

    let mut clients = JoinSet::new();
    for part in messages.chunks(messages.len() / CLIENTS) {
        let api = server.anew();
        let turns = Arc::new(Semaphore::new(AT_A_TIME));
        let part: Vec<_> =
            part.iter().map(|(task, time)| (*task, time % DELIVERIES, paths[task].clone())).collect();
        clients.spawn(async move {
            let mut answers = JoinSet::new();
            for (task, delivery, path) in part {
                let turn = turns.clone().acquire_owned().await.expect("a turn");
                let api = api.clone();
                answers.spawn(async move {
                    let body = json!({"event": "task_completed", "result": delivery});
                    let id = format!("{task}.{delivery}");
                    let answer = api.tell(&path, &[("webhook-id", &id)], body).await;
                    drop(turn);
                    (task, delivery, answer)
                });
            }
            answers.join_all().await
        });
    }
    let mut outcomes: BTreeMap<usize, BTreeMap<String, usize>> = BTreeMap::new();
    let mut winners = BTreeMap::new();
    for (task, delivery, answer) in clients.join_all().await.into_iter().flatten() {
        let outcome = answer["outcome"].as_str().expect("a word");
        *outcomes.entry(task).or_default().entry(outcome.into()).or_default() += 1;
        // G2: whoever is answered sees what the first one has done.
        assert_eq!(answer["task_state"], "succeeded", "{answer}");
        if outcome == "applied" {
            assert!(winners.insert(task, delivery).is_none(), "task {task} has ended twice");
        }
    }
    let expected = [("applied", 1), ("duplicate", TIMES - DELIVERIES), ("ignored", DELIVERIES - 1)];
    let expected = BTreeMap::from(expected.map(|(outcome, times)| (outcome.to_string(), times)));
    for task in 0..STORMY {
        assert_eq!(outcomes[&task], expected, "task {task}");
        let id = format!("storm-{task}");
        assert_eq!(server.task(&id).await["result"], winners[&task], "task {task}");
        let changes = server.changes(&id).await;
        assert_eq!(changes.iter().filter(|change| *change == "succeeded").count(), 1, "{changes:?}");
    }
    assert!(worker.is_idle(), "what has ended is not sent again");
}
