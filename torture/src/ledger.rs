//! What the server has promised by its answers, and what the worker saw. It is what the server is held to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde_json::Value;
use taskhook_sim::Random;

use crate::http::{Answer, Sent};

/// The records of all clients and of the remote.
#[derive(Default)]
pub struct Ledger {
    records: Mutex<Records>,
}

/// What does not hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Wrong {
    /// The task concerned, where there is one.
    pub task: Option<String>,
    /// A sentence.
    pub what: String,
}

/// What is known from outside.
#[derive(Debug, Default)]
pub struct Records {
    /// By id: the answers about each task.
    pub tasks: BTreeMap<String, Promised>,
    /// By id: the webhooks that were answered.
    pub events: BTreeMap<String, Event>,
    /// By path and delivery id.
    pub deliveries: BTreeMap<(String, String), Delivery>,
    /// By the id of each webhook that was to be taken in once more: what it became.
    pub replays: BTreeMap<String, String>,
    /// What the remote was sent, and when it came.
    pub calls: Vec<(Instant, Sent)>,
    /// How often it was sent each attempt, copies included.
    times: BTreeMap<(String, u64), u64>,
    /// By task: how its remote ended it, of those whose remotes say so only when they are asked.
    pub truths: BTreeMap<String, &'static str>,
    /// What was wrong as soon as it was answered.
    pub wrong: Vec<Wrong>,
    /// How many answers there were.
    pub answers: u64,
    /// How many webhooks were answered as duplicates.
    pub duplicates: u64,
    /// How many requests were answered with an idempotency key's kept answer.
    pub replayed: u64,
    /// How often there was a request to come back, by its code.
    pub refusals: BTreeMap<String, u64>,
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
pub enum Item {
    Task(String, Promised),
    Event(String, Event),
    Delivery { path: String, id: String, event: String, body: String },
}

/// What was said of one task.
#[derive(Debug, Clone, Default)]
pub struct Promised {
    /// It is never dispatched, so somebody has to end it.
    pub external: bool,
    /// A completion that was answered before the task was created: it ends so.
    pub parked: bool,
    /// Each thing that was said.
    pub seen: Vec<Seen>,
}

/// A task as an answer showed it.
#[derive(Debug, Clone, PartialEq)]
pub struct Seen {
    pub state: String,
    /// Webhooks are not told of it.
    pub attempt: Option<u64>,
    /// Of a completion that was applied.
    pub result: Option<Value>,
}

/// An answered webhook.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Not known where only repeats of it were answered.
    pub outcome: Option<String>,
    pub delivery: Option<String>,
    pub body: String,
}

/// The answers to one delivery id.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The id under which the first of them is kept.
    pub event: String,
    /// How many were answered as if they were the first.
    pub firsts: u32,
}

/// A webhook to be sent.
#[derive(Debug, Clone)]
pub struct Webhook {
    pub path: String,
    pub delivery: Option<String>,
    /// The `webhook-id` of the dispatch, as some workers echo it: it is no delivery id.
    pub echo: Option<String>,
    pub body: Value,
}

impl Ledger {
    /// The records as they are.
    pub fn read(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an answer.
    pub fn answered(&self) {
        self.read().answers += 1;
    }

    /// Counts a request to come back.
    pub fn refused(&self, answer: &Answer) {
        *self.read().refusals.entry(text(&answer.json()["code"])).or_default() += 1;
    }

    /// How often there was a request to come back with this code.
    pub fn refusals(&self, code: &str) -> u64 {
        self.read().refusals.get(code).copied().unwrap_or(0)
    }

    /// Records the answer to a creation. `tasks` are what it was asked for.
    pub fn created(&self, tasks: &[Value], answer: &Answer) {
        let mut records = self.read();
        if !matches!(answer.status, 200 | 201) {
            return records.unexpected("a creation", answer);
        }
        records.replayed += u64::from(answer.replayed);
        let body = answer.json();
        let data = body["data"].as_array();
        let bodies: Vec<&Value> = data.map_or_else(|| vec![&body], |data| data.iter().collect());
        for (asked, told) in tasks.iter().zip(bodies) {
            // Who gives no id gets one.
            if !asked["id"].is_null() && asked["id"] != told["id"] {
                records.wrong(None, format!("asked for {asked}, got {told}"));
            }
            let promised = records.of(&text(&told["id"]));
            promised.external = asked["url"].is_null();
            promised.see(Seen::of_task(told));
        }
    }

    /// What is promised of a task at this moment.
    pub fn promised(&self, task: &str) -> Option<Promised> {
        self.read().tasks.get(task).cloned()
    }

    /// The event that answers have named for this webhook's delivery so far.
    pub fn known_event(&self, webhook: &Webhook) -> Option<String> {
        let key = (webhook.path.clone(), webhook.delivery.clone()?);
        self.read().deliveries.get(&key).map(|delivery| delivery.event.clone())
    }

    /// Records the answer to a webhook about `task`. `known` is what [`Ledger::known_event`] gave when it was
    /// sent.
    pub fn told(&self, webhook: &Webhook, task: Option<&str>, known: Option<&str>, answer: &Answer) {
        let mut records = self.read();
        if answer.status != 200 {
            return records.unexpected("a webhook", answer);
        }
        let body = answer.json();
        let (event, outcome) = (text(&body["event_id"]), text(&body["outcome"]));
        let is_first = outcome != "duplicate";
        records.duplicates += u64::from(!is_first);
        if is_first && let Some(known) = known {
            records.wrong(task, format!("{webhook:?} was known as {known} and answered {body}"));
        }
        if let Some(delivery) = &webhook.delivery {
            let key = (webhook.path.clone(), delivery.clone());
            let fresh = || Delivery { event: event.clone(), firsts: 0 };
            records.fresh.deliveries.insert(key.clone());
            let delivery = records.deliveries.entry(key).or_insert_with(fresh);
            delivery.firsts += u32::from(is_first);
            if delivery.event != event || delivery.firsts > 1 {
                let wrong = format!("{webhook:?} was {delivery:?} and is answered {body}");
                records.wrong(task, wrong);
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
                records.wrong(Some(task), format!("{webhook:?} was applied and answered {body}"));
            }
            records.of(task).see(Seen { state: state.into(), attempt: None, result });
        }
    }

    /// Records that a completion of a task had waited for it.
    pub fn parked(&self, task: &str) {
        self.read().of(task).parked = true;
    }

    /// Records the answer to a replay.
    pub fn replayed(&self, original: &str, answer: &Answer) {
        let mut records = self.read();
        if answer.status != 200 {
            return records.unexpected("a replay", answer);
        }
        records.replays.insert(original.into(), text(&answer.json()["event_id"]));
    }

    /// Records a task as it was read.
    pub fn saw(&self, told: &Value) {
        self.read().of(&text(&told["id"])).see(Seen::of_task(told));
    }

    /// Records how the remote has ended a task, and says so to nobody who does not ask.
    pub fn ended_by_remote(&self, task: &str, state: &'static str) {
        self.read().truths.insert(task.into(), state);
    }

    /// Records what is wrong, of a task or in general.
    pub fn wrong(&self, task: Option<&str>, what: String) {
        self.read().wrong(task, what);
    }

    /// Records a call, and gives how often its attempt has been seen with it.
    pub fn called(&self, sent: &Sent) -> u64 {
        let mut records = self.read();
        records.calls.push((Instant::now(), sent.clone()));
        let times = records.times.entry((sent.task.clone(), sent.attempt)).or_default();
        *times += 1;
        *times
    }
}

impl Records {
    /// What is to be checked: all that is fresh, and so many of a thousand others.
    pub fn items(&mut self, random: &mut Random, others: u16) -> Vec<Item> {
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

    /// How often Taskhook has sent each attempt, by task.
    pub fn sends(&self) -> BTreeMap<String, BTreeMap<u64, u64>> {
        let mut sends: BTreeMap<String, BTreeMap<u64, u64>> = BTreeMap::new();
        for (_, call) in self.calls.iter().filter(|(_, call)| !call.is_copy) {
            *sends.entry(call.task.clone()).or_default().entry(call.attempt).or_default() += 1;
        }
        sends
    }

    fn of(&mut self, task: &str) -> &mut Promised {
        self.fresh.tasks.insert(task.into());
        self.tasks.entry(task.into()).or_default()
    }

    fn wrong(&mut self, task: Option<&str>, what: String) {
        self.wrong.push(Wrong { task: task.map(String::from), what });
    }

    fn unexpected(&mut self, what: &str, answer: &Answer) {
        self.wrong(None, format!("{what} was answered {}: {}", answer.status, answer.text()));
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
    pub fn of_task(task: &Value) -> Seen {
        Seen { state: text(&task["state"]), attempt: task["attempt"].as_u64(), result: None }
    }
}

/// A string's text; of anything else its JSON, so that it can be told in words what was wrong.
pub fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), String::from)
}
