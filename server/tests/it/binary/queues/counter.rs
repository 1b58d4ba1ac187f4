//! A target that counts: it holds what it is sent, as far as a queue's limits let it come, and lets one go at a time.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use crate::support::{Api, Call, Worker, with};

/// Where attempts are counted: a task's payload names its key.
pub(super) struct Counter {
    pub(super) worker: Worker,
    /// Attempts that may be open in all, and of each key.
    concurrency: usize,
    per_key: usize,
    /// Tasks of each key that have not come.
    waiting: BTreeMap<String, usize>,
    /// What has come and not ended, by `webhook-id`.
    open: BTreeMap<String, Open>,
    /// What has ended, by `webhook-id`.
    ended: BTreeSet<String>,
    /// How often another key's task started while one of this key could have.
    passed: BTreeMap<String, usize>,
    /// The most that anybody was passed.
    pub(super) passed_most: usize,
}

/// An attempt that holds its place.
struct Open {
    key: String,
    callback_url: String,
    /// The exchange; `None` once it is answered 202.
    call: Option<Call>,
}

impl Counter {
    /// Starts a target for a queue with these limits.
    pub(super) async fn start(concurrency: usize, per_key: usize) -> Counter {
        Counter {
            worker: Worker::start().await,
            concurrency,
            per_key,
            waiting: BTreeMap::new(),
            open: BTreeMap::new(),
            ended: BTreeSet::new(),
            passed: BTreeMap::new(),
            passed_most: 0,
        }
    }

    /// The queue's limits, as its definition says them.
    pub(super) fn limits(&self) -> Value {
        json!({"concurrency": self.concurrency, "per_key": {"concurrency": self.per_key}})
    }

    /// Creates `count` tasks of each of `keys`, one key after the other.
    pub(super) async fn create(&mut self, server: &Api, keys: &[&str], count: usize) {
        let tasks: Vec<Value> = keys
            .iter()
            .flat_map(|key| {
                let task = task_of(&self.worker, key);
                (0..count).map(move |number| with(task.clone(), json!({"id": format!("{key}-{number}")})))
            })
            .collect();
        for key in keys {
            *self.waiting.entry((*key).into()).or_default() += count;
        }
        server.post("/v1/tasks/batch", json!({"tasks": tasks})).await.expect(201);
    }

    /// How many attempts the limits let be open now.
    fn room(&self) -> usize {
        let of_keys = self.waiting.iter().map(|(key, left)| self.per_key.min(left + self.open_of(key)));
        self.concurrency.min(of_keys.sum())
    }

    fn open_of(&self, key: &str) -> usize {
        self.open.values().filter(|open| open.key == key).count()
    }

    /// Whether everything has come and ended.
    pub(super) fn is_done(&self) -> bool {
        self.open.is_empty() && self.waiting.values().all(|left| *left == 0)
    }

    /// Takes in what comes until nothing more can.
    pub(super) async fn fill(&mut self) {
        while self.open.len() < self.room() {
            let call = self.worker.call().await;
            self.arrive(call);
        }
    }

    fn arrive(&mut self, call: Call) {
        let id = call.header("webhook-id");
        if self.ended.contains(&id) {
            // The answer was lost in a crash: the attempt is still open for the server.
            assert!(self.open.len() < self.concurrency, "{id} takes a place too many");
            call.status(200);
            return;
        }
        if let Some(open) = self.open.get_mut(&id) {
            match open.call {
                Some(_) => open.call = Some(call),
                None => call.status(202),
            }
            return;
        }
        let payload: Value = serde_json::from_slice(&call.body).expect("a payload");
        let key = payload["key"].as_str().expect("a key").to_string();
        self.pass(&key);
        let left = self.waiting.get_mut(&key).filter(|left| **left > 0).expect("a task that has not come");
        *left -= 1;
        let callback_url = call.header("taskhook-callback-url");
        let accepts = (self.ended.len() + self.open.len()).is_multiple_of(2);
        let mut open = Open { key: key.clone(), callback_url, call: Some(call) };
        if accepts {
            open.call.take().into_iter().for_each(|call| call.status(202));
        }
        self.open.insert(id, open);
        let (all, of_key) = (self.open.len(), self.open_of(&key));
        assert!(all <= self.concurrency, "{all} attempts are open of {}", self.concurrency);
        assert!(of_key <= self.per_key, "{of_key} attempts of {key} are open of {}", self.per_key);
    }

    /// A task of `key` starts: others that could have were passed.
    fn pass(&mut self, started: &str) {
        self.passed.remove(started);
        for (key, left) in &self.waiting {
            if key == started || *left == 0 || self.open_of(key) >= self.per_key {
                continue;
            }
            let passed = self.passed.entry(key.clone()).or_default();
            *passed += 1;
            self.passed_most = self.passed_most.max(*passed);
        }
    }

    /// Lets one attempt end: it is answered 200, or called back.
    pub(super) async fn end_one(&mut self, server: &Api) {
        // Not always the oldest, nor always one of the same key.
        let nth = self.ended.len() * 7 % self.open.len();
        let id = self.open.keys().nth(nth).cloned().expect("an open attempt");
        let open = self.open.remove(&id).expect("an open attempt");
        self.ended.insert(id);
        match open.call {
            Some(call) => call.status(200),
            None => {
                let answer = server.call_back(&open.callback_url, json!({"event": "task_completed"})).await;
                assert_eq!(answer["outcome"], "applied", "{answer}");
            }
        }
    }

    /// Lets one attempt after the other end until all have.
    pub(super) async fn finish(&mut self, server: &Api) {
        while !self.is_done() {
            self.fill().await;
            self.end_one(server).await;
        }
    }
}

/// A task of a key in the queue `work`, which `worker` is to do.
fn task_of(worker: &Worker, key: &str) -> Value {
    let url = format!("{}/work", worker.url);
    json!({"url": url, "queue": "work", "concurrency_key": key, "payload": {"key": key}})
}
