//! What the server has promised by its answers, and what the worker saw. It is what the server is held to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde_json::Value;
use taskhook_sim::Random;
use tokio::sync::watch;

use crate::support::{Answer, Call};

/// The records of all clients and of the worker.
pub(crate) struct Ledger {
    records: Mutex<Records>,
    answers: watch::Sender<u64>,
}

/// What is known from outside.
#[derive(Debug, Default)]
pub(crate) struct Records {
    /// By id: the answers about each task.
    pub(crate) tasks: BTreeMap<String, Promised>,
    /// By id: the webhooks that were answered.
    pub(crate) events: BTreeMap<String, Event>,
    /// By path and delivery id.
    pub(crate) deliveries: BTreeMap<(String, String), Delivery>,
    /// By the id of each webhook that was to be taken in once more: what it became.
    pub(crate) replays: BTreeMap<String, String>,
    /// What the worker was sent.
    pub(crate) calls: Vec<Sent>,
    /// What was wrong as soon as it was answered.
    pub(crate) wrong: Vec<String>,
    /// The tasks, webhooks and deliveries that something was said of since they were last checked.
    fresh: Fresh,
}

#[derive(Debug, Default)]
struct Fresh {
    tasks: BTreeSet<String>,
    events: BTreeSet<String>,
    deliveries: BTreeSet<(String, String)>,
}

/// A promise to be compared with what is there.
#[derive(Debug, Clone)]
pub(crate) enum Item {
    Task(String, Promised),
    Event(String, Event),
    Delivery { path: String, id: String, event: String, body: String },
}

/// What was said of one task.
#[derive(Debug, Clone, Default)]
pub(crate) struct Promised {
    /// It is never dispatched, so somebody has to end it.
    pub(crate) external: bool,
    /// A completion that was answered before the task was created: it ends so.
    pub(crate) parked: bool,
    /// Each thing that was said.
    pub(crate) seen: Vec<Seen>,
}

/// A task as an answer showed it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) state: String,
    /// Webhooks are not told of it.
    pub(crate) attempt: Option<u64>,
    /// Of a completion that was applied.
    pub(crate) result: Option<Value>,
}

/// An answered webhook.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Event {
    /// Not known where only repeats of it were answered.
    pub(crate) outcome: Option<String>,
    pub(crate) delivery: Option<String>,
    pub(crate) body: String,
}

/// The answers to one delivery id.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    /// The id under which the first of them is kept.
    pub(crate) event: String,
    /// How many were answered as if they were the first.
    pub(crate) firsts: u32,
}

/// One request that the worker got.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sent {
    pub(crate) task: String,
    pub(crate) attempt: u64,
    pub(crate) webhook_id: String,
    pub(crate) idempotency_key: String,
    pub(crate) callback_url: String,
}

/// A webhook to be sent.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    pub(crate) path: String,
    pub(crate) delivery: Option<String>,
    /// The `webhook-id` of the dispatch, as some workers echo it: it is no delivery id.
    pub(crate) echo: Option<String>,
    pub(crate) body: Value,
}

impl Default for Ledger {
    fn default() -> Ledger {
        Ledger { records: Mutex::default(), answers: watch::Sender::new(0) }
    }
}

impl Ledger {
    /// The records as they are.
    pub(crate) fn read(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an answer.
    pub(crate) fn count_answer(&self) {
        self.answers.send_modify(|count| *count += 1);
    }

    /// How many answers there were.
    pub(crate) fn answers(&self) -> watch::Receiver<u64> {
        self.answers.subscribe()
    }

    /// Records the answer to a creation. `tasks` are what it was asked for.
    pub(crate) fn created(&self, tasks: &[Value], answer: &Answer) {
        let mut records = self.read();
        if !matches!(answer.status, 200 | 201) {
            return records.unexpected("a creation", answer);
        }
        let body = answer.json();
        let data = body["data"].as_array();
        let bodies: Vec<&Value> = data.map_or_else(|| vec![&body], |data| data.iter().collect());
        for (asked, told) in tasks.iter().zip(bodies) {
            // Who gives no id gets one.
            if !asked["id"].is_null() && asked["id"] != told["id"] {
                records.wrong.push(format!("asked for {asked}, got {told}"));
            }
            let promised = records.promised(&text(&told["id"]));
            promised.external = asked["url"].is_null();
            promised.see(Seen::of_task(told));
        }
    }

    /// What is promised of a task at this moment.
    pub(crate) fn promised(&self, task: &str) -> Option<Promised> {
        self.read().tasks.get(task).cloned()
    }

    /// The event that answers have named for this webhook's delivery so far.
    pub(crate) fn known_event(&self, webhook: &Webhook) -> Option<String> {
        let key = (webhook.path.clone(), webhook.delivery.clone()?);
        self.read().deliveries.get(&key).map(|delivery| delivery.event.clone())
    }

    /// Records the answer to a webhook about `task`. `known` is what [`Ledger::known_event`] gave when it was
    /// sent.
    pub(crate) fn told(&self, webhook: &Webhook, task: Option<&str>, known: Option<&str>, answer: &Answer) {
        let mut records = self.read();
        if answer.status != 200 {
            return records.unexpected("a webhook", answer);
        }
        let body = answer.json();
        let (event, outcome) = (text(&body["event_id"]), text(&body["outcome"]));
        let is_first = outcome != "duplicate";
        if is_first && let Some(known) = known {
            records.wrong.push(format!("{webhook:?} was known as {known} and answered {body}"));
        }
        if let Some(delivery) = &webhook.delivery {
            let key = (webhook.path.clone(), delivery.clone());
            let fresh = || Delivery { event: event.clone(), firsts: 0 };
            records.fresh.deliveries.insert(key.clone());
            let delivery = records.deliveries.entry(key).or_insert_with(fresh);
            delivery.firsts += u32::from(is_first);
            if delivery.event != event || delivery.firsts > 1 {
                let wrong = format!("{webhook:?} was {delivery:?} and is answered {body}");
                records.wrong.push(wrong);
            }
        }
        let (delivery, sent) = (webhook.delivery.clone(), webhook.body.to_string());
        records.fresh.events.insert(event.clone());
        let record = records.events.entry(event).or_insert(Event { outcome: None, delivery, body: sent });
        if is_first {
            record.outcome = Some(outcome);
        }
        if let (Some(task), Some(state)) = (task, body["task_state"].as_str()) {
            let completes = webhook.body["event"] == "task_completed" && body["outcome"] == "applied";
            let result = completes.then(|| webhook.body["result"].clone());
            if completes && state != "succeeded" {
                records.wrong.push(format!("{webhook:?} was applied and answered {body}"));
            }
            records.promised(task).see(Seen { state: state.into(), attempt: None, result });
        }
    }

    /// Records that a completion of a task had waited for it.
    pub(crate) fn parked(&self, task: &str) {
        self.read().promised(task).parked = true;
    }

    /// Records the answer to a replay.
    pub(crate) fn replayed(&self, original: &str, answer: &Answer) {
        let mut records = self.read();
        if answer.status != 200 {
            return records.unexpected("a replay", answer);
        }
        records.replays.insert(original.into(), text(&answer.json()["event_id"]));
    }

    /// Records a task as it was read.
    pub(crate) fn saw(&self, told: &Value) {
        self.read().promised(&text(&told["id"])).see(Seen::of_task(told));
    }

    /// Records what is wrong.
    pub(crate) fn wrong(&self, what: String) {
        self.read().wrong.push(what);
    }

    /// Records a call, and gives how often its attempt has been seen with it.
    pub(crate) fn called(&self, call: &Call) -> (Sent, u64) {
        let sent = Sent {
            task: call.header("taskhook-task-id"),
            attempt: call.header("taskhook-attempt").parse().expect("a number"),
            webhook_id: call.header("webhook-id"),
            idempotency_key: call.header("idempotency-key"),
            callback_url: call.header("taskhook-callback-url"),
        };
        let mut records = self.read();
        records.calls.push(sent.clone());
        let same = |other: &&Sent| other.task == sent.task && other.attempt == sent.attempt;
        let times = records.calls.iter().filter(same).count();
        (sent, times as u64)
    }
}

impl Records {
    /// What is to be checked: all that is fresh, and so many of a thousand others.
    pub(crate) fn items(&mut self, random: &mut Random, others: u16) -> Vec<Item> {
        let fresh = std::mem::take(&mut self.fresh);
        let mut is_due = |fresh: bool| fresh || random.per_mille(others);
        let mut items = Vec::new();
        for (id, promised) in &self.tasks {
            if is_due(fresh.tasks.contains(id)) {
                items.push(Item::Task(id.clone(), promised.clone()));
            }
        }
        for (id, event) in &self.events {
            if is_due(fresh.events.contains(id)) {
                items.push(Item::Event(id.clone(), event.clone()));
            }
        }
        for (key, Delivery { event, .. }) in &self.deliveries {
            if is_due(fresh.deliveries.contains(key)) {
                let ((path, id), event) = (key.clone(), event.clone());
                let body = self.events.get(&event).map(|event| event.body.clone()).unwrap_or_default();
                items.push(Item::Delivery { path, id, event, body });
            }
        }
        items
    }

    /// How often the worker got each attempt, by task.
    pub(crate) fn sends(&self) -> BTreeMap<String, BTreeMap<u64, u64>> {
        let mut sends: BTreeMap<String, BTreeMap<u64, u64>> = BTreeMap::new();
        for call in &self.calls {
            *sends.entry(call.task.clone()).or_default().entry(call.attempt).or_default() += 1;
        }
        sends
    }

    fn promised(&mut self, task: &str) -> &mut Promised {
        self.fresh.tasks.insert(task.into());
        self.tasks.entry(task.into()).or_default()
    }

    fn unexpected(&mut self, what: &str, answer: &Answer) {
        let body = String::from_utf8_lossy(&answer.body);
        self.wrong.push(format!("{what} was answered {}: {body}", answer.status));
    }
}

impl Promised {
    fn see(&mut self, seen: Seen) {
        if !self.seen.contains(&seen) {
            self.seen.push(seen);
        }
    }
}

impl Seen {
    /// From a task as the API shows it.
    pub(crate) fn of_task(task: &Value) -> Seen {
        Seen { state: text(&task["state"]), attempt: task["attempt"].as_u64(), result: None }
    }
}

/// A string's text; of anything else its JSON, so that it can be told in words what was wrong.
pub(crate) fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}
