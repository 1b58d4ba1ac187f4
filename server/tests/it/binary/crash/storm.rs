//! Clients, a worker and a server that is killed: started together, checked together.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use taskhook_sim::Random;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

use crate::binary::crash::check;
use crate::binary::crash::ledger::{Item, Ledger, Promised, Webhook, text};
use crate::binary::crash::link::Link;
use crate::binary::crash::load::{Client, tell};
use crate::binary::crash::worker::{Shop, work};
use crate::binary::process::RealServer;
use crate::support::{PATIENCE, Worker};

const CLIENTS: usize = 6;
/// Within which time everything has ended, once everybody answers.
const ENDED_WITHIN: Duration = Duration::from_secs(20);
/// Requests at the same time, while everything is checked.
const CHECKERS: usize = 16;

/// A server under load.
pub(crate) struct Storm {
    pub(crate) server: RealServer,
    pub(crate) random: Random,
    pub(crate) figures: Figures,
    seed: u64,
    pub(crate) ledger: Arc<Ledger>,
    /// Which life of the server there is; for the worker and for those who check.
    up: watch::Sender<u64>,
    /// The same, while the clients may ask.
    open: watch::Sender<u64>,
    calm: watch::Sender<bool>,
    over: watch::Sender<bool>,
    clients: JoinSet<()>,
    worker: JoinHandle<()>,
    lives: u64,
}

/// What a storm came to.
#[derive(Debug, Default, Clone)]
pub(crate) struct Figures {
    pub(crate) kills: u64,
    pub(crate) kills_at_start: u64,
    pub(crate) doctors: u64,
    pub(crate) answers: u64,
    pub(crate) tasks: usize,
    pub(crate) events: usize,
    pub(crate) deliveries: usize,
    pub(crate) dispatches: usize,
    pub(crate) resends: usize,
    pub(crate) checks: u64,
    pub(crate) ends: BTreeMap<String, usize>,
}

impl Storm {
    /// A storm that `seed` decides, as far as chance is ours. In a prompt one no exchange is open for long.
    pub(crate) async fn begin(seed: u64, prompt: bool) -> Storm {
        let mut random = Random::new(seed);
        let server = RealServer::start().await;
        let worker = Worker::start().await;
        let ledger = Arc::new(Ledger::default());
        let (up, open) = (watch::Sender::new(1), watch::Sender::new(0));
        let (calm, over) = (watch::Sender::new(false), watch::Sender::new(false));
        let link = |gate: &watch::Sender<u64>| Link::new(&server.url, gate.subscribe(), ledger.clone());
        let mut clients = JoinSet::new();
        for number in 0..CLIENTS {
            let client = Client {
                name: format!("c{number}"),
                random: random.fork(),
                link: link(&open),
                ledger: ledger.clone(),
                worker: format!("{}/work", worker.url),
                tasks: Vec::new(),
                delivered: Vec::new(),
                made: 0,
            };
            clients.spawn(client.run(calm.subscribe()));
        }
        let shop = Shop { seed, link: link(&up), ledger: ledger.clone(), calm: calm.subscribe(), prompt };
        let worker = tokio::spawn(work(worker, shop, over.subscribe()));
        let figures = Figures::default();
        Storm { server, random, figures, seed, ledger, up, open, calm, over, clients, worker, lives: 1 }
    }

    /// Lets the clients go, and waits for their first answers.
    pub(crate) async fn blow(&mut self) {
        let mut answers = self.ledger.answers();
        let before = *answers.borrow_and_update();
        self.open.send_replace(self.lives);
        let first = tokio::time::timeout(PATIENCE, answers.wait_for(|count| *count > before));
        assert!(first.await.is_ok_and(|first| first.is_ok()), "nobody is answered");
    }

    /// Lets a moment pass, of at most `most`.
    pub(crate) async fn pass(&mut self, most: Duration) {
        let moment =
            Duration::from_micros(self.random.below(u64::try_from(most.as_micros()).unwrap_or(u64::MAX)));
        tokio::time::sleep(moment).await; // real time: the kill shall come at any moment
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.look_for_defects(&self.server.said());
        self.server.kill();
        self.is_dead();
        self.figures.kills += 1;
    }

    /// Tells everybody that the server is gone.
    pub(crate) fn is_dead(&mut self) {
        self.open.send_replace(0);
        self.up.send_replace(0);
    }

    /// Starts the server again, sometimes killed while it starts, and sometimes looked at before; the clients
    /// wait.
    pub(crate) async fn restart_badly(&mut self) {
        while self.random.per_mille(250) {
            let process = self.server.spawn();
            self.pass(Duration::from_millis(60)).await;
            process.kill();
            self.figures.kills_at_start += 1;
        }
        if self.random.per_mille(100) {
            self.consult();
        }
        self.restart().await;
    }

    /// Starts the server again; the clients wait.
    pub(crate) async fn restart(&mut self) {
        self.server.start_again().await;
        self.lives += 1;
        self.up.send_replace(self.lives);
    }

    /// Asks `taskhook doctor` about the store, on which no server runs.
    fn consult(&mut self) {
        let doctor = self.server.doctor();
        let said = [doctor.stdout, doctor.stderr].concat();
        assert!(doctor.status.success(), "seed {}: {}", self.seed, String::from_utf8_lossy(&said));
        self.figures.doctors += 1;
    }

    /// Compares what is there with what was promised since the last time, and with so many of a thousand
    /// older promises.
    pub(crate) async fn check(&mut self, older: u16) {
        self.compare(older).await;
        self.assert_kept();
    }

    /// The same; what is wrong is recorded.
    pub(crate) async fn compare(&mut self, older: u16) {
        let items = self.ledger.read().items(&mut self.random, older);
        self.figures.checks += items.len() as u64;
        for wrong in self.of_each(items, verify).await {
            self.ledger.wrong(wrong);
        }
    }

    /// Lets everything come to its end, and checks the whole of it.
    pub(crate) async fn end(mut self) -> Figures {
        self.calm.send_replace(true);
        self.open.send_replace(self.lives);
        while let Some(client) = self.clients.join_next().await {
            client.expect("a client acts to its end");
        }
        self.complete_externals().await;
        let tasks = self.ends().await;
        self.over.send_replace(true);
        tokio::time::timeout(PATIENCE, &mut self.worker)
            .await
            .expect("it comes to its end")
            .expect("it works");
        self.check(1_000).await;
        self.check_stories(&tasks).await;
        self.stop().await;
        self.assert_kept();
        self.consult();
        self.figures(&tasks)
    }

    /// SIGTERM: it ends in order, and soon.
    pub(crate) async fn stop(&mut self) -> Duration {
        self.server.tell_to_stop();
        let (status, took, said) = self.server.stopped().await;
        self.is_dead();
        self.look_for_defects(&said);
        assert_eq!(status.code(), Some(0), "seed {}: {said}", self.seed);
        took
    }

    /// Completes the external tasks that nobody has ended.
    async fn complete_externals(&self) {
        let tasks: Vec<_> = self.ledger.read().tasks.clone().into_iter().collect();
        let ended = |promised: &Promised| promised.seen.iter().any(|seen| check::is_end(&seen.state));
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

    /// Waits for the end of every task, and gives them by id. One that does not end is given as it is.
    async fn ends(&self) -> BTreeMap<String, Value> {
        let ids: Vec<String> = self.ledger.read().tasks.keys().cloned().collect();
        let deadline = Instant::now() + ENDED_WITHIN;
        let end = move |mut link: Link, id: String| async move {
            let left = deadline.saturating_duration_since(Instant::now()).as_millis();
            let answer = link.ask("GET", &format!("/v1/tasks/{id}?wait={left}ms"), &[], "").await;
            (answer.status == 200).then(|| (id, answer.json()))
        };
        let tasks: BTreeMap<_, _> = self.of_each(ids, end).await.into_iter().collect();
        tasks.values().for_each(|task| self.ledger.saw(task));
        tasks
    }

    /// Checks how every task came to its end.
    async fn check_stories(&self, tasks: &BTreeMap<String, Value>) {
        let story = |mut link: Link, id: String| async move {
            let answer = link.ask("GET", &format!("/v1/tasks/{id}/history?limit=1000"), &[], "").await;
            Some((id, answer.json()["data"].as_array().cloned().unwrap_or_default()))
        };
        let stories = self.of_each(tasks.keys().cloned().collect(), story).await;
        let records = std::mem::take(&mut *self.ledger.read());
        let sends = records.sends();
        let mut wrong = check::calls(&records.calls);
        let mut begun = BTreeMap::new();
        for (id, history) in stories {
            let (promised, sends) = (&records.tasks[&id], sends.get(&id).cloned().unwrap_or_default());
            wrong.extend(check::end(promised, &tasks[&id], &history, &sends));
            let first = history.iter().find(|entry| entry["change"] == "dispatched");
            begun.extend(first.map(|entry| (id, text(&entry["at"]))));
        }
        wrong.extend(check::dependencies(tasks, &begun));
        let listed: Vec<String> = self.list("tasks").await.iter().map(|task| text(&task["id"])).collect();
        wrong.extend(check::census(&records.tasks.keys().cloned().collect(), &listed));
        wrong.extend(check::replays(&records.replays, &self.list("events").await));
        *self.ledger.read() = records;
        wrong.into_iter().for_each(|wrong| self.ledger.wrong(wrong));
        self.assert_kept();
    }

    /// A whole list, page by page.
    async fn list(&self, what: &str) -> Vec<Value> {
        let (mut link, mut rows) = (self.link(), Vec::new());
        let mut path = format!("/v1/{what}?limit=1000");
        loop {
            let mut page = link.ask("GET", &path, &[], "").await.json();
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
            let (link, items, ask) = (self.link(), items.clone(), ask.clone());
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

    /// What the server has noticed itself stands in its log.
    fn look_for_defects(&self, said: &str) {
        let is_odd = |line: &&str| ["ERROR", "WARN", "panicked"].iter().any(|word| line.contains(word));
        // Of what it was about to send when it was told to stop, some is left: that is in order.
        for line in said.lines().filter(is_odd).filter(|line| !line.contains("at the next start")) {
            self.ledger.wrong(format!("the server says: {line}"));
        }
    }

    fn assert_kept(&self) {
        let records = self.ledger.read();
        let count = records.wrong.len();
        let first: Vec<&str> = records.wrong.iter().take(10).map(String::as_str).collect();
        assert!(count == 0, "seed {}: {count} promises are broken:\n{}", self.seed, first.join("\n"));
    }

    fn link(&self) -> Link {
        Link::new(&self.server.url, self.up.subscribe(), self.ledger.clone())
    }

    fn figures(&self, tasks: &BTreeMap<String, Value>) -> Figures {
        let records = self.ledger.read();
        let mut figures = self.figures.clone();
        figures.answers = *self.ledger.answers().borrow();
        figures.tasks = records.tasks.len();
        figures.events = records.events.len();
        figures.deliveries = records.deliveries.len();
        figures.dispatches = records.calls.len();
        let attempts: BTreeSet<_> = records.calls.iter().map(|call| &call.webhook_id).collect();
        figures.resends = records.calls.len() - attempts.len();
        for task in tasks.values() {
            *figures.ends.entry(text(&task["state"])).or_default() += 1;
        }
        figures
    }
}

/// Compares one promise with what is there.
async fn verify(mut link: Link, item: Item) -> Option<String> {
    match item {
        Item::Task(id, promised) => {
            let answer = link.ask("GET", &format!("/v1/tasks/{id}"), &[], "").await;
            check::task(&id, &promised, (answer.status == 200).then(|| answer.json()).as_ref())
        }
        Item::Event(id, event) => {
            let answer = link.ask("GET", &format!("/v1/events/{id}"), &[], "").await;
            check::event(&id, &event, (answer.status == 200).then(|| answer.json()).as_ref())
        }
        Item::Delivery { path, id, event, body } => {
            let answer = link.ask("POST", &path, &[("webhook-id", &id)], body).await;
            check::repeat(&id, &event, &answer.json())
        }
    }
}
