//! The checker: reads what is there, and holds it against what was promised.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use taskhook_sim::Random;
use tokio::task::JoinSet;

use crate::check::{self, Limits};
use crate::ledger::{Item, Ledger, Promised, Webhook, text};
use crate::link::Link;
use crate::load::{NARROW, PACED, tell};
use crate::tally::Tally;

/// Requests at the same time, while everything is checked.
const CHECKERS: usize = 8;
/// Asks the server itself, past every proxy.
pub struct Judge {
    /// Its way to the server.
    pub link: Link,
    /// What was promised.
    pub ledger: Arc<Ledger>,
}

impl Judge {
    /// Compares what is there with what was promised since the last time, and with so many of a thousand older promises.
    pub async fn compare(&self, random: &mut Random, older: u16, tally: &mut Tally) {
        let items = self.ledger.read().items(random, older);
        tally.add("checks: promises compared with what is there", items.len() as u64);
        for (task, what) in self.of_each(items, verify).await {
            self.ledger.wrong(task.as_deref(), what);
        }
    }

    /// Completes the external tasks that nobody has ended.
    pub async fn complete_externals(&self) {
        let ended = |promised: &Promised| promised.seen.iter().any(|seen| check::is_end(&seen.state));
        let tasks: Vec<_> = self.ledger.read().tasks.clone().into_iter().collect();
        let left = tasks.into_iter().filter(|(_, promised)| promised.external && !ended(promised)).collect();
        let ledger = self.ledger.clone();
        let complete = move |mut link: Link, (id, _): (String, Promised)| {
            let ledger = ledger.clone();
            async move {
                let body = json!({"event": "task_completed", "task_id": id, "result": "at the end"});
                let delivery = Some(format!("the end of {id}"));
                let webhook = Webhook { path: "/webhook".into(), delivery, echo: None, body };
                tell(&mut link, &ledger, &webhook, Some(&id)).await;
                None::<()>
            }
        };
        self.of_each(left, complete).await;
    }

    /// Waits for the end of every task for so long, and gives them by id. One that does not end is given as it is.
    pub async fn ends(&self, within: Duration) -> BTreeMap<String, Value> {
        let ids: Vec<String> = self.ledger.read().tasks.keys().cloned().collect();
        let deadline = Instant::now() + within;
        let end = move |mut link: Link, id: String| async move {
            loop {
                let answer = link.ask("GET", &format!("/v1/tasks/{id}?wait=2s"), None, "").await;
                let task = (answer.status == 200).then(|| answer.json())?;
                if check::is_end(&text(&task["state"])) || Instant::now() > deadline {
                    return Some((id, task));
                }
            }
        };
        let tasks: BTreeMap<_, _> = self.of_each(ids, end).await.into_iter().collect();
        tasks.values().for_each(|task| self.ledger.saw(task));
        tasks
    }

    /// Checks how every task came to its end.
    pub async fn check_stories(&self, tasks: &BTreeMap<String, Value>, tally: &mut Tally) {
        let story = |mut link: Link, id: String| async move {
            let answer = link.ask("GET", &format!("/v1/tasks/{id}/history?limit=1000"), None, "").await;
            Some((id, answer.json()["data"].as_array().cloned().unwrap_or_default()))
        };
        let stories: BTreeMap<String, Vec<Value>> =
            self.of_each(tasks.keys().cloned().collect(), story).await.into_iter().collect();
        let listed: Vec<String> = self.list("tasks").await.iter().map(|task| text(&task["id"])).collect();
        let events = self.list("events").await;
        let records = self.ledger.read();
        let sends = records.sends();
        let mut wrong = check::calls(records.calls.iter().map(|(_, call)| call));
        let mut say = |task: Option<&str>, what| {
            wrong.push(crate::ledger::Wrong { task: task.map(String::from), what });
        };
        let mut begun = BTreeMap::new();
        for (id, history) in &stories {
            let sends = sends.get(id).cloned().unwrap_or_default();
            let promised = records.tasks.get(id).cloned().unwrap_or_default();
            for what in check::end(&promised, &tasks[id], history, &sends) {
                say(Some(id), what);
            }
            let first = history.iter().find(|entry| entry["change"] == "dispatched");
            begun.extend(first.map(|entry| (id.clone(), text(&entry["at"]))));
        }
        for (id, truth) in &records.truths {
            let Some(task) = tasks.get(id) else { continue };
            tally.one("remote: tasks that ended as the remote said when asked");
            if let Some(what) = check::truth(id, truth, task) {
                say(Some(id), what);
            }
        }
        let answered: BTreeSet<String> = records.tasks.keys().cloned().collect();
        for what in check::census(&answered, &listed) {
            say(None, what);
        }
        for what in check::replays(&records.replays, &events) {
            say(None, what);
        }
        wrong.extend(check::dependencies(tasks, &begun));
        for (queue, limits) in [
            (NARROW.0, Limits { concurrency: NARROW.1, per_second: usize::MAX - 1 }),
            (PACED.0, Limits { concurrency: usize::MAX, per_second: PACED.1 + PACED.2 - 1 }),
        ] {
            let of = stories.iter().filter(|(id, _)| tasks[*id]["queue"] == queue);
            let of: BTreeMap<String, Vec<Value>> =
                of.map(|(id, story)| (id.clone(), story.clone())).collect();
            let begun = of.values().flatten().filter(|entry| entry["change"] == "dispatched").count();
            tally.add("checks: attempts held to a queue's limits", begun as u64);
            wrong.extend(check::limits(limits, &of));
        }
        let waited = tasks.values().filter(|task| {
            let waits = task["after"].as_array().is_some_and(|after| !after.is_empty());
            waits && begun.contains_key(&text(&task["id"]))
        });
        tally.add("checks: dependents that began after their dependencies", waited.count() as u64);
        drop(records);
        self.ledger.read().wrong.extend(wrong);
    }

    /// A whole list, page by page.
    async fn list(&self, what: &str) -> Vec<Value> {
        let (mut link, mut rows) = (self.link.clone(), Vec::new());
        let mut path = format!("/v1/{what}?limit=1000");
        loop {
            let mut page = link.ask("GET", &path, None, "").await.json();
            if let Value::Array(data) = page["data"].take() {
                rows.extend(data);
            }
            match page["next_cursor"].as_str() {
                Some(cursor) => path = format!("/v1/{what}?limit=1000&cursor={cursor}"),
                None => return rows,
            }
        }
    }

    /// Asks about each of `items`, several at the same time.
    async fn of_each<T, F, R>(
        &self,
        items: Vec<T>,
        ask: impl Fn(Link, T) -> F + Clone + Send + 'static,
    ) -> Vec<R>
    where
        T: Send + 'static,
        F: Future<Output = Option<R>> + Send,
        R: Send + 'static,
    {
        let items = Arc::new(Mutex::new(items));
        let mut checkers = JoinSet::new();
        for _ in 0..CHECKERS {
            let (link, items, ask) = (self.link.clone(), items.clone(), ask.clone());
            checkers.spawn(async move {
                let mut found = Vec::new();
                let next = || items.lock().unwrap_or_else(PoisonError::into_inner).pop();
                while let Some(item) = next() {
                    found.extend(ask(link.clone(), item).await);
                }
                found
            });
        }
        checkers.join_all().await.into_iter().flatten().collect()
    }
}

/// Compares one promise with what is there.
async fn verify(mut link: Link, item: Item) -> Option<(Option<String>, String)> {
    match item {
        Item::Task(id, promised) => {
            let answer = link.ask("GET", &format!("/v1/tasks/{id}"), None, "").await;
            let now = (answer.status == 200).then(|| answer.json());
            check::task(&id, &promised, now.as_ref()).map(|what| (Some(id), what))
        }
        Item::Event(id, event) => {
            let answer = link.ask("GET", &format!("/v1/events/{id}"), None, "").await;
            let now = (answer.status == 200).then(|| answer.json());
            check::event(&id, &event, now.as_ref()).map(|what| (None, what))
        }
        Item::Delivery { path, id, event, body } => {
            let answer = link.ask("POST", &path, Some(("webhook-id", &id)), body).await;
            check::repeat(&id, &event, &answer.json()).map(|what| (None, what))
        }
    }
}
