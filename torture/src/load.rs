//! The clients: what they do to the server, at random, and what they record of its answers.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use taskhook_sim::Random;
use tokio::sync::watch;

use crate::check;
use crate::ledger::{Ledger, Webhook};
use crate::link::Link;

/// Between two things that one client does, at most.
const THINKING_MAX: Duration = Duration::from_millis(8);
/// So many ids one client makes; after that it looks, cancels and repeats.
const IDS_MAX: u64 = 1_500;

/// A queue with a limit of attempts that are open at the same time: its name and the limit.
pub const NARROW: (&str, usize) = ("narrow", 4);
/// A queue with a rate: its name, the attempts of a second, and its burst.
pub const PACED: (&str, usize, usize) = ("paced", 50, 10);

/// One client, which does one thing after the other.
pub struct Client {
    /// Its tasks are named after it.
    pub name: String,
    /// What it draws from.
    pub random: Random,
    /// Its way to the server.
    pub link: Link,
    /// What was answered.
    pub ledger: Arc<Ledger>,
    /// Where its tasks go, without a path.
    pub remote: String,
    /// The ids of its tasks that were answered.
    pub tasks: Vec<String>,
    /// Some of its deliveries that were answered.
    pub delivered: Vec<Webhook>,
    /// How many ids it has made.
    pub made: u64,
    /// Bytes that a payload or a piece of news has at most beyond what it needs.
    pub filler: u64,
}

impl Client {
    /// A client that has done nothing yet.
    #[must_use]
    pub fn new(
        name: String,
        random: Random,
        link: Link,
        ledger: Arc<Ledger>,
        remote: String,
        filler: u64,
    ) -> Client {
        let (tasks, delivered) = (Vec::new(), Vec::new());
        Client { name, random, link, ledger, remote, tasks, delivered, made: 0, filler }
    }

    /// Acts until there is calm.
    pub async fn run(mut self, calm: watch::Receiver<bool>) {
        while !*calm.borrow() {
            let drawn = self.random.below(100);
            match if self.made < IDS_MAX { drawn } else { 75 + drawn / 4 } {
                0..22 => self.create_one().await,
                22..26 => self.create_with_key().await,
                26..32 => self.create_silent().await,
                32..45 => self.create_external().await,
                45..52 => self.create_batch().await,
                52..55 => self.end_a_chain().await,
                55..65 => self.complete_before_creation().await,
                65..73 => self.tell_news().await,
                73..75 => self.replay().await,
                75..80 => self.cancel().await,
                80..92 => self.look().await,
                _ => self.repeat().await,
            }
            let pause = self.random.below(u64::try_from(THINKING_MAX.as_micros()).unwrap_or(0));
            tokio::time::sleep(Duration::from_micros(pause)).await;
        }
    }

    fn fresh(&mut self, kind: &str) -> String {
        self.made += 1;
        format!("{}-{kind}{}", self.name, self.made)
    }

    fn filler(&mut self) -> String {
        let length = if self.filler == 0 { 0 } else { self.random.below(self.filler) };
        "x".repeat(usize::try_from(length).unwrap_or(0))
    }

    /// A task for the remote.
    fn dispatched(&mut self) -> Value {
        let completion = *self.random.pick(&["auto", "auto", "auto", "response", "callback"]);
        let mut task = json!({
            "id": self.fresh("task"),
            "url": format!("{}/work", self.remote),
            "payload": {"completion": completion, "filler": self.filler()},
            "completion": completion,
            "request_timeout": "2s",
            "timeout": "8s",
            "retry": {"max_attempts": 8, "initial": "20ms", "max": "100ms"},
        });
        match self.random.below(16) {
            0 => task["queue"] = NARROW.0.into(),
            1 => task["queue"] = PACED.0.into(),
            _ => {}
        }
        if self.random.per_mille(150) {
            task["delay"] = format!("{}ms", self.random.below(300)).into();
        }
        task
    }

    /// Lets `task` wait for some of `others`.
    fn wait_for(&mut self, task: &mut Value, others: &[String]) {
        let mut after: Vec<Value> = Vec::new();
        for _ in 0..self.random.below(4).min(others.len() as u64) {
            let other = self.random.pick(others).clone();
            let on = *self.random.pick(&["succeeded", "succeeded", "finished", "not_failed", "failed"]);
            if after.iter().all(|edge| edge["task"] != other.as_str()) {
                after.push(json!({"task": other, "on": on}));
            }
        }
        task["after"] = after.into();
    }

    async fn create(&mut self, task: Value) {
        let answer = self.link.ask("POST", "/v1/tasks", None, task.to_string()).await;
        self.ledger.created(std::slice::from_ref(&task), &answer);
        self.tasks.extend(task["id"].as_str().map(String::from));
    }

    async fn create_one(&mut self) {
        let mut task = self.dispatched();
        if self.random.per_mille(300) {
            let others = self.tasks.clone();
            self.wait_for(&mut task, &others);
        }
        if self.random.per_mille(100) {
            // The same creation, by somebody in a hurry.
            let (mut hasty, ledger, again) = (self.link.clone(), self.ledger.clone(), task.clone());
            let second = async move {
                let answer = hasty.ask("POST", "/v1/tasks", None, again.to_string()).await;
                ledger.created(&[again], &answer);
            };
            tokio::join!(second, self.create(task));
        } else {
            self.create(task).await;
        }
    }

    /// Tasks whose ids are Taskhook's to make: the key alone tells that a repeat is one.
    async fn create_with_key(&mut self) {
        let (key, count) = (self.fresh("key"), self.random.below(3));
        let tasks = vec![json!({"labels": {"key": key}}); usize::try_from(count.max(1)).unwrap_or(1)];
        let (path, body) = match count {
            0 => ("/v1/tasks", tasks[0].to_string()),
            _ => ("/v1/tasks/batch", json!({"tasks": tasks}).to_string()),
        };
        let header = ("idempotency-key", key.as_str());
        let first = self.link.ask("POST", path, Some(header), body.clone()).await;
        self.ledger.created(&tasks, &first);
        if self.random.per_mille(500) {
            let again = self.link.ask("POST", path, Some(header), body).await;
            if again.body != first.body || !again.replayed {
                self.ledger.wrong(
                    None,
                    format!("the request with {key} was answered {first:?}, and then {again:?}"),
                );
            }
        }
    }

    /// A task whose remote never reports, and knows the end when it is asked.
    async fn create_silent(&mut self) {
        let id = self.fresh("silent");
        let task = json!({
            "id": id,
            "url": format!("{}/silent", self.remote),
            "status": {"url": format!("{}/status/{id}", self.remote), "after": "400ms"},
            "request_timeout": "2s",
            "timeout": "8s",
            "retry": {"max_attempts": 30, "initial": "20ms", "max": "100ms"},
        });
        self.create(task).await;
        // It is never cancelled: it ends as its remote has ended it.
        self.tasks.pop();
    }

    async fn create_external(&mut self) {
        let id = self.fresh("external");
        self.create(json!({"id": id})).await;
        if self.random.per_mille(400) {
            let progress = json!({"event": "task_progress", "task_id": id, "progress": 0.5});
            self.tell(progress, Some(&id), false).await;
        }
        // Some are left for the end.
        if self.random.per_mille(800) {
            let failed = self.random.per_mille(200);
            let body = match failed {
                true => json!({"event": "task_failed", "task_id": id, "error": "no"}),
                false => json!({"event": "task_completed", "task_id": id, "result": {"of": id}}),
            };
            self.tell(body, Some(&id), true).await;
        }
    }

    async fn create_batch(&mut self) {
        let (mut tasks, mut ids): (Vec<Value>, Vec<String>) = (Vec::new(), Vec::new());
        let mut externals = Vec::new();
        for _ in 0..2 + self.random.below(5) {
            let mut task = self.dispatched();
            if self.random.per_mille(250) {
                task = json!({"id": self.fresh("external")});
                externals.extend(task["id"].as_str().map(String::from));
            }
            self.wait_for(&mut task, &ids);
            ids.extend(task["id"].as_str().map(String::from));
            tasks.push(task);
        }
        let batch = json!({"tasks": tasks}).to_string();
        let answer = self.link.ask("POST", "/v1/tasks/batch", None, batch).await;
        self.ledger.created(&tasks, &answer);
        self.tasks.extend(ids);
        for id in externals {
            let body = json!({"event": "task_completed", "task_id": id, "result": {"of": id}});
            self.tell(body, Some(&id), true).await;
        }
    }

    /// A chain so long that its end takes several transactions: it can be killed between any two of them.
    async fn end_a_chain(&mut self) {
        let ids: Vec<String> = (0..12).map(|_| self.fresh("link")).collect();
        let on = *self.random.pick(&["succeeded", "not_failed"]);
        let mut tasks = vec![json!({"id": ids[0]})];
        tasks.extend(
            ids.windows(2).map(|pair| json!({"id": pair[1], "after": [{"task": pair[0], "on": on}]})),
        );
        let batch = json!({"tasks": tasks}).to_string();
        let answer = self.link.ask("POST", "/v1/tasks/batch", None, batch).await;
        self.ledger.created(&tasks, &answer);
        let body = json!({"event": "task_failed", "task_id": ids[0], "error": "the first of a chain"});
        self.tell(body, Some(&ids[0]), true).await;
    }

    async fn complete_before_creation(&mut self) {
        let id = self.fresh("early");
        let body = json!({"event": "task.completed", "data": {"task_id": id, "result": [id]}});
        self.tell(body, None, true).await;
        self.create(json!({"id": id})).await;
        self.ledger.parked(&id);
        // This one is never cancelled.
        self.tasks.pop();
    }

    async fn tell_news(&mut self) {
        let number = self.random.draw();
        let news = json!({"event": "weather.changed", "degrees": number, "filler": self.filler()});
        self.tell(news, None, true).await;
    }

    /// Takes in a webhook once more; the key alone tells that a repeat is one.
    async fn replay(&mut self) {
        let (news, key) =
            (json!({"event": "weather.changed", "key": self.fresh("replay")}), self.fresh("key"));
        let first = self.link.ask("POST", "/webhook", None, news.to_string()).await.json();
        let Some(id) = first["event_id"].as_str() else { return self.ledger.wrong(None, first.to_string()) };
        let (path, header) = (format!("/v1/events/{id}/replay"), ("idempotency-key", key.as_str()));
        let answer = self.link.ask("POST", &path, Some(header), "").await;
        self.ledger.replayed(id, &answer);
    }

    async fn cancel(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        let id = self.random.pick(&self.tasks).clone();
        let answer = self.link.ask("POST", &format!("/v1/tasks/{id}/cancel"), None, "").await;
        match answer.status {
            200 => self.ledger.saw(&answer.json()),
            409 => {}
            other => self.ledger.wrong(Some(&id), format!("cancelling {id} was answered {other}")),
        }
    }

    /// Reads a task; what is read is promised too.
    async fn look(&mut self) {
        if self.tasks.is_empty() {
            return;
        }
        let id = self.random.pick(&self.tasks).clone();
        let promised = self.ledger.promised(&id).unwrap_or_default();
        let answer = self.link.ask("GET", &format!("/v1/tasks/{id}"), None, "").await;
        let now = (answer.status == 200).then(|| answer.json());
        match check::task(&id, &promised, now.as_ref()) {
            Some(wrong) => self.ledger.wrong(Some(&id), wrong),
            None => now.iter().for_each(|now| self.ledger.saw(now)),
        }
    }

    /// Sends an answered delivery once more.
    async fn repeat(&mut self) {
        if !self.delivered.is_empty() {
            let webhook = self.random.pick(&self.delivered).clone();
            tell(&mut self.link, &self.ledger, &webhook, None).await;
        }
    }

    /// Sends a webhook, some of them with a delivery id, and of those some twice.
    async fn tell(&mut self, body: Value, task: Option<&str>, may_have_id: bool) {
        let mut webhook = Webhook { path: "/webhook".into(), delivery: None, echo: None, body };
        if may_have_id && self.random.per_mille(700) {
            webhook.delivery = Some(self.fresh("delivery"));
        }
        if webhook.delivery.is_some() && self.random.per_mille(300) {
            let mut other = self.link.clone();
            tokio::join!(
                tell(&mut other, &self.ledger, &webhook, task),
                tell(&mut self.link, &self.ledger, &webhook, task)
            );
        } else {
            tell(&mut self.link, &self.ledger, &webhook, task).await;
        }
        if webhook.delivery.is_some() && self.random.per_mille(300) {
            self.delivered.push(webhook);
        }
    }
}

/// Sends a webhook until it is answered, and records the answer.
pub async fn tell(link: &mut Link, ledger: &Ledger, webhook: &Webhook, task: Option<&str>) {
    let known = ledger.known_event(webhook);
    let header = webhook.delivery.as_deref().or(webhook.echo.as_deref()).map(|id| ("webhook-id", id));
    let answer = link.ask("POST", &webhook.path, header, webhook.body.to_string()).await;
    ledger.told(webhook, task, known.as_deref(), &answer);
}
